//! The costs of many requests in a few hundred bins: any quantile within 1 % of its value, mergeable without further loss.
//!
//! A DDSketch: bins whose borders grow by a constant factor, so that the error is a share of the value whether requests
//! cost 1 or 10^9 (Masson, Rim and Lee, DDSketch: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees, 2019). Merging adds bins: in any order the same sketch comes out, which a t-digest does not promise.
//! The bins are `sketches-ddsketch`'s; here is the door, and a range that it never has to give up bins for.

use std::fmt;

use serde::{Deserialize, Serialize};
use sketches_ddsketch::{Config, DDSketch};

use super::CostError;

/// Largest error of a quantile, as a share of it.
const RELATIVE_ERROR: f64 = 0.01;
/// A cost above this is told from nothing, in units.
pub const MIN_COST: f64 = 1e-6;
/// Largest cost of one request, in units: a petabyte.
pub const MAX_COST: f64 = 1e15;
/// Bins that the whole range needs: `ln(1e15 / 1e-6) / ln(1.01 / 0.99)` = 2418, in the sketch's chunks of 128. So bins are
/// never joined. 19 KiB at most; costs that spread over a factor of 2000 take 3 KiB.
const MAX_BINS: u32 = 19 * 128;

/// Costs of requests; see the module's text.
#[derive(Clone, Serialize, Deserialize)]
pub struct CostSketch {
    bins: DDSketch,
    requests: u64,
    sum: f64,
    smallest: f64,
    largest: f64,
}

impl Default for CostSketch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CostSketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, sum, smallest, largest, .. } = self;
        write!(f, "CostSketch {{ requests: {requests}, sum: {sum}, smallest: {smallest}, largest: {largest} }}")
    }
}

impl CostSketch {
    /// Of no request.
    #[must_use]
    pub fn new() -> Self {
        let bins = DDSketch::new(Config::new(RELATIVE_ERROR, MAX_BINS, MIN_COST));
        Self { bins, requests: 0, sum: 0.0, smallest: f64::INFINITY, largest: 0.0 }
    }

    /// Takes the cost of one request, in units.
    ///
    /// # Errors
    /// The cost is not a number from 0 to [`MAX_COST`].
    pub fn add(&mut self, cost: f64) -> Result<(), CostError> {
        if !(0.0..=MAX_COST).contains(&cost) {
            return Err(CostError::Cost { cost });
        }
        self.bins.add(cost);
        self.requests += 1;
        self.sum += cost;
        self.smallest = self.smallest.min(cost);
        self.largest = self.largest.max(cost);
        Ok(())
    }

    /// Takes all that the other one has taken.
    ///
    /// # Errors
    /// The other one has another resolution; nothing is taken then.
    pub fn merge(&mut self, other: &Self) -> Result<(), CostError> {
        self.bins.merge(&other.bins).map_err(|_| CostError::Resolution)?;
        self.requests += other.requests;
        self.sum += other.sum;
        self.smallest = self.smallest.min(other.smallest);
        self.largest = self.largest.max(other.largest);
        Ok(())
    }

    /// Requests taken.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Mean cost in units, exact; `None` before the first request.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.sum / self.requests as f64)
    }

    /// The least and the largest cost in units, exact; `None` before the first request.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.requests > 0).then_some((self.smallest, self.largest))
    }

    /// The cost of rank `floor(p (n - 1))` among n, counted from 0, within 1 % of its value (a cost up to [`MIN_COST`] is
    /// taken for 0); `None` before the first request. Probabilities outside 0..=1 are taken as the nearest inside.
    #[must_use]
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let (smallest, largest) = self.range()?;
        let quantile =
            if p > 0.0 && p < 1.0 { self.bins.quantile(p).ok()?? } else { smallest + p * (largest - smallest) };
        Some(quantile.clamp(smallest, largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_cost_is_refused_and_leaves_no_trace() {
        let mut sketch = CostSketch::new();
        for cost in [-1.0, f64::INFINITY, 2e15] {
            assert_eq!(sketch.add(cost), Err(CostError::Cost { cost }));
        }
        assert!(sketch.add(f64::NAN).is_err());
        assert_eq!((sketch.requests(), sketch.mean(), sketch.quantile(0.5)), (0, None, None));
    }

    #[test]
    fn the_whole_range_is_told_apart() {
        let mut sketch = CostSketch::new();
        let costs: Vec<f64> = (0..21).map(|decade| 10_f64.powi(decade - 5)).collect();
        // The dearest first, so that the bins grow downwards.
        for &cost in costs.iter().rev() {
            sketch.add(cost).unwrap();
        }
        sketch.add(0.0).unwrap();
        for (rank, &cost) in costs.iter().enumerate() {
            let found = sketch.quantile((rank as f64 + 1.5) / 21.0).unwrap();
            assert!((found / cost - 1.0).abs() <= RELATIVE_ERROR + 1e-9, "{cost}: {found}");
        }
        assert_eq!((sketch.quantile(0.01), sketch.quantile(1.0)), (Some(0.0), Some(1e15)));
    }

    #[test]
    fn another_resolution_is_refused() {
        let mut other = CostSketch::new();
        other.bins = DDSketch::new(Config::new(0.02, MAX_BINS, MIN_COST));
        assert_eq!(CostSketch::new().merge(&other), Err(CostError::Resolution));
    }
}
