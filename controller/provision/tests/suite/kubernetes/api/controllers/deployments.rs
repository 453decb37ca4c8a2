//! The Deployment controller: one ReplicaSet per version of the template, and a rolling update between them.
//!
//! After kubernetes `pkg/controller/deployment`: a ReplicaSet is found by its template, named and labelled by the template's
//! hash, and numbered by revision. An update goes one too many at a time and none too few.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use super::super::{Key, Store};
use super::{condition, is_active, is_true, objects, owner, set_condition, uid};

const REVISION: &str = "deployment.kubernetes.io/revision";

/// Brings ReplicaSets to what Deployments say.
pub(super) fn control(store: &mut Store) {
    for (key, deployment) in objects(store, "deployments") {
        bring(store, &key, deployment);
    }
}

/// The hash by which pods of a template are told from those of another.
fn hash_of(template: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    template.to_string().hash(&mut hasher);
    format!("{:010x}", hasher.finish() & 0xff_ffff_ffff)
}

fn bring(store: &mut Store, key: &Key, mut deployment: Value) {
    let replicas = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    let hash = hash_of(&deployment["spec"]["template"]);
    let name = format!("{}-{hash}", key.3);
    let new = ("apps".to_owned(), "replicasets".to_owned(), key.2.clone(), name);
    let owned = |set: &Value| owner(set) == Some(uid(&deployment).as_str());
    let (mut current, old): (Vec<_>, Vec<_>) =
        objects(store, "replicasets").into_iter().filter(|(_, set)| owned(set)).partition(|(key, _)| *key == new);
    let revision = |set: &Value| -> u64 {
        set["metadata"]["annotations"][REVISION].as_str().and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    let newest = old.iter().map(|(_, set)| revision(set)).max().unwrap_or_default();
    let (_, mut set) = current.pop().unwrap_or_else(|| (new.clone(), made(&deployment, &key.3, &hash)));
    if revision(&set) <= newest {
        set["metadata"]["annotations"][REVISION] = (newest + 1).to_string().into();
    }
    let ready = ready(store, &set);
    let total =
        |sets: &[(Key, Value)]| sets.iter().filter_map(|(_, set)| set["spec"]["replicas"].as_u64()).sum::<u64>();
    let is_rolling = total(&old) > 0;
    let present = set["spec"]["replicas"].as_u64().unwrap_or_default();
    let wanted = if is_rolling { present.max(ready + 1).min(replicas) } else { replicas };
    set["spec"]["replicas"] = wanted.into();
    let mut left = replicas.saturating_sub(ready);
    put_changed(store, new, set.clone());
    for (key, mut set) in old {
        let kept = set["spec"]["replicas"].as_u64().unwrap_or_default().min(left);
        left -= kept;
        set["spec"]["replicas"] = kept.into();
        put_changed(store, key, set);
    }
    let is_new = deployment["metadata"]["annotations"][REVISION] != set["metadata"]["annotations"][REVISION];
    let seen = deployment["metadata"]["generation"].clone();
    if is_new || deployment["status"]["observedGeneration"] != seen {
        deployment["metadata"]["annotations"][REVISION] = set["metadata"]["annotations"][REVISION].clone();
        deployment["status"]["observedGeneration"] = seen;
        store.put(key.clone(), deployment);
    }
}

fn made(deployment: &Value, name: &str, hash: &str) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = hash.into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"]["pod-template-hash"] = hash.into();
    let owner = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid(deployment),
        "controller": true });
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": { "labels": template["metadata"]["labels"], "annotations": {}, "ownerReferences": [owner] },
        "spec": { "replicas": 0, "selector": selector, "template": template },
        "status": { "replicas": 0 },
    })
}

fn put_changed(store: &mut Store, key: Key, set: Value) {
    if store.objects.get(&key).is_none_or(|stored| stored.object != set) {
        store.put(key, set);
    }
}

fn ready(store: &Store, set: &Value) -> u64 {
    let of_set = |pod: &&Value| owner(pod) == Some(uid(set).as_str()) && is_active(pod) && is_true(pod, "Ready");
    store.of("pods").filter(of_set).count() as u64
}

/// Tells each Deployment what became of its ReplicaSets.
pub(super) fn note_status(store: &mut Store) {
    for (key, mut deployment) in objects(store, "deployments") {
        let before = deployment.clone();
        let sets: Vec<Value> =
            store.of("replicasets").filter(|set| owner(set) == Some(uid(&before).as_str())).cloned().collect();
        let sum = |field: &str| sets.iter().filter_map(|set| set["status"][field].as_u64()).sum::<u64>();
        deployment["status"]["replicas"] = sum("replicas").into();
        deployment["status"]["readyReplicas"] = sum("readyReplicas").into();
        let refusal = sets.iter().find_map(|set| condition(set, "ReplicaFailure"));
        match refusal {
            Some(refusal) if !is_true(&before, "ReplicaFailure") => {
                let message = refusal["message"].as_str().unwrap_or_default().to_owned();
                set_condition(&mut deployment, "ReplicaFailure", ("True", "FailedCreate", &message));
            }
            None if condition(&before, "ReplicaFailure").is_some() => {
                if let Some(conditions) = deployment["status"]["conditions"].as_array_mut() {
                    conditions.retain(|condition| condition["type"] != "ReplicaFailure");
                }
            }
            _ => {}
        }
        if deployment != before {
            store.put(key, deployment);
        }
    }
}
