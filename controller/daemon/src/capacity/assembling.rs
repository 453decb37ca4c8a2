//! What a plan of capacity is made of, put together from the configuration, what was seen and what was learned.
//!
//! The planner works in calendar time, as forecasts do; lead times, dwell, drains and prices are of real time. Where the
//! calendar runs faster, in demos and replays, they are stretched here, and only here.

use std::collections::{BTreeMap, BTreeSet};

use forebay_plan::capacity::{
    CapacityInputs, DwellMemory, Fleet, Instance, Maintenance, Micros, Outlook, PoolOffer, Reservation, Service, Shape,
};

use super::drains::Drains;
use super::ledger::unit;
use super::refusals::Refusals;
use super::spending::Instant;
use super::surplus::Surplus;
use super::unreachable::Unreachable;
use crate::config::Config;
use crate::config::capacity::{CapacitySettings, Scaling, ServiceSettings};
use crate::planning::capacity::{CapacityDemand, LEVELS};

/// What is known at a moment, beside the configuration.
pub(super) struct Known<'a> {
    pub(super) now: Instant,
    pub(super) instances: &'a [Instance],
    pub(super) drains: &'a Drains,
    pub(super) demand: &'a CapacityDemand,
    /// Offered demand now, in units per second, by service, within what contracts may use.
    pub(super) observed_per_s: &'a BTreeMap<String, f64>,
    pub(super) refusals: &'a Refusals,
    pub(super) surplus: &'a Surplus,
    pub(super) unreachable: &'a Unreachable,
    pub(super) reservations: Vec<Reservation>,
    pub(super) maintenance: Vec<Maintenance>,
    /// What the outlook of a service is multiplied by.
    pub(super) headroom: &'a dyn Fn(&str) -> f64,
    /// What is to be covered of a service's outlook, where it says how often it may be short.
    pub(super) covered: &'a dyn Fn(&str, Outlook) -> Outlook,
    /// What is added to the share of a service that may be on spot.
    pub(super) spot_shift: &'a dyn Fn(&str) -> f64,
    pub(super) dwell: &'a DwellMemory,
    pub(super) spending: &'a super::spending::Spending,
    /// Pools as they are believed to be: lead times and interruptions as learned.
    pub(super) pools: Vec<PoolOffer>,
    /// Sizes that nothing more is bought of.
    pub(super) retired_shapes: BTreeSet<String>,
}

/// Puts the inputs together.
pub(super) fn inputs(config: &Config, settings: &CapacitySettings, known: Known<'_>) -> CapacityInputs {
    let Known {
        now,
        instances,
        drains,
        demand,
        observed_per_s,
        refusals,
        surplus,
        unreachable,
        reservations,
        maintenance,
        headroom,
        covered,
        spot_shift,
        dwell,
        spending,
        pools,
        retired_shapes,
    } = known;
    let stretched = |real_s: f64| real_s * now.speed;
    let pools = pools.into_iter().map(|mut offer| {
        offer.pool.lead_s = stretched(offer.pool.lead_s);
        offer.pool.interruption_per_h = (offer.pool.interruption_per_h / now.speed).min(1.0);
        offer.billing_min_s = stretched(offer.billing_min_s);
        let gives_none = refusals.is_refusing(&offer.pool.name, now.wall_ms) || unreachable.is(&offer.pool.name);
        offer.startable = gives_none.then_some(0);
        offer
    });
    let services = settings.services.iter().map(|one| Service {
        spot_max_share: (one.service.spot_max_share + spot_shift(&one.service.name)).clamp(0.0, 1.0),
        min_dwell_s: stretched(one.service.min_dwell_s),
        drain_s: stretched(one.service.drain_s),
        shortage_micros_per_unit_h: per_calendar_h(one.service.shortage_micros_per_unit_h, now.speed),
        ..one.service.clone()
    });
    let shapes = settings.shapes.iter().map(|shape| Shape {
        price_micros_per_h: per_calendar_h(shape.price_micros_per_h, now.speed),
        ..shape.clone()
    });
    let outlooks = settings.services.iter().map(|one| {
        let observed_per_s = observed_per_s.get(&one.service.name).copied().unwrap_or(0.0);
        let forecast = demand.pools.iter().find(|pool| pool.pool == one.service.name);
        let step_s = i64::from(config.step_s);
        let first_step = match one.scaling {
            Scaling::Reactive { .. } => (now.calendar_s as i64).div_euclid(step_s),
            Scaling::Forecast => demand.first_step,
        };
        let first_step_s = (first_step * step_s).unsigned_abs();
        let steps = match one.scaling {
            Scaling::Reactive { target } => {
                vec![vec![observed_per_s / target; LEVELS.len()]; config.forecast.horizon_steps]
            }
            Scaling::Forecast => {
                let headroom = headroom(&one.service.name);
                let rows = forecast.iter().flat_map(|pool| &pool.steps);
                rows.map(|row| row.iter().map(|quantile| quantile * headroom).collect()).collect()
            }
        };
        let outlook = Outlook { observed_per_s, first_step_s, levels: LEVELS.to_vec(), steps };
        (one.service.name.clone(), covered(&one.service.name, outlook))
    });
    let mut fleet = Fleet::count_paid(instances, |one| drains.left_ms(settings, one, now));
    surplus.take_out(&mut fleet);
    let inputs = CapacityInputs {
        now_s: now.calendar_s.max(0.0) as u64,
        step_s: config.step_s,
        steps: config.forecast.horizon_steps,
        decide_every_s: stretched(settings.decide_every.as_secs_f64()).ceil().min(f64::from(u32::MAX)) as u32,
        services: services.collect(),
        outlooks: outlooks.collect(),
        shapes: shapes.collect(),
        retired_shapes,
        tiers: settings.tiers.clone(),
        pools: pools.collect(),
        fleet,
        latencies: settings.latencies.clone(),
        reservations,
        budgets: spending.budgets(&settings.budgets, now.calendar_s),
        maintenance,
        dwell: dwell.clone(),
    };
    with_implied_shortage(inputs, &settings.services)
}

/// Where only a share of steps says how careful to be, being short costs what a newsvendor would have it cost who leaves that
/// share: at one step in a hundred 99 times the price. It weighs the risk of interruptions and who goes first where places
/// are scarce.
fn with_implied_shortage(mut inputs: CapacityInputs, services: &[ServiceSettings]) -> CapacityInputs {
    for (place, one) in services.iter().enumerate().filter(|(_, one)| one.is_shortage_implied) {
        let Some((share, unit)) = one.short_steps_share.zip(unit(&inputs, &one.service.name)) else { continue };
        let price_micros = unit.micros_per_h / unit.serves_per_s;
        inputs.services[place].shortage_micros_per_unit_h = (price_micros * (1.0 - share) / share).ceil() as Micros;
    }
    inputs
}

/// What an hour of the calendar costs of what costs so much an hour, rounded up: money is paid for real time.
fn per_calendar_h(micros_per_h: Micros, speed: f64) -> Micros {
    if speed == 1.0 { micros_per_h } else { (micros_per_h as f64 / speed).ceil() as Micros }
}
