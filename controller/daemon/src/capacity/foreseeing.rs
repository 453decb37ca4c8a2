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
//! - Before a day is known (and as many steps as leave one short) the books prove nothing: then the forecast's quantile is
//!   covered that leaves the share. What is stored of demand from before, such as an imported history, is such days: it is
//!   told again as it would have been seen (`foreseeing/opening.rs`).
//! - Short because pools or budgets gave less than planned, or because nothing could be ordered, is not for want of
//!   foresight: caution would buy still more of what is not to be had. Such a step, and one that nobody looked at, counts
//!   whether what was wanted would have served: neither as a failure nor as a success. Where demand is known it is followed
//!   meanwhile.
//!
//! As in a contest it is guarded by reactive policies that are tuned on what was seen: once a day its books are opened anew.
//!
//! What was seen is stored, a row per step, and replayed at a start: the books are thousands of times as large, what was
//! forecast weeks ago could only be had by fitting as of then, and books that are opened anew from it follow a lead time or a
//! size that has changed. Seven-day halves: what is older than five weeks weighs 3 %.

mod books;
mod opening;

use std::collections::BTreeMap;
use std::ops::Range;

use forebay_plan::capacity::{CapacityInputs, CapacityPlan, Outlook};
use forebay_plan::simulation::{Live, Sight};
use serde_json::Value;

use self::books::{Foreseen, gate};
use self::opening::{Beside, Done, Moment, Opener};
use super::ledger::{Supply, unit};
use crate::config::Config;
use crate::config::capacity::ServiceSettings;
use crate::planning::capacity::CapacityDemand;

const DAY_S: u32 = 86_400;
/// How far back what was seen is kept: five half-lives of the books. At five-minute steps about 600 KB a service.
pub(crate) const SEEN_KEPT_S: i64 = 35 * DAY_S as i64;

/// What was seen when a step of a service began, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) service: String,
    /// When the step begins, calendar unix seconds.
    pub(crate) start_s: i64,
    pub(crate) sight: Sight,
    /// Whether nobody followed it, and it was made of demand that was known from before.
    pub(crate) is_retold: bool,
}

/// What came of a step of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Served,
    Short,
    /// Short for want of what was not to be had.
    Denied,
    /// Nobody looked, or its demand is not known.
    Unseen,
}

impl Ended {
    /// Also the label of its metric.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Short => "short",
            Self::Denied => "denied",
            Self::Unseen => "unseen",
        }
    }
}

/// What a turn knows.
pub(super) struct Known<'a> {
    pub(super) config: &'a Config,
    pub(super) inputs: &'a CapacityInputs,
    pub(super) demand: &'a CapacityDemand,
    /// Lead time of a pool as starts that have ended taught it, in seconds of the calendar. With those under way it breathes.
    pub(super) lead_s: &'a dyn Fn(&str) -> f64,
    /// What was supplied in steps that have just ended.
    pub(super) ended: &'a [Supply],
    /// What is stored of a service in a span of the calendar, ascending.
    pub(super) seen: &'a dyn Fn(&str, Range<i64>) -> Vec<Seen>,
}

/// What a turn brought.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// What is to be stored.
    pub(super) rows: Vec<Seen>,
    /// Steps that have ended, by service.
    pub(super) ended: Vec<(String, Ended)>,
    /// Whether anything else is to be covered than before.
    pub(super) is_new: bool,
}

/// All services that say how often they may be short.
#[derive(Debug, Default)]
pub(super) struct Foresights {
    by_service: BTreeMap<String, Foreseen>,
    beside: Beside,
}

/// Figures of a service, for metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Foresaw<'a> {
    pub(crate) service: &'a str,
    /// Share of steps that it may be short in.
    pub(crate) short_steps_share: f64,
    /// And was, of those that say something of it; `None` before there is one.
    pub(crate) lived_share: Option<f64>,
    /// What the signal in charge is multiplied by; `None` before books are open.
    pub(crate) factor: Option<f64>,
    /// What that is, in a word.
    pub(crate) gate: &'static str,
    /// Whether it is held to a reactive policy, which had been cheaper.
    pub(crate) is_guarded: bool,
}

