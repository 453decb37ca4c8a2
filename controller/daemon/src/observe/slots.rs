//! What proxies were offered in the slots around now: by which part each saw of a slot, a forecast for the whole mesh is
//! told to it.
//!
//! A proxy's part of a slot is what it was offered of it among all. Then a proxy passes its part of the upper bound
//! exactly when the mesh passes the bound, and the units above it sum to the mesh's. Before anything came the part is that
//! of the slot before, and before that an equal one.

use std::collections::{BTreeMap, HashMap};

use forebay_protocol::SlotCount;

/// Slots that are kept: the running one, the one before, and one that a proxy with a fast clock may be in.
const KEPT: usize = 3;
/// How far a slot may lie from the controller's present step to be counted.
const NEAR_STEPS: u64 = 2;

/// What one proxy said last, by the contract's place.
pub(super) type Said = HashMap<usize, [SlotCount; 2]>;

/// What all proxies were offered: units by slot, by the contract's place.
#[derive(Debug, Default)]
pub(super) struct Sums {
    by_place: HashMap<usize, BTreeMap<u64, u64>>,
}

impl Sums {
    /// Takes in what a proxy says of a key's slots.
    pub(super) fn take(&mut self, said: &mut Said, place: usize, slots: [SlotCount; 2], now_step: u64) {
        let before = said.insert(place, slots).unwrap_or_default();
        for slot in slots.iter().filter(|slot| slot.id > 0 && slot.id.abs_diff(now_step) <= NEAR_STEPS) {
            let known = before.iter().find(|earlier| earlier.id == slot.id).map_or(0, |earlier| earlier.offered.units);
            let sums = self.by_place.entry(place).or_default();
            let sum = sums.entry(slot.id).or_default();
            *sum = sum.saturating_add(slot.offered.units.saturating_sub(known));
            while sums.len() > KEPT {
                sums.pop_first();
            }
        }
    }

    /// A proxy's part of a slot, from 0 to 1; `proxies` are live.
    pub(super) fn part(&self, said: Option<&Said>, place: usize, slot: u64, proxies: usize) -> f64 {
        let said = said.and_then(|said| said.get(&place));
        let part_of = |slot: u64| {
            let sum = *self.by_place.get(&place)?.get(&slot)?;
            let own = said?.iter().find(|said| said.id == slot)?.offered.units;
            (sum > 0).then(|| (own as f64 / sum as f64).min(1.0))
        };
        let before = || part_of(slot.checked_sub(1)?);
        part_of(slot).or_else(before).unwrap_or(1.0 / proxies.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_protocol::Count;

    fn slot(id: u64, units: u64) -> SlotCount {
        SlotCount { id, offered: Count { requests: 1, units }, ..SlotCount::default() }
    }

    #[test]
    fn a_part_is_what_a_proxy_saw_among_all() {
        let (mut sums, mut a, mut b) = (Sums::default(), Said::default(), Said::default());
        let none = SlotCount::default();
        assert_eq!(sums.part(Some(&a), 0, 7, 4), 0.25, "nothing came yet");
        sums.take(&mut a, 0, [slot(7, 20), none], 7);
        sums.take(&mut a, 0, [slot(7, 30), none], 7);
        sums.take(&mut b, 0, [slot(7, 10), none], 7);
        assert_eq!((sums.part(Some(&a), 0, 7, 2), sums.part(Some(&b), 0, 7, 2)), (0.75, 0.25));
        assert_eq!(sums.part(Some(&b), 0, 8, 2), 0.25, "the slot to come: as the one before");
        sums.take(&mut b, 0, [slot(8, 5), slot(7, 30)], 8);
        assert_eq!((sums.part(Some(&b), 0, 8, 2), sums.part(Some(&b), 0, 7, 2)), (1.0, 0.5));
        sums.take(&mut b, 0, [slot(u64::MAX, 5), slot(8, 5)], 8);
        assert_eq!(sums.part(Some(&b), 0, 8, 2), 1.0, "nobody can make the present slots forgotten");
        assert_eq!(sums.part(None, 0, 8, 5), 0.2);
    }
}
