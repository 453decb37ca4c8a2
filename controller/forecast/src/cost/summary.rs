//! What is kept of a step's costs: a few quantiles, the range, the mean and how many requests there were.
//!
//! 96 bytes a step instead of some kilobytes of bins: eight weeks of five minutes are 1.5 MB. Between the quantiles the
//! distribution is taken as even.

use serde::{Deserialize, Serialize};

use super::sketch::CostSketch;

/// Probabilities whose quantiles are kept and forecast: the bulk, and the upper side that a quota is made for.
pub const COST_LEVELS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];
/// The same with both ends of the range.
const KNOTS: [f64; 10] = [0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0];

/// The costs of a step's requests; see the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CostSummary {
    requests: u64,
    mean: f64,
    /// At [`KNOTS`], ascending.
    costs: [f64; 10],
}

impl CostSummary {
    /// Of a sketch; `None` of an empty one.
    #[must_use]
    pub fn of(sketch: &CostSketch) -> Option<Self> {
        let (smallest, largest) = sketch.range()?;
        let mut costs = KNOTS.map(|p| sketch.quantile(p).unwrap_or(smallest));
        (costs[0], costs[9]) = (smallest, largest);
        Some(Self { requests: sketch.requests(), mean: sketch.mean()?, costs })
    }

    /// How many requests there were.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Mean cost of a request, units.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The largest cost, units.
    #[must_use]
    pub fn largest(&self) -> f64 {
        self.costs[9]
    }

    /// The quantile at the `level`-th of [`COST_LEVELS`].
    pub(super) fn at_level(&self, level: usize) -> f64 {
        self.costs.get(level + 1).copied().unwrap_or(self.costs[9])
    }

    /// The cost that a share `p` of the requests does not exceed.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        between(&KNOTS, &self.costs, p)
    }

    /// The share of requests that cost at most `cost`.
    #[must_use]
    pub fn share_within(&self, cost: f64) -> f64 {
        if cost >= self.costs[9] {
            return 1.0;
        }
        // The last knot that is not above: where several are equal, all of these requests are within.
        let Some(below) = self.costs.iter().rposition(|knot| *knot <= cost) else { return 0.0 };
        let (low, high) = (self.costs[below], self.costs[below + 1]);
        KNOTS[below] + (KNOTS[below + 1] - KNOTS[below]) * (cost - low) / (high - low)
    }
}

/// The value at `p` on the line through `values` at ascending `levels`; the first or last one beyond.
pub(super) fn between(levels: &[f64], values: &[f64], p: f64) -> f64 {
    let above = levels.partition_point(|level| *level <= p);
    match (above.checked_sub(1), levels.get(above)) {
        (None, _) => values.first().copied().unwrap_or(0.0),
        (Some(below), None) => values.get(below).copied().unwrap_or(0.0),
        (Some(below), Some(&level)) => {
            let share = (p - levels[below]) / (level - levels[below]);
            values[below] + share * (values[above] - values[below])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(costs: impl IntoIterator<Item = f64>) -> CostSummary {
        let mut sketch = CostSketch::new();
        costs.into_iter().for_each(|cost| sketch.add(cost).unwrap());
        CostSummary::of(&sketch).unwrap()
    }

    #[test]
    fn shares_and_quantiles_are_each_other_s_inverse() {
        let summary = summary((1..=1000).map(f64::from));
        for p in [0.02, 0.1, 0.33, 0.5, 0.8, 0.97, 0.995] {
            let back = summary.share_within(summary.quantile(p));
            assert!((back - p).abs() < 1e-9, "{p}: {back}");
            assert!((summary.quantile(p) / (1000.0 * p) - 1.0).abs() < 0.03, "{p}: {}", summary.quantile(p));
        }
        assert_eq!((summary.share_within(0.5), summary.share_within(1000.0)), (0.0, 1.0));
        assert_eq!((summary.quantile(-1.0), summary.quantile(2.0)), (1.0, 1000.0));
    }

    #[test]
    fn one_cost_for_all_is_a_step() {
        let summary = summary([7.0; 30]);
        assert_eq!((summary.share_within(6.999), summary.share_within(7.0)), (0.0, 1.0));
        assert_eq!([0.001, 0.5, 0.999].map(|p| summary.quantile(p)), [7.0; 3]);
        assert_eq!(CostSummary::of(&CostSketch::new()), None);
    }
}
