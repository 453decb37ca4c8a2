//! What does not belong: steps whose demand no forecast of that time could have meant, told apart from a new normal.
//!
//! The intuition: a forecast says how far off it usually is. One step far off is noise, or a glitch that nobody can act
//! on. Several in a row, each a little too far, are something that happens. So [`Detector`] adds up how far each step
//! lies beyond what is usual (a CUSUM), and sounds when the sum exceeds what it reaches by itself about once a year, as
//! learned from the same series. When the deviation stays where it is, it is no longer an anomaly but how things are now:
//! a change, after which the new level is normal. So is what comes again at the same time of the next day or week.
//!
//! [`Ledger`] is the audit trail: which steps were kept out of training, why, and by whom; a label takes any of it back.
//! [`HostileTraffic`] is how hostile demand enters it: it is subtracted and never becomes demand.
//!
//! Deliberately not here: no verdict touches admission or a plan; nothing is learned from labels of other series; a
//! missing step is neither normal nor anomalous. A single step can not be an anomaly, however high.
//!
//! Sources: Page, Continuous inspection schemes, 1954 (CUSUM); Gumbel, Statistics of extremes, 1958 (return levels).

mod detector;
mod ledger;
mod threshold;

use serde::{Deserialize, Serialize};

pub use detector::Detector;
pub use ledger::{Applied, Entry, HostileTraffic, Label, LabelKind, Ledger, Reason, Said, Treatment};

use crate::events::EventForecast;
use crate::forecaster::Forecast;

/// Probability below the median, and its mirror above, at which the usual deviation is read: one standard deviation if
/// the distribution were normal, and untouched by the outermost sixth if it is not.
const SPREAD_TAIL: f64 = 0.16;

/// Which side of the forecast demand is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// More than was forecast.
    Above,
    /// Less than was forecast.
    Below,
}

impl Direction {
    /// Name for logs, metrics and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::Below => "below",
        }
    }
}

/// What a step was expected to be, in the unit of the series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// When the step begins, unix seconds.
    pub start_s: i64,
    /// Middle of the forecast.
    pub median: f64,
    /// How far below the middle demand usually lies.
    pub below: f64,
    /// How far above the middle demand usually lies.
    pub above: f64,
}

impl Expected {
    /// Reads the middle and the usual deviations from the quantiles of a calibrated forecast.
    #[must_use]
    pub fn of(start_s: i64, quantile: impl Fn(f64) -> f64) -> Self {
        let median = quantile(0.5);
        let below = median - quantile(SPREAD_TAIL);
        let above = quantile(1.0 - SPREAD_TAIL) - median;
        Self { start_s, median, below, above }
    }

    /// What a forecast expects of each of its steps, whatever happened since its model was fitted.
    #[must_use]
    pub fn of_steps(forecast: &Forecast) -> Vec<Self> {
        forecast.steps.iter().map(|step| Self::of(step.start_s, |p| step.steady_quantile(p))).collect()
    }

    /// The same with events: wider where it is unsure what they do.
    #[must_use]
    pub fn of_event_steps(forecast: &EventForecast) -> Vec<Self> {
        forecast.steps.iter().map(|step| Self::of(step.plain.start_s, |p| step.steady_quantile(p))).collect()
    }

    /// How many usual deviations `actual` is off, negative below; no deviation counts as smaller than `floor`.
    fn deviation(&self, actual: f64, floor: f64) -> f64 {
        let off = actual - self.median;
        let usual = if off < 0.0 { self.below } else { self.above };
        off / usual.max(floor)
    }
}

/// What the detector makes of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// As forecast, or too little is known to say otherwise.
    Normal,
    /// Part of a deviation that is no chance.
    Anomalous(Anomaly),
    /// The deviation has lasted: from here on this is the normal state.
    Changed(Change),
}

/// A deviation that is no chance.
#[derive(Debug, Clone, PartialEq)]
pub struct Anomaly {
    /// When the deviation began, unix seconds: earlier than the step at which it was noticed.
    pub from_s: i64,
    /// Accumulated deviation over the level that sounds the alarm; 1 or more when it does.
    pub score: f64,
    /// Side of the forecast.
    pub direction: Direction,
    /// What it rests on.
    pub why: Why,
}

/// The figures behind an anomaly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Why {
    /// What came.
    pub actual: f64,
    /// The middle of what was forecast before the deviation began.
    pub expected: f64,
    /// How many usual deviations lie between.
    pub deviations: f64,
    /// Steps since the deviation began, this one included.
    pub steps: usize,
}

/// A deviation that has become the normal state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// When the new state began, unix seconds.
    pub from_s: i64,
    /// Side of the old forecast.
    pub direction: Direction,
    /// Whether it held one level; if not, it was accepted because it has lasted a day.
    pub steady: bool,
}
