//! A regret guard: what a policy asks for is held against reactive policies that are followed in the mind.
//!
//! The intuition: the books of the signals tell what each would have cost had it been followed all the time, at a factor that is
//! known only afterwards. What a policy costs that goes by them, paced and switched, is another matter. The reactive
//! policies that people run today are cheap to follow in the mind, each with a pool of its own. As long as what the guarded
//! policy asked for comes to more than the cheapest of them would have cost, by more than a margin, it gets no more than
//! that one would have now (in the spirit of conservative bandits: Wu et al., 2016). So where forecasts earn nothing the price
//! of having asked for them is bounded, and where they earn something the guard is never felt.
//!
//! The lesser of two costs less than either, and leaves more unserved: dear times are those of rising demand. So what this saves
//! is spent where it is missed: while what was given has cost less than the cheapest policy would have, and has left more
//! unserved than is allowed, the greater of the two is given.
//!
//! Invariants: it gives what was asked for or what a reference would have; of one reference that stays the cheapest, what is
//! given never exceeds its cost and the margin by more than what was asked for in one step. A policy that left more unserved
//! than is allowed, and more than the guarded one would have, is no measure of what things may cost: the guarded one as it
//! asks, or the guard would excuse itself.
//!
//! Not promised is the share that goes unserved under the guard: there is not always something to spend.

use super::foresight::{HALF_LIFE_DAYS, MARGIN};
use super::{Aim, Kind, Moment, Policy, Pool, Trial, World};

/// What people run today, each policy tuned on a trial.
#[must_use]
pub fn references(trial: &Trial<'_>, aim: Aim) -> Vec<Box<dyn Policy>> {
    Kind::REACTIVE.map(|kind| kind.policy(kind.tuned(trial, aim), aim.day_steps)).into()
}

/// A policy followed in the mind: what would run, and what that has cost, fading.
#[derive(Debug, Default)]
struct Followed {
    pool: Pool,
    steps: f64,
    replicas: f64,
    unserved: f64,
}

