//! The memory of an empty bucket, so that a flood of refusals never touches shared state.
//!
//! When it is time to look again, a little has piled up first ([`pile`]), so that a key under constant overload draws in
//! batches too; the promised wait stays the exact one. A bucket that gave less than it was asked for counts as empty once
//! that is spent: else workers would share it out unit by unit.

use crate::bucket::Wait;
use crate::units::{Limit, NANO, Nanos};

/// How much of the rate may pile up before an empty bucket is looked at again.
pub const RECHECK: u64 = 10 * Nanos::MILLI;

/// Units to let pile up before the next look: what all workers want, at most [`RECHECK`] of the rate. Exactly `need`
/// where a lease is one request.
pub(crate) fn pile(need: u64, want: u64, workers: u64, limit: Limit) -> u64 {
    if want <= need {
        return need;
    }
    want.saturating_mul(workers).min(limit.rate.nano_units_in(RECHECK) / NANO).min(limit.burst).max(need)
}

/// Requests of at least `cost` need not look before `until`; what such a request was promised is `ready`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dry {
    cost: u64,
    until: Nanos,
    pub(crate) ready: Option<Nanos>,
}

impl Dry {
    /// A bucket that had too little for `cost` before `ready`, and is worth another look at `recheck`.
    pub(crate) fn new(cost: u64, ready: Wait, recheck: Wait) -> Self {
        let instant = |wait| match wait {
            Wait::Until(at) => Some(at),
            Wait::Never => None,
        };
        // Where waiting does not help, only another grant or a cheaper request can.
        Self { cost, until: instant(recheck).unwrap_or(Nanos(u64::MAX)), ready: instant(ready) }
    }

    /// The same, but worth another look at `end` in any case.
    pub(crate) fn until(self, end: Nanos) -> Self {
        Self { until: self.until.min(end), ..self }
    }

    pub(crate) fn covers(&self, cost: u64, now: Nanos) -> bool {
        now < self.until && cost >= self.cost
    }

    /// The wait that the last look promised, a little longer for a dearer request.
    pub(crate) fn wait(&self, limit: Limit, cost: u64) -> Wait {
        let dearer = cost.saturating_sub(self.cost).saturating_mul(NANO);
        match (self.ready, limit.rate.nanos_for(dearer)) {
            (Some(ready), _) if dearer == 0 => Wait::Until(ready),
            (Some(ready), Some(more)) if cost <= limit.burst => Wait::Until(ready.plus(more)),
            _ => Wait::Never,
        }
    }
}
