//! A pool of equal replicas through time: what a scaling policy would have done with a demand, and what that costs.
//!
//! The intuition: capacity that is asked for now is ready only after the lead time, so a policy is judged by what was ready
//! when demand came, not by what it asked for. Time goes in steps. At the beginning of each the policy knows the demand of
//! all steps before and says how many replicas it wants; more are started and become ready [`World::lead_steps`] later,
//! fewer are given back at once, those that are still starting first. A replica is paid for from its start, ready or not.
//!
//! Invariants: the policy never sees the step that it decides in or a later one; what is ready and what is starting together
//! is what was wanted last.
//!
//! [`simulate`] is the plain world; [`simulate_with`] adds what goes wrong: starts that are late or fail, and interruptions of a
//! cheaper class. A [`Contest`] tunes every policy on an earlier part, judges it on the next and draws its frontier. What is
//! judged there as Forebay acts in operation as it is, a step at a time: [`Live`].
//!
//! What it does not do: several shapes, prices that change. Measures after Herbst et al. (SPEC
//! Research Group, Ready for rain?, 2016) and Bauer et al. (Chameleon, 2018).

mod contest;
mod enough;
mod foresight;
mod gate;
mod guard;
mod interval;
mod kind;
mod live;
mod measures;
mod mishaps;
mod outlook;
mod policies;
mod pool;
mod retold;
mod signal;
mod tuning;

use std::fmt;
use std::ops::Range;

pub use contest::{Contest, ContestError, Demanded, Point, Standing, TUNED_SHARES};
pub use foresight::{Aim, Foresight};
pub use gate::GateAccount;
pub use guard::references;
pub use interval::{Interval, percentile_interval, violation_interval};
pub use kind::Kind;
pub use live::{Live, Lived, Scale, Sight};
pub use measures::Measures;
pub use mishaps::{Mishaps, Prices, simulate_with};
pub use outlook::{Outlook, QUANTILES};
pub use policies::{Horizontal, LastValue, Oracle, Seasonal, Static};
pub use retold::Retold;
pub use signal::Source;
pub use tuning::{Trial, Tuned, tune};

use pool::Pool;

/// What is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct World<'a> {
    /// Mean demand of each step, in units per second; NaN where it is not known.
    pub demand: &'a [f64],
    /// Length of a step, in seconds.
    pub step_s: u32,
    /// Demand that one ready replica serves, in units per second; above 0.
    pub per_replica: f64,
    /// Whole steps from asking for a replica until it is ready, at least 1.
    pub lead_steps: usize,
}

impl World<'_> {
    /// Replicas that serve `demand`; 0 for a demand that is not known.
    #[must_use]
    pub fn replicas(&self, demand: f64) -> usize {
        if demand > 0.0 { (demand / self.per_replica).ceil() as usize } else { 0 }
    }
}

/// What a policy knows when it decides.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The step that begins.
    pub step: usize,
    /// Demand of the steps before.
    pub seen: &'a [f64],
    /// Replicas that are ready in this step or starting.
    pub running: usize,
    /// The last decision's outcome: whether the step before was served in full. `None` where what happened says nothing of
    /// the policy: nobody looked, or it was not given what it wanted. Then it counts what it wanted.
    pub served: Option<bool>,
}

impl Moment<'_> {
    /// Demand of the step before; NaN where that is not known.
    #[must_use]
    pub fn last(&self) -> f64 {
        self.seen.last().copied().unwrap_or(f64::NAN)
    }
}

/// Decides how many replicas there are to be. What acts in operation goes from thread to thread.
pub trait Policy: fmt::Debug + Send {
    /// Replicas wanted, ready and starting together.
    fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize;
}

impl Policy for Box<dyn Policy> {
    fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
        self.as_mut().wanted(world, moment)
    }
}

/// What came of a policy, step by step.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Course {
    /// The steps.
    pub steps: Range<usize>,
    /// Replicas ready in each.
    pub ready: Vec<usize>,
    /// Replicas paid for in each, ready and starting.
    pub paid: Vec<usize>,
    /// Those of them that may be interrupted; none in the plain world.
    pub spot: Vec<usize>,
}

/// Lets `policy` scale the pool through `steps`. It begins with what it wants first, ready.
pub fn simulate(world: &World<'_>, steps: Range<usize>, policy: &mut dyn Policy) -> Course {
    let mut course = Course { steps: steps.clone(), ..Course::default() };
    let (mut pool, mut served) = (Pool::default(), true);
    for step in steps {
        pool.begin_step();
        let moment = Moment { step, seen: &world.demand[..step], running: pool.running(), served: Some(served) };
        pool.scale(world, policy.wanted(world, &moment));
        course.ready.push(pool.ready());
        course.paid.push(pool.running());
        course.spot.push(0);
        served = pool.serves(world, world.demand[step]);
    }
    course
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wants what stands in the list.
    #[derive(Debug)]
    struct Script(Vec<usize>);

    impl Policy for Script {
        fn wanted(&mut self, _: &World<'_>, moment: &Moment<'_>) -> usize {
            self.0[moment.step]
        }
    }

    fn world(demand: &[f64], lead_steps: usize) -> World<'_> {
        World { demand, step_s: 60, per_replica: 10.0, lead_steps }
    }

    #[test]
    fn what_is_asked_for_is_ready_after_the_lead_time_and_paid_for_at_once() {
        let course = simulate(&world(&[0.0; 8], 2), 0..8, &mut Script(vec![1, 3, 3, 3, 6, 4, 4, 2]));
        assert_eq!(course.ready, [1, 1, 1, 3, 3, 3, 4, 2]);
        assert_eq!(course.paid, [1, 3, 3, 3, 6, 4, 4, 2]);
    }

    #[test]
    fn what_is_starting_is_given_back_before_what_is_ready() {
        let course = simulate(&world(&[0.0; 6], 3), 0..6, &mut Script(vec![5, 9, 6, 2, 2, 2]));
        assert_eq!(course.ready, [5, 5, 5, 2, 2, 2]);
        assert_eq!(course.paid, [5, 9, 6, 2, 2, 2]);
    }

    #[test]
    fn a_policy_sees_the_past_only() {
        #[derive(Debug)]
        struct Sees(Vec<usize>);
        impl Policy for Sees {
            fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
                assert_eq!(moment.seen, &world.demand[..moment.step]);
                self.0.push(moment.seen.len());
                0
            }
        }
        let demand = [1.0, 2.0, 3.0, 4.0];
        let mut sees = Sees(vec![]);
        simulate(&world(&demand, 1), 1..4, &mut sees);
        assert_eq!(sees.0, [1, 2, 3]);
    }
}
