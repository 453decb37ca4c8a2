//! Pools that do not give what they are asked for at present, and when they are asked again.
//!
//! A pool refuses when its manager says so (a quota, nothing left, a failure), or when it says nothing and nothing comes:
//! a manager that lies, or one that lost the order. Plans then do without it. It is asked again after [`FIRST_WAIT_MS`],
//! where something merely failed already after [`FIRST_WAIT_FAILED_MS`], and after twice as long each time that it refuses
//! again, up to [`LONGEST_WAIT_MS`]; an instance of it that becomes ready makes all good, unless the pool takes back what it
//! gives ([`super::interruptions`]): then one that stays does.

use std::collections::BTreeMap;

use forebay_plan::capacity::{Fleet, Group, Target};
use forebay_provision::FailureKind;

/// Long enough for what was full to be let go of, short beside a lead time of minutes.
const FIRST_WAIT_MS: u64 = 30_000;
/// An instance that crashed is no shortage: the next one most likely runs, and managers space their own tries.
const FIRST_WAIT_FAILED_MS: u64 = 1_000;
/// As cluster autoscalers do: half an hour would outlast most shortages.
pub(super) const LONGEST_WAIT_MS: u64 = 600_000;
/// How often a lead time may pass before what was asked for counts as not coming.
const LEADS_UNTIL_LOST: f64 = 3.0;
/// And at least so long.
const SHORTEST_UNTIL_LOST_MS: f64 = 10_000.0;

/// A pool that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Until when it is not asked, wall milliseconds.
    pub(crate) until_ms: u64,
    /// How long the wait was.
    wait_ms: u64,
    /// What it said.
    pub(crate) why: String,
    /// Whether it gave and took back: one that becomes ready proves nothing then.
    is_taken_back: bool,
}

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Refusals {
    by_pool: BTreeMap<String, Refusal>,
    /// Since when groups have fewer instances than were asked for, wall milliseconds.
    short_since_ms: BTreeMap<Group, u64>,
}

impl Refusals {
    pub(crate) fn is_refusing(&self, pool: &str, now_ms: u64) -> bool {
        self.by_pool.get(pool).is_some_and(|refusal| now_ms < refusal.until_ms)
    }

    /// Until a pool may be asked, milliseconds.
    pub(crate) fn left_ms(&self, pool: &str, now_ms: u64) -> u64 {
        self.by_pool.get(pool).map_or(0, |refusal| refusal.until_ms.saturating_sub(now_ms))
    }

    /// Those that refuse at present.
    pub(crate) fn present(&self, now_ms: u64) -> impl Iterator<Item = (&String, &Refusal)> {
        self.by_pool.iter().filter(move |(_, refusal)| now_ms < refusal.until_ms)
    }

    /// A pool did not give what it was asked for. Whether that is news.
    pub(crate) fn refused(&mut self, pool: &str, kind: FailureKind, why: String, now_ms: u64) -> bool {
        let first_ms = if kind == FailureKind::Failed { FIRST_WAIT_FAILED_MS } else { FIRST_WAIT_MS };
        self.refuse(pool, first_ms, (why, false), now_ms)
    }

    /// A pool interrupted what it had just been asked for. Whether that is news.
    pub(super) fn took_back(&mut self, pool: &str, why: String, now_ms: u64) -> bool {
        self.refuse(pool, FIRST_WAIT_MS, (why, true), now_ms)
    }

    fn refuse(&mut self, pool: &str, first_ms: u64, (why, is_taken_back): (String, bool), now_ms: u64) -> bool {
        if self.is_refusing(pool, now_ms) {
            return false;
        }
        let waited_ms = self.by_pool.get(pool).map(|refusal| refusal.wait_ms);
        let wait_ms = waited_ms.map_or(first_ms, |waited_ms| (2 * waited_ms).min(LONGEST_WAIT_MS));
        let refusal = Refusal { until_ms: now_ms + wait_ms, wait_ms, why, is_taken_back };
        self.by_pool.insert(pool.to_owned(), refusal);
        true
    }

    /// An instance of the pool became ready.
    pub(crate) fn delivered(&mut self, pool: &str) {
        if self.by_pool.get(pool).is_some_and(|refusal| !refusal.is_taken_back) {
            self.by_pool.remove(pool);
        }
    }

    /// The pool does not take back any more what it gives.
    pub(super) fn stays(&mut self, pool: &str) {
        if self.by_pool.get(pool).is_some_and(|refusal| refusal.is_taken_back) {
            self.by_pool.remove(pool);
        }
    }

