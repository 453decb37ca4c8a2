//! Where plans of quotas and plans of capacity meet: what capacity is to be ready for, and what is ready to be lent.
//!
//! The demand of each provisioned pool, step by step, as a distribution:
//! the sum of what its contracts may use. A contract counts with at least the guaranteed share of its standard rate, whether
//! it is used or not, and with no more than its standard rate and `shadow_max`: so a guarantee is covered at all times, and no
//! flood buys capacity. Between these two lies the forecast. How the keys of a pool move together is taken from what their
//! forecasters remember ([`Paths`]), so that a pool is not provisioned for the day on which all are high at once, unless they
//! are. Keys whose forecasts do not begin with the others', that are forecast from similar keys or not at all, are added
//! at the same quantile: the cautious answer. A key whose forecasts are worse than a naive one counts with the naive one,
//! which is what came last and how far that is usually off: where no forecast helps, scaling is reactive.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use forebay_forecast::{Draws, EventForecast, Forecaster, Paths};
use forebay_plan::{Contract, ReadyCapacity};

use super::Planner;
use super::demand::KeyDemand;
use crate::config::Config;
use crate::state::lock;

/// The quantiles of demand that capacity is planned by, ascending. Those that services are followed by are among them
/// ([`QUANTILES`](forebay_plan::simulation::QUANTILES)), so that none is read between two.
pub(crate) const LEVELS: [f64; 9] = [0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.998, 0.999];
/// Paths of a sum: the highest level rests on the highest of them. At 1,000 keys and 12 steps they take about a second.
const PATHS: usize = 500;
/// Real time between two times that the demand of pools is drawn within a step. Fits end one by one, hundreds in a row after a
/// start, and each would cost that second; capacity takes longer to come than to be asked for so much later.
const REDRAWN_AFTER: Duration = Duration::from_secs(10);
const SEED: u64 = 1;

/// The demand of one pool's contracts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PoolDemand {
    pub(crate) pool: String,
    /// By step from [`CapacityDemand::first_step`]: units per real second, one per level of [`LEVELS`].
    pub(crate) steps: Vec<[f64; LEVELS.len()]>,
    /// What came in the step before, counted as forecasts are, in units per real second; NaN where it is not known as a whole.
    pub(crate) last_per_s: f64,
    /// What of it is guaranteed whether it is used or not, units per real second.
    pub(crate) guaranteed_per_s: f64,
    /// Keys without any forecast, which count with what came last.
    pub(crate) unforecast_keys: usize,
}

/// The newest of it, of all pools that are provisioned.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CapacityDemand {
    /// The calendar step that the first stands for.
    pub(crate) first_step: i64,
    pub(crate) pools: Vec<PoolDemand>,
}

/// Between what a contract counts with, in units per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) least_per_s: f64,
    pub(crate) most_per_s: f64,
}

impl Bounds {
    /// Of a contract of which `guaranteed_share` is covered at all times, 0 to 1.
    pub(crate) fn of(contract: &Contract, guaranteed_share: f64) -> Self {
        let rate_per_s = contract.rate_milli_per_s as f64 / 1000.0;
        let shadow_max_per_s = contract.shadow_max_milli_per_s as f64 / 1000.0;
        Self { least_per_s: guaranteed_share * rate_per_s, most_per_s: rate_per_s + shadow_max_per_s }
    }

    pub(crate) fn hold(self, demand_per_s: f64) -> f64 {
        demand_per_s.max(self.least_per_s).min(self.most_per_s)
    }
}

/// A key with its forecast from the first planned step on.
struct Member<'a> {
    forecaster: &'a Forecaster,
    forecast: &'a EventForecast,
    /// Leads before the first planned step.
    passed: usize,
    bounds: Bounds,
}

impl Member<'_> {
    fn quantile(&self, lead: usize, p: f64) -> f64 {
        let step = &self.forecast.steps[lead];
        let is_worse = self.forecaster.is_worse_than_naive();
        self.bounds.hold(if is_worse { step.plain.naive().quantile(p) } else { step.quantile(p) })
    }
}

/// When the demand of pools was drawn last, in steady time, and whether forecasts changed since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drawn {
    at: Option<Duration>,
    pub(super) is_stale: bool,
}

impl Planner {
    /// Draws again what fits have changed, where it was not just drawn.
    pub(super) fn redraw_capacity(&mut self, step: i64, now: Duration) {
        if self.drawn.is_stale && self.drawn.at.is_none_or(|at| now.saturating_sub(at) >= REDRAWN_AFTER) {
            self.look_at_capacity(step);
        }
    }

