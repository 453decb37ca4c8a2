//! What held-out steps say about a forecast of quantiles: how far each one has to be moved to hold its promise.
//!
//! A quantile of next hour's costs is forecast from the quantiles of hours before, each of which is noise and drift away
//! from the next. So the forecast is moved until, over held-out steps, the promised share of requests costs no more. Steps
//! count alike, not requests: the requests of one step are dear together, and it is the next step that is like the ones
//! before. With n steps the share is corrected by `(n + 1) / n` outwards, for the step that is to come (hierarchical
//! conformal prediction: Lee, Barber and Willett, Distribution-free inference with hierarchical data, 2023; the move of a
//! quantile is that of Romano, Patterson and Candes, Conformalized quantile regression, 2019). Nothing is extrapolated:
//! where the corrected share is beyond all held-out costs, the move that covers all of these is given.
//!
//! Quantiles that were moved apart may cross; sorting them mends that and is never farther from the truth (Chernozhukov,
//! Fernandez-Val and Galichon, Quantile and probability curves without crossing, 2010).

use std::sync::Arc;

use super::summary::{COST_LEVELS, CostSummary};
use crate::conformal::{ResidualQuantiles, ResidualRing};
use crate::score::pinball_loss;

/// A move is a share of the forecast and of this share of the mean cost, so that a forecast of 0 can be moved.
const FLOOR_OF_MEAN: f64 = 0.02;
/// Moves searched: down to nothing, and up to four times what was forecast.
const MOVES: (f64, f64) = (-1.0, 3.0);
/// Halvings of the range of moves: 4 / 2^40 is below 1e-11.
const HALVINGS: usize = 40;
/// Evenly spaced probabilities that stand for the requests of a step when a forecast is scored.
const SCORED_REQUESTS: usize = 20;

/// The quantiles that were forecast for a step at each of [`COST_LEVELS`], and the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) costs: [f64; COST_LEVELS.len()],
    pub(super) mean: f64,
}

/// A forecast of a step beside what came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) point: Point,
    pub(super) came: CostSummary,
}

/// Moves of each quantile, and residuals of the mean, in multiples of what [`Calibration::unit`] gives.
#[derive(Debug, Clone)]
pub(super) struct Calibration {
    floor: f64,
    moves: [f64; COST_LEVELS.len()],
    pub(super) mean: Arc<ResidualQuantiles>,
}

impl Calibration {
    /// From forecasts of held-out steps, oldest first, on a history whose mean cost is `mean_cost`. Of no step: no moves.
    pub(super) fn of(samples: &[Sample], mean_cost: f64) -> Self {
        let floor = FLOOR_OF_MEAN * mean_cost;
        let mut moves = [0.0; COST_LEVELS.len()];
        for (level, (p, moved)) in COST_LEVELS.into_iter().zip(&mut moves).enumerate() {
            *moved = calibrated_move(samples, level, p, floor);
        }
        let residuals =
            samples.iter().map(|sample| (sample.came.mean() - sample.point.mean) / (sample.point.mean + floor));
        Self { floor, moves, mean: ResidualRing::new(residuals.filter(|residual| residual.is_finite())).quantiles() }
    }

    /// What moves and residuals are multiples of, for a forecast of `cost`.
    pub(super) fn unit(&self, cost: f64) -> f64 {
        cost + self.floor
    }

    /// The calibrated quantiles: moved, not negative and in order.
    pub(super) fn calibrate(&self, point: &Point) -> [f64; COST_LEVELS.len()] {
        let mut costs = point.costs;
        for (cost, moved) in costs.iter_mut().zip(self.moves) {
            *cost = (*cost + moved * self.unit(*cost)).max(0.0);
        }
        costs.sort_by(f64::total_cmp);
        costs
    }

