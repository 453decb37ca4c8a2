//! How often instances of a pool are taken away: a Gamma-Poisson rate with fading, and how far they go together.
//!
//! The intuition: interruptions are counted per instance-hour, and the declared rate counts as some hours that were seen.
//! A mean says what to expect, an upper credible bound what to be safe against. Spot markets take instances back in herds,
//! so the chance of losing many at once is not that of independent coins: how much more the counts vary than such coins
//! would is learned as a correlation, and losses within a window follow a beta-binomial distribution.
//!
//! It does not see the future of a market: prices and notices are the instance manager's to report. Sources: Gelman et
//! al., Bayesian Data Analysis, section 2.6 (the Poisson model with exposure); Skellam, A probability distribution derived
//! from the binomial distribution, 1948.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Gamma};
use statrs::function::beta::ln_beta;
use statrs::function::factorial::ln_binomial;

use super::error::{LearningError, within};
use super::forgetting::{HalfLife, passed_s};

/// Highest rate told from certainty, per hour: e^-50 survive one.
const MAX_RATE_PER_H: f64 = 50.0;
/// Most instance-hours that one observation may cover: 100,000 instances for a month.
const MAX_INSTANCE_H: f64 = 1e8;
/// How far interruptions go together before anything was seen, and for how many squared pairs that counts: two in a
/// thousand expected losses of pairs are hardly evidence, a hundred are.
const DECLARED_CORRELATION: f64 = 0.1;
const CORRELATION_WEIGHT: f64 = 10.0;
/// Beyond this, a herd is one animal.
const MAX_CORRELATION: f64 = 0.95;
/// Points at which the rate's distribution is taken in a mixture over it.
const RATES: u32 = 16;

/// Instances of a pool through a while, and how many of them were taken away in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposure {
    /// Instances that could have been taken.
    pub instances: u32,
    /// Those that were.
    pub taken: u32,
    /// Length of the while, in hours.
    pub hours: f64,
}

/// The interruption rate of one pool; see the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InterruptionRate {
    declared_per_h: f64,
    declared_instance_h: f64,
    half_life_s: f64,
    taken: f64,
    instance_h: f64,
    /// By how much squared deviations were above those of independent losses, and what full correlation would add.
    excess: f64,
    full_excess: f64,
    at_s: i64,
}

impl InterruptionRate {
    /// Nothing learned yet: a chance within an hour of `chance_per_h`, which counts as `instance_h` instance-hours. Fades by
    /// half in `half_life_s` seconds.
    ///
    /// # Errors
    /// The chance is not from 0 to 1, or the weight not positive.
    pub fn new(chance_per_h: f64, instance_h: f64, half_life_s: f64) -> Result<Self, LearningError> {
        let chance = within("interruptions", chance_per_h, 0.0, 1.0)?;
        let instance_h = within("interruptions", instance_h, 1e-3, MAX_INSTANCE_H)?;
        Ok(Self {
            declared_per_h: rate_of(chance),
            declared_instance_h: instance_h,
            half_life_s,
            taken: 0.0,
            instance_h: 0.0,
            excess: 0.0,
            full_excess: 0.0,
            at_s: 0,
        })
    }

    /// Takes in what happened in a while that ended at `at_s`.
    ///
    /// # Errors
    /// More were taken than there were, or the while is not from 0 hours to 1e8 instance-hours.
    pub fn observe(&mut self, seen: Exposure, at_s: i64) -> Result<(), LearningError> {
        let (instances, taken) = (f64::from(seen.instances), f64::from(seen.taken));
        within("interruptions", taken, 0.0, instances)?;
        within("interruptions", seen.hours, 0.0, MAX_INSTANCE_H / instances.max(1.0))?;
        let chance = chance_of(self.rate_per_h(at_s), seen.hours);
        let variance = instances * chance * (1.0 - chance);
        let kept = self.kept(at_s);
        self.excess = kept * self.excess + (taken - instances * chance).powi(2) - variance;
        self.full_excess = kept * self.full_excess + variance * (instances - 1.0).max(0.0);
        self.taken = kept * self.taken + taken;
        self.instance_h = kept * self.instance_h + instances * seen.hours;
        self.at_s = self.at_s.max(at_s);
        Ok(())
    }

    fn kept(&self, now_s: i64) -> f64 {
        HalfLife { observations: f64::INFINITY, seconds: self.half_life_s }.keeps(0.0, passed_s(self.at_s, now_s))
    }

