//! What a course is worth: how often and how much demand went unserved, what was idle, how often it turned, what it cost.

use super::{Course, World};

/// The measures of a course; shares are 0 to 1, and all are over steps whose demand is known.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Measures {
    /// Steps whose demand is known.
    pub steps: usize,
    /// Share of steps in which demand was above what was ready (`tau_u`).
    pub violations: f64,
    /// Share of steps in which more was ready than needed (`tau_o`).
    pub over: f64,
    /// Mean missing share of the demand (`theta_u`).
    pub missing: f64,
    /// Mean idle share of the demand (`theta_o`), over steps with any.
    pub idle: f64,
    /// Share of all demand that was not served.
    pub unserved: f64,
    /// Share of steps in which supply rose while demand did not, or fell while demand did not (instability).
    pub instability: f64,
    /// Replicas paid for, ready or starting, times steps.
    pub replica_steps: f64,
    /// The same of the oracle that has exactly what is needed when it is needed.
    pub oracle_replica_steps: f64,
}

impl Measures {
    /// Measures `course` in its world.
    #[must_use]
    pub fn of(world: &World<'_>, course: &Course) -> Self {
        let mut sums = Self::default();
        let (mut demanded, mut unserved, mut with_demand) = (0.0, 0.0, 0.0);
        let mut before: Option<(f64, usize)> = None;
        for ((step, &ready), &paid) in course.steps.clone().zip(&course.ready).zip(&course.paid) {
            let demand = world.demand[step];
            if demand.is_nan() {
                continue;
            }
            let supply = ready as f64 * world.per_replica;
            let needed = world.replicas(demand);
            sums.steps += 1;
            sums.violations += f64::from(u8::from(needed > ready));
            sums.over += f64::from(u8::from(ready > needed));
            if demand > 0.0 {
                with_demand += 1.0;
                sums.missing += (demand - supply).max(0.0) / demand;
                sums.idle += (supply - demand).max(0.0) / demand;
            }
            demanded += demand;
            unserved += (demand - supply).max(0.0);
            if let Some((demand_before, ready_before)) = before {
                let (up, risen) = (ready > ready_before, demand > demand_before);
                let (down, fallen) = (ready < ready_before, demand < demand_before);
                sums.instability += f64::from(u8::from((up && !risen) || (down && !fallen)));
            }
            before = Some((demand, ready));
            sums.replica_steps += paid as f64;
            sums.oracle_replica_steps += needed as f64;
        }
        let steps = sums.steps.max(1) as f64;
        for sum in [&mut sums.violations, &mut sums.over, &mut sums.instability] {
            *sum /= steps;
        }
        for sum in [&mut sums.missing, &mut sums.idle] {
            *sum /= f64::max(with_demand, 1.0);
        }
        sums.unserved = if demanded > 0.0 { unserved / demanded } else { 0.0 };
        sums
    }

    /// What was paid over what the oracle pays; infinite where that is nothing.
    #[must_use]
    pub fn cost_over_oracle(&self) -> f64 {
        self.replica_steps / self.oracle_replica_steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_is_what_its_name_says() {
        let demand = [10.0, 25.0, f64::NAN, 20.0, 0.0];
        let world = World { demand: &demand, step_s: 60, per_replica: 10.0, lead_steps: 1 };
        let course = Course { steps: 0..5, ready: vec![2, 2, 2, 3, 3], paid: vec![2, 2, 3, 3, 4], spot: vec![0; 5] };
        let measures = Measures::of(&world, &course);
        assert_eq!(measures.steps, 4);
        assert_eq!((measures.violations, measures.over), (0.25, 0.75));
        assert!((measures.missing - 5.0 / 25.0 / 3.0).abs() < 1e-12 && (measures.idle - 1.5 / 3.0).abs() < 1e-12);
        assert!((measures.unserved - 5.0 / 55.0).abs() < 1e-12);
        // From 25 to 20 demand fell and supply rose: the one turn against it.
        assert_eq!(measures.instability, 0.25);
        assert_eq!((measures.replica_steps, measures.oracle_replica_steps), (11.0, 6.0));
    }
}
