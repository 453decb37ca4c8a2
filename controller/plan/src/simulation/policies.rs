//! The policies that are compared: what people run today, what needs a forecast, and what nobody can have.
//!
//! Each has one number that sets how careful it is, and [`tune`](super::tune) chooses it for all of them in the same way.

use super::{Moment, Policy, World};

/// How long the horizontal pod autoscaler remembers higher recommendations, in seconds: Kubernetes' default.
const STABILISATION_S: u32 = 300;
/// Within this share of its target it does nothing: Kubernetes' default.
const TOLERANCE: f64 = 0.1;

/// The same number always.
#[derive(Clone, Copy, Debug)]
pub struct Static(pub usize);

impl Policy for Static {
    fn wanted(&mut self, _: &World<'_>, _: &Moment<'_>) -> usize {
        self.0
    }
}

/// Kubernetes' horizontal autoscaler on demand per replica: `ceil(demand / (target x capacity))`, unless that is within a
/// tolerance of what runs; scaling down waits for the highest recommendation of the last five minutes.
#[derive(Clone, Debug)]
pub struct Horizontal {
    target: f64,
    recommended: Vec<(usize, usize)>,
}

impl Horizontal {
    /// Keeps replicas at this share of their capacity, 0 to 1.
    #[must_use]
    pub fn at(target: f64) -> Self {
        Self { target, recommended: Vec::new() }
    }
}

impl Policy for Horizontal {
    fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
        let Some(demand) = last(moment.seen) else { return moment.running };
        let exact = demand / (world.per_replica * self.target);
        let ratio = exact / moment.running.max(1) as f64;
        let is_near = moment.running > 0 && (ratio - 1.0).abs() <= TOLERANCE;
        let recommended = if is_near { moment.running } else { exact.ceil() as usize };
        let window = (STABILISATION_S / world.step_s) as usize;
        self.recommended.push((moment.step, recommended));
        self.recommended.retain(|(step, _)| step + window >= moment.step);
        let highest = self.recommended.iter().map(|(_, replicas)| *replicas).max().unwrap_or(recommended);
        if recommended < moment.running { highest.min(moment.running) } else { recommended }
    }
}

/// What was needed last, times a factor.
#[derive(Clone, Copy, Debug)]
pub struct LastValue {
    /// At least 1, usually.
    pub factor: f64,
}

impl Policy for LastValue {
    fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
        last(moment.seen).map_or(moment.running, |demand| world.replicas(self.factor * demand))
    }
}

/// What was needed one season before the steps until the lead time is over, times a factor.
#[derive(Clone, Copy, Debug)]
pub struct Seasonal {
    /// Steps of the season.
    pub season_steps: usize,
    /// At least 1, usually.
    pub factor: f64,
}

impl Policy for Seasonal {
    fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
        let seasons = (world.lead_steps + 1).div_ceil(self.season_steps).max(1);
        let from = (moment.step + world.lead_steps).checked_sub(seasons * self.season_steps);
        let Some(from) = from else { return LastValue { factor: self.factor }.wanted(world, moment) };
        let until_ready = &moment.seen[from.saturating_sub(world.lead_steps)..=from];
        let highest = until_ready.iter().copied().filter(|demand| !demand.is_nan()).fold(0.0, f64::max);
        world.replicas(self.factor * highest)
    }
}

/// What a forecast says is needed, step by step, times a factor.
#[derive(Clone, Copy, Debug)]
pub struct Needed<'a> {
    /// Demand that the steps until the lead time is over will not exceed, made at each step before it; NaN where there is
    /// no forecast.
    pub upper: &'a [f64],
    /// Position of the first of them.
    pub from: usize,
    /// What they are multiplied by.
    pub factor: f64,
}

impl Policy for Needed<'_> {
    fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
        let upper = moment.step.checked_sub(self.from).and_then(|index| self.upper.get(index)).copied();
        match upper.filter(|upper| !upper.is_nan()) {
            Some(upper) => world.replicas(self.factor * upper),
            None => moment.running,
        }
    }
}

