//! What people and programs ask of the capacity loop: allocations, their change and their end.
//!
//! One at a time and in the loop, so that two requests never get the same last capacity. A request is tried on the planner:
//! the plan of this moment is made once without and once with it, and what the second is short of that the first is not is
//! the constraint that stands against it. A window beyond the planned horizon is held against what pools have in all and
//! what is promised of it. Source: seeds 11997021 and 11372686 (request, prediction, shape, capacity check, provisioning,
//! answer), SPEC C6 and C11.

use std::collections::BTreeMap;

use forebay_plan::capacity::{
    CapacityInputs, CapacityPlan, Generation, Group, PlanningLimits, ServiceReason, Target, plan_capacity,
};
use forebay_provision::{CALL_WITHIN, InstanceManager};
use tokio::sync::oneshot;

use super::CapacityLoop;
use super::allocations::{Allocation, AllocationState, Sent, Wanted, is_there, matches};
use super::board::serves_per_s;
use super::room::Room;
use super::selecting;
use super::spending::Instant;
use super::standing::StoodDown;
use super::tuning::TunerWord;
use crate::state::lock;

/// Most allocations that are not over.
const MAX_OPEN: usize = 1000;
/// Longest window, and how far ahead it may begin, calendar seconds: 90 days.
pub(crate) const FARTHEST_S: i64 = 90 * 86_400;

/// A manager that was not heard of for longer than a call to it may take does not answer.
const SILENT_AFTER_MS: u64 = CALL_WITHIN.as_millis() as u64;

/// Something that is asked of the loop.
pub(crate) enum Ask {
    Allocate { wanted: Wanted, sent: Option<Sent>, answer: Answer },
    Extend { id: String, to_s: i64, answer: Answer },
    Cancel { id: String, answer: Answer },
    Tune { service: String, word: TunerWord, answer: oneshot::Sender<Result<(), Denied>> },
}

type Answer = oneshot::Sender<Result<Allocation, Denied>>;

/// Why something that was asked is not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("no {what} is called {name:?}; GET {} lists what there is", listing(.what))]
    Unknown { what: &'static str, name: String },
    #[error("{0}")]
    Wrong(String),
    #[error("{detail}")]
    Impossible { constraint: &'static str, detail: String },
    #[error("{0}")]
    Conflict(String),
    #[error("a newer controller keeps the capacity (order {taken} was taken); ask that one")]
    StoodDown { taken: Generation },
    #[error("the instance manager does not answer at present, so nothing can be promised for soon; ask again")]
    NotSeen,
    #[error("the store can not be written at present; ask again with the same Idempotency-Key")]
    NotStored,
}

/// Where that which something may be called is listed.
fn listing(what: &str) -> &'static str {
    match what {
        "allocation" => "/v1/allocations",
        "shape" => "/v1/shapes",
        "region" | "pool" => "/v1/availability?service=SERVICE",
        _ => "/v1/capacity",
    }
}

impl<M: InstanceManager> CapacityLoop<M> {
    /// Answers; whether that changed what is to be planned.
    pub(super) fn answer(&mut self, ask: Ask) -> bool {
        let (decided, answer) = match (ask, self.standing.stood_down()) {
            (
                Ask::Allocate { answer, .. } | Ask::Extend { answer, .. } | Ask::Cancel { answer, .. },
                Some(StoodDown { taken, .. }),
            ) => {
                // A promise that nobody keeps is worse than none.
                let _ = answer.send(Err(Denied::StoodDown { taken }));
                return false;
            }
            (Ask::Allocate { wanted, sent, answer }, None) => (self.allocate(wanted, sent), answer),
            (Ask::Extend { id, to_s, answer }, None) => (self.extend(&id, to_s), answer),
            (Ask::Cancel { id, answer }, None) => (self.cancel(&id), answer),
            (Ask::Tune { service, word, answer }, _) => {
                let _ = answer.send(self.tune_as_told(service, word));
                return false;
            }
        };
        let changed = decided.is_ok();
        // Written down before it is told: a promise survives a crash. One that could not be stands all the same, is written
        // with the next turn, and is told when it is asked for again under its idempotency key.
        let is_stored = self.store_all();
        lock(&self.shared.capacity.view).allocations = self.allocations.all().cloned().collect();
        // Who asked may have gone; the promise stands.
        let _ = answer.send(if is_stored { decided } else { decided.and(Err(Denied::NotStored)) });
        changed
    }

