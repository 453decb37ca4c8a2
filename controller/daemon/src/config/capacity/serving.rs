//! Whether what is declared can serve a service at all: what no shape in any pool serves would only be seen when it is short.

use forebay_plan::capacity::{PoolOffer, Service, Shape, Tier};

use crate::config::file::{Problem, problem};

/// Refuses a service that nothing may be bought for, or not as much as it has at least. `at` is its place.
pub(super) fn check(
    service: &Service,
    (pools, shapes, tiers): (&[PoolOffer], &[Shape], &[Tier]),
    at: &str,
) -> Result<(), Problem> {
    let may_run = |offer: &&PoolOffer| service.locations.is_empty() || service.locations.contains(&offer.pool.location);
    if pools.is_empty() {
        return Err(problem("capacity.pools", "there is none", "declare where instances come from"));
    }
    if !pools.iter().any(|offer| may_run(&offer)) {
        let reason = format!("no pool is in {}", service.locations.join(", "));
        return Err(problem(format!("{at}.locations"), reason, "name locations of capacity.pools, or leave it out"));
    }
    let sells = |offer: &&PoolOffer| {
        let tier = tiers.iter().find(|tier| tier.name == offer.pool.tier);
        tier.is_some_and(|tier| shapes.iter().any(|shape| service.may_buy(shape, tier, offer)))
    };
    let selling: Vec<&PoolOffer> = pools.iter().filter(sells).collect();
    if selling.is_empty() {
        let remedy = "declare a shape with some of everything that it needs, in a pool that has it and performs well enough; \
            GPUs are in pools with compute: gpu";
        return Err(problem(format!("{at}.need_per_unit"), "no shape in any pool serves it", remedy));
    }
    let most = selling.iter().map(|offer| offer.pool.max_instances).fold(0, u32::saturating_add);
    if service.min_instances > most {
        let reason = format!("{} are more than the {most} that its pools may have", service.min_instances);
        return Err(problem(format!("{at}.min_instances"), reason, "lower it, or raise max_instances of pools"));
    }
    Ok(())
}
