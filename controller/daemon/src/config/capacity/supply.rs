//! What capacity there may be: tiers, shapes and pools.

use std::collections::BTreeSet;

use forebay_plan::capacity::{Amounts, ComputeType, CostClass, Pool, PoolOffer, Shape, Tier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LONGEST_S, MOST_MONEY, factor_milli, micros, one, seconds, within};
use crate::config::file::{Problem, problem};

/// The tier of pools that name none.
pub(super) const STANDARD: &str = "standard";

/// A class of performance and price.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TierPart {
    /// Name that pools call it by.
    #[schemars(length(min = 1, max = 256))]
    name: String,
    /// Work of a core beside one of the standard tier, as a factor.
    #[serde(default = "one")]
    #[schemars(range(min = 0.01, max = 100.0))]
    cpu_performance: f64,
    /// Worth of memory beside that of the standard tier, as a factor.
    #[serde(default = "one")]
    #[schemars(range(min = 0.01, max = 100.0))]
    memory_performance: f64,
    /// Share of spot instances that are interrupted per hour, as believed before any was seen.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    volatility_per_h: f64,
    /// Price beside that of the standard tier, as a factor, exact to a thousandth.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    price_factor: f64,
}

/// Amounts of what instances are made of, at least one of them above 0.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AmountsPart {
    /// Cores.
    #[schemars(range(min = 0.0, max = 1e9))]
    cpu: f64,
    /// Memory, in MiB.
    #[schemars(range(min = 0.0, max = 1e9))]
    memory_mib: f64,
    /// Storage, in GiB.
    #[schemars(range(min = 0.0, max = 1e9))]
    storage_gib: f64,
    /// Operations of disks per second.
    #[schemars(range(min = 0.0, max = 1e9))]
    disk_iops: f64,
    /// Bandwidth of the network, in Mbit/s.
    #[schemars(range(min = 0.0, max = 1e9))]
    network_mbps: f64,
    /// GPUs.
    #[schemars(range(min = 0.0, max = 1e9))]
    gpus: f64,
}

/// A size of instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShapePart {
    /// Name of the size, such as `Small`.
    #[schemars(length(min = 1, max = 256))]
    name: String,
    /// What an instance of it has.
    offers: AmountsPart,
    /// Price of an instance in a pool without factors, in the currency per hour.
    #[schemars(range(min = 0.0, max = MOST_MONEY))]
    price_per_h: f64,
    /// Work of a core beside that of other shapes, as a factor.
    #[serde(default = "one")]
    #[schemars(range(min = 0.01, max = 100.0))]
    performance: f64,
}

/// What a pool's instances are made for.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum ComputePart {
    /// CPU-optimised or general.
    #[default]
    Cpu,
    /// Memory-optimised.
    Memory,
    /// With GPUs.
    Gpu,
}

/// How a pool's instances are paid for.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum ClassPart {
    /// Paid for whether used or not, so it is used first.
    Reserved,
    /// Cheaper, and may be interrupted.
    Spot,
    /// Paid for as long as it runs.
    #[default]
    OnDemand,
}

/// Where instances come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CapacityPoolPart {
    /// Name of the pool.
    #[schemars(length(min = 1, max = 256))]
    name: String,
    /// What its instances are made for.
    #[serde(default)]
    compute: ComputePart,
    /// Where it is, as services, latencies and clusters call the place.
    location: String,
    /// How its instances are paid for.
    #[serde(default)]
    class: ClassPart,
    /// Tier of its instances. Without it that is `standard`.
    tier: Option<String>,
    /// Most instances that it may have at once.
    max_instances: u32,
    /// Price in this pool beside the shape's, as a factor, exact to a thousandth.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    price_factor: f64,
    /// Highest that the factor may become; budgets count with it. Without it the factor stays as it is.
    #[schemars(range(min = 0.0, max = 1000.0))]
    price_factor_max: Option<f64>,
    /// Time from asking for an instance until it is ready, in real seconds, as believed before any was seen. It must lie within
    /// what is forecast.
    #[schemars(range(min = 0.0, max = LONGEST_S))]
    lead_s: f64,
    /// Least time that an instance is paid for, in seconds.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = LONGEST_S))]
    billing_min_s: f64,
    /// Shapes that it has. Without any it has all, but those with GPUs only where `compute` is `gpu`.
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
