//! What is outside of the loop: instances that start, run and end on a clock moved by hand, with faults.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use forebay_plan::capacity::{Generation, Group, Instance, InstanceState};
use forebay_provision::{
    Applied, FailureKind, GroupFailure, InstanceManager, InstanceUsage, Observed, Order, ProvisionError,
};

use crate::clock::wall_now_ms;
use crate::clock::{Clock, ManualClock};

/// Real milliseconds until an instance is ready, where nothing else is said.
const LEAD_MS: u64 = 60_000;
const DRAIN_MS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// Nothing answers.
    Down,
    /// What is answered makes no sense.
    Nonsense,
    /// Orders are carried out, and their answers lost.
    AnswerLost,
    /// A pool says it does, and does nothing.
    Lies(&'static str),
    /// What is started in a pool does not become ready.
    Hangs(&'static str),
    /// Of what is ordered there is always one more.
    OneMore,
    /// A pool interrupts all that it has and is given; after one look it is gone.
    TakesBack(&'static str),
    /// A pool has no more.
    Quota(&'static str),
    /// A pool cannot be seen; of its instances what was known is repeated, and nothing happens to them.
    Lost(&'static str),
    /// The same after a restart, when nothing is known.
    Unknown(&'static str),
    /// Only one shape is known.
    Knows(&'static str),
}

#[derive(Default)]
struct World {
    instances: Vec<Instance>,
    generation: Option<Generation>,
    fault: Option<Fault>,
    started: usize,
    /// Generations that were taken.
    orders: usize,
    drained_ms: Vec<(String, u64)>,
    work: Option<Work>,
    /// What it is troubled by.
    troubles: Vec<String>,
    /// Sizes that the last order described.
    described: Vec<String>,
}

/// What instances are given to do, evenly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) units_per_s: f64,
    /// What a core really does.
    pub(super) core_units_per_s: f64,
    pub(super) memory_mib: f64,
}

impl World {
    fn usage(&self) -> Vec<InstanceUsage> {
        let ready = || self.instances.iter().filter(|one| one.state == InstanceState::Ready);
        let count = ready().count() as f64;
        let Some(Work { units_per_s, core_units_per_s, memory_mib }) = self.work else { return Vec::new() };
        let cpu_milli = 1000.0 * units_per_s / count / core_units_per_s;
        ready().map(|one| InstanceUsage { id: one.id.clone(), cpu_milli, memory_mib }).collect()
    }
}

pub(super) struct Outside {
    clock: Arc<ManualClock>,
    began_ms: u64,
    lead_ms: AtomicU64,
    /// How much its clock is ahead of the controller's.
    ahead_ms: AtomicI64,
    world: Mutex<World>,
}

/// The manager; the outside lives on when it does not.
pub(super) struct OutsideManager(pub(super) Arc<Outside>);

impl Outside {
    pub(super) fn trouble(&self, trouble: &str) {
        self.world.lock().unwrap().troubles.push(trouble.to_owned());
    }

    pub(super) fn new(clock: Arc<ManualClock>) -> Self {
        let (lead_ms, ahead_ms) = (AtomicU64::new(LEAD_MS), AtomicI64::new(0));
        Self { clock, began_ms: wall_now_ms(), lead_ms, ahead_ms, world: Mutex::default() }
    }

    pub(super) fn takes(&self, lead_ms: u64) {
        self.lead_ms.store(lead_ms, Ordering::Relaxed);
    }

    pub(super) fn is_ahead(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }

    /// Instances that were ready before anybody looked.
    pub(super) fn place(&self, group: &Group, count: usize) {
        let now_ms = self.now_ms();
        let ready = |place: usize| Instance {
            id: format!("placed{place}"),
            group: group.clone(),
            state: InstanceState::Ready,
            requested_ms: now_ms - 1,
            ready_ms: Some(now_ms),
            address: Some(([127, 0, 0, 1], 500 + place as u16).into()),
            is_interrupted: false,
        };
        self.world.lock().unwrap().instances.extend((0..count).map(ready));
    }

    pub(super) fn set(&self, fault: Option<Fault>) {
        self.world.lock().unwrap().fault = fault;
    }

    pub(super) fn described(&self) -> Vec<String> {
        self.world.lock().unwrap().described.clone()
    }

    pub(super) fn work(&self, work: Work) {
        self.world.lock().unwrap().work = Some(work);
    }

    pub(super) fn take_generation(&self, epoch: u64, sequence: u64) {
        self.world.lock().unwrap().generation = Some(Generation { epoch, sequence });
    }

    pub(super) fn instances(&self) -> Vec<Instance> {
        self.world.lock().unwrap().instances.clone()
    }

    pub(super) fn count(&self, which: impl Fn(&Instance) -> bool) -> usize {
        self.instances().iter().filter(|one| which(one)).count()
    }

    pub(super) fn started(&self) -> usize {
        self.world.lock().unwrap().started
    }

    /// Instances that were told to drain.
    pub(super) fn stopped(&self) -> usize {
        self.world.lock().unwrap().drained_ms.len()
    }

    pub(super) fn orders(&self) -> usize {
        self.world.lock().unwrap().orders
    }

    pub(super) fn generation(&self) -> Option<Generation> {
        self.world.lock().unwrap().generation
    }

    pub(super) fn interrupt_all(&self) {
        self.world.lock().unwrap().instances.iter_mut().for_each(|one| one.is_interrupted = true);
    }

    pub(super) fn end_interrupted(&self) {
        self.world.lock().unwrap().instances.retain(|one| !one.is_interrupted);
    }

    pub(super) fn now_ms(&self) -> u64 {
        let now_ms = self.began_ms + self.clock.steady_now().as_millis() as u64;
        now_ms.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }

    fn pass(&self, world: &mut World) {
        let now_ms = self.now_ms();
        let fault = world.fault;
        if let Some(Fault::TakesBack(pool)) = fault {
            world.instances.retain(|one| one.group.pool != pool || !one.is_interrupted);
            let taken = world.instances.iter_mut().filter(|one| one.group.pool == pool);
            taken.for_each(|one| one.is_interrupted = true);
        }
        let hangs = |pool: &str| matches!(fault, Some(Fault::Hangs(hanging)) if hanging == pool);
        for one in world.instances.iter_mut().filter(|one| !hangs(&one.group.pool)) {
            if one.state < InstanceState::Ready && now_ms >= one.requested_ms + self.lead_ms.load(Ordering::Relaxed) {
                one.state = InstanceState::Ready;
                one.ready_ms = Some(now_ms);
            }
        }
        let ended = |id: &str| world.drained_ms.iter().any(|(one, at_ms)| one == id && now_ms >= at_ms + DRAIN_MS);
        world.instances.retain(|one| !ended(&one.id));
    }
}

impl InstanceManager for OutsideManager {
    async fn observe(&self) -> Result<Observed, ProvisionError> {
        let mut world = self.0.world.lock().unwrap();
        let operation = "observe";
        match world.fault {
            Some(Fault::Down) => return Err(ProvisionError::Unreachable { operation, detail: "down".to_owned() }),
            Some(Fault::Nonsense) => return Err(ProvisionError::Malformed { operation, detail: "?".to_owned() }),
            _ => {}
        }
        self.0.pass(&mut world);
        let mut instances = world.instances.clone();
        let unreachable = match world.fault {
            Some(Fault::Lost(pool)) => BTreeSet::from([pool.to_owned()]),
            Some(Fault::Unknown(pool)) => {
                instances.retain(|one| one.group.pool != pool);
                BTreeSet::from([pool.to_owned()])
            }
            _ => BTreeSet::new(),
        };
        Ok(Observed { generation: world.generation, instances, usage: world.usage(), unreachable })
    }

    async fn apply(&self, order: &Order) -> Result<Applied, ProvisionError> {
        let mut world = self.0.world.lock().unwrap();
        if let Some(taken) = world.generation.filter(|taken| *taken > order.generation) {
            return Err(ProvisionError::StaleGeneration { asked: order.generation, taken });
        }
        if world.generation.replace(order.generation) != Some(order.generation) {
            world.orders += 1;
        }
        world.described = order.shapes.iter().map(|shape| shape.name.clone()).collect();
        let mut applied = Applied::default();
        let now_ms = self.0.now_ms();
        let is_lost =
            |pool: &str| matches!(world.fault, Some(Fault::Lost(lost) | Fault::Unknown(lost)) if lost == pool);
        let mut groups: Vec<_> = order.targets.clone();
        groups.retain(|target| !is_lost(&target.group.pool));
        for one in world.instances.iter().filter(|one| !is_lost(&one.group.pool)) {
            if !groups.iter().any(|target| target.group == one.group) {
                groups.push(forebay_plan::capacity::Target { group: one.group.clone(), count: 0 });
            }
        }
        let more = u32::from(world.fault == Some(Fault::OneMore));
        for mut target in groups {
            target.count += if target.count > 0 { more } else { 0 };
            let there = world.instances.iter().filter(|one| one.group == target.group && one.state.is_wanted()).count();
            let missing = (target.count as usize).saturating_sub(there);
            let pool = target.group.pool.as_str();
            if missing > 0 && world.fault == Some(Fault::Quota(if pool == "near" { "near" } else { "far" })) {
                let (group, detail) = (target.group.clone(), "10 of 10".to_owned());
                applied.failures.push(GroupFailure { group, kind: FailureKind::QuotaExceeded, detail });
                continue;
            }
            if missing > 0 && matches!(world.fault, Some(Fault::Knows(shape)) if shape != target.group.shape) {
                let (group, detail) = (target.group.clone(), "no such size".to_owned());
                applied.failures.push(GroupFailure { group, kind: FailureKind::Unknown, detail });
                continue;
            }
            applied.started += missing as u32;
            if world.fault == Some(Fault::Lies(if pool == "near" { "near" } else { "far" })) {
                continue;
            }
            for _ in 0..missing {
                world.started += 1;
                let id = format!("i{}", world.started);
                let port = 1000 + world.started as u16;
                world.instances.push(Instance {
                    id,
                    group: target.group.clone(),
                    state: InstanceState::Starting,
                    requested_ms: now_ms,
                    ready_ms: None,
                    address: Some(([127, 0, 0, 1], port).into()),
                    is_interrupted: false,
                });
            }
            for _ in 0..there.saturating_sub(target.count as usize) {
                let youngest = world
                    .instances
                    .iter_mut()
                    .filter(|one| one.group == target.group && one.state.is_wanted())
                    .max_by_key(|one| (one.is_interrupted, one.requested_ms));
                let Some(youngest) = youngest else { break };
                youngest.state = InstanceState::Draining;
                let id = youngest.id.clone();
                world.drained_ms.push((id, now_ms));
                applied.stopped += 1;
            }
        }
        if world.fault == Some(Fault::AnswerLost) {
            let detail = "connection closed".to_owned();
            return Err(ProvisionError::Unreachable { operation: "apply", detail });
        }
        Ok(applied)
    }

    fn troubles(&self) -> Vec<String> {
        self.0.world.lock().unwrap().troubles.clone()
    }
}
