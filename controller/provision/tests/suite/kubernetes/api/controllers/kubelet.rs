//! What kubelets do about resources: report those that are in force, and bring them to what a resize asks for.
//!
//! After KEP-1287: `spec` is what is desired, `status.containerStatuses[].resources` what is in force; a resize that cannot be
//! is `PodResizePending` with the reason `Infeasible` or `Deferred`, one that is being done `PodResizeInProgress`.

use serde_json::{Value, json};

use super::{condition, set_condition};

/// What becomes of a resize.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Resizing {
    /// It is in progress for a step, then done.
    #[default]
    Done,
    /// The node has no room at present.
    Deferred,
    /// The node never has.
    Infeasible,
    /// The kubelet knows no resizes, and says nothing.
    Ignored,
}

/// Containers as they run.
pub(super) fn statuses(pod: &Value) -> Value {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let state = json!({ "running": {} });
    containers
        .map(|container| {
            json!({ "name": container["name"], "image": container["image"], "imageID": "", "ready": true,
                "restartCount": 0, "state": state, "resources": container["resources"] })
        })
        .collect()
}

/// Goes a step further with a resize.
pub(super) fn resize(pod: &mut Value, resizing: Resizing) {
    let names = ["PodResizePending", "PodResizeInProgress"];
    let is_so = pod["status"]["phase"] != "Running" || wanted(pod) == in_force(pod);
    if is_so || resizing == Resizing::Ignored {
        if let Some(conditions) = pod["status"]["conditions"].as_array_mut().filter(|_| is_so) {
            conditions.retain(|condition| names.iter().all(|name| condition["type"] != *name));
        }
        return;
    }
    match resizing {
        Resizing::Done if condition(pod, "PodResizeInProgress").is_some() => {
            pod["status"]["containerStatuses"] = statuses(pod);
            if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
                conditions.retain(|condition| names.iter().all(|name| condition["type"] != *name));
            }
        }
        Resizing::Done => set_condition(pod, "PodResizeInProgress", ("True", "", "")),
        Resizing::Deferred | Resizing::Infeasible => {
            let reason = if resizing == Resizing::Deferred { "Deferred" } else { "Infeasible" };
            if condition(pod, "PodResizePending").is_none_or(|pending| pending["reason"] != reason) {
                set_condition(pod, "PodResizePending", ("True", reason, "Node didn't have enough resource: cpu"));
            }
        }
        Resizing::Ignored => {}
    }
}

fn wanted(pod: &Value) -> Vec<Value> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    containers.map(|container| container["resources"].clone()).collect()
}

fn in_force(pod: &Value) -> Vec<Value> {
    let containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    containers.map(|container| container["resources"].clone()).collect()
}
