//! What one service that says how often it may be short is followed by: its books, and what is to be covered by them.
//!
//! Invariants: books are kept for one lead time and one size, and know of no step that is yet to come; what a step is taken in
//! with is what is stored of it, so that a replay gives the same books.

use forebay_plan::capacity::Outlook;
use forebay_plan::simulation::{Live, QUANTILES, Scale, Sight, Source};
use serde_json::{Value, json};

use super::super::ledger::{Supply, Unit};
use super::opening::Opened;
use super::{DAY_S, Ended, Known};
use crate::planning::capacity::{LEVELS, PoolDemand};

/// Books stay open while what an instance serves moves by less than this share.
const SAME_SIZE: f64 = 0.02;
/// And while the lead time is at most so much of a step shorter than what they are kept for: it breathes.
const SLACK_STEPS: f64 = 0.25;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Foreseen {
    pub(super) short_steps_share: f64,
    /// `None` until what was seen is replayed.
    pub(super) live: Option<Live>,
    /// The calendar step that was decided last, and the first that the books know.
    pub(super) step: Option<i64>,
    since_step: Option<i64>,
    /// The first that was decided since the books were opened.
    opened_step: Option<i64>,
    /// Steps that the books know from before anybody followed.
    of_history: usize,
    /// Whether something of them is done beside the loop.
    pub(super) is_opening: bool,
    /// The day on which demand from before was last looked for.
    looked_back_on: Option<i64>,
    /// What was supplied in the step that ended last.
    pub(super) supplied: Option<Supply>,
    /// Before this step what was there is not what the books had wanted.
    asked_from: i64,
    /// Before this step being short is not for want of foresight.
    excused_until: i64,
    pub(super) guaranteed_per_s: f64,
}

impl Foreseen {
    /// Without books.
    pub(super) fn new(short_steps_share: f64) -> Self {
        Self {
            short_steps_share,
            live: None,
            step: None,
            since_step: None,
            opened_step: None,
            of_history: 0,
            is_opening: false,
            looked_back_on: None,
            supplied: None,
            asked_from: i64::MIN,
            excused_until: i64::MIN,
            guaranteed_per_s: 0.0,
        }
    }

