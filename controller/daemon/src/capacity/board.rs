//! What the capacity loop and the rest of the daemon tell each other: demand in, ready capacity and the view out.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use forebay_plan::capacity::{CapacityInputs, CapacityPlan, Generation, Group, Instance, Maintenance};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

use super::allocations::Allocation;
use super::asks::Ask;
use super::learned::Learned;
use super::standing::StoodDown;
use super::xds::Told;
use crate::planning::capacity::CapacityDemand;
use crate::state::lock;

/// An expected moment is told anew when it moves by more than this share of what is left until then, or by more than
/// [`LEAST_MOVE`] where that is longer. Clients are spread over a quarter of it, so they would not notice less; and a mesh
/// is not woken because an estimate breathes.
const MOVE_SHARE: u32 = 10;
const LEAST_MOVE: Duration = Duration::from_secs(5);

/// What the parts tell each other. Each lock is held for a copy only.
#[derive(Default)]
pub(crate) struct Board {
    /// What provisioned pools are to be ready for.
    pub(crate) demand: Mutex<CapacityDemand>,
    /// When what instances are in has less.
    pub(crate) maintenance: Mutex<Vec<Maintenance>>,
    ready: Mutex<Ready>,
    /// The newest turn, for people and tools.
    pub(crate) view: Mutex<View>,
    /// To the loop; `None` where nothing is provisioned.
    pub(crate) asks: Mutex<Option<Sender<Ask>>>,
    /// Endpoints for proxies that ask.
    pub(crate) endpoints: Told,
}

/// What provisioned pools have ready, now and as the plan in force expects it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ready {
    /// By pool: milli-units per second, now and by step of the plan from the moment on that it was made.
    pub(crate) milli_per_s: BTreeMap<String, Vec<u64>>,
    /// By pool: steady time of when it is expected to have enough. Says nothing once it has passed.
    pub(crate) more_at: BTreeMap<String, Duration>,
    /// Steady time for which that holds.
    pub(crate) at: Duration,
    /// Rises when anything but the time changes, and when what is expected moves by more than is tolerated.
    pub(crate) version: u64,
}

/// In how long a pool is expected to have enough for what is offered, and nearly enough: what was told before stands between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EnoughIn {
    pub(crate) enough: Duration,
    pub(crate) nearly: Duration,
}

/// A turn of the loop.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// Wall time, unix milliseconds; 0 before the first turn.
    pub(crate) at_ms: u64,
    pub(crate) generation: Generation,
    /// A newer controller's orders count; this one's are not said.
    pub(crate) stood_down: Option<StoodDown>,
    pub(crate) instances: Vec<Instance>,
    /// Pools that refuse at present, and why.
    pub(crate) refusals: Vec<(String, String)>,
    /// What the manager could not do beside what was ordered, and which endpoints could not be written.
    pub(crate) troubles: Vec<String>,
    pub(crate) allocations: Vec<Allocation>,
    pub(crate) learned: Arc<Learned>,
    /// What tuners of headroom do.
    pub(crate) tuning: Vec<Value>,
    /// How services stand that say how often they may be short.
    pub(crate) foresight: Vec<Value>,
    /// What a pool's cores do for a service, by both.
    pub(crate) performance: Vec<Value>,
    /// What instances use of what they have, by service and shape.
    pub(crate) utilisation: Vec<Value>,
    /// Sizes that there are and that are proposed, and how they came to be.
    pub(crate) shapes: Value,
    pub(crate) inputs: Option<Arc<CapacityInputs>>,
    pub(crate) plan: CapacityPlan,
    /// Invariants that the plan breaks; it was not carried out.
    pub(crate) findings: Vec<String>,
    /// Why the manager did not do as it was told, or was not heard of.
    pub(crate) error: Option<String>,
}

impl Board {
    /// Which version of what is ready was told last.
    pub(crate) fn ready_version(&self) -> u64 {
        lock(&self.ready).version
    }

    /// What is ready, as last told.
    pub(crate) fn ready(&self) -> Ready {
        lock(&self.ready).clone()
    }

    /// At steady time `at`; by pool in how long it has enough.
    pub(crate) fn set_ready(
        &self,
        milli_per_s: BTreeMap<String, Vec<u64>>,
        more_in: &BTreeMap<String, EnoughIn>,
        at: Duration,
    ) {
        let mut ready = lock(&self.ready);
        ready.more_at.retain(|_, before| *before > at);
        let settled = |(pool, more_in): (&String, &EnoughIn)| {
            let (enough, nearly) = (at + more_in.enough, at + more_in.nearly);
            let stands = |before: &Duration| is_near(*before, enough, at) || (nearly..=enough).contains(before);
            (pool.clone(), ready.more_at.get(pool).copied().filter(stands).unwrap_or(enough))
        };
        let more_at: BTreeMap<String, Duration> = more_in.iter().map(settled).collect();
        let is_new = ready.milli_per_s != milli_per_s || ready.more_at != more_at;
        *ready = Ready { milli_per_s, more_at, at, version: ready.version + u64::from(is_new) };
    }
}

