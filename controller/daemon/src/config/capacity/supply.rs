//! What capacity there may be: tiers, shapes and pools.

use std::collections::BTreeSet;

use forebay_plan::capacity::{Amounts, ComputeType, CostClass, Pool, PoolOffer, Shape, Tier};
use serde::Deserialize;

use super::{factor_milli, micros, one, seconds, within};
use crate::config::file::{Problem, problem};

/// The tier of pools that name none.
pub(super) const STANDARD: &str = "standard";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierPart {
    name: String,
    #[serde(default = "one")]
    cpu_performance: f64,
    #[serde(default = "one")]
    memory_performance: f64,
    #[serde(default)]
    volatility_per_h: f64,
    #[serde(default = "one")]
    price_factor: f64,
}

/// Amounts as people write them.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AmountsPart {
    cpu: f64,
    memory_mib: f64,
    storage_gib: f64,
    disk_iops: f64,
    network_mbps: f64,
    gpus: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShapePart {
    name: String,
    offers: AmountsPart,
    price_per_h: f64,
    #[serde(default = "one")]
    performance: f64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ComputePart {
    #[default]
    Cpu,
    Memory,
    Gpu,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClassPart {
    Reserved,
    Spot,
    #[default]
    OnDemand,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CapacityPoolPart {
    name: String,
    #[serde(default)]
    compute: ComputePart,
    location: String,
    #[serde(default)]
    class: ClassPart,
    /// Default: the tier "standard".
    tier: Option<String>,
    max_instances: u32,
    #[serde(default = "one")]
    price_factor: f64,
    /// Highest that the factor may become; default: as it is.
    price_factor_max: Option<f64>,
    /// What is believed before anything was seen.
    lead_s: f64,
    #[serde(default)]
    billing_min_s: f64,
    /// Names of the shapes that it has; default: all, but those with GPUs only where `compute` is `gpu`.
    #[serde(default)]
    shapes: Vec<String>,
}

impl AmountsPart {
    pub(super) fn check(self, at: &str) -> Result<Amounts, Problem> {
        let amounts = [self.cpu, self.memory_mib, self.storage_gib, self.disk_iops, self.network_mbps, self.gpus];
        let names = ["cpu", "memory_mib", "storage_gib", "disk_iops", "network_mbps", "gpus"];
        for (name, amount) in names.into_iter().zip(amounts) {
            within(format!("{at}.{name}"), amount, 0.0..=1e9)?;
        }
        if amounts.iter().all(|amount| *amount == 0.0) {
            return Err(problem(at, "nothing is given", "give at least one amount, such as cpu in cores"));
        }
        let [cpu, memory_mib, storage_gib, disk_iops, network_mbps, gpus] = amounts;
        Ok(Amounts { cpu_milli: 1000.0 * cpu, memory_mib, storage_gib, disk_iops, network_mbps, gpus })
    }
}

impl TierPart {
    pub(super) fn check(part: &Self, at: &str) -> Result<Tier, Problem> {
        let performance = |name: &str, value: f64| within(format!("{at}.{name}"), value, 0.01..=100.0);
        Ok(Tier {
            name: part.name.clone(),
            cpu_performance: performance("cpu_performance", part.cpu_performance)?,
            memory_performance: performance("memory_performance", part.memory_performance)?,
            volatility_per_h: within(format!("{at}.volatility_per_h"), part.volatility_per_h, 0.0..=1.0)?,
            price_milli: factor_milli(format!("{at}.price_factor"), part.price_factor)?,
        })
    }
}

impl ShapePart {
    pub(super) fn check(self, at: &str) -> Result<Shape, Problem> {
        Ok(Shape {
            offers: self.offers.check(&format!("{at}.offers"))?,
            price_micros_per_h: micros(format!("{at}.price_per_h"), self.price_per_h)?,
            performance: within(format!("{at}.performance"), self.performance, 0.01..=100.0)?,
            name: self.name,
        })
    }
}

impl CapacityPoolPart {
    pub(super) fn check(
        self,
        at: &str,
        (tiers, shapes): (&[Tier], &[Shape]),
        horizon_s: f64,
    ) -> Result<PoolOffer, Problem> {
        let tier = self.tier.unwrap_or_else(|| STANDARD.to_owned());
        let Some(known) = tiers.iter().find(|known| known.name == tier) else {
            let remedy = "declare it under capacity.tiers, or leave the field out for the standard one";
            return Err(problem(format!("{at}.tier"), format!("no tier is called {tier:?}"), remedy));
        };
        let price_milli = factor_milli(format!("{at}.price_factor"), self.price_factor)?;
        let most = self.price_factor_max.unwrap_or(self.price_factor);
        let price_max_milli = factor_milli(format!("{at}.price_factor_max"), most)?;
        if price_max_milli < price_milli {
            let reason = format!("{most} is below price_factor");
            return Err(problem(format!("{at}.price_factor_max"), reason, "give the highest that it may become"));
        }
        let lead_s = seconds(format!("{at}.lead_s"), self.lead_s)?;
        if lead_s > horizon_s {
            let reason = format!("{lead_s} s are longer than what is forecast, {horizon_s} s");
            let remedy = "raise forecast.horizon_steps, or step_s";
            return Err(problem(format!("{at}.lead_s"), reason, remedy));
        }
        let (class, interruption_per_h) = match self.class {
            ClassPart::Reserved => (CostClass::Reserved, 0.0),
            ClassPart::Spot => (CostClass::Spot, known.volatility_per_h),
            ClassPart::OnDemand => (CostClass::OnDemand, 0.0),
        };
        let pool = Pool {
            name: self.name,
            compute: match self.compute {
                ComputePart::Cpu => ComputeType::Cpu,
                ComputePart::Memory => ComputeType::Memory,
                ComputePart::Gpu => ComputeType::Gpu,
            },
            location: self.location,
            class,
            tier,
            max_instances: self.max_instances,
            price_milli,
            lead_s,
            interruption_per_h,
        };
        let billing_min_s = seconds(format!("{at}.billing_min_s"), self.billing_min_s)?;
        let mut has = BTreeSet::new();
        for (i, name) in self.shapes.into_iter().enumerate() {
            if shapes.iter().all(|shape| shape.name != name) {
                let reason = format!("no shape is called {name:?}");
                return Err(problem(format!("{at}.shapes[{i}]"), reason, "name one of capacity.shapes"));
            }
            has.insert(name);
        }
        Ok(PoolOffer { price_max_milli, billing_min_s, shapes: has, ..PoolOffer::from(pool) })
    }
}
