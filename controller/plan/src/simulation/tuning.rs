//! How careful a policy has to be: the cheapest setting that lets no more go unserved than is allowed, on a part of the
//! demand that comes before the one that is judged.

use std::ops::Range;

use super::{Course, Measures, Mishaps, Policy, World, simulate, simulate_with};

/// A part of a world that policies are tried on.
#[derive(Clone, Debug)]
pub struct Trial<'a> {
    /// The world.
    pub world: World<'a>,
    /// The part.
    pub steps: Range<usize>,
    /// What goes wrong in it.
    pub mishaps: Mishaps,
}

impl Trial<'_> {
    /// What comes of a policy.
    pub fn run(&self, policy: &mut dyn Policy) -> Course {
        let steps = self.steps.clone();
        if self.mishaps.are_none() {
            simulate(&self.world, steps, policy)
        } else {
            simulate_with(&self.world, steps, policy, &self.mishaps)
        }
    }

    /// What that is worth.
    pub fn measured(&self, policy: &mut dyn Policy) -> Measures {
        Measures::of(&self.world, &self.run(policy))
    }
}

/// A setting, and what it came to on the part that it was chosen on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuned {
    /// The setting.
    pub setting: f64,
    /// What it came to.
    pub measures: Measures,
}

impl Tuned {
    /// Whether this one lets at most the share `allowed` go unserved and is cheaper than `other`, or does so where the other
    /// does not; where neither does, whether it serves more.
    #[must_use]
    pub fn is_better_than(&self, other: &Self, allowed: f64) -> bool {
        let serves_enough = |tuned: &Self| tuned.measures.violations <= allowed;
        match (serves_enough(self), serves_enough(other)) {
            (true, true) => self.measures.replica_steps < other.measures.replica_steps,
            (false, false) => self.measures.violations < other.measures.violations,
            (enough, _) => enough,
        }
    }
}

/// The cheapest of `settings` with at most the share `allowed` of violations in the trial; where there is none, the one with
/// the fewest. `None` of no settings. Of equals the first.
pub fn tune<P: Policy>(
    trial: &Trial<'_>,
    allowed: f64,
    settings: impl IntoIterator<Item = f64>,
    mut policy: impl FnMut(f64) -> P,
) -> Option<Tuned> {
    let tried = settings.into_iter().map(|setting| Tuned { setting, measures: trial.measured(&mut policy(setting)) });
    tried.reduce(|best, next| if next.is_better_than(&best, allowed) { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Static;

    #[test]
    fn the_cheapest_that_serves_enough_is_chosen() {
        let demand: Vec<f64> = (1..=100).map(f64::from).collect();
        let world = World { demand: &demand, step_s: 60, per_replica: 1.0, lead_steps: 1 };
        let trial = Trial { world, steps: 0..100, mishaps: Mishaps::default() };
        let tuned = |allowed: f64, most: usize| {
            let settings = (1..=most).rev().map(|replicas| replicas as f64);
            tune(&trial, allowed, settings, |setting| Static(setting as usize)).unwrap().setting
        };
        assert_eq!(tuned(0.0, 200), 100.0);
        assert_eq!(tuned(0.05, 200), 95.0);
        assert_eq!(tuned(0.05, 40), 40.0, "none serves enough: the one that serves most");
    }
}
