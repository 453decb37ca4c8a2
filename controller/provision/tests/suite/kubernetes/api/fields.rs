//! Fields of objects: their owners under server-side apply, and whether the published types know them.
//!
//! After the documentation of server-side apply: what an applier names becomes its own; what it named before and names no
//! more is removed where nobody else owns it; a different value of somebody else's field is a conflict unless forced. Lists
//! of named things are merged by name; other lists are one value.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A field: the keys on the way to it, `[name]` for a thing in a list.
pub(crate) type Path = Vec<String>;
/// Who wrote: a field manager, and whether by apply.
pub(crate) type Owner = (String, bool);
pub(crate) type Owners = BTreeMap<Owner, BTreeSet<Path>>;

/// Fields that nobody owns.
const NOBODYS: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "resourceVersion"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "creationTimestamp"],
    &["metadata", "deletionTimestamp"],
];

/// All fields with a value.
pub(crate) fn leaves(value: &Value) -> BTreeMap<Path, Value> {
    let mut found = BTreeMap::new();
    collect(value, &mut Vec::new(), &mut found);
    found.retain(|path, _| !NOBODYS.iter().any(|nobodys| path.iter().map(String::as_str).eq(nobodys.iter().copied())));
    found.retain(|path, _| path.first().is_none_or(|first| first != "status"));
    found
}

fn collect(value: &Value, path: &mut Path, found: &mut BTreeMap<Path, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                collect(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) if is_named(items) => {
            for item in items {
                path.push(format!("[{}]", item["name"].as_str().unwrap_or_default()));
                collect(item, path, found);
                path.pop();
            }
        }
        _ => drop(found.insert(path.clone(), value.clone())),
    }
}

fn is_named(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item["name"].is_string())
}

/// Applies `config` for `manager`; the conflicts, if there are any and it is not forced.
pub(crate) fn apply(
    live: &mut Value,
    owners: &mut Owners,
    config: &Value,
    (manager, is_forced): (&str, bool),
) -> Result<(), Vec<(Path, String)>> {
    let me = (manager.to_owned(), true);
    let wanted = leaves(config);
    let now = leaves(live);
    let mut conflicts = Vec::new();
    for (path, value) in &wanted {
        let is_same = now.get(path) == Some(value);
        for (other, fields) in owners.iter_mut().filter(|(other, _)| **other != me) {
            if !is_same && fields.contains(path) {
                if is_forced {
                    fields.remove(path);
                } else {
                    conflicts.push((path.clone(), other.0.clone()));
                }
            }
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let before = owners.insert(me.clone(), wanted.keys().cloned().collect()).unwrap_or_default();
    // A thing's name goes last: it is what the thing is found by.
    let (names, others): (Vec<&Path>, Vec<&Path>) = before
        .iter()
        .filter(|path| !wanted.contains_key(*path))
        .partition(|path| path.last().is_some_and(|last| last == "name"));
    for path in others.into_iter().chain(names) {
        if !owners.iter().any(|(other, fields)| *other != me && fields.contains(path)) {
            remove(live, path);
        }
    }
    for (path, value) in &wanted {
        put(live, path, value.clone());
    }
    Ok(())
}

/// What an ordinary write changed becomes the writer's.
pub(crate) fn own_changes(before: &Value, after: &Value, owners: &mut Owners, manager: &str) {
    let (before, after) = (leaves(before), leaves(after));
    let changed: BTreeSet<Path> =
        after.iter().filter(|(path, value)| before.get(*path) != Some(value)).map(|(path, _)| path.clone()).collect();
    for fields in owners.values_mut() {
        fields.retain(|path| !changed.contains(path) && after.contains_key(path));
    }
    owners.entry((manager.to_owned(), false)).or_default().extend(changed);
}

/// RFC 7396.
pub(crate) fn merge(live: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *live = patch.clone();
        return;
    };
    if !live.is_object() {
        *live = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            live.as_object_mut().map(|live| live.remove(key));
        } else {
            merge(&mut live[key.as_str()], value);
        }
    }
}

/// As RFC 7396, but lists of named things are merged by name: a strategic merge patch of what is patched here.
pub(crate) fn merge_strategically(live: &mut Value, patch: &Value) {
    match (&mut *live, patch) {
        (Value::Array(items), Value::Array(changes)) if is_named(items) && is_named(changes) => {
            for change in changes {
                match items.iter_mut().find(|item| item["name"] == change["name"]) {
                    Some(item) => merge_strategically(item, change),
                    None => items.push(change.clone()),
                }
            }
        }
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, change) in changes {
                match fields.get_mut(key) {
                    _ if change.is_null() => drop(fields.remove(key)),
                    Some(field) => merge_strategically(field, change),
                    None => drop(fields.insert(key.clone(), change.clone())),
                }
            }
        }
        (live, patch) => *live = patch.clone(),
    }
}

fn put(live: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *live = value;
        return;
    };
    match first.strip_prefix('[').and_then(|first| first.strip_suffix(']')) {
        Some(name) => {
            if !live.is_array() {
                *live = json!([]);
            }
            let items = live.as_array_mut().expect("made a list above");
            let place = items.iter().position(|item| item["name"] == name).unwrap_or_else(|| {
                items.push(json!({ "name": name }));
                items.len() - 1
            });
            put(&mut items[place], rest, value);
        }
        None => {
            if !live.is_object() {
                *live = json!({});
            }
            put(&mut live[first.as_str()], rest, value);
        }
    }
}

fn remove(live: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let name = first.strip_prefix('[').and_then(|first| first.strip_suffix(']'));
    match (name, live) {
        (Some(name), Value::Array(items)) => {
            for item in items.iter_mut().filter(|item| item["name"] == name) {
                remove(item, rest);
            }
            items.retain(|item| item.as_object().is_none_or(|item| !item.is_empty()));
        }
        (None, Value::Object(map)) if rest.is_empty() => drop(map.remove(first)),
        (None, Value::Object(map)) => {
            if let Some(child) = map.get_mut(first) {
                remove(child, rest);
            }
        }
        _ => {}
    }
}

/// What the published type of a resource does not know in an object, or cannot read; resources without one pass.
pub(crate) fn unknown(resource: &str, object: &Value) -> Option<String> {
    match resource {
        "deployments" => unknown_to::<Deployment>(object),
        "replicasets" => unknown_to::<ReplicaSet>(object),
        "configmaps" => unknown_to::<ConfigMap>(object),
        "events" => unknown_to::<Event>(object),
        "pods" => unknown_to::<Pod>(object),
        _ => None,
    }
}

fn unknown_to<T: DeserializeOwned + Serialize>(object: &Value) -> Option<String> {
    let known = match serde_json::from_value::<T>(object.clone()).and_then(serde_json::to_value) {
        Ok(known) => known,
        Err(error) => return Some(error.to_string()),
    };
    missing(object, &known, "")
}

fn missing(object: &Value, known: &Value, path: &str) -> Option<String> {
    match (object, known) {
        (Value::Object(object), known) => object.iter().find_map(|(key, value)| {
            let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
            let path = format!("{path}.{key}");
            match known.get(key) {
                None if is_empty => None,
                None => Some(format!("unknown field {path:?}")),
                Some(known) => missing(value, known, &path),
            }
        }),
        (Value::Array(items), Value::Array(known)) => {
            items.iter().zip(known).find_map(|(item, known)| missing(item, known, &format!("{path}[]")))
        }
        _ => None,
    }
}
