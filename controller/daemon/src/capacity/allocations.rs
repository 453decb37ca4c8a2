//! Allocations: capacity that somebody asked for ahead of time, from the asking to its end.
//!
//! An allocation is a promise that the planner keeps like demand ([`Reservation`]). It is *pending* until what was promised
//! is ready, then *allocated*, until its window ends or it is cancelled. What could not be promised never becomes one: the
//! request is refused with the constraint that stands against it ([`super::asks`]).

use std::collections::{BTreeMap, BTreeSet};

use forebay_plan::capacity::{
    Asked, CapacityInputs, CapacityPlan, Group, Instance, InstanceState, Reservation, Within,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::board::serves_per_s;
use super::selecting::Scored;
use super::spending::Instant;

/// Allocations that are kept after their end, for people to look up; with their requests about a kilobyte each.
const MAX_ENDED: usize = 10_000;

/// What was asked for, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) service: String,
    /// One of the two is given, or both with a trade-off.
    pub(crate) replicas: Option<u32>,
    pub(crate) capacity_per_s: Option<f64>,
    pub(crate) region: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) shape: Option<String>,
    /// Calendar, unix seconds.
    pub(crate) from_s: i64,
    pub(crate) to_s: i64,
    /// Whether its demand comes on top of what is forecast.
    pub(crate) is_on_top: bool,
    /// Between cost only, 0, and performance only, 1: the shape was chosen by it ([`super::selecting`]).
    #[serde(default)]
    pub(crate) tradeoff: Option<f64>,
}

/// What tells a request that is sent again from another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// As the client chose it.
    pub(crate) idempotency_key: String,
    /// The request as it was written. What was made of it does not do: a window without a beginning begins when it is asked for,
    /// later the second time, and an allocation may be extended in between.
    pub(crate) request: String,
}

/// Where an allocation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AllocationState {
    Pending,
    Allocated,
    Ended,
    Cancelled,
}

impl AllocationState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Allocated => "allocated",
            Self::Ended => "ended",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Allocated)
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Allocation {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) sent: Option<Sent>,
    pub(crate) wanted: Wanted,
    pub(crate) state: AllocationState,
    /// Wall time, unix milliseconds.
    pub(crate) made_ms: u64,
    /// Whether all of it is ready at present; what was lost of it is replaced.
    #[serde(default)]
    pub(crate) is_ready: bool,
    /// When it is expected to be ready, calendar unix seconds, and how probable that is. Once it is over and nothing came, a
    /// later one is said.
    pub(crate) eta_s: i64,
    pub(crate) confidence: f64,
    /// Instances that the plan set aside for it when it was made, by group as `pool/shape`.
    pub(crate) planned: BTreeMap<String, u32>,
    /// The shapes that a trade-off was made between, the best first.
    #[serde(default)]
    pub(crate) scores: Vec<Scored>,
}

impl Allocation {
    pub(crate) fn reservation(&self) -> Reservation {
        let Wanted { service, replicas, capacity_per_s, region, pool, shape, from_s, to_s, is_on_top, tradeoff: _ } =
            self.wanted.clone();
        let asked = match (replicas, capacity_per_s) {
            (Some(count), _) => Asked::Instances(count),
            (None, per_s) => Asked::UnitsPerS(per_s.unwrap_or(0.0)),
        };
        let (from_s, to_s) = (from_s.unsigned_abs(), to_s.unsigned_abs());
        let within = Within { pool, location: region, shape };
        Reservation { id: self.id.clone(), service, asked, within, is_on_top, from_s, to_s }
    }

