//! One pod and the size that it is to have: whether it may be resized in place, how far that is, and how it is asked for.
//!
//! A size is that of one container, since a shape is. It is reached when the kubelet reports it in force
//! (`status.containerStatuses[].resources`) and has nothing pending; what the spec says is only what was asked for.
//!
//! Not resized in place: what would restart a container (`resizePolicy: RestartContainer`), since an instance that was warm
//! would come back cold; resources other than CPU and memory, and resources that come or go, which Kubernetes refuses. What
//! it refuses beyond that (another class of service, a memory limit that goes down before 1.34, a quota) it says itself.
//!
//! Source: KEP-1287; kubernetes.io, "Resize CPU and Memory Resources assigned to Containers".

use std::time::Duration;

use serde_json::{Value, json};

use super::manifest::Rendered;
use super::objects::{Amounts, Container, Pod, Texts, holding};
use super::usage::quantity;

/// Resources that can be changed.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
/// Runtimes report CPU as shares and quotas, which are coarser than thousandths: so far may it be off, as a share, and in
/// cores.
const TOLERANCE: f64 = 0.01;
const TOLERANCE_CORES: f64 = 0.002;

/// How far a pod is on its way to a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has it.
    Done,
    /// It was asked for.
    Underway,
    /// It was not asked for yet.
    Unasked,
    /// It will not have it, and why.
    Never(String),
}

/// How far `pod` is, on its way for so long.
pub(super) fn progress(pod: &Pod, size: &Rendered, (since, within): (Duration, Duration)) -> Progress {
    let Some(container) = container(pod, size) else {
        return Progress::Never(format!("it has no container {:?}", size.container));
    };
    let wanted = amounts(size);
    let pending = holding(&pod.status.conditions, "PodResizePending");
    let is_in_progress = holding(&pod.status.conditions, "PodResizeInProgress").is_some();
    let is_asked = is_of(&container.resources, &wanted);
    if is_asked && pending.is_none() && !is_in_progress && is_in_force(pod, size, &wanted) {
        return Progress::Done;
    }
    let refused = pending.filter(|pending| is_asked && pending.reason == "Infeasible");
    if let Some(refused) = refused {
        return Progress::Never(format!("its node cannot hold it: {}", refused.message));
    }
    if since >= within {
        let reason = pending.map_or("", |pending| pending.message.as_str());
        return Progress::Never(format!("it was not done within {within:?}: {reason}"));
    }
    if is_asked {
        return Progress::Underway;
    }
    hindrance(container, &wanted).map_or(Progress::Unasked, |hindrance| Progress::Never(hindrance.to_owned()))
}

/// Whether it makes sense to ask.
pub(super) fn may_be(pod: &Pod, size: &Rendered) -> bool {
    container(pod, size).is_some_and(|container| hindrance(container, &amounts(size)).is_none())
}

/// What is asked for, as `spec.containers` of a patch.
pub(super) fn asked(size: &Rendered) -> Value {
    let of = |kind: &str| {
        let all = size.resources.get(kind).and_then(Value::as_object).cloned().unwrap_or_default();
        all.into_iter().filter(|(name, _)| RESIZABLE.contains(&name.as_str())).collect::<serde_json::Map<_, _>>()
    };
    json!([{ "name": size.container, "resources": { "requests": of("requests"), "limits": of("limits") } }])
}

fn container<'a>(pod: &'a Pod, size: &Rendered) -> Option<&'a Container> {
    pod.spec.containers.iter().find(|container| container.name == size.container)
}

fn amounts(size: &Rendered) -> Amounts {
    serde_json::from_value(size.resources.clone()).unwrap_or_default()
}

fn hindrance(container: &Container, wanted: &Amounts) -> Option<&'static str> {
    let pairs = || [(&container.resources.requests, &wanted.requests), (&container.resources.limits, &wanted.limits)];
    if pairs().iter().any(|(has, wanted)| !wanted.keys().all(|name| has.contains_key(name))) {
        return Some("resources would be added");
    }
    let changes = |(has, wanted): (&Texts, &Texts)| -> Vec<String> {
        let differs = |name: &&String| !is_same(name, has.get(*name), wanted.get(*name));
        wanted.keys().filter(differs).cloned().collect()
    };
    let changed: Vec<String> = pairs().into_iter().flat_map(changes).collect();
    if changed.iter().any(|name| !RESIZABLE.contains(&name.as_str())) {
        return Some("more than CPU and memory would change");
    }
    let restarts = container
        .resize_policy
        .iter()
        .any(|policy| policy.restart_policy == "RestartContainer" && changed.contains(&policy.resource_name));
    restarts.then_some("it would be restarted")
}

fn is_in_force(pod: &Pod, size: &Rendered, wanted: &Amounts) -> bool {
    let status = pod.status.container_statuses.iter().find(|status| status.name == size.container);
    status.and_then(|status| status.resources.as_ref()).is_some_and(|in_force| is_of(in_force, wanted))
}

fn is_of(has: &Amounts, wanted: &Amounts) -> bool {
    let holds =
        |(has, wanted): (&Texts, &Texts)| wanted.iter().all(|(name, of)| is_same(name, has.get(name), Some(of)));
    holds((&has.requests, &wanted.requests)) && holds((&has.limits, &wanted.limits))
}

fn is_same(name: &str, one: Option<&String>, other: Option<&String>) -> bool {
    let read = |text: Option<&String>| text.and_then(|text| quantity(text));
    let (Some(one), Some(other)) = (read(one), read(other)) else { return false };
    let coarse = if name == "cpu" { TOLERANCE_CORES } else { 0.0 };
    (one - other).abs() <= (TOLERANCE * other).max(coarse)
}
