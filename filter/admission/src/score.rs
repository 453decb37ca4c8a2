//! The counterfactual: what would the contract's plain token bucket alone have done with these requests?
//!
//! Every request, admitted or refused, is put to a simulated standard bucket in this worker's memory. No host call and
//! no shared state, so it runs always, in dry run too.
//!
//! What it approximates: with one worker and exact instants it *is* the plain bucket. With `W` workers each simulates a
//! `W`th of the limit (at least one request deep), which is right when the load is even over workers; a worker that gets
//! more than its part counts too many refusals, by as much as a local limiter per worker would refuse. Coarse instants
//! let a request use what arrives within [`COARSE_MAX`](crate::ledger::COARSE_MAX), so over any time the simulated bucket
//! admits at most 50 ms of rate more. A key that begins starts full.
//!
//! As long as the simulated bucket has what a lease holds, every request that the lease covers would have been admitted by
//! it too. Such requests are not put to it one by one ([`PlainScore::surely`]); what they took is taken out when the books
//! are opened next, at the latest with the lease's renewal ([`PlainScore::charge`]). What arrived at a brim meanwhile is
//! lost to it, so after a time in which it was full it may count a lease's worth of refusals too many
//! (`admission/tests/model/till.rs`).

use crate::bucket::Bucket;
use crate::ledger::Clock;
use crate::units::{Limit, NANO, Nanos, Rate};

/// The simulated bucket of one worker and key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlainScore {
    bucket: Option<Bucket>,
    whole: Limit,
    workers: u64,
    part: Limit,
}

impl PlainScore {
    /// Whether the plain bucket would have admitted a request of `cost`.
    pub(crate) fn admits(&mut self, limit: Limit, workers: u64, cost: u64, clock: &Clock) -> bool {
        self.follow(limit, workers);
        if cost > limit.burst {
            return false;
        }
        let part = Limit { burst: self.part.burst.max(cost), ..self.part };
        let now = clock.earliest();
        let bucket = self.bucket.get_or_insert(Bucket::full(part, now));
        let soon = part.rate.nano_units_in(clock.latest().since(now));
        let refilled = bucket.refilled(part.rate.nano_units_in(now.since(bucket.at())), part.burst_nano(), now);
        let there = refilled.level_nano().saturating_add(soon);
        let admits = there >= refilled.owed_nano().saturating_add(cost.saturating_mul(NANO));
        *bucket = refilled;
        if admits {
            bucket.charge_stored(cost, u64::MAX);
        }
        admits
    }

    /// Units that the plain bucket would admit from `now` on whenever they came: what it holds. The first request of a key
    /// is always put to it, since its cost may be more than a worker's part.
    pub(crate) fn surely(&mut self, limit: Limit, workers: u64, now: Nanos) -> u64 {
        self.follow(limit, workers);
        self.bucket.map_or(0, |bucket| bucket.available(self.part, now))
    }

    /// Takes `units` out that it would surely have admitted, the last of them at `last`.
    pub(crate) fn charge(&mut self, units: u64, last: Nanos) {
        if let Some(bucket) = &mut self.bucket {
            bucket.charge(self.part, units, u64::MAX, last);
        }
    }

    fn follow(&mut self, limit: Limit, workers: u64) {
        if (self.whole, self.workers) != (limit, workers) {
            // A worker that has not been counted yet takes itself for the only one.
            let counted = if workers == u64::MAX { 1 } else { workers.max(1) };
            let rate = Rate::from_milli_per_s(limit.rate.milli_per_s() / counted);
            self.part = Limit::new(rate, limit.burst.div_ceil(counted));
            (self.whole, self.workers) = (limit, workers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(rate: u64, burst: u64) -> Limit {
        Limit::new(Rate::per_s(rate), burst)
    }

    proptest! {
        /// Alone and with exact instants the score is the plain bucket; with coarse ones it admits at most a tick more.
        #[test]
        fn one_worker_scores_like_the_plain_bucket(
            rate in 1u64..2_000, burst in 1u64..200, steps in proptest::collection::vec((0u64..20_000_000, 1u64..5), 1..300),
        ) {
            let limit = limit(rate, burst);
            let (mut exact, mut coarse) = (PlainScore::default(), PlainScore::default());
            let mut plain = Bucket::full(limit, Nanos(0));
            let (mut now, mut units) = (Nanos(0), [0u64; 2]);
            for (gap, cost) in steps {
                now = now.plus(gap);
                let admitted = plain.take(limit, cost, now).is_ok();
                prop_assert_eq!(exact.admits(limit, 1, cost, &Clock::exact(now)), admitted);
                let tick = Nanos(now.0 / crate::ledger::COARSE_MAX * crate::ledger::COARSE_MAX);
                units[0] += if admitted { cost } else { 0 };
                units[1] += if coarse.admits(limit, 1, cost, &Clock::coarse(tick)) { cost } else { 0 };
            }
            let bound = (limit.rate.nano_units_in(now.0 + crate::ledger::COARSE_MAX)) / NANO + 1 + burst;
            prop_assert!(units[1] <= bound, "{:?}", units);
        }
    }

    #[test]
    fn eight_even_workers_score_like_one_bucket() {
        let limit = limit(800, 80);
        let mut scores = [PlainScore::default(); 8];
        let mut admitted = 0u64;
        for request in 0..16_000usize {
            let clock = Clock::exact(Nanos(request as u64 * 625_000));
            admitted += u64::from(scores[request % 8].admits(limit, 8, 1, &clock));
        }
        assert!((8_000..=8_100).contains(&admitted), "{admitted} of 800 per second in 10 s and 80");
        assert!(!scores[0].admits(limit, 8, 81, &Clock::exact(Nanos(0))), "above the whole burst");
        assert!(scores[0].admits(limit, 8, 80, &Clock::exact(Nanos(100 * Nanos::SECOND))), "above a worker's part");
    }
}
