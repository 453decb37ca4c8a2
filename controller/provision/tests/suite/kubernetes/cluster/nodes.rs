//! Nodes and what runs on them, played: pods get a node each, run, become ready, and end when they are deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_plan::capacity::Group;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::api::{group_of, now, uid};
use super::admin::{Admin, named};
use super::{BESIDE, at_once};

const LOOKS_EVERY: Duration = Duration::from_millis(30);
/// Tries at counting what exists.
const COUNT_TRIES: usize = 5;
/// Pods that are taken further side by side.
const AT_ONCE: usize = 8;

/// What nodes do, and what was seen on them.
#[derive(Default)]
struct Seen {
    held: BTreeSet<Group>,
    /// Groups whose pods get no node.
    unplaced: BTreeSet<Group>,
    /// How many nodes the pods share; none where each has one of its own.
    shared: Option<u64>,
    /// Pods that have not ended, by uid, with their names.
    running: BTreeMap<String, (Option<Group>, String)>,
    started: BTreeMap<Group, BTreeSet<String>>,
}

/// The nodes of a namespace, until this is dropped.
pub(super) struct Nodes {
    admin: Admin,
    pods: String,
    seen: Arc<Mutex<Seen>>,
    playing: JoinHandle<()>,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.playing.abort();
    }
}

impl Nodes {
    pub(super) fn play(admin: Admin, namespace: &str) -> Self {
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let seen = Arc::<Mutex<Seen>>::default();
        let playing = BESIDE.spawn({
            let (admin, pods, seen) = (admin.clone(), pods.clone(), Arc::clone(&seen));
            async move {
                loop {
                    // A request that fails, such as of a pod that is gone meanwhile, is made again.
                    let _ = step(&admin, &pods, &seen).await;
                    tokio::time::sleep(LOOKS_EVERY).await;
                }
            }
        });
        Self { admin, pods, seen, playing }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hold(&self, group: &Group, is_held: bool) {
        let mut seen = self.seen();
        seen.held.remove(group);
        seen.held.extend(is_held.then(|| group.clone()));
    }

    /// So many nodes are shared by the pods that get one from now on.
    pub(super) fn share(&self, nodes: u64) {
        self.seen().shared = Some(nodes);
    }

    /// While left so, pods of a group that have no node get none.
    pub(super) fn leave_unplaced(&self, group: &Group, is_unplaced: bool) {
        let mut seen = self.seen();
        seen.unplaced.remove(group);
        seen.unplaced.extend(is_unplaced.then(|| group.clone()));
    }

    /// Pods of a group that exist now; asks for them, since what was seen last may be over.
    ///
    /// # Panics
    /// Where they cannot be asked for in some tries: a test that counts what was there before proves nothing.
    pub(super) fn running(&self, group: &Group) -> usize {
        let (admin, pods, seen) = (self.admin.clone(), self.pods.clone(), Arc::clone(&self.seen));
        let counted = at_once(async move {
            let mut tries = COUNT_TRIES;
            loop {
                tries -= 1;
                match admin.list(&pods).await {
                    Ok(list) => {
                        note(&seen, &list);
                        return Ok(());
                    }
                    Err(error) if tries == 0 => return Err(error.context("the test counts the pods that exist")),
                    Err(_) => tokio::time::sleep(LOOKS_EVERY).await,
                }
            }
        });
        counted.expect("the pods that exist are known");
        self.seen().running.values().filter(|(of, _)| of.as_ref() == Some(group)).count()
    }

    pub(super) fn ever_started(&self, group: &Group) -> usize {
        self.seen().started.get(group).map_or(0, BTreeSet::len)
    }

    fn name(&self, id: &str) -> Result<String> {
        Ok(self.seen().running.get(id).with_context(|| format!("no pod runs with the uid {id}"))?.1.clone())
    }

    /// As a node that shuts down leaves a pod.
    pub(super) fn take_away(&self, id: &str) -> Result<()> {
        let (name, admin, pods) = (self.name(id)?, self.admin.clone(), self.pods.clone());
        let ended = json!({ "phase": "Failed", "reason": "NodeShutdown", "conditions": [condition("Ready", "False")] });
        at_once(async move { admin.patch_status(&pods, &name, &json!({ "status": ended })).await })
    }

    /// At once, as who drains a node without patience: nothing is left of it.
    pub(super) fn delete(&self, id: &str) -> Result<()> {
        let (name, admin, pods) = (self.name(id)?, self.admin.clone(), self.pods.clone());
        at_once(async move { admin.delete(&pods, &name).await })
    }

    /// As the handler of a cloud's notices taints a node.
    pub(super) fn announce(&self, id: &str) -> Result<()> {
        let (name, admin) = (self.name(id)?, self.admin.clone());
        let taint = json!({ "key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule" });
        at_once(async move {
            admin.patch("/api/v1/nodes", &node_of(&name, None), &json!({ "spec": { "taints": [taint] } })).await
        })
    }
}

fn node_of(pod: &str, shared: Option<u64>) -> String {
    match shared {
        None => format!("node-of-{pod}"),
        Some(nodes) => {
            let mut hasher = DefaultHasher::new();
            pod.hash(&mut hasher);
            format!("node-{}", hasher.finish() % nodes.max(1))
        }
    }
}

fn condition(kind: &str, status: &str) -> Value {
    json!({ "type": kind, "status": status, "lastTransitionTime": now() })
}

fn is_true(pod: &Value, kind: &str) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

fn note(seen: &Mutex<Seen>, pods: &[Value]) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let alive = pods.iter().filter(|pod| !has_ended(pod));
    seen.running = alive.map(|pod| (uid(pod), (group_of(pod), name(pod)))).collect();
    for pod in pods {
        if let Some(group) = group_of(pod) {
            seen.started.entry(group).or_default().insert(uid(pod));
        }
    }
}