impl Foresights {
    pub(super) fn of(services: &[ServiceSettings]) -> Self {
        let foreseen = |one: &ServiceSettings| Some((one.service.name.clone(), Foreseen::new(one.short_steps_share?)));
        Self { by_service: services.iter().filter_map(foreseen).collect(), beside: Beside::default() }
    }

    /// Decides the step that has begun, where one has, and opens books that are not open or whose lead time or size has
    /// changed.
    pub(super) fn move_on(&mut self, known: &Known<'_>) -> Moved {
        let mut moved = Moved::default();
        let retold = self.take_opened(known, &mut moved);
        let Self { by_service, beside } = self;
        let mut opener = Opener::new(known, beside);
        for (service, foreseen) in by_service.iter_mut() {
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
            let begun = is_next.then(|| foreseen.sight(step, demand, (scale, &size)));
            let start_s = step * i64::from(scale.step_s);
            moved.is_new |= opener.open(service, foreseen, Moment { scale, step, is_next });
            if let Some((sight, ended)) = begun {
                foreseen.take(step, &sight);
                moved.rows.push(Seen { service: service.clone(), start_s, sight, is_retold: false });
                moved.ended.push((service.clone(), ended));
                moved.is_new = true;
            }
        }
        // Once it is stored, books are opened from it with the next turn.
        for seen in retold {
            if let Some(foreseen) = seen.first().and_then(|first| by_service.get_mut(&first.service)) {
                foreseen.live = None;
            }
            moved.rows.extend(seen);
        }
        moved
    }

    /// Takes in what was opened beside the loop, and what has been seen meanwhile. Returns what was told again.
    fn take_opened(&mut self, known: &Known<'_>, moved: &mut Moved) -> Vec<Vec<Seen>> {
        let mut retold = Vec::new();
        let Some(finished) = self.beside.finished() else {
            self.by_service.values_mut().for_each(|foreseen| foreseen.is_opening = false);
            return retold;
        };
        for done in finished {
            let (Done::Opened { service, .. } | Done::Retold { service, .. }) = &done;
            let service = service.clone();
            let Some(foreseen) = self.by_service.get_mut(&service) else { continue };
            foreseen.is_opening = false;
            match done {
                Done::Opened { opened, .. } => {
                    let step_s = i64::from(opened.live.scale().step_s);
                    let from_s = opened.last_step.map_or(i64::MIN, |last| (last + 1) * step_s);
                    let until_s = foreseen.step.map_or(i64::MAX, |step| step * step_s + 1);
                    let since = if from_s < until_s { (known.seen)(&service, from_s..until_s) } else { Vec::new() };
                    foreseen.take_opened(*opened);
                    since.iter().for_each(|one| foreseen.take(one.start_s.div_euclid(step_s), &one.sight));
                    moved.is_new = true;
                }
                Done::Retold { seen: Ok(seen), .. } => {
                    if !seen.is_empty() {
                        tracing::info!(service, steps = seen.len(), "a service was followed through its history");
                    }
                    retold.push(seen);
                }
                Done::Retold { seen: Err(error), .. } => {
                    tracing::error!(service, %error, "read the history of a service; it is followed from now on only");
                }
            }
        }
        retold
    }

    /// Notes what a plan could not give.
    pub(super) fn note(&mut self, plan: &CapacityPlan) {
        for line in plan.report.services.iter().filter(|line| line.planned_per_s < line.need_per_s * (1.0 - 1e-9)) {
            if let Some(foreseen) = self.by_service.get_mut(&line.service) {
                foreseen.excuse();
            }
        }
    }

    /// Notes that nothing could be ordered.
    pub(super) fn note_not_ordered(&mut self) {
        self.by_service.values_mut().for_each(Foreseen::excuse);
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

    /// Of all of them.
    pub(super) fn figures(&self) -> impl Iterator<Item = Foresaw<'_>> {
        self.by_service.iter().map(|(service, foreseen)| {
            let live = foreseen.live.as_ref();
            Foresaw {
                service,
                short_steps_share: foreseen.short_steps_share,
                lived_share: live.and_then(|live| live.lived().short_share()),
                factor: live.map(Live::factor),
                gate: gate(live),
                is_guarded: live.is_some_and(|live| live.is_proven() && live.is_guarded()),
            }
        })
    }
}
