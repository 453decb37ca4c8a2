//! Inputs to plan: how much shadow each key gets in each slot, and the reason in words a person can act on.
//!
//! Shadow need of a slot = what the key's quantile asks above the standard rate, at most `shadow_max`. A pool lends out
//! only what it has promised to nobody: ready capacity minus *all* standard rates of its contracts, whether their
//! owners are busy or not; a guarantee is never sold twice. When the needs of a slot exceed that, weighted max-min
//! fairness shares it.
//!
//! What it deliberately does not do: cut a contract. Standard rates that alone exceed their pool are a finding of
//! [`crate::check`], and the pool then has no shadow to give; every contract stands as it was signed.

use std::collections::BTreeMap;

use crate::fairness::{Claim, max_min_shares};
use crate::inputs::{Contract, Demand, Inputs, Key, ReadyCapacity};

/// A token bucket's parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Refill, in milli-units per second.
    pub rate_milli_per_s: u64,
    /// Depth, in units.
    pub burst: u64,
}

/// Pre-allocated capacity for one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// As in [`crate::SlotTime`].
    pub id: u64,
    /// Real length in milliseconds.
    pub length_ms: u32,
    /// Units to spend in it.
    pub amount: u64,
    /// How fast they may be spent; the rate is what was taken from the pool.
    pub pace: Limit,
}

/// What a key gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose it is.
    pub key: Key,
    /// The standard bucket.
    pub standard: Limit,
    /// The forecast behind the slots; 0 without one.
    pub forecast_version: u64,
    /// The shadow schedule, ascending; slots without shadow are left out.
    pub slots: Vec<Slot>,
}

/// Mesh-wide totals per key, and why they are what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// First planned slot; the rotation of whole tokens turns with it.
    pub first_slot_id: u64,
    /// One grant per contract, in the order of the contracts.
    pub grants: Vec<Grant>,
    /// To be read by people.
    pub report: PlanReport,
}

/// Why a key has the shadow that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All that the forecast asked for.
    Granted,
    /// Less than the forecast asked for: the contract's `shadow_max` ends there.
    LimitedByShadowMax,
    /// Less than the forecast asked for: the pool is short in at least one slot.
    PoolShort,
    /// The pool's standard rates use up or exceed its capacity.
    PoolSoldOut,
    /// The forecast stays within the standard rate.
    StandardSuffices,
    /// Forecasts of this key are worse than a naive one.
    WorseThanNaive,
    /// No forecast, and why.
    NoForecast(String),
}

impl Reason {
    /// A short name for logs, answers and metric labels.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::LimitedByShadowMax => "limited_by_shadow_max",
            Self::PoolShort => "pool_short",
            Self::PoolSoldOut => "pool_sold_out",
            Self::StandardSuffices => "standard_suffices",
            Self::WorseThanNaive => "worse_than_naive",
            Self::NoForecast(_) => "no_forecast",
        }
    }
}

/// One key's line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReport {
    /// The key.
    pub key: Key,
    /// Why.
    pub reason: Reason,
    /// Highest shadow rate that the forecast asked for in a slot, before any limit; milli-units per second.
    pub peak_need_milli_per_s: u64,
    /// Highest shadow rate granted in a slot; milli-units per second.
    pub peak_granted_milli_per_s: u64,
    /// Whether it gets less than it asked for because of its pool already in the first slot: more ready capacity would
    /// help it now.
    pub is_short_now: bool,
}

/// The report of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// One line per contract, in the order of the contracts.
    pub keys: Vec<KeyReport>,
}

impl PlanReport {
    /// How many keys there are per reason, by [`Reason::name`].
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for key in &self.keys {
            *counts.entry(key.reason.name()).or_insert(0) += 1;
        }
        counts
    }
}

/// Makes the plan. Total: whatever the inputs, there is a plan, and [`crate::check`] says what is wrong with them.
pub fn plan(inputs: &Inputs) -> Plan {
    let spare = spare_by_pool(inputs);
    let by_slot: Vec<Vec<u64>> =
        spare.iter().enumerate().map(|(slot, spare)| shadow_rates(inputs, spare, slot)).collect();
    let rates_of = |i: usize| -> Vec<u64> { by_slot.iter().map(|rates| rates[i]).collect() };
    let contracts = || inputs.contracts.iter().enumerate().map(|(i, contract)| (contract, rates_of(i)));
    let grants = contracts().map(|(contract, rates)| grant(inputs, contract, &rates)).collect();
    let keys = contracts().map(|(contract, rates)| explain(inputs, &spare, contract, &rates)).collect();
    Plan { first_slot_id: inputs.slots.first().map_or(0, |slot| slot.id), grants, report: PlanReport { keys } }
}

/// The shadow rate of each contract in one slot, in milli-units per second.
fn shadow_rates(inputs: &Inputs, spare: &Spare<'_>, slot: usize) -> Vec<u64> {
    let mut rates = vec![0_u64; inputs.contracts.len()];
    let mut by_pool: BTreeMap<&str, Vec<(usize, Claim)>> = BTreeMap::new();
    for (i, contract) in inputs.contracts.iter().enumerate() {
        let need = need_milli_per_s(inputs, contract, slot).min(contract.shadow_max_milli_per_s);
        match contract.pool.as_deref() {
            None => rates[i] = need,
            Some(pool) => by_pool.entry(pool).or_default().push((i, Claim { need, weight: contract.weight })),
        }
    }
    for (pool, members) in by_pool {
        let claims: Vec<Claim> = members.iter().map(|(_, claim)| *claim).collect();
        let shares = max_min_shares(&claims, spare.get(pool).copied().unwrap_or(0));
        for ((i, _), share) in members.iter().zip(shares) {
            rates[*i] = share;
        }
    }
    rates
}

