//! How much a worker takes out of a shared bucket at once.
//!
//! Shared state costs a lock and two copies per access, so a worker draws a *lease* of several units and spends it from
//! its own memory. What is leased has left the shared bucket. The standard bucket leaves room for it
//! ([`claims`](crate::claims)), so leases add nothing to what is admitted; they only withhold, and [`claim_cap`] gives every
//! worker an equal part of [`CLAIMED_PERCENT`] of the burst. Other buckets refill behind their leases; so the sum of those
//! is the over-admission, and [`lease_cap`] gives every worker an equal part of [`LEASED_PERCENT`]. Below
//! [`EXACT_BELOW_UNITS`] a part is too small to be worth it, and a lease is exactly the request's cost: such buckets are
//! exact.
//!
//! Below the cap the size follows what the worker really spends: a lease should last [`LEASE_LASTS`], which is also
//! when an unused one goes back, so a cold key holds its last request's worth and a hot one draws ten times a second.
//! It at most doubles from draw to draw: two requests that happen to come together do not make a key hot.
//!
//! Five percent and not more, because it also bounds what an idle worker can withhold from a busy one, what a crashing VM
//! takes with it, and how much shallower the bucket is while all are busy; not less, because a hot key then pays for shared
//! state on every few requests: a burst of one second's rate over eight workers gives leases of 6 ms of the rate.

use crate::units::Nanos;

/// Buckets of fewer units are leased request by request.
pub const EXACT_BELOW_UNITS: u64 = 100;

/// All workers' leases of a bucket that keeps claims, as a part of its burst.
pub const CLAIMED_PERCENT: u64 = 5;

/// All workers' leases of any other bucket, as a part of its burst.
pub const LEASED_PERCENT: u64 = 2;

/// How long a lease is meant to last at the rate at which the worker spends.
pub const LEASE_LASTS: u64 = 100 * Nanos::MILLI;

/// How long a lease may lie unused before it goes back.
pub const IDLE: u64 = LEASE_LASTS;

/// Units in a worker's hands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lease {
    pub(crate) units: u64,
    size: u64,
    spent: u64,
    pub(crate) drawn_at: Nanos,
}

impl Lease {
    /// Units to hold after a draw at `now` for a request of `cost`; `cap` is [`claim_cap`]'s or [`lease_cap`]'s.
    pub(crate) fn size_for(&self, cost: u64, cap: u64, now: Nanos) -> u64 {
        let lasted = now.since(self.drawn_at).max(1);
        let spends = self.spent.saturating_mul(LEASE_LASTS) / lasted;
        spends.min(self.size.saturating_mul(2)).min(cap).max(cost)
    }

    /// Takes in `units` that were drawn at `now` towards a lease of `size`.
    pub(crate) fn draw(&mut self, units: u64, size: u64, now: Nanos) {
        *self = Self { units: self.units.saturating_add(units), size, spent: 0, drawn_at: now };
    }

    pub(crate) fn spend(&mut self, units: u64) {
        self.units = self.units.saturating_sub(units);
        self.spent = self.spent.saturating_add(units);
    }
}

/// The most units that a worker may hold of a bucket of `burst` units that keeps claims, when a request costs `cost`: the
/// worker's part of [`CLAIMED_PERCENT`] of the burst, exactly the cost for buckets below [`EXACT_BELOW_UNITS`], never less
/// than the cost.
pub fn claim_cap(burst: u64, workers: u64, cost: u64) -> u64 {
    part(CLAIMED_PERCENT, burst, workers, cost)
}

/// The same for a bucket that keeps no claims: the worker's part of [`LEASED_PERCENT`].
pub fn lease_cap(burst: u64, workers: u64, cost: u64) -> u64 {
    part(LEASED_PERCENT, burst, workers, cost)
}

fn part(percent: u64, burst: u64, workers: u64, cost: u64) -> u64 {
    if burst < EXACT_BELOW_UNITS {
        return cost;
    }
    (burst / 100).saturating_mul(percent).checked_div(workers.max(1)).unwrap_or(0).max(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_are_shares_of_the_burst_and_exact_for_small_buckets() {
        assert_eq!([lease_cap(99, 2, 1), lease_cap(99, 2, 5)], [1, 5]);
        assert_eq!([lease_cap(1_000, 2, 1), lease_cap(1_000, 4, 1), lease_cap(1_000, u64::MAX, 1)], [10, 5, 1]);
        assert_eq!([claim_cap(99, 2, 5), claim_cap(1_000, 2, 1), claim_cap(1_000, u64::MAX, 1)], [5, 25, 1]);
        for burst in [100, 1_000, 12_345] {
            for workers in 1..40 {
                assert!(workers * lease_cap(burst, workers, 1) <= workers.max(burst * LEASED_PERCENT / 100));
                assert!(workers * claim_cap(burst, workers, 1) <= workers.max(burst * CLAIMED_PERCENT / 100));
            }
        }
    }

    #[test]
    fn the_size_follows_the_rate_between_one_request_and_the_cap() {
        let (mut lease, mut now, mut sizes) = (Lease::default(), Nanos(1), [0; 8]);
        for size in &mut sizes {
            *size = lease.size_for(1, 50, now);
            lease.draw(*size, *size, now);
            lease.spend(*size);
            now = now.plus(*size * Nanos::MILLI);
        }
        assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 50, 50], "a thousand per second would fill 100");
        now = now.plus(10 * LEASE_LASTS);
        assert_eq!(lease.size_for(1, 50, now), 4, "50 in 1,050 ms are 4 in 100 ms");
        assert_eq!(lease.size_for(7, 50, now), 7, "never less than the request");
        assert_eq!(lease.size_for(70, 50, now), 70);
    }
}
