//! From the wire to the domain and back: what makes no sense is named, and nothing of it is used.

use std::collections::BTreeSet;

use forebay_plan::capacity::{Amounts, Group, Instance, InstanceState, Shape, Target};

use super::protocol::{
    ApplyAnswer, ApplyRequest, MAX_INSTANCES, MAX_UNREACHABLE, ObserveAnswer, WireFailure, WireFailureKind, WireGroup,
    WireInstance, WireShape, WireState, WireUsage,
};
use crate::{Applied, FailureKind, GroupFailure, InstanceUsage, Observed, Order};

/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 256;
/// Characters of a failure's detail that are kept.
const DETAIL_CHARS_MAX: usize = 1_000;

impl TryFrom<ObserveAnswer> for Observed {
    type Error = String;

    fn try_from(answer: ObserveAnswer) -> Result<Self, String> {
        if answer.instances.len() > MAX_INSTANCES {
            return Err(format!("{} instances, where {MAX_INSTANCES} are the most", answer.instances.len()));
        }
        if answer.unreachable.len() > MAX_UNREACHABLE {
            let pools = answer.unreachable.len();
            return Err(format!("{pools} pools that cannot be seen, where {MAX_UNREACHABLE} are the most"));
        }
        let mut ids = BTreeSet::new();
        for instance in &answer.instances {
            if !ids.insert(&instance.id) {
                return Err(format!("instance {:?} is there twice", instance.id));
            }
        }
        let used = |instance: &WireInstance| {
            let WireUsage { cpu_milli, memory_mib } = instance.usage?;
            let (cpu_milli, memory_mib) = (cpu_milli as f64, memory_mib as f64);
            Some(InstanceUsage { id: instance.id.clone(), cpu_milli, memory_mib })
        };
        let usage = answer.instances.iter().filter_map(used).collect();
        let ObserveAnswer { generation, instances, unreachable, .. } = answer;
        let instances = instances.into_iter().map(Instance::try_from).collect::<Result<_, _>>()?;
        Ok(Self { generation: generation.map(Into::into), instances, usage, unreachable })
    }
}

impl TryFrom<WireInstance> for Instance {
    type Error = String;

    fn try_from(wire: WireInstance) -> Result<Self, String> {
        let WireInstance { id, group, state, requested_ms, ready_ms, address, is_interrupted, usage: _ } = wire;
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(format!("an id of {} bytes, where 1 to {ID_BYTES_MAX} are allowed", id.len()));
        }
        if state == WireState::Ready && ready_ms.is_none() {
            return Err(format!("instance {id:?} is ready and has no ready_ms"));
        }
        if ready_ms.is_some_and(|ready_ms| ready_ms < requested_ms) {
            return Err(format!("instance {id:?} was ready before it was asked for"));
        }
        let (group, state) = (group.into(), state.into());
        Ok(Self { id, group, state, requested_ms, ready_ms, address, is_interrupted })
    }
}

impl From<Instance> for WireInstance {
    fn from(instance: Instance) -> Self {
        let Instance { id, group, state, requested_ms, ready_ms, address, is_interrupted } = instance;
        let (group, state) = (group.into(), state.into());
        Self { id, group, state, requested_ms, ready_ms, address, is_interrupted, usage: None }
    }
}

impl TryFrom<ApplyAnswer> for Applied {
    type Error = String;

    fn try_from(answer: ApplyAnswer) -> Result<Self, String> {
        let mut groups = BTreeSet::new();
        let mut failures = Vec::with_capacity(answer.failures.len());
        for failure in answer.failures {
            let failure = GroupFailure::from(failure);
            if !groups.insert(failure.group.clone()) {
                return Err(format!("{} failed twice", failure.group));
            }
            failures.push(failure);
        }
        Ok(Self { started: answer.started, stopped: answer.stopped, failures })
    }
}

impl From<WireFailure> for GroupFailure {
    fn from(wire: WireFailure) -> Self {
        let detail = wire.detail.chars().take(DETAIL_CHARS_MAX).collect();
        Self { group: wire.group.into(), kind: wire.kind.into(), detail }
    }
}

impl From<GroupFailure> for WireFailure {
    fn from(failure: GroupFailure) -> Self {
        Self { group: failure.group.into(), kind: failure.kind.into(), detail: failure.detail }
    }
}

impl From<&ApplyRequest> for Order {
    fn from(request: &ApplyRequest) -> Self {
        let targets =
            request.targets.iter().map(|t| Target { group: t.group.clone().into(), count: t.count }).collect();
        Self { generation: request.generation.into(), targets, shapes: request.shapes.iter().map(Into::into).collect() }
    }
}

impl From<&Shape> for WireShape {
    fn from(shape: &Shape) -> Self {
        // Generated shapes lie on a grid of whole amounts.
        let [cpu_milli, memory_mib, storage_gib, disk_iops, network_mbps, gpus] =
            shape.offers.as_array().map(|amount| amount.ceil() as u64);
        Self { name: shape.name.clone(), cpu_milli, memory_mib, storage_gib, disk_iops, network_mbps, gpus }
    }
}

impl From<&WireShape> for Shape {
    /// Price and profile are the controller's alone.
    fn from(wire: &WireShape) -> Self {
        let WireShape { name, cpu_milli, memory_mib, storage_gib, disk_iops, network_mbps, gpus } = wire;
        let amounts = [cpu_milli, memory_mib, storage_gib, disk_iops, network_mbps, gpus].map(|amount| *amount as f64);
        Self { name: name.clone(), offers: Amounts::from_array(amounts), price_micros_per_h: 0, performance: 1.0 }
    }
}

impl From<WireGroup> for Group {
    fn from(WireGroup { service, pool, shape }: WireGroup) -> Self {
        Self { service, pool, shape }
    }
}

impl From<Group> for WireGroup {
    fn from(Group { service, pool, shape }: Group) -> Self {
        Self { service, pool, shape }
    }
}

/// One name on both sides.
macro_rules! same_names {
    ($wire:ident, $domain:ident: $($name:ident),+) => {
        impl From<$wire> for $domain {
            fn from(wire: $wire) -> Self {
                match wire { $($wire::$name => Self::$name,)+ }
            }
        }
        impl From<$domain> for $wire {
            fn from(domain: $domain) -> Self {
                match domain { $($domain::$name => Self::$name,)+ }
            }
        }
    };
}

same_names!(WireState, InstanceState: Requested, Starting, Warming, Ready, Draining, Gone);
same_names!(WireFailureKind, FailureKind: QuotaExceeded, OutOfCapacity, Unknown, Failed);
