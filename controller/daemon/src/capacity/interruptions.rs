//! Pools that take back at once what they are asked for: a spot market that is gone and stays so.
//!
//! One interruption, or all of a pool's instances at once, is ordinary spot life: what was bought long ago is taken, and what
//! replaces it may well stay; how often that happens is learned of each pool ([`super::learned`]). But a replacement that was
//! asked for after the first notice and is itself interrupted, before it was ready or shortly after, says that the market has
//! none to give now. Starting more there would pay for one after the other, as many as fit the pool and the budget. Such a
//! pool is done without for a while like one that refuses ([`super::refusals`]), so others make up for it.
//!
//! It is over when an instance that was asked for after the last notice has been ready for a while, or when there was no
//! notice for so long that the next one is ordinary again. Only what the manager itself tells counts: instances that are not
//! counted on for other reasons were not taken back.
//!
//! Nothing is remembered over a restart: notices that are there then count as the first ones.

use std::collections::{BTreeMap, BTreeSet};

use forebay_plan::capacity::{Instance, InstanceState};

use super::refusals::LONGEST_WAIT_MS;

/// An instance that was ready for less than a lead time of its pool, and less than this, was not worth its start. Notices are
/// given up to two minutes ahead.
const SHORTEST_STAY_MS: f64 = 120_000.0;
/// A notice is the first one again after so long without any. A pool that takes all back is asked at least once within it,
/// so its back-off goes on growing.
const QUIET_MS: f64 = 2.0 * LONGEST_WAIT_MS as f64;

/// When a pool's instances were first and last told to be interrupted, wall milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Notices {
    first_ms: u64,
    last_ms: u64,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Interruptions {
    by_pool: BTreeMap<String, Notices>,
    /// Ids of the instances that are there and whose notice is known.
    told: BTreeSet<String>,
}

/// What a look at instances says of pools.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Those that took back what they had just been asked for, and how many instances of it.
    pub(super) taken_back: BTreeMap<String, usize>,
    /// Those where what they give stays, or which it is not known of any more.
    pub(super) stays: Vec<String>,
}

impl Interruptions {
    /// Takes in the instances as the manager tells them. `lead_s` is a pool's lead time, real seconds.
    pub(super) fn look(&mut self, instances: &[Instance], lead_s: impl Fn(&str) -> f64, now_ms: u64) -> Verdict {
        let stay_ms = |one: &Instance| (1000.0 * lead_s(&one.group.pool)).max(SHORTEST_STAY_MS) as u64;
        let mut verdict = Verdict::default();
        let told = instances.iter().filter(|one| one.is_interrupted);
        let news: Vec<&Instance> = told.clone().filter(|one| !self.told.contains(&one.id)).collect();
        for one in &news {
            let pool = &one.group.pool;
            let is_replacement = self.by_pool.get(pool).is_some_and(|known| one.requested_ms >= known.first_ms);
            let is_short = one.ready_ms.is_none_or(|ready_ms| now_ms.saturating_sub(ready_ms) < stay_ms(one));
            if is_replacement && is_short {
                *verdict.taken_back.entry(pool.clone()).or_default() += 1;
            }
        }
        self.told = told.map(|one| one.id.clone()).collect();
        for one in news {
            let first = Notices { first_ms: now_ms, last_ms: now_ms };
            self.by_pool.entry(one.group.pool.clone()).or_insert(first).last_ms = now_ms;
        }
        self.by_pool.retain(|pool, known| {
            let stays = |one: &Instance| {
                let is_since = one.group.pool == *pool && one.requested_ms > known.last_ms;
                let is_ready = one.state == InstanceState::Ready && !one.is_interrupted;
                let is_long = one.ready_ms.is_some_and(|ready_ms| now_ms.saturating_sub(ready_ms) >= stay_ms(one));
                is_since && is_ready && is_long
            };
            let quiet_ms = now_ms.saturating_sub(known.last_ms) as f64;
            let is_over = quiet_ms > QUIET_MS + 2000.0 * lead_s(pool) || instances.iter().any(stays);
            if is_over {
                verdict.stays.push(pool.clone());
            }
            !is_over
        });
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::late;

    fn instance(requested_s: u64, ready_s: Option<u64>, is_interrupted: bool) -> Instance {
        Instance { is_interrupted, ..late::tests::instance(requested_s, ready_s) }
    }

    /// With a lead time of 20 s: how many were taken back, and whether what is given stays.
    fn seen(interruptions: &mut Interruptions, now_s: u64, instances: &[Instance]) -> (usize, bool) {
        let verdict = interruptions.look(instances, |_| 20.0, 1000 * now_s);
        (verdict.taken_back.values().sum(), !verdict.stays.is_empty())
    }

    #[test]
    fn what_was_there_before_may_be_taken_all_at_once_or_one_after_the_other() {
        let mut interruptions = Interruptions::default();
        let all =
            |taken: u64| -> Vec<Instance> { (10..14).map(|at| instance(at, Some(at + 20), at < taken)).collect() };
        assert_eq!(seen(&mut interruptions, 40, &all(0)), (0, false));
        for (now_s, taken) in [(45, 11), (50, 13), (55, 14), (60, 14)] {
            assert_eq!(seen(&mut interruptions, now_s, &all(taken)), (0, false), "{taken}");
        }
    }

    #[test]
    fn a_replacement_that_is_taken_too_says_so_once() {
        for ready_s in [None, Some(120)] {
            let mut interruptions = Interruptions::default();
            seen(&mut interruptions, 100, &[instance(10, Some(30), true)]);
            assert_eq!(seen(&mut interruptions, 105, &[instance(100, None, false)]), (0, false));
            assert_eq!(seen(&mut interruptions, 239, &[instance(100, ready_s, true)]), (1, false), "{ready_s:?}");
            assert_eq!(seen(&mut interruptions, 241, &[instance(100, ready_s, true)]), (0, false), "known");
            // The longest back-off later.
            assert_eq!(seen(&mut interruptions, 860, &[instance(850, None, true)]), (1, false), "again");
        }
    }

    #[test]
    fn one_that_stays_for_a_while_or_long_quiet_makes_the_next_notice_the_first() {
        let mut interruptions = Interruptions::default();
        seen(&mut interruptions, 100, &[instance(10, Some(30), true)]);
        assert_eq!(seen(&mut interruptions, 239, &[instance(101, Some(120), false)]), (0, false));
        assert_eq!(seen(&mut interruptions, 240, &[instance(101, Some(120), false)]), (0, true));
        assert_eq!(seen(&mut interruptions, 245, &[instance(239, None, true)]), (0, false));
        assert_eq!(seen(&mut interruptions, 1485, &[]), (0, false));
        assert_eq!(seen(&mut interruptions, 1486, &[]), (0, true));
        assert_eq!(seen(&mut interruptions, 1500, &[instance(1490, None, true)]), (0, false));
    }
}
