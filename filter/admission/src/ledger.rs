//! What the admission core needs from the proxy: its shared state, its clock, and the conditions of a decision.
//!
//! Reading a clock is a crossing into the host and most requests are covered by a lease, whatever the exact time. So a
//! decision starts from a *coarse* instant, the one of the last tick, and knows that the exact one lies at most
//! [`COARSE_MAX`] later ([`Clock`]). As long as the answer is the same at both ends of that stretch, nobody reads the
//! clock; when a bucket must be drawn, a refusal must be computed, or a boundary (slot, validity, end of a remembered
//! drought) lies inside it, the exact clock is read, once. Decisions are therefore the same as with an exact clock.
//! A tick that comes late by more than that moves the boundaries by as much for requests that a lease covers; nothing is
//! overspent by it, because leases are paid for when they are drawn.

use crate::key_state::KeyState;
use crate::pool::{Pool, PoolState};
use crate::units::Nanos;

/// The exact instant is at most this much later than a coarse one: a tick.
pub const COARSE_MAX: u64 = 50 * Nanos::MILLI;

/// Where the states are, and the clock. The replacing methods are shaped like compare-and-set.
pub trait Ledger {
    /// The steady clock, exact.
    fn now(&mut self) -> Nanos;

    /// Replaces key `key`'s state by what `change` makes of it; `None` from `change` leaves it as it is. `change` sees
    /// `None` when the proxy has no state for the key yet, and runs again after every lost race.
    ///
    /// # Errors
    /// [`Contended`] when every one of a bounded number of tries lost.
    fn replace(
        &mut self,
        key: usize,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended>;

    /// The same for pool `pool`, numbered as in [`Conditions::pools`]. A ledger that knows no pools lends nothing.
    ///
    /// # Errors
    /// [`Contended`] when every one of a bounded number of tries lost.
    fn replace_pool(
        &mut self,
        _pool: usize,
        _change: &mut dyn FnMut(Option<PoolState>) -> Option<PoolState>,
    ) -> Result<(), Contended> {
        Err(Contended)
    }
}

/// Others changed the state at every try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended;

/// What a decision depends on beside the key and the time.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// When the proxy's shared state came into being.
    pub born: Nanos,
    /// First instant at which the grants in force no longer hold; the largest one when they do not expire.
    pub valid_until: Nanos,
    /// Workers that share the key's state, at least 1; the largest number when it is not known, which makes every lease
    /// as small as its request.
    pub workers: u64,
    /// The pools that grants refer to.
    pub pools: &'a [Pool],
}

/// The time of one decision, read as late as possible.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    at: Nanos,
    exact: bool,
}

impl Clock {
    /// The exact instant is known.
    pub fn exact(now: Nanos) -> Self {
        Self { at: now, exact: true }
    }

    /// The exact instant is `tick` or up to [`COARSE_MAX`] later.
    pub fn coarse(tick: Nanos) -> Self {
        Self { at: tick, exact: false }
    }

    /// It is not earlier than this.
    pub fn earliest(&self) -> Nanos {
        self.at
    }

    /// It is not later than this.
    pub fn latest(&self) -> Nanos {
        if self.exact { self.at } else { self.at.plus(COARSE_MAX) }
    }

    /// Whether the exact instant is known.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// The exact instant, read from `ledger` the first time.
    pub fn read(&mut self, ledger: &mut impl Ledger) -> Nanos {
        if !self.exact {
            *self = Self::exact(ledger.now().max(self.at));
        }
        self.at
    }
}
