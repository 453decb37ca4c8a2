//! The unit that values are smoothed in: shares of the series' mean, plain or compressed.
//!
//! Plain, seasons and noise add up; compressed, they multiply. Compression is a logarithm with an offset, so that a step
//! without demand is as good a value as any other.

use serde::{Deserialize, Serialize};

/// Added to values before the logarithm, in means of the series: well above it ratios count, below it differences, and a
/// zero is as good a value as any.
const COMPRESSION_OFFSET: f64 = 0.1;

/// What the smoothing is done in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(in crate::model) struct Unit {
    pub(in crate::model) mean: f64,
    pub(in crate::model) compressed: bool,
}

impl Unit {
    /// `mean` is that of the series; a series without demand is measured in ones.
    pub(in crate::model) fn of(mean: f64, compressed: bool) -> Self {
        Self { mean: if mean > 0.0 { mean } else { 1.0 }, compressed }
    }

    pub(in crate::model) fn inward(self, value: f64) -> f64 {
        let share = value / self.mean;
        if self.compressed { (share / COMPRESSION_OFFSET).ln_1p() } else { share }
    }

    pub(in crate::model) fn outward(self, value: f64) -> f64 {
        self.mean * if self.compressed { COMPRESSION_OFFSET * value.exp_m1() } else { value }
    }

    /// What makes Akaike's criterion of this unit comparable with that of shares of the mean: minus twice the logarithm
    /// of the derivative, summed.
    pub(in crate::model) fn criterion_correction(self, values: &[f64]) -> f64 {
        let log = |value: &f64| 2.0 * (value / self.mean + COMPRESSION_OFFSET).ln();
        if self.compressed { values.iter().filter(|value| !value.is_nan()).map(log).sum() } else { 0.0 }
    }
}

/// Mean of what is not missing; 0 for nothing.
pub(in crate::model) fn mean_known(values: &[f64]) -> f64 {
    mean_if_known(values).unwrap_or(0.0)
}

/// Mean of what is not missing, if anything is there.
pub(in crate::model) fn mean_if_known(values: &[f64]) -> Option<f64> {
    let known = values.iter().filter(|value| !value.is_nan());
    let (sum, count) = known.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for unit in [Unit::of(50.0, false), Unit::of(50.0, true), Unit::of(0.0, true)] {
            for value in [0.0, 0.01, 3.0, 50.0, 1e6] {
                let back = unit.outward(unit.inward(value));
                assert!((back - value).abs() <= 1e-9 * value, "{unit:?}: {back} for {value}");
            }
        }
    }

    #[test]
    fn a_unit_twice_as_large_changes_no_comparison() {
        let values: Vec<f64> = (1..20).map(f64::from).collect();
        let twice: Vec<f64> = values.iter().map(|value| 2.0 * value).collect();
        let correction = |mean, values: &[f64]| Unit::of(mean, true).criterion_correction(values);
        assert!((correction(10.0, &values) - correction(20.0, &twice)).abs() < 1e-9);
        assert_eq!(Unit::of(10.0, false).criterion_correction(&values), 0.0);
        assert_eq!(mean_known(&[1.0, f64::NAN, 3.0]), 2.0);
        assert_eq!(mean_known(&[f64::NAN]), 0.0);
    }
}
