//! The ReplicaSet controller: it releases pods that its selector no longer matches, adopts orphans that it does, and brings
//! the pods that it then has to its number.
//!
//! After kubernetes `pkg/controller/controller_ref_manager.go` (`claimObject`) and `pkg/controller/replicaset`. Neither
//! compares a pod with the template: whose labels match is its own, whatever its resources are.

use serde_json::{Value, json};

use super::super::{Key, Store};
use super::{Cluster, condition, group_of, is_active, is_true, objects, owner, set_condition, uid};

impl Cluster {
    /// Brings all ReplicaSets to their numbers.
    pub(super) fn keep_sets(&mut self, store: &mut Store) {
        let sets = objects(store, "replicasets");
        for (_, set) in &sets {
            release(store, set);
        }
        for (_, set) in &sets {
            adopt(store, set);
        }
        for (key, set) in sets {
            self.keep(store, key, set);
        }
    }

    fn keep(&mut self, store: &mut Store, key: Key, mut set: Value) {
        let before = set.clone();
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or(1) as usize;
        let mut active: Vec<(Key, Value)> =
            objects(store, "pods").into_iter().filter(|(_, pod)| is_of(pod, &set) && is_active(pod)).collect();
        let mut refusal = None;
        for _ in active.len()..replicas {
            if let Err(message) = self.make(store, &key, &set) {
                refusal = Some(message);
                break;
            }
        }
        let surplus = active.len().saturating_sub(replicas);
        active.sort_by_key(|(_, pod)| rank(pod));
        for (key, mut pod) in active.into_iter().take(surplus) {
            self.end(store, key, &mut pod);
        }
        let there = store.of("pods").filter(|pod| is_of(pod, &set) && is_active(pod));
        let (mut count, mut ready) = (0, 0);
        for pod in there {
            count += 1;
            ready += usize::from(is_true(pod, "Ready"));
        }
        set["status"]["observedGeneration"] = before["metadata"]["generation"].clone();
        set["status"]["replicas"] = count.into();
        set["status"]["readyReplicas"] = ready.into();
        match refusal {
            Some(message) if !is_true(&before, "ReplicaFailure") => {
                set_condition(&mut set, "ReplicaFailure", ("True", "FailedCreate", &message));
            }
            None if condition(&before, "ReplicaFailure").is_some() => {
                set["status"]["conditions"] = json!([]);
            }
            _ => {}
        }
        if set != before {
            store.put(key, set);
        }
    }

    fn make(&mut self, store: &mut Store, key: &Key, set: &Value) -> Result<(), String> {
        let mut pod = set["spec"]["template"].clone();
        let name = format!("{}-{:05}", key.3, self.made);
        if let Some(group) = group_of(&pod) {
            if self.refused.contains(&group) {
                return Err(format!("admission webhook \"fake\" denied the request: pods \"{name}\" are not wanted"));
            }
            let running = self.running(store, &group);
            if let Some(quota) = self.quota.get(&group).filter(|quota| running >= **quota) {
                let used = format!("requested: pods=1, used: pods={running}, limited: pods={quota}");
                return Err(format!("pods \"{name}\" is forbidden: exceeded quota: fake, {used}"));
            }
            *self.started.entry(group).or_default() += 1;
        }
        self.made += 1;
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["ownerReferences"] = json!([reference(set)]);
        pod["status"] = json!({ "phase": "Pending" });
        store.put((String::new(), "pods".to_owned(), key.2.clone(), name), pod);
        Ok(())
    }
}

fn reference(set: &Value) -> Value {
    let name = set["metadata"]["name"].clone();
    json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid(set), "controller": true })
}

fn is_of(pod: &Value, set: &Value) -> bool {
    owner(pod) == Some(uid(set).as_str())
}

fn matches(pod: &Value, set: &Value) -> bool {
    let wanted = set["spec"]["selector"]["matchLabels"].as_object();
    pod["metadata"]["namespace"] == set["metadata"]["namespace"]
        && wanted.is_some_and(|wanted| wanted.iter().all(|(key, text)| pod["metadata"]["labels"][key] == *text))
}

fn release(store: &mut Store, set: &Value) {
    for (key, mut pod) in objects(store, "pods") {
        if is_of(&pod, set) && !matches(&pod, set) {
            pod["metadata"].as_object_mut().map(|metadata| metadata.remove("ownerReferences"));
            store.put(key, pod);
        }
    }
}

fn adopt(store: &mut Store, set: &Value) {
    for (key, mut pod) in objects(store, "pods") {
        if owner(&pod).is_none() && matches(&pod, set) && pod["metadata"]["deletionTimestamp"].is_null() {
            pod["metadata"]["ownerReferences"] = json!([reference(set)]);
            store.put(key, pod);
        }
    }
}

/// Which pods a ReplicaSet gives up first (`ActivePodsWithRanks`).
fn rank(pod: &Value) -> impl Ord + use<> {
    let cost = pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"].as_str();
    let cost: i64 = cost.and_then(|cost| cost.parse().ok()).unwrap_or_default();
    let is_scheduled = pod["spec"]["nodeName"].is_string();
    let is_running = pod["status"]["phase"] == "Running";
    let age = std::cmp::Reverse(pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
    (is_scheduled, is_running, is_true(pod, "Ready"), cost, age)
}