    /// Compares what there is with what was asked for, and returns the groups of which nothing came for too long.
    /// `lead_s` is a pool's lead time, real seconds.
    pub(crate) fn look(
        &mut self,
        fleet: &BTreeMap<Group, Fleet>,
        asked: &[Target],
        lead_s: impl Fn(&str) -> f64,
        now_ms: u64,
    ) -> Vec<Group> {
        let there = |group: &Group| fleet.get(group).map_or(0, Fleet::wanted);
        let short: Vec<&Target> = asked.iter().filter(|target| there(&target.group) < target.count).collect();
        self.short_since_ms.retain(|group, _| short.iter().any(|target| target.group == *group));
        let mut lost = Vec::new();
        for target in short {
            let since_ms = *self.short_since_ms.entry(target.group.clone()).or_insert(now_ms);
            let patience_ms = (LEADS_UNTIL_LOST * 1000.0 * lead_s(&target.group.pool)).max(SHORTEST_UNTIL_LOST_MS);
            if now_ms.saturating_sub(since_ms) as f64 > patience_ms {
                lost.push(target.group.clone());
                self.short_since_ms.remove(&target.group);
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_asked_again_after_ever_longer() {
        let mut refusals = Refusals::default();
        let mut now_ms = 0;
        for wait_ms in [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000] {
            assert!(refusals.refused("a", FailureKind::OutOfCapacity, "full".to_owned(), now_ms));
            assert!(!refusals.refused("a", FailureKind::OutOfCapacity, "full".to_owned(), now_ms), "known already");
            assert!(refusals.is_refusing("a", now_ms + wait_ms - 1) && !refusals.is_refusing("b", now_ms));
            now_ms += wait_ms;
            assert!(!refusals.is_refusing("a", now_ms));
        }
        refusals.delivered("a");
        refusals.refused("a", FailureKind::OutOfCapacity, "full".to_owned(), now_ms);
        assert!(!refusals.is_refusing("a", now_ms + 30_000), "all was good in between");
    }

    #[test]
    fn what_merely_failed_is_tried_again_soon() {
        let mut refusals = Refusals::default();
        refusals.refused("a", FailureKind::Failed, "it ended by itself".to_owned(), 0);
        assert!(refusals.is_refusing("a", 999) && !refusals.is_refusing("a", 1_000));
        refusals.refused("a", FailureKind::Failed, "it ended by itself".to_owned(), 1_000);
        assert!(refusals.is_refusing("a", 2_999) && !refusals.is_refusing("a", 3_000));
    }

    #[test]
    fn what_a_pool_gives_and_takes_back_proves_nothing_until_it_stays() {
        let mut refusals = Refusals::default();
        assert!(refusals.took_back("a", "taken".to_owned(), 0));
        refusals.delivered("a");
        assert!(refusals.is_refusing("a", 29_999) && !refusals.is_refusing("a", 30_000));
        assert!(refusals.took_back("a", "taken".to_owned(), 30_000));
        assert!(refusals.is_refusing("a", 89_999) && !refusals.is_refusing("a", 90_000), "twice as long");
        refusals.stays("a");
        refusals.refused("a", FailureKind::OutOfCapacity, "full".to_owned(), 90_000);
        refusals.stays("a");
        assert!(refusals.is_refusing("a", 119_999) && !refusals.is_refusing("a", 120_000), "what stays gives no more");
    }

    #[test]
    fn what_was_asked_for_and_does_not_come_is_lost_after_three_lead_times() {
        let group = Group { service: "s".to_owned(), pool: "a".to_owned(), shape: "Small".to_owned() };
        let asked = [Target { group: group.clone(), count: 2 }];
        let fleet = |ready| BTreeMap::from([(group.clone(), Fleet { ready, ..Fleet::default() })]);
        let mut refusals = Refusals::default();
        let mut look = |ready, now_s: u64| refusals.look(&fleet(ready), &asked, |_| 20.0, 1000 * now_s);
        assert_eq!(look(1, 0), []);
        assert_eq!(look(1, 60), []);
        assert_eq!(look(1, 61), std::slice::from_ref(&group));
        assert_eq!(look(1, 62), [], "and counted from then on");
        assert_eq!(look(2, 100), []);
        assert_eq!(look(1, 124), [], "it came in between");
    }
}
