//! Envoy Gateway's BackendTrafficPolicy: `rateLimit` with local and global rules.

use forebay_protocol::policy::{Match, Source};
use serde_json::Value;

use super::draft::{Draft, From, Import, Key, list, resolve, text, unit_s};

/// Reads a resource.
pub(super) fn read(file: &str, document: &Value, import: &mut Import) {
    let name = text(&document["metadata"]["name"]).unwrap_or_else(|| "policy".into());
    let place = format!("{file}: BackendTrafficPolicy {name}");
    let spec = &document["spec"];
    if spec["rateLimit"].is_null() {
        import.note(place, "it has no rateLimit");
        return;
    }
    let targets = list(&spec["targetRefs"]).iter().chain(Some(&spec["targetRef"]).filter(|target| !target.is_null()));
    for target in targets {
        if target["kind"] != "Gateway" {
            let target =
                format!("{} {}", text(&target["kind"]).unwrap_or_default(), text(&target["name"]).unwrap_or_default());
            import.note(&place, format!("it is for {target}: add that route's hosts and path to each rule's `match`"));
        }
    }
    for kind in ["local", "global"] {
        let part = &spec["rateLimit"][kind];
        for (index, rule) in list(&part["rules"]).iter().enumerate() {
            let place = format!("{place}: spec.rateLimit.{kind}.rules[{index}]");
            read_rule(&place, &format!("{name}-{kind}-{index}"), kind, rule, import);
        }
    }
}

fn read_rule(place: &str, name: &str, kind: &str, rule: &Value, import: &mut Import) {
    let unit = text(&rule["limit"]["unit"]).unwrap_or_default();
    let (Some(unit_s), Some(requests)) = (unit_s(&unit), rule["limit"]["requests"].as_f64()) else {
        import.note(place, format!("a limit without requests, or of the unknown unit \"{unit}\""));
        return;
    };
    if kind == "local" {
        import.note(place, "a local limit holds per proxy; the policy's is one limit for all proxies together");
    }
    if !rule["cost"].is_null() {
        import.note(place, "`cost`: write it as the charge's `cost`; every request costs 1 here");
    }
    if rule["shared"] == false || rule["shared"].is_null() && kind == "global" {
        import.note(place, "each route has a bucket of its own there; here all that match share it");
    }
    let limit = import.limit(place, requests, unit_s);
    let selectors = list(&rule["clientSelectors"]);
    if selectors.len() > 1 {
        import.note(place, "several clientSelectors share one bucket there; here each has its own");
    }
    let everybody = [Value::Null];
    for selector in if selectors.is_empty() { &everybody } else { selectors } {
        match read_selector(selector) {
            Ok((matches, key)) => import.drafts.push(Draft {
                place: place.into(),
                name: name.into(),
                matches,
                key,
                limit: Some(limit.clone()),
                dry_run: rule["shadowMode"] == true,
            }),
            Err(why) => import.note(place, format!("{why}; left out")),
        }
    }
}

fn read_selector(selector: &Value) -> Result<(Match, Key), String> {
    let mut matches = Match::default();
    let mut entries = Vec::new();
    for header in list(&selector["headers"]) {
        let name = text(&header["name"]).unwrap_or_default().to_ascii_lowercase();
        let value = text(&header["value"]);
        if header["invert"] == true {
            return Err(format!("an inverted condition on {name}"));
        }
        match header["type"].as_str().unwrap_or("Exact") {
            "Distinct" => entries.push((From::Source(Source::Header(name)), None)),
            "Exact" if value.is_some() => entries.push((From::Source(Source::Header(name)), value)),
            other => return Err(format!("a condition of type {other} on {name}")),
        }
    }
    for method in list(&selector["methods"]) {
        matches.methods.extend(text(&method["value"]).or_else(|| text(method)));
    }
    let path = &selector["path"];
    if let Some(value) = text(&path["value"]) {
        matches.path = match path["type"].as_str().unwrap_or("PathPrefix") {
            "Exact" => Some(value),
            "PathPrefix" if value == "/" => None,
            "PathPrefix" => Some(format!("{}/**", value.trim_end_matches('/'))),
            other => return Err(format!("a path of type {other}")),
        };
    }
    let source = &selector["sourceCIDR"];
    if let Some(value) = text(&source["value"]) {
        matches.source.push(value);
        if source["type"] == "Distinct" {
            entries.push((From::Source(Source::SourceAddress), None));
        }
    }
    let known = ["headers", "methods", "path", "sourceCIDR"];
    for field in selector.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !known.contains(&field.as_str()) {
            return Err(format!("a condition on {field}"));
        }
    }
    resolve(matches, &entries)
}
