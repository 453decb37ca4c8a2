//! How a budget that is too small for everything is spread over time and services.
//!
//! The hard limit is kept elsewhere ([`super::admission`]); keeping it alone would spend everything on the first peak. So
//! the schedule is paced: what the floor will cost until the period ends is kept back, and where the rest is less than the
//! schedule costs, every price of the scope is raised by one factor until the quantiles that are still worth their price fit
//! (the newsvendor under a budget; Hadley and Whitin, "Analysis of Inventory Systems", 1963). What matters least is given
//! up first. A pool's budget is paced by an hourly limit instead, since demand can go to other pools: what is left by the hours
//! that are left. So a pool that is dear for a short peak only cannot save up for it within one plan; each plan finds what
//! the hours before it left over.

use crate::capacity::{Budget, BudgetScope, Micros};

use super::needs::demand_sum;
use super::schedule::{PoolMoney, Schedule};
use super::world::World;

/// Highest factor on prices.
const MAX_FACTOR: f64 = 1e9;
/// Halvings of the search for a factor, on a logarithmic scale: to within a thousandth of a percent.
const HALVINGS: u32 = 24;

/// What a budget means for the schedule.
pub(super) struct Pace {
    /// What the schedule costs until the period or the horizon ends, at present prices; micros.
    pub(super) expected: f64,
    /// What the floor costs from the end of the horizon until the period ends; micros.
    pub(super) kept: f64,
    /// What prices are multiplied by.
    pub(super) factor: f64,
}

impl Pace {
    /// What the schedule may cost; micros.
    fn allowance(&self, budget: &Budget) -> f64 {
        (budget.limit_micros.saturating_sub(budget.spent_micros) as f64 - self.kept).max(0.0)
    }
}

/// What each budget has to do with the schedule, factors not yet chosen.
pub(super) fn paces(world: &World<'_>, schedule: &Schedule) -> Vec<Pace> {
    let rates = hourly_by_service(world, schedule);
    let of = |budget: &Budget| Pace {
        expected: expected(world, schedule, &rates, budget),
        kept: kept(world, budget),
        factor: 1.0,
    };
    world.inputs.budgets.iter().map(of).collect()
}

/// Chooses the factors of budgets that bind. Returns by service what its prices are multiplied by, and by pool and step
/// what may be spent in an hour; `None` where no budget binds.
pub(super) fn choose(world: &World<'_>, schedule: &Schedule, paces: &mut [Pace]) -> Option<(Vec<f64>, PoolMoney)> {
    let rates = hourly_by_service(world, schedule);
    let mut factors = vec![1.0; world.inputs.services.len()];
    let mut money = vec![vec![f64::INFINITY; world.steps]; world.inputs.pools.len()];
    let mut binds = false;
    for (budget, pace) in world.inputs.budgets.iter().zip(paces.iter_mut()) {
        let allowance = pace.allowance(budget);
        if pace.expected <= allowance {
            continue;
        }
        binds = true;
        if let BudgetScope::Pool(name) = &budget.scope {
            let hours = steps_of(world, budget) as f64 * hour(world);
            if let Some(pool) = world.inputs.pools.iter().position(|offer| offer.pool.name == *name) {
                money[pool].iter_mut().for_each(|money| *money = allowance / hours.max(1e-9));
            }
            continue;
        }
        pace.factor = factor(world, &rates, budget, allowance, &factors);
        for (service, factor) in factors.iter_mut().enumerate() {
            *factor *= if covers(world, &budget.scope, service) { pace.factor } else { 1.0 };
        }
    }
    binds.then_some((factors, money))
}

fn hour(world: &World<'_>) -> f64 {
    f64::from(world.inputs.step_s.max(1)) / 3600.0
}

/// Steps of the schedule that begin before the budget's period ends.
fn steps_of(world: &World<'_>, budget: &Budget) -> usize {
    (0..world.inputs.steps.clamp(1, world.steps)).take_while(|step| world.begins_s(*step) < budget.ends_s).count()
}

