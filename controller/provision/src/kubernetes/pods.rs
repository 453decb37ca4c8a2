//! Pods as instances: their state, where they serve, whether they will be taken away, and which of them go first.
//!
//! The intuition: only what Kubernetes calls ready, with its readiness gates, and what has been so for the service's warming
//! time counts as ready. A pod that ends stays known: as one that failed (a node that shut down leaves its pods so), or
//! because it was seen before (`seen.rs`).
//!
//! A Deployment is brought down by its number; the ReplicaSet controller then takes pods that are not ready first, and among
//! ready ones those of the lowest `pod-deletion-cost`, which this manager sets on the ones it chose. Between the number and
//! the deletion those pods already count as draining, so that nobody sends them anything new.
//!
//! Sources: kubernetes `pkg/controller/controller_utils.go` (`ActivePodsWithRanks`), the notices of
//! aws-node-termination-handler, Karpenter and GKE, and the pod condition `DisruptionTarget`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use forebay_plan::capacity::{Group, Instance, InstanceState};

use super::names::{DELETION_COST, MOVES_TO, POOL, SERVICE, SHAPE, TEMPLATE};
use super::objects::{Meta, Node, Pod, condition, holding};

/// Taints that say that a node will be taken away: by name or as the beginning of one.
const NOTICES: &[&str] = &[
    "aws-node-termination-handler/",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    "cloud.google.com/impending-node-termination",
    "kubernetes.azure.com/scalesetpriority-eviction",
    "ToBeDeletedByClusterAutoscaler",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/out-of-service",
    "node.cloudprovider.kubernetes.io/shutdown",
];
/// Node conditions that say the same.
const NODE_CONDITIONS: &[&str] = &["PreemptScheduled", "FreezeScheduled", "TerminateScheduled", "SpotInterruption"];

/// What a service says about its instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serving {
    pub(super) port: u16,
    pub(super) warm_after: Duration,
}

/// The group that an object's annotations name.
pub(super) fn group_of(meta: &Meta) -> Option<Group> {
    let named = |key| meta.annotation(key).map(str::to_owned);
    Some(Group { service: named(SERVICE)?, pool: named(POOL)?, shape: named(SHAPE)? })
}

/// Names of nodes that will be taken away.
pub(super) fn interrupted_nodes(nodes: &[Arc<Node>]) -> BTreeSet<String> {
    let has_notice = |node: &&Arc<Node>| {
        let tainted = node.spec.taints.iter().any(|taint| NOTICES.iter().any(|notice| taint.key.starts_with(notice)));
        tainted || NODE_CONDITIONS.iter().any(|notice| holding(&node.status.conditions, notice).is_some())
    };
    nodes.iter().filter(has_notice).map(|node| node.metadata.name.clone()).collect()
}

/// A pod as an instance of `group`.
pub(super) fn instance(pod: &Pod, group: Group, serving: Serving, now_ms: u64) -> Instance {
    let ready = holding(&pod.status.conditions, "Ready");
    let warm_ms = millis(serving.warm_after);
    let requested_ms = pod.metadata.creation_timestamp.map_or(now_ms, unix_ms);
    let since_ms = ready.map(|ready| ready.last_transition_time.map_or(now_ms, unix_ms).max(requested_ms));
    let ready_ms = since_ms.map(|since_ms| since_ms.saturating_add(warm_ms));
    let state = match pod.status.phase.as_str() {
        "Succeeded" | "Failed" => InstanceState::Gone,
        _ if pod.metadata.deletion_timestamp.is_some() => InstanceState::Draining,
        _ if condition(&pod.status.conditions, "PodScheduled").is_none_or(|scheduled| scheduled.status != "True") => {
            InstanceState::Requested
        }
        _ if ready_ms.is_none() => InstanceState::Starting,
        _ if warm_ms > 0 && ready_ms.is_some_and(|ready_ms| ready_ms > now_ms) => InstanceState::Warming,
        _ => InstanceState::Ready,
    };
    let address = pod.status.pod_ip.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, serving.port));
    Instance {
        id: pod.metadata.uid.clone(),
        group,
        state,
        requested_ms,
        ready_ms: ready_ms.filter(|_| state >= InstanceState::Ready),
        address,
        is_interrupted: holding(&pod.status.conditions, "DisruptionTarget").is_some(),
    }
}

/// A pod beside what it is as an instance.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) pod: Arc<Pod>,
    pub(super) instance: Instance,
}

impl Member {
    /// Whether its group counts it.
    pub(super) fn is_wanted(&self) -> bool {
        self.instance.state.is_wanted()
    }

    /// The name of the group that it is moved to.
    pub(super) fn moves_to(&self) -> Option<&str> {
        self.pod.metadata.annotation(MOVES_TO)
    }
}

/// The pods of a group that go when `surplus` of them do: what is not ready first, then what will be taken away anyway,
/// then the youngest; what is on its way to another shape stays longest.
pub(super) fn victims(members: &[Member], surplus: usize) -> Vec<&Member> {
    let mut candidates: Vec<&Member> = members.iter().filter(|member| member.is_wanted()).collect();
    candidates.sort_by_key(|member| {
        let instance = &member.instance;
        let is_moving = member.moves_to().is_some();
        let age = Reverse(instance.requested_ms);
        (instance.state, !instance.is_interrupted, is_moving, age, member.pod.metadata.name.clone())
    });
    candidates.truncate(surplus);
    candidates
}

/// Counts as draining what a Deployment's number leaves no room for: the ReplicaSet controller is about to take it.
pub(super) fn mark_surplus(members: &mut [Member], replicas: u32) {
    let templates: BTreeSet<Option<&str>> =
        members.iter().filter(|member| member.is_wanted()).map(|member| member.pod.metadata.label(TEMPLATE)).collect();
    // While a changed template is rolled out there are more pods than the number, and none of them is surplus.
    if templates.len() > 1 {
        return;
    }
    let mut wanted: Vec<&mut Member> = members.iter_mut().filter(|member| member.is_wanted()).collect();
    let surplus = wanted.len().saturating_sub(replicas as usize);
    wanted.sort_by_key(|member| {
        let is_ready = member.instance.state >= InstanceState::Warming;
        (is_ready, deletion_cost(&member.pod), Reverse(member.instance.requested_ms))
    });
    for member in wanted.into_iter().take(surplus) {
        member.instance.state = InstanceState::Draining;
    }
}

/// What was set on it, 0 where nothing was.
pub(super) fn deletion_cost(pod: &Pod) -> i32 {
    pod.metadata.annotation(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

/// Members by the name of their group's Deployment.
pub(super) type Members = BTreeMap<String, Vec<Member>>;

pub(super) fn unix_ms(time: jiff::Timestamp) -> u64 {
    time.as_millisecond().max(0) as u64
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