    /// For answers.
    pub(crate) fn as_json(&self) -> Value {
        let wanted = &self.wanted;
        let score = |one: &Scored| {
            json!({
                "shape": one.shape, "score": one.score, "performance": one.performance,
                "cost": one.cost_micros as f64 / 1e6,
            })
        };
        json!({
            "id": self.id, "state": self.state.name(), "service": wanted.service, "replicas": wanted.replicas,
            "capacity_per_s": wanted.capacity_per_s, "region": wanted.region, "pool": wanted.pool,
            "shape": wanted.shape, "from_s": wanted.from_s, "to_s": wanted.to_s, "on_top": wanted.is_on_top,
            "ready": self.is_ready, "made_unix_ms": self.made_ms, "eta_s": self.eta_s, "confidence": self.confidence,
            "planned": self.planned,
            "tradeoff": wanted.tradeoff, "scores": self.scores.iter().map(score).collect::<Vec<_>>(),
        })
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Allocations {
    all: Vec<Allocation>,
    /// Ids of those that are to be written down.
    changed: BTreeSet<String>,
    /// Of those that were made in this run, for their ids.
    made: u64,
}

impl Allocations {
    /// As stored, oldest first.
    pub(crate) fn of(all: Vec<Allocation>) -> Self {
        Self { all, ..Self::default() }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Allocation> {
        self.all.iter()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Allocation> {
        self.all.iter().find(|one| one.id == id)
    }

    /// The one that was made under an idempotency key.
    pub(crate) fn by_key(&self, key: &str) -> Option<&Allocation> {
        self.all.iter().find(|one| one.sent.as_ref().is_some_and(|sent| sent.idempotency_key == key))
    }

    pub(super) fn open(&self) -> usize {
        self.all.iter().filter(|one| one.state.is_open()).count()
    }

    /// An id that no allocation has.
    pub(super) fn next_id(&mut self, epoch: u64) -> String {
        self.made += 1;
        format!("{epoch:x}-{}", self.made)
    }

    pub(super) fn put(&mut self, allocation: Allocation) {
        self.changed.insert(allocation.id.clone());
        match self.all.iter_mut().find(|one| one.id == allocation.id) {
            Some(there) => *there = allocation,
            None => self.all.push(allocation),
        }
    }

    /// What the planner is to keep from `now_s` on.
    pub(super) fn reservations(&self, now_s: i64) -> Vec<Reservation> {
        let open = self.all.iter().filter(|one| one.state.is_open() && one.wanted.to_s > now_s);
        open.map(Allocation::reservation).collect()
    }

    /// Brings the states up to date with what is there.
    pub(super) fn move_on(
        &mut self,
        inputs: &CapacityInputs,
        plan: &CapacityPlan,
        instances: &[Instance],
        now: Instant,
    ) {
        for one in self.all.iter_mut().filter(|one| one.state.is_open()) {
            let is_over = one.wanted.to_s <= now.calendar_s as i64;
            one.is_ready = !is_over && is_there(&one.wanted, inputs, plan, instances);
            let state = if is_over {
                AllocationState::Ended
            } else if one.is_ready {
                AllocationState::Allocated
            } else {
                AllocationState::Pending
            };
            // What was ready once stays allocated: replacing a lost instance is the plan's work, not a new promise.
            if one.state != state && !(one.state == AllocationState::Allocated && state == AllocationState::Pending) {
                tracing::info!(allocation = one.id, from = one.state.name(), to = state.name(), "allocation");
                one.state = state;
                self.changed.insert(one.id.clone());
            }
        }
        let ended = self.all.iter().filter(|one| !one.state.is_open()).count();
        let mut surplus = ended.saturating_sub(MAX_ENDED);
        self.all.retain(|one| {
            let leaves = surplus > 0 && !one.state.is_open();
            surplus -= usize::from(leaves);
            !leaves
        });
    }

    /// Those that should have been ready before `now_s` and are not.
    pub(super) fn late(&mut self, now_s: i64) -> impl Iterator<Item = &mut Allocation> {
        self.all.iter_mut().filter(move |one| one.state == AllocationState::Pending && one.eta_s < now_s)
    }

    /// Those that are to be written down.
    pub(super) fn take_changed(&mut self) -> Vec<Allocation> {
        let changed = std::mem::take(&mut self.changed);
        self.all.iter().filter(|one| changed.contains(&one.id)).cloned().collect()
    }

    /// They could not be written down.
    pub(super) fn all_changed(&mut self) {
        self.changed = self.all.iter().map(|one| one.id.clone()).collect();
    }
}

/// Whether a group is one that was asked for.
pub(super) fn matches(wanted: &Wanted, inputs: &CapacityInputs, group: &Group) -> bool {
    let location = inputs.pools.iter().find(|offer| offer.pool.name == group.pool).map(|offer| &offer.pool.location);
    let is = |asked: &Option<String>, has: Option<&String>| asked.is_none() || asked.as_ref() == has;
    wanted.service == group.service
        && is(&wanted.region, location)
        && is(&wanted.pool, Some(&group.pool))
        && is(&wanted.shape, Some(&group.shape))
}

/// Whether what was asked for is ready, beside what the service needs otherwise.
pub(super) fn is_there(wanted: &Wanted, inputs: &CapacityInputs, plan: &CapacityPlan, instances: &[Instance]) -> bool {
    let ready = instances.iter().filter(|one| one.state == InstanceState::Ready && !one.is_interrupted);
    let matching: Vec<&Instance> = ready.filter(|one| matches(wanted, inputs, &one.group)).collect();
    let enough = match (wanted.replicas, wanted.capacity_per_s) {
        (Some(count), _) => matching.len() >= count as usize,
        (None, per_s) => {
            let there: f64 = matching.iter().filter_map(|one| serves_per_s(inputs, &one.group)).sum();
            there >= per_s.unwrap_or(0.0)
        }
    };
    let line = plan.report.services.iter().find(|line| line.service == wanted.service);
    enough && line.is_some_and(|line| line.ready_per_s >= line.need_per_s)
}
