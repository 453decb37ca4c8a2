//! What a proxy may admit for a key, over time: a standard limit, a safe limit for when nobody renews it, and the
//! shadow schedule.

use alloc::vec::Vec;

use crate::pool::Membership;
use crate::shadow::Slot;
use crate::units::{Limit, Nanos};

/// A grant as the filter holds it, in steady time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The share of the contract while the grant is valid.
    pub standard: Limit,
    /// The share when it no longer is.
    pub safe: Limit,
    /// The shadow schedule, ascending and not overlapping.
    pub slots: Vec<Slot>,
    /// The pool that the slots belong to and that the key may borrow from.
    pub pool: Option<Membership>,
}

/// What of a grant is in force at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The standard bucket's limit.
    pub standard: Limit,
    /// The slot that is running.
    pub slot: Option<Slot>,
    /// First instant of these terms.
    pub from: Nanos,
    /// First instant after them.
    pub until: Nanos,
}

impl Grant {
    /// A grant without a forecast, the same whether valid or not.
    pub fn fixed(limit: Limit) -> Self {
        Self { standard: limit, safe: limit, slots: Vec::new(), pool: None }
    }

    /// The terms at `now` while the grant is valid.
    pub fn terms(&self, now: Nanos) -> Terms {
        let running = |slot: &Slot| (slot.start <= now && now < slot.end).then_some(*slot);
        let ended = self.slots.iter().rev().find(|slot| slot.end <= now).map_or(Nanos(0), |slot| slot.end);
        match self.slots.iter().find(|slot| now < slot.end) {
            Some(slot) => match running(slot) {
                Some(slot) => Terms { standard: self.standard, slot: Some(slot), from: slot.start, until: slot.end },
                None => Terms { standard: self.standard, slot: None, from: ended, until: slot.start },
            },
            None => Terms { standard: self.standard, slot: None, from: ended, until: Nanos(u64::MAX) },
        }
    }

    /// The terms once the grant is no longer valid: its safe share and no shadow, since nobody knows any more what the
    /// others were promised.
    pub fn safe_terms(&self) -> Terms {
        Terms { standard: self.safe, slot: None, from: Nanos(0), until: Nanos(u64::MAX) }
    }

    /// When a slot begins that can cover `cost`, after `now`.
    pub fn next_slot(&self, cost: u64, now: Nanos) -> Option<Nanos> {
        let covers = |slot: &&Slot| slot.start > now && slot.amount >= cost && slot.pace.burst >= cost;
        self.slots.iter().find(covers).map(|slot| slot.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rate;
    use alloc::vec;

    #[test]
    fn the_running_slot_and_the_safe_share() {
        let slot = |id| Slot { id, start: Nanos(id * 10), end: Nanos(id * 10 + 5), ..Slot::default() };
        let grant = Grant {
            standard: Limit::new(Rate::per_s(10), 10),
            safe: Limit::new(Rate::per_s(1), 1),
            slots: vec![slot(1), slot(2)],
            pool: None,
        };
        for now in 0..40 {
            let terms = grant.terms(Nanos(now));
            let id = [(10, 15, 1), (20, 25, 2)].iter().find(|(start, end, _)| (*start..*end).contains(&now));
            assert_eq!(terms.slot.map(|slot| slot.id), id.map(|(.., id)| *id), "{now}");
            let boundaries = [0, 10, 15, 20, 25, u64::MAX];
            assert_eq!(terms.from.0, *boundaries.iter().rev().find(|at| **at <= now).unwrap(), "{now}");
            assert_eq!(terms.until.0, *boundaries.iter().find(|at| **at > now).unwrap(), "{now}");
        }
        assert_eq!(grant.safe_terms().standard, grant.safe);
        assert_eq!([grant.next_slot(0, Nanos(9)), grant.next_slot(0, Nanos(20))], [Some(Nanos(10)), None]);
        assert_eq!(grant.next_slot(1, Nanos(9)), None, "nothing that would cover it");
    }
}
