//! What lies ready for the next request: all that a plain decision touches of an account.
//!
//! Ten thousand accounts of 570 bytes are 5.7 MB, more than a core's second-level cache; a decision that reads and writes
//! here and there in one of them waits for memory longer than it computes. But most decisions ask little: is there a lease
//! that covers the request, and is nothing due that would change the answer? So the books ([`Books`](super::books::Books))
//! put the lease into a till, together with the stretch of time in which nothing is due, and close. While the till serves,
//! nobody looks into them; when they are opened next, they take in what was spent ([`Till::close`]).
//!
//! The till is six words, an account with it 64 bytes, one cache line: 0.6 MB for ten thousand keys.
//!
//! | not due while the till serves | because |
//! |---|---|
//! | another slot, other terms | it serves only between two boundaries of the grant, and never while a slot runs |
//! | the end of the grants' validity | asked at every request, since it moves |
//! | the renewal of the claim | it serves until then |
//! | the counterfactual ([`score`](crate::score)) | it holds no more than the plain bucket would surely have admitted |

use crate::counts::Tally;
use crate::ledger::Clock;
use crate::units::Nanos;

/// Units of the standard lease, and when they may be spent unseen. Empty and closed by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Till {
    units: u64,
    /// First instant at which they may be spent.
    from: Nanos,
    /// First instant at which they no longer may; the origin when the till is closed.
    until: Nanos,
    /// Since it was filled.
    spent: Tally,
    last_spent: Nanos,
}

/// What the books put into a till.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Float {
    pub(crate) units: u64,
    pub(crate) from: Nanos,
    pub(crate) until: Nanos,
}

impl Till {
    /// Whether `cost` can be spent at every instant that `clock` allows, for requests under grants that are valid until
    /// `valid_until`.
    pub(crate) fn covers(&self, cost: u64, valid_until: Nanos, clock: &Clock) -> bool {
        self.units >= cost && self.from <= clock.earliest() && clock.latest() < self.until.min(valid_until)
    }

    /// Spends `cost` if there is as much, at an instant for which the till was just found or made to cover it.
    pub(crate) fn spend(&mut self, cost: u64, now: Nanos) -> bool {
        let rest = self.units.checked_sub(cost).filter(|_| self.is_open());
        if let Some(rest) = rest {
            self.units = rest;
            self.spent.add(cost);
            self.used_at(now);
        }
        rest.is_some()
    }

    /// Notes when the account was last spent from, wherever from.
    pub(crate) fn used_at(&mut self, now: Nanos) {
        self.last_spent = self.last_spent.max(now);
    }

    /// When the account was last spent from.
    pub(crate) fn last_spent(&self) -> Nanos {
        self.last_spent
    }

    /// What was spent since the till was filled.
    pub(crate) fn spent(&self) -> Tally {
        self.spent
    }

    /// Fills a closed till.
    pub(crate) fn open(&mut self, float: Float) {
        (self.units, self.from, self.until) = (float.units, float.from, float.until);
    }

    /// Serves nobody any more, and says what was spent.
    pub(crate) fn close(&mut self) -> Tally {
        let closed = Self { last_spent: self.last_spent, ..Self::default() };
        core::mem::replace(self, closed).spent
    }

    fn is_open(&self) -> bool {
        self.until > Nanos(0)
    }
}
