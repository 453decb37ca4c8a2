//! Forebay's own policy: by the signal that has lately served as much as is asked at the least cost, times what was enough of
//! it, paced by what really went unserved.
//!
//! The intuition: a forecast is one signal among others; what was needed last is another. Each is kept on the books at all
//! times, whether or not it is in charge: how many replicas it would have had ready is the least it asked for since the lead
//! time, and so what factor would just have been enough for each step is known afterwards (`enough.rs`). That answers
//! three questions at once. *How careful?* By the quantile of these factors. *Which signal?* The one that is cheapest at its
//! factor. *Do forecasts help at all?* If one of them is the cheapest: the gate is nothing but that comparison, made again
//! at every step, so a pattern that ends gives way to the last value by itself, and the policy begins reactive.
//!
//! A factor from the past may be wrong about today, so two integrals of what went unserved act on it (adaptive conformal
//! inference: Gibbs and Candes, 2021; for scaling: BACC, 2026). Steps that go unserved multiply the factor; calm ones take
//! that back and then loosen the quantile, by which a signal that needs whole replicas comes down in its own measure. Going
//! unserved never tightens the quantile itself: the extremes of a bursty demand are a hundred times the usual, and no pace.
//!
//! What it really costs is held against reactive policies by its guard (`guard.rs`).
//!
//! Constants were chosen by `cargo xtask bench provisioning --holdout`. Without the integrals it is cheaper still, and where
//! demand changes it leaves half a point too much unserved.

use super::gate::GateAccount;
use super::guard::Guard;
use super::outlook::{Outlook, QUANTILES};
use super::signal::{Signal, Source};
use super::{Moment, Policy, World};

/// After which a step's needed factor counts half.
pub(super) const HALF_LIFE_DAYS: f64 = 7.0;
/// By how much of its cost the signal in charge must be undercut to be replaced.
pub(super) const MARGIN: f64 = 0.01;
/// What as many unserved steps as it takes until more is ready add to the logarithm of the factor, and what they take from
/// the share that the quantile leaves unserved: these go unserved together, however long a step is.
const PACE: f64 = 0.015;
/// Least and most that it comes to: a fifth off at most, four times at most.
const PACED_LN: (f64, f64) = (-0.2, 1.4);
/// Most that the share comes to.
const LOOSEST: f64 = 0.2;
/// Steps between comparisons of the signals.
const COMPARE_EVERY: usize = 12;

/// What the policy is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    /// Share of steps that may go unserved, above 0 and below 1.
    pub allowed: f64,
    /// Steps of a day.
    pub day_steps: usize,
}

/// Where forecasts come from.
#[derive(Clone, Debug)]
enum Told<'a> {
    /// Of a whole trace, made beforehand.
    Beforehand(Option<&'a Outlook>),
    /// As they are made, by [`QUANTILES`]; those of the step that is decided next.
    StepByStep(Vec<f64>),
}

impl Told<'_> {
    /// Of the quantile at this place; `None` where there is no forecast.
    fn at(&self, quantile: usize, step: usize) -> Option<f64> {
        match self {
            Self::Beforehand(outlook) => outlook.and_then(|outlook| outlook.at(quantile, step)),
            Self::StepByStep(upper) => upper.get(quantile).copied().filter(|upper| !upper.is_nan()),
        }
    }
}

/// The policy; see the module's text.
#[derive(Debug)]
pub struct Foresight<'a> {
    aim: Aim,
    told: Told<'a>,
    guard: Guard,
    signals: Vec<Signal>,
    in_charge: usize,
    last: f64,
    paced_ln: f64,
    loosened: f64,
    decided: usize,
    /// Steps by signal.
    account: Vec<usize>,
    guarded: usize,
    switches: usize,
}

impl<'a> Foresight<'a> {
    /// For the lead time and the steps of `world`; without an outlook it has only the last value to go by, and is what a
    /// reactive policy comes to that is kept as carefully.
    #[must_use]
    pub fn new(world: &World<'_>, aim: Aim, outlook: Option<&'a Outlook>) -> Self {
        let forecasts = outlook.map_or(0, |outlook| outlook.upper.len());
        Self::of(world, aim, forecasts, Told::Beforehand(outlook))
    }

