//! The token bucket.
//!
//! A level that was exact at an instant; everything since is computed from the rate. Taking is the only thing that
//! changes it, a refusal leaves it untouched, so the wait that a refusal promises is exact: one nanosecond earlier is
//! refused, at that instant it is granted (when nobody else takes).
//!
//! Kept as (level, instant) and not as a single theoretical arrival time (GCRA), because a bucket's rate changes with
//! every grant: a level survives that, a time does not.
//!
//! A bucket can *owe*: what turned out dearer than it was admitted for ([`Bucket::charge`]) is repaid out of what arrives,
//! before anything is granted again. Level and debt are never above zero at once.
//!
//! Source: the token bucket of RFC 2697, with continuous refill.

use crate::units::{Limit, NANO, Nanos};

/// A bucket's state. Its [`Limit`] is passed in, since it changes with grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    level_nano: u64,
    owed_nano: u64,
    at: Nanos,
}

/// Why not now. Ordered: the sooner, the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Not before this instant.
    Until(Nanos),
    /// Never under this limit: the cost is above the burst, or nothing flows in.
    Never,
}

impl Bucket {
    /// A bucket that held `level_nano` nano-units at `at`.
    pub fn new(level_nano: u64, at: Nanos) -> Self {
        Self::owing(level_nano, 0, at)
    }

    /// A bucket that held `level_nano` nano-units at `at` and had `owed_nano` to repay; the smaller cancels out.
    pub fn owing(level_nano: u64, owed_nano: u64, at: Nanos) -> Self {
        let both = level_nano.min(owed_nano);
        Self { level_nano: level_nano - both, owed_nano: owed_nano - both, at }
    }

    /// A full bucket.
    pub fn full(limit: Limit, at: Nanos) -> Self {
        Self::new(limit.burst_nano(), at)
    }

    /// The bucket of a proxy that has just booted: one second of the rate, because what was spent before the restart is
    /// not known, and a full burst at every restart would be a way around the limit.
    pub fn at_boot(limit: Limit, born: Nanos) -> Self {
        Self::new(limit.rate.nano_units_in(Nanos::SECOND).min(limit.burst_nano()), born)
    }

    /// The level in nano-units at the instant [`Bucket::at`], as stored.
    pub fn level_nano(&self) -> u64 {
        self.level_nano
    }

    /// What is to be repaid, in nano-units, at the instant [`Bucket::at`], as stored.
    pub fn owed_nano(&self) -> u64 {
        self.owed_nano
    }

    /// The instant at which the level was exact.
    pub fn at(&self) -> Nanos {
        self.at
    }

    /// Whole units that can be taken now.
    pub fn available(&self, limit: Limit, now: Nanos) -> u64 {
        self.now(limit, now).level_nano / NANO
    }

    /// Takes `units`, all or nothing.
    ///
    /// # Errors
    /// The [`Wait`] after which the same call succeeds; the bucket is unchanged.
    pub fn take(&mut self, limit: Limit, units: u64, now: Nanos) -> Result<(), Wait> {
        let refilled = self.now(limit, now);
        match refilled.level_nano.checked_sub(units.saturating_mul(NANO)) {
            Some(rest) if units <= limit.burst => {
                *self = Self { level_nano: rest, ..refilled };
                Ok(())
            }
            _ => Err(self.wait_for(limit, units)),
        }
    }

    /// When `units` will be there, as seen from the stored state.
    pub fn wait_for(&self, limit: Limit, units: u64) -> Wait {
        if units > limit.burst {
            return Wait::Never;
        }
        let missing = self.missing_nano(units, limit.burst_nano());
        match limit.rate.nanos_for(missing) {
            Some(nanos) => Wait::Until(self.at.plus(nanos)),
            None if missing == 0 => Wait::Until(self.at),
            None => Wait::Never,
        }
    }

    /// Puts back units that were taken and not used; debt first, never above the burst.
    pub fn give_back(&mut self, limit: Limit, units: u64, now: Nanos) {
        *self = self.now(limit, now).refilled(units.saturating_mul(NANO), limit.burst_nano(), now);
    }

    /// The level in nano-units at `now`, cut at the burst.
    pub fn level_nano_at(&self, limit: Limit, now: Nanos) -> u64 {
        self.now(limit, now).level_nano
    }

    /// Takes `units` that have been used already: what is not there is owed, up to `max_owed` units in all. Returns the
    /// whole units that were charged; the rest is forgiven.
    pub fn charge(&mut self, limit: Limit, units: u64, max_owed: u64, now: Nanos) -> u64 {
        *self = self.now(limit, now);
        self.charge_stored(units, max_owed)
    }

    /// The same against the stored level, for buckets whose refill is not a [`Limit`]'s.
    pub(crate) fn charge_stored(&mut self, units: u64, max_owed: u64) -> u64 {
        let room = max_owed.saturating_mul(NANO).saturating_sub(self.owed_nano);
        // Whole units only: nothing is lost to rounding.
        let units = units.min(self.level_nano.saturating_add(room) / NANO);
        let nano = units.saturating_mul(NANO);
        let paid = nano.min(self.level_nano);
        self.level_nano -= paid;
        self.owed_nano = self.owed_nano.saturating_add(nano - paid);
        units
    }

    /// This bucket at `now` after `arrived_nano` came in, `depth_nano` deep.
    pub(crate) fn refilled(self, arrived_nano: u64, depth_nano: u64, now: Nanos) -> Self {
        let repaid = arrived_nano.min(self.owed_nano);
        Self {
            level_nano: self.level_nano.saturating_add(arrived_nano - repaid).min(depth_nano),
            owed_nano: self.owed_nano - repaid,
            at: self.at.max(now),
        }
    }

