//! The memory of an empty bucket, so that a flood of refusals never touches shared state.
//!
//! When it is time to look again, a little has piled up first ([`pile`]), so that a key under constant overload draws in
//! batches too. A bucket that gave less than it was asked for counts as empty once that is spent: else workers would share
//! it out unit by unit.
//!
//! A scarce standard bucket goes round ([`Round`]): every worker looks once per [`ROUND`], takes its even part of what
//! flows in meanwhile, and leaves the parts of the others. What they do not fetch is anybody's. So nobody's part depends on
//! who looked just before, and a worker that has all the load has all the rate too.

use crate::bucket::Wait;
use crate::key_state::KeyState;
use crate::units::{Limit, NANO, Nanos};

/// How much of the rate may pile up before an empty slot or pool is looked at again, or a bucket that is too slow for
/// rounds.
pub const RECHECK: u64 = 10 * Nanos::MILLI;

/// The same for a standard bucket whose workers get a unit each in that time: half the looks. It waits longer than a slot
/// may, because what lies in it is not void when a slot ends.
pub const ROUND: u64 = 20 * Nanos::MILLI;

/// Units to let pile up before the next look: what all workers want, at most [`RECHECK`] of the rate. Exactly `need`
/// where a lease is one request.
pub(crate) fn pile(need: u64, want: u64, workers: u64, limit: Limit) -> u64 {
    pile_for(RECHECK, need, want, workers, limit)
}

fn pile_for(nanos: u64, need: u64, want: u64, workers: u64, limit: Limit) -> u64 {
    if want <= need {
        return need;
    }
    want.saturating_mul(workers).min(limit.rate.nano_units_in(nanos) / NANO).min(limit.burst).max(need)
}

/// How a standard bucket is shared out when there is not enough for everybody's lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// A worker's even part, in units.
    part: u64,
    /// The parts of the other workers.
    others: u64,
    /// What piles up from one look to the next.
    pile: u64,
}

impl Round {
    /// For a worker that needs `need` units and would like `want`.
    pub(crate) fn new(need: u64, want: u64, workers: u64, limit: Limit) -> Self {
        let workers = workers.max(1);
        let pile = pile_for(ROUND, need, want, workers, limit);
        let part = pile / workers;
        if want <= need || part == 0 {
            // Precision matters more than operations where a lease is one request, or units come one by one.
            return Self { part: 0, others: 0, pile: self::pile(need, want, workers, limit) };
        }
        Self { part, others: part.saturating_mul(workers - 1), pile }
    }

    /// Units to take out of `available`.
    pub(crate) fn units(&self, available: u64, need: u64, want: u64) -> u64 {
        available.saturating_sub(self.others).max(self.part.min(available)).min(want).max(need)
    }

    /// When this worker should look again at `state`, which was refilled at `now`.
    pub(crate) fn next_look(&self, state: &KeyState, need: u64, limit: Limit, now: Nanos) -> Wait {
        if self.part == 0 {
            return state.wait_for(limit, self.pile);
        }
        let round = limit
            .rate
            .nanos_for(self.pile.saturating_mul(NANO))
            .map_or(Wait::Never, |nanos| Wait::Until(now.plus(nanos)));
        // A bucket that owes has nothing to share out before it has repaid.
        round.max(state.wait_for(limit, self.part.max(need)))
    }
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

    /// The same, but not before the next look: a request that comes earlier is refused unseen.
    pub(crate) fn wait_for_look(&self, limit: Limit, cost: u64) -> Wait {
        self.wait(limit, cost).max(Wait::Until(self.until))
    }
}
