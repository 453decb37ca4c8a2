//! Envoy configuration, bootstrap or route tables: `local_ratelimit` filters, and the actions of routes that say what the
//! entries of descriptors are.
//!
//! It looks for the parts wherever they stand (`http_filters`, `virtual_hosts`, `typed_per_filter_config`), so a
//! bootstrap, a listener, a route table or a dump of any of them will do.

use forebay_protocol::policy::{HeaderMatch, Limit, Match, Source};
use serde_json::Value;

use super::draft::{Chain, Draft, Entry, From, Import, Key, list, text};
use super::service;

const LOCAL: &str = "local_ratelimit.v3.LocalRateLimit";

/// Reads the `rate_limits` of virtual hosts and routes.
pub(super) fn read_actions(file: &str, document: &Value, import: &mut Import) {
    for part in parts(file, document) {
        let Part::Route { place, matches, config } = part else { continue };
        let rate_limits = list(&config["rate_limits"]).iter().chain(list(&config["route"]["rate_limits"]));
        for (index, rate_limit) in rate_limits.enumerate() {
            let place = format!("{place}.rate_limits[{index}]");
            match matches.clone().and_then(|matches| chain(matches, rate_limit)) {
                Ok(chain) => import.chains.push(chain),
                Err(why) => import.note(place, format!("{why}; its descriptors are not recognised")),
            }
        }
    }
}

/// Reads every `local_ratelimit`; whether there was anything of rate limits in the document.
pub(super) fn read_local(file: &str, document: &Value, import: &mut Import) -> bool {
    let (mut found, chains) = (false, import.chains.clone());
    for part in parts(file, document) {
        match part {
            Part::Filter { place, config } => {
                local(&place, Match::default(), config, import);
                found = true;
            }
            Part::Route { place, matches, config } => {
                let by_filter = config["typed_per_filter_config"].as_object().into_iter().flatten();
                for (name, config) in by_filter.filter(|(_, config)| is_local(config)) {
                    let place = format!("{place}.typed_per_filter_config[{name}]");
                    match &matches {
                        Ok(matches) => local(&place, matches.clone(), config, import),
                        Err(why) => import.note(place, format!("{why}; left out")),
                    }
                    found = true;
                }
                found |= !list(&config["rate_limits"]).is_empty() || !list(&config["route"]["rate_limits"]).is_empty();
            }
        }
        import.chains.clone_from(&chains);
    }
    found
}

enum Part<'a> {
    Filter { place: String, config: &'a Value },
    Route { place: String, matches: Result<Match, String>, config: &'a Value },
}

fn is_local(config: &Value) -> bool {
    config["@type"].as_str().is_some_and(|kind| kind.ends_with(LOCAL))
}

/// Filters, virtual hosts and routes, wherever they stand.
fn parts<'a>(file: &str, document: &'a Value) -> Vec<Part<'a>> {
    let (mut found, mut open) = (Vec::new(), vec![(String::new(), document)]);
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Object(fields) => {
                for (index, filter) in list(&value["http_filters"]).iter().enumerate() {
                    if is_local(&filter["typed_config"]) {
                        let place = format!("{file}: {path}http_filters[{index}]");
                        found.push(Part::Filter { place, config: &filter["typed_config"] });
                    }
                }
                for (index, host) in list(&value["virtual_hosts"]).iter().enumerate() {
                    virtual_host(&format!("{file}: {path}virtual_hosts[{index}]"), host, &mut found);
                }
                // The stack turns the order round once more.
                open.extend(fields.iter().rev().map(|(name, value)| (format!("{path}{name}."), value)));
            }
            Value::Array(items) => {
                let path = path.trim_end_matches('.');
                open.extend(items.iter().enumerate().rev().map(|(index, item)| (format!("{path}[{index}]."), item)));
            }
            _ => {}
        }
    }
    found
}

fn virtual_host<'a>(place: &str, host: &'a Value, found: &mut Vec<Part<'a>>) {
    let domains: Vec<_> = list(&host["domains"]).iter().filter_map(text).collect();
    let odd = domains.iter().find(|domain| domain.len() > 1 && (domain.ends_with('*') || domain[1..].contains('*')));
    let odd = odd.map(|domain| format!("the domain {domain}"));
    // A domain `*` among others makes the others say nothing.
    let all = domains.is_empty() || domains.iter().any(|domain| domain == "*");
    let without_port = |domain: &String| domain.split_once(':').map_or(domain.clone(), |(host, _)| host.to_owned());
    // Envoy wants a domain once with its port and once without; a policy's hosts have none.
    let mut hosts: Vec<_> = if all { vec![] } else { domains.iter().map(without_port).collect() };
    hosts.dedup();
    let matches = || match &odd {
        Some(why) => Err(why.clone()),
        None => Ok(Match { hosts: hosts.clone(), ..Match::default() }),
    };
    for (index, route) in list(&host["routes"]).iter().enumerate() {
        let matches = matches().and_then(|matches| route_match(matches, &route["match"]));
        found.push(Part::Route { place: format!("{place}.routes[{index}]"), matches, config: route });
    }
    found.push(Part::Route { place: place.to_owned(), matches: matches(), config: host });
}

fn route_match(mut matches: Match, route: &Value) -> Result<Match, String> {
    let below = |prefix: &str| match prefix.trim_end_matches('/') {
        "" => None,
        prefix => Some(format!("{prefix}/**")),
    };
    for (field, value) in route.as_object().into_iter().flatten() {
        let value_text = text(value).unwrap_or_default();
        match field.as_str() {
            "prefix" | "path_separated_prefix" => matches.path = below(&value_text),
            "path" => matches.path = Some(value_text),
            "grpc" | "case_sensitive" => {}
            "headers" => {
                for header in list(value) {
                    let condition = header_match(header)?;
                    match (condition.name.as_str(), &condition.exact) {
                        (":method", Some(method)) => matches.methods.push(method.clone()),
                        (name, _) if name.starts_with(':') => return Err(format!("a route that matches {name}")),
                        _ => matches.headers.push(condition),
                    }
                }
            }
            other => return Err(format!("a route that matches by {other}")),
        }
    }
    Ok(matches)
}