/// Whether a service is paid from a budget wherever it runs.
fn covers(world: &World<'_>, scope: &BudgetScope, service: usize) -> bool {
    match scope {
        BudgetScope::Whole => true,
        BudgetScope::Tenant(name) => world.inputs.services[service].tenant.as_ref() == Some(name),
        BudgetScope::Pool(_) => false,
    }
}

/// By service and step: micros an hour.
fn hourly_by_service(world: &World<'_>, schedule: &Schedule) -> Vec<Vec<f64>> {
    let mut rates = vec![vec![0.0; world.steps]; world.inputs.services.len()];
    for (part, by_step) in world.parts.iter().zip(&schedule.mixes) {
        for (step, mix) in by_step.iter().enumerate() {
            let hourly = mix.iter().map(|(i, count)| f64::from(*count) * part.candidates[*i].hourly as f64);
            rates[part.service][step] += hourly.sum::<f64>();
        }
    }
    rates
}

fn expected(world: &World<'_>, schedule: &Schedule, rates: &[Vec<f64>], budget: &Budget) -> f64 {
    let steps = steps_of(world, budget);
    let hourly: f64 = if let BudgetScope::Pool(name) = &budget.scope {
        let parts = world.parts.iter().zip(&schedule.mixes);
        let mixes = parts.flat_map(|(part, by_step)| by_step.iter().take(steps).flatten().map(move |of| (part, of)));
        let costs = mixes.map(|(part, (i, count))| {
            let candidate = &part.candidates[*i];
            let is_in = world.inputs.pools[candidate.pool].pool.name == *name;
            if is_in { f64::from(*count) * candidate.hourly as f64 } else { 0.0 }
        });
        costs.sum()
    } else {
        let of = (0..rates.len()).filter(|service| covers(world, &budget.scope, *service));
        of.map(|service| rates[service].iter().take(steps).sum::<f64>()).sum()
    };
    hourly * hour(world)
}

/// What the demand observed now costs from the end of the horizon until the period ends, at the cheapest price.
fn kept(world: &World<'_>, budget: &Budget) -> f64 {
    let horizon_s = world.begins_s(world.inputs.steps.clamp(1, world.steps));
    let beyond_h = budget.ends_s.saturating_sub(horizon_s) as f64 / 3600.0;
    let of = world.parts.iter().filter(|part| covers(world, &budget.scope, part.service));
    let hourly: f64 = of
        .map(|part| {
            let price = part.candidates.iter().map(|of| of.hourly as f64 / of.units).fold(f64::INFINITY, f64::min);
            let outlook = world.inputs.outlooks.get(&world.service(part).name);
            let floor = part.share * outlook.map_or(0.0, crate::capacity::Outlook::floor_per_s);
            if price.is_finite() { price * floor } else { 0.0 }
        })
        .sum();
    hourly * beyond_h
}

/// The least factor at which what is still worth its price fits `allowance`.
fn factor(world: &World<'_>, rates: &[Vec<f64>], budget: &Budget, allowance: f64, factors: &[f64]) -> f64 {
    let steps = steps_of(world, budget);
    let of: Vec<usize> = (0..rates.len()).filter(|service| covers(world, &budget.scope, *service)).collect();
    // What a unit per second costs is taken from the schedule, so that rounding and tiers are in it.
    let unit_costs: Vec<f64> = of
        .iter()
        .map(|service| {
            let demand = demand_sum(world, *service, 1.0, steps);
            let paid: f64 = rates[*service].iter().take(steps).sum::<f64>() * hour(world);
            if demand > 0.0 { paid / demand } else { 0.0 }
        })
        .collect();
    let cost = |factor: f64| -> f64 {
        let demands = of.iter().map(|service| demand_sum(world, *service, factor * factors[*service], steps));
        demands.zip(&unit_costs).map(|(demand, cost)| demand * cost).sum()
    };
    let (mut low, mut high) = (0.0, MAX_FACTOR.ln());
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if cost(middle.exp()) <= allowance {
            high = middle;
        } else {
            low = middle;
        }
    }
    high.exp()
}

/// Micros as reports have them.
pub(super) fn whole(micros: f64) -> Micros {
    // The cast saturates.
    micros.ceil() as Micros
}