impl Followed {
    /// Books the step that ends, of whose past `kept` is left, 0 to 1, and begins the next.
    fn end_step(&mut self, world: &World<'_>, demand: f64, kept: f64) {
        if self.pool.was_scaled() && !demand.is_nan() {
            self.steps = kept * self.steps + 1.0;
            self.replicas = kept * self.replicas + self.pool.running() as f64;
            self.unserved = kept * self.unserved + f64::from(u8::from(!self.pool.serves(world, demand)));
        }
        self.pool.begin_step();
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Guard {
    allowed: f64,
    kept: f64,
    /// As if it got all that it asks for.
    own: Followed,
    /// What it gets.
    given: Followed,
    references: Vec<(Box<dyn Policy>, Followed)>,
    intervenes: bool,
}

impl Guard {
    /// By `references`; by none it never intervenes.
    pub(super) fn new(aim: Aim, references: Vec<Box<dyn Policy>>) -> Self {
        let kept = 0.5_f64.powf(1.0 / (HALF_LIFE_DAYS * aim.day_steps as f64));
        let references = references.into_iter().map(|policy| (policy, Followed::default())).collect();
        let (own, given) = (Followed::default(), Followed::default());
        Self { allowed: aim.allowed, kept, own, given, references, intervenes: false }
    }

    /// Whether other than what was asked for was given last.
    pub(super) fn intervenes(&self) -> bool {
        self.intervenes
    }

    /// Whether the step before would have been served by what was asked for. What really happened says so, unless the guard
    /// intervened or nothing is known of it.
    pub(super) fn served(&self, world: &World<'_>, moment: &Moment<'_>) -> bool {
        let happened = moment.served.filter(|_| !self.intervenes);
        happened.unwrap_or_else(|| self.own.pool.serves(world, moment.last()))
    }

    /// What is given where so many replicas are asked for; once in each step.
    pub(super) fn give(&mut self, world: &World<'_>, moment: &Moment<'_>, asked: usize) -> usize {
        let last = moment.last();
        for (policy, followed) in &mut self.references {
            let served = followed.pool.serves(world, last);
            followed.end_step(world, last, self.kept);
            let moment = Moment { running: followed.pool.running(), served: Some(served), ..*moment };
            followed.pool.scale(world, policy.as_mut().wanted(world, &moment));
        }
        self.own.end_step(world, last, self.kept);
        self.given.end_step(world, last, self.kept);
        let given = self.cheapest().map_or(asked, |cheapest| self.beside(cheapest, asked));
        self.own.pool.scale(world, asked);
        self.given.pool.scale(world, given);
        self.intervenes = given != asked;
        given
    }

    /// The cheapest comparable policy so far.
    fn cheapest(&self) -> Option<&Followed> {
        let most_unserved = self.own.unserved.max(self.allowed * self.own.steps);
        let followed = self.references.iter().map(|(_, followed)| followed);
        let comparable = followed.filter(|followed| followed.unserved <= most_unserved);
        comparable.min_by(|a, b| a.replicas.total_cmp(&b.replicas))
    }

    /// What is given beside what `cheapest` would have now.
    fn beside(&self, cheapest: &Followed, asked: usize) -> usize {
        let now = cheapest.pool.running();
        if self.own.replicas.max(self.given.replicas) <= (1.0 + MARGIN) * cheapest.replicas {
            return asked;
        }
        let has_saved = self.given.replicas < cheapest.replicas;
        let is_short = self.given.unserved > self.allowed * self.given.steps;
        if has_saved && is_short { asked.max(now) } else { asked.min(now) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simulation::{LastValue, Static};

    fn world(demand: &[f64]) -> World<'_> {
        World { demand, step_s: 900, per_replica: 1.0, lead_steps: 2 }
    }

    /// What is given step by step of what is asked for.
    fn given(world: &World<'_>, asked: &[usize], references: Vec<Box<dyn Policy>>) -> Vec<usize> {
        let mut guard = Guard::new(Aim { allowed: 0.01, day_steps: 1_000_000 }, references);
        let mut give = |step: usize| {
            let moment = Moment { step, seen: &world.demand[..step], running: 0, served: Some(true) };
            guard.give(world, &moment, asked[step])
        };
        (0..asked.len()).map(&mut give).collect()
    }

    proptest! {
        #[test]
        fn what_is_given_never_costs_more_than_the_reference_by_more_than_the_margin_and_a_step(
            asked in prop::collection::vec(0_usize..60, 10..300),
            enough in 1_usize..40,
        ) {
            let demand = vec![enough as f64; asked.len()];
            let given = given(&world(&demand), &asked, vec![Box::new(Static(enough))]);
            let (mut paid, mut reference) = (0.0, 0.0);
            for (given, asked) in given.iter().zip(&asked) {
                prop_assert!(given == asked || *given == enough);
                paid += *given as f64;
                reference += enough as f64;
                prop_assert!(paid <= (1.0 + MARGIN) * reference + 60.0, "{paid} for {reference}");
            }
        }
    }

    #[test]
    fn who_saves_is_never_capped_and_who_wasted_is_until_it_is_made_up_for() {
        let demand = [9.0; 40];
        let saves = [9; 40];
        assert_eq!(given(&world(&demand), &saves, vec![Box::new(Static(10))]), saves);
        let wastes: Vec<usize> = (0..40).map(|step| if step < 8 { 15 } else { 9 }).collect();
        let got = given(&world(&demand), &wastes, vec![Box::new(Static(10))]);
        assert_eq!(got[..4], [15, 10, 10, 10], "one step is known only after it");
        assert_eq!(got[8..], [9; 32]);
    }

    #[test]
    fn what_it_saved_is_spent_where_too_much_goes_unserved() {
        // Wastes at first, then asks for a third of what the reference has.
        let asked: Vec<usize> = (0..40).map(|step| if step < 8 { 30 } else { 5 }).collect();
        let beside = |demand: f64| given(&world(&[demand; 40]), &asked, vec![Box::new(Static(15))]);
        let (short, enough) = (beside(10.0), beside(5.0));
        assert_eq!((short[0], &short[1..8]), (30, &[15; 7][..]));
        assert_eq!(short[8..10], [5, 5], "the first step is not made up for yet");
        assert_eq!(short[10..20], [15; 10], "less was spent than the reference would have, and it is missed");
        assert_eq!(short[20..], [5; 20], "what was wasted in the mind is made up for");
        assert_eq!(enough[8..], [5; 32], "nothing is missed");
    }

    #[test]
    fn who_leaves_more_unserved_is_no_measure() {
        let demand: Vec<f64> = (0..200).map(|step| if step % 5 == 0 { 20.0 } else { 10.0 }).collect();
        let asked = [20; 200];
        let cheap = || Box::new(LastValue { factor: 1.0 });
        assert_eq!(given(&world(&demand), &asked, vec![cheap()])[3..], asked[3..]);
        let capped = given(&world(&demand), &asked, vec![cheap(), Box::new(Static(19)), Box::new(Static(25))]);
        assert_eq!(capped[3..], asked[3..], "nor is who is dearer");
    }
}
