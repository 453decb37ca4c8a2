//! How much may be lost: the share of the baseline's loss that was earned by using it, less what other arms are believed to
//! have cost more, both fading.
//!
//! The intuition (Kazerouni et al., 2017): what was risked in all decisions together is one weighted sum of the
//! coefficients that are not known, so its uncertainty is that of one direction and not the sum of many. An arm is covered
//! if, with it, the upper bound of that sum is not above 0.
//!
//! Both sides fade alike. If the fading sum is never above 0, neither is the plain one: the plain sum is the last fading one
//! plus a positive multiple of all earlier ones. So nothing is lost by fading, and savings of long ago are no licence.
//!
//! The bound is that of what is believed, `sqrt(2 ln(1 / d))` deviations (a sub-Gaussian tail); the self-normalised one
//! that holds for any history would be several times as wide and would hardly ever let an arm pass. That the share really
//! is kept is tested over many seeds.

use nalgebra::DVector;
use serde::{Deserialize, Serialize};

use super::regression::Posterior;

/// Weighted sum of the coefficients: believed excess over the baseline, less the share that may be lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    sum: DVector<f64>,
}

impl Account {
    pub(super) fn new(width: usize) -> Self {
        Self { sum: DVector::zeros(width) }
    }

    pub(super) fn is_whole(&self, width: usize) -> bool {
        self.sum.len() == width
    }

    /// With one more decision, by the features of what is in force and those of the baseline.
    pub(super) fn after(&self, keep: f64, in_force: &DVector<f64>, baseline: &DVector<f64>, alpha: f64) -> Self {
        let mut sum = in_force.clone();
        sum.axpy(-(1.0 + alpha), baseline, 1.0);
        sum.axpy(keep, &self.sum, 1.0);
        Self { sum }
    }

    /// Whether no more is owed than may be, with the probability.
    pub(super) fn is_covered(&self, posterior: &Posterior, confidence: f64) -> bool {
        let deviations = (-2.0 * (1.0 - confidence).ln()).sqrt();
        posterior.expected(&self.sum) + deviations * posterior.deviation(&self.sum) <= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::tuner::band::Band;
    use crate::learning::tuner::context::Context;
    use crate::learning::tuner::regression::{Regression, Says};

    #[test]
    fn what_is_known_to_be_worse_is_covered_as_far_as_the_share_goes() {
        let band = Band::new(vec![0.9, 1.0], vec![0.0]).unwrap();
        let context = Context { hour_of_week: 6.0, uncertainty: 0.0, violations: 0.0, interruption_per_h: 0.0 };
        let (worse, base) = (band.features(0, &context), band.features(1, &context));
        let mut regression = Regression::new(band.increments(), 1e6);
        for step in 0..3_000 {
            let noise = if step % 2 == 0 { 0.05 } else { -0.05 };
            regression.learn(Says::Level, &base, 1.0 + noise, 1.0);
            regression.learn(Says::Difference, &(&worse - &base), 0.15 + noise, 0.15);
        }
        let posterior = regression.posterior().unwrap();
        let mut account = Account::new(base.len());
        let mut lost = 0.0;
        for decision in 1..=600 {
            let owed = account.after(1.0, &worse, &base, 0.05);
            let covered = owed.is_covered(&posterior, 0.95);
            account = if covered { owed } else { account.after(1.0, &base, &base, 0.05) };
            lost += if covered { 0.15 } else { 0.0 };
            assert!(lost <= 0.05 * f64::from(decision), "decision {decision}: {lost}");
        }
        assert!(lost > 0.8 * 0.05 * 600.0, "what may be lost is there to learn from: {lost}");
    }
}
