//! Waits until a cluster's own controllers have taken notice of what was written.
//!
//! So that a quota is known with this order and not with the next, and so that the pods that a Deployment tells of are seen
//! with it: events of the two come over two connections. Where that takes too long pods are in doubt, and the next look lists.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::cluster::{CallError, Cluster};
use super::super::names::GROUP;
use super::super::objects::{Deployment, Pod, holding};
use super::super::watched::{Kept, Written};

/// Longest that controllers are given: one that is slower is heard with the next order.
const NOTICED_WITHIN: Duration = Duration::from_millis(630);

/// Waits for the Deployments that `is_meant` names.
pub(super) async fn until_noticed(cluster: &Cluster, is_meant: impl Fn(&str) -> bool) -> Result<(), CallError> {
    let Cluster { deployments, pods, .. } = cluster;
    // From here on what was written is there.
    deployments.look().await?;
    let is_meant = |found: &Deployment| is_meant(&found.metadata.name);
    let is_done = |found: &Deployment| !is_meant(found) || is_noticed(found);
    deployments.comes_to(Some(NOTICED_WITHIN), |kept| kept.objects().all(|found| is_done(found))).await;
    let are_told = |kept: &Kept<Pod>| {
        let mut active: BTreeMap<&str, u32> = BTreeMap::new();
        for pod in kept.objects().filter(|pod| is_counted(pod)) {
            *active.entry(pod.metadata.label(GROUP).unwrap_or_default()).or_default() += 1;
        }
        let count = |found: &Deployment| active.get(&*found.metadata.name).copied().unwrap_or(0);
        deployments.with(|kept| {
            kept.objects().filter(|found| is_meant(found)).all(|found| count(found) == found.status.replicas)
        })
    };
    if !pods.comes_to(None, are_told).await {
        pods.doubt();
    }
    Ok(())
}

/// Whether a pod is one of those that its ReplicaSet counts.
fn is_counted(pod: &Pod) -> bool {
    let has_ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    !has_ended && pod.metadata.deletion_timestamp.is_none() && pod.metadata.is_controlled()
}

fn is_noticed(found: &Deployment) -> bool {
    let status = &found.status;
    let is_full = status.replicas == found.replicas();
    status.observed_generation >= found.metadata.generation
        && (is_full || holding(&status.conditions, "ReplicaFailure").is_some())
}
