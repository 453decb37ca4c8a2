//! What may be had of each kind of instance that serves a service, now or in a later window.
//!
//! It says what asking would: of a pool there is left what is neither planned for the steps of the window nor promised in it.
//! Beyond the planner's horizon there are only promises. Kinds that share a pool are alternatives, each with all that is left
//! of it. How sure an offer is, is how probable it is that an instance that is asked for now is ready by its time.

use forebay_plan::capacity::{CapacityInputs, Group, PoolOffer, Shape};

use super::allocations::Wanted;
use super::asks::{Denied, check};
use super::board::{View, sells_per_s};
use super::room::Room;
use super::spending::Instant;

/// What may be had of a kind of instance.
pub(crate) struct Offer<'a> {
    pub(crate) pool: &'a PoolOffer,
    pub(crate) shape: &'a Shape,
    pub(crate) instances: u32,
    /// Units per second that one of them serves.
    pub(crate) serves_per_s: f64,
    /// When they may be ready, calendar unix seconds.
    pub(crate) eta_s: i64,
    /// How probable that is, from 0 to 1.
    pub(crate) confidence: f64,
}

/// Offers of everything that matches what is wanted, whatever its number.
pub(crate) fn offers<'a>(
    view: &View,
    inputs: &'a CapacityInputs,
    wanted: &Wanted,
    now: Instant,
) -> Result<Vec<Offer<'a>>, Denied> {
    let now_s = now.calendar_s as i64;
    check(wanted, inputs, now_s)?;
    let is_in_region = |offer: &&PoolOffer| wanted.region.as_ref().is_none_or(|one| *one == offer.pool.location);
    let mut offers = Vec::new();
    for pool in inputs.pools.iter().filter(is_in_region) {
        let left = left(view, inputs, &Wanted { pool: Some(pool.pool.name.clone()), ..wanted.clone() });
        let instances = if pool.startable == Some(0) && wanted.from_s <= now_s { 0 } else { left };
        let eta_s = wanted.from_s.max(now_s + pool.pool.lead_s.ceil() as i64);
        let within_s = (eta_s as f64 - now.calendar_s) / now.speed;
        for shape in &inputs.shapes {
            let (service, in_pool) = (wanted.service.clone(), pool.pool.name.clone());
            let group = Group { service, pool: in_pool, shape: shape.name.clone() };
            let Some(serves_per_s) = sells_per_s(inputs, &group) else { continue };
            let confidence = view.learned.confidence(&pool.pool.name, &shape.name, within_s, now);
            offers.push(Offer { pool, shape, instances, serves_per_s, eta_s, confidence });
        }
    }
    Ok(offers)
}

/// Instances of the pool that is wanted of which nothing is known in the window.
fn left(view: &View, inputs: &CapacityInputs, wanted: &Wanted) -> u32 {
    let of_pool = |offer: &&PoolOffer| wanted.pool.as_ref() == Some(&offer.pool.name);
    let most = inputs.pools.iter().find(of_pool).map_or(0, |offer| offer.pool.max_instances);
    let promised = Room::of(wanted, inputs).promised(wanted, view.allocations.iter(), inputs);
    most.saturating_sub(promised.max(planned(view, inputs, wanted)))
}

/// Most instances of the pool that are planned in a step of the window; none beyond the horizon.
fn planned(view: &View, inputs: &CapacityInputs, wanted: &Wanted) -> u32 {
    let step_s = i64::from(inputs.step_s.max(1));
    let step = |at_s: i64| usize::try_from((at_s - inputs.now_s as i64).div_euclid(step_s)).unwrap_or(0);
    let steps = step(wanted.from_s)..(step(wanted.to_s - 1) + 1).min(inputs.steps);
    let schedules = view.plan.schedule.iter().filter(|one| wanted.pool.as_ref() == Some(&one.group.pool));
    let schedules: Vec<_> = schedules.collect();
    let planned = |step: usize| schedules.iter().filter_map(|schedule| schedule.asked.get(step)).sum::<u32>();
    steps.map(planned).max().unwrap_or(0)
}
