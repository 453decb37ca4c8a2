//! Why a group is not at its number, read from what Kubernetes says about its Deployment and pods.
//!
//! Nothing is remembered: what is still so is said again with the next order.

use std::time::Duration;

use forebay_plan::capacity::{Group, InstanceState};

use super::objects::{Deployment, condition, holding};
use super::pods::{Member, unix_ms};
use crate::{FailureKind, GroupFailure};

/// Reasons for which a container waits that do not pass by themselves.
const STUCK: &[&str] = &[
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// How a group stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    pub(super) group: &'a Group,
    pub(super) deployment: &'a Deployment,
    pub(super) members: &'a [Member],
    /// What the pool's maker of nodes says, if it lacks any.
    pub(super) lacking: Option<&'a str>,
    pub(super) now_ms: u64,
    pub(super) unschedulable_after: Duration,
}

/// The failure that keeps a group from its number, if there is one.
pub(super) fn failure(standing: Standing<'_>) -> Option<GroupFailure> {
    let wanted: Vec<&Member> = standing.members.iter().filter(|member| member.is_wanted()).collect();
    let is_short = wanted.len() < standing.deployment.replicas() as usize;
    let refused = holding(&standing.deployment.status.conditions, "ReplicaFailure").filter(|_| is_short);
    let (kind, detail) = refused
        .map(|refused| (kind_of_refusal(&refused.message), refused.message.clone()))
        .or_else(|| wanted.iter().find_map(|member| unschedulable(member, standing)))
        .or_else(|| wanted.iter().find_map(|member| stuck(member)))?;
    Some(GroupFailure { group: standing.group.clone(), kind, detail })
}

/// What the message of a refusal means; the same text comes from admission and from a ReplicaSet's condition.
pub(super) fn kind_of_refusal(message: &str) -> FailureKind {
    if message.contains("exceeded quota") { FailureKind::QuotaExceeded } else { FailureKind::Failed }
}

fn unschedulable(member: &Member, standing: Standing<'_>) -> Option<(FailureKind, String)> {
    let scheduled = condition(&member.pod.status.conditions, "PodScheduled")?;
    let waits = scheduled.status == "False" && scheduled.reason == "Unschedulable";
    let since_ms = scheduled.last_transition_time.map_or(member.instance.requested_ms, unix_ms);
    if let Some(lacking) = standing.lacking.filter(|_| waits) {
        return Some((FailureKind::OutOfCapacity, lacking.to_owned()));
    }
    let waited = Duration::from_millis(standing.now_ms.saturating_sub(since_ms));
    (waits && waited >= standing.unschedulable_after).then(|| {
        let detail = format!("pod {} waits for a node: {}", member.pod.metadata.name, scheduled.message);
        (FailureKind::OutOfCapacity, detail)
    })
}

fn stuck(member: &Member) -> Option<(FailureKind, String)> {
    if member.instance.state >= InstanceState::Warming {
        return None;
    }
    let (container, waiting) = member.pod.status.container_statuses.iter().find_map(|container| {
        let waiting = container.state.waiting.as_ref()?;
        STUCK.contains(&waiting.reason.as_str()).then_some((container, waiting))
    })?;
    let (pod, reason, message) = (&member.pod.metadata.name, &waiting.reason, &waiting.message);
    Some((FailureKind::Failed, format!("container {} of pod {pod}: {reason}: {message}", container.name)))
}
