//! The subresource `pods/resize`: whether it is there, and what it refuses.
//!
//! After KEP-1287 and the task page "Resize CPU and Memory Resources assigned to Containers": only amounts of CPU and memory
//! may change, none may be added or removed here, the pod stays in its class of service, and before 1.34 no memory limit
//! goes down without a restart.

use serde_json::Value;

use super::Answer;
use super::store::{amount, status};

/// What the server knows of resizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Resize {
    /// Before 1.33: the subresource is not there.
    #[default]
    Unknown,
    /// 1.33: memory limits only rise.
    LimitsRise,
    /// From 1.34 on.
    Known,
}

/// Whether a resize may be asked for.
pub(super) fn check(before: &Value, after: &Value, knows: Resize) -> Result<(), Answer> {
    let invalid = |message: &str| Err(status(422, "Invalid", message));
    if knows == Resize::Unknown {
        return Err(status(404, "NotFound", "the server could not find the requested resource"));
    }
    if without_resources(before) != without_resources(after) {
        return invalid("spec: Forbidden: only cpu and memory resources are mutable");
    }
    for (was, is) in containers(before).zip(containers(after)) {
        for kind in ["requests", "limits"] {
            let amounts = |container: &Value| container["resources"][kind].as_object().cloned().unwrap_or_default();
            let (was, is) = (amounts(was), amounts(is));
            if !was.keys().eq(is.keys()) {
                return invalid("resources: Forbidden: resource requests and limits cannot be added or removed");
            }
            if was.iter().any(|(name, was)| name != "cpu" && name != "memory" && is[name] != *was) {
                return invalid("spec: Forbidden: only cpu and memory resources are mutable");
            }
        }
        let memory = |container: &Value| amount(container["resources"]["limits"]["memory"].as_str().unwrap_or("0"));
        if knows == Resize::LimitsRise && memory(is) < memory(was) {
            return invalid("memory limits cannot be decreased unless resizePolicy is RestartContainer");
        }
    }
    if is_guaranteed(before) != is_guaranteed(after) {
        return invalid("metadata: Invalid value: Pod QOS Class may not change as a result of resizing");
    }
    Ok(())
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["containers"].as_array().into_iter().flatten()
}

fn without_resources(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        container["resources"] = Value::Null;
    }
    pod
}

fn is_guaranteed(pod: &Value) -> bool {
    containers(pod).all(|container| {
        let resources = &container["resources"];
        let is_fixed = |name: &str| {
            let limit = resources["limits"][name].as_str();
            limit.is_some_and(|limit| {
                resources["requests"][name].as_str().is_none_or(|request| amount(request) == amount(limit))
            })
        };
        is_fixed("cpu") && is_fixed("memory")
    })
}
