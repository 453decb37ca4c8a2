//! What a proxy may admit for a key, over time: a standard limit, a safe limit for when nobody renews it, and the
//! shadow schedule.

use alloc::vec::Vec;

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
}

/// What of a grant is in force at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The standard bucket's limit.
    pub standard: Limit,
    /// The slot that is running.
    pub slot: Option<Slot>,
}

impl Grant {
    /// A grant without a forecast, the same whether valid or not.
    pub fn fixed(limit: Limit) -> Self {
        Self { standard: limit, safe: limit, slots: Vec::new() }
    }

    /// The terms at `now`. `valid` says whether the table that this grant came in still holds: when it does not, the key
    /// falls to its safe share and has no shadow, since nobody knows any more what the others were promised.
    pub fn terms(&self, now: Nanos, valid: bool) -> Terms {
        if !valid {
            return Terms { standard: self.safe, slot: None };
        }
        let slot = self.slots.iter().find(|slot| now < slot.end).filter(|slot| now >= slot.start);
        Terms { standard: self.standard, slot: slot.copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rate;
    use alloc::vec;

    #[test]
    fn the_running_slot_and_the_safe_share() {
        let slot = |id| Slot { id, start: Nanos(id * 10), end: Nanos(id * 10 + 5), amount: 1, pace: Limit::default() };
        let grant = Grant {
            standard: Limit::new(Rate::per_s(10), 10),
            safe: Limit::new(Rate::per_s(1), 1),
            slots: vec![slot(1), slot(2)],
        };
        let id_at = |now| grant.terms(Nanos(now), true).slot.map(|slot| slot.id);
        assert_eq!(
            [id_at(9), id_at(10), id_at(14), id_at(15), id_at(20), id_at(25)],
            [None, Some(1), Some(1), None, Some(2), None]
        );
        assert_eq!(grant.terms(Nanos(12), false), Terms { standard: grant.safe, slot: None });
    }
}
