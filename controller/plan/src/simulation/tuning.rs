//! How careful a policy has to be: the cheapest setting that lets no more go unserved than is allowed, on a part of the
//! demand that comes before the one that is judged.

use std::ops::Range;

use super::{Measures, Policy, World, simulate};

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

/// The cheapest of `settings` with at most the share `allowed` of violations through `steps`; where there is none, the one
/// with the fewest. `None` of no settings. Of equals the first.
pub fn tune<P: Policy>(
    world: &World<'_>,
    steps: &Range<usize>,
    allowed: f64,
    settings: impl IntoIterator<Item = f64>,
    mut policy: impl FnMut(f64) -> P,
) -> Option<Tuned> {
    let tried = settings.into_iter().map(|setting| {
        let measures = Measures::of(world, &simulate(world, steps.clone(), &mut policy(setting)));
        Tuned { setting, measures }
    });
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
        let tuned = |allowed: f64, most: usize| {
            let settings = (1..=most).rev().map(|replicas| replicas as f64);
            tune(&world, &(0..100), allowed, settings, |setting| Static(setting as usize)).unwrap().setting
        };
        assert_eq!(tuned(0.0, 200), 100.0);
        assert_eq!(tuned(0.05, 200), 95.0);
        assert_eq!(tuned(0.05, 40), 40.0, "none serves enough: the one that serves most");
    }
}