/// Whether an expectation is so near to the one before that it is not worth telling.
fn is_near(before: Duration, expected: Duration, now: Duration) -> bool {
    before.abs_diff(expected) <= (before.saturating_sub(now) / MOVE_SHARE).max(LEAST_MOVE)
}

/// Work that an instance of a group does for its service, in units per second; `None` of an unknown group.
pub(crate) fn serves_per_s(inputs: &CapacityInputs, group: &Group) -> Option<f64> {
    let service = inputs.services.iter().find(|service| service.name == group.service)?;
    let shape = inputs.shapes.iter().find(|shape| shape.name == group.shape)?;
    let offer = inputs.pools.iter().find(|offer| offer.pool.name == group.pool)?;
    let tier = inputs.tiers.iter().find(|tier| tier.name == offer.pool.tier)?;
    Some(forebay_plan::capacity::price::units_per_s(service, shape, tier, offer))
}

/// The same of a group that more may be bought of for its service.
pub(super) fn sells_per_s(inputs: &CapacityInputs, group: &Group) -> Option<f64> {
    let service = inputs.services.iter().find(|service| service.name == group.service)?;
    let shape = inputs.shapes.iter().find(|shape| shape.name == group.shape)?;
    let offer = inputs.pools.iter().find(|offer| offer.pool.name == group.pool)?;
    let tier = inputs.tiers.iter().find(|tier| tier.name == offer.pool.tier)?;
    let is_sold = !inputs.retired_shapes.contains(&shape.name) && service.may_buy(shape, tier, offer);
    is_sold.then(|| forebay_plan::capacity::price::units_per_s(service, shape, tier, offer))
}

/// What so many instances of a group serve, in whole milli-units per second; nothing of an unknown group.
pub(super) fn serves_milli_per_s(inputs: &CapacityInputs, group: &Group, count: u32) -> u64 {
    let per_s = serves_per_s(inputs, group).unwrap_or(0.0) * f64::from(count);
    (1000.0 * per_s) as u64
}

/// By service: what is ready now, then by step what the plan expects; milli-units per second.
pub(super) fn planned_milli_per_s(inputs: &CapacityInputs, plan: &CapacityPlan) -> BTreeMap<String, Vec<u64>> {
    by_step(inputs, plan, |_, _, planned| planned)
}

/// The same with nothing that is not ready now before a lead time has passed, whatever is on its way: this is lent.
pub(super) fn ready_milli_per_s(inputs: &CapacityInputs, plan: &CapacityPlan) -> BTreeMap<String, Vec<u64>> {
    by_step(inputs, plan, |group, step, planned| {
        let offer = inputs.pools.iter().find(|offer| offer.pool.name == group.pool);
        let lead_s = offer.map_or(0.0, |offer| offer.pool.lead_s);
        let is_before_lead = step as f64 * f64::from(inputs.step_s) < lead_s;
        let ready = inputs.fleet.get(group).map_or(0, |fleet| fleet.ready);
        if is_before_lead { planned.min(ready) } else { planned }
    })
}

/// `count` says how many instances of a group count in a step for which so many are planned.
fn by_step(
    inputs: &CapacityInputs,
    plan: &CapacityPlan,
    count: impl Fn(&Group, usize, u32) -> u32,
) -> BTreeMap<String, Vec<u64>> {
    let mut ready: BTreeMap<String, Vec<u64>> =
        inputs.services.iter().map(|service| (service.name.clone(), vec![0; inputs.steps + 1])).collect();
    for (group, fleet) in &inputs.fleet {
        if let Some(of) = ready.get_mut(&group.service).and_then(|steps| steps.first_mut()) {
            *of = of.saturating_add(serves_milli_per_s(inputs, group, fleet.ready));
        }
    }
    for schedule in &plan.schedule {
        let Some(of) = ready.get_mut(&schedule.group.service) else { continue };
        for (step, (of, planned)) in of.iter_mut().skip(1).zip(&schedule.ready).enumerate() {
            let count = count(&schedule.group, step, *planned);
            *of = of.saturating_add(serves_milli_per_s(inputs, &schedule.group, count));
        }
    }
    ready
}