    fn tune_as_told(&mut self, service: String, word: TunerWord) -> Result<(), Denied> {
        let Some(done) = self.tunings.say(&service, word) else {
            return Err(Denied::Unknown { what: "tuned service", name: service });
        };
        done.map_err(Denied::Conflict)?;
        tracing::info!(service, ?word, "the tuner of headroom was told");
        self.store_tunings();
        lock(&self.shared.capacity.view).tuning = self.tunings.as_json();
        Ok(())
    }

    fn allocate(&mut self, wanted: Wanted, sent: Option<Sent>) -> Result<Allocation, Denied> {
        if let Some(made) = sent.as_ref().and_then(|sent| self.allocations.by_key(&sent.idempotency_key)) {
            let same = made.sent == sent;
            let conflict = "this idempotency key was used for another request; use a new one".to_owned();
            return if same { Ok(made.clone()) } else { Err(Denied::Conflict(conflict)) };
        }
        if self.allocations.open() >= MAX_OPEN {
            let detail = format!("{MAX_OPEN} allocations are open; cancel some first");
            return Err(Denied::Impossible { constraint: "allocations", detail });
        }
        let now = self.now();
        let id = self.allocations.next_id(self.standing.generation().epoch);
        let mut allocation = Allocation {
            id,
            sent,
            wanted,
            state: AllocationState::Pending,
            made_ms: now.wall_ms,
            is_ready: false,
            eta_s: 0,
            confidence: 0.0,
            planned: BTreeMap::new(),
            scores: Vec::new(),
        };
        self.select(&mut allocation)?;
        self.promise(&mut allocation)?;
        self.allocations.put(allocation.clone());
        Ok(allocation)
    }

    /// Has the shape chosen where the request leaves that to a trade-off.
    fn select(&self, allocation: &mut Allocation) -> Result<(), Denied> {
        let Some(tradeoff) = allocation.wanted.tradeoff else { return Ok(()) };
        let now = self.now();
        let inputs = self.inputs(now, None);
        check(&allocation.wanted, &inputs, now.calendar_s as i64)?;
        allocation.scores = selecting::scores(&allocation.wanted, tradeoff, &inputs)?;
        allocation.wanted.shape = allocation.scores.first().map(|best| best.shape.clone());
        Ok(())
    }

    fn extend(&mut self, id: &str, to_s: i64) -> Result<Allocation, Denied> {
        let before = self.open(id)?;
        let mut longer = before.clone();
        if to_s <= longer.wanted.from_s {
            return Err(Denied::Wrong("to must be after from; to end an allocation, DELETE it".to_owned()));
        }
        longer.wanted.to_s = to_s;
        if to_s > before.wanted.to_s {
            // Tried as if the old one were not there.
            self.allocations.put(Allocation { state: AllocationState::Cancelled, ..before.clone() });
            if let Err(denied) = self.promise(&mut longer) {
                self.allocations.put(before);
                return Err(denied);
            }
            longer.state = before.state;
            if longer.planned.is_empty() {
                longer.planned.clone_from(&before.planned);
            }
        }
        self.allocations.put(longer.clone());
        Ok(longer)
    }

    fn cancel(&mut self, id: &str) -> Result<Allocation, Denied> {
        let cancelled = Allocation { state: AllocationState::Cancelled, is_ready: false, ..self.open(id)? };
        self.allocations.put(cancelled.clone());
        Ok(cancelled)
    }

    fn open(&self, id: &str) -> Result<Allocation, Denied> {
        let Some(found) = self.allocations.get(id) else {
            return Err(Denied::Unknown { what: "allocation", name: id.to_owned() });
        };
        if found.state.is_open() {
            return Ok(found.clone());
        }
        Err(Denied::Conflict(format!("allocation {id} is {} already", found.state.name())))
    }

