//! Values as they are, or their logarithms: whichever makes the model's errors alike at every level.
//!
//! The intuition: where demand doubles, its daily wave and its noise often double too, and a model that adds them up fits
//! neither the quiet nor the busy time. In logarithms such a series is a plain sum. Which of the two a series is shows in
//! the likelihood, once that is taken back to the series' own units (Box and Cox 1964): the logarithm of the transform's
//! slope, summed over the values, is what the two differ by.
//!
//! Forecasts come back as medians; no correction makes them means. Values may be zero, so a small offset is added.

use serde::{Deserialize, Serialize};

/// Added to values before the logarithm, as a share of their mean: small enough to leave a wave down to a tenth of the mean
/// as it is, large enough that an hour without demand is no outlier.
const OFFSET: f64 = 0.02;

/// How values, in shares of the series' mean, are seen by the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Transform {
    Plain,
    Logarithm,
}

impl Transform {
    /// The simpler first.
    pub(super) const ALL: [Self; 2] = [Self::Plain, Self::Logarithm];

    pub(super) fn forward(self, value: f64) -> f64 {
        match self {
            Self::Plain => value,
            Self::Logarithm => (value + OFFSET).ln(),
        }
    }

    pub(super) fn back(self, seen: f64) -> f64 {
        match self {
            Self::Plain => seen,
            Self::Logarithm => seen.exp() - OFFSET,
        }
    }

    /// What is added to a criterion per value (twice a negative log-likelihood) to take it back to the values' own units:
    /// minus twice the mean logarithm of the slope, over the values that are not missing.
    pub(super) fn criterion(self, values: &[f64]) -> f64 {
        match self {
            Self::Plain => 0.0,
            Self::Logarithm => {
                let known = || values.iter().filter(|value| !value.is_nan());
                2.0 * known().map(|value| (value + OFFSET).ln()).sum::<f64>() / known().count().max(1) as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_forward_comes_back() {
        for transform in Transform::ALL {
            for value in [0.0, 1e-3, 1.0, 50.0] {
                assert!((transform.back(transform.forward(value)) - value).abs() < 1e-12 * (1.0 + value));
            }
        }
    }

    #[test]
    fn likelihoods_meet_in_the_values_own_units() {
        // Normal errors of a deviation of 0.5 around waves: in logarithms they are exactly that, and so more likely.
        let wave = |index: usize| (index as f64 / 7.0).sin();
        let noise = |index: usize| 0.5 * (index as f64 * 12.9898).sin();
        let multiplied: Vec<f64> = (0..500).map(|index| (wave(index) + noise(index)).exp() - OFFSET).collect();
        let added: Vec<f64> = (0..500).map(|index| 5.0 + wave(index) + noise(index)).collect();
        let best = |values: &[f64], mean: &dyn Fn(usize) -> f64| {
            let criterion = |transform: Transform| {
                let error = |index: usize| transform.forward(values[index]) - transform.forward(mean(index));
                let variance = (0..500).map(|index| error(index).powi(2)).sum::<f64>() / 500.0;
                variance.ln() + transform.criterion(values)
            };
            criterion(Transform::Logarithm) < criterion(Transform::Plain)
        };
        assert!(best(&multiplied, &|index| wave(index).exp() - OFFSET));
        assert!(!best(&added, &|index| 5.0 + wave(index)));
    }
}