    /// The same where forecasts are not known beforehand; each decision goes by what was told last ([`Self::tell`]).
    pub(super) fn live(world: &World<'_>, aim: Aim) -> Foresight<'static> {
        Foresight::of(world, aim, QUANTILES.len(), Told::StepByStep(Vec::new()))
    }

    /// For the next decision: the highest that demand gets until what is asked for in it is ready, by [`QUANTILES`]; NaN
    /// where there is no forecast.
    pub(super) fn tell(&mut self, upper: &[f64]) {
        self.told = Told::StepByStep(upper.to_vec());
    }

    fn of(world: &World<'_>, aim: Aim, forecasts: usize, told: Told<'a>) -> Self {
        let signals = Signal::all(world, forecasts, HALF_LIFE_DAYS * aim.day_steps as f64);
        let account = vec![0; signals.len()];
        let loosened = aim.allowed;
        let (in_charge, last, paced_ln, decided) = (0, 0.0, 0.0, 0);
        let (guarded, switches) = (0, 0);
        let guard = Guard::new(aim, Vec::new());
        Self { aim, told, guard, signals, in_charge, last, paced_ln, loosened, decided, account, guarded, switches }
    }

    /// Guards it by reactive policies, before its first decision: as long as it was dearer it gets no more than they would.
    #[must_use]
    pub fn guarded_by(mut self, references: Vec<Box<dyn Policy>>) -> Self {
        self.guard = Guard::new(self.aim, references);
        self
    }

    /// Begins a new account of the gate, such as after the part that was only to learn from.
    pub fn begin_account(&mut self) {
        self.account.fill(0);
        (self.guarded, self.switches) = (0, 0);
    }

    /// Who was in charge since the account began.
    #[must_use]
    pub fn account(&self) -> GateAccount {
        let mut sources: Vec<(Source, usize)> = Vec::new();
        for (signal, &steps) in self.signals.iter().zip(&self.account) {
            match sources.iter_mut().find(|(source, _)| *source == signal.source) {
                Some((_, sum)) => *sum += steps,
                None => sources.push((signal.source, steps)),
            }
        }
        let by_forecast =
            sources.iter().filter(|(source, _)| *source != Source::LastValue).map(|(_, steps)| steps).sum();
        sources.retain(|(_, steps)| *steps > 0);
        sources.sort_by_key(|(_, steps)| std::cmp::Reverse(*steps));
        let (guarded, switches) = (self.guarded, self.switches);
        GateAccount { steps: guarded + self.account.iter().sum::<usize>(), by_forecast, guarded, switches, sources }
    }

    /// By what the last decision went.
    pub(super) fn in_charge(&self) -> Source {
        self.signals.get(self.in_charge).map_or(Source::LastValue, |signal| signal.source)
    }

    /// Whether it did not get what it asked for last, because a reactive policy had been cheaper.
    pub(super) fn is_guarded(&self) -> bool {
        self.guard.intervenes()
    }

    /// What the signal in charge is multiplied by.
    pub(super) fn factor(&self) -> f64 {
        let Some(signal) = self.signals.get(self.in_charge) else { return 1.0 };
        let enough = if self.decided > 1 { signal.enough.factor(self.loosened) } else { 1.0 };
        self.paced_ln.exp() * enough
    }

    /// Demand that would be asked for, units per second, were it this that the forecast in charge says, by [`QUANTILES`];
    /// where none is in charge, what was asked for last.
    pub(super) fn of_later(&self, world: &World<'_>, upper: &[f64]) -> f64 {
        let Some(signal) = self.signals.get(self.in_charge) else { return 0.0 };
        let said = match signal.source {
            Source::Forecast(place) => upper.get(place).copied().filter(|upper| !upper.is_nan()),
            Source::LastValue => None,
        };
        self.factor() * said.map_or(signal.level(), |said| signal.followed(world, said))
    }

    fn pace(&mut self, lead_steps: usize, served: bool) {
        let missed = f64::from(u8::from(!served)) - self.aim.allowed;
        let pace = PACE / (lead_steps + 1) as f64;
        self.paced_ln = (self.paced_ln + pace * missed).clamp(PACED_LN.0, PACED_LN.1);
        let loosest = LOOSEST.max(self.aim.allowed);
        self.loosened = (self.loosened - pace * missed).clamp(self.aim.allowed, loosest);
    }

    fn compare(&mut self) {
        let cost = |signal: &Signal| signal.enough.cost(self.aim.allowed);
        let mut cheapest = (self.in_charge, (1.0 - MARGIN) * self.signals.get(self.in_charge).map_or(0.0, cost));
        for (place, signal) in self.signals.iter().enumerate() {
            let cost = cost(signal);
            if cost < cheapest.1 {
                cheapest = (place, cost);
            }
        }
        if cheapest.0 != self.in_charge {
            self.in_charge = cheapest.0;
            self.switches += 1;
        }
    }
}

impl Policy for Foresight<'_> {
    fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
        let demand = moment.last();
        if !demand.is_nan() {
            self.last = demand;
            self.signals.iter_mut().for_each(|signal| signal.observe(world, demand));
            if self.decided > 0 {
                self.pace(world.lead_steps, self.guard.served(world, moment));
            }
        }
        for signal in &mut self.signals {
            let said = match signal.source {
                Source::Forecast(place) => self.told.at(place, moment.step),
                Source::LastValue => None,
            };
            signal.say(world, said.unwrap_or(self.last));
        }
        if self.decided.is_multiple_of(COMPARE_EVERY) {
            self.compare();
        }
        self.decided += 1;
        let Some(signal) = self.signals.get(self.in_charge) else { return moment.running };
        let given = self.guard.give(world, moment, world.replicas(self.factor() * signal.level()));
        match self.account.get_mut(self.in_charge) {
            Some(steps) if !self.guard.intervenes() => *steps += 1,
            _ => self.guarded += 1,
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Measures, Oracle, Static, simulate};

    const DAY: usize = 96;
    const AIM: Aim = Aim { allowed: 0.01, day_steps: DAY };

