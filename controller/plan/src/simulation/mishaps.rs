//! The pool with what goes wrong: starts that take longer or fail, replicas that are interrupted, and two prices.
//!
//! The intuition: a policy that looks good where everything comes as ordered may fall apart where it does not. So replicas are
//! followed one by one. A start is ready after the lead time and some more steps, any number up to a most; some fail,
//! which is known when they should have been ready, and are paid for until then. A share of the replicas is of a cheaper
//! class that may be taken away at any step. What is missing then is asked for again at the next decision, since a policy says
//! how many there are to be.
//!
//! Invariants: without mishaps the course is that of [`simulate`](super::simulate), step for step; the same seed and the same
//! decisions give the same course; of what is paid for, the cheaper class never is more than its share, rounded down, of what is
//! wanted when it is started. Given back are the youngest first, ready or not.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Course, Moment, Policy, World};

const DAY_S: f64 = 86_400.0;
const HOUR_S: f64 = 3_600.0;

/// What may go wrong; the default is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Mishaps {
    /// Steps that a start takes beyond the lead time at most; any number up to it is as likely.
    pub jitter_steps: usize,
    /// Share of starts that fail, 0 to 1.
    pub failed_starts: f64,
    /// Share of replicas that are of the class that may be interrupted, 0 to 1.
    pub spot_share: f64,
    /// Interruptions of such a replica per day, not below 0.
    pub interruptions_per_day: f64,
    /// Of what is drawn.
    pub seed: u64,
}

impl Mishaps {
    /// Whether nothing goes wrong, and all replicas are of one class.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.jitter_steps == 0 && self.failed_starts <= 0.0 && self.spot_share <= 0.0
    }
}

/// What a replica costs for an hour, ready or starting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// One that is not interrupted.
    pub on_demand_per_h: f64,
    /// One that may be.
    pub spot_per_h: f64,
}

impl Prices {
    /// What a course costs at steps of `step_s`.
    #[must_use]
    pub fn cost(&self, course: &Course, step_s: u32) -> f64 {
        let spot: usize = course.spot.iter().sum();
        let all: usize = course.paid.iter().sum();
        let hours = |replicas: usize| replicas as f64 * f64::from(step_s) / HOUR_S;
        hours(all.saturating_sub(spot)) * self.on_demand_per_h + hours(spot) * self.spot_per_h
    }
}

#[derive(Clone, Copy)]
struct Replica {
    /// The step from which it serves, or at which its start has failed.
    ready_at: usize,
    fails: bool,
    is_spot: bool,
}

