//! Who was seen, kept in the cluster, so that a pod that was deleted while no controller ran is known to be gone.
//!
//! A pod that failed stays and tells of itself; one whose node was drained, or that somebody deleted, leaves nothing behind.
//! A ConfigMap holds the instances that are there, by group, and is written when they changed: what ended before the first
//! look of a new controller is in it and not among the pods.
//!
//! Best effort: one that cannot be written, or is too large, costs that knowledge and nothing else. Nobody counts by it.

use std::collections::BTreeMap;

use forebay_plan::capacity::{Group, Instance, InstanceState};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cluster::{CallError, Cluster};
use super::names::{ROSTER, group_name};
use super::objects::ConfigMap;

/// Instances that are written down: about 60 bytes each, of the mebibyte that a ConfigMap holds.
const WRITTEN_MAX: usize = 12_000;

/// The instances of a group: by id, when each was asked for and when it was ready first, unix milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    service: String,
    pool: String,
    shape: String,
    instances: BTreeMap<String, (u64, Option<u64>)>,
}

/// What is written: by the name of the group, entries as text.
pub(super) type Roster = BTreeMap<String, String>;

/// Of instances that are there.
pub(super) fn of(instances: &[Instance]) -> Roster {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for one in instances.iter().filter(|one| one.state != InstanceState::Gone).take(WRITTEN_MAX) {
        let Group { service, pool, shape } = one.group.clone();
        let empty = Entry { service, pool, shape, instances: BTreeMap::new() };
        let entry = entries.entry(group_name(&one.group)).or_insert(empty);
        entry.instances.insert(one.id.clone(), (one.requested_ms, one.ready_ms));
    }
    entries.into_iter().filter_map(|(name, entry)| Some((name, serde_json::to_string(&entry).ok()?))).collect()
}

/// What was written last, and the instances in it. What cannot be read is of another version, and nobody is in it.
pub(super) async fn read(cluster: &Cluster) -> Result<(Roster, Vec<Instance>), CallError> {
    let path = cluster.path("api/v1", "configmaps");
    let found: Option<ConfigMap> = cluster.get("read who was seen", &path, ROSTER).await?;
    let roster = found.map(|found| found.data).unwrap_or_default();
    let entries = roster.values().filter_map(|text| serde_json::from_str::<Entry>(text).ok());
    let instances = entries.flat_map(|Entry { service, pool, shape, instances }| {
        let group = Group { service, pool, shape };
        instances.into_iter().map(move |(id, (requested_ms, ready_ms))| Instance {
            id,
            group: group.clone(),
            state: if ready_ms.is_some() { InstanceState::Ready } else { InstanceState::Starting },
            requested_ms,
            ready_ms,
            address: None,
            is_interrupted: false,
        })
    });
    let instances = instances.collect();
    Ok((roster, instances))
}

/// Writes it, whoever wrote before.
pub(super) async fn write(cluster: &Cluster, roster: &Roster) -> Result<(), CallError> {
    let operation = "write who was seen";
    let path = cluster.path("api/v1", "configmaps");
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": ROSTER }, "data": roster });
    match cluster.replace(operation, &path, ROSTER, &object).await {
        Err(CallError::NotFound { .. }) => cluster.create(operation, &path, &object).await,
        written => written,
    }
}