    fn noise(step: usize) -> f64 {
        let mut state = (step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 29;
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn world(demand: &[f64], lead_steps: usize) -> World<'_> {
        World { demand, step_s: 900, per_replica: 10.0, lead_steps }
    }

    /// Half the steps to learn, the other half to be measured on.
    fn lived(world: &World<'_>, outlook: Option<&Outlook>) -> (Measures, GateAccount) {
        let half = world.demand.len() / 2;
        let mut foresight = Foresight::new(world, AIM, outlook);
        simulate(world, 0..half, &mut foresight);
        foresight.begin_account();
        let course = simulate(world, half..world.demand.len(), &mut foresight);
        (Measures::of(world, &course), foresight.account())
    }

    /// Knows the highest demand until what is asked for is ready, give or take an error.
    fn told(demand: &[f64], lead_steps: usize, error: f64) -> Outlook {
        let highest =
            |step: usize| demand[step..demand.len().min(step + lead_steps + 1)].iter().copied().fold(0.0, f64::max);
        let upper = (0..demand.len()).map(|step| highest(step) * (1.0 + error * (noise(step + 7) - 0.5))).collect();
        Outlook { from: 0, upper: vec![upper] }
    }

    #[test]
    fn a_pattern_goes_by_forecast_and_noise_stays_reactive() {
        let bursts: Vec<f64> = (0..DAY * 28)
            .map(|step| if step % DAY / 8 == 6 { 900.0 } else { 200.0 } * (1.0 + 0.05 * noise(step)))
            .collect();
        let world4 = world(&bursts, 4);
        let good = told(&bursts, 4, 0.1);
        let (by_forecast, account) = lived(&world4, Some(&good));
        let (reactive, _) = lived(&world4, None);
        assert!(account.by_forecast > account.steps * 9 / 10, "{account}");
        assert!(by_forecast.replica_steps < 0.5 * reactive.replica_steps, "{by_forecast:?} {reactive:?}");
        let steady: Vec<f64> = (0..DAY * 28).map(|step| 500.0 * (1.0 + 0.1 * noise(step))).collect();
        let bad = told(&steady, 4, 1.0);
        let (_, account) = lived(&world(&steady, 4), Some(&bad));
        assert_eq!(account.by_forecast, 0);
        assert!(account.to_string().contains("stays reactive"), "{account}");
    }

    #[test]
    fn as_much_goes_unserved_as_is_allowed_when_the_demand_changes_too() {
        let demand: Vec<f64> = (0..DAY * 120)
            .map(|step| {
                let later = step > DAY * 80;
                let scale = if later { 2.0 } else { 1.0 };
                1_000.0 * scale + (if later { 900.0 } else { 200.0 }) * noise(step)
            })
            .collect();
        for lead in [1, 4] {
            let (measures, _) = lived(&world(&demand, lead), None);
            assert!((0.006..0.014).contains(&measures.violations), "lead {lead}: {measures:?}");
        }
    }

    #[test]
    fn a_forecast_that_goes_wrong_gives_way() {
        // Right for three weeks, then it keeps telling of bursts that no longer come.
        let bursts = |step: usize| if step % DAY / 8 == 6 { 900.0 } else { 200.0 };
        let end = DAY * 21;
        let demand: Vec<f64> = (0..DAY * 84)
            .map(|step| (if step < end { bursts(step) } else { 200.0 }) * (1.0 + 0.05 * noise(step)))
            .collect();
        let always: Vec<f64> = (0..DAY * 84).map(|step| bursts(step) * 1.05).collect();
        let world = world(&demand, 4);
        let outlook = told(&always, 4, 0.1);
        let mut foresight = Foresight::new(&world, AIM, Some(&outlook));
        simulate(&world, 0..DAY * 56, &mut foresight);
        foresight.begin_account();
        simulate(&world, DAY * 56..DAY * 84, &mut foresight);
        assert!(foresight.account().by_forecast < foresight.account().steps / 2, "{}", foresight.account());
    }

    #[test]
    fn it_costs_no_more_than_a_reference_that_serves_as_well() {
        let demand: Vec<f64> = (0..DAY * 28).map(|step| 500.0 * (1.0 + 0.6 * noise(step))).collect();
        let world = world(&demand, 4);
        let lived = |references: Vec<Box<dyn Policy>>| {
            let mut foresight = Foresight::new(&world, AIM, None).guarded_by(references);
            let course = simulate(&world, 0..demand.len(), &mut foresight);
            (Measures::of(&world, &course).replica_steps, foresight.account())
        };
        let oracle = Measures::of(&world, &simulate(&world, 0..demand.len(), &mut Oracle)).replica_steps;
        let (alone, account) = lived(Vec::new());
        assert!(alone > 1.05 * oracle && account.guarded == 0, "{alone} {oracle} {account}");
        let (guarded, account) = lived(vec![Box::new(Oracle), Box::new(Static(1))]);
        assert!(guarded < 1.011 * oracle && account.guarded > 0, "{guarded} {oracle} {account}");
        assert!(account.to_string().contains("guarded for"), "{account}");
    }
}
