//! What instance managers see, turned into what can be learned from: starts that ended, and interruptions per instance-hour.
//!
//! The intuition: two looks at the same instances differ by what happened in between. One that is ready now and was not
//! before has taken its lead time; one that is draining or no longer there and never was ready has not come; one that is
//! marked as interrupted now and was not before was taken away. An instance that simply is not there any more was given
//! back by us, as far as anybody can tell: interruptions are what a manager reports as such.
//!
//! At the first look nothing is learned, since a controller that starts again has counted these starts before. A gap
//! between two looks longer than [`MAX_GAP_S`] teaches nothing of interruptions, for those within it were not seen.
//!
//! Failed starts are the manager's failures and come from there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::interruption::Exposure;
use crate::capacity::{Instance, InstanceState};

/// Longest time between two looks over which interruptions are counted, in seconds.
pub const MAX_GAP_S: f64 = 900.0;

/// Something to learn from.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// An instance became ready.
    Ready {
        /// Its pool.
        pool: String,
        /// Its shape.
        shape: String,
        /// Seconds since it was asked for.
        lead_s: f64,
    },
    /// An instance was given up, or went, before it was ready.
    Never {
        /// Its pool.
        pool: String,
        /// Its shape.
        shape: String,
        /// Seconds since it was asked for.
        waited_s: f64,
    },
    /// What was exposed to interruption since the last look.
    Exposed {
        /// The pool.
        pool: String,
        /// How many, for how long, and how many were taken.
        exposure: Exposure,
    },
}

/// The instances at the last look; as many as there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Census {
    known: BTreeMap<String, Known>,
    looked_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Known {
    pool: String,
    shape: String,
    requested_ms: u64,
    was_ready: bool,
    is_over: bool,
    is_exposed: bool,
}

impl Census {
    /// Looks at all instances there are, at `now_ms` (unix milliseconds), and says what happened since the last look.
    pub fn look(&mut self, instances: &[Instance], now_ms: u64) -> Vec<Seen> {
        let first = self.looked_ms.is_none();
        let mut before = std::mem::take(&mut self.known);
        let mut seen = Vec::new();
        let mut exposed: BTreeMap<String, Exposure> = BTreeMap::new();
        let hours = self.looked_ms.map_or(0.0, |looked_ms| now_ms.saturating_sub(looked_ms) as f64 / 3.6e6);
        for known in before.values().filter(|known| known.is_exposed) {
            let pool = exposed.entry(known.pool.clone()).or_insert(Exposure { instances: 0, taken: 0, hours });
            pool.instances += 1;
        }
        for instance in instances {
            let earlier = before.remove(&instance.id);
            let was_ready = earlier.as_ref().is_some_and(|known| known.was_ready);
            let was_over = earlier.as_ref().is_some_and(|known| known.is_over);
            let known = Known::of(instance);
            if !first && !was_ready && !was_over {
                seen.extend(known.ended(instance, now_ms));
            }
            let taken = instance.is_interrupted && earlier.is_some_and(|known| known.is_exposed);
            if taken && let Some(pool) = exposed.get_mut(&known.pool) {
                pool.taken += 1;
            }
            self.known.insert(instance.id.clone(), known);
        }
        for gone in before.into_values().filter(|known| !known.was_ready && !known.is_over) {
            let waited_s = seconds(gone.requested_ms, now_ms);
            seen.push(Seen::Never { pool: gone.pool, shape: gone.shape, waited_s });
        }
        if hours * 3600.0 <= MAX_GAP_S {
            seen.extend(exposed.into_iter().map(|(pool, exposure)| Seen::Exposed { pool, exposure }));
        }
        self.looked_ms = Some(now_ms);
        seen
    }

    /// How long ago, in seconds, the instances of a pool (and of one shape, if given) were asked for that are not ready.
    #[must_use]
    pub fn starting_s(&self, pool: &str, shape: Option<&str>, now_ms: u64) -> Vec<f64> {
        let of = |known: &&Known| known.pool == pool && shape.is_none_or(|shape| known.shape == shape);
        let starting = self.known.values().filter(of).filter(|known| !known.was_ready && !known.is_over);
        starting.map(|known| seconds(known.requested_ms, now_ms)).collect()
    }
}

impl Known {
    fn of(instance: &Instance) -> Self {
        let exists = !matches!(instance.state, InstanceState::Requested | InstanceState::Gone);
        Self {
            pool: instance.group.pool.clone(),
            shape: instance.group.shape.clone(),
            requested_ms: instance.requested_ms,
            was_ready: instance.ready_ms.is_some(),
            is_over: !instance.state.is_wanted(),
            is_exposed: exists && !instance.is_interrupted,
        }
    }

