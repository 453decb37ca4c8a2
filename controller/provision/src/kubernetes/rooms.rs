//! Nodes that are kept warm: placeholder pods of low priority, which the scheduler pushes out for real ones.
//!
//! The cluster's autoscaler makes nodes for placeholders as for any pod; a real instance takes a placeholder's place at
//! once, and the placeholder that waits then makes the next node. One Deployment per pool, with its own label, so it is
//! never counted as an instance.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cluster::{CallError, Cluster};
use super::manifest;
use super::names::{DIGEST, PLACEHOLDER};
use super::settings::KubernetesSettings;
use super::view::View;

/// Keeps the placeholders of the cluster's pools as configured; what could not be done, in words.
pub(super) async fn keep(cluster: &Cluster, settings: &KubernetesSettings, view: &View) -> Vec<String> {
    let mut troubles = Vec::new();
    let mut wanted: BTreeMap<String, (Value, String)> = BTreeMap::new();
    for placement in settings.pools.iter().filter(|placement| placement.pool.location == cluster.location) {
        let Some(room) = placement.placeholders.as_ref() else { continue };
        match settings.shapes.iter().find(|shape| shape.name == room.shape) {
            Some(shape) => {
                drop(wanted.insert(
                    super::names::placeholder_name(&placement.pool.name),
                    manifest::room(placement, room, shape),
                ))
            }
            None => {
                troubles.push(format!("pool {:?}: no shape {:?} to keep room for", placement.pool.name, room.shape))
            }
        }
    }
    let path = cluster.path("apis/apps/v1", "deployments");
    for (name, (mut deployment, digest)) in wanted.clone() {
        let found = view.others.get(&name);
        if found.is_some_and(|found| found.metadata.annotation(DIGEST) == Some(&digest)) {
            continue;
        }
        if found.is_some_and(|found| found.metadata.label(PLACEHOLDER) != Some(&name)) {
            troubles.push(format!("Deployment {name} exists and is not Forebay's; rename or delete it"));
            continue;
        }
        let version = found.map(|found| found.metadata.resource_version.as_str());
        manifest::write_over(&mut deployment, version);
        let applied = cluster.apply("keep room", &path, &name, (&deployment, found.is_some())).await;
        troubles.extend(applied.err().and_then(lasting));
    }
    for (name, found) in &view.others {
        let is_over = found.metadata.label(PLACEHOLDER) == Some(name) && !wanted.contains_key(name);
        // Of a pool that is configured for another cluster or not at all any more.
        if is_over {
            let version = found.metadata.resource_version.as_str();
            let deleted = cluster.delete("give room back", &path, (name, version)).await;
            troubles.extend(deleted.err().and_then(lasting));
        }
    }
    troubles
}

/// What the next order will not make good by itself.
pub(super) fn lasting(error: CallError) -> Option<String> {
    match error {
        CallError::Conflict { .. } | CallError::NotFound { .. } => None,
        error => Some(error.to_string()),
    }
}
