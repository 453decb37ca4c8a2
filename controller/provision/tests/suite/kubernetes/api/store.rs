//! Objects with versions, and what requests do to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{Owners, apply, merge, merge_strategically, own_changes, unknown};
use super::history::History;
use super::resize::{self, Resize};
use super::{Answer, Call};

/// Pages that are kept for whoever reads on.
const PAGES_KEPT: usize = 64;

/// Where an object is: group, resource, namespace, name.
pub(crate) type Key = (String, String, String, String);

#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) object: Value,
    pub(crate) owners: Owners,
}

/// All objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<Key, Stored>,
    version: u64,
    uids: u64,
    /// What changed, for those who watch.
    pub(super) history: History,
    /// What is left of lists that are read by pages, by token.
    pages: BTreeMap<String, (Vec<Value>, u64)>,
    /// Pages that expire before they are read.
    pub(crate) expiring: usize,
    /// What the server knows of resizes.
    pub(crate) resize: Resize,
    /// Objects that lists have answered, by resource.
    pub(crate) listed: BTreeMap<String, usize>,
}

/// A `Status` that says no.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> Answer {
    let document = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    (code, document)
}

impl Store {
    /// Whether the object that a request names is there.
    pub(crate) fn has(&self, call: &Call) -> bool {
        self.objects.contains_key(&key_of(call))
    }

    pub(crate) fn carry_out(&mut self, call: &Call) -> Answer {
        let key = key_of(call);
        let outcome = match call.verb {
            "get" => self.found(&key).map(|stored| (200, stored.object.clone())),
            "list" => Ok(self.list(call, &key)),
            "create" => self.create(call, &key),
            "update" => self.update(call, &key),
            "patch" if call.is_apply => self.apply(call, &key),
            "patch" => self.merge(call, &key),
            _ => self.delete(call, &key),
        };
        outcome.unwrap_or_else(|refusal| refusal)
    }