    /// Notes what capacity is to be ready for from `step` on.
    pub(super) fn look_at_capacity(&mut self, step: i64) {
        self.drawn = Drawn { at: Some(self.shared.clock.steady_now()), is_stale: false };
        let Some(capacity) = &self.shared.config.capacity else { return };
        let begun = Instant::now();
        let config = &self.shared.config;
        let before = lock(&self.shared.capacity.demand).clone();
        // Of the step before a start only a part was seen.
        let is_known = self.planned_step.is_some() && self.open_step >= step;
        let of_pool = |pool: &str, guaranteed_share: f64| {
            let keys = self.keys.iter().zip(&config.contracts);
            let keys = keys.filter(|(_, contract)| contract.pool.as_deref() == Some(pool));
            let bounded: Vec<(&KeyDemand, Bounds)> =
                keys.map(|(key, contract)| (key, Bounds::of(contract, guaranteed_share))).collect();
            let told = before.pools.iter().find(|told| told.pool == pool && before.first_step == step);
            let last_per_s = match told {
                // What was told of a step stands, whatever fits have changed since.
                Some(told) => told.last_per_s,
                None if is_known => last_per_s(&bounded, step - 1),
                None => f64::NAN,
            };
            let ahead = Ahead { step, horizon_steps: config.forecast.horizon_steps, step_s: i64::from(config.step_s) };
            PoolDemand { last_per_s, ..demand_of(pool, &bounded, ahead) }
        };
        let pools = capacity.services.iter().map(|one| of_pool(&one.service.name, one.guaranteed_share));
        *lock(&self.shared.capacity.demand) = CapacityDemand { first_step: step, pools: pools.collect() };
        self.shared.metrics.capacity.demand_duration.observe(begun.elapsed().as_secs_f64());
    }
}

impl Planner {
    /// The pools that contracts name with what they have ready, and by pool what they have less of in some slot from `step` on.
    ///
    /// A provisioned pool has in the running slot what is ready now, and in a later one the least that the plan in force
    /// expects between its begin and that of the slot before: capacity that comes a little late is not lent yet. What is
    /// promised and not covered counts as if it were ready: an operator who declares overcommit wants it sold.
    pub(super) fn ready_pools(&mut self, step: i64, slots: usize) -> (Vec<ReadyCapacity>, BTreeMap<String, Vec<u64>>) {
        let shared = &self.shared;
        let ready = shared.capacity.ready();
        self.ready_version = ready.version;
        let step_s = f64::from(shared.config.step_s);
        let now = shared.now();
        // Steps of the plan that have passed since it was made, at the begin of the running slot.
        let since = shared.clock.to_real(step_s).as_secs_f64();
        let passed_s = now.steady.saturating_sub(ready.at).as_secs_f64()
            - shared.clock.to_real((now.calendar_s - step as f64 * step_s).max(0.0)).as_secs_f64();
        let mut reduced = BTreeMap::new();
        let of_pool = |pool: &ReadyCapacity| match self.instances.ready_capacity(&pool.name) {
            Ok(declared) if !ready.milli_per_s.contains_key(&pool.name) => Some(declared),
            Ok(_) => {
                let by_step = &ready.milli_per_s[&pool.name];
                let at = |slot: usize| {
                    let from = (passed_s / since + slot as f64).max(0.0);
                    let [first, last] = [from.floor(), from.ceil()].map(|step| (step as usize).min(by_step.len() - 1));
                    if slot == 0 { by_step[0] } else { by_step[first].min(by_step[last]) }
                };
                if by_step.is_empty() {
                    return None;
                }
                let overcommitted = overcommitted_milli_per_s(&shared.config, &pool.name);
                let by_slot: Vec<u64> = (0..slots).map(|slot| at(slot).saturating_add(overcommitted)).collect();
                let ready_milli_per_s = by_slot.iter().copied().max().unwrap_or(0);
                reduced.insert(pool.name.clone(), by_slot);
                Some(ReadyCapacity { name: pool.name.clone(), ready_milli_per_s })
            }
            Err(error) => {
                tracing::error!(pool = pool.name, %error, "the pool lends nothing");
                None
            }
        };
        let pools = shared.config.pools.iter().filter_map(of_pool).collect();
        (pools, reduced)
    }

    /// Whether provisioned pools have other capacity ready than the last plan knew.
    pub(super) fn ready_has_changed(&self) -> bool {
        self.shared.capacity.ready_version() != self.ready_version
    }
}

/// What came in a step, of all keys together; NaN where nothing is known of any.
fn last_per_s(keys: &[(&KeyDemand, Bounds)], step: i64) -> f64 {
    let is_known = keys.iter().any(|(key, _)| key.raw(step).is_some());
    let sum = keys.iter().map(|(key, bounds)| bounds.hold(key.raw(step).unwrap_or(f64::NAN))).sum();
    if is_known { sum } else { f64::NAN }
}

/// The steps that are looked at.
#[derive(Clone, Copy)]
struct Ahead {
    step: i64,
    horizon_steps: usize,
    step_s: i64,
}

