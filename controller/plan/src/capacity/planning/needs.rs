//! How much capacity each part needs in each step: the quantile that pays, and what was promised or is observed.
//!
//! A newsvendor: an hour of a unit per second too few costs the service's shortage cost, one too many its price. The level
//! at which another unit is worth as much as it costs is `shortage / (shortage + price)`; the outlook's outermost levels cap
//! it. A budget that is too small raises every price by the same factor, which gives up first what matters least.
//!
//! Until what is asked for now serves, the need is never below the demand observed now: a forecast may only add to that
//! (the reactive backstop).

use crate::capacity::{Asked, CapacityInputs, CostClass, Outlook, Reservation, Service, Within};

use super::covering::{Need, put_in};
use super::world::{Part, World};

/// What every part needs.
pub(super) struct Needs {
    /// By service: the quantile level.
    pub(super) levels: Vec<f64>,
    /// By part and step.
    pub(super) by_part: Vec<Vec<Need>>,
    /// By service: whether nothing usable is known of its demand now.
    pub(super) is_blind: Vec<bool>,
}

impl Needs {
    /// `factors` are what prices are multiplied by, by service.
    pub(super) fn new(world: &World<'_>, factors: &[f64]) -> Self {
        let services = 0..world.inputs.services.len();
        let levels: Vec<f64> = services.clone().map(|service| level(world, service, factors[service])).collect();
        let demand: Vec<Vec<Option<f64>>> =
            services.map(|service| quantiles(world, service, levels[service])).collect();
        let by_part = world.parts.iter().map(|part| needs_of(world, part, &demand[part.service])).collect();
        Self { levels, by_part, is_blind: demand.iter().map(|steps| steps.iter().all(Option::is_none)).collect() }
    }

    /// Units per second that a service needs until what is asked for now serves.
    pub(super) fn now_of_service(&self, world: &World<'_>, service: usize) -> f64 {
        let window = backstop(world, service);
        world.positions_serving(service).map(|at| self.now(at, window)).sum()
    }

    /// Units per second that a service needs in the first step.
    pub(super) fn first_of_service(&self, world: &World<'_>, service: usize) -> f64 {
        world.positions_serving(service).map(|at| self.now(at, 1)).sum()
    }

    /// Most units per second that a part needs in the first `window` steps.
    pub(super) fn now(&self, part: usize, window: usize) -> f64 {
        self.by_part[part].iter().take(window).map(|need| need.units).fold(0.0, f64::max)
    }
}

/// The quantile level at which another unit is worth its price.
fn level(world: &World<'_>, service: usize, factor: f64) -> f64 {
    let of = &world.inputs.services[service];
    let candidates = world.parts_serving(service).iter().flat_map(|part| &part.candidates);
    let bought = candidates.filter(|of| world.inputs.pools[of.pool].pool.class != CostClass::Reserved);
    let price = bought.map(|of| of.ratio(0.0)).fold(f64::INFINITY, f64::min);
    let price = if price.is_finite() { price * factor } else { 0.0 };
    let short = of.shortage_micros_per_unit_h as f64;
    if short + price > 0.0 { short / (short + price) } else { 0.0 }
}

/// The quantile of each step, in units per second. Steps of a plan begin now and those of an outlook with the clock, so a
/// step of the plan may lie in two rows: it needs what the higher one does, else capacity would come late by up to a step.
/// Beyond its last row an outlook stays as it is there.
fn quantiles(world: &World<'_>, service: usize, level: f64) -> Vec<Option<f64>> {
    let inputs: &CapacityInputs = world.inputs;
    let Some(outlook) = inputs.outlooks.get(&inputs.services[service].name) else {
        return vec![None; world.steps];
    };
    let mut last = None;
    let mut of_step = |step| {
        let ends_s = world.begins_s(step + 1) - 1;
        let rows = [world.begins_s(step), ends_s].map(|at_s| outlook.quantile_per_s(at_s, inputs.step_s, level));
        last = rows.into_iter().flatten().reduce(f64::max).or(last);
        last
    };
    (0..world.steps).map(&mut of_step).collect()
}

fn needs_of(world: &World<'_>, part: &Part, demand: &[Option<f64>]) -> Vec<Need> {
    let service = world.service(part);
    let observed = world.inputs.outlooks.get(&service.name).map_or(0.0, Outlook::floor_per_s);
    let backstop = backstop(world, part.service);
    let reservations: Vec<&Reservation> =
        world.inputs.reservations.iter().filter(|of| of.service == service.name).collect();
    let least = f64::from(service.min_instances) * part.share;
    let mut needs: Vec<Need> = (0..world.steps)
        .map(|step| {
            let units = backed(demand[step], observed, step, backstop);
            // A share of two instances is one or two; rounding up keeps the sum at least what was asked for.
            Need { units: part.share * units, count: (least - 1e-9).ceil().max(0.0) as u32, promised: Vec::new() }
        })
        .collect();
    for reservation in reservations {
        promise(world, part, reservation, &mut needs);
    }
    needs
}

