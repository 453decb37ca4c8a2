//! How much of a bucket is out in leases, as its shared state knows.
//!
//! Units that a worker has leased have left the bucket. Did the bucket refill to its brim behind them, the leases would
//! come on top of the burst. So the state keeps the sum of what is *claimed*, and the bucket refills only up to its burst
//! less that sum: level and leases together never exceed the burst, whatever the leases' size.
//!
//! A worker settles its former claim and makes its next one in the same compare-and-set that draws or gives back, so
//! claims cost no access. Until then what it has spent still counts as claimed: nobody knows yet when it was spent, and
//! counting it as spent just now is the only assumption that can never admit too much.
//!
//! **A crash** leaves a claim that nobody settles. Therefore a claim belongs to the window of [`CLAIM_LASTS`] in which it
//! was made and ends with the next one: it holds for one to two windows. A live worker settles before
//! [`RENEW_AFTER`] with whatever request comes then, or gives back when none comes; a lease whose claim has ended all the
//! same is void. A worker whose tick hangs for longer than the rest of its claim does not know that, and may spend what it
//! holds: at most its lease, once.

use crate::units::Nanos;

/// Length of a window: a claim holds at least for one, at most for two.
pub const CLAIM_LASTS: u64 = Nanos::SECOND;

/// The age at which a worker that is still spending renews its claim: leaves ticks half a window to be late.
pub const RENEW_AFTER: u64 = CLAIM_LASTS / 2;

/// What one worker has claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Units. Zero is no claim, and needs none.
    pub units: u64,
    /// The window that it belongs to.
    pub window: u64,
}

impl Claimed {
    /// Whether it has not ended at `now`, if it was not settled.
    pub fn holds(&self, now: Nanos) -> bool {
        self.units == 0 || now.0 / CLAIM_LASTS < self.window.saturating_add(2)
    }
}

/// What all workers have claimed of one bucket, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Number of the newest window that this state has seen, since the steady clock's origin.
    pub window: u64,
    /// Made in it.
    pub recent: u64,
    /// Made in the one before.
    pub former: u64,
}

impl Claims {
    /// Units that the bucket must leave room for.
    pub fn units(&self) -> u64 {
        self.recent.saturating_add(self.former)
    }

    /// First instant at which less is claimed although nobody settles; `None` when nothing is.
    pub fn next_end(&self) -> Option<Nanos> {
        let windows = match (self.former, self.recent) {
            (0, 0) => return None,
            (0, _) => 2,
            _ => 1,
        };
        Some(Nanos(self.window.saturating_add(windows).saturating_mul(CLAIM_LASTS)))
    }

    /// Ends the claims whose time is over at `now`.
    pub fn expire(&mut self, now: Nanos) {
        let window = now.0 / CLAIM_LASTS;
        if window > self.window {
            self.former = if window == self.window.saturating_add(1) { self.recent } else { 0 };
            (self.recent, self.window) = (0, window);
        }
    }

    /// Takes a claim back. False when it had ended: then nothing is taken back, and the lease is void.
    pub fn settle(&mut self, claimed: Claimed) -> bool {
        if claimed.units == 0 {
            return true;
        }
        let made_in = match self.window.checked_sub(claimed.window) {
            Some(0) => &mut self.recent,
            Some(1) => &mut self.former,
            _ => return false,
        };
        *made_in = made_in.saturating_sub(claimed.units);
        true
    }

    /// Claims `units` in the running window.
    pub fn claim(&mut self, units: u64) -> Claimed {
        self.recent = self.recent.saturating_add(units);
        Claimed { units, window: self.window }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_for_one_window_and_ends_with_the_next() {
        let mut claims = Claims::default();
        assert_eq!(claims.next_end(), None);
        claims.expire(Nanos(5 * CLAIM_LASTS + 1));
        let first = claims.claim(7);
        assert_eq!((first.window, claims.units(), claims.next_end()), (5, 7, Some(Nanos(7 * CLAIM_LASTS))));
        claims.expire(Nanos(6 * CLAIM_LASTS));
        claims.claim(2);
        assert_eq!((claims.units(), claims.next_end()), (9, Some(Nanos(7 * CLAIM_LASTS))));
        assert_eq!([6, 7].map(|window| first.holds(Nanos(window * CLAIM_LASTS))), [true, false]);
        let mut late = claims;
        assert!(claims.settle(first));
        assert_eq!(claims.units(), 2);
        late.expire(Nanos(7 * CLAIM_LASTS));
        assert!(!late.settle(first), "it has ended");
        assert_eq!((late.units(), late.next_end()), (2, Some(Nanos(8 * CLAIM_LASTS))));
        late.expire(Nanos(9 * CLAIM_LASTS));
        assert_eq!(late.units(), 0);
        assert!(late.settle(Claimed::default()), "no claim is always settled");
    }

    #[test]
    fn neither_an_earlier_clock_nor_a_stranger_takes_anything() {
        let mut claims = Claims { window: 9, recent: 3, former: 4 };
        claims.expire(Nanos(0));
        assert_eq!(claims.units(), 7);
        assert!(!claims.settle(Claimed { units: 3, window: 10 }), "a window that this state has not seen");
        assert!(claims.settle(Claimed { units: 9, window: 9 }));
        assert_eq!(claims.units(), 4, "never below zero");
    }
}
