//! How sure a share of unserved steps is: what it would have been on days drawn anew.
//!
//! Steps that go unserved come together, so whole days are drawn with replacement (block bootstrap: Kuensch, 1989). A share of
//! nothing at all has no spread: its interval is nothing, and any target lies outside of it.
//!
//! Days are few. Of courses that truly leave 1 % unserved, ten steps of five minutes together, six in ten lie outside of their
//! own interval in two days, three in ten in five and two in ten in four weeks (a test below holds it). So some of many
//! traces are outside whatever a policy does.

use std::collections::BTreeMap;

use forebay_forecast::{DAY_S, Series};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Course, World};

const RESAMPLES: usize = 500;
const SEED: u64 = 5;
/// What lies outside below, and above.
const TAIL: f64 = 0.025;

/// Where 95 % of the resampled shares lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end, 0 to 1.
    pub from: f64,
    /// The upper end.
    pub to: f64,
}

impl Interval {
    /// Whether a share lies in it.
    #[must_use]
    pub fn holds(&self, share: f64) -> bool {
        (self.from..=self.to).contains(&share)
    }
}

/// Of the share of steps that `course` left unserved; `series` tells the days. The same course gives the same interval.
#[must_use]
pub fn violation_interval(world: &World<'_>, series: &Series, course: &Course) -> Interval {
    let mut days: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (step, &ready) in course.steps.clone().zip(&course.ready) {
        if !world.demand[step].is_nan() {
            let (violated, steps) = days.entry(series.at_s(step).div_euclid(DAY_S)).or_default();
            *violated += f64::from(u8::from(world.replicas(world.demand[step]) > ready));
            *steps += 1.0;
        }
    }
    let days: Vec<(f64, f64)> = days.into_values().collect();
    if days.is_empty() {
        return Interval { from: 0.0, to: 1.0 };
    }
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut shares: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..days.len()).map(|_| days[random.random_range(0..days.len())]);
            let (violated, steps) = drawn.fold((0.0, 0.0), |sum, day| (sum.0 + day.0, sum.1 + day.1));
            violated / f64::max(steps, 1.0)
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    let at = |share: f64| shares[(share * (RESAMPLES - 1) as f64).round() as usize];
    Interval { from: at(TAIL), to: at(1.0 - TAIL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(unserved_on: &[usize]) -> Interval {
        // Forty days of hours, of which a day's first hours go unserved.
        let demand: Vec<f64> = (0..960)
            .map(|hour| f64::from(u8::from(hour % 24 < unserved_on[hour / 24 % unserved_on.len()])) + 1.0)
            .collect();
        let series = Series::new(0, 3600, demand.clone()).unwrap();
        let world = World { demand: &demand, step_s: 3600, per_replica: 1.0, lead_steps: 1 };
        let course = Course { steps: 0..960, ready: vec![1; 960], paid: vec![1; 960], spot: vec![0; 960] };
        violation_interval(&world, &series, &course)
    }

    /// How many of a hundred courses of so many days hold the share of 1 % that they are drawn with, ten steps together.
    fn holding(days: usize) -> usize {
        const DAY: usize = 288;
        let steps = days * DAY;
        let mut random = ChaCha8Rng::seed_from_u64(days as u64);
        let held = |_: &usize| {
            let mut is_unserved = false;
            let demand: Vec<f64> = (0..steps)
                .map(|_| {
                    let turns = if is_unserved { 0.1 } else { 0.1 * 0.01 / 0.99 };
                    is_unserved ^= random.random_bool(turns);
                    1.0 + f64::from(u8::from(is_unserved))
                })
                .collect();
            let series = Series::new(0, 300, demand.clone()).unwrap();
            let world = World { demand: &demand, step_s: 300, per_replica: 1.0, lead_steps: 1 };
            let course = Course { steps: 0..steps, ready: vec![1; steps], paid: vec![1; steps], spot: vec![0; steps] };
            violation_interval(&world, &series, &course).holds(0.01)
        };
        (0..100).filter(held).count()
    }

    #[test]
    fn the_truth_is_often_outside_of_what_few_days_tell() {
        let holding = [2, 5, 28].map(holding);
        let expected = [30..=50, 60..=80, 72..=92];
        assert!(holding.iter().zip(&expected).all(|(held, range)| range.contains(held)), "{holding:?}");
    }

    #[test]
    fn equal_days_leave_no_doubt_and_unequal_ones_some() {
        assert_eq!(of(&[6]), Interval { from: 0.25, to: 0.25 });
        assert_eq!(of(&[0]), Interval { from: 0.0, to: 0.0 });
        let unequal = of(&[0, 12]);
        assert!(unequal.holds(0.25) && !unequal.holds(0.1) && !unequal.holds(0.4), "{unequal:?}");
        assert_eq!(unequal, of(&[0, 12]));
    }
}
