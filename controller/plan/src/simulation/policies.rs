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
}
