//! Foresight in operation: the same policy, fed one step at a time with what was seen and what is forecast.
//!
//! The intuition: what judges a policy and what acts must be one thing, or figures of the one say nothing of the other. So
//! this holds no policy of its own: it lays each step out as [`Foresight`] sees it in a simulation, and remembers what a
//! simulation counts afterwards. A step that is fed twice, or not at all, is the caller's to avoid.
//!
//! The state is not stored. What was seen is (a [`Sight`] is a few dozen bytes, the books are hundreds of thousands), and
//! fed again it gives the same state; so books can be opened anew whenever what they are kept for has changed, such as the
//! lead time, and a build that keeps other books needs nothing migrated.
//!
//! Deliberately not here: what is done with the answer. A service that goes below what it needs now, or above a budget, is
//! for the planner to stop.

use super::foresight::{Aim, Foresight};
use super::gate::GateAccount;
use super::outlook::QUANTILES;
use super::signal::Source;
use super::{Mishaps, Moment, Policy, Trial, World, references};

/// What books are kept for. They are opened anew where it changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Length of a step, in seconds; above 0.
    pub step_s: u32,
    /// Demand that one replica serves, in units per second; above 0.
    pub per_replica: f64,
    /// Whole steps from asking for a replica until it is ready, at least 1.
    pub lead_steps: usize,
}

impl Scale {
    fn world<'a>(&self, demand: &'a [f64]) -> World<'a> {
        World { demand, step_s: self.step_s, per_replica: self.per_replica, lead_steps: self.lead_steps.max(1) }
    }
}

/// What is known when a step begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// Mean demand of the step before, in units per second; NaN where it is not known.
    pub demand_per_s: f64,
    /// Whether that step was served in full. `None` where that says nothing of the policy: nobody looked, or it was not given
    /// what it wanted, as where pools are exhausted. Then it counts whether what it wanted would have served.
    pub served: Option<bool>,
    /// The highest that demand gets from now until what is asked for now is ready, in units per second, by [`QUANTILES`];
    /// NaN where there is no forecast.
    pub upper: [f64; QUANTILES.len()],
}

/// What was lived through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lived {
    /// Steps whose demand is known.
    pub steps: usize,
    /// Those of them whose outcome says something of the policy.
    pub judged: usize,
    /// Those of these that were not served in full.
    pub short: usize,
}

impl Lived {
    /// Share of judged steps that were not served in full; `None` where none was judged.
    #[must_use]
    pub fn short_share(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.short as f64 / self.judged as f64)
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Live {
    aim: Aim,
    scale: Scale,
    foresight: Foresight<'static>,
    decided: usize,
    replicas: usize,
    /// The newest demand that is known; NaN before any is.
    known_per_s: f64,
    lived: Lived,
}

impl Live {
    /// With empty books.
    #[must_use]
    pub fn new(scale: Scale, aim: Aim) -> Self {
        let foresight = Foresight::live(&scale.world(&[]), aim);
        Self { aim, scale, foresight, decided: 0, replicas: 0, known_per_s: f64::NAN, lived: Lived::default() }
    }

    /// With books of what was seen, oldest first. Where that is enough to go by, it is guarded as in a contest: by reactive
    /// policies that are tuned on it.
    #[must_use]
    pub fn replayed(scale: Scale, aim: Aim, seen: &[Sight]) -> Self {
        let mut live = Self::new(scale, aim);
        let demand: Vec<f64> = seen.iter().skip(1).map(|sight| sight.demand_per_s).collect();
        let known = demand.iter().filter(|demand| !demand.is_nan()).count();
        if known as f64 >= live.proves_after() {
            let trial = Trial { world: scale.world(&demand), steps: 1..demand.len(), mishaps: Mishaps::default() };
            live.foresight = live.foresight.guarded_by(references(&trial, aim));
        }
        for sight in seen {
            live.step(sight);
        }
        live
    }

    /// What the books are kept for.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Takes in what is known when a step begins; returns the replicas that are to be ready or starting.
    pub fn step(&mut self, sight: &Sight) -> usize {
        if !sight.demand_per_s.is_nan() && self.decided > 0 {
            self.lived.steps += 1;
            self.lived.judged += usize::from(sight.served.is_some());
            self.lived.short += usize::from(sight.served == Some(false));
        }
        let seen = [self.known_per_s, sight.demand_per_s];
        if !sight.demand_per_s.is_nan() {
            self.known_per_s = sight.demand_per_s;
        }
        let moment = Moment { step: self.decided, seen: &seen, running: self.replicas, served: sight.served };
        self.foresight.tell(&sight.upper);
        self.replicas = self.foresight.wanted(&self.scale.world(&seen), &moment);
        self.decided += 1;
        self.replicas
    }