    /// Mean pinball loss of the calibrated forecast over requests and levels, units.
    pub(super) fn loss(&self, sample: &Sample) -> f64 {
        let costs = self.calibrate(&sample.point);
        let mut loss = 0.0;
        for request in 0..SCORED_REQUESTS {
            let cost = sample.came.quantile((request as f64 + 0.5) / SCORED_REQUESTS as f64);
            loss += COST_LEVELS.iter().zip(costs).map(|(&p, quantile)| pinball_loss(p, quantile, cost)).sum::<f64>();
        }
        loss / (SCORED_REQUESTS * COST_LEVELS.len()) as f64
    }
}

/// The least move upwards (for a level below a half, mirrored: the farthest downwards) that holds the level's promise on
/// the samples.
fn calibrated_move(samples: &[Sample], level: usize, p: f64, floor: f64) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let count = samples.len() as f64;
    let within = |moved: f64| {
        let share = |sample: &Sample| {
            let cost = sample.point.costs[level];
            sample.came.share_within(cost + moved * (cost + floor))
        };
        samples.iter().map(share).sum::<f64>() / count
    };
    let upper = p >= 0.5;
    let correction = (count + 1.0) / count;
    let wanted = if upper { (p * correction).min(1.0) } else { (1.0 - (1.0 - p) * correction).max(0.0) };
    // Shares are sums of rounded numbers; what is met on paper must not be missed by a rounding.
    let wanted = if upper { wanted - 1e-9 } else { wanted + 1e-9 };
    let (mut low, mut high) = MOVES;
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        let enough = if upper { within(middle) >= wanted } else { within(middle) > wanted };
        if enough { high = middle } else { low = middle }
    }
    let moved = if upper { high } else { low };
    // A forecast that is right to the last digit is not moved by the width of the search.
    if moved.abs() < 1e-9 { 0.0 } else { moved }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::CostSketch;

    fn came(costs: impl IntoIterator<Item = f64>) -> CostSummary {
        let mut sketch = CostSketch::new();
        costs.into_iter().for_each(|cost| sketch.add(cost).unwrap());
        CostSummary::of(&sketch).unwrap()
    }

    fn sample(forecast: f64, came: CostSummary) -> Sample {
        Sample { point: Point { costs: [forecast; COST_LEVELS.len()], mean: forecast }, came }
    }

    #[test]
    fn moved_quantiles_hold_their_promise_on_the_held_out_steps() {
        // Steps of even costs up to 100, 120, ... 280; forecasts of 100 throughout.
        let samples: Vec<Sample> = (0..40)
            .map(|step| sample(100.0, came((1..=200).map(|k| f64::from(k) * (0.5 + 0.1 * f64::from(step % 10))))))
            .collect();
        let calibration = Calibration::of(&samples, 100.0);
        let costs = calibration.calibrate(&samples[0].point);
        assert!(costs.is_sorted(), "{costs:?}");
        for (p, cost) in COST_LEVELS.into_iter().zip(costs) {
            let within = samples.iter().map(|sample| sample.came.share_within(cost)).sum::<f64>() / 40.0;
            let wanted = if p >= 0.5 { (p * 41.0 / 40.0).min(1.0) } else { 1.0 - (1.0 - p) * 41.0 / 40.0 };
            assert!((within - wanted.max(0.0)).abs() < 0.01, "{p}: {within} within {cost}");
        }
    }

    #[test]
    fn a_forecast_without_error_is_not_moved() {
        let samples = [sample(5.0, came([5.0; 8])); 30];
        let calibration = Calibration::of(&samples, 5.0);
        assert_eq!(calibration.calibrate(&samples[0].point), [5.0; COST_LEVELS.len()]);
        assert_eq!(calibration.loss(&samples[0]), 0.0);
        assert_eq!(Calibration::of(&[], 5.0).calibrate(&samples[0].point), [5.0; COST_LEVELS.len()]);
    }

    #[test]
    fn few_steps_give_the_largest_that_came_and_no_more() {
        let samples: Vec<Sample> = (1..=10).map(|step| sample(10.0, came([f64::from(step); 4]))).collect();
        let costs = Calibration::of(&samples, 10.0).calibrate(&samples[0].point);
        assert!((costs[7] - 10.0).abs() < 1e-6 && (costs[0] - 1.0).abs() < 1e-6, "{costs:?}");
    }
}
