//! Services that say how often they may be short: what is to be covered of their demand, by the policy that `forebay simulate`
//! and the benches judge ([`Live`]).
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

use std::collections::BTreeMap;

use forebay_plan::capacity::{CapacityInputs, CapacityPlan, Outlook};
use forebay_plan::simulation::{Aim, Live, QUANTILES, Scale, Sight, Source};
use serde_json::{Value, json};

use super::ledger::{Supply, Unit, unit};
use crate::config::capacity::ServiceSettings;
use crate::planning::capacity::{CapacityDemand, LEVELS, PoolDemand};

const DAY_S: u32 = 86_400;
/// How far back what was seen is kept: five half-lives of the books. At five-minute steps about 600 KB a service.
pub(crate) const SEEN_KEPT_S: i64 = 35 * DAY_S as i64;
/// Steps that are replayed in a turn before services that are left wait for the next one: about a second.
const REPLAYED_PER_TURN: usize = 30_000;
/// Books stay open while what an instance serves moves by less than this share.
const SAME_SIZE: f64 = 0.02;
/// And while the lead time is at most so much of a step shorter than what they are kept for: it breathes.
const SLACK_STEPS: f64 = 0.25;

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

#[derive(Debug)]
struct Foreseen {
    short_steps_share: f64,
    /// `None` until what was seen is replayed.
    live: Option<Live>,
    /// The calendar step that was decided last, and the first that the books know.
    step: Option<i64>,
    since_step: Option<i64>,
    /// The first that was decided since the books were opened.
    opened_step: Option<i64>,
    /// What was supplied in the step that ended last.
    supplied: Option<Supply>,
    /// Before this step being short is not for want of foresight.
    excused_until: i64,
    guaranteed_per_s: f64,
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
        let foreseen = |one: &ServiceSettings| {
            let foreseen = Foreseen {
                short_steps_share: one.short_steps_share?,
                live: None,
                step: None,
                since_step: None,
                opened_step: None,
                supplied: None,
                excused_until: i64::MIN,
                guaranteed_per_s: 0.0,
            };
            Some((one.service.name.clone(), foreseen))
        };
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

impl Foreseen {
    /// What books are to be kept for: the steps until what is asked for now serves, wherever it is asked for, are counted as
    /// the planner does.
    fn scale(&self, known: &Known<'_>, service: &str, size: &Unit) -> Scale {
        let inputs = known.inputs;
        let of = inputs.services.iter().find(|one| one.name == service);
        let may_run =
            |location: &String| of.is_none_or(|of| of.locations.is_empty() || of.locations.contains(location));
        let pools = inputs.pools.iter().map(|offer| &offer.pool);
        let pools = pools.filter(|pool| pool.max_instances > 0 && may_run(&pool.location));
        let lead_s =
            pools.map(|pool| (known.lead_s)(&pool.name)).filter(|lead_s| lead_s.is_finite()).fold(0.0, f64::max);
        let steps = (lead_s + f64::from(inputs.decide_every_s)) / f64::from(inputs.step_s.max(1));
        // At most a horizon: beyond it nothing is forecast.
        let whole = (steps.ceil() as usize).clamp(1, inputs.steps.max(1));
        let lead_steps = match self.live.as_ref().map(|live| live.scale().lead_steps) {
            Some(kept) if kept == whole + 1 && steps + SLACK_STEPS > whole as f64 => kept,
            _ => whole,
        };
        Scale { step_s: inputs.step_s.max(1), per_replica: size.serves_per_s, lead_steps }
    }

    /// Whether the books are open and kept for this, and know of nothing that is yet to come: a calendar may be set back.
    fn is_open_for(&self, scale: Scale, step: i64) -> bool {
        self.live.as_ref().is_some_and(|live| is_kept_for(live.scale(), scale))
            && self.step.is_none_or(|last| last <= step)
    }

    /// Whether the books were opened on another day: once a day they are opened anew, so that what guards them is tuned on
    /// what has come since.
    fn is_due(&self, scale: Scale, step: i64) -> bool {
        let day = |step: i64| (step * i64::from(scale.step_s)).div_euclid(i64::from(DAY_S));
        self.opened_step.is_some_and(|opened| day(opened) != day(step))
    }

    /// What is known when a step begins.
    fn sight(&self, step: i64, demand: &PoolDemand, (scale, size): (Scale, &Unit)) -> Sight {
        let before_s = (step - 1) * i64::from(scale.step_s);
        let supplied = self.supplied.as_ref().filter(|supplied| supplied.start_s == before_s);
        let is_short = supplied.is_some_and(|supplied| !supplied.serves(demand.last_per_s, size));
        let until_ready = demand.steps.iter().take(scale.lead_steps + 1).map(upper_of);
        let highest = until_ready.reduce(|a, b| std::array::from_fn(|place| a[place].max(b[place])));
        Sight {
            demand_per_s: demand.last_per_s,
            served: !is_short || step - 1 < self.excused_until,
            // As it is stored, so that a replay is exact.
            upper: highest.unwrap_or([f64::NAN; QUANTILES.len()]).map(|upper| f64::from(upper as f32)),
        }
    }

