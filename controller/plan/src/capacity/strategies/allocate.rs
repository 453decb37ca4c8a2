//! `AllocateResources` (seed 11997021): ideal profile, what there is, the difference; from existing pools where they have
//! it (SUCCESS), else provisioned (PENDING), else an alert (FAILURE).
//!
//! Complexity dictates the compute type, origin the location, rate the scale: that is the [`IdealProfile`], which is made
//! from predictions. Of the pools that match, the cheapest adequate one comes first: reserved before spot before on demand,
//! then by price. A difference of nothing, or of less than nothing, is a success at once: giving back is the planner's
//! decision, with its dwell and its floor.

use crate::capacity::{ComputeType, CostClass, Micros};

/// What the predicted workload ideally runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdealProfile {
    /// From the complexity of the requests.
    pub compute: ComputeType,
    /// From their origin.
    pub location: String,
    /// Instances, from their rate.
    pub instances: u32,
}

/// A pool as the algorithm sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Its name.
    pub name: String,
    /// What its machines are good at.
    pub compute: ComputeType,
    /// Where it is.
    pub location: String,
    /// How it is paid for.
    pub class: CostClass,
    /// Price of an instance's hour, in micros.
    pub hourly_micros: Micros,
    /// Instances that are ready and belong to nobody.
    pub available: u32,
    /// Instances that can be provisioned beside those.
    pub provisionable: u32,
    /// Time until what is provisioned is ready, in seconds.
    pub lead_s: u32,
}

/// Instances from a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Name of the pool.
    pub pool: String,
    /// How many.
    pub instances: u32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllocationOutcome {
    /// All of the difference comes from existing pools.
    Success(Vec<Allocation>),
    /// Part of it, or all, is being provisioned.
    Pending {
        /// From existing pools.
        allocated: Vec<Allocation>,
        /// Being provisioned.
        provisioned: Vec<Allocation>,
        /// Seconds until the last of it is ready.
        ready_in_s: u32,
    },
    /// Not all of it can even be provisioned; nothing is allocated.
    Failure {
        /// For an alert.
        alert: String,
    },
}

/// The algorithm, for the throttling key `key` that has `current` instances.
#[must_use]
pub fn allocate_resources(ideal: &IdealProfile, key: &str, current: u32, pools: &[PoolState]) -> AllocationOutcome {
    let mut adequate: Vec<&PoolState> =
        pools.iter().filter(|pool| pool.compute == ideal.compute && pool.location == ideal.location).collect();
    adequate.sort_by(|a, b| (a.class, a.hourly_micros, &a.name).cmp(&(b.class, b.hourly_micros, &b.name)));
    let mut delta = ideal.instances.saturating_sub(current);
    let allocated = take(&mut delta, &adequate, |pool| pool.available);
    if delta == 0 {
        return AllocationOutcome::Success(allocated);
    }
    let provisioned = take(&mut delta, &adequate, |pool| pool.provisionable);
    if delta > 0 {
        let alert = format!(
            "Resource Provisioning Failure for throttlingKey: {key}: {delta} of {} instances ({}, {}) can be had nowhere",
            ideal.instances, ideal.compute, ideal.location
        );
        return AllocationOutcome::Failure { alert };
    }
    let is_used = |pool: &&PoolState| provisioned.iter().any(|of| of.pool == pool.name);
    let ready_in_s = adequate.into_iter().filter(is_used).map(|pool| pool.lead_s).max().unwrap_or(0);
    AllocationOutcome::Pending { allocated, provisioned, ready_in_s }
}

/// Takes from the pools in their order until nothing is left to take.
fn take(delta: &mut u32, pools: &[&PoolState], has: impl Fn(&PoolState) -> u32) -> Vec<Allocation> {
    let mut taken = Vec::new();
    for pool in pools {
        let instances = has(pool).min(*delta);
        *delta -= instances;
        if instances > 0 {
            taken.push(Allocation { pool: pool.name.clone(), instances });
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str, class: CostClass, hourly_micros: Micros, available: u32, provisionable: u32) -> PoolState {
        let (compute, location) = (ComputeType::Cpu, "eu".to_owned());
        PoolState {
            name: name.to_owned(),
            compute,
            location,
            class,
            hourly_micros,
            available,
            provisionable,
            lead_s: 90,
        }
    }

    fn pools() -> Vec<PoolState> {
        vec![
            pool("dear", CostClass::OnDemand, 50, 10, 10),
            pool("cheap", CostClass::OnDemand, 40, 2, 3),
            pool("paid", CostClass::Reserved, 45, 3, 0),
            PoolState { location: "us".to_owned(), ..pool("far", CostClass::Reserved, 1, 99, 99) },
            PoolState { compute: ComputeType::Gpu, ..pool("gpu", CostClass::Reserved, 1, 99, 99) },
        ]
    }

    fn of(pool: &str, instances: u32) -> Allocation {
        Allocation { pool: pool.to_owned(), instances }
    }

    fn asked(instances: u32, current: u32) -> AllocationOutcome {
        let ideal = IdealProfile { compute: ComputeType::Cpu, location: "eu".to_owned(), instances };
        allocate_resources(&ideal, "shop", current, &pools())
    }

    #[test]
    fn existing_pools_serve_the_difference_cheapest_adequate_first() {
        assert_eq!(asked(8, 2), AllocationOutcome::Success(vec![of("paid", 3), of("cheap", 2), of("dear", 1)]));
        assert_eq!(asked(8, 9), AllocationOutcome::Success(vec![]));
    }

    #[test]
    fn what_no_pool_has_is_provisioned() {
        let allocated = vec![of("paid", 3), of("cheap", 2), of("dear", 10)];
        let provisioned = vec![of("cheap", 3), of("dear", 2)];
        assert_eq!(asked(20, 0), AllocationOutcome::Pending { allocated, provisioned, ready_in_s: 90 });
    }

    #[test]
    fn what_cannot_be_provisioned_is_an_alert_and_allocates_nothing() {
        let alert =
            "Resource Provisioning Failure for throttlingKey: shop: 2 of 30 instances (cpu, eu) can be had nowhere";
        assert_eq!(asked(30, 0), AllocationOutcome::Failure { alert: alert.to_owned() });
    }
}