    /// Shape and rate of the gamma distribution that the interruptions per hour have, as far as is known.
    fn posterior(&self, now_s: i64) -> (f64, f64) {
        let kept = self.kept(now_s);
        let taken = self.declared_per_h * self.declared_instance_h + kept * self.taken;
        (taken, self.declared_instance_h + kept * self.instance_h)
    }

    /// Mean interruptions per instance-hour.
    #[must_use]
    pub fn rate_per_h(&self, now_s: i64) -> f64 {
        let (taken, hours) = self.posterior(now_s);
        (taken / hours).min(MAX_RATE_PER_H)
    }

    /// The rate that the true one does not exceed with probability `credibility`.
    #[must_use]
    pub fn upper_rate_per_h(&self, now_s: i64, credibility: f64) -> f64 {
        let (taken, hours) = self.posterior(now_s);
        // A pool that was declared never to be interrupted, and never was, has no distribution.
        let upper = Gamma::new(taken, hours).map_or(0.0, |rates| rates.inverse_cdf(credibility.clamp(0.0, 0.999_999)));
        upper.min(MAX_RATE_PER_H)
    }

    /// Chance that an instance is taken within an hour, as [`Pool`](crate::capacity::Pool) has it.
    #[must_use]
    pub fn chance_per_h(&self, now_s: i64) -> f64 {
        chance_of(self.rate_per_h(now_s), 1.0)
    }

    /// The same at the upper bound.
    #[must_use]
    pub fn upper_chance_per_h(&self, now_s: i64, credibility: f64) -> f64 {
        chance_of(self.upper_rate_per_h(now_s, credibility), 1.0)
    }

    /// How far interruptions within one while go together: 0 for independent ones, 1 for all or none.
    #[must_use]
    pub fn correlation(&self, now_s: i64) -> f64 {
        let kept = self.kept(now_s);
        let excess = DECLARED_CORRELATION * CORRELATION_WEIGHT + kept * self.excess;
        (excess / (CORRELATION_WEIGHT + kept * self.full_excess)).clamp(0.0, MAX_CORRELATION)
    }

    /// Chance that at least `taken` of `instances` are taken within `window_h` hours.
    #[must_use]
    pub fn at_least(&self, now_s: i64, taken: u32, instances: u32, window_h: f64) -> f64 {
        if taken == 0 {
            return 1.0;
        }
        if taken > instances {
            return 0.0;
        }
        let (shape, hours) = self.posterior(now_s);
        let Ok(rates) = Gamma::new(shape, hours) else { return 0.0 };
        let correlation = self.correlation(now_s);
        let tail = |rank: u32| {
            let rate = rates.inverse_cdf((f64::from(rank) + 0.5) / f64::from(RATES)).min(MAX_RATE_PER_H);
            beta_binomial_tail(taken, instances, chance_of(rate, window_h.max(0.0)), correlation)
        };
        (0..RATES).map(tail).sum::<f64>() / f64::from(RATES)
    }
}

/// Rate per hour at which a chance within an hour comes about.
fn rate_of(chance_per_h: f64) -> f64 {
    (-(1.0 - chance_per_h).ln()).min(MAX_RATE_PER_H)
}

fn chance_of(rate_per_h: f64, hours: f64) -> f64 {
    -(-rate_per_h * hours).exp_m1()
}

