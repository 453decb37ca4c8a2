//! Two distributions taken together: how a product or a sum of two independent quantities is distributed.
//!
//! The intuition: of both, quantiles are at hand and no formula, so both are sampled. The points are not random: one
//! coordinate goes up in equal steps and the other one by the golden ratio, which fills the square more evenly than chance
//! does (a Kronecker sequence: Niederreiter, Random Number Generation and Quasi-Monte Carlo Methods, 1992). So there is no
//! seed, and a thousand points do what tens of thousands of random ones would.
//!
//! What it does not do: dependence. Where a busy step is a dear one too, and not because of the time of day that both
//! forecasts know, the upper quantiles of a product come out too low.

use crate::forecaster::{Distribution, StepForecast};

/// Points of the square: the largest probability told apart is 1 - 1/1024, and a quantile is off by about
/// `ln 1024 / 1024` = 0.7 % in probability at most. 8 KiB each, some 0.1 ms.
const POINTS: usize = 1024;
/// By how much the second coordinate goes on from point to point: the golden ratio's fraction.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// What has quantiles.
pub trait Quantiles {
    /// The value that is not exceeded with probability `p`, 0 < p < 1; does not fall when `p` rises.
    fn quantile(&self, p: f64) -> f64;
}

impl Quantiles for Distribution {
    fn quantile(&self, p: f64) -> f64 {
        Distribution::quantile(self, p)
    }
}

impl Quantiles for StepForecast {
    fn quantile(&self, p: f64) -> f64 {
        StepForecast::quantile(self, p)
    }
}

/// A distribution given by equally likely values.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    ascending: Vec<f64>,
}

impl Sampled {
    /// What `combine` makes of two independent probabilities, each of which stands for a quantile.
    fn of(combine: impl Fn(f64, f64) -> f64) -> Self {
        Self::of_values(points().map(|(first, second)| combine(first, second)).collect())
    }

    /// Of equally likely values.
    pub(crate) fn of_values(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { ascending: values }
    }

    /// The product of two independent quantities, such as requests per second and their mean cost: demand in units per
    /// second. Of quantiles that are not negative.
    #[must_use]
    pub fn product(first: &impl Quantiles, second: &impl Quantiles) -> Self {
        Self::of(|p, q| first.quantile(p) * second.quantile(q))
    }

    /// The value that is not exceeded with probability `p`; between the least and the largest value, and not falling when
    /// `p` rises.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        let place = (p * self.ascending.len() as f64 - 0.5).clamp(0.0, self.ascending.len().saturating_sub(1) as f64);
        let (below, share) = (place.floor() as usize, place.fract());
        let at = |index: usize| self.ascending.get(index).copied().unwrap_or(0.0);
        if share > 0.0 { at(below) + share * (at(below + 1) - at(below)) } else { at(below) }
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.ascending.iter().sum::<f64>() / self.ascending.len().max(1) as f64
    }
}

impl Quantiles for Sampled {
    fn quantile(&self, p: f64) -> f64 {
        Sampled::quantile(self, p)
    }
}

/// Points that fill the open unit square evenly.
pub(crate) fn points() -> impl Iterator<Item = (f64, f64)> {
    let mut second = 0.5;
    (0..POINTS).map(move |index| {
        second = (second + GOLDEN).fract();
        // The sequence comes near both ends of its interval but may be held inside it.
        ((index as f64 + 0.5) / POINTS as f64, second.clamp(0.5 / POINTS as f64, 1.0 - 0.5 / POINTS as f64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles by a formula.
    struct Formula(fn(f64) -> f64);

    impl Quantiles for Formula {
        fn quantile(&self, p: f64) -> f64 {
            (self.0)(p)
        }
    }

    #[test]
    fn a_product_has_the_quantiles_of_a_product() {
        // Of two uniform ones: P(product <= x) = x - x ln x.
        let product = Sampled::product(&Formula(|p| p), &Formula(|p| p));
        for p in [0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99] {
            let x = product.quantile(p);
            let found = x - x * x.ln();
            assert!((found - p).abs() < 0.007, "{p}: {x} has {found}");
        }
        assert!((product.mean() - 0.25).abs() < 1e-3, "{}", product.mean());
        // Of two exponential ones, mean 1 each: mean 1, and the square's mean is 4.
        let exponential = || Formula(|p| -(1.0 - p).ln());
        let product = Sampled::product(&exponential(), &exponential());
        assert!((product.mean() - 1.0).abs() < 0.02, "{}", product.mean());
    }

    #[test]
    fn what_is_certain_stays_so() {
        let product = Sampled::product(&Formula(|_| 3.0), &Formula(|_| 5.0));
        assert_eq!([0.001, 0.5, 0.999].map(|p| product.quantile(p)), [15.0; 3]);
    }
}