    /// Finds out whether and when an allocation can be kept, and notes that in it.
    fn promise(&self, allocation: &mut Allocation) -> Result<(), Denied> {
        if lock(&self.shared.capacity.view).inputs.is_none() {
            return Err(Denied::NotSeen);
        }
        let now = self.now();
        let inputs = self.inputs(now, None);
        let wanted = &allocation.wanted;
        check(wanted, &inputs, now.calendar_s as i64)?;
        let room = Room::of(wanted, &inputs);
        room.check(wanted, room.promised(wanted, self.allocations.all(), &inputs))?;
        let horizon_s = (inputs.steps as u64 * u64::from(inputs.step_s)) as i64;
        let is_soon = wanted.from_s < now.calendar_s as i64 + horizon_s;
        let mut is_ready = false;
        if is_soon {
            let with = self.inputs(now, Some(allocation.reservation()));
            let (before, after) =
                (plan_capacity(&inputs, &PlanningLimits::default()), plan_capacity(&with, &PlanningLimits::default()));
            let line =
                |plan: &CapacityPlan| plan.report.services.iter().find(|line| line.service == wanted.service).cloned();
            let had: BTreeMap<&Group, u32> =
                before.targets.iter().map(|target| (&target.group, target.count)).collect();
            let more = |target: &Target| {
                let more = target.count.saturating_sub(had.get(&target.group).copied().unwrap_or(0));
                (more > 0).then(|| (target.group.clone(), more))
            };
            let more: BTreeMap<Group, u32> = after.targets.iter().filter_map(more).collect();
            // What is to come later is not ordered yet, and what may be part of the outlook need not come on top.
            let is_later = wanted.from_s as f64 > now.calendar_s + room.lead_s;
            let is_covered = is_later || !wanted.is_on_top || covers(&more, wanted, &with);
            let reasons = line(&before).zip(line(&after));
            if let Some(denied) = reasons.and_then(|(before, after)| denied(&before.reason, &after.reason, is_covered))
            {
                return Err(denied);
            }
            let named = |(group, more): (Group, u32)| (format!("{}/{}", group.pool, group.shape), more);
            allocation.planned = more.into_iter().map(named).collect();
            // What is kept of others that were given back may still be starting.
            is_ready = allocation.planned.is_empty() && is_there(&allocation.wanted, &with, &after, &self.instances);
            if !is_ready && now.wall_ms.saturating_sub(self.spending.paid_until_ms()) > SILENT_AFTER_MS {
                return Err(Denied::NotSeen);
            }
        }
        let lead_s = room.lead_s;
        allocation.is_ready = is_ready && allocation.wanted.from_s <= now.calendar_s as i64;
        let earliest_s = now.calendar_s as i64 + if is_ready { 0 } else { lead_s.ceil() as i64 };
        allocation.eta_s = earliest_s.max(allocation.wanted.from_s);
        let within_s = (allocation.eta_s as f64 - now.calendar_s) / now.speed;
        allocation.confidence = if is_ready { 1.0 } else { self.confidence(&room, within_s, now) };
        Ok(())
    }

    /// Says when what did not come in time is expected now: what is asked for anew takes a lead time, from when a pool that
    /// matches may be asked. It is not written down, since a restart says it anew too.
    pub(super) fn expect_late(&mut self, inputs: &CapacityInputs, now: Instant) {
        let mut allocations = std::mem::take(&mut self.allocations);
        for one in allocations.late(now.calendar_s as i64) {
            let room = Room::of(&one.wanted, inputs);
            let wait_ms = room.pools.iter().map(|pool| self.refusals.left_ms(pool, now.wall_ms)).min().unwrap_or(0);
            let wait_s = wait_ms as f64 / 1000.0 * now.speed;
            one.eta_s = (now.calendar_s + wait_s + room.lead_s).ceil() as i64;
            one.confidence = self.confidence(&room, room.lead_s / now.speed, now);
        }
        self.allocations = allocations;
    }

