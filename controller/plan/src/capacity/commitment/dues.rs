//! What instances can come to cost until they could be gone: how a plan is counted against a budget.
//!
//! The budget must hold whatever happens until the next plan. So every instance is counted at the highest price its pool
//! can have, until it could be gone: one that is kept or asked for until the next plan and then through its draining, one
//! that is told to go through its draining, and none for less than the pool bills at least. If that fits now, then at the
//! next plan telling everything to go still fits; that is why a budget can always be kept by going on.
//!
//! What it rests on: the next plan is carried out in time, prices stay within their stated maximum, an instance that was
//! told to go is gone within its draining, and what is lost between two plans is not started again before the second.

use crate::capacity::price::{hourly_micros, paid_micros, spent_micros};
use crate::capacity::{Budget, BudgetScope, CapacityInputs, Fleet, Group, Micros, PoolOffer, Service};

/// What one instance of a group can come to cost, in micros.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::capacity) struct Dues {
    /// If it is told to go now, or was before.
    pub(in crate::capacity) leaving: Micros,
    /// If it stays until the next plan, or is asked for now.
    pub(in crate::capacity) staying: Micros,
    /// Highest price of an hour.
    hourly: Micros,
}

impl Dues {
    /// `None` where the group's service, pool, tier or shape is not among the inputs: it cannot be priced.
    pub(in crate::capacity) fn of(inputs: &CapacityInputs, group: &Group) -> Option<Self> {
        let service = inputs.services.iter().find(|service| service.name == group.service)?;
        let offer = inputs.pools.iter().find(|offer| offer.pool.name == group.pool)?;
        Self::of_instance(inputs, service, offer, &group.shape)
    }

    /// The same, where service and pool were looked up already.
    pub(in crate::capacity) fn of_instance(
        inputs: &CapacityInputs,
        service: &Service,
        offer: &PoolOffer,
        shape: &str,
    ) -> Option<Self> {
        let tier = inputs.tiers.iter().find(|tier| tier.name == offer.pool.tier)?;
        let shape = inputs.shapes.iter().find(|known| known.name == *shape)?;
        let price_milli = offer.price_max_milli.max(offer.pool.price_milli);
        let hourly = hourly_micros(shape, tier, offer.pool.class, price_milli);
        let leaving_s = service.drain_s.max(offer.billing_min_s).max(0.0);
        // The cast saturates: what never ends costs everything.
        let leaving = leaving_micros(hourly, (1_000.0 * leaving_s).ceil() as u64);
        let staying = spent_micros(hourly, f64::from(inputs.decide_every_s)).saturating_add(leaving);
        Some(Self { leaving, staying, hourly })
    }

    /// What the draining instances of a group can still cost together.
    pub(in crate::capacity) fn draining(&self, fleet: &Fleet) -> i128 {
        let whole = i128::from(self.leaving) * i128::from(fleet.draining);
        let left = fleet.draining_left_ms.map(|left_ms| leaving_micros(self.hourly, left_ms));
        left.map_or(whole, |left| whole.min(i128::from(left)))
    }
}

/// With a micro a second on top: plans are a second apart at least, and each rounds up what was spent until then.
fn leaving_micros(hourly: Micros, milliseconds: u64) -> Micros {
    if hourly == 0 { 0 } else { paid_micros(hourly, milliseconds).saturating_add(milliseconds.div_ceil(1_000)) }
}

impl Budget {
    /// Whether instances of `service` in `pool` are paid from it.
    #[must_use]
    pub fn covers(&self, service: &Service, pool: &str) -> bool {
        match &self.scope {
            BudgetScope::Whole => true,
            BudgetScope::Tenant(name) => service.tenant.as_ref() == Some(name),
            BudgetScope::Pool(name) => name == pool,
        }
    }
}
