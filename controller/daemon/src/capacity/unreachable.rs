//! Pools that the manager cannot see at present, as when a region is lost, and since when.
//!
//! Fail-static: nothing is known of such a pool, so its instances are neither gone nor given up. They stay endpoints, stay
//! paid for, and nothing is started beside them. Most outages are of a control plane whose instances go on serving, and are
//! short: only after [`GIVEN_UP_AFTER_MS`] are they no longer counted on, and other pools of their services make up for them.
//! A manager that is not reachable as a whole is another matter: then nothing can be ordered anywhere.
//!
//! After a restart nothing may be known of a pool that was never seen. What is paid for there is known from the account, and
//! endpoints that were written before the restart stand, because nobody knows better ones.

use std::collections::{BTreeMap, BTreeSet};

use forebay_plan::capacity::{Instance, InstanceState};

/// Longer than a control plane takes to fail over, short beside what starting instances elsewhere takes.
const GIVEN_UP_AFTER_MS: u64 = 60_000;

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Unreachable {
    /// Wall milliseconds.
    since_ms: BTreeMap<String, u64>,
    /// Pools that were seen since the start.
    seen: BTreeSet<String>,
}

impl Unreachable {
    /// Takes in which of all `pools` cannot be seen now; returns what changed: pools, and whether each is lost.
    pub(super) fn look<'a>(
        &mut self,
        pools: impl Iterator<Item = &'a str>,
        unreachable: &BTreeSet<String>,
        now_ms: u64,
    ) -> Vec<(&'a str, bool)> {
        let mut changes = Vec::new();
        for pool in pools {
            let is_lost = unreachable.contains(pool);
            if is_lost != self.is(pool) {
                changes.push((pool, is_lost));
            }
            if is_lost {
                self.since_ms.entry(pool.to_owned()).or_insert(now_ms);
            } else {
                self.since_ms.remove(pool);
                self.seen.insert(pool.to_owned());
            }
        }
        changes
    }

    /// Whether it cannot be seen.
    pub(super) fn is(&self, pool: &str) -> bool {
        self.since_ms.contains_key(pool)
    }

    /// Whether its instances are not counted on any more.
    pub(super) fn is_given_up(&self, pool: &str, now_ms: u64) -> bool {
        self.since_ms.get(pool).is_some_and(|since_ms| now_ms.saturating_sub(*since_ms) >= GIVEN_UP_AFTER_MS)
    }

    /// Whether it cannot be seen and never was since the start.
    pub(super) fn is_unknown(&self, pool: &str) -> bool {
        self.is(pool) && !self.seen.contains(pool)
    }

    /// Those of `paid`, which were paid for before, that are where nothing can be seen and that nobody tells of: they are
    /// most likely there, and serve as far as anybody knows, but not for plans.
    pub(super) fn untold(&self, paid: Vec<Instance>, told: &[Instance]) -> Vec<Instance> {
        let is_untold = |one: &Instance| self.is(&one.group.pool) && told.iter().all(|told| told.id != one.id);
        let doomed = |one: Instance| Instance { state: InstanceState::Ready, is_interrupted: true, ..one };
        paid.into_iter().filter(is_untold).map(doomed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_given_up_only_after_a_while_and_taken_back_at_once() {
        let mut unreachable = Unreachable::default();
        let mut look = |lost: &[&str], now_ms| {
            let lost = lost.iter().map(|pool| (*pool).to_owned()).collect();
            let changes = unreachable.look(["a", "b"].into_iter(), &lost, now_ms);
            let given_up = ["a", "b"].map(|pool| unreachable.is_given_up(pool, now_ms));
            (changes, given_up, ["a", "b"].map(|pool| unreachable.is_unknown(pool)))
        };
        assert_eq!(look(&["b"], 0), (vec![("b", true)], [false, false], [false, true]));
        assert_eq!(look(&["a", "b"], 1_000), (vec![("a", true)], [false, false], [false, true]));
        assert_eq!(look(&["a", "b"], GIVEN_UP_AFTER_MS), (vec![], [false, true], [false, true]));
        assert_eq!(look(&["a"], GIVEN_UP_AFTER_MS + 1_000), (vec![("b", false)], [true, false], [false, false]));
        assert_eq!(look(&["b"], GIVEN_UP_AFTER_MS + 2_000).1, [false, false], "counted anew");
    }
}