    /// Demand that is to be covered until what is asked for now is ready, in units per second: what the replicas of the last
    /// step serve.
    #[must_use]
    pub fn covered_per_s(&self) -> f64 {
        self.replicas as f64 * self.scale.per_replica
    }

    /// The same as it is to be expected of a step to come of which `upper` is forecast, by [`QUANTILES`].
    #[must_use]
    pub fn covered_later_per_s(&self, upper: &[f64]) -> f64 {
        let world = self.scale.world(&[]);
        world.replicas(self.foresight.of_later(&world, upper)) as f64 * self.scale.per_replica
    }

    /// Whether enough was lived to go by: a day, and as many steps as the share leaves one of unserved.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.lived.steps as f64 >= self.proves_after()
    }

    fn proves_after(&self) -> f64 {
        (self.aim.day_steps as f64).max(1.0 / self.aim.allowed)
    }

    /// By what the last step went.
    #[must_use]
    pub fn in_charge(&self) -> Source {
        self.foresight.in_charge()
    }

    /// Whether the last step did not get what was asked for, because a reactive policy had been cheaper.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.foresight.is_guarded()
    }

    /// What that is multiplied by.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.foresight.factor()
    }

    /// What was lived through.
    #[must_use]
    pub fn lived(&self) -> Lived {
        self.lived
    }

    /// How the gate has stood all the time.
    #[must_use]
    pub fn account(&self) -> GateAccount {
        self.foresight.account()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Outlook, simulate};

    const DAY: usize = 48;
    const AIM: Aim = Aim { allowed: 0.02, day_steps: DAY };

    /// Three weeks of half hours with a burst each day, and a forecast that knows them.
    fn bursts(lead_steps: usize) -> (Vec<f64>, Outlook) {
        let noise = |step: usize| ((step as f64 * 12.9898).sin() * 43_758.545).fract().abs();
        let demand: Vec<f64> = (0..21 * DAY)
            .map(|step| if step % DAY / 4 == 6 { 900.0 } else { 200.0 } * (1.0 + 0.05 * noise(step)))
            .collect();
        let highest =
            |step: usize| demand[step..demand.len().min(step + lead_steps + 1)].iter().copied().fold(0.0, f64::max);
        let upper = |p: f64| (0..demand.len()).map(|step| highest(step) * (0.9 + 0.2 * p)).collect();
        let outlook = Outlook { from: 0, upper: QUANTILES.map(upper).to_vec() };
        (demand, outlook)
    }

    #[test]
    fn it_decides_as_the_policy_that_is_judged() {
        let (demand, outlook) = bursts(2);
        let world = World { demand: &demand, step_s: 1800, per_replica: 10.0, lead_steps: 2 };
        let mut foresight = Foresight::new(&world, AIM, Some(&outlook));
        let course = simulate(&world, 1..demand.len(), &mut foresight);
        let mut live = Live::new(Scale { step_s: 1800, per_replica: 10.0, lead_steps: 2 }, AIM);
        for (place, step) in (1..demand.len()).enumerate() {
            let served = place == 0 || world.replicas(demand[step - 1]) <= course.ready[place - 1];
            let upper = std::array::from_fn(|quantile| outlook.upper[quantile][step]);
            let wanted = live.step(&Sight { demand_per_s: demand[step - 1], served: Some(served), upper });
            assert_eq!(wanted, course.paid[place], "step {step}");
            assert_eq!(live.covered_per_s(), 10.0 * wanted as f64);
        }
        assert_eq!(live.account(), foresight.account());
        assert!(live.is_proven() && live.in_charge() != Source::LastValue, "{}", live.account());
        let lived = live.lived();
        assert!(lived.steps == demand.len() - 2 && lived.judged == lived.steps, "{lived:?}");
        assert!(lived.short_share().is_some_and(|share| share < 0.03), "{lived:?}");
    }

    #[test]
    fn replayed_it_is_guarded_as_in_a_contest() {
        let noise = |step: usize| ((step as f64 * 78.233).sin() * 43_758.545).fract().abs();
        let demand: Vec<f64> = (0..21 * DAY).map(|step| 500.0 * (1.0 + 0.6 * noise(step) * noise(step / 7))).collect();
        let world = |demand| World { demand, step_s: 1800, per_replica: 10.0, lead_steps: 2 };
        let half = demand.len() / 2;
        let upper = [f64::NAN; QUANTILES.len()];
        let lived = |guarded: bool| {
            let trial = Trial { world: world(&demand[1..half]), steps: 1..half - 1, mishaps: Mishaps::default() };
            let references = if guarded { references(&trial, AIM) } else { Vec::new() };
            let mut foresight = Foresight::live(&world(&[]), AIM).guarded_by(references);
            (simulate(&world(&demand), 1..demand.len(), &mut foresight), foresight.account())
        };
        let (course, account) = lived(true);
        let sight = |step: usize| {
            let served = step == 1 || world(&demand).replicas(demand[step - 1]) <= course.ready[step - 2];
            Sight { demand_per_s: demand[step - 1], served: Some(served), upper }
        };
        let seen: Vec<Sight> = (1..=half).map(sight).collect();
        let mut live = Live::replayed(Scale { step_s: 1800, per_replica: 10.0, lead_steps: 2 }, AIM, &seen);
        for step in half + 1..demand.len() {
            assert_eq!(live.step(&sight(step)), course.paid[step - 1], "step {step}");
        }
        assert_eq!(live.account(), account);
        assert!(account.guarded > 0 && lived(false).0 != course, "the guard is felt: {account}");
    }

    #[test]
    fn steps_whose_outcome_says_nothing_leave_it_where_what_it_wanted_would_have() {
        let (demand, outlook) = bursts(2);
        let scale = Scale { step_s: 1800, per_replica: 10.0, lead_steps: 2 };
        let world = World { demand: &demand, step_s: 1800, per_replica: 10.0, lead_steps: 2 };
        let course = simulate(&world, 1..demand.len(), &mut Foresight::new(&world, AIM, Some(&outlook)));
        // Five days, of which the one is given nothing, or not looked at.
        let dark = 12 * DAY..17 * DAY;
        let lived = |of_dark: &dyn Fn(bool) -> Option<bool>| {
            let mut live = Live::new(scale, AIM);
            let sights = (1..=dark.end).map(|step| {
                let served = step == 1 || world.replicas(demand[step - 1]) <= course.ready[step - 2];
                let upper = std::array::from_fn(|quantile| outlook.upper[quantile][step]);
                let served = if dark.contains(&step) { of_dark(served) } else { Some(served) };
                Sight { demand_per_s: demand[step - 1], served, upper }
            });
            sights.for_each(|sight| _ = live.step(&sight));
            live
        };
        let [without, with] = [lived(&Some), lived(&|_| None)];
        assert_eq!((with.factor(), with.covered_per_s()), (without.factor(), without.covered_per_s()));
        assert_eq!(with.lived().judged, without.lived().judged - 5 * DAY);
        let counted = [lived(&|_| Some(true)), lived(&|_| Some(false))].map(|live| live.factor() / without.factor());
        assert!(counted[0] < 0.995 && counted[1] > 1.5, "as successes or failures they move it: {counted:?}");
    }

    #[test]
    fn what_is_forecast_for_later_counts_as_much_more_as_it_says_and_nothing_where_the_gate_stays_reactive() {
        let (demand, outlook) = bursts(2);
        let scale = Scale { step_s: 1800, per_replica: 10.0, lead_steps: 2 };
        let mut live = Live::new(scale, AIM);
        let mut reactive = Live::new(scale, AIM);
        for step in 1..demand.len() {
            let upper = std::array::from_fn(|quantile| outlook.upper[quantile][step]);
            let sight = Sight { demand_per_s: demand[step - 1], served: Some(true), upper };
            live.step(&sight);
            reactive.step(&Sight { upper: [f64::NAN; QUANTILES.len()], ..sight });
        }
        let [low, high] = [200.0, 900.0].map(|demand| live.covered_later_per_s(&[demand; QUANTILES.len()]));
        assert!(high > 2.0 * low && low >= 150.0, "{low} {high}");
        assert_eq!(reactive.in_charge(), Source::LastValue);
        assert_eq!(reactive.covered_later_per_s(&[900.0; QUANTILES.len()]), reactive.covered_per_s());
    }

    #[test]
    fn a_demand_that_is_not_known_teaches_nothing_and_a_day_proves() {
        let mut live = Live::new(Scale { step_s: 1800, per_replica: 10.0, lead_steps: 1 }, AIM);
        let upper = [f64::NAN; QUANTILES.len()];
        (0..10).for_each(|_| _ = live.step(&Sight { demand_per_s: f64::NAN, served: Some(false), upper }));
        assert_eq!((live.lived().short_share(), live.lived(), live.covered_per_s()), (None, Lived::default(), 0.0));
        for step in 0..60 {
            assert_eq!(live.is_proven(), step >= 50, "{step}");
            let served = live.covered_per_s() >= 95.0;
            live.step(&Sight { demand_per_s: 95.0, served: Some(served), upper });
        }
        assert!((90.0..=100.0).contains(&live.covered_per_s()), "{}", live.covered_per_s());
    }
}
