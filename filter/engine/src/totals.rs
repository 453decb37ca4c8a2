//! A key's cumulative counts as they lie in shared data: what all workers of the proxy counted together.
//!
//! One record per key, so that a hand-over is one compare-and-set and the leader's look one read. It is a row of words:
//! the counters, what is counted besides ([`Further`], less what is hostile, whose record is its own), the layout of the attributes and their cells. Zeros at the end are
//! left out, so a key that has only been admitted and refused takes 48 bytes; what is missing is read as 0, which is also how a
//! record of a filter before this one is read.

use alloc::vec::Vec;

use forebay_admission::{Bursts, Counts, DemandState, Expected, SlotDemand, Tally};
use forebay_protocol::extension::trimmed;
use forebay_protocol::{Count, Counters, Further, SlotCount};

use crate::shared::{encode_words, words};

/// How many words of [`Further`] stand in the record. Frozen, for what is behind them has no fixed length.
const FURTHER_WORDS: usize = 27;

/// What all workers counted for a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) counters: Counters,
    pub(crate) further: Further,
    /// Which attributes the cells are of ([`Cells`](crate::cells::Cells)).
    pub(crate) layout: u64,
    /// Requests by cell; those at the end may be missing.
    pub(crate) cells: Vec<u64>,
}

impl Totals {
    #[inline(never)]
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut words = words(bytes);
        let mut lanes = [0; 6];
        for lane in &mut lanes {
            *lane = words.next().unwrap_or(0);
        }
        let [reserved_requests, reserved_units, standard_requests, standard_units, refused_requests, refused_units] =
            lanes;
        let counters = Counters {
            reserved_requests,
            reserved_units,
            standard_requests,
            standard_units,
            refused_requests,
            refused_units,
        };
        let further = Further::read(&mut words.by_ref().take(FURTHER_WORDS));
        Self { counters, further, layout: words.next().unwrap_or(0), cells: words.collect() }
    }

    #[inline(never)]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let counters = &self.counters;
        let lanes = [
            counters.reserved_requests,
            counters.reserved_units,
            counters.standard_requests,
            counters.standard_units,
            counters.refused_requests,
            counters.refused_units,
        ];
        let mut words = Vec::with_capacity(7 + FURTHER_WORDS + self.cells.len());
        words.extend_from_slice(&lanes);
        words.extend(self.further.words().into_iter().take(FURTHER_WORDS));
        words.push(self.layout);
        words.extend_from_slice(&self.cells);
        encode_words(trimmed(&words))
    }

    /// Adds what a worker counted, all of it in slot `slot`; 0 when none was known. The part that is hostile is in the
    /// lanes, and not in the demand that is compared with forecasts.
    #[inline(never)]
    pub(crate) fn absorb(&mut self, counts: &Counts, hostile: Count, slot: u64) {
        let counters = &mut self.counters;
        add(&mut counters.reserved_requests, &mut counters.reserved_units, counts.reserved);
        add(&mut counters.standard_requests, &mut counters.standard_units, counts.standard);
        add(&mut counters.refused_requests, &mut counters.refused_units, counts.refused);
        let further = &mut self.further;
        for (count, tally) in [
            (&mut further.borrowed, counts.borrowed),
            (&mut further.overcommitted, counts.overcommitted),
            (&mut further.refused_by_plain, counts.would_have_refused_plain),
            (&mut further.rescued, counts.rescued),
            (&mut further.worse_than_plain, counts.worse_than_plain),
            (&mut further.in_slot, counts.in_slot),
        ] {
            add(&mut count.requests, &mut count.units, tally);
        }
        for (count, units) in [
            (&mut further.refunded_units, counts.settled.refunded),
            (&mut further.charged_units, counts.settled.charged),
            (&mut further.forgiven_units, counts.settled.forgiven),
        ] {
            *count = count.saturating_add(units);
        }
        let mut offered = counts.offered();
        offered.requests = offered.requests.saturating_sub(hostile.requests);
        offered.units = offered.units.saturating_sub(hostile.units);
        if offered.requests > 0 {
            self.change_demand(|demand| demand.absorb(slot, offered));
        }
    }

    /// Adds what a worker counted by attribute. Cells of another layout, of the policy before, begin again.
    #[inline(never)]
    pub(crate) fn absorb_cells(&mut self, layout: u64, cells: &[u64]) {
        if self.layout != layout {
            (self.layout, self.cells) = (layout, Vec::new());
        }
        if self.cells.len() < cells.len() {
            self.cells.resize(cells.len(), 0);
        }
        for (total, count) in self.cells.iter_mut().zip(cells) {
            *total = total.saturating_add(*count);
        }
    }

    /// Notes what is expected of a slot.
    pub(crate) fn expect(&mut self, slot: u64, expected: Expected) {
        self.change_demand(|demand| demand.expect(slot, expected));
    }

    #[inline(never)]
    fn change_demand(&mut self, change: impl FnOnce(&mut DemandState)) {
        let further = &mut self.further;
        let bursts = Bursts { slots: further.burst_slots, units: further.burst_units };
        let mut demand = DemandState { running: demand_of(&further.running), last: demand_of(&further.last), bursts };
        change(&mut demand);
        (further.running, further.last) = (count_of(&demand.running), count_of(&demand.last));
        (further.burst_slots, further.burst_units) = (demand.bursts.slots, demand.bursts.units);
    }
}

