//! How much of a miss is still there some steps later: the regression of the curve's residual on an earlier one, per lead.
//!
//! A curve through all of the history misses whole stretches the same way: a busy week, a level that has moved since the
//! last changepoint. What the last value missed by is the best word on that, and how long it lasts is measured, not
//! assumed: for each distance the slope of later residuals on earlier ones in training, kept within 0 and 1.

use serde::{Deserialize, Serialize};

use crate::history::History;

/// Oldest last known value that is carried from, in steps before the origin; after a longer gap the curve stands alone.
pub(super) const OLDEST: usize = 24;
/// Most pairs of residuals per distance; more changes the third digit of a slope.
const MAX_PAIRS: usize = 2_000;
/// Most distances that are measured one by one, evenly spread over the horizon; in between the nearer one counts.
const MAX_DISTANCES: usize = 64;

/// The share of a miss that is left after a number of steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Carry {
    /// Distances in steps, ascending, each with its share.
    shares: Vec<(usize, f64)>,
}

impl Carry {
    /// Learns from the residuals of `curve`, which starts at step 0.
    pub(super) fn learn(history: &History, curve: &[f64], horizon_steps: usize) -> Self {
        let residual = |index: usize| Some(history.value(index)? - curve.get(index)?).filter(|_| history.known(index));
        let stride = curve.len().div_ceil(MAX_PAIRS).max(1);
        let share_at = |distance: usize| {
            let (mut products, mut squares) = (0.0, 0.0);
            for earlier in (0..curve.len().saturating_sub(distance)).step_by(stride) {
                if let (Some(before), Some(after)) = (residual(earlier), residual(earlier + distance)) {
                    products += before * after;
                    squares += before * before;
                }
            }
            if squares > 0.0 { (products / squares).clamp(0.0, 1.0) } else { 0.0 }
        };
        let longest = horizon_steps + OLDEST;
        let between = longest.div_ceil(MAX_DISTANCES);
        let shares = (1..=longest).step_by(between).map(|distance| (distance, share_at(distance))).collect();
        Self { shares }
    }

    /// What is left after `distance` steps.
    pub(super) fn share(&self, distance: usize) -> f64 {
        let after = self.shares.partition_point(|&(measured, _)| measured <= distance);
        after.checked_sub(1).map_or(0.0, |nearer| self.shares[nearer].1)
    }
}

/// The newest step before `origin` whose value was measured, with how many steps before the last one it lies.
pub(super) fn last_known(history: &History, origin: usize) -> Option<(usize, usize)> {
    let recent = origin.saturating_sub(OLDEST)..origin;
    recent.rev().find(|&index| history.known(index)).map(|index| (origin - 1 - index, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn a_miss_that_halves_each_step_is_carried_as_such() {
        // Shocks of either sign, each halving with every step.
        let mut residual = 0.0;
        let values: Vec<f64> = (0..1500)
            .map(|step: u32| {
                residual = 0.5 * residual + if step * 7919 % 13 < 6 { 3.0 } else { -18.0 / 7.0 };
                100.0 + residual
            })
            .collect();
        let history = History::new(&Series::new(0, 3600, values).unwrap());
        let carry = Carry::learn(&history, &vec![100.0; 1500], 8);
        assert!((carry.share(1) - 0.5).abs() < 0.15 && carry.share(8) < 0.2, "{carry:?}");
        assert!(carry.share(1) > carry.share(2));
    }

    #[test]
    fn only_measured_values_are_carried_and_not_too_old_ones() {
        let mut values = vec![1.0; 50];
        values[45..].fill(f64::NAN);
        let history = History::new(&Series::new(0, 3600, values).unwrap());
        assert_eq!(last_known(&history, 50), Some((5, 44)));
        assert_eq!(last_known(&history, 40), Some((0, 39)));
        assert_eq!(last_known(&history, 90), None);
        let gone = History::new(&Series::new(0, 3600, vec![f64::NAN; 50]).unwrap());
        assert_eq!(last_known(&gone, 50), None);
    }
}