fn header_match(header: &Value) -> Result<HeaderMatch, String> {
    let name = text(&header["name"]).unwrap_or_default().to_ascii_lowercase();
    if header["invert_match"] == true {
        return Err(format!("an inverted condition on {name}"));
    }
    let string = &header["string_match"];
    let exact = text(&string["exact"]).or_else(|| text(&header["exact_match"]));
    let prefix = text(&string["prefix"]).or_else(|| text(&header["prefix_match"]));
    let present = header["present_match"].as_bool();
    if exact.is_none() && prefix.is_none() && present.is_none() {
        return Err(format!("a condition on {name} that is neither exact nor prefix nor present"));
    }
    Ok(HeaderMatch { name, exact, prefix, present: present.filter(|present| !present) })
}

/// One `rate_limits` entry.
fn chain(matches: Match, rate_limit: &Value) -> Result<Chain, String> {
    let mut entries = Vec::new();
    for action in list(&rate_limit["actions"]) {
        let Some((kind, config)) = action.as_object().and_then(|fields| fields.iter().next()) else { continue };
        let key = |default: &str| text(&config["descriptor_key"]).unwrap_or_else(|| default.to_owned());
        let value = || text(&config["descriptor_value"]).unwrap_or_default();
        let header = || text(&config["header_name"]).unwrap_or_default().to_ascii_lowercase();
        let entry = match kind.as_str() {
            "request_headers" => Entry { key: key(""), from: From::Source(Source::Header(header())) },
            "remote_address" => Entry { key: "remote_address".into(), from: From::Source(Source::SourceAddress) },
            "generic_key" => Entry { key: key("generic_key"), from: From::Fixed(value(), vec![]) },
            "header_value_match" if config["expect_match"] != false => {
                let headers = list(&config["headers"]).iter().map(header_match).collect::<Result<_, _>>()?;
                Entry { key: key("header_match"), from: From::Fixed(value(), headers) }
            }
            other => return Err(format!("the action {other}")),
        };
        entries.push(entry);
    }
    Ok(Chain { matches, entries })
}

fn local(place: &str, matches: Match, config: &Value, import: &mut Import) {
    let share = |field: &str| config[field]["default_value"]["numerator"].as_f64().unwrap_or(0.0);
    let dry_run = share("filter_enabled") <= 0.0 || share("filter_enforced") <= 0.0;
    if dry_run {
        import.note(place, "filter_enabled or filter_enforced is 0 there (or left to its default, 0): a dry run here");
    }
    for field in ["local_rate_limit_per_downstream_connection", "local_cluster_rate_limit", "status", "stage"] {
        if !config[field].is_null() && config[field] != false {
            import.note(place, format!("`{field}` has no counterpart"));
        }
    }
    import.note(place, "a local limit holds per proxy; the policy's is one limit for all proxies together");
    let inline = list(&config["rate_limits"]);
    if !inline.is_empty() {
        import.chains.clear();
        for (index, rate_limit) in inline.iter().enumerate() {
            match chain(matches.clone(), rate_limit) {
                Ok(chain) => import.chains.push(chain),
                Err(why) => import.note(format!("{place}.rate_limits[{index}]"), why),
            }
        }
    }
    let name = text(&config["stat_prefix"]).unwrap_or_else(|| "local".into());
    let before = import.drafts.len();
    for (index, descriptor) in list(&config["descriptors"]).iter().enumerate() {
        let place = format!("{place}.descriptors[{index}]");
        let entries: Vec<_> = list(&descriptor["entries"])
            .iter()
            .map(|entry| {
                (text(&entry["key"]).unwrap_or_default(), text(&entry["value"]).filter(|value| !value.is_empty()))
            })
            .collect();
        match bucket(&descriptor["token_bucket"]) {
            Some(limit) => service::add(&place, &name, &matches, &entries, dry_run, Some(limit), import),
            None => import.note(place, "a descriptor without a usable token_bucket"),
        }
    }
    let Some(limit) = bucket(&config["token_bucket"]) else { return };
    let source = import.drafts[before..].iter().find_map(|draft| match &draft.key {
        Key::Each(source) | Key::One(source, _) => Some(source.clone()),
        _ => None,
    });
    if source.is_some() && config["always_consume_default_token_bucket"] != false {
        import.note(place, "the default bucket is charged beside a descriptor's there; here only when none fits");
    }
    let key = source.map_or(Key::All, Key::Others);
    import.drafts.push(Draft { place: place.into(), name, matches, key, limit: Some(limit), dry_run });
}

/// `max_tokens`, `tokens_per_fill` (1), `fill_interval`.
fn bucket(bucket: &Value) -> Option<Limit> {
    let burst = bucket["max_tokens"].as_u64()?;
    let fill = bucket["tokens_per_fill"].as_f64().unwrap_or(1.0);
    let interval_s: f64 = bucket["fill_interval"].as_str()?.strip_suffix('s')?.parse().ok()?;
    let rate_per_s = (fill / interval_s * 1_000.0).round() / 1_000.0;
    (interval_s > 0.0)
        .then_some(Limit { rate_per_s: if fill > 0.0 { rate_per_s.max(0.001) } else { 0.0 }, burst: Some(burst) })
}
