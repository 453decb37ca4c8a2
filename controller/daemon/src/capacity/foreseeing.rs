//! Services that say how often they may be short: what is to be covered of their demand, by the policy that `forebay simulate`
//! and the benches judge (`foreseeing/books.rs`).
//!
//! The intuition: for a service that states a share of steps, nobody weighs money against shortage. What it is to have ready
//! follows from what would have been enough before, by the signal that was cheapest at that, and is paced by how many steps
//! really went short. This says how much demand is to be covered until what is asked for now is ready; by what, within which
//! budget and how long it dwells is the planner's, as for every other service.
//!
//! - Fed once a step, when the planner of quotas has seen the step before as a whole, with what it forecasts.
//! - What is covered is in whole instances of the size that is cheapest for what it serves, and never less than guaranteed.
//!   The planner adds what a simulation does not have: never less than what is offered now, and what it keeps through a dip
//!   because that is cheaper than a stop and a start.
//! - Steps beyond the lead time are expected to be covered by the same factor times their forecast; while no forecast is in
//!   charge, by what is covered now.
//! - Before a day was lived (and as many steps as leave one short) the books prove nothing: then the forecast's quantile is
//!   covered that leaves the share.
//! - Short because pools or budgets gave less than planned is not for want of foresight: it teaches no more caution, which
//!   would buy still more of what is not to be had.
//!
//! As in a contest it is guarded by reactive policies that are tuned on what was seen: once a day its books are opened anew.
//!
//! What was seen is stored, a row per step, and replayed at a start: the books are thousands of times as large, what was
//! forecast weeks ago could only be had by fitting as of then, and books that are opened anew from it follow a lead time or a
//! size that has changed. Seven-day halves: what is older than five weeks weighs 3 %.

mod books;

use std::collections::BTreeMap;

use forebay_plan::capacity::{CapacityInputs, CapacityPlan, Outlook};
use forebay_plan::simulation::Sight;
use serde_json::Value;

use self::books::{Foreseen, gate};
use super::ledger::{Supply, unit};
use crate::config::capacity::ServiceSettings;
use crate::planning::capacity::CapacityDemand;

const DAY_S: u32 = 86_400;
/// How far back what was seen is kept: five half-lives of the books. At five-minute steps about 600 KB a service.
pub(crate) const SEEN_KEPT_S: i64 = 35 * DAY_S as i64;
/// Steps that are replayed in a turn before services that are left wait for the next one: about a second.
const REPLAYED_PER_TURN: usize = 30_000;
/// What was seen when a step of a service began, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) service: String,
    /// When the step begins, calendar unix seconds.
    pub(crate) start_s: i64,
    pub(crate) sight: Sight,
}

/// What a turn knows.
pub(super) struct Known<'a> {
    pub(super) inputs: &'a CapacityInputs,
    pub(super) demand: &'a CapacityDemand,
    /// Lead time of a pool as starts that have ended taught it, in seconds of the calendar. With those under way it breathes.
    pub(super) lead_s: &'a dyn Fn(&str) -> f64,
    /// What was supplied in steps that have just ended.
    pub(super) ended: &'a [Supply],
}

/// All services that say how often they may be short.
#[derive(Debug, Default)]
pub(super) struct Foresights {
    by_service: BTreeMap<String, Foreseen>,
}

/// Figures of a service, for metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Foresaw<'a> {
    pub(crate) service: &'a str,
    /// Share of steps that it may be short in, and was.
    pub(crate) short_steps_share: f64,
    pub(crate) lived_share: f64,
    /// What the signal in charge is multiplied by.
    pub(crate) factor: f64,
    /// What that is, in a word.
    pub(crate) gate: &'static str,
}

impl Foresights {
    pub(super) fn of(services: &[ServiceSettings]) -> Self {
        let foreseen = |one: &ServiceSettings| Some((one.service.name.clone(), Foreseen::new(one.short_steps_share?)));
        Self { by_service: services.iter().filter_map(foreseen).collect() }
    }

    /// Decides the step that has begun, where one has, and opens books that are not open or whose lead time or size has
    /// changed. `seen` reads what is stored of a service before a second of the calendar. Returns what is to be stored, and
    /// whether anything else is to be covered than before.
    pub(super) fn move_on(&mut self, known: &Known<'_>, seen: impl Fn(&str, i64) -> Vec<Seen>) -> (Vec<Seen>, bool) {
        let (mut rows, mut is_new) = (Vec::new(), false);
        let mut left = REPLAYED_PER_TURN;
        for (service, foreseen) in &mut self.by_service {
            if let Some(ended) = known.ended.iter().find(|one| one.service == *service) {
                foreseen.supplied = Some(ended.clone());
            }
            let Some(demand) = known.demand.pools.iter().find(|pool| pool.pool == *service) else { continue };
            let step = known.demand.first_step;
            let is_next = foreseen.step != Some(step);
            let Some(size) = unit(known.inputs, service).filter(|_| is_next || foreseen.live.is_none()) else {
                continue;
            };
            foreseen.guaranteed_per_s = demand.guaranteed_per_s;
            let scale = foreseen.scale(known, service, &size);
            let sight = is_next.then(|| foreseen.sight(step, demand, (scale, &size)));
            let start_s = step * i64::from(scale.step_s);
            let must_open = !foreseen.is_open_for(scale, step);
            if must_open || (is_next && foreseen.is_due(scale, step)) {
                // What is not replayed now is stored, and replayed in a later turn.
                foreseen.live.take_if(|_| must_open);
                if left > 0 {
                    let before = seen(service, if is_next { start_s } else { start_s + 1 });
                    left = left.saturating_sub(before.len().max(1));
                    foreseen.open(scale, &before);
                    is_new = true;
                }
            }
            if let Some(sight) = sight {
                foreseen.take(step, &sight);
                rows.push(Seen { service: service.clone(), start_s, sight });
                is_new = true;
            }
        }
        (rows, is_new)
    }

    /// Notes what a plan could not give.
    pub(super) fn note(&mut self, plan: &CapacityPlan) {
        for line in plan.report.services.iter().filter(|line| line.planned_per_s < line.need_per_s * (1.0 - 1e-9)) {
            if let Some(foreseen) = self.by_service.get_mut(&line.service) {
                let lead_steps = foreseen.live.as_ref().map_or(1, |live| live.scale().lead_steps);
                foreseen.excused_until = foreseen.step.unwrap_or(0) + lead_steps as i64 + 1;
            }
        }
    }

    /// What is to be covered of a service, where it says how often it may be short: its outlook, the same at all levels.
    pub(super) fn covered(&self, service: &str, outlook: Outlook, step_s: u32) -> Outlook {
        match self.by_service.get(service) {
            Some(foreseen) => foreseen.covered(outlook, step_s),
            None => outlook,
        }
    }

    /// For people.
    pub(super) fn as_json(&self, step_s: u32) -> Vec<Value> {
        self.by_service.iter().map(|(service, foreseen)| foreseen.as_json(service, step_s)).collect()
    }

    /// Of those whose books are open.
    pub(super) fn figures(&self) -> impl Iterator<Item = Foresaw<'_>> {
        self.by_service.iter().filter_map(|(service, foreseen)| {
            let live = foreseen.live.as_ref()?;
            Some(Foresaw {
                service,
                short_steps_share: foreseen.short_steps_share,
                lived_share: live.lived().short_share(),
                factor: live.factor(),
                gate: gate(live),
            })
        })
    }
}
