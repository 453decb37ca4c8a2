//! When a series is fitted again, and why: one small state machine that the daemon asks after every scored step.
//!
//! Five signals, in the order in which they are believed. A change point: the old level is gone, so the fit looks at what
//! came after it as soon as there is enough. The gate: lately a naive forecast would have been better. Calibration: the
//! upper quantile is missed too often, or hardly ever. Drift: losses creep up (Page-Hinkley) though the gate still holds.
//! And time. The loudest wins, since one fit answers them all.
//!
//! A fit is not the answer to everything: [`RefitSchedule::least_s`] lies between two, whatever is the matter, so that a
//! series that nothing can forecast costs no more than that. A change is let through that gap once, when what came since is
//! enough to fit; until then the other signals go on.

use serde::{Deserialize, Serialize};

use super::drift::PageHinkley;

/// How often at most and at least a series is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefitSchedule {
    /// Seconds after which a selection is due whatever happened.
    pub every_s: i64,
    /// Seconds between two fits at least.
    pub least_s: i64,
    /// Seconds of history that a fit since a change needs.
    pub needed_s: i64,
    /// Steps that teach what losses are usual: a day, since hours differ.
    pub learning_steps: u64,
}

impl Default for RefitSchedule {
    /// Daily, and not more than every two hours: at 60 ms of CPU a fit, 1,000 keys in trouble take 0.8 % of a core.
    fn default() -> Self {
        Self { every_s: 86_400, least_s: 7_200, needed_s: 2 * 86_400, learning_steps: 288 }
    }
}

/// What a scored step has to say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepEvidence {
    /// When the step ended, unix seconds.
    pub at_s: i64,
    /// Pinball loss of the forecast over that of the naive one, or any other loss in a steady unit; NaN if not scored.
    pub loss: f64,
    /// Whether the naive forecast has lately been the better one; see [`LiveScore`](crate::LiveScore).
    pub worse_than_naive: bool,
    /// Whether the upper quantile held; `None` if the step was not scored.
    pub covered: Option<bool>,
    /// When a new level began, if the detector has just said so.
    pub changed_from_s: Option<i64>,
}

/// Why a fit is due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum RefitTrigger {
    /// There is no forecaster yet.
    First,
    /// The series has a new level since then.
    Changed {
        /// Unix seconds.
        from_s: i64,
    },
    /// A naive forecast has lately been the better one.
    WorseThanNaive,
    /// The upper quantile held this often in place of as often as promised.
    Miscalibrated {
        /// Share of steps that were covered lately.
        coverage: f64,
    },
    /// Losses have crept up.
    Drifted {
        /// Height of the Page-Hinkley sum over its threshold.
        height: f64,
    },
    /// The last selection is old enough.
    Scheduled,
}

impl RefitTrigger {
    /// Name for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Changed { .. } => "changed",
            Self::WorseThanNaive => "worse_than_naive",
            Self::Miscalibrated { .. } => "miscalibrated",
            Self::Drifted { .. } => "drifted",
            Self::Scheduled => "scheduled",
        }
    }
}

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefitScope {
    /// The chosen model with its residuals anew: the model is fine, its width is not.
    Recalibrate,
    /// Selection among all candidates.
    Select,
    /// Selection on what came since a change.
    SelectSince {
        /// Unix seconds.
        from_s: i64,
    },
}

/// A fit that is due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Refit {
    /// How much.
    pub what: RefitScope,
    /// Why.
    pub why: RefitTrigger,
}

/// Steps after which a covered step counts half. About the day of five-minute steps.
const COVERAGE_HALF_LIFE: f64 = 288.0;
/// Steps that are scored before coverage is judged: with half as many, five misses at 95 % are no surprise.
const COVERAGE_MIN: f64 = 96.0;
/// Standard errors from which coverage is off by no chance. Three, since it is looked at after every step and misses come
/// in groups.
const COVERAGE_STANDARD_ERRORS: f64 = 3.0;
/// Least gap in coverage worth a fit.
const COVERAGE_GAP: f64 = 0.03;