    /// Nano-units that must arrive before `units` can be taken out of a bucket that is `depth_nano` deep.
    pub(crate) fn missing_nano(&self, units: u64, depth_nano: u64) -> u64 {
        let wanted = units.saturating_mul(NANO).saturating_add(self.owed_nano);
        wanted.saturating_sub(self.level_nano.min(depth_nano))
    }

    fn now(self, limit: Limit, now: Nanos) -> Self {
        self.refilled(limit.rate.nano_units_in(now.since(self.at)), limit.burst_nano(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rate;
    use proptest::prelude::*;

    const S: u64 = Nanos::SECOND;

    fn limit(rate: u64, burst: u64) -> Limit {
        Limit::new(Rate::per_s(rate), burst)
    }

    #[test]
    fn a_burst_then_the_rate() {
        let limit = limit(10, 5);
        let mut bucket = Bucket::full(limit, Nanos(0));
        for _ in 0..5 {
            assert_eq!(bucket.take(limit, 1, Nanos(0)), Ok(()));
        }
        assert_eq!(bucket.take(limit, 1, Nanos(0)), Err(Wait::Until(Nanos(S / 10))));
        assert_eq!(bucket.take(limit, 1, Nanos(S / 10 - 1)), Err(Wait::Until(Nanos(S / 10))));
        assert_eq!(bucket.take(limit, 1, Nanos(S / 10)), Ok(()));
        assert_eq!(bucket.available(limit, Nanos(100 * S)), 5, "refill stops at the burst");
    }

    #[test]
    fn a_cost_above_the_burst_is_never_granted() {
        let limit = limit(10, 5);
        let mut bucket = Bucket::full(limit, Nanos(0));
        assert_eq!(bucket.take(limit, 6, Nanos(0)), Err(Wait::Never));
        assert_eq!(bucket.available(limit, Nanos(0)), 5);
    }

    #[test]
    fn boot_gives_one_second_of_rate_and_no_more_than_the_burst() {
        assert_eq!(Bucket::at_boot(limit(10, 500), Nanos(7)).available(limit(10, 500), Nanos(7)), 10);
        assert_eq!(Bucket::at_boot(limit(10, 5), Nanos(7)).available(limit(10, 5), Nanos(7)), 5);
    }

    #[test]
    fn a_clock_that_steps_back_refills_nothing() {
        let limit = limit(10, 5);
        let mut bucket = Bucket::new(0, Nanos(10 * S));
        assert!(bucket.take(limit, 1, Nanos(0)).is_err());
        bucket.give_back(limit, 1, Nanos(0));
        assert_eq!(bucket.at(), Nanos(10 * S));
        assert_eq!(bucket.available(limit, Nanos(0)), 1);
    }

    #[test]
    fn a_debt_is_repaid_before_anything_is_granted_and_is_bounded() {
        let limit = limit(10, 5);
        let mut bucket = Bucket::full(limit, Nanos(0));
        assert_eq!(bucket.charge(limit, 12, 10, Nanos(0)), 12, "five from the level, seven owed");
        assert_eq!(bucket.charge(limit, 9, 10, Nanos(0)), 3, "ten owed at most, six forgiven");
        assert_eq!(bucket.take(limit, 1, Nanos(S)), Err(Wait::Until(Nanos(S + S / 10))));
        bucket.give_back(limit, 3, Nanos(S / 2));
        assert_eq!(
            bucket.take(limit, 1, Nanos(8 * S / 10)),
            Ok(()),
            "ten owed, five arrived, three given back, three more"
        );
        assert_eq!(bucket.take(limit, 1, Nanos(8 * S / 10)), Err(Wait::Until(Nanos(9 * S / 10))));
    }

    proptest! {
        /// The wait that a refusal promises is exact.
        #[test]
        fn the_promised_wait_is_exact(milli in 1u64..5_000_000, burst in 1u64..10_000, level in 0u64..10_000, owed in 0u64..100, units in 1u64..10_000, later in 0u64..1_000_000_000) {
            let limit = Limit::new(Rate::from_milli_per_s(milli), burst);
            let start = Nanos(5 * S);
            let mut bucket = Bucket::owing(level * NANO / 3, owed * NANO / 7, start);
            let now = start.plus(later);
            match bucket.take(limit, units, now) {
                Ok(()) => {}
                Err(Wait::Never) => prop_assert!(units > burst),
                Err(Wait::Until(at)) => {
                    prop_assert!(at > now);
                    let mut early = bucket;
                    prop_assert!(early.take(limit, units, at.minus(1)).is_err());
                    prop_assert_eq!(bucket.take(limit, units, at), Ok(()));
                }
            }
        }

        /// Over any sequence of takes: admitted <= rate x time + burst, and a greedy taker gets all but one unit of it.
        #[test]
        fn admits_the_limit_and_not_more(milli in 1_000u64..1_000_000, burst in 1u64..1_000, steps in proptest::collection::vec((0u64..50_000_000, 1u64..4), 1..300)) {
            let limit = Limit::new(Rate::from_milli_per_s(milli), burst);
            let mut bucket = Bucket::full(limit, Nanos(0));
            let (mut now, mut admitted) = (Nanos(0), 0u64);
            for (gap, units) in steps {
                now = now.plus(gap);
                if bucket.take(limit, units, now).is_ok() {
                    admitted += units;
                }
                let bound = limit.rate.nano_units_in(now.0) / NANO + 1 + burst;
                prop_assert!(admitted <= bound, "{} > {}", admitted, bound);
            }
        }
    }
}