/// A decision for the audit trail and for people.
pub(crate) fn decision_json(generation: Generation, plan: &CapacityPlan, at_ms: u64) -> Value {
    let groups: Vec<Value> = plan
        .report
        .groups
        .iter()
        .map(|line| {
            json!({
                "service": line.group.service, "pool": line.group.pool, "shape": line.group.shape,
                "from": line.from, "to": line.to, "wanted": line.wanted, "reason": line.reason.name(),
            })
        })
        .collect();
    let services: Vec<Value> = plan
        .report
        .services
        .iter()
        .map(|line| {
            json!({
                "service": line.service, "reason": line.reason.name(), "why": line.reason.to_string(), "level": line.level,
                "floor_per_s": line.floor_per_s, "need_per_s": line.need_per_s, "peak_per_s": line.peak_per_s,
                "ready_per_s": line.ready_per_s, "planned_per_s": line.planned_per_s, "short_per_s": line.short_per_s,
            })
        })
        .collect();
    let budgets: Vec<Value> = plan
        .report
        .budgets
        .iter()
        .map(|line| {
            json!({
                "name": line.name, "limit_micros": line.limit_micros, "spent_micros": line.spent_micros,
                "committed_micros": line.committed_micros, "expected_micros": line.expected_micros,
            })
        })
        .collect();
    json!({
        "at_unix_ms": at_ms, "generation": { "epoch": generation.epoch, "sequence": generation.sequence },
        "services": services, "groups": groups, "budgets": budgets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version and the expectation after the loop said at a moment in how many seconds there is more.
    fn said(board: &Board, at_s: u64, more_in_s: Option<u64>) -> (u64, Option<u64>) {
        said_between(board, at_s, more_in_s.map(|in_s| [in_s, in_s]))
    }

    /// The same with when there is nearly enough, and enough.
    fn said_between(board: &Board, at_s: u64, more_in_s: Option<[u64; 2]>) -> (u64, Option<u64>) {
        let more_in = more_in_s.map(|in_s| {
            let [nearly, enough] = in_s.map(Duration::from_secs);
            ("shop".to_owned(), EnoughIn { enough, nearly })
        });
        let more_in = more_in.into_iter().collect();
        board.set_ready(BTreeMap::new(), &more_in, Duration::from_secs(at_s));
        let ready = board.ready();
        (ready.version, ready.more_at.get("shop").map(Duration::as_secs))
    }

    #[test]
    fn an_expectation_is_told_anew_when_it_moves_and_not_when_it_breathes_or_passes() {
        let board = Board::default();
        assert_eq!(said(&board, 0, Some(100)), (1, Some(100)));
        for at_s in 1..=50 {
            let breath_s = [0, 4, 2][at_s as usize % 3];
            assert_eq!(said(&board, at_s, Some(98 + breath_s - at_s)), (1, Some(100)), "{at_s}");
        }
        assert_eq!(said(&board, 51, Some(58)), (2, Some(109)), "5 s are tolerated, or a tenth of what is left");
        assert_eq!(said(&board, 52, Some(62)), (2, Some(109)));
        assert_eq!(said(&board, 53, Some(44)), (3, Some(97)));
        assert_eq!(said(&board, 97, None), (3, None), "that it has passed is no news");
        assert_eq!(said(&board, 98, Some(20)), (4, Some(118)));
        assert_eq!(said(&board, 99, None), (5, None), "that nothing comes any more is");
    }

    #[test]
    fn demand_that_breathes_around_what_one_more_instance_serves_wakes_nobody() {
        let board = Board::default();
        assert_eq!(said_between(&board, 0, Some([100, 100])), (1, Some(100)));
        for at_s in 1..=20 {
            let more = if at_s % 2 == 0 { [100 - at_s, 100 - at_s] } else { [100 - at_s, 300 - at_s] };
            assert_eq!(said_between(&board, at_s, Some(more)), (1, Some(100)), "{at_s}");
        }
        assert_eq!(said_between(&board, 21, Some([279, 279])), (2, Some(300)), "it is not nearly enough any more");
    }

    #[test]
    fn what_drifts_in_small_steps_is_followed() {
        let board = Board::default();
        let told = (0..100).map(|at_s| said(&board, at_s, Some(100)).1.unwrap() - at_s).collect::<Vec<_>>();
        assert!(told.iter().all(|left_s| (90..=100).contains(left_s)), "{told:?}");
        assert!(board.ready().version <= 11, "once in ten seconds: {}", board.ready().version);
    }
}
