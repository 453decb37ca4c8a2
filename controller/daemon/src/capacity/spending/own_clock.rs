//! Times of instances by this controller's clock, whatever clock their manager has.
//!
//! A manager's clock may be off, by as much as signatures allow or by hours where nothing is signed. Money, late starts and
//! learned lead times would all be wrong by it. What was paid for says since when an instance has been known, and no instance
//! was asked for before the look that did not show it; within that, what is told is kept.

use forebay_plan::capacity::Instance;
use forebay_provision::CALL_WITHIN;

use super::{Instant, Spending};

/// What is told to have been asked for later than now was asked for since the last look, and no longer ago than a call may take:
/// after a long pause a clock that is ahead by a second is to cost seconds.
const BETWEEN_LOOKS_MS: u64 = CALL_WITHIN.as_millis() as u64;

impl Spending {
    /// Says by this controller's clock when instances were asked for and became ready, whatever clock their manager has: one that
    /// was paid for before was asked for when it was first seen, any other since then. Told times are kept where that can be
    /// so; where not, both are moved by as much, so that what lies between them stays.
    pub(in crate::capacity) fn on_own_clock(&self, instances: &mut [Instance], now: Instant) {
        let looked_ms = self.paid_until_ms.min(now.wall_ms);
        for one in instances {
            let told_ms = one.requested_ms;
            one.requested_ms = match self.paid.get(&one.id) {
                Some(known) => known.requested_ms.min(now.wall_ms),
                None if told_ms > now.wall_ms => looked_ms.max(now.wall_ms.saturating_sub(BETWEEN_LOOKS_MS)),
                None => told_ms.max(looked_ms),
            };
            let took = |ready_ms: u64| ready_ms.saturating_sub(told_ms);
            let ready_ms = |ready_ms| one.requested_ms.saturating_add(took(ready_ms)).min(now.wall_ms);
            one.ready_ms = one.ready_ms.map(ready_ms);
        }
    }
}
