//! Tests of the interval: what it says of plain courses, and in how many simulated ones it holds the truth.

use proptest::prelude::*;
use statrs::distribution::{Binomial, DiscreteCDF};

use super::*;

/// A course whose unserved steps are given.
fn judged(unserved: &[bool], step_s: u32, by: fn(&World<'_>, &Series, &Course) -> Interval) -> Interval {
    let demand: Vec<f64> = unserved.iter().map(|&is_unserved| 1.0 + f64::from(u8::from(is_unserved))).collect();
    let series = Series::new(0, step_s, demand.clone()).unwrap();
    let world = World { demand: &demand, step_s, per_replica: 1.0, lead_steps: 1 };
    let all = vec![1; demand.len()];
    let course = Course { steps: 0..demand.len(), ready: all.clone(), paid: all, spot: vec![0; demand.len()] };
    by(&world, &series, &course)
}

/// When clusters of unserved steps begin.
#[derive(Clone, Copy, Debug)]
enum When {
    /// At any time.
    Any,
    /// More than two thirds of them in one quarter of the day.
    AtAnHour,
    /// Four sevenths of them on one day in seven, drawn anew each day.
    OnBadDays,
    /// The rarer, the more of the allowed share is used up, as where a controller aims at it.
    Paced,
}

/// Courses to draw.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    days: usize,
    /// Steps of a day.
    steps: usize,
    /// Mean length of a cluster, in steps.
    cluster: usize,
    when: When,
    /// Share of unserved steps in the long run.
    share: f64,
}

impl Drawn {
    fn course(&self, random: &mut ChaCha8Rng) -> Vec<bool> {
        let length = self.cluster as f64;
        let (mut is_unserved, mut is_bad, mut credit) = (false, false, 0.0);
        // A course begins after half as many days, so that what it begins with is nothing special.
        let before = self.days.div_ceil(2) * self.steps;
        let step = |at: usize| {
            let hour = at % self.steps;
            if hour == 0 {
                is_bad = random.random_bool(1.0 / 7.0);
            }
            let times = match self.when {
                When::Any => 1.0,
                When::AtAnHour => [0.2, 0.2, 3.4, 0.2][4 * hour / self.steps],
                When::OnBadDays => [0.5, 4.0][usize::from(is_bad)],
                When::Paced => (1.0 + 0.5 * credit / length).clamp(0.05, 20.0),
            };
            let begins = times * self.share / (1.0 - self.share) / length;
            is_unserved = if is_unserved { !random.random_bool(1.0 / length) } else { false }
                || random.random_bool(f64::min(begins, 1.0));
            credit += self.share - f64::from(u8::from(is_unserved));
            is_unserved
        };
        (0..before + self.days * self.steps).map(step).skip(before).collect()
    }

