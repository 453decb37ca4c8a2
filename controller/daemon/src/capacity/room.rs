//! What the pools that match a request have in all, and what of it is promised in its window already.
//!
//! It is the bound that needs no plan: days ahead there is none, and still no more may be promised than there is.

use forebay_plan::capacity::{CapacityInputs, Group};

use super::allocations::{Allocation, Wanted, matches};
use super::asks::Denied;
use super::board::sells_per_s;

/// What the pools that match a request have in all.
pub(super) struct Room {
    pub(super) pools: Vec<String>,
    /// Pool and shape of all groups that match.
    pub(super) groups: Vec<(String, String)>,
    /// The longest lead time of them, calendar seconds.
    pub(super) lead_s: f64,
    instances: u32,
    /// Most that an instance serves, units per second.
    serves_per_s: f64,
}

impl Room {
    pub(super) fn of(wanted: &Wanted, inputs: &CapacityInputs) -> Self {
        let mut room = Self { pools: Vec::new(), groups: Vec::new(), lead_s: 0.0, instances: 0, serves_per_s: 0.0 };
        for offer in &inputs.pools {
            let mut is_of_use = false;
            for shape in &inputs.shapes {
                let group =
                    Group { service: wanted.service.clone(), pool: offer.pool.name.clone(), shape: shape.name.clone() };
                let serves = sells_per_s(inputs, &group);
                if let Some(serves) = serves.filter(|_| matches(wanted, inputs, &group)) {
                    room.serves_per_s = room.serves_per_s.max(serves);
                    room.groups.push((offer.pool.name.clone(), shape.name.clone()));
                    is_of_use = true;
                }
            }
            if is_of_use {
                room.pools.push(offer.pool.name.clone());
                room.lead_s = room.lead_s.max(offer.pool.lead_s);
                room.instances = room.instances.saturating_add(offer.pool.max_instances);
            }
        }
        room
    }

    /// Instances that `wanted` takes of these pools at least.
    pub(super) fn takes(&self, wanted: &Wanted) -> u32 {
        match (wanted.replicas, wanted.capacity_per_s) {
            (Some(count), _) => count,
            (None, per_s) if self.serves_per_s > 0.0 => (per_s.unwrap_or(0.0) / self.serves_per_s).ceil() as u32,
            (None, _) => u32::MAX,
        }
    }

    pub(super) fn check(&self, wanted: &Wanted, promised: u32) -> Result<(), Denied> {
        if self.pools.is_empty() {
            let detail = "no pool that matches has a shape that serves this service".to_owned();
            return Err(Denied::Impossible { constraint: "shape", detail });
        }
        let (takes, left) = (self.takes(wanted), self.instances.saturating_sub(promised));
        if takes > left {
            let detail = format!(
                "it takes {takes} instances, and of the {} of pools {} {promised} are promised at one time in that window",
                self.instances,
                self.pools.join(", ")
            );
            return Err(Denied::Impossible { constraint: "capacity", detail });
        }
        Ok(())
    }

    /// Most instances that are promised of these pools at one moment within the window of `wanted`.
    pub(super) fn promised<'a>(
        &self,
        wanted: &Wanted,
        allocations: impl Iterator<Item = &'a Allocation>,
        inputs: &CapacityInputs,
    ) -> u32 {
        let overlapping = allocations
            .filter(|one| one.state.is_open() && one.wanted.from_s < wanted.to_s && one.wanted.to_s > wanted.from_s);
        let shares = overlapping.filter_map(|one| {
            let theirs = Self::of(&one.wanted, inputs);
            let is_shared = theirs.pools.iter().any(|pool| self.pools.contains(pool));
            is_shared.then(|| (one.wanted.from_s, one.wanted.to_s, theirs.takes(&one.wanted)))
        });
        let shares: Vec<(i64, i64, u32)> = shares.collect();
        let at = |at_s: i64| {
            let then = shares.iter().filter(|(from_s, to_s, _)| *from_s <= at_s && at_s < *to_s);
            then.map(|(_, _, takes)| *takes).fold(0, u32::saturating_add)
        };
        // It only rises where a promise begins.
        let begins = shares.iter().map(|(from_s, _, _)| (*from_s).max(wanted.from_s));
        begins.map(at).max().unwrap_or(0)
    }
}
