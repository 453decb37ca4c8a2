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
mod tests;
