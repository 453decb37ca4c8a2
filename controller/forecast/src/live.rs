//! How the live forecasts have done lately, against a naive one: the measure behind the plan's quality gate.
//!
//! Why pinball loss against a baseline and not an absolute error: a service may be hard to forecast and the forecast
//! still the best there is. Only a forecast that a naive rule would have beaten is worse than none.
//!
//! Trip: the loss is above [`TRIP_RATIO`] times the baseline's, and not by chance, once a whole day and at least
//! [`LIVE_MIN_SAMPLES`] samples were seen. Recovery: it is no higher than the baseline's. Between the two nothing changes,
//! so the gate does not flutter. Losses count half after [`HALF_LIFE_DAYS`]. Both times are that long because patterns are
//! daily and weekly: a forecast that is right about the burst and dull in between must not be judged on the dull part alone.
//!
//! By chance: one bad evening decides the ratio of a whole day. Forecasts of one evening err together, so the differences
//! of losses are summed over [`BLOCKS_PER_DAY`] blocks a day, and their mean has to be [`TRIP_STANDARD_ERRORS`] standard
//! errors above zero (Diebold and Mariano, Comparing predictive accuracy, 1995, with blocks against the correlation).

use serde::{Deserialize, Serialize};

use crate::score::pinball_loss;

/// Fewest scored forecasts before anything is judged, where a day has fewer: one day of four leads at steps of an hour.
pub const LIVE_MIN_SAMPLES: u64 = 96;
/// Days after which a loss counts half.
const HALF_LIFE_DAYS: f64 = 2.0;
/// Loss relative to the baseline's above which a forecast counts as worse. A single weekend moves the ratio by 15 % on
/// a generated series whose forecast is the better one over the week.
const TRIP_RATIO: f64 = 1.25;
/// Stretches of a day that count as one observation: a morning, an afternoon, an evening, a night.
const BLOCKS_PER_DAY: u64 = 4;
/// Standard errors above zero from which a mean difference is no chance. One bad block among four is exactly one.
const TRIP_STANDARD_ERRORS: f64 = 2.0;

/// Fading score of live forecasts; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveScore {
    upper_quantile: f64,
    /// What is left of a sample's weight after the next one.
    decay: f64,
    /// Samples before anything is judged.
    min_samples: u64,
    samples: u64,
    weight: f64,
    loss: f64,
    baseline_loss: f64,
    covered: f64,
    excess: Blocks,
    worse: bool,
}

/// By how much the forecasts lost more than the naive ones: fading mean and spread over blocks of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Blocks {
    samples_per_block: u64,
    decay: f64,
    open_samples: u64,
    open: f64,
    weight: f64,
    squared_weight: f64,
    sum: f64,
    squares: f64,
}

impl Blocks {
    pub(crate) fn new(day_samples: usize) -> Self {
        Self {
            samples_per_block: (day_samples as u64).div_ceil(BLOCKS_PER_DAY).max(1),
            decay: 0.5_f64.powf(1.0 / (HALF_LIFE_DAYS * BLOCKS_PER_DAY as f64)),
            open_samples: 0,
            open: 0.0,
            weight: 0.0,
            squared_weight: 0.0,
            sum: 0.0,
            squares: 0.0,
        }
    }

    pub(crate) fn record(&mut self, difference: f64) {
        self.open += difference;
        self.open_samples += 1;
        if self.open_samples == self.samples_per_block {
            self.weight = self.weight * self.decay + 1.0;
            self.squared_weight = self.squared_weight * self.decay * self.decay + 1.0;
            self.sum = self.sum * self.decay + self.open;
            self.squares = self.squares * self.decay + self.open * self.open;
            (self.open, self.open_samples) = (0.0, 0);
        }
    }

    /// Whether the mean over whole blocks lies too far above zero for a chance. Two blocks at least.
    fn is_significant(&self) -> bool {
        self.standard_errors() > TRIP_STANDARD_ERRORS
    }

    /// Samples that make one block.
    pub(crate) fn samples_per_block(&self) -> u64 {
        self.samples_per_block
    }

    /// How many standard errors the mean over whole blocks lies above zero; 0 with fewer than two blocks.
    pub(crate) fn standard_errors(&self) -> f64 {
        let effective = self.weight * self.weight / self.squared_weight.max(f64::MIN_POSITIVE);
        if effective < 1.5 {
            return 0.0;
        }
        let mean = self.sum / self.weight;
        let variance = (self.squares / self.weight - mean * mean).max(0.0) * effective / (effective - 1.0);
        let error = (variance / effective).sqrt();
        if mean == 0.0 { 0.0 } else { mean / error }
    }
}

/// Median and upper quantile that were forecast for a step: what running forecasts are compared by.
#[derive(Debug, Clone, Copy)]
pub struct ForecastPair {
    pub(crate) median: f64,
    pub(crate) upper: f64,
}

impl ForecastPair {
    /// The two of a forecast's quantiles.
    #[must_use]
    pub fn of(upper_quantile: f64, quantile: impl Fn(f64) -> f64) -> Self {
        Self { median: quantile(0.5), upper: quantile(upper_quantile) }
    }

    /// Their pinball losses together, in the unit of the values.
    #[must_use]
    pub fn loss(self, upper_quantile: f64, actual: f64) -> f64 {
        pinball_loss(0.5, self.median, actual) + pinball_loss(upper_quantile, self.upper, actual)
    }
}