    /// How probable it is that an instance asked for now is ready within `within_s` real seconds, in the least sure group of
    /// those that may be chosen.
    fn confidence(&self, room: &Room, within_s: f64, now: Instant) -> f64 {
        let sure = |(pool, shape): &(String, String)| self.learned.confidence(pool, shape, within_s, now);
        room.groups.iter().map(sure).fold(1.0, f64::min)
    }
}

/// Whether instances that come because of a request are all that it asks for.
fn covers(more: &BTreeMap<Group, u32>, wanted: &Wanted, inputs: &CapacityInputs) -> bool {
    let matching = || more.iter().filter(|(group, _)| matches(wanted, inputs, group));
    match (wanted.replicas, wanted.capacity_per_s) {
        (Some(count), _) => matching().map(|(_, more)| *more).sum::<u32>() >= count,
        (None, per_s) => {
            let serves = |(group, more): (&Group, &u32)| serves_per_s(inputs, group).unwrap_or(0.0) * f64::from(*more);
            matching().map(serves).sum::<f64>() >= per_s.unwrap_or(0.0)
        }
    }
}

/// What is new of the second reason beside the first. A service that was short already and stays so gets what comes for it, and
/// nothing is promised of what does not.
fn denied(before: &ServiceReason, after: &ServiceReason, is_covered: bool) -> Option<Denied> {
    if before == after && is_covered {
        return None;
    }
    let impossible = |constraint, detail: String| Some(Denied::Impossible { constraint, detail });
    match after {
        ServiceReason::PoolsExhausted { .. }
        | ServiceReason::FullOfNeeded { .. }
        | ServiceReason::MakingRoom { .. }
        | ServiceReason::ReservationUnmet { .. } => impossible(
            "capacity",
            "the pools that match have no more in that window; ask for less, for another window or region".to_owned(),
        ),
        ServiceReason::BudgetShort { budget } | ServiceReason::BelowFloorByBudget { budget } => {
            impossible("budget", format!("budget {budget:?} does not allow it; raise its limit or ask for less"))
        }
        ServiceReason::NoAdequateGroup => {
            impossible("shape", "no shape in any pool that the service may use serves it".to_owned())
        }
        ServiceReason::LatencyUnreachable { origin } => {
            impossible("latency", format!("no pool is near enough to {origin:?}"))
        }
        ServiceReason::Met | ServiceReason::OnItsWay | ServiceReason::LateForLead { .. } | ServiceReason::NoOutlook => {
            None
        }
    }
}

/// Whether a request makes sense at all.
pub(crate) fn check(wanted: &Wanted, inputs: &CapacityInputs, now_s: i64) -> Result<(), Denied> {
    let unknown = |what, name: &str| Err(Denied::Unknown { what, name: name.to_owned() });
    if !inputs.services.iter().any(|service| service.name == wanted.service) {
        return unknown("service", &wanted.service);
    }
    if let Some(region) =
        wanted.region.as_ref().filter(|region| inputs.pools.iter().all(|one| one.pool.location != **region))
    {
        return unknown("region", region);
    }
    if let Some(pool) = wanted.pool.as_ref().filter(|pool| inputs.pools.iter().all(|one| one.pool.name != **pool)) {
        return unknown("pool", pool);
    }
    if let Some(shape) = wanted.shape.as_ref().filter(|shape| inputs.shapes.iter().all(|one| one.name != **shape)) {
        return unknown("shape", shape);
    }
    if wanted.from_s >= wanted.to_s || wanted.to_s <= now_s {
        return Err(Denied::Wrong("the window must end after it begins, and not in the past".to_owned()));
    }
    if wanted.to_s - now_s > FARTHEST_S {
        let (most, latest_s) = (FARTHEST_S / 86_400, now_s + FARTHEST_S);
        return Err(Denied::Wrong(format!("the window must end within {most} days, by {latest_s} in unix seconds")));
    }
    Ok(())
}
