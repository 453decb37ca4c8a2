//! Demand against its forecast: how much was offered in each slot, and how much of that was a burst.
//!
//! A *burst* is demand above the forecast's upper bound. The bound is a slot's total on this proxy, so a burst is known
//! as soon as the total passes it, and everything from there to the slot's end is part of it. Offered means admitted or
//! not.
//!
//! Workers count their own part ([`Demand`]) and hand it over with their counters into one [`DemandState`] per key in
//! shared data, because only the sum over workers can be compared with the forecast. It keeps the running slot and the
//! one before, for parts that come late. A request is counted in the slot of its coarse instant, which is a tick off at
//! most.

use crate::counts::Tally;
use crate::shadow::Slot;

/// Size of an encoded [`DemandState`] in bytes.
pub const DEMAND_STATE_BYTES: usize = 104;

const LAYOUT: u64 = 1;

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
    /// The slot.
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

    fn merge(&mut self, part: &Self) {
        // The newest generation's forecast counts.
        self.expected = part.expected;
        self.offered.requests = self.offered.requests.saturating_add(part.offered.requests);
        self.offered.units = self.offered.units.saturating_add(part.offered.units);
    }
}

/// A worker's part since it last handed over: the newest slot and the one before. Of a third, with slots shorter than
/// the time between two hand-overs, the oldest is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    newest: SlotDemand,
    before: SlotDemand,
}

impl Demand {
    pub(crate) fn add(&mut self, slot: &Slot, cost: u64) {
        if self.newest.slot_id != slot.id {
            if self.newest.offered.requests > 0 {
                self.before = self.newest;
            }
            self.newest = SlotDemand { slot_id: slot.id, ..SlotDemand::default() };
        }
        self.newest.expected = slot.expected;
        self.newest.offered.add(cost);
    }

    /// The parts, oldest first.
    pub fn parts(&self) -> impl Iterator<Item = &SlotDemand> {
        [&self.before, &self.newest].into_iter().filter(|part| part.offered.requests > 0)
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
    /// The running slot.
    pub running: SlotDemand,
    /// The last one that is over; complete once every worker has handed over after its end.
    pub last: SlotDemand,
    /// Bursts, those of the running slot included.
    pub bursts: Bursts,
}

impl DemandState {
    /// Adds what a worker hands over. Parts of slots older than the last are dropped.
    pub fn absorb(&mut self, demand: &Demand) {
        for part in demand.parts() {
            if part.slot_id > self.running.slot_id {
                (self.last, self.running) =
                    (self.running, SlotDemand { slot_id: part.slot_id, ..SlotDemand::default() });
            }
            let slot = match part.slot_id {
                id if id == self.running.slot_id => &mut self.running,
                id if id == self.last.slot_id => &mut self.last,
                _ => continue,
            };
            let before = slot.above_upper();
            slot.merge(part);
            let above = slot.above_upper();
            self.bursts.units = self.bursts.units.saturating_add(above.saturating_sub(before));
            self.bursts.slots = self.bursts.slots.saturating_add(u64::from(before == 0 && above > 0));
        }
    }

    /// The bytes, little endian.
    pub fn encode(&self) -> [u8; DEMAND_STATE_BYTES] {
        let slot = |slot: &SlotDemand| {
            let SlotDemand { slot_id, expected, offered } = *slot;
            [slot_id, expected.predicted, expected.upper, offered.requests, offered.units]
        };
        let bursts = [self.bursts.slots, self.bursts.units];
        let words = [LAYOUT].into_iter().chain(slot(&self.running)).chain(slot(&self.last)).chain(bursts);
        let mut bytes = [0; DEMAND_STATE_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads a state; `None` for anything that [`DemandState::encode`] of this layout did not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != DEMAND_STATE_BYTES {
            return None;
        }
        let mut words = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes);
        let mut next = || words.next();
        if next()? != LAYOUT {
            return None;
        }
        let mut slot = || {
            let (slot_id, predicted, upper) = (next()?, next()?, next()?);
            let offered = Tally { requests: next()?, units: next()? };
            Some(SlotDemand { slot_id, expected: Expected { predicted, upper }, offered })
        };
        let (running, last) = (slot()?, slot()?);
        let bursts = Bursts { slots: next()?, units: next()? };
        Some(Self { running, last, bursts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(parts: &[(u64, u64)]) -> Demand {
        let mut demand = Demand::default();
        for (id, cost) in parts {
            let expected = Expected { predicted: 10, upper: 20 };
            demand.add(&Slot { id: *id, expected, ..Slot::default() }, *cost);
        }
        demand
    }

    #[test]
    fn bursts_are_what_all_workers_together_have_above_the_upper_bound() {
        let mut state = DemandState::default();
        state.absorb(&demand(&[(1, 8), (1, 4)]));
        assert_eq!((state.running.ratio_milli(), state.bursts), (Some(1_200), Bursts::default()));
        state.absorb(&demand(&[(1, 10), (2, 1)]));
        assert_eq!(
            (state.last.offered, state.bursts),
            (Tally { requests: 3, units: 22 }, Bursts { slots: 1, units: 2 })
        );
        state.absorb(&demand(&[(1, 5), (2, 25)]));
        assert_eq!(state.last.ratio_milli(), Some(2_700), "a late part still counts");
        assert_eq!(state.bursts, Bursts { slots: 2, units: 2 + 5 + 6 });
        state.absorb(&demand(&[(3, 1)]));
        state.absorb(&demand(&[(1, 100)]));
        assert_eq!((state.last.slot_id, state.bursts.units), (2, 13), "too late");
        assert_eq!(DemandState::decode(&state.encode()), Some(state));
        assert_eq!(DemandState::decode(&state.encode()[8..]), None);
    }

    #[test]
    fn without_a_forecast_nothing_is_a_burst() {
        let mut demand = Demand::default();
        demand.add(&Slot { id: 1, ..Slot::default() }, 1_000);
        let mut state = DemandState::default();
        state.absorb(&demand);
        assert_eq!((state.running.ratio_milli(), state.bursts), (None, Bursts::default()));
    }
}
