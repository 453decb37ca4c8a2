//! How many starts of a pool fail outright: a Beta-Binomial share with fading.
//!
//! The intuition: the declared share counts as some starts that were seen. Failures are those that the instance manager
//! reports (a quota, a shortage of stock, a broken image); a start that merely takes long is the lead time's concern.
//! Source: Gelman et al., Bayesian Data Analysis, section 2.1.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

use super::error::{LearningError, within};
use super::forgetting::{HalfLife, passed_s};

/// The share of starts that fail in one pool; see the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StartFailures {
    declared: f64,
    declared_starts: f64,
    half_life: HalfLife,
    failed: f64,
    starts: f64,
    at_s: i64,
}

impl StartFailures {
    /// Nothing learned yet: a share of `declared`, which counts as `declared_starts` starts.
    ///
    /// # Errors
    /// The share is not from 0 to 1, or the weight not positive.
    pub fn new(declared: f64, declared_starts: f64, half_life: HalfLife) -> Result<Self, LearningError> {
        let declared = within("start failures", declared, 0.0, 1.0)?;
        let declared_starts = within("start failures", declared_starts, 1e-3, 1e6)?;
        Ok(Self { declared, declared_starts, half_life, failed: 0.0, starts: 0.0, at_s: 0 })
    }

    /// Takes in that `failed` of `starts` starts failed.
    ///
    /// # Errors
    /// More failed than were started.
    pub fn observe(&mut self, failed: u32, starts: u32, at_s: i64) -> Result<(), LearningError> {
        within("start failures", f64::from(failed), 0.0, f64::from(starts))?;
        let kept = self.half_life.keeps(f64::from(starts), passed_s(self.at_s, at_s));
        self.failed = kept * self.failed + f64::from(failed);
        self.starts = kept * self.starts + f64::from(starts);
        self.at_s = self.at_s.max(at_s);
        Ok(())
    }

    /// Failures and successes, those declared among them.
    fn counts(&self, now_s: i64) -> (f64, f64) {
        let kept = self.half_life.keeps(0.0, passed_s(self.at_s, now_s));
        let failed = self.declared * self.declared_starts + kept * self.failed;
        let starts = self.declared_starts + kept * self.starts;
        (failed, starts - failed)
    }

    /// Expected share of starts that fail.
    #[must_use]
    pub fn share(&self, now_s: i64) -> f64 {
        let (failed, went_well) = self.counts(now_s);
        failed / (failed + went_well)
    }

    /// The share that the true one does not exceed with probability `credibility`.
    #[must_use]
    pub fn upper_share(&self, now_s: i64, credibility: f64) -> f64 {
        let (failed, went_well) = self.counts(now_s);
        // Certain either way, by declaration and by all that was seen: a point, not a distribution.
        Beta::new(failed, went_well).map_or(self.share(now_s), |beta| beta.inverse_cdf(credibility.clamp(0.0, 1.0)))
    }

    /// How many to start so that `wanted` are expected to come, no more than twice as many.
    #[must_use]
    pub fn starts_for(&self, wanted: u32, now_s: i64) -> u32 {
        let starts = (f64::from(wanted) / (1.0 - self.share(now_s)).max(0.5)).ceil();
        // A float's conversion saturates.
        starts as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: HalfLife = HalfLife { observations: 200.0, seconds: 14.0 * 86_400.0 };

    #[test]
    fn it_is_the_declared_share_then_the_seen_one_then_the_declared_one_again() {
        let mut failures = StartFailures::new(0.02, 50.0, HALF_LIFE).unwrap();
        assert!((failures.share(0) - 0.02).abs() < 1e-12 && failures.upper_share(0, 0.95) > 0.05);
        (0..100).for_each(|_| failures.observe(2, 5, 0).unwrap());
        assert!((0.30..0.40).contains(&failures.share(0)), "{}", failures.share(0));
        assert!(failures.upper_share(0, 0.95) < 0.45);
        assert_eq!((failures.starts_for(0, 0), failures.starts_for(10, 0)), (0, 16));
        assert!((failures.share(400 * 86_400) - 0.02).abs() < 1e-3);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut failures = StartFailures::new(0.0, 1.0, HALF_LIFE).unwrap();
        assert!(failures.observe(2, 1, 0).is_err() && StartFailures::new(f64::NAN, 1.0, HALF_LIFE).is_err());
        assert_eq!((failures.share(0), failures.upper_share(0, 0.95)), (0.0, 0.0));
        failures.observe(900, 900, 0).unwrap();
        assert_eq!(failures.starts_for(10, 0), 20, "no more than twice as many");
    }
}