/// Takes every pod a step further.
async fn step(admin: &Admin, path: &str, seen: &Mutex<Seen>) -> Result<()> {
    let pods = admin.list(path).await?;
    note(seen, &pods);
    for some in pods.chunks(AT_ONCE) {
        join_all(some.iter().map(async |pod| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let hindered = {
                let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let is_among = |groups: &BTreeSet<Group>| group_of(pod).is_some_and(|group| groups.contains(&group));
                let (is_held, is_unplaced) = (is_among(&seen.held), is_among(&seen.unplaced));
                Hindered { is_held, is_unplaced, node: node_of(name, seen.shared) }
            };
            // A pod that is gone meanwhile holds nobody up.
            let _ = further(admin, path, (pod, name), hindered).await;
        }))
        .await;
    }
    Ok(())
}

/// What keeps a pod from going on, and where it is to run.
struct Hindered {
    is_held: bool,
    is_unplaced: bool,
    node: String,
}

async fn further(admin: &Admin, path: &str, (pod, name): (&Value, &str), hindered: Hindered) -> Result<()> {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return admin.delete(path, name).await;
    }
    if has_ended(pod) {
        return Ok(());
    }
    if pod["spec"]["nodeName"].is_null() && hindered.is_unplaced {
        // As a scheduler says it.
        let mut waits = condition("PodScheduled", "False");
        waits["reason"] = "Unschedulable".into();
        return admin.patch_status(path, name, &json!({ "status": { "conditions": [waits] } })).await;
    }
    if pod["spec"]["nodeName"].is_null() {
        let node = hindered.node;
        admin.provide("/api/v1/nodes", &named("v1", "Node", &node)).await?;
        let mut binding = named("v1", "Binding", name);
        binding["target"] = json!({ "apiVersion": "v1", "kind": "Node", "name": node });
        return admin.create(&format!("{path}/{name}/binding"), &binding).await;
    }
    if pod["status"]["phase"] == "Pending" {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let containers: Vec<Value> = containers
            .map(|container| {
                json!({ "name": container["name"], "image": container["image"], "imageID": "", "ready": true,
                    "restartCount": 0, "state": { "running": { "startedAt": now() } } })
            })
            .collect();
        let status = json!({ "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }], "startTime": now(),
            "containerStatuses": containers, "conditions": [condition("Ready", "False")] });
        return admin.patch_status(path, name, &json!({ "status": status })).await;
    }
    if !is_true(pod, "Ready") && !hindered.is_held {
        let status = json!({ "conditions": [condition("Ready", "True")] });
        return admin.patch_status(path, name, &json!({ "status": status })).await;
    }
    Ok(())
}