fn add(requests: &mut u64, units: &mut u64, tally: Tally) {
    *requests = requests.saturating_add(tally.requests);
    *units = units.saturating_add(tally.units);
}

fn demand_of(slot: &SlotCount) -> SlotDemand {
    let expected = Expected { predicted: slot.predicted, upper: slot.upper };
    let offered = Tally { requests: slot.offered.requests, units: slot.offered.units };
    SlotDemand { slot_id: slot.id, expected, offered }
}

fn count_of(slot: &SlotDemand) -> SlotCount {
    let offered = Count { requests: slot.offered.requests, units: slot.offered.units };
    SlotCount { id: slot.slot_id, predicted: slot.expected.predicted, upper: slot.expected.upper, offered }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        let tally = |requests, units| Tally { requests, units };
        let settled = forebay_admission::Settled { refunded: 13, charged: 14, forgiven: 15 };
        Counts {
            reserved: tally(1, 2),
            standard: tally(3, 4),
            borrowed: tally(5, 6),
            overcommitted: tally(7, 8),
            refused: tally(9, 10),
            settled,
            would_have_refused_plain: tally(16, 17),
            rescued: tally(18, 19),
            worse_than_plain: tally(20, 21),
            in_slot: tally(22, 23),
        }
    }

    #[test]
    fn every_count_arrives_in_its_own_field() {
        let mut totals = Totals::default();
        totals.absorb(&counts(), Count { requests: 1, units: 2 }, 5);
        let counters = totals.counters;
        assert_eq!((counters.reserved_requests, counters.standard_units, counters.refused_units), (1, 4, 10));
        let words = totals.further.words();
        assert_eq!(words[..15], [5, 6, 7, 8, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]);
        assert_eq!(
            totals.further.running,
            SlotCount { id: 5, offered: Count { requests: 17, units: 20 }, ..SlotCount::default() }
        );
        totals.expect(5, Expected { predicted: 10, upper: 18 });
        assert_eq!((totals.further.burst_slots, totals.further.burst_units), (1, 2));
        assert_eq!(Totals::decode(&totals.encode()), totals);
    }

    #[test]
    fn a_record_is_as_long_as_it_has_something_to_say() {
        let mut totals = Totals::default();
        let refused = Counts { refused: Tally { requests: 1, units: 1 }, ..Counts::default() };
        totals.absorb(&refused, Count::default(), 0);
        let short = totals.encode();
        assert_eq!(short.len(), 48);
        totals.absorb_cells(7, &[0, 3, 0]);
        let long = totals.encode();
        let mut read = Totals::decode(&long);
        assert_eq!((read.layout, read.cells.as_slice()), (7, &[0, 3][..]));
        read.absorb_cells(7, &[1, 1, 1]);
        assert_eq!(read.cells, [1, 4, 1]);
        read.absorb_cells(8, &[2]);
        assert_eq!((read.layout, read.cells.as_slice()), (8, &[2][..]), "another policy counts anew");
        assert_eq!(read.counters, Totals::decode(&short).counters, "and only attributes");
    }
}