    /// Share of a hundred courses whose interval holds `share`, in percent.
    fn holding(&self, share: f64, by: fn(&World<'_>, &Series, &Course) -> Interval) -> usize {
        let mut random = ChaCha8Rng::seed_from_u64((self.days * 7919 + self.steps * 31 + self.cluster) as u64);
        let step_s = (DAY_S as usize / self.steps) as u32;
        (0..100).filter(|_| judged(&self.course(&mut random), step_s, by).holds(share)).count()
    }
}

/// Percent of a hundred courses of which the interval holds the truth of 1 %.
fn holding_the_truth(
    drawn: &[(usize, usize, usize, When)],
    by: fn(&World<'_>, &Series, &Course) -> Interval,
) -> Vec<usize> {
    let of = |&(days, steps, cluster, when)| Drawn { days, steps, cluster, when, share: 0.01 }.holding(0.01, by);
    drawn.iter().map(of).collect()
}

/// Percent of a hundred courses with clusters at any time, steps of five minutes, of which the interval does not hold 1 %.
fn telling(days: usize, cluster: usize, share: f64) -> usize {
    100 - Drawn { days, steps: 288, cluster, when: When::Any, share }.holding(0.01, violation_interval)
}

#[test]
fn the_truth_is_held_as_often_as_the_interval_says_or_more() {
    let mut drawn = vec![
        (28, 24, 1, When::Any),
        (28, 24, 3, When::OnBadDays),
        (10, 96, 3, When::AtAnHour),
        (28, 288, 3, When::Any),
    ];
    for when in [When::Any, When::AtAnHour, When::OnBadDays, When::Paced] {
        drawn.extend([2, 5, 10, 28].map(|days| (days, 288, 10, when)));
    }
    let held = holding_the_truth(&drawn, violation_interval);
    assert!(held.iter().all(|held| (91..=100).contains(held)), "{:?}", drawn.iter().zip(&held).collect::<Vec<_>>());
    let mean = held.iter().sum::<usize>() as f64 / held.len() as f64;
    assert!((95.0..=99.5).contains(&mean), "{mean}");
}

#[test]
fn long_clusters_and_bad_days_that_were_not_seen_are_held_less_often() {
    let long = [When::Any, When::OnBadDays].map(|when| (28, 288, 30, when));
    let held = holding_the_truth(&long, violation_interval);
    assert!(held.iter().all(|held| (76..=94).contains(held)), "{held:?}");
    let unseen = Drawn { days: 5, steps: 1440, cluster: 1, when: When::OnBadDays, share: 0.02 };
    let held = unseen.holding(0.02, violation_interval);
    assert!((40..=70).contains(&held), "{held}");
}

#[test]
fn percentiles_hold_the_truth_far_less_often() {
    let drawn = [2, 5, 28].map(|days| (days, 288, 10, When::Any));
    let held = holding_the_truth(&drawn, percentile_interval);
    let expected = [22..=45, 50..=75, 72..=92];
    assert!(held.iter().zip(&expected).all(|(held, range)| range.contains(held)), "{held:?}");
}

#[test]
fn another_share_is_told_the_more_days_the_sooner() {
    let told = [
        telling(5, 3, 0.04),
        telling(28, 3, 0.04),
        telling(28, 10, 0.04),
        telling(5, 10, 0.025),
        telling(28, 10, 0.025),
    ];
    let expected = [55..=90, 99..=100, 95..=100, 1..=20, 58..=82];
    assert!(told.iter().zip(&expected).all(|(told, range)| range.contains(told)), "{told:?}");
    // In five days 14 steps may go unserved: that none did, or one, tells nothing.
    let told = [telling(5, 3, 0.001), telling(28, 1, 0.001), telling(28, 3, 0.001), telling(28, 10, 0.001)];
    let expected = [0..=0, 99..=100, 90..=100, 70..=92];
    assert!(told.iter().zip(&expected).all(|(told, range)| range.contains(told)), "{told:?}");
}

#[test]
fn nothing_unserved_is_too_careful_only_where_much_was_served() {
    let of = |steps| judged(&vec![false; steps], 300, violation_interval);
    assert_eq!(of(3000).from, 0.0);
    assert!(of(4300).holds(0.01) && !of(4500).holds(0.01), "{:?}", of(4500));
    assert_eq!(judged(&[false; 4300], 300, percentile_interval), Interval { from: 0.0, to: 0.0 });
}

#[test]
fn equal_days_count_as_so_many_steps_and_unequal_ones_as_few() {
    // Forty days of hours, of which a day's first hours go unserved.
    let of = |hours: &[usize], by| {
        let unserved: Vec<bool> = (0..960).map(|hour| hour % 24 < hours[hour / 24 % hours.len()]).collect();
        judged(&unserved, 3600, by)
    };
    assert_eq!(of(&[6], percentile_interval), Interval { from: 0.25, to: 0.25 });
    let equal = of(&[6], violation_interval);
    assert!(equal.holds(0.25) && !equal.holds(0.22) && !equal.holds(0.28), "{equal:?}");
    let unequal = of(&[0, 12], violation_interval);
    assert!(unequal.holds(0.18) && unequal.holds(0.33) && !unequal.holds(0.1) && !unequal.holds(0.4), "{unequal:?}");
    assert_eq!(unequal, of(&[0, 12], violation_interval));
}

#[test]
fn a_single_day_tells_nothing() {
    assert_eq!(judged(&[false; 288], 300, violation_interval), Interval::ALL);
    assert_eq!(judged(&[], 300, violation_interval), Interval::ALL);
    assert_eq!(judged(&[true; 576], 300, violation_interval).to, 1.0);
}

proptest! {
    /// At either end what was seen, or more that way, has a chance of one in forty.
    #[test]
    fn the_ends_are_those_of_the_binomial(steps in 2_u64..400, at in 0.0..1.0) {
        let unserved = (at * (steps + 1) as f64) as u64;
        let interval = exact(unserved as f64, (steps - unserved) as f64);
        if unserved > 0 {
            let as_many = Binomial::new(interval.from, steps).unwrap().sf(unserved - 1);
            prop_assert!((as_many - TAIL).abs() < 1e-4, "{as_many} at {}", interval.from);
        }
        if unserved < steps {
            let as_few = Binomial::new(interval.to, steps).unwrap().cdf(unserved);
            prop_assert!((as_few - TAIL).abs() < 1e-4, "{as_few} at {}", interval.to);
        }
    }

    /// Where steps count as less than one there is an interval yet, and it holds what was seen.
    #[test]
    fn few_steps_leave_much_open(unserved in 0.0..5.0, served in 0.0..5.0) {
        prop_assume!(unserved + served > 1e-6);
        let Interval { from, to } = exact(unserved, served);
        let share = unserved / (unserved + served);
        prop_assert!(0.0 <= from && from <= share && share <= to && to <= 1.0, "[{from} {to}] at {share}");
    }
}