/// The state machine; see the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Triggers {
    schedule: RefitSchedule,
    upper_quantile: f64,
    fitted_s: i64,
    /// When all candidates were last compared: a width that is fitted again and again must not put that off for ever.
    selected_s: i64,
    drift: PageHinkley,
    covered: f64,
    weight: f64,
    squared_weight: f64,
    changed_from_s: Option<i64>,
}

impl Triggers {
    /// Starts after a fit at `fitted_s` whose upper quantile has probability `upper_quantile`.
    #[must_use]
    pub fn new(schedule: RefitSchedule, upper_quantile: f64, fitted_s: i64) -> Self {
        Self {
            schedule,
            upper_quantile,
            fitted_s,
            selected_s: fitted_s,
            drift: PageHinkley::learning_from(schedule.learning_steps),
            covered: 0.0,
            weight: 0.0,
            squared_weight: 0.0,
            changed_from_s: None,
        }
    }

    /// Takes in a step; a fit that is due, if any. It is said again at every step until [`Triggers::fitted`].
    pub fn observe(&mut self, evidence: &StepEvidence) -> Option<Refit> {
        self.drift.observe(evidence.loss);
        if let Some(covered) = evidence.covered {
            let decay = 0.5_f64.powf(1.0 / COVERAGE_HALF_LIFE);
            self.covered = self.covered * decay + f64::from(u8::from(covered));
            self.weight = self.weight * decay + 1.0;
            self.squared_weight = self.squared_weight * decay * decay + 1.0;
        }
        self.changed_from_s = evidence.changed_from_s.or(self.changed_from_s);
        let enough = |from_s: &i64| evidence.at_s.saturating_sub(*from_s) >= self.schedule.needed_s;
        if let Some(from_s) = self.changed_from_s.filter(enough) {
            return Some(Refit { what: RefitScope::SelectSince { from_s }, why: RefitTrigger::Changed { from_s } });
        }
        if evidence.at_s.saturating_sub(self.fitted_s) < self.schedule.least_s {
            return None;
        }
        self.why(evidence).map(|why| Refit { what: scope(why), why })
    }

    /// A fit was made, or tried, for this reason. A fit that a signal asked for is the answer to it, and what was seen of the
    /// forecasts begins anew. One by schedule answers nothing: what was seen goes on, else a schedule shorter than what a
    /// signal has to see would silence it. A change that is not the reason still waits for its own.
    pub fn fitted(&mut self, why: RefitTrigger, at_s: i64) {
        if why == RefitTrigger::Scheduled {
            (self.fitted_s, self.selected_s) = (at_s, at_s);
            return;
        }
        let (what, answers_change) = (scope(why), matches!(why, RefitTrigger::Changed { .. }));
        *self = Self {
            selected_s: if what == RefitScope::Recalibrate { self.selected_s } else { at_s },
            changed_from_s: if answers_change { None } else { self.changed_from_s },
            ..Self::new(self.schedule, self.upper_quantile, at_s)
        };
    }

    /// Another model forecasts from now on: nothing has been seen of it.
    pub fn replaced(&mut self) {
        *self = Self {
            fitted_s: self.fitted_s,
            selected_s: self.selected_s,
            changed_from_s: self.changed_from_s,
            ..Self::new(self.schedule, self.upper_quantile, self.fitted_s)
        };
    }

    /// Share of steps that the upper quantile covered lately; `None` before enough were scored.
    #[must_use]
    pub fn coverage(&self) -> Option<f64> {
        let effective = self.weight * self.weight / self.squared_weight.max(f64::MIN_POSITIVE);
        (effective >= COVERAGE_MIN).then(|| self.covered / self.weight)
    }