    /// How its start ended, if it has.
    fn ended(&self, instance: &Instance, now_ms: u64) -> Option<Seen> {
        let (pool, shape) = (self.pool.clone(), self.shape.clone());
        match instance.ready_ms {
            Some(ready_ms) => Some(Seen::Ready { pool, shape, lead_s: seconds(self.requested_ms, ready_ms) }),
            None if self.is_over => Some(Seen::Never { pool, shape, waited_s: seconds(self.requested_ms, now_ms) }),
            None => None,
        }
    }
}

/// Seconds between two unix times in milliseconds; 0 where a clock has jumped back.
fn seconds(from_ms: u64, to_ms: u64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::Group;

    fn instance(id: &str, state: InstanceState, requested_ms: u64, ready_ms: Option<u64>) -> Instance {
        let group = Group { service: "web".into(), pool: "spot-eu".into(), shape: "Small".into() };
        Instance { id: id.into(), group, state, requested_ms, ready_ms, address: None, is_interrupted: false }
    }

    fn exposure(instances: u32, taken: u32, hours: f64) -> Seen {
        Seen::Exposed { pool: "spot-eu".into(), exposure: Exposure { instances, taken, hours } }
    }

    fn ended(lead_s: f64, ready: bool) -> Seen {
        let (pool, shape) = ("spot-eu".to_owned(), "Small".to_owned());
        if ready { Seen::Ready { pool, shape, lead_s } } else { Seen::Never { pool, shape, waited_s: lead_s } }
    }

    #[test]
    fn a_start_is_counted_once_when_it_ends() {
        use InstanceState::{Ready, Requested, Starting};
        let mut census = Census::default();
        let old = instance("old", Ready, 0, Some(9_000));
        assert_eq!(census.look(std::slice::from_ref(&old), 100_000), [], "counted before the controller started");
        let young = instance("a", Requested, 100_000, None);
        assert_eq!(census.look(&[old.clone(), young], 160_000), [exposure(1, 0, 60.0 / 3600.0)]);
        assert_eq!(census.starting_s("spot-eu", Some("Small"), 170_000), [70.0]);
        assert_eq!(census.starting_s("spot-eu", Some("XL"), 170_000), [0.0; 0]);
        let ready = instance("a", Ready, 100_000, Some(180_000));
        let seen = census.look(&[old.clone(), ready.clone()], 190_000);
        assert_eq!(seen, [ended(80.0, true), exposure(1, 0, 30.0 / 3600.0)]);
        assert!(!census.look(&[old.clone(), ready], 200_000).contains(&ended(80.0, true)));
        // One that came and became ready between two looks, and one that vanishes.
        let quick = instance("b", Ready, 201_000, Some(205_000));
        let slow = instance("c", Starting, 201_000, None);
        assert!(census.look(&[old.clone(), quick.clone(), slow], 210_000).contains(&ended(4.0, true)));
        let seen = census.look(&[old, quick], 301_000);
        assert!(seen.contains(&ended(100.0, false)), "{seen:?}");
    }

    #[test]
    fn a_start_that_is_given_up_is_counted_once_as_one_that_never_came() {
        use InstanceState::{Draining, Starting};
        let mut census = Census::default();
        census.look(&[instance("a", Starting, 0, None)], 1_000);
        assert!(census.look(&[instance("a", Draining, 0, None)], 50_000).contains(&ended(50.0, false)));
        assert!(
            !census
                .look(&[instance("a", Draining, 0, None)], 60_000)
                .iter()
                .any(|seen| matches!(seen, Seen::Never { .. }))
        );
        assert!(!census.look(&[], 70_000).iter().any(|seen| matches!(seen, Seen::Never { .. })));
    }

    #[test]
    fn an_interruption_is_counted_once_and_not_across_a_gap() {
        let ready = |id: &str| instance(id, InstanceState::Ready, 0, Some(1));
        let taken = |id: &str| Instance { is_interrupted: true, ..ready(id) };
        let mut census = Census::default();
        census.look(&[ready("a"), ready("b")], 0);
        assert_eq!(census.look(&[taken("a"), ready("b")], 360_000), [exposure(2, 1, 0.1)]);
        assert_eq!(census.look(&[taken("a"), ready("b")], 720_000), [exposure(1, 0, 0.1)]);
        assert_eq!(census.look(&[ready("b")], 1_080_000), [exposure(1, 0, 0.1)]);
        assert_eq!(census.look(&[taken("b")], 9_000_000), [], "what else happened in the gap nobody knows");
    }
}
