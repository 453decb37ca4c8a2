//! The token bucket.
//!
//! A level that was exact at an instant; everything since is computed from the rate. Taking is the only thing that
//! changes it, a refusal leaves it untouched, so the wait that a refusal promises is exact: one nanosecond earlier is
//! refused, at that instant it is granted (when nobody else takes).
//!
//! Kept as (level, instant) and not as a single theoretical arrival time (GCRA), because a bucket's rate changes with
//! every grant: a level survives that, a time does not.
//!
//! Source: the token bucket of RFC 2697, with continuous refill.

use crate::units::{Limit, NANO, Nanos};

/// A bucket's state. Its [`Limit`] is passed in, since it changes with grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    level_nano: u64,
    at: Nanos,
}

/// Why not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not before this instant.
    Until(Nanos),
    /// Never under this limit: the cost is above the burst, or nothing flows in.
    Never,
}

impl Bucket {
    /// A bucket that held `level_nano` nano-units at `at`.
    pub fn new(level_nano: u64, at: Nanos) -> Self {
        Self { level_nano, at }
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

    /// The instant at which the level was exact.
    pub fn at(&self) -> Nanos {
        self.at
    }

    /// Whole units that can be taken now.
    pub fn available(&self, limit: Limit, now: Nanos) -> u64 {
        self.level_nano_at(limit, now) / NANO
    }

    /// Takes `units`, all or nothing.
    ///
    /// # Errors
    /// The [`Wait`] after which the same call succeeds; the bucket is unchanged.
    pub fn take(&mut self, limit: Limit, units: u64, now: Nanos) -> Result<(), Wait> {
        let level = self.level_nano_at(limit, now);
        match level.checked_sub(units.saturating_mul(NANO)) {
            Some(rest) if units <= limit.burst => {
                *self = Self::new(rest, self.at.max(now));
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
        let missing = units.saturating_mul(NANO).saturating_sub(self.level_nano.min(limit.burst_nano()));
        match limit.rate.nanos_for(missing) {
            Some(nanos) => Wait::Until(self.at.plus(nanos)),
            None if missing == 0 => Wait::Until(self.at),
            None => Wait::Never,
        }
    }

    /// Puts back units that were taken and not used; never above the burst.
    pub fn give_back(&mut self, limit: Limit, units: u64, now: Nanos) {
        let level = self.level_nano_at(limit, now).saturating_add(units.saturating_mul(NANO));
        *self = Self::new(level.min(limit.burst_nano()), self.at.max(now));
    }

    /// The level in nano-units at `now`, cut at the burst.
    pub fn level_nano_at(&self, limit: Limit, now: Nanos) -> u64 {
        let arrived = limit.rate.nano_units_in(now.since(self.at));
        self.level_nano.saturating_add(arrived).min(limit.burst_nano())
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

    proptest! {
        /// The wait that a refusal promises is exact.
        #[test]
        fn the_promised_wait_is_exact(milli in 1u64..5_000_000, burst in 1u64..10_000, level in 0u64..10_000, units in 1u64..10_000, later in 0u64..1_000_000_000) {
            let limit = Limit::new(Rate::from_milli_per_s(milli), burst);
            let start = Nanos(5 * S);
            let mut bucket = Bucket::new(level * NANO / 3, start);
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