/// As [`simulate`](super::simulate), with mishaps. What the first decision wants is there at once and did not fail.
pub fn simulate_with(world: &World<'_>, steps: Range<usize>, policy: &mut dyn Policy, mishaps: &Mishaps) -> Course {
    let mut course = Course { steps: steps.clone(), ..Course::default() };
    let mut random = ChaCha8Rng::seed_from_u64(mishaps.seed);
    let interrupted = 1.0 - (-mishaps.interruptions_per_day * f64::from(world.step_s) / DAY_S).exp();
    // The oldest first.
    let mut replicas: Vec<Replica> = Vec::new();
    let mut served = true;
    for step in steps.clone() {
        replicas.retain(|replica| {
            let has_failed = replica.fails && step >= replica.ready_at;
            let is_taken = replica.is_spot && interrupted > 0.0 && random.random_bool(interrupted);
            !has_failed && !is_taken
        });
        let seen = &world.demand[..step];
        let wanted = policy.wanted(world, &Moment { step, seen, running: replicas.len(), served: Some(served) });
        replicas.truncate(wanted);
        let mut spot = replicas.iter().filter(|replica| replica.is_spot).count();
        let most_spot = (mishaps.spot_share.clamp(0.0, 1.0) * wanted as f64) as usize;
        while replicas.len() < wanted {
            let is_first = step == steps.start;
            let jitter = if mishaps.jitter_steps == 0 { 0 } else { random.random_range(0..=mishaps.jitter_steps) };
            let fails = !is_first && mishaps.failed_starts > 0.0 && random.random_bool(mishaps.failed_starts.min(1.0));
            let ready_at = if is_first { step } else { step + world.lead_steps.max(1) + jitter };
            let is_spot = spot < most_spot;
            spot += usize::from(is_spot);
            replicas.push(Replica { ready_at, fails, is_spot });
        }
        let ready = replicas.iter().filter(|replica| replica.ready_at <= step).count();
        course.ready.push(ready);
        course.paid.push(replicas.len());
        course.spot.push(spot);
        served = world.demand[step].is_nan() || world.replicas(world.demand[step]) <= ready;
    }
    course
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simulation::{Horizontal, simulate};

    #[derive(Debug)]
    struct Script(Vec<usize>);

    impl Policy for Script {
        fn wanted(&mut self, _: &World<'_>, moment: &Moment<'_>) -> usize {
            self.0[moment.step]
        }
    }

    fn world(demand: &[f64], lead_steps: usize) -> World<'_> {
        World { demand, step_s: 3600, per_replica: 10.0, lead_steps }
    }

    fn course(wanted: &[usize], mishaps: Mishaps) -> Course {
        let demand = vec![20.0; wanted.len()];
        simulate_with(&world(&demand, 2), 0..wanted.len(), &mut Script(wanted.to_vec()), &mishaps)
    }

    #[test]
    fn a_start_that_fails_is_paid_for_until_then_and_asked_for_again() {
        let all_fail = Mishaps { failed_starts: 1.0, ..Mishaps::default() };
        let course = course(&[2, 3, 3, 3, 3, 3], all_fail);
        assert_eq!(course.ready, [2, 2, 2, 2, 2, 2], "what was asked for at 1 fails at 3, and what replaces it at 5");
        assert_eq!(course.paid, [2, 3, 3, 3, 3, 3]);
    }

    #[test]
    fn all_of_the_cheaper_class_taken_at_once_is_missing_for_a_lead_time() {
        // So many interruptions that each replica of the class is gone in the next step.
        let mishaps = Mishaps { spot_share: 0.5, interruptions_per_day: 1e6, ..Mishaps::default() };
        let course = course(&[4, 4, 4, 4], mishaps);
        assert_eq!(course.ready, [4, 2, 2, 2]);
        assert_eq!((&course.paid, &course.spot), (&vec![4; 4], &vec![2; 4]));
        let prices = Prices { on_demand_per_h: 1.0, spot_per_h: 0.25 };
        assert_eq!(prices.cost(&course, 3600), 8.0 + 8.0 * 0.25);
        assert_eq!(prices.cost(&course, 900), (8.0 + 8.0 * 0.25) / 4.0);
    }

    #[test]
    fn starts_come_late_by_their_jitter_and_by_seed() {
        let jitter =
            |seed: u64| course(&[1, 40, 40, 40, 40, 40, 40], Mishaps { jitter_steps: 2, seed, ..Mishaps::default() });
        let ready = jitter(7).ready;
        assert_eq!((ready[2], ready[5]), (1, 40), "{ready:?}");
        assert!(ready[3] > 1 && ready[3] < ready[4] && ready[4] < 40, "{ready:?}");
        assert_eq!(jitter(7), jitter(7));
        assert_ne!(jitter(7), jitter(8));
    }

    proptest! {
        #[test]
        fn without_mishaps_it_is_the_plain_world(
            wanted in prop::collection::vec(0_usize..12, 2..60),
            lead in 1_usize..6,
        ) {
            let demand: Vec<f64> = wanted.iter().map(|&wanted| wanted as f64 * 9.0).collect();
            let world = world(&demand, lead);
            let plain = simulate(&world, 0..wanted.len(), &mut Script(wanted.clone()));
            let followed = simulate_with(&world, 0..wanted.len(), &mut Script(wanted.clone()), &Mishaps::default());
            prop_assert_eq!(&plain, &followed);
            let scaled = simulate(&world, 1..wanted.len(), &mut Horizontal::at(0.6));
            let also = simulate_with(&world, 1..wanted.len(), &mut Horizontal::at(0.6), &Mishaps::default());
            prop_assert_eq!(scaled, also);
        }
    }
}
