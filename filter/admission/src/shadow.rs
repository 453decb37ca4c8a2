//! The shadow bucket: capacity that a forecast pre-allocated, in slots of time.
//!
//! A slot has a fixed amount and a pace. What was spent is kept per slot id, so that a grant which is pushed again (same
//! slot, perhaps another amount) refills nothing, and nothing carries over into the next slot: a forecast that did not
//! come true must not pile up into a burst that nobody planned for.
//!
//! The pace is itself a token bucket, full at the start of its slot, which keeps a key from spending its whole slot in
//! the first instant.

use crate::bucket::{Bucket, Wait};
use crate::units::{Limit, Nanos, Rate};

/// Pre-allocated capacity for a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// The same for the same stretch in every generation; rises with time.
    pub id: u64,
    /// First instant.
    pub start: Nanos,
    /// First instant that no longer belongs to it.
    pub end: Nanos,
    /// Units to spend in it.
    pub amount: u64,
    /// How fast.
    pub pace: Limit,
}

impl Slot {
    /// The rate at which the amount arrives over the slot, not faster than its pace: what the slot reserves of a pool.
    pub fn reserved_rate(&self) -> Rate {
        let length = u128::from(self.end.since(self.start).max(1));
        let milli = u128::from(self.amount) * 1_000 * u128::from(Nanos::SECOND) / length;
        Rate::from_milli_per_s(u64::try_from(milli).unwrap_or(u64::MAX)).min(self.pace.rate)
    }
}

/// What has been spent of the newest slot that this key has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowState {
    /// That slot's id.
    pub slot_id: u64,
    /// Units taken out of it, leases included.
    pub spent: u64,
    /// Its pace.
    pub pace: Bucket,
}

impl ShadowState {
    /// Takes as many units as there are, at least `need` and at most `want`, out of `slot`.
    ///
    /// # Errors
    /// The [`Wait`] until `need` units can be had; `Never` when this slot will not have them.
    pub fn take(&mut self, slot: &Slot, need: u64, want: u64, now: Nanos) -> Result<u64, Wait> {
        if slot.id < self.slot_id {
            return Err(Wait::Never);
        }
        if slot.id > self.slot_id {
            *self = Self { slot_id: slot.id, spent: 0, pace: Bucket::full(slot.pace, slot.start) };
        }
        let left = slot.amount.saturating_sub(self.spent);
        if left < need {
            return Err(Wait::Never);
        }
        let units = self.pace.available(slot.pace, now).min(left).min(want).max(need);
        self.pace.take(slot.pace, units, now)?;
        self.spent = self.spent.saturating_add(units);
        Ok(units)
    }

    /// Takes units that have been used already, as far as the slot's amount goes; the pace may owe for a while. Returns
    /// the units taken, 0 when the slot is over.
    pub fn charge(&mut self, slot: &Slot, units: u64, now: Nanos) -> u64 {
        if slot.id != self.slot_id {
            return 0;
        }
        let units = units.min(slot.amount.saturating_sub(self.spent));
        self.spent = self.spent.saturating_add(units);
        self.pace.charge(slot.pace, units, slot.amount, now);
        units
    }

    /// Puts back units that were leased from slot `slot.id` and not used.
    pub fn give_back(&mut self, slot: &Slot, units: u64, now: Nanos) {
        if slot.id == self.slot_id {
            self.spent = self.spent.saturating_sub(units);
            self.pace.give_back(slot.pace, units, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = Nanos::SECOND;

    fn slot(id: u64, amount: u64) -> Slot {
        let (start, end, pace) = (Nanos(id * S), Nanos((id + 1) * S), Limit::new(Rate::per_s(amount), 4));
        Slot { id, start, end, amount, pace }
    }

    #[test]
    fn pushing_a_slot_again_refills_nothing_and_nothing_carries_over() {
        let mut state = ShadowState::default();
        assert_eq!(state.take(&slot(1, 10), 1, 4, Nanos(S)), Ok(4));
        assert_eq!(state.take(&slot(1, 10), 4, 4, Nanos(2 * S - 1)), Ok(4));
        assert_eq!(state.take(&slot(1, 10), 3, 3, Nanos(2 * S - 1)), Err(Wait::Never), "two units are left of ten");
        assert_eq!(state.take(&slot(1, 20), 4, 4, Nanos(2 * S + S / 2)), Ok(4), "a larger amount adds the difference");
        assert_eq!(state.spent, 12);
        assert_eq!(state.take(&slot(2, 5), 1, 1, Nanos(2 * S)), Ok(1));
        assert_eq!(state.spent, 1, "a new slot starts from its own amount");
        assert_eq!(state.take(&slot(1, 99), 1, 1, Nanos(2 * S)), Err(Wait::Never), "an older slot is over");
    }

    #[test]
    fn the_pace_spreads_the_amount() {
        let mut state = ShadowState::default();
        assert_eq!(state.take(&slot(1, 10), 1, 10, Nanos(S)), Ok(4), "the declared burst at once");
        assert_eq!(state.take(&slot(1, 10), 1, 10, Nanos(S)), Err(Wait::Until(Nanos(S + S / 10))));
        assert_eq!(state.take(&slot(1, 10), 1, 10, Nanos(S + S / 10)), Ok(1));
    }
}
