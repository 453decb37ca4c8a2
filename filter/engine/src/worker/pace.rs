//! How often a worker ticks.
//!
//! To wake a VM costs the proxy more than a tick in which there is nothing to do, so a worker asks for as few ticks as
//! what it has to do allows: one every [`WAITING_TICK_MS`] while requests wait, every [`TICK_MS`] while it serves or leads,
//! holds leases or slots or has something to settle, and every [`QUIET_TICK_MS`] when there was none of that for
//! [`QUIET_AFTER`].
//!
//! The request that ends the quiet leaves the timer alone, which would cost it calls into the host: it looks at shared
//! data once, it and those behind it read the exact clock, and the next tick brings [`TICK_MS`] back. So what ticks do
//! (counts, idle leases and slots) comes up to [`QUIET_TICK_MS`] late once. Only a request that has to wait sets the timer.
//!
//! A tick may change its own period: Envoy replaces the timer that fires by a new one, touches nothing of the old one
//! after the callback, and arms the new one with the new period (`setTimerPeriod` and `tickHandler` in its `wasm.cc`).

use forebay_admission::Nanos;

use super::Worker;
use crate::effect::Effect;
use crate::settling::Settling;
use crate::waiting::WAITING_TICK_MS;

/// Tick period in milliseconds: a push waits at most this long for a worker to see it.
pub const TICK_MS: u32 = 50;

/// The same of a quiet worker, which sees a push within 250 ms of the plan that way.
pub const QUIET_TICK_MS: u32 = 200;

/// How long a worker is without requests before it is quiet.
const QUIET_AFTER: u64 = 2 * Nanos::SECOND;

/// The period of the timer and what it follows.
#[derive(Debug)]
pub(super) struct Pace {
    period_ms: u32,
    /// Whether a request came since the last tick; a new worker is not quiet at once.
    used: bool,
    /// The first tick after the last request.
    used_at: Nanos,
}

impl Default for Pace {
    fn default() -> Self {
        Self { period_ms: TICK_MS, used: true, used_at: Nanos::default() }
    }
}

impl Pace {
    /// A request is here; whether the last tick may be longer ago than the coarse clock allows for.
    pub(super) fn use_now(&mut self) -> bool {
        !core::mem::replace(&mut self.used, true) && self.period_ms == QUIET_TICK_MS
    }

    /// A request waits: the period that is needed from now on, if it is another one.
    pub(super) fn shorten(&mut self) -> Option<u32> {
        self.change(WAITING_TICK_MS)
    }

    /// A tick; whether the last request was long ago.
    fn unused(&mut self, now: Nanos) -> bool {
        if core::mem::take(&mut self.used) {
            self.used_at = now;
        }
        now.since(self.used_at) >= QUIET_AFTER
    }

    fn change(&mut self, period_ms: u32) -> Option<u32> {
        (core::mem::replace(&mut self.period_ms, period_ms) != period_ms).then_some(period_ms)
    }
}

impl Worker {
    /// The end of a tick: asks for another period when it takes one.
    pub(super) fn keep_pace(&mut self, now: Nanos) -> Option<Effect> {
        let unused = self.pace.unused(now);
        let settles = self.settling.get().is_some_and(|settling| !Settling::is_empty(settling));
        let has_work = self.boot.is_none() || self.leader.leads() || self.busy || settles || self.streams.hold_slots();
        let period_ms = match (self.streams.ticks_short(), unused && !has_work) {
            (true, _) => WAITING_TICK_MS,
            (false, true) => QUIET_TICK_MS,
            (false, false) => TICK_MS,
        };
        self.pace.change(period_ms).map(Effect::TickEvery)
    }
}
