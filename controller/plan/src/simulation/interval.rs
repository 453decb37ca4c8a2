//! How sure a share of unserved steps is: between which true shares such a course is not unlikely.
//!
//! The intuition: steps that go unserved come together, so many steps are worth few independent ones. How few is told by whole
//! days drawn with replacement (block bootstrap: Kuensch, 1989): the variance of their shares over that of independent steps is
//! the design effect. Steps over the design effect are those that count, and the interval is the exact one of so many
//! (Clopper and Pearson, 1934; together Korn and Graubard, 1998, as the NCHS standards for proportions, 2017, ask for). As
//! there, few days are taken for as little as they are: the variance grows by Student's quantile over the normal one, squared.
//!
//! Days that are much alike, or of which none had an unserved step, would leave no doubt at all. So the variance is taken as
//! if one more cluster had been seen, as upper limits of rates are (Fay and Feuer, 1997): [`CLUSTER_STEPS`] long, or as long as
//! it takes to notice a shortage and start a replica. It weighs nothing once many were seen. Where none was, it says how
//! much must have been served in full before that is too careful: 44 steps' worth of the allowed share.
//!
//! What it cannot know is what its days do not hold. Where one day in seven is four times as bad, half of all fives hold no
//! such day. A test measures in how many of simulated courses the truth is held; [`percentile_interval`] holds far fewer.

use std::collections::BTreeMap;

use forebay_forecast::{DAY_S, Series};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Beta, ContinuousCDF, Normal, StudentsT};

use super::{Course, World};

const RESAMPLES: usize = 500;
const SEED: u64 = 5;
/// What lies outside below, and above.
const TAIL: f64 = 0.025;
/// Steps of the cluster that is added to those seen. The shorter, the sooner is a course told as too careful of which the few
/// shortages that it would have had happened not to come: chosen so that simulated ones of 1 to 60 steps are held.
const CLUSTER_STEPS: usize = 12;

/// What the true share may well be, in 95 % of all courses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end, 0 to 1.
    pub from: f64,
    /// The upper end.
    pub to: f64,
}

impl Interval {
    /// All that a share can be.
    const ALL: Self = Self { from: 0.0, to: 1.0 };

    /// Whether a share lies in it.
    #[must_use]
    pub fn holds(&self, share: f64) -> bool {
        (self.from..=self.to).contains(&share)
    }
}

/// Of the share of steps that `course` left unserved; `series` tells the days. Two days are needed to say anything. The same
/// course gives the same interval.
#[must_use]
pub fn violation_interval(world: &World<'_>, series: &Series, course: &Course) -> Interval {
    let days = Days::of(world, series, course);
    let (unserved, steps) = days.total();
    let freedom = days.0.len() as f64 - 1.0;
    if freedom < 1.0 {
        return Interval::ALL;
    }
    let cluster = CLUSTER_STEPS.max(world.lead_steps + 1) as f64;
    // Of the count of unserved steps, as days tell it and as independent steps would have it.
    let told = days.variance() * steps * steps * (1.0 + 1.0 / freedom) * excess(freedom);
    let independent = unserved * (1.0 - unserved / steps);
    let design = f64::max((told + cluster * cluster) / (independent + cluster), 1.0);
    exact(unserved / design, (steps - unserved) / design)
}

/// Where 95 % of the shares of resampled days lie: nothing at all where all days are alike, and too little where days are few.
#[must_use]
pub fn percentile_interval(world: &World<'_>, series: &Series, course: &Course) -> Interval {
    let days = Days::of(world, series, course);
    if days.0.is_empty() {
        return Interval::ALL;
    }
    let mut shares = days.resampled();
    shares.sort_by(f64::total_cmp);
    let at = |share: f64| shares[(share * (RESAMPLES - 1) as f64).round() as usize];
    Interval { from: at(TAIL), to: at(1.0 - TAIL) }
}

/// By what a variance of so many degrees of freedom grows so that a normal quantile of it is Student's.
fn excess(freedom: f64) -> f64 {
    let rank = 1.0 - TAIL;
    let student = StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |student| student.inverse_cdf(rank));
    (student / Normal::standard().inverse_cdf(rank)).powi(2)
}

/// What the share may be of which `unserved` and `served` independent steps were seen, whole ones or not.
fn exact(unserved: f64, served: f64) -> Interval {
    let end = |unserved, served, rank| Beta::new(unserved, served).map(|share| share.inverse_cdf(rank));
    Interval {
        from: end(unserved, served + 1.0, TAIL).unwrap_or(Interval::ALL.from),
        to: end(unserved + 1.0, served, 1.0 - TAIL).unwrap_or(Interval::ALL.to),
    }
}

/// Unserved and known steps of each day that has some.
struct Days(Vec<(f64, f64)>);

impl Days {
    fn of(world: &World<'_>, series: &Series, course: &Course) -> Self {
        let mut days: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for (step, &ready) in course.steps.clone().zip(&course.ready) {
            if !world.demand[step].is_nan() {
                let (unserved, steps) = days.entry(series.at_s(step).div_euclid(DAY_S)).or_default();
                *unserved += f64::from(u8::from(world.replicas(world.demand[step]) > ready));
                *steps += 1.0;
            }
        }
        Self(days.into_values().collect())
    }

    fn total(&self) -> (f64, f64) {
        self.0.iter().fold((0.0, 0.0), |sum, day| (sum.0 + day.0, sum.1 + day.1))
    }

    /// Shares of unserved steps of as many days, drawn with replacement.
    fn resampled(&self) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let mut drawn = || Self((0..self.0.len()).map(|_| self.0[random.random_range(0..self.0.len())]).collect());
        (0..RESAMPLES).map(|_| drawn().total()).map(|(unserved, steps)| unserved / steps).collect()
    }

    /// Of the share of all days: that of the resampled ones.
    fn variance(&self) -> f64 {
        let shares = self.resampled();
        let mean = shares.iter().sum::<f64>() / RESAMPLES as f64;
        shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / RESAMPLES as f64
    }
}

#[cfg(test)]
mod tests;