    fn why(&self, evidence: &StepEvidence) -> Option<RefitTrigger> {
        if evidence.worse_than_naive {
            return Some(RefitTrigger::WorseThanNaive);
        }
        if let Some(coverage) = self.coverage().filter(|coverage| self.is_off(*coverage)) {
            return Some(RefitTrigger::Miscalibrated { coverage });
        }
        if self.drift.has_drifted() {
            return Some(RefitTrigger::Drifted { height: self.drift.height() });
        }
        let age_s = evidence.at_s.saturating_sub(self.selected_s);
        (age_s >= self.schedule.every_s).then_some(RefitTrigger::Scheduled)
    }

    fn is_off(&self, coverage: f64) -> bool {
        let effective = self.weight * self.weight / self.squared_weight;
        let error = (self.upper_quantile * (1.0 - self.upper_quantile) / effective).sqrt();
        (coverage - self.upper_quantile).abs() > COVERAGE_GAP.max(COVERAGE_STANDARD_ERRORS * error)
    }
}

fn scope(why: RefitTrigger) -> RefitScope {
    match why {
        RefitTrigger::Changed { from_s } => RefitScope::SelectSince { from_s },
        RefitTrigger::Miscalibrated { .. } => RefitScope::Recalibrate,
        RefitTrigger::First | RefitTrigger::WorseThanNaive | RefitTrigger::Drifted { .. } | RefitTrigger::Scheduled => {
            RefitScope::Select
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_S: i64 = 300;

    fn calm(step: i64) -> StepEvidence {
        StepEvidence {
            at_s: step * STEP_S,
            loss: 1.0 + ((step * 7919) % 100) as f64 / 100.0,
            worse_than_naive: false,
            // Nineteen of twenty.
            covered: Some(step % 20 != 0),
            changed_from_s: None,
        }
    }

    /// The first fit that is due in three days, and at which step.
    fn first(evidence: impl Fn(i64) -> StepEvidence) -> Option<(i64, Refit)> {
        let schedule = RefitSchedule { every_s: 10 * 86_400, learning_steps: 48, ..RefitSchedule::default() };
        let mut triggers = Triggers::new(schedule, 0.95, 0);
        (1..3 * 288).find_map(|step| Some((step, triggers.observe(&evidence(step))?)))
    }

    #[test]
    fn calm_steps_wait_for_the_schedule_and_a_fit_starts_it_anew() {
        assert_eq!(first(calm), None);
        let mut triggers = Triggers::new(RefitSchedule::default(), 0.95, 0);
        for day in 1..=2 {
            let due = (1..2 * 288).find(|step| triggers.observe(&calm((day - 1) * 288 + step)).is_some());
            assert_eq!(due, Some(288));
            assert_eq!(triggers.observe(&calm(day * 288)).map(|refit| refit.why), Some(RefitTrigger::Scheduled));
            triggers.fitted(RefitTrigger::Scheduled, day * 86_400);
        }
    }

    #[test]
    fn fits_by_schedule_silence_no_signal() {
        let first_after = |every_steps: i64, evidence: &dyn Fn(i64) -> StepEvidence| {
            let schedule = RefitSchedule { every_s: every_steps * STEP_S, least_s: 1_800, ..RefitSchedule::default() };
            let mut triggers = Triggers::new(schedule, 0.95, 0);
            (1..9 * 288).find_map(|step| {
                let refit = triggers.observe(&evidence(step))?;
                if refit.why != RefitTrigger::Scheduled {
                    return Some((step, refit.why));
                }
                triggers.fitted(refit.why, step * STEP_S);
                None
            })
        };
        let crept =
            |step: i64| StepEvidence { loss: calm(step).loss + if step > 600 { 0.3 } else { 0.0 }, ..calm(step) };
        let missed =
            |step: i64| StepEvidence { covered: Some(step % if step > 600 { 8 } else { 20 } != 0), ..calm(step) };
        for every_steps in [12, 288] {
            assert_eq!(first_after(every_steps, &calm), None);
            let (step, why) = first_after(every_steps, &crept).unwrap();
            assert!(matches!(why, RefitTrigger::Drifted { .. }) && (600..660).contains(&step), "{step}: {why:?}");
            let (step, why) = first_after(every_steps, &missed).unwrap();
            assert!(
                matches!(why, RefitTrigger::Miscalibrated { .. }) && (600..1200).contains(&step),
                "{step}: {why:?}"
            );
        }
        let mut triggers = Triggers::new(RefitSchedule::default(), 0.95, 0);
        assert!((1..200).all(|step| triggers.observe(&missed(step)).is_none()) && triggers.coverage().is_some());
        triggers.replaced();
        assert_eq!(triggers.coverage(), None, "another model is judged by what it does");
    }

    #[test]
    fn a_width_that_never_fits_does_not_put_off_the_selection() {
        let mut triggers = Triggers::new(RefitSchedule::default(), 0.95, 0);
        let mut scopes = Vec::new();
        for step in 1..3 * 288 {
            if let Some(refit) = triggers.observe(&StepEvidence { covered: Some(step % 2 == 0), ..calm(step) }) {
                scopes.push(refit.what);
                triggers.fitted(refit.why, step * STEP_S);
            }
        }
        let selections = scopes.iter().filter(|scope| **scope == RefitScope::Select).count();
        assert!(selections >= 2 && scopes.contains(&RefitScope::Recalibrate), "{scopes:?}");
    }

    #[test]
    fn each_signal_is_named_and_waits_for_the_least_gap() {
        let (step, refit) = first(|step| StepEvidence { worse_than_naive: true, ..calm(step) }).unwrap();
        assert_eq!((step, refit), (24, Refit { what: RefitScope::Select, why: RefitTrigger::WorseThanNaive }));

        let (step, refit) = first(|step| StepEvidence { covered: Some(step % 5 != 0), ..calm(step) }).unwrap();
        assert_eq!(refit.what, RefitScope::Recalibrate);
        assert!(matches!(refit.why, RefitTrigger::Miscalibrated { coverage } if coverage < 0.85), "{refit:?}");
        assert!((96..200).contains(&step), "{step}");

        let risen =
            |step: i64| StepEvidence { loss: calm(step).loss + if step > 200 { 0.5 } else { 0.0 }, ..calm(step) };
        let (step, refit) = first(risen).unwrap();
        assert!(matches!(refit.why, RefitTrigger::Drifted { .. }), "{refit:?}");
        assert!((201..250).contains(&step), "{step}");
    }

    #[test]
    fn a_change_is_let_through_when_there_is_enough_and_until_it_was_fitted() {
        let (from_s, needed) = (4 * STEP_S, 4 + 2 * 288);
        let evidence = |step| StepEvidence { changed_from_s: (step == 10).then_some(from_s), ..calm(step) };
        let (step, refit) = first(evidence).unwrap();
        assert_eq!(step, needed);
        assert_eq!(refit.what, RefitScope::SelectSince { from_s });
        let mut triggers = Triggers::new(RefitSchedule::default(), 0.95, 0);
        let observed = |triggers: &mut Triggers, steps: std::ops::Range<i64>| {
            steps.map(|step| triggers.observe(&evidence(step))).last().flatten().map(|refit| refit.why)
        };
        assert_eq!(observed(&mut triggers, 1..289), Some(RefitTrigger::Scheduled), "meanwhile the schedule goes on");
        triggers.fitted(RefitTrigger::Scheduled, 288 * STEP_S);
        assert_eq!(observed(&mut triggers, 289..289 + 287), None);
        assert_eq!(observed(&mut triggers, needed..needed + 2), Some(RefitTrigger::Changed { from_s }));
        triggers.fitted(RefitTrigger::Changed { from_s }, (needed + 1) * STEP_S);
        assert_eq!(observed(&mut triggers, needed + 2..needed + 9), None);
    }

    #[test]
    fn steps_that_were_not_scored_say_nothing() {
        assert_eq!(first(|step| StepEvidence { loss: f64::NAN, covered: None, ..calm(step) }), None);
    }
}
