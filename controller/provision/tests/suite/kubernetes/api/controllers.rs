//! The cluster behind the server: Deployments become ReplicaSets, those become pods, pods get nodes, run, and end.
//!
//! Controllers run after every request, as if they were infinitely fast, but for the Deployment controller where it is told
//! to lag; what takes time goes a state further per step.

mod deployments;
mod kubelet;
mod replicasets;

use std::collections::{BTreeMap, BTreeSet};

use forebay_plan::capacity::Group;
use serde_json::{Value, json};

use super::{Key, Store};

pub(crate) use kubelet::Resizing;

/// Knobs, and what was ever done.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) held: BTreeSet<Group>,
    pub(crate) refused: BTreeSet<Group>,
    pub(crate) unschedulable: BTreeSet<Group>,
    pub(crate) quota: BTreeMap<Group, usize>,
    pub(crate) started: BTreeMap<Group, usize>,
    /// Rounds of the other controllers that the Deployment controller sleeps through each time.
    pub(crate) lag: usize,
    /// What kubelets make of a resize.
    pub(crate) resizing: kubelet::Resizing,
    /// No controller runs: objects stay as they were put.
    pub(crate) rests: bool,
    rounds: usize,
    made: u64,
}

/// Now, as objects say it.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(now).map(|now| now.to_string()).unwrap_or_default()
}

/// The group that a pod was made for.
pub(crate) fn group_of(object: &Value) -> Option<Group> {
    let named = |key: &str| object["metadata"]["annotations"][key].as_str().map(str::to_owned);
    Some(Group {
        service: named("forebay.dev/service")?,
        pool: named("forebay.dev/pool")?,
        shape: named("forebay.dev/shape")?,
    })
}

fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

fn is_active(pod: &Value) -> bool {
    !has_ended(pod) && pod["metadata"]["deletionTimestamp"].is_null()
}

pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

pub(crate) fn set_condition(object: &mut Value, kind: &str, (status, reason, message): (&str, &str, &str)) {
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != kind);
    conditions.push(json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now(),
    }));
    object["status"]["conditions"] = conditions.into();
}

fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

impl Cluster {
    /// Pods of a group that exist and have not ended.
    pub(crate) fn running(&self, store: &Store, group: &Group) -> usize {
        store.of("pods").filter(|pod| !has_ended(pod) && group_of(pod).as_ref() == Some(group)).count()
    }

    /// The Deployment controller, the collector of what lost its owner, and the ReplicaSet controller.
    pub(crate) fn control(&mut self, store: &mut Store) {
        if self.rests {
            return;
        }
        self.rounds += 1;
        if self.rounds.is_multiple_of(self.lag + 1) {
            deployments::control(store);
        }
        collect(self, store);
        self.keep_sets(store);
        deployments::note_status(store);
    }

    /// Deletes a pod with grace: it is gone a step later.
    pub(crate) fn end(&mut self, store: &mut Store, key: Key, pod: &mut Value) {
        if has_ended(pod) {
            store.remove(&key);
        } else if pod["metadata"]["deletionTimestamp"].is_null() {
            pod["metadata"]["deletionTimestamp"] = now().into();
            store.put(key, pod.clone());
        }
    }

    /// Scheduler and kubelets.
    pub(crate) fn step(&mut self, store: &mut Store) {
        for (key, mut pod) in objects(store, "pods") {
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                store.remove(&key);
                continue;
            }
            let before = pod.clone();
            let group = group_of(&pod);
            let is_in = |groups: &BTreeSet<Group>| group.as_ref().is_some_and(|group| groups.contains(group));
            if has_ended(&pod) {
                continue;
            } else if !is_true(&pod, "PodScheduled") && is_in(&self.unschedulable) {
                if condition(&pod, "PodScheduled").is_none() {
                    let message = "0/3 nodes are available: 3 Insufficient cpu.";
                    set_condition(&mut pod, "PodScheduled", ("False", "Unschedulable", message));
                }
            } else if !is_true(&pod, "PodScheduled") {
                let node = format!("node-of-{}", key.3);
                pod["spec"]["nodeName"] = node.clone().into();
                set_condition(&mut pod, "PodScheduled", ("True", "", ""));
                let object = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {}, "spec": {}, "status": {} });
                store.put((String::new(), "nodes".to_owned(), String::new(), node), object);
            } else if pod["status"]["phase"] == "Pending" {
                pod["status"]["phase"] = "Running".into();
                pod["status"]["podIP"] = format!("10.0.{}.{}", self.made / 250, self.made % 250).into();
                pod["status"]["containerStatuses"] = kubelet::statuses(&pod);
                set_condition(&mut pod, "Ready", ("False", "ContainersNotReady", ""));
            } else if !is_true(&pod, "Ready") && !is_in(&self.held) {
                set_condition(&mut pod, "Ready", ("True", "", ""));
            }
            kubelet::resize(&mut pod, self.resizing);
            if pod != before {
                store.put(key, pod);
            }
        }
        self.control(store);
    }
}

/// What lost its owner ends; what never had one, or was released, is left alone.
fn collect(cluster: &mut Cluster, store: &mut Store) {
    let uids = |store: &Store, resource| store.of(resource).map(uid).collect::<BTreeSet<String>>();
    let deployments = uids(store, "deployments");
    for (key, set) in objects(store, "replicasets") {
        if owner(&set).is_some_and(|owner| !deployments.contains(owner)) {
            store.remove(&key);
        }
    }
    let sets = uids(store, "replicasets");
    for (key, mut pod) in objects(store, "pods") {
        if owner(&pod).is_some_and(|owner| !sets.contains(owner)) {
            cluster.end(store, key, &mut pod);
        }
    }
}

/// The uid of what controls an object.
pub(crate) fn owner(object: &Value) -> Option<&str> {
    object["metadata"]["ownerReferences"][0]["uid"].as_str()
}

pub(crate) fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn objects(store: &Store, resource: &str) -> Vec<(Key, Value)> {
    let found = store.objects.iter().filter(|((_, plural, ..), _)| plural == resource);
    found.map(|(key, stored)| (key.clone(), stored.object.clone())).collect()
}