/// Chance of at least `least` of `n` where each has a chance and any two are correlated so far.
fn beta_binomial_tail(least: u32, n: u32, chance: f64, correlation: f64) -> f64 {
    // At the ends the distribution is a point; without correlation the beta's parameters would be infinite.
    let chance = chance.clamp(1e-12, 1.0 - 1e-12);
    let together = correlation.clamp(1e-6, MAX_CORRELATION);
    let total = (1.0 - together) / together;
    let (alpha, beta) = (chance * total, (1.0 - chance) * total);
    let exactly = |k: u32| {
        let ways = ln_binomial(u64::from(n), u64::from(k));
        (ways + ln_beta(f64::from(k) + alpha, f64::from(n - k) + beta) - ln_beta(alpha, beta)).exp()
    };
    // The shorter side, so that a small tail is not what is left of 1.
    let tail = match least > n / 2 {
        true => (least..=n).map(exactly).sum::<f64>(),
        false => 1.0 - (0..least).map(exactly).sum::<f64>(),
    };
    tail.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const WEEK_S: f64 = 7.0 * 86_400.0;

    fn declared() -> InterruptionRate {
        InterruptionRate::new(0.05, 200.0, 4.0 * WEEK_S).unwrap()
    }

    #[test]
    fn nothing_learned_is_what_was_declared() {
        assert!((declared().chance_per_h(9) - 0.05).abs() < 1e-12);
        assert!(declared().upper_chance_per_h(9, 0.95) > 0.06);
        let never = InterruptionRate::new(0.0, 10.0, WEEK_S).unwrap();
        assert_eq!((never.upper_rate_per_h(0, 0.99), never.at_least(0, 1, 10, 1.0)), (0.0, 0.0));
        assert!(InterruptionRate::new(1.5, 10.0, WEEK_S).is_err());
    }

    #[test]
    fn events_raise_it_quiet_hours_lower_it_and_time_brings_it_back() {
        let mut rate = declared();
        (0..500).for_each(|hour| rate.observe(Exposure { instances: 20, taken: 0, hours: 1.0 }, hour * 3600).unwrap());
        let quiet = rate.chance_per_h(500 * 3600);
        assert!(quiet < 0.002, "{quiet}");
        (500..520)
            .for_each(|hour| rate.observe(Exposure { instances: 20, taken: 4, hours: 1.0 }, hour * 3600).unwrap());
        assert!(rate.chance_per_h(520 * 3600) > 3.0 * quiet);
        assert!((rate.chance_per_h(52 * 7 * 86_400) / 0.05 - 1.0).abs() < 0.05, "after a year");
        let before = rate;
        assert!(rate.observe(Exposure { instances: 2, taken: 3, hours: 1.0 }, 0).is_err());
        assert!(rate.observe(Exposure { instances: 2, taken: 1, hours: f64::NAN }, 0).is_err());
        assert_eq!(rate, before);
    }

    #[test]
    fn the_upper_bound_covers_the_true_rate_as_often_as_it_says() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let covered = (0..400).filter(|_| {
            let mut rate = InterruptionRate::new(0.05, 20.0, f64::INFINITY).unwrap();
            for hour in 0..100 {
                let taken = (0..10).filter(|_| random.random::<f64>() < chance_of(0.02, 1.0)).count() as u32;
                rate.observe(Exposure { instances: 10, taken, hours: 1.0 }, hour * 3600).unwrap();
            }
            rate.upper_rate_per_h(100 * 3600, 0.9) >= 0.02
        });
        let share = covered.count() as f64 / 400.0;
        // The declared rate is above the true one, so somewhat more often.
        assert!((0.87..0.98).contains(&share), "{share}");
    }

    #[test]
    fn herds_are_told_from_single_losses() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let (mut herd, mut single) = (declared(), declared());
        for hour in 0..2_000 {
            let taken = if random.random::<f64>() < 0.02 { 20 } else { 0 };
            herd.observe(Exposure { instances: 20, taken, hours: 1.0 }, hour * 3600).unwrap();
            let taken = (0..20).filter(|_| random.random::<f64>() < 0.02).count() as u32;
            single.observe(Exposure { instances: 20, taken, hours: 1.0 }, hour * 3600).unwrap();
        }
        let now_s = 2_000 * 3600;
        assert!(herd.correlation(now_s) > 0.7, "{}", herd.correlation(now_s));
        assert!(single.correlation(now_s) < 0.05, "{}", single.correlation(now_s));
        // At about the same mean rate, losing half of 20 at once is another thing.
        let [herd, single] = [herd, single].map(|rate| rate.at_least(now_s, 10, 20, 1.0));
        assert!((0.01..0.03).contains(&herd) && single < 1e-4, "{herd} and {single}");
    }

    #[test]
    fn the_tail_is_the_binomials_where_nothing_goes_together() {
        let binomial = |least: u32, n: u32, p: f64| -> f64 {
            let exactly = |k: u32| {
                let ways = (0..k).fold(1.0, |ways, i| ways * f64::from(n - i) / f64::from(i + 1));
                ways * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)
            };
            (least..=n).map(exactly).sum()
        };
        for (least, n, p) in [(1, 5, 0.1), (3, 8, 0.3), (8, 8, 0.5), (0, 4, 0.2)] {
            let found = beta_binomial_tail(least, n, p, 0.0);
            assert!((found - binomial(least, n, p)).abs() < 1e-4, "{least} of {n}: {found}");
        }
    }
}
