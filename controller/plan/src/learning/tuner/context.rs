//! What is known when a decision is made, as the numbers that a regression sees.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use crate::learning::LearningError;
use crate::learning::error::within;

/// Numbers of a context.
pub(super) const FEATURES: usize = 8;
const HOURS_OF_WEEK: f64 = 168.0;
/// A share of violated steps that counts as one unit: five times what is usually allowed.
const USUAL_VIOLATIONS: f64 = 0.05;
/// Beyond so many units, more says no more.
const MOST_UNITS: f64 = 2.0;

/// What is known when a decision is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Hours since Monday midnight, where the service's people live; 0 to 168.
    pub hour_of_week: f64,
    /// How far the forecast's upper quantile lies above its median, as a share of the median; 0 and above.
    pub uncertainty: f64,
    /// Share of the last day's steps in which demand was above what was ready, 0 to 1.
    pub violations: f64,
    /// Chance that a spot instance is taken within an hour, 0 to 1.
    pub interruption_per_h: f64,
}

impl Context {
    pub(super) fn checked(self) -> Result<Self, LearningError> {
        within("tuner", self.hour_of_week, 0.0, HOURS_OF_WEEK)?;
        within("tuner", self.uncertainty, 0.0, 1e6)?;
        within("tuner", self.violations, 0.0, 1.0)?;
        within("tuner", self.interruption_per_h, 0.0, 1.0)?;
        Ok(self)
    }

    /// A constant, the phases of day and week, and the three ratios, bounded so that no reading reigns.
    pub(super) fn features(&self) -> [f64; FEATURES] {
        let week = TAU * self.hour_of_week / HOURS_OF_WEEK;
        let day = 7.0 * week;
        let violations = (self.violations / USUAL_VIOLATIONS).min(MOST_UNITS);
        let uncertainty = self.uncertainty.min(MOST_UNITS);
        [1.0, day.sin(), day.cos(), week.sin(), week.cos(), uncertainty, violations, self.interruption_per_h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_bounded_and_what_cannot_be_is_refused() {
        let context = Context { hour_of_week: 30.0, uncertainty: 99.0, violations: 1.0, interruption_per_h: 1.0 };
        assert!(context.features().iter().all(|feature| feature.abs() <= MOST_UNITS));
        assert!((context.features()[1] - 1.0).abs() < 1e-12, "six in the morning");
        for wrong in [
            Context { hour_of_week: 169.0, ..context },
            Context { uncertainty: f64::NAN, ..context },
            Context { violations: -0.1, ..context },
            Context { interruption_per_h: 1.1, ..context },
        ] {
            assert!(wrong.checked().is_err(), "{wrong:?}");
        }
    }
}
