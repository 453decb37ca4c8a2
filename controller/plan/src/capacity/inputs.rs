//! Everything that capacity is planned from, at one moment.
//!
//! The planner has no clock and keeps nothing: what it must know of the past (who was wanted when, what was spent) stands
//! here. Times are unix seconds; step 0 begins at `now_s`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Budget, CapacityPlan, ComputeType, Group, Instance, InstanceState, Latencies, Maintenance, Outlook, Pool,
    Reservation, Service, Shape, Tier,
};

/// Everything that capacity is planned from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CapacityInputs {
    /// The moment of planning, unix seconds.
    pub now_s: u64,
    /// Length of a step, in seconds.
    pub step_s: u32,
    /// Number of steps that are planned.
    pub steps: usize,
    /// Longest time until the next plan is carried out, in seconds: budgets hold if it is kept.
    pub decide_every_s: u32,
    /// The services, by unique names.
    pub services: Vec<Service>,
    /// By service. One without an outlook keeps what it has.
    pub outlooks: BTreeMap<String, Outlook>,
    /// Sizes that instances may have.
    pub shapes: Vec<Shape>,
    /// Names of those that nothing more is bought of: their instances count and are paid for, and are replaced.
    pub retired_shapes: BTreeSet<String>,
    /// The tiers that pools name.
    pub tiers: Vec<Tier>,
    /// Where instances may come from.
    pub pools: Vec<PoolOffer>,
    /// What there is, by group.
    pub fleet: BTreeMap<Group, Fleet>,
    /// From where to where, in milliseconds.
    pub latencies: Latencies,
    /// Capacity promised ahead of time.
    pub reservations: Vec<Reservation>,
    /// Hard limits of money.
    pub budgets: Vec<Budget>,
    /// When pools have less.
    pub maintenance: Vec<Maintenance>,
    /// When each group was last wanted at its number.
    pub dwell: DwellMemory,
}

/// A pool, with what is known of it at present.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolOffer {
    /// The pool.
    pub pool: Pool,
    /// Highest that its price factor can become, in thousandths; never below the pool's own. Budgets count with it.
    pub price_max_milli: u64,
    /// An instance is paid for at least so long, in seconds.
    pub billing_min_s: f64,
    /// Instances that can be started at present beside those there are; `None` when nothing but its size limits it. A pool
    /// that refused is given 0 until it is tried again.
    pub startable: Option<u32>,
    /// By service: the work that a core does here for it beside what is declared, as learned. 1 where it is not named.
    pub cpu_factors: BTreeMap<String, f64>,
    /// Names of the shapes that it has; empty for all.
    pub shapes: BTreeSet<String>,
}

impl PoolOffer {
    /// What the declared work of a core is multiplied by here, for a service.
    #[must_use]
    pub fn cpu_factor(&self, service: &str) -> f64 {
        self.cpu_factors.get(service).copied().unwrap_or(1.0)
    }

    /// Whether it has instances of a shape. Accelerators are only where the compute type says so.
    #[must_use]
    pub fn has(&self, shape: &Shape) -> bool {
        (self.shapes.is_empty() || self.shapes.contains(&shape.name))
            && (shape.offers.gpus <= 0.0 || self.pool.compute == ComputeType::Gpu)
    }
}

impl From<Pool> for PoolOffer {
    /// A pool whose price does not move, which bills by the second, refuses nothing, has every shape and does the work that is
    /// declared.
    fn from(pool: Pool) -> Self {
        let (cpu_factors, shapes) = (BTreeMap::new(), BTreeSet::new());
        Self { price_max_milli: pool.price_milli, billing_min_s: 0.0, startable: None, cpu_factors, shapes, pool }
    }
}

/// How many instances a group has, by what can be done with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Requested, starting or warming.
    pub coming: u32,
    /// Ready, and nothing is known to take them away.
    pub ready: u32,
    /// Ready or coming, and known to be taken away soon: they count for the group's number, not for its capacity.
    pub doomed: u32,
    /// Draining: still paid for.
    pub draining: u32,
    /// Milliseconds that those which drain are still paid for at most, added up over all of them; `None` where that is not
    /// known, then the whole drain of the service (or what the pool bills at least, if that is longer) is counted once more
    /// for each. One number for the longest would not do: who joins those that are nearly gone would make them dear again.
    pub draining_left_ms: Option<u64>,
}

impl Fleet {
    /// What counts towards the group's target.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.coming + self.ready + self.doomed
    }

    /// Counts instances by group; those that are gone are left out. How long draining ones are still paid is not known.
    #[must_use]
    pub fn count<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> BTreeMap<Group, Self> {
        Self::count_paid(instances, |_| None)
    }

    /// The same, where it is known how many milliseconds a draining instance is still paid for at most.
    #[must_use]
    pub fn count_paid<'a>(
        instances: impl IntoIterator<Item = &'a Instance>,
        left_ms: impl Fn(&Instance) -> Option<u64>,
    ) -> BTreeMap<Group, Self> {
        let mut fleet: BTreeMap<Group, Self> = BTreeMap::new();
        for instance in instances {
            if instance.state == InstanceState::Gone {
                continue;
            }
            let of = fleet.entry(instance.group.clone()).or_default();
            match instance.state {
                InstanceState::Draining => {
                    let before = if of.draining == 0 { Some(0) } else { of.draining_left_ms };
                    of.draining_left_ms = before.zip(left_ms(instance)).map(|(sum, more)| sum.saturating_add(more));
                    of.draining += 1;
                }
                _ if instance.is_interrupted => of.doomed += 1,
                InstanceState::Ready => of.ready += 1,
                _ => of.coming += 1,
            }
        }
        fleet
    }
}

/// When each group was last wanted at the number it has, unix seconds: what minimum dwell is counted from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DwellMemory(BTreeMap<Group, u64>);

impl DwellMemory {
    /// When the group was last wanted at its number or above; `None` when it never was.
    #[must_use]
    pub fn last_wanted_s(&self, group: &Group) -> Option<u64> {
        self.0.get(group).copied()
    }

    /// All groups and when they were last wanted, unix seconds.
    pub fn iter(&self) -> impl Iterator<Item = (&Group, u64)> {
        self.0.iter().map(|(group, at_s)| (group, *at_s))
    }

    /// Notes a group as wanted, as after a restart that lost the memory.
    pub fn note(&mut self, group: Group, at_s: u64) {
        self.0.insert(group, at_s);
    }

    /// Takes in a plan that was made at `now_s` and is being carried out. Groups that ended are forgotten.
    pub fn remember(&mut self, plan: &CapacityPlan, now_s: u64) {
        for group in &plan.report.groups {
            if group.to == 0 {
                self.0.remove(&group.group);
            } else if group.wanted >= group.to {
                self.0.insert(group.group.clone(), now_s);
            }
        }
    }
}
