//! Demand against its forecast: how much was offered in each slot, and how much of that was a burst.
//!
//! A *burst* is demand above the forecast's upper bound. The bound is a slot's total, so a burst is known as soon as the
//! total passes it, and everything from there to the slot's end is part of it. Offered means admitted or not.
//!
//! Nothing of this is on the request path: when a worker hands its counts over, what it counted since the last time goes
//! into one [`DemandState`] per key in shared data, into the slot that was running, because only the sum over workers can
//! be compared with the forecast. So a slot's edge is as sharp as hand-overs are frequent. The running slot and the one
//! before are kept, for parts that come late; what is expected of them may come at any time, also after the demand.

use crate::counts::Tally;

/// What a forecast expects of a slot on this proxy, in units offered over the whole slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The median; 0 when there is no forecast.
    pub predicted: u64,
    /// The upper bound, by default the 95th percentile; 0 when there is no forecast.
    pub upper: u64,
}

/// What was offered in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotDemand {
    /// The slot; 0 before the first.
    pub slot_id: u64,
    /// What was expected of it.
    pub expected: Expected,
    /// What came.
    pub offered: Tally,
}

impl SlotDemand {
    /// Actual demand as a part of the predicted, in thousandths; `None` without a forecast.
    pub fn ratio_milli(&self) -> Option<u64> {
        self.offered.units.saturating_mul(1_000).checked_div(self.expected.predicted)
    }

    /// Units above the upper bound, 0 without a forecast.
    pub fn above_upper(&self) -> u64 {
        if self.expected.upper == 0 { 0 } else { self.offered.units.saturating_sub(self.expected.upper) }
    }
}

/// Bursts so far, cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bursts {
    /// Slots whose demand passed the upper bound.
    pub slots: u64,
    /// Units above it.
    pub units: u64,
}

/// All workers' demand of a key, as it lies in shared data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DemandState {
    /// The newest slot in which something came.
    pub running: SlotDemand,
    /// The one before it in which something came; complete once every worker has handed over after its end.
    pub last: SlotDemand,
    /// Bursts, those of the running slot included.
    pub bursts: Bursts,
}

impl DemandState {
    /// Adds what a worker counted in a slot. What comes for a slot older than the last is dropped.
    pub fn absorb(&mut self, slot_id: u64, offered: Tally) {
        if slot_id > self.running.slot_id {
            (self.last, self.running) = (self.running, SlotDemand { slot_id, ..SlotDemand::default() });
        }
        self.change(slot_id, |slot| slot.offered.absorb(&offered));
    }

    /// Notes what is expected of a slot, the newest forecast counts. Of a slot in which nothing came nothing is noted.
    pub fn expect(&mut self, slot_id: u64, expected: Expected) {
        self.change(slot_id, |slot| slot.expected = expected);
    }

    fn change(&mut self, slot_id: u64, change: impl FnOnce(&mut SlotDemand)) {
        let slot = match slot_id {
            0 => return,
            id if id == self.running.slot_id => &mut self.running,
            id if id == self.last.slot_id => &mut self.last,
            _ => return,
        };
        let before = slot.above_upper();
        change(slot);
        let above = slot.above_upper();
        self.bursts.units = self.bursts.units.saturating_add(above.saturating_sub(before));
        self.bursts.slots = self.bursts.slots.saturating_add(u64::from(before == 0 && above > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected { predicted: 10, upper: 20 };

    fn tally(requests: u64, units: u64) -> Tally {
        Tally { requests, units }
    }

    #[test]
    fn bursts_are_what_all_workers_together_have_above_the_upper_bound() {
        let mut state = DemandState::default();
        state.absorb(1, tally(2, 12));
        state.expect(1, EXPECTED);
        assert_eq!((state.running.ratio_milli(), state.bursts), (Some(1_200), Bursts::default()));
        state.absorb(1, tally(1, 10));
        state.absorb(2, tally(1, 1));
        assert_eq!((state.last.offered, state.bursts), (tally(3, 22), Bursts { slots: 1, units: 2 }));
        state.absorb(1, tally(1, 5));
        assert_eq!(state.last.ratio_milli(), Some(2_700), "a late part still counts");
        state.absorb(2, tally(1, 25));
        assert_eq!(state.bursts, Bursts { slots: 1, units: 7 }, "nothing is known of slot 2 yet");
        state.expect(2, EXPECTED);
        assert_eq!(state.bursts, Bursts { slots: 2, units: 13 }, "what is expected may come after the demand");
        state.absorb(3, tally(1, 1));
        state.absorb(1, tally(1, 100));
        assert_eq!((state.last.slot_id, state.bursts.units), (2, 13), "too late");
    }

    #[test]
    fn without_a_forecast_nothing_is_a_burst() {
        let mut state = DemandState::default();
        state.absorb(1, tally(1, 1_000));
        assert_eq!((state.running.ratio_milli(), state.bursts), (None, Bursts::default()));
        state.absorb(0, tally(1, 1));
        state.expect(0, EXPECTED);
        assert_eq!(state.last, SlotDemand::default(), "0 is no slot");
    }

    #[test]
    fn a_bound_that_moves_adds_what_is_above_it_then() {
        let mut state = DemandState::default();
        state.absorb(1, tally(1, 30));
        state.expect(1, EXPECTED);
        state.expect(1, Expected { upper: 25, ..EXPECTED });
        assert_eq!(state.bursts, Bursts { slots: 1, units: 10 }, "what was counted stays counted");
    }
}
