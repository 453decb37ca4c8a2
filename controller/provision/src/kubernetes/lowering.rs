//! Brings numbers down: which pods go is marked on them first, and a shape that another one replaces waits for it.
//!
//! A shape is replaced by another one of the same service and pool. Its instances stay until those of the other are ready
//! (surge, then drain), for a limited time; [`release`] ends that between orders, at the number that the order asked for.

use std::time::Duration;

use forebay_plan::capacity::{Group, InstanceState};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::cluster::{CallError, Cluster};
use super::names::{DELETION_COST, HELD_FOR, HELD_SINCE, TARGET};
use super::objects::Deployment;
use super::pods::{deletion_cost, victims};
use super::reconcile::AT_ONCE;
use super::settings::KubernetesSettings;
use super::view::View;

/// Deletion costs that are given out, the lowest to what goes first; pods without one have 0.
const LOWEST_COST: i32 = -1_000_000_000;

/// Why a group keeps more than was ordered.
pub(super) struct Held {
    /// Unix milliseconds.
    pub(super) since_ms: u64,
    /// As the annotation says it.
    pub(super) waits_for: String,
}

impl Held {
    /// Of a group that is to have `count` and has more, because another shape replaces it and is not ready. `others` are the
    /// group's shapes beside it, as ordered; an order that leaves a group out replaces it no less than one that lowers it.
    pub(super) fn of(
        view: &View,
        (found, count): (&Deployment, u32),
        others: &[(&str, u32)],
        (now_ms, within): (u64, Duration),
    ) -> Option<Self> {
        if count >= found.replicas() {
            return None;
        }
        let is_replaced = others.iter().any(|(name, count)| *count > ready(view, name));
        let wanted = others.iter().filter(|(_, count)| *count > 0);
        let waits_for: Vec<String> = wanted.map(|(name, count)| format!("{name}={count}")).collect();
        let since_ms = held_since(found).unwrap_or(now_ms);
        let may_hold = Duration::from_millis(now_ms.saturating_sub(since_ms)) < within;
        (is_replaced && may_hold).then(|| Self { since_ms, waits_for: waits_for.join(" ") })
    }
}

/// Ends what was held for another shape, where that one is ready by now or the time is over. Nothing that an order did not
/// ask for: the number it goes to is the order's.
pub(super) async fn release(cluster: &Cluster, settings: &KubernetesSettings, view: &View, now_ms: u64) {
    let held = view.groups.iter().filter_map(|(name, found)| {
        let target: u32 = found.metadata.annotation(TARGET)?.parse().ok()?;
        held_since(found).map(|since_ms| (name, found, (target, since_ms)))
    });
    for (name, found, (target, since_ms)) in held {
        let is_replaced = !is_ready(view, found);
        let is_over = Duration::from_millis(now_ms.saturating_sub(since_ms)) >= settings.surge_within;
        if is_replaced && !is_over {
            continue;
        }
        // What fails here is tried again with the next look or order.
        if mark(cluster, view, name, target).await.is_ok() {
            let _ = set_number(cluster, found, target, json!({ HELD_SINCE: null, HELD_FOR: null })).await;
        }
    }
}

/// Whether what a group was held for is there. What was not written, because a call failed, is not.
fn is_ready(view: &View, held: &Deployment) -> bool {
    let Some(waits_for) = held.metadata.annotation(HELD_FOR) else { return false };
    waits_for
        .split(' ')
        .filter_map(|one| one.split_once('='))
        .all(|(name, count)| count.parse::<u32>().is_ok_and(|count| ready(view, name) >= count))
}

/// Whether two groups differ by their shape only.
pub(super) fn is_of_same_place(one: &Group, other: &Group) -> bool {
    one.service == other.service && one.pool == other.pool && one.shape != other.shape
}

fn ready(view: &View, name: &str) -> u32 {
    view.members(name).iter().filter(|member| member.instance.state == InstanceState::Ready).count() as u32
}

/// Since when a group has more than was ordered, waiting for another shape; `None` where it has no more.
pub(super) fn held_since(found: &Deployment) -> Option<u64> {
    let target: u32 = found.metadata.annotation(TARGET)?.parse().ok()?;
    let since_ms = found.metadata.annotation(HELD_SINCE)?.parse().ok()?;
    (target < found.replicas()).then_some(since_ms)
}

/// Marks the pods that go when a group is brought down to `replicas`, and returns how many they are.
pub(super) async fn mark(cluster: &Cluster, view: &View, name: &str, replicas: u32) -> Result<u32, CallError> {
    let members = view.members(name);
    let wanted = members.iter().filter(|member| member.is_wanted()).count();
    let going = victims(members, wanted.saturating_sub(replicas as usize));
    let path = cluster.path("api/v1", "pods");
    let costs = (LOWEST_COST..).zip(&going);
    // The ReplicaSet controller takes what is not ready first by itself.
    let marks: Vec<_> = costs
        .filter(|(cost, member)| member.instance.state >= InstanceState::Warming && deletion_cost(&member.pod) != *cost)
        .map(|(cost, member)| {
            let fields = json!({ "metadata": { "annotations": { DELETION_COST: cost.to_string() } } });
            (member.pod.metadata.name.as_str(), fields)
        })
        .collect();
    for chunk in marks.chunks(AT_ONCE) {
        let calls = chunk.iter().map(|(pod, fields)| cluster.merge("mark a pod", &path, (pod, None), fields));
        for marked in join_all(calls).await {
            match marked {
                // It went by itself.
                Ok(()) | Err(CallError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(going.len() as u32)
}

pub(super) async fn set_number(
    cluster: &Cluster,
    found: &Deployment,
    replicas: u32,
    annotations: Value,
) -> Result<(), CallError> {
    let fields = json!({
        "metadata": { "resourceVersion": found.metadata.resource_version, "annotations": annotations },
        "spec": { "replicas": replicas },
    });
    let path = cluster.path("apis/apps/v1", "deployments");
    cluster.merge("lower a Deployment", &path, (&found.metadata.name, None), &fields).await
}
