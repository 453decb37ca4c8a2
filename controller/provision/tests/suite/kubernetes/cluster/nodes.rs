//! Nodes and what runs on them, played: pods get a node each, run, become ready, and end when they are deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_plan::capacity::Group;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::api::{group_of, now, uid};
use super::{Admin, BESIDE, at_once, named};

const LOOKS_EVERY: Duration = Duration::from_millis(30);

/// What nodes do, and what was seen on them.
#[derive(Default)]
struct Seen {
    held: BTreeSet<Group>,
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

    /// Pods of a group that exist now; asks for them, since what was seen last may be over.
    pub(super) fn running(&self, group: &Group) -> usize {
        let (admin, pods, seen) = (self.admin.clone(), self.pods.clone(), Arc::clone(&self.seen));
        let _ = at_once(async move {
            let list = admin.list(&pods).await?;
            note(&seen, &list);
            Ok(())
        });
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

    /// As the handler of a cloud's notices taints a node.
    pub(super) fn announce(&self, id: &str) -> Result<()> {
        let (name, admin) = (self.name(id)?, self.admin.clone());
        let taint = json!({ "key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule" });
        at_once(async move {
            admin.patch("/api/v1/nodes", &node_of(&name), &json!({ "spec": { "taints": [taint] } })).await
        })
    }
}

fn node_of(pod: &str) -> String {
    format!("node-of-{pod}")
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
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let is_held = {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            group_of(pod).is_some_and(|group| seen.held.contains(&group))
        };
        // A pod that is gone meanwhile holds nobody up.
        let _ = further(admin, path, pod, name, is_held).await;
    }
    Ok(())
}

async fn further(admin: &Admin, path: &str, pod: &Value, name: &str, is_held: bool) -> Result<()> {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return admin.delete(path, name).await;
    }
    if has_ended(pod) {
        return Ok(());
    }
    if pod["spec"]["nodeName"].is_null() {
        let node = node_of(name);
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
    if !is_true(pod, "Ready") && !is_held {
        let status = json!({ "conditions": [condition("Ready", "True")] });
        return admin.patch_status(path, name, &json!({ "status": status })).await;
    }
    Ok(())
}