    /// Objects of a resource.
    pub(crate) fn of<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |((_, plural, ..), _)| plural == resource).map(|(_, stored)| &stored.object)
    }

    /// Puts an object as one of the cluster's own controllers does.
    pub(crate) fn put(&mut self, key: Key, mut object: Value) {
        self.version += 1;
        let Stored { object: now, owners } = self.objects.remove(&key).unwrap_or_default();
        let kept = |field: &str| now.pointer(&format!("/metadata/{field}")).cloned();
        let (uid, created) = (kept("uid"), kept("creationTimestamp"));
        self.uids += u64::from(uid.is_none());
        let is_changed = now.get("spec") != object.get("spec");
        let generation = kept("generation").and_then(|kept| kept.as_u64()).unwrap_or(0) + u64::from(is_changed);
        let metadata = &mut object["metadata"];
        metadata["name"] = key.3.clone().into();
        if !key.2.is_empty() {
            metadata["namespace"] = key.2.clone().into();
        }
        metadata["uid"] = uid.unwrap_or_else(|| format!("00000000-0000-4000-8000-{:012}", self.uids).into());
        metadata["creationTimestamp"] = created.unwrap_or_else(|| super::controllers::now().into());
        metadata["resourceVersion"] = self.version.to_string().into();
        metadata["generation"] = generation.into();
        self.history.note(self.version, &key, now, object.clone());
        self.objects.insert(key, Stored { object, owners });
    }

    /// Removes an object, which is a version of its own.
    pub(crate) fn remove(&mut self, key: &Key) {
        let Some(Stored { object, .. }) = self.objects.remove(key) else { return };
        self.version += 1;
        self.history.note(self.version, key, object, Value::Null);
    }

    /// Gives uids that no other server gives, as clusters do.
    pub(crate) fn count_uids_from(&mut self, first: u64) {
        self.uids = first;
    }

    /// Has all watches look for news.
    pub(crate) fn ring(&self) {
        self.history.bell.notify_waiters();
    }

    /// The version of the newest change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Keeps no versions but the present one.
    pub(crate) fn forget_history(&mut self) {
        self.history.forget(self.version);
    }

    /// All objects as a server has them that was restored from a backup: the same, in versions that begin after `version`,
    /// and nothing is known of what was before.
    pub(crate) fn restore_at(&mut self, version: u64) {
        self.version = version;
        for stored in self.objects.values_mut() {
            self.version += 1;
            stored.object["metadata"]["resourceVersion"] = self.version.to_string().into();
        }
        self.history.forget(self.version);
    }

    fn found(&self, key: &Key) -> Result<&Stored, Answer> {
        self.objects.get(key).ok_or_else(|| status(404, "NotFound", &format!("{} {:?} not found", key.1, key.3)))
    }

    fn list(&mut self, call: &Call, (group, resource, namespace, _): &Key) -> Answer {
        let token = call.asks("continue");
        let (mut items, version) = if token.is_empty() {
            let is_meant = |(key, _): &(&Key, &Stored)| {
                key.0 == *group && key.1 == *resource && (namespace.is_empty() || key.2 == *namespace)
            };
            let selected = self.objects.iter().filter(is_meant).map(|(_, stored)| &stored.object);
            let selected = selected.filter(|object| is_selected(object, call.asks("labelSelector")));
            (selected.cloned().collect(), self.version)
        } else if self.expiring == 0
            && let Some(left) = self.pages.remove(token)
        {
            left
        } else {
            self.expiring = self.expiring.saturating_sub(1);
            return status(410, "Expired", "The provided continue parameter is too old");
        };
        let limit = call.asks("limit").parse().unwrap_or(usize::MAX);
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if items.len() > limit {
            let left = items.split_off(limit);
            let token = format!("{version}.{}.{}", left.len(), self.pages.len());
            metadata["continue"] = token.clone().into();
            if self.pages.len() >= PAGES_KEPT {
                self.pages.clear();
            }
            self.pages.insert(token, (left, version));
        }
        *self.listed.entry(resource.clone()).or_default() += items.len();
        (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items }))
    }

    fn create(&mut self, call: &Call, key: &Key) -> Result<Answer, Answer> {
        if self.objects.contains_key(key) {
            return Err(status(409, "AlreadyExists", &format!("{} {:?} already exists", key.1, key.3)));
        }
        self.write(key, call, call.body.clone())
    }

    fn update(&mut self, call: &Call, key: &Key) -> Result<Answer, Answer> {
        self.found(key)?;
        self.write(key, call, call.body.clone())
    }

    fn merge(&mut self, call: &Call, key: &Key) -> Result<Answer, Answer> {
        let before = self.found(key)?.object.clone();
        let mut object = before.clone();
        if call.is_strategic {
            merge_strategically(&mut object, &call.body);
        } else {
            merge(&mut object, &call.body);
        }
        if call.resource == "pods/resize" {
            resize::check(&before, &object, self.resize)?;
        } else if key.1 == "pods" && before["spec"] != object["spec"] {
            return Err(status(422, "Invalid", "pod updates may not change fields of the spec"));
        }
        self.write(key, call, object)
    }

    fn apply(&mut self, call: &Call, key: &Key) -> Result<Answer, Answer> {
        let manager = call.asks("fieldManager");
        if manager.is_empty() {
            return Err(status(400, "BadRequest", "fieldManager is required for apply patch"));
        }
        let Stored { object: before, mut owners } = self.objects.get(key).cloned().unwrap_or_default();
        self.check_version(key, &call.body)?;
        if let Some(unknown) = unknown(&key.1, &call.body).filter(|_| call.asks("fieldValidation") == "Strict") {
            return Err(status(400, "BadRequest", &format!("strict decoding error: {unknown}")));
        }
        let mut object = if before.is_null() {
            json!({ "apiVersion": call.body["apiVersion"], "kind": call.body["kind"], "metadata": {} })
        } else {
            before.clone()
        };
        let is_forced = call.asks("force") == "true";
        if let Err(conflicts) = apply(&mut object, &mut owners, &call.body, (manager, is_forced)) {
            let message = format!("Apply failed with {} conflicts: {conflicts:?}", conflicts.len());
            return Err(status(409, "Conflict", &message));
        }
        check(&key.1, &before, &object)?;
        if object != before {
            self.put(key.clone(), object);
        }
        let stored = self.objects.entry(key.clone()).or_default();
        stored.owners = owners;
        Ok((200, stored.object.clone()))
    }

    fn write(&mut self, key: &Key, call: &Call, object: Value) -> Result<Answer, Answer> {
        self.check_version(key, &call.body)?;
        if let Some(unknown) = unknown(&key.1, &object) {
            return Err(status(400, "BadRequest", &unknown));
        }
        let Stored { object: before, mut owners } = self.objects.get(key).cloned().unwrap_or_default();
        check(&key.1, &before, &object)?;
        own_changes(&before, &object, &mut owners, call.asks("fieldManager"));
        if object != before {
            self.put(key.clone(), object);
        }
        let stored = self.objects.entry(key.clone()).or_default();
        stored.owners = owners;
        Ok((200, stored.object.clone()))
    }

    fn delete(&mut self, call: &Call, key: &Key) -> Result<Answer, Answer> {
        let stored = self.found(key)?;
        let asked = call.body.pointer("/preconditions/resourceVersion").and_then(Value::as_str);
        if asked.is_some_and(|asked| stored.object["metadata"]["resourceVersion"] != asked) {
            return Err(status(409, "Conflict", "the object has been modified"));
        }
        self.remove(key);
        Ok((200, json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" })))
    }

    /// Optimistic locking: a version that is given must be the one that is there.
    fn check_version(&self, key: &Key, body: &Value) -> Result<(), Answer> {
        let uid = body.pointer("/metadata/uid").and_then(Value::as_str);
        if let (Some(uid), Some(there)) = (uid, self.objects.get(key))
            && there.object["metadata"]["uid"] != uid
        {
            return Err(status(409, "Conflict", "Precondition failed: UID in precondition and in object differ"));
        }
        let Some(asked) = body.pointer("/metadata/resourceVersion").and_then(Value::as_str) else { return Ok(()) };
        let now = self.objects.get(key).map(|stored| &stored.object["metadata"]["resourceVersion"]);
        match now {
            Some(now) if now == asked => Ok(()),
            Some(_) => Err(status(
                409,
                "Conflict",
                "the object has been modified; please apply your changes to the latest version",
            )),
            None => Err(status(409, "Conflict", "a version is given of an object that does not exist")),
        }
    }
}

fn key_of(call: &Call) -> Key {
    let name = call.name.clone().or_else(|| call.body.pointer("/metadata/name")?.as_str().map(str::to_owned));
    let resource = call.resource.split('/').next().unwrap_or_default().to_owned();
    let namespace = call.namespace.clone().unwrap_or_default();
    (call.group.clone(), resource, namespace, name.unwrap_or_default())
}

pub(super) fn is_selected(object: &Value, selector: &str) -> bool {
    if let Some((key, values)) = selector.strip_suffix(')').and_then(|selector| selector.split_once(" in (")) {
        let label = object["metadata"]["labels"][key].as_str();
        return label.is_some_and(|label| values.split(',').any(|value| value == label));
    }
    selector.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
        Some((key, value)) => object["metadata"]["labels"][key] == value.trim_start_matches('='),
        None => object["metadata"]["labels"][term].is_string(),
    })
}

