//! Descriptors of envoyproxy/ratelimit: a domain and a tree of key and value, with limits at its nodes.
//!
//! What a key means stands in Envoy's routes. Where those were given, their actions decide; a key that no action has is
//! taken for the header of that name, and said so.

use forebay_protocol::policy::{Match, Source};
use serde_json::Value;

use super::draft::{Chain, Draft, From, Import, list, resolve, text, unit_s};

/// Reads a document with `domain` and `descriptors`.
pub(super) fn read(file: &str, document: &Value, import: &mut Import) {
    let domain = text(&document["domain"]).unwrap_or_default();
    walk(file, &domain, "descriptors", &document["descriptors"], &mut Vec::new(), import);
}

fn walk(
    file: &str,
    domain: &str,
    path: &str,
    nodes: &Value,
    above: &mut Vec<(String, Option<String>)>,
    import: &mut Import,
) {
    for (index, node) in list(nodes).iter().enumerate() {
        let place = format!("{file}: {path}[{index}]");
        let Some(key) = text(&node["key"]) else {
            import.note(place, "a descriptor without key");
            continue;
        };
        above.push((key, text(&node["value"])));
        if !node["rate_limit"].is_null() {
            limit(&place, domain, node, above, import);
        }
        walk(file, domain, &format!("{path}[{index}].descriptors"), &node["descriptors"], above, import);
        above.pop();
    }
}

fn limit(place: &str, domain: &str, node: &Value, entries: &[(String, Option<String>)], import: &mut Import) {
    let rate = &node["rate_limit"];
    let limit = if rate["unlimited"] == true {
        None
    } else {
        let unit = text(&rate["unit"]).unwrap_or_default();
        let (Some(unit_s), Some(requests)) = (unit_s(&unit), rate["requests_per_unit"].as_f64()) else {
            import.note(place, format!("a limit without requests_per_unit, or of the unknown unit \"{unit}\""));
            return;
        };
        Some(import.limit(place, requests, unit_s))
    };
    if !list(&rate["replaces"]).is_empty() {
        import.note(place, "`replaces`: a policy has no limits that switch others off");
    }
    if entries.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.ends_with('*'))) {
        import.note(place, "a value with a wildcard: a policy knows whole values only; left out");
        return;
    }
    let name = text(&rate["name"]).unwrap_or_else(|| {
        let keys =
            entries.iter().map(|(key, value)| value.as_ref().map_or(key.clone(), |value| format!("{key}-{value}")));
        std::iter::once(domain.to_owned()).chain(keys).collect::<Vec<_>>().join("-")
    });
    add(place, &name, &Match::default(), entries, node["shadow_mode"] == true, limit, import);
}

/// Adds a draft per chain of actions that makes these entries, or one for `matches` by the keys' names.
pub(super) fn add(
    place: &str,
    name: &str,
    matches: &Match,
    entries: &[(String, Option<String>)],
    dry_run: bool,
    limit: Option<forebay_protocol::policy::Limit>,
    import: &mut Import,
) {
    let mut found = Vec::new();
    for chain in import.chains.clone() {
        if let Some(entries) = by_chain(&chain, entries) {
            found.push((chain.matches.clone(), entries));
        }
    }
    if found.is_empty() {
        let entries = entries.iter().map(|(key, value)| (by_name(place, key, import), value.clone())).collect();
        found.push((matches.clone(), entries));
    }
    for (matches, entries) in found {
        match resolve(matches, &entries) {
            Ok((matches, key)) => {
                let (place, name) = (place.to_owned(), name.to_owned());
                import.drafts.push(Draft { place, name, matches, key, limit: limit.clone(), dry_run });
            }
            Err(why) => import.note(place, format!("{why}; left out")),
        }
    }
}

/// What the entries mean by a chain of actions; `None` when the chain does not make them.
fn by_chain(chain: &Chain, entries: &[(String, Option<String>)]) -> Option<Vec<(From, Option<String>)>> {
    if chain.entries.len() != entries.len() {
        return None;
    }
    let pairs = chain.entries.iter().zip(entries);
    let fits = |(made, (key, value)): (&super::draft::Entry, &(String, Option<String>))| {
        let value_fits = match (&made.from, value) {
            (From::Fixed(fixed, _), Some(value)) => fixed == value,
            _ => true,
        };
        (made.key == *key && value_fits).then(|| (made.from.clone(), value.clone()))
    };
    pairs.map(fits).collect()
}

fn by_name(place: &str, key: &str, import: &mut Import) -> From {
    match key {
        "remote_address" | "masked_remote_address" => From::Source(Source::SourceAddress),
        key => {
            import.note(
                place,
                format!("no route's action says what \"{key}\" is; taken for the request header of that name"),
            );
            From::Source(Source::Header(key.to_ascii_lowercase()))
        }
    }
}