/// What each pool has in a slot that no contract was promised, in milli-units per second.
type Spare<'a> = BTreeMap<&'a str, u64>;

/// By slot.
fn spare_by_pool(inputs: &Inputs) -> Vec<Spare<'_>> {
    let mut promised: BTreeMap<&str, u64> = BTreeMap::new();
    for contract in &inputs.contracts {
        if let Some(pool) = contract.pool.as_deref() {
            let sum = promised.entry(pool).or_default();
            *sum = sum.saturating_add(contract.rate_milli_per_s);
        }
    }
    let spare = |pool: &ReadyCapacity, slot| {
        let promised = promised.get(pool.name.as_str()).copied().unwrap_or(0);
        inputs.ready_milli_per_s(pool, slot).saturating_sub(promised)
    };
    let of_slot = |slot| inputs.pools.iter().map(|pool| (pool.name.as_str(), spare(pool, slot))).collect();
    (0..inputs.slots.len()).map(of_slot).collect()
}

/// What the forecast asks above the standard rate in a slot, in milli-units per second.
fn need_milli_per_s(inputs: &Inputs, contract: &Contract, slot: usize) -> u64 {
    let Some(Demand::Forecast { upper_per_s, .. }) = inputs.demand.get(&contract.key) else {
        return 0;
    };
    match upper_per_s.get(slot) {
        // The cast saturates, so an absurdly large forecast meets `shadow_max` and nothing worse.
        Some(upper) if upper.is_finite() && *upper > 0.0 => {
            ((upper * 1000.0).ceil() as u64).saturating_sub(contract.rate_milli_per_s)
        }
        _ => 0,
    }
}

fn grant(inputs: &Inputs, contract: &Contract, rates: &[u64]) -> Grant {
    let slots = inputs.slots.iter().zip(rates).filter_map(|(time, &rate_milli_per_s)| {
        let amount = u128::from(rate_milli_per_s) * u128::from(time.length_ms) / 1_000_000;
        let amount = u64::try_from(amount).unwrap_or(u64::MAX);
        if amount == 0 {
            return None;
        }
        let burst = (rate_milli_per_s / 1000).max(1).min(amount);
        Some(Slot { id: time.id, length_ms: time.length_ms, amount, pace: Limit { rate_milli_per_s, burst } })
    });
    let forecast_version = match inputs.demand.get(&contract.key) {
        Some(Demand::Forecast { version, .. }) => *version,
        _ => 0,
    };
    Grant {
        key: contract.key.clone(),
        standard: Limit { rate_milli_per_s: contract.rate_milli_per_s, burst: contract.burst },
        forecast_version,
        slots: slots.collect(),
    }
}

/// Whether a key gets less in a slot than its forecast asked for within its `shadow_max`: then its pool is short.
fn is_cut(need_milli_per_s: u64, rate_milli_per_s: u64, max_milli_per_s: u64) -> bool {
    rate_milli_per_s < need_milli_per_s.min(max_milli_per_s)
}

fn explain(inputs: &Inputs, spare: &[Spare<'_>], contract: &Contract, rates: &[u64]) -> KeyReport {
    let needs: Vec<u64> = (0..inputs.slots.len()).map(|slot| need_milli_per_s(inputs, contract, slot)).collect();
    let reason = match inputs.demand.get(&contract.key) {
        None => Reason::NoForecast("no forecast was made".to_owned()),
        Some(Demand::Unknown { why }) => Reason::NoForecast(why.clone()),
        Some(Demand::WorseThanNaive) => Reason::WorseThanNaive,
        Some(Demand::Forecast { .. }) if needs.iter().all(|need| *need == 0) => Reason::StandardSuffices,
        Some(Demand::Forecast { .. }) => {
            let max = contract.shadow_max_milli_per_s;
            let cut = needs.iter().zip(rates).zip(spare).filter(|((need, rate), _)| is_cut(**need, **rate, max));
            let mut has_spare = cut.map(|(_, spare)| {
                contract.pool.as_deref().is_none_or(|pool| spare.get(pool).is_some_and(|spare| *spare > 0))
            });
            if let Some(first_has) = has_spare.next() {
                if first_has || has_spare.any(|has| has) { Reason::PoolShort } else { Reason::PoolSoldOut }
            } else if needs.iter().any(|need| *need > max) {
                Reason::LimitedByShadowMax
            } else {
                Reason::Granted
            }
        }
    };
    KeyReport {
        key: contract.key.clone(),
        reason,
        is_short_now: needs
            .iter()
            .zip(rates)
            .next()
            .is_some_and(|(need, rate)| is_cut(*need, *rate, contract.shadow_max_milli_per_s)),
        peak_need_milli_per_s: needs.into_iter().max().unwrap_or(0),
        peak_granted_milli_per_s: rates.iter().copied().max().unwrap_or(0),
    }
}