    /// What books are to be kept for: the steps until what is asked for now serves, wherever it is asked for, are counted as
    /// the planner does.
    pub(super) fn scale(&self, known: &Known<'_>, service: &str, size: &Unit) -> Scale {
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
    pub(super) fn is_open_for(&self, scale: Scale, step: i64) -> bool {
        self.live.as_ref().is_some_and(|live| is_kept_for(live.scale(), scale))
            && self.step.is_none_or(|last| last <= step)
    }

    /// Whether the books were opened on another day: once a day they are opened anew, so that what guards them is tuned on
    /// what has come since.
    pub(super) fn is_due(&self, scale: Scale, step: i64) -> bool {
        self.opened_step.is_some_and(|opened| day(opened, scale) != day(step, scale))
    }

    /// Whether demand from before is to be looked for: where what was seen proves nothing, once a day.
    pub(super) fn wants_history(&mut self, step: i64, scale: Scale) -> bool {
        let is_wanted = !self.is_opening && self.live.as_ref().is_some_and(|live| !live.is_proven());
        is_wanted && self.looked_back_on.replace(day(step, scale)) != Some(day(step, scale))
    }

    /// What is known when a step begins, and what came of the one before.
    pub(super) fn sight(&self, step: i64, demand: &PoolDemand, (scale, size): (Scale, &Unit)) -> (Sight, Ended) {
        let before_s = (step - 1) * i64::from(scale.step_s);
        let supplied = self.supplied.as_ref().filter(|supplied| supplied.start_s == before_s);
        let served = supplied.filter(|_| !demand.last_per_s.is_nan());
        let ended = match served.map(|supplied| supplied.serves(demand.last_per_s, size)) {
            None => Ended::Unseen,
            Some(true) => Ended::Served,
            Some(false) if step - 1 < self.excused_until => Ended::Denied,
            Some(false) => Ended::Short,
        };
        // Before what the books had wanted was there, nothing speaks of them.
        let is_theirs = step > self.asked_from && matches!(ended, Ended::Served | Ended::Short);
        let until_ready = demand.steps.iter().take(scale.lead_steps + 1).map(upper_of);
        let highest = until_ready.reduce(|a, b| std::array::from_fn(|place| a[place].max(b[place])));
        let sight = Sight {
            demand_per_s: demand.last_per_s,
            served: is_theirs.then_some(ended == Ended::Served),
            // As it is stored, so that a replay is exact.
            upper: highest.unwrap_or([f64::NAN; QUANTILES.len()]).map(|upper| f64::from(upper as f32)),
        };
        (sight, ended)
    }

    /// Takes books that were opened.
    pub(super) fn take_opened(&mut self, opened: Opened) {
        (self.step, self.since_step, self.of_history) = (opened.last_step, opened.since_step, opened.of_history);
        (self.live, self.opened_step) = (Some(opened.live), None);
    }

    /// What is ready until what is asked for in the last step comes is less than is wanted, for reasons of others.
    pub(super) fn excuse(&mut self) {
        let lead_steps = self.live.as_ref().map_or(1, |live| live.scale().lead_steps);
        self.excused_until = self.step.unwrap_or(0) + lead_steps as i64 + 1;
    }

    /// Takes in a step.
    pub(super) fn take(&mut self, step: i64, sight: &Sight) {
        if let Some(live) = &mut self.live {
            let is_next = self.step.is_some_and(|before| before + 1 >= step);
            for nothing in unseen(self.step, step, live.scale()) {
                live.step(&nothing);
            }
            live.step(sight);
            let ready_at = step + live.scale().lead_steps as i64;
            if !live.is_proven() {
                self.asked_from = ready_at + 1;
            } else if !is_next {
                self.asked_from = ready_at;
            }
            self.since_step.get_or_insert(step);
            self.opened_step.get_or_insert(step);
        }
        self.step = Some(step);
    }

    pub(super) fn covered(&self, mut outlook: Outlook, step_s: u32) -> Outlook {
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

    pub(super) fn as_json(&self, service: &str, step_s: u32) -> Value {
        let gate = gate(self.live.as_ref());
        let Some(live) = &self.live else {
            return json!({ "service": service, "short_steps_share": self.short_steps_share, "gate": gate });
        };
        let (lived, account) = (live.lived(), live.account());
        let since_s = self.since_step.map(|step| step * i64::from(step_s));
        json!({
            "service": service, "short_steps_share": self.short_steps_share, "gate": gate,
            "by": live.in_charge().to_string(), "factor": live.factor(), "covered_per_s": live.covered_per_s(),
            "lead_steps": live.scale().lead_steps,
            "calibrated": live.is_proven().then(|| json!({
                "since_s": since_s, "steps": lived.steps, "of_history": self.of_history.min(lived.steps),
            })),
            "lived": {
                "since_s": since_s, "steps": lived.steps, "judged_steps": lived.judged,
                "short_share": lived.short_share(), "switches": account.switches,
                "by_forecast_share": account.by_forecast as f64 / account.steps.max(1) as f64,
                "guarded_share": account.guarded as f64 / account.steps.max(1) as f64,
            },
        })
    }
}

/// Of steps between, when nobody looked, nothing is known.
pub(super) fn unseen(before: Option<i64>, step: i64, scale: Scale) -> impl Iterator<Item = Sight> {
    let unseen = before.map_or(0, |before| step - before - 1);
    // More of them than this have no further effect.
    let most = 2 * scale.lead_steps as i64 + 2;
    let nothing = Sight { demand_per_s: f64::NAN, served: None, upper: [f64::NAN; QUANTILES.len()] };
    (0..unseen.clamp(0, most)).map(move |_| nothing)
}

/// What is followed, in a word; also the label of its metric.
pub(super) fn gate(live: Option<&Live>) -> &'static str {
    match live.map(|live| (live.is_proven(), live.in_charge())) {
        None => "opening",
        Some((false, _)) => "learning",
        Some((true, Source::Forecast(_))) => "by_forecast",
        Some((true, Source::LastValue)) => "reactive",
    }
}

/// The day of the calendar that a step begins on.
fn day(step: i64, scale: Scale) -> i64 {
    (step * i64::from(scale.step_s)).div_euclid(i64::from(DAY_S))
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
