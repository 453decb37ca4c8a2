//! The cluster behind the server: Deployments become pods, pods get nodes, run, and end.
//!
//! Controllers run after every request, as if they were infinitely fast; what takes time goes a state further per step.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use forebay_plan::capacity::Group;
use serde_json::{Value, json};

use super::{Key, Store};

/// Knobs, and what was ever done.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) held: BTreeSet<Group>,
    pub(crate) refused: BTreeSet<Group>,
    pub(crate) unschedulable: BTreeSet<Group>,
    pub(crate) quota: BTreeMap<Group, usize>,
    pub(crate) started: BTreeMap<Group, usize>,
    /// While set, the Deployment controller does nothing.
    pub(crate) is_idle: bool,
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

    /// The Deployment controller, and the collector of what lost its owner.
    pub(crate) fn control(&mut self, store: &mut Store) {
        if self.is_idle {
            return;
        }
        let deployments: Vec<(Key, Value)> = objects(store, "deployments");
        let owners: BTreeSet<String> = deployments.iter().map(|(_, object)| uid(object)).collect();
        for (key, mut pod) in objects(store, "pods") {
            let owner = pod["metadata"]["ownerReferences"][0]["uid"].as_str().map(str::to_owned);
            if owner.is_some_and(|owner| !owners.contains(&owner)) {
                self.end(store, key, &mut pod);
            }
        }
        for (key, deployment) in deployments {
            self.bring(store, key, deployment);
        }
    }

    fn bring(&mut self, store: &mut Store, key: Key, mut deployment: Value) {
        let before = deployment.clone();
        let replicas = deployment["spec"]["replicas"].as_u64().unwrap_or(1) as usize;
        let template = deployment["spec"]["template"].clone();
        let mut hasher = DefaultHasher::new();
        template.to_string().hash(&mut hasher);
        let hash = format!("{:010x}", hasher.finish() & 0xff_ffff_ffff);
        let owner = uid(&deployment);
        let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == owner;
        let mut active: Vec<(Key, Value)> =
            objects(store, "pods").into_iter().filter(|(_, pod)| owned(pod) && is_active(pod)).collect();
        // A changed template: old pods go as new ones are ready, one too many at a time.
        let new = |pod: &Value| pod["metadata"]["labels"]["pod-template-hash"] == hash.as_str();
        let old = active.iter().filter(|(_, pod)| !new(pod)).count();
        let new_ready = active.iter().filter(|(_, pod)| new(pod) && is_true(pod, "Ready")).count();
        let new_there = active.len() - old;
        let room = if old > 0 {
            (new_ready + 1).min(replicas).saturating_sub(new_there)
        } else {
            replicas.saturating_sub(new_there)
        };
        let mut refusal = None;
        for _ in 0..room {
            match self.make(store, (&key, &deployment), &hash) {
                Ok(()) => {}
                Err(message) => {
                    refusal = Some(message);
                    break;
                }
            }
        }
        let surplus = if old > 0 {
            (old + new_ready).saturating_sub(replicas).min(old)
        } else {
            active.len().saturating_sub(replicas)
        };
        active.sort_by_key(|(_, pod)| rank(pod, old > 0 && new(pod)));
        for (key, mut pod) in active.into_iter().take(surplus) {
            self.end(store, key, &mut pod);
        }
        let there = store.of("pods").filter(|pod| owned(pod) && is_active(pod));
        let (mut count, mut ready) = (0, 0);
        for pod in there {
            count += 1;
            ready += usize::from(is_true(pod, "Ready"));
        }
        let status = &mut deployment["status"];
        status["observedGeneration"] = before["metadata"]["generation"].clone();
        status["replicas"] = count.into();
        status["readyReplicas"] = ready.into();
        match refusal {
            Some(message) if !is_true(&before, "ReplicaFailure") => {
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

    fn make(&mut self, store: &mut Store, (key, deployment): (&Key, &Value), hash: &str) -> Result<(), String> {
        let mut pod = deployment["spec"]["template"].clone();
        let name = format!("{}-{hash}-{:05}", key.3, self.made);
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
        pod["metadata"]["labels"]["pod-template-hash"] = hash.into();
        let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": key.3, "uid": uid(deployment) });
        pod["metadata"]["ownerReferences"] = json!([owner]);
        pod["status"] = json!({ "phase": "Pending" });
        let namespace = key.2.clone();
        store.put((String::new(), "pods".to_owned(), namespace, name), pod);
        Ok(())
    }

    /// Deletes a pod with grace: it is gone a step later.
    pub(crate) fn end(&mut self, store: &mut Store, key: Key, pod: &mut Value) {
        if has_ended(pod) {
            store.objects.remove(&key);
        } else if pod["metadata"]["deletionTimestamp"].is_null() {
            pod["metadata"]["deletionTimestamp"] = now().into();
            store.put(key, pod.clone());
        }
    }

    /// Scheduler and kubelets.
    pub(crate) fn step(&mut self, store: &mut Store) {
        for (key, mut pod) in objects(store, "pods") {
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                store.objects.remove(&key);
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
                set_condition(&mut pod, "Ready", ("False", "ContainersNotReady", ""));
            } else if !is_true(&pod, "Ready") && !is_in(&self.held) {
                set_condition(&mut pod, "Ready", ("True", "", ""));
            }
            if pod != before {
                store.put(key, pod);
            }
        }
        self.control(store);
    }
}

/// Which pods a ReplicaSet gives up first (`ActivePodsWithRanks`).
fn rank(pod: &Value, stays: bool) -> impl Ord + use<> {
    let cost = pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"].as_str();
    let cost: i64 = cost.and_then(|cost| cost.parse().ok()).unwrap_or_default();
    let is_scheduled = pod["spec"]["nodeName"].is_string();
    let is_running = pod["status"]["phase"] == "Running";
    let age = std::cmp::Reverse(pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
    (stays, is_scheduled, is_running, is_true(pod, "Ready"), cost, age)
}

pub(crate) fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn objects(store: &Store, resource: &str) -> Vec<(Key, Value)> {
    let found = store.objects.iter().filter(|((_, plural, ..), _)| plural == resource);
    found.map(|(key, stored)| (key.clone(), stored.object.clone())).collect()
}
