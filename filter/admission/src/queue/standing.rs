//! Standing queues: CoDel (RFC 8289), one per line (tenant, key, class), adapted to requests that wait for tokens.
//!
//! A queue is there to absorb a burst. One that never gets short absorbs nothing any more: it only makes every request
//! late by the same time. CoDel tells the two apart by the *smallest* wait within an interval: when no head was seen that
//! had waited less than the target for a whole interval, the queue stands, and one entry is dropped; then the next after
//! `interval / sqrt(2)`, `interval / sqrt(3)`, ... until a head is seen below the target or the line is empty.
//!
//! What differs from RFC 8289: a head is looked at when it is released *and* when it is deferred, because a key without
//! tokens releases nothing; the victim goes when its time has come and not with the next release; the last waiting stream
//! of a line is never dropped, as CoDel never drops below one packet. As there, a queue that stands again soon after goes
//! on at nearly the old drop rate.
//!
//! Constants: [`INTERVAL`] stands for the time in which clients react to a refusal; 500 ms is a retry over a slow network
//! (RFC 8289 takes 100 ms for one round trip; a retry is at least a round trip and a backoff). [`TARGET`] is a tenth of
//! it, the upper end of the 5 to 10 % of RFC 8289 section 4.3, because releases come with the tick: 50 ms is three times
//! the 15 ms within which a due stream must have been resumed, else the tick itself would look like a standing queue.

use crate::units::Nanos;

/// Wait in nanoseconds that a queue may keep up.
pub const TARGET: u64 = 50 * Nanos::MILLI;

/// For how many nanoseconds it may stay above the target.
pub const INTERVAL: u64 = 500 * Nanos::MILLI;

/// Most drops in a row that still raise the rate: beyond, it is one per `INTERVAL / 32`, about every 16 ms, one a tick.
const MAX_COUNT: u64 = 1_024;

/// A queue that stands again within this many intervals resumes the old rate (RFC 8289 section 5.5).
const MEMORY_INTERVALS: u64 = 16;

/// When a queue counts as standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// In nanoseconds.
    pub target_ns: u64,
    /// In nanoseconds.
    pub interval_ns: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { target_ns: TARGET, interval_ns: INTERVAL }
    }
}

/// What is known of one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// When the next entry is dropped, while heads are above the target.
    next_drop: Option<Nanos>,
    /// Drops in this episode.
    count: u64,
    last_drop: Option<Nanos>,
}

impl Standing {
    /// When the next entry is to be dropped, unless a head is seen below the target before.
    pub(super) fn next_drop(&self) -> Option<Nanos> {
        self.next_drop
    }

    /// A head was looked at that has waited `waited_ns`.
    pub(super) fn observe(&mut self, patience: &Patience, waited_ns: u64, now: Nanos) {
        if waited_ns < patience.target_ns {
            self.next_drop = None;
        } else if self.next_drop.is_none() {
            let memory = patience.interval_ns.saturating_mul(MEMORY_INTERVALS);
            let recent = self.last_drop.is_some_and(|at| now.since(at) < memory);
            self.count = if recent { self.count.saturating_sub(2) } else { 0 };
            self.next_drop = Some(now.plus(patience.interval_ns));
        }
    }

    /// An entry was due to be dropped and was its line's only one: it is looked at again after an interval.
    pub(super) fn spared(&mut self, patience: &Patience, now: Nanos) {
        self.next_drop = Some(now.plus(patience.interval_ns.max(1)));
    }

    /// An entry was dropped.
    pub(super) fn dropped(&mut self, patience: &Patience, now: Nanos) {
        self.count = self.count.saturating_add(1).min(MAX_COUNT);
        self.last_drop = Some(now);
        // interval / sqrt(count + 1), in fixed point with ten bits.
        let root = ((self.count + 1) << 20).isqrt().max(1);
        self.next_drop = Some(now.plus((patience.interval_ns.saturating_mul(1 << 10) / root).max(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { target_ns: 50, interval_ns: 500_000 };

    #[test]
    fn drops_come_after_an_interval_and_then_ever_faster() {
        let mut standing = Standing::default();
        standing.observe(&PATIENCE, 49, Nanos(0));
        assert_eq!(standing.next_drop(), None);
        standing.observe(&PATIENCE, 50, Nanos(10));
        standing.observe(&PATIENCE, 99, Nanos(20));
        assert_eq!(standing.next_drop(), Some(Nanos(500_010)), "from the first look above the target");
        let mut gaps = alloc::vec![];
        for _ in 0..3 {
            let at = standing.next_drop().unwrap();
            standing.dropped(&PATIENCE, at);
            gaps.push(standing.next_drop().unwrap().since(at));
        }
        let expected = [353_553u64, 288_675, 250_000];
        for (gap, wanted) in gaps.iter().zip(expected) {
            assert!(gap.abs_diff(wanted) < 300, "{gap} for {wanted}");
        }
        standing.observe(&PATIENCE, 3, Nanos(9_000_000));
        assert_eq!(standing.next_drop(), None, "a short wait ends it");
    }

    #[test]
    fn a_queue_that_stands_again_soon_resumes_its_rate() {
        let stand = |pause: u64| {
            let mut standing = Standing::default();
            standing.observe(&PATIENCE, 99, Nanos(0));
            for i in 0..10 {
                standing.dropped(&PATIENCE, Nanos(i));
            }
            standing.observe(&PATIENCE, 0, Nanos(20));
            standing.observe(&PATIENCE, 99, Nanos(pause));
            standing.count
        };
        assert_eq!((stand(30), stand(16 * 500_000 + 30)), (8, 0));
    }
}