    /// Opens the books with what was seen, ascending.
    fn open(&mut self, scale: Scale, seen: &[Seen]) {
        let day_steps = (DAY_S / scale.step_s.max(1)).max(1) as usize;
        let step = |one: &Seen| one.start_s.div_euclid(i64::from(scale.step_s.max(1)));
        let mut sights = Vec::with_capacity(seen.len());
        let mut before = None;
        for one in seen {
            sights.extend(unseen(before, step(one), scale));
            sights.push(one.sight);
            before = Some(step(one));
        }
        self.live = Some(Live::replayed(scale, Aim { allowed: self.short_steps_share, day_steps }, &sights));
        (self.step, self.since_step, self.opened_step) = (before, seen.first().map(step), None);
    }

    /// Takes in a step.
    fn take(&mut self, step: i64, sight: &Sight) {
        if let Some(live) = &mut self.live {
            for nothing in unseen(self.step, step, live.scale()) {
                live.step(&nothing);
            }
            live.step(sight);
            self.since_step.get_or_insert(step);
            self.opened_step.get_or_insert(step);
        }
        self.step = Some(step);
    }

    fn covered(&self, mut outlook: Outlook, step_s: u32) -> Outlook {
        let first_step = (outlook.first_step_s / u64::from(step_s.max(1))) as i64;
        let proven = self.live.as_ref().filter(|live| live.is_proven()).zip(self.step);
        let level = 1.0 - self.short_steps_share;
        if let Some((live, step)) = proven {
            let known = usize::try_from(step + live.scale().lead_steps as i64 + 1 - first_step).unwrap_or(0);
            let rows = outlook.steps.len().max(known);
            outlook.steps.resize(rows, Vec::new());
            for (place, row) in outlook.steps.iter_mut().enumerate() {
                let upper = <[f64; LEVELS.len()]>::try_from(row.as_slice()).map(|row| upper_of(&row));
                let covered = match upper {
                    _ if place < known => live.covered_per_s(),
                    Ok(upper) => live.covered_later_per_s(&upper),
                    Err(_) => continue,
                };
                *row = vec![covered.max(self.guaranteed_per_s); outlook.levels.len()];
            }
            return outlook;
        }
        let starts_s = (0..outlook.steps.len() as u64).map(|row| outlook.first_step_s + row * u64::from(step_s));
        let quantiles: Vec<_> = starts_s.map(|at_s| outlook.quantile_per_s(at_s, step_s, level)).collect();
        for (row, quantile) in outlook.steps.iter_mut().zip(quantiles) {
            if let Some(quantile) = quantile {
                row.fill(quantile);
            }
        }
        outlook
    }

    fn as_json(&self, service: &str, step_s: u32) -> Value {
        let Some(live) = &self.live else {
            return json!({ "service": service, "short_steps_share": self.short_steps_share, "gate": "opening" });
        };
        let (lived, account) = (live.lived(), live.account());
        json!({
            "service": service, "short_steps_share": self.short_steps_share, "gate": gate(live),
            "by": live.in_charge().to_string(), "factor": live.factor(), "covered_per_s": live.covered_per_s(),
            "lead_steps": live.scale().lead_steps,
            "lived": {
                "since_s": self.since_step.map(|step| step * i64::from(step_s)), "steps": lived.steps,
                "short_share": lived.short_share(), "switches": account.switches,
                "by_forecast_share": account.by_forecast as f64 / account.steps.max(1) as f64,
                "guarded_share": account.guarded as f64 / account.steps.max(1) as f64,
            },
        })
    }
}

/// Of steps between, when nobody looked, nothing is known.
fn unseen(before: Option<i64>, step: i64, scale: Scale) -> impl Iterator<Item = Sight> {
    let unseen = before.map_or(0, |before| step - before - 1);
    // More of them than this have no further effect.
    let most = 2 * scale.lead_steps as i64 + 2;
    let nothing = Sight { demand_per_s: f64::NAN, served: true, upper: [f64::NAN; QUANTILES.len()] };
    (0..unseen.clamp(0, most)).map(move |_| nothing)
}

/// What is followed, in a word; also the label of its metric.
fn gate(live: &Live) -> &'static str {
    match live.in_charge() {
        _ if !live.is_proven() => "learning",
        Source::Forecast(_) => "by_forecast",
        Source::LastValue => "reactive",
    }
}

/// Whether books that are kept for one thing do for the other.
fn is_kept_for(kept: Scale, wanted: Scale) -> bool {
    let moved = (kept.per_replica / wanted.per_replica - 1.0).abs();
    kept.lead_steps == wanted.lead_steps && kept.step_s == wanted.step_s && moved < SAME_SIZE
}

/// The quantiles that services are followed by, of a step's.
fn upper_of(row: &[f64; LEVELS.len()]) -> [f64; QUANTILES.len()] {
    QUANTILES.map(|p| LEVELS.iter().zip(row).find(|(level, _)| **level == p).map_or(f64::NAN, |(_, value)| *value))
}

#[cfg(test)]
mod tests;