/// The demand ahead; of what came last it knows nothing.
fn demand_of(pool: &str, keys: &[(&KeyDemand, Bounds)], ahead: Ahead) -> PoolDemand {
    let Ahead { step, horizon_steps, step_s } = ahead;
    let mut members = Vec::new();
    let mut others = Vec::new();
    for (key, bounds) in keys {
        let fitted = key.fitted.as_ref().zip(key.ahead.as_ref());
        let passed = |forecast: &EventForecast| usize::try_from(step - forecast.first_s.div_euclid(step_s)).ok();
        match fitted.and_then(|(fitted, forecast)| Some((fitted, forecast, passed(forecast)?))) {
            Some((fitted, forecast, passed)) if forecast.steps.len() >= passed + horizon_steps => {
                members.push(Member { forecaster: &fitted.forecaster, forecast, passed, bounds: *bounds });
            }
            _ => others.push((*key, *bounds)),
        }
    }
    // Remembered moments are looked up by lead, so only keys whose leads mean the same steps are drawn together.
    let passed = most_common(members.iter().map(|member| member.passed));
    let (members, late): (Vec<_>, Vec<_>) = members.into_iter().partition(|member| Some(member.passed) == passed);
    let forecasters: Vec<&Forecaster> = members.iter().map(|member| member.forecaster).collect();
    let passed = passed.unwrap_or(0);
    let drawn = Paths::of_pool_as(
        &forecasters,
        passed + horizon_steps,
        Draws { count: PATHS, seed: SEED },
        |member, lead, p| members[member].quantile(lead, p),
    );
    let sum = |ahead: usize, p: f64| -> f64 {
        let drawn = match members.as_slice() {
            // One alone moves with nobody: its quantiles are known without drawing.
            [only] => Some(only.quantile(only.passed + ahead, p)),
            _ => drawn.as_ref().ok().and_then(|paths| paths.mean_quantile(passed + ahead..passed + ahead + 1, p)),
        };
        let late = late.iter().map(|one| one.quantile(one.passed + ahead, p));
        let others = others.iter().map(|(key, bounds)| bounds.hold(key.quantile_without_paths(step + ahead as i64, p)));
        drawn.unwrap_or(0.0) + late.sum::<f64>() + others.sum::<f64>()
    };
    let steps = (0..horizon_steps).map(|ahead| LEVELS.map(|p| sum(ahead, p))).collect();
    let unforecast_keys = others.iter().filter(|(key, _)| key.bound(step).is_none()).count();
    let guaranteed_per_s = keys.iter().map(|(_, bounds)| bounds.least_per_s).sum();
    PoolDemand { pool: pool.to_owned(), steps, last_per_s: f64::NAN, guaranteed_per_s, unforecast_keys }
}

/// What of the standard rates of a pool's contracts is promised without being covered: the declared overcommit.
fn overcommitted_milli_per_s(config: &Config, pool: &str) -> u64 {
    let service = config.capacity.iter().flat_map(|capacity| &capacity.services).find(|one| one.service.name == pool);
    let share = service.map_or(0.0, |service| 1.0 - service.guaranteed_share);
    let of_pool = config.contracts.iter().filter(|contract| contract.pool.as_deref() == Some(pool));
    (of_pool.map(|contract| contract.rate_milli_per_s as f64).sum::<f64>() * share) as u64
}

/// The value that occurs most often; of equals the lowest.
fn most_common(values: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0_usize) += 1;
    }
    counts.into_iter().max_by_key(|&(value, count)| (count, std::cmp::Reverse(value))).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_services_are_followed_by_is_drawn_and_not_read_between_two() {
        for p in forebay_plan::simulation::QUANTILES {
            assert!(LEVELS.contains(&p), "{p}");
        }
        assert!(LEVELS.is_sorted());
    }

    #[test]
    fn a_contract_counts_between_its_guarantee_and_what_it_may_use() {
        let contract = Contract {
            key: forebay_plan::Key::new("shop", "requests"),
            rate_milli_per_s: 10_000,
            burst: 10,
            shadow_max_milli_per_s: 5_000,
            pool: None,
            weight: 1,
        };
        let bounds = Bounds::of(&contract, 0.5);
        assert_eq!([0.0, 7.0, 90.0].map(|demand| bounds.hold(demand)), [5.0, 7.0, 15.0]);
        // A demand that is not known asks for what is guaranteed.
        assert_eq!(bounds.hold(f64::NAN), 5.0);
    }

    #[test]
    fn of_equally_common_values_the_lowest() {
        assert_eq!(most_common([2, 0, 1, 1, 0].into_iter()), Some(0));
        assert_eq!(most_common([2, 2, 1].into_iter()), Some(2));
        assert_eq!(most_common(std::iter::empty()), None);
    }
}