/// Adds a reservation to the steps that it touches.
fn promise(world: &World<'_>, part: &Part, reservation: &Reservation, needs: &mut [Need]) {
    let touches =
        |step: usize| reservation.from_s < world.begins_s(step + 1) && reservation.to_s > world.begins_s(step);
    let of = world.service(part);
    let counted = |(part, i): &(&Part, usize)| part.candidates[*i].counted;
    let (instances, units) = match reservation.asked {
        Asked::Instances(count) => {
            let found = cheapest_match(world, of, reservation);
            let units = found.as_ref().map_or(0.0, |found| f64::from(count) * counted(found));
            (found.map(|(part, i)| (part, i, count)), units)
        }
        // What may serve it anywhere is chosen with everything else; what may not is so many instances there.
        Asked::UnitsPerS(units) if !reservation.within.is_anything() && units.is_finite() && units > 0.0 => {
            let found = cheapest_match(world, of, reservation).filter(|found| counted(found) > 0.0);
            // The cast saturates.
            (found.map(|found| (found.0, found.1, (units / counted(&found) - 1e-9).ceil() as u32)), units)
        }
        Asked::UnitsPerS(units) => (None, units),
    };
    for (_, need) in needs.iter_mut().enumerate().filter(|(step, _)| touches(*step)) {
        match (&reservation.asked, instances) {
            (_, Some((chosen, i, count))) if std::ptr::eq(chosen, part) => {
                need.units += if reservation.is_on_top { units } else { 0.0 };
                put_in(&mut need.promised, i, count);
            }
            (Asked::UnitsPerS(_), None) if reservation.within.is_anything() && units.is_finite() && units > 0.0 => {
                let units = units * part.share;
                need.units = if reservation.is_on_top { need.units + units } else { need.units.max(units) };
            }
            _ => {}
        }
    }
}

/// The cheapest candidate that a reservation allows, and the part that it serves. One of spot would need as much again beside
/// it where the service may not be on spot alone, so it comes last there.
pub(super) fn cheapest_match<'a>(
    world: &'a World<'_>,
    service: &Service,
    reservation: &Reservation,
) -> Option<(&'a Part, usize)> {
    let Within { pool, location, shape } = &reservation.within;
    let parts = world.parts.iter().filter(|part| world.service(part).name == service.name);
    let all = parts.flat_map(|part| part.candidates.iter().enumerate().map(move |(i, of)| (part, i, of)));
    let matches = all.filter(|(_, _, of)| {
        let in_pool = &world.inputs.pools[of.pool].pool;
        pool.as_ref().is_none_or(|name| *name == in_pool.name)
            && location.as_ref().is_none_or(|name| *name == in_pool.location)
            && shape.as_ref().is_none_or(|name| *name == world.inputs.shapes[of.shape].name)
            && in_pool.max_instances > 0
    });
    // Per instance or per unit: who names no shape wants capacity, not boxes.
    let is_boxes = shape.is_some() && matches!(reservation.asked, Asked::Instances(_));
    let dear = |of: &super::world::Candidate| if is_boxes { of.cost } else { of.ratio(0.0) };
    let is_last = |part: &Part, of: &super::world::Candidate| of.is_spot && part.spot_share < 1.0;
    let order = |(part, _, of): &(&Part, usize, &super::world::Candidate)| (is_last(part, of), dear(of));
    let cheapest = matches.map(|found| (order(&found), found));
    let cheapest = cheapest.min_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    cheapest.map(|(_, (part, i, _))| (part, i))
}

/// What a service needs over the first `steps` together, in units per second, were its prices `factor` times as high.
pub(super) fn demand_sum(world: &World<'_>, service: usize, factor: f64, steps: usize) -> f64 {
    let of = &world.inputs.services[service];
    let observed = world.inputs.outlooks.get(&of.name).map_or(0.0, Outlook::floor_per_s);
    let demand = quantiles(world, service, level(world, service, factor));
    let backstop = backstop(world, service);
    let step = |(step, demand): (usize, Option<f64>)| backed(demand, observed, step, backstop);
    demand.into_iter().take(steps).enumerate().map(step).sum()
}

/// Steps until what is asked for now serves, wherever it is asked for.
fn backstop(world: &World<'_>, service: usize) -> usize {
    world
        .parts_serving(service)
        .iter()
        .flat_map(|part| &part.candidates)
        .map(|candidate| candidate.window)
        .max()
        .unwrap_or(1)
}

/// Forecast demand, never below what is observed now until what is asked for now serves, nor where there is no forecast.
fn backed(forecast: Option<f64>, observed: f64, step: usize, backstop: usize) -> f64 {
    match forecast {
        Some(forecast) if step >= backstop => forecast,
        forecast => forecast.unwrap_or(0.0).max(observed),
    }
}