impl LiveScore {
    pub(crate) fn new(upper_quantile: f64, day_steps: usize, horizon_steps: usize) -> Self {
        let day_samples = day_steps * horizon_steps;
        let half_life = HALF_LIFE_DAYS * day_samples as f64;
        Self {
            upper_quantile,
            decay: 0.5_f64.powf(1.0 / half_life),
            min_samples: LIVE_MIN_SAMPLES.max(day_samples as u64),
            samples: 0,
            weight: 0.0,
            loss: 0.0,
            baseline_loss: 0.0,
            covered: 0.0,
            excess: Blocks::new(day_samples),
            worse: false,
        }
    }

    /// Whether another score was kept for the same quantile and fades alike.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self.upper_quantile == other.upper_quantile && self.decay == other.decay
    }

    pub(crate) fn record(&mut self, own: ForecastPair, baseline: ForecastPair, actual: f64) {
        self.samples = self.samples.saturating_add(1);
        self.weight = self.weight * self.decay + 1.0;
        let (loss, baseline_loss) = (own.loss(self.upper_quantile, actual), baseline.loss(self.upper_quantile, actual));
        self.loss = self.loss * self.decay + loss;
        self.baseline_loss = self.baseline_loss * self.decay + baseline_loss;
        self.excess.record(loss - baseline_loss);
        self.covered = self.covered * self.decay + f64::from(u8::from(actual <= own.upper));
        if self.samples >= self.min_samples {
            self.worse = if self.worse {
                self.loss > self.baseline_loss
            } else {
                self.loss > TRIP_RATIO * self.baseline_loss && self.excess.is_significant()
            };
        }
    }

    /// Forecasts scored so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Whether the naive forecast has been the better one; with hysteresis, `false` until enough was scored.
    #[must_use]
    pub fn is_worse_than_naive(&self) -> bool {
        self.worse
    }

    /// Mean pinball loss (median and upper quantile together) of the forecasts and of the naive ones, newest counting
    /// most, in the unit of the values; `None` before the first sample.
    #[must_use]
    pub fn mean_losses(&self) -> Option<(f64, f64)> {
        (self.samples > 0).then(|| (self.loss / self.weight, self.baseline_loss / self.weight))
    }

    /// Share of actual values that the upper quantile covered, newest counting most; `None` before the first sample.
    #[must_use]
    pub fn coverage(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.covered / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(value: f64) -> ForecastPair {
        ForecastPair { median: value, upper: value }
    }

    #[test]
    fn the_gate_trips_late_and_recovers_only_when_as_good() {
        let mut live = LiveScore::new(0.95, 24, 1);
        for _ in 1..LIVE_MIN_SAMPLES {
            live.record(pair(0.0), pair(9.0), 10.0);
        }
        assert!(!live.is_worse_than_naive(), "not judged on {} samples", live.samples());
        live.record(pair(0.0), pair(9.0), 10.0);
        assert!(live.is_worse_than_naive());
        // 5 % worse than the baseline: not enough to trip, but not enough to recover either.
        for _ in 0..1000 {
            live.record(pair(8.95), pair(9.0), 10.0);
        }
        assert!(live.is_worse_than_naive());
        for _ in 0..1000 {
            live.record(pair(9.1), pair(9.0), 10.0);
        }
        assert!(!live.is_worse_than_naive());
        for _ in 0..1000 {
            live.record(pair(8.95), pair(9.0), 10.0);
        }
        assert!(!live.is_worse_than_naive());
    }

    #[test]
    fn a_day_is_seen_before_anything_is_judged() {
        let mut live = LiveScore::new(0.95, 288, 4);
        for sample in 1..=288 * 4 {
            assert!(!live.is_worse_than_naive(), "judged after {sample} samples");
            live.record(pair(0.0), pair(9.0), 10.0);
        }
        assert!(live.is_worse_than_naive());
    }

    #[test]
    fn one_bad_evening_is_no_verdict_but_bad_days_are() {
        let mut live = LiveScore::new(0.95, 96, 1);
        let day = |live: &mut LiveScore, bad: std::ops::Range<usize>| {
            for step in 0..96 {
                let own = if bad.contains(&step) { pair(0.0) } else { pair(9.2) };
                // A forecast that is a little better most of the time, and far off in the bad part.
                live.record(own, pair(9.1), 10.0);
            }
            live.is_worse_than_naive()
        };
        assert!(!day(&mut live, 72..96), "{:?}", live.mean_losses());
        let (own, naive) = live.mean_losses().unwrap();
        assert!(own > TRIP_RATIO * naive, "the evening alone decides the ratio");
        assert!(day(&mut live, 0..96) || day(&mut live, 0..96), "wrong all day long");
    }

    #[test]
    fn coverage_is_a_share_of_what_came_lately() {
        let mut live = LiveScore::new(0.95, 24, 4);
        assert_eq!((live.coverage(), live.mean_losses()), (None, None));
        for actual in [9.0, 10.0, 11.0, 8.0] {
            live.record(pair(10.0), pair(10.0), actual);
        }
        assert!((live.coverage().unwrap() - 0.75).abs() < 0.01);
        // Two days of four leads an hour.
        for _ in 0..192 {
            live.record(pair(10.0), pair(10.0), 11.0);
        }
        assert!(live.coverage().unwrap() < 0.02, "old samples fade");
    }
}