/// What a server refuses although the types allow it.
fn check(resource: &str, before: &Value, object: &Value) -> Result<(), Answer> {
    let invalid = |message: String| Err(status(422, "Invalid", &message));
    for texts in ["labels", "annotations"] {
        let texts = object["metadata"][texts].as_object();
        let too_long =
            texts.into_iter().flatten().find(|(key, _)| key.rsplit('/').next().is_none_or(|key| key.len() > 63));
        if let Some((key, _)) = too_long {
            return invalid(format!("metadata: {key} is too long"));
        }
    }
    if resource != "deployments" {
        return Ok(());
    }
    let spec = &object["spec"];
    let wanted = spec["selector"]["matchLabels"].as_object();
    let labels = &spec["template"]["metadata"]["labels"];
    if wanted.is_none_or(|wanted| wanted.is_empty() || wanted.iter().any(|(key, value)| labels[key] != *value)) {
        return invalid("spec.template.metadata.labels: `selector` does not match template `labels`".to_owned());
    }
    if before["spec"]["selector"].is_object() && before["spec"]["selector"] != spec["selector"] {
        return invalid("spec.selector: field is immutable".to_owned());
    }
    let containers = spec["template"]["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        return invalid("spec.template.spec.containers: Required value".to_owned());
    }
    for container in containers {
        if container["image"].as_str().is_none_or(str::is_empty) {
            return invalid("spec.template.spec.containers[0].image: Required value".to_owned());
        }
        let resources = &container["resources"];
        for (name, limit) in resources["limits"].as_object().into_iter().flatten() {
            let request = resources["requests"][name].as_str().unwrap_or_default();
            if amount(request) > amount(limit.as_str().unwrap_or_default()) {
                return invalid(format!("{name}: requests must be less than or equal to limits"));
            }
        }
    }
    Ok(())
}

/// A quantity as a number, in the units that tests use.
pub(super) fn amount(quantity: &str) -> f64 {
    let number = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match quantity.get(number.len()..) {
        Some("m") => 1e-3,
        Some("Ki") => 1024.0,
        Some("Mi") => 1024.0 * 1024.0,
        Some("Gi") => 1024.0 * 1024.0 * 1024.0,
        _ => 1.0,
    };
    number.parse::<f64>().unwrap_or_default() * unit
}