/// Another policy, more careful after every step that was not served and a little less after every one that was, so that in the
/// long run no more go unserved than are allowed (adaptive conformal inference: Gibbs and Candes, 2021; for scaling: BACC, 2026).
#[derive(Clone, Debug)]
pub struct Paced<P> {
    inner: P,
    allowed: f64,
    gain: f64,
    log_factor: f64,
}

/// Least and most of what was tuned: calm is no proof that less is enough, but a new normal may need a multiple.
const LEAST_PACED: f64 = 0.95;
const MOST_PACED: f64 = 4.0;

impl<P> Paced<P> {
    /// Lets a share `allowed` of steps go unserved; `gain` is by how much one that does makes it more careful.
    #[must_use]
    pub fn new(inner: P, allowed: f64, gain: f64) -> Self {
        Self { inner, allowed, gain, log_factor: 0.0 }
    }
}

impl<P: Policy> Policy for Paced<P> {
    fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
        let missed = f64::from(u8::from(!moment.served));
        self.log_factor =
            (self.log_factor + self.gain * (missed - self.allowed)).clamp(LEAST_PACED.ln(), MOST_PACED.ln());
        let per_replica = world.per_replica / self.log_factor.exp();
        self.inner.wanted(&World { per_replica, ..world.clone() }, moment)
    }
}

/// Knows the demand until what is asked for now is ready, and asks for exactly that.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

impl Policy for Oracle {
    fn wanted(&mut self, world: &World<'_>, moment: &Moment<'_>) -> usize {
        let until_ready = world.demand.iter().skip(moment.step).take(world.lead_steps + 1);
        until_ready.map(|&demand| world.replicas(demand)).max().unwrap_or(0)
    }
}

/// The newest demand that is known.
fn last(seen: &[f64]) -> Option<f64> {
    seen.iter().rev().copied().find(|demand| !demand.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Measures, simulate};

    fn world(demand: &[f64], lead_steps: usize) -> World<'_> {
        World { demand, step_s: 60, per_replica: 10.0, lead_steps }
    }

    #[test]
    fn the_autoscaler_holds_within_its_tolerance_and_waits_before_it_scales_down() {
        let demand = [50.0, 54.0, 100.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0];
        let course = simulate(&world(&demand, 1), 1..10, &mut Horizontal::at(0.5));
        // 50 / 5 = 10 at first; 54 would be 10.8, near enough; 100 is 20; then 4, five minutes after the last 20.
        assert_eq!(course.paid, [10, 10, 20, 20, 20, 20, 20, 20, 4]);
    }

    #[test]
    fn a_season_is_looked_up_until_what_is_asked_for_is_ready() {
        let demand: Vec<f64> = (0..12).map(|step| if step % 4 == 2 { 40.0 } else { 10.0 }).collect();
        let course = simulate(&world(&demand, 1), 4..12, &mut Seasonal { season_steps: 4, factor: 1.0 });
        assert_eq!(course.ready, [1, 1, 4, 1, 1, 1, 4, 1]);
        assert_eq!(Measures::of(&world(&demand, 1), &course).violations, 0.0);
    }

    #[test]
    fn the_oracle_serves_everything() {
        let demand: Vec<f64> = (0..200_u32).map(|step| f64::from(step * 7919 % 613)).collect();
        for lead in [1, 3, 10] {
            let world = world(&demand, lead);
            let course = simulate(&world, 20..200, &mut Oracle);
            assert_eq!(Measures::of(&world, &course).violations, 0.0, "lead {lead}");
        }
    }

    #[test]
    fn pacing_lets_as_much_go_unserved_as_is_allowed() {
        // Noise that the last value is short of half the time, then twice as much of it.
        let noise = |step: u32| f64::from(step.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
        let demand: Vec<f64> =
            (0..20_000).map(|step| 1_000.0 + if step < 10_000 { 200.0 } else { 400.0 } * noise(step)).collect();
        let world = world(&demand, 1);
        let mut paced = Paced::new(LastValue { factor: 1.1 }, 0.05, 0.05);
        let measures = Measures::of(&world, &simulate(&world, 1..20_000, &mut paced));
        assert!((0.04..0.06).contains(&measures.violations), "{measures:?}");
    }
}
