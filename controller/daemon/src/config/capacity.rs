//! The part `capacity`: what capacity there may be, what it costs, and what demand arrives for.
//!
//! A service is the pool that contracts name; it is declared here instead of under `pools`, and what it has ready is what
//! its instances serve. Prices are in a currency of the operator's choice, per hour.

mod demand;
mod kubernetes;
mod learning;
mod manager;
mod serving;
mod shaping;
mod supply;
mod webhook;
mod xds;

use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_plan::capacity::{BudgetScope, Latencies, Micros, PoolOffer, Service, Shape, Tier};
use forebay_plan::learning::tuner::TunerSettings;
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::{Problem, check_name, problem};
use demand::{BudgetPart, ServicePart};
use kubernetes::Declared;
use learning::PerformancePart;
pub(crate) use learning::{LearningMode, PerformanceSettings};
use manager::ManagerPart;
pub(crate) use manager::ManagerSettings;
use shaping::ShapingPart;
pub(crate) use shaping::{Prices, ShapeMode, ShapingSettings};
use supply::{CapacityPoolPart, STANDARD, ShapePart, TierPart};
use xds::XdsPart;
pub(crate) use xds::XdsSettings;

/// Most services, pools, shapes and tiers each; a plan of 1,000 services and 12 shapes takes two seconds.
const MOST: usize = 1000;
/// Highest price or limit, in the currency; in micros a thousand of them still fit 64 bits.
const MOST_MONEY: f64 = 1e10;
/// Longest lead time, dwell, drain or billing time, in seconds: a week.
const LONGEST_S: f64 = 604_800.0;

/// What capacity is planned from, as configured.
#[derive(Clone, Debug)]
pub(crate) struct CapacitySettings {
    /// Longest time between two decisions, real.
    pub(crate) decide_every: Duration,
    pub(crate) manager: ManagerSettings,
    /// Folder that endpoints are written to, one file a service; `None` where nobody asks for them.
    pub(crate) endpoints: Option<PathBuf>,
    /// Where proxies may ask for endpoints; `None` where nobody does.
    pub(crate) xds: Option<XdsSettings>,
    pub(crate) tiers: Vec<Tier>,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) pools: Vec<PoolOffer>,
    pub(crate) services: Vec<ServiceSettings>,
    pub(crate) latencies: Latencies,
    pub(crate) budgets: Vec<BudgetSettings>,
    /// How far plans follow what instances are seen to do.
    pub(crate) performance: PerformanceSettings,
    /// What becomes of sizes that are found from what they use.
    pub(crate) generated_shapes: ShapingSettings,
}

/// A service, and how much of its contracts it guarantees.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSettings {
    pub(crate) service: Service,
    /// Share of the standard rates that is covered at all times, 0 to 1. Below 1 is a declared overcommit.
    pub(crate) guaranteed_share: f64,
    /// What its need is read off.
    pub(crate) scaling: Scaling,
    /// Share of steps in which it may be short of what is offered, above 0: how much is covered follows from what was, not
    /// from the cost of being short. `None` where that cost decides.
    pub(crate) short_steps_share: Option<f64>,
    /// Whether what being short costs is to follow from that share, because nothing else says it.
    pub(crate) is_shortage_implied: bool,
    /// How often the demand of the moment is looked at, real time, where that is what it is read off; zero for every turn.
    pub(crate) look_every: Duration,
    /// How its headroom may be tuned; `None` where it is not.
    pub(crate) tuning: Option<TunerSettings>,
}

/// What a service's need is read off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Scaling {
    /// The forecast of its demand.
    #[default]
    Forecast,
    /// What is offered now, so that this share of the capacity is used: Kubernetes' horizontal autoscaler.
    Reactive { target: f64 },
}

/// A limit of money that begins anew with every period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BudgetSettings {
    pub(crate) name: String,
    pub(crate) scope: BudgetScope,
    pub(crate) limit_micros: Micros,
    pub(crate) period: Period,
}

/// Periods of the UTC calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Period {
    /// From the full hour.
    Hour,
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first.
    Month,
}

/// What capacity there may be, what it costs, and what demand arrives for. Prices are in a currency of your choice, per hour.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CapacityPart {
    /// Longest time between two decisions, in real seconds.
    #[serde(default = "five")]
    #[schemars(range(min = 0.1, max = 3600.0))]
    decide_every_s: f64,
    /// Who keeps the instances.
    manager: ManagerPart,
    /// Folder that the endpoints of each service are written to for Envoy, relative to the folder of the configuration: a file
    /// `SERVICE.json` each. Without it none are written.
    endpoints: Option<PathBuf>,
    /// Where proxies may ask for endpoints over gRPC. Without it nothing is served.
    xds: Option<XdsPart>,
    /// Classes of performance and price. The tier `standard`, with 1 for everything, is there without being declared.
    #[serde(default)]
    #[schemars(length(max = MOST))]
    tiers: Vec<TierPart>,
    /// Sizes of instance.
    #[schemars(length(max = MOST))]
    shapes: Vec<ShapePart>,
    /// Where instances come from.
    #[schemars(length(max = MOST))]
    pools: Vec<CapacityPoolPart>,
    /// What demand arrives for. A service is also a pool that contracts name.
    #[schemars(length(max = MOST))]
    services: Vec<ServicePart>,
    /// How far origins of demand are from locations, for services with a limit of latency. Within one place it is 0, and where
    /// nothing is said nothing can be served.
    #[serde(default)]
    latencies: Vec<LatencyPart>,
    /// Hard limits of money.
    #[serde(default)]
    #[schemars(length(max = MOST))]
    budgets: Vec<BudgetPart>,
    /// How far plans follow what a core is seen to do, beside what is declared.
    #[serde(default)]
    performance: PerformancePart,
    /// What becomes of sizes that instances would be cheaper in, by what they are seen to use.
    #[serde(default)]
    generated_shapes: ShapingPart,
}

fn five() -> f64 {
    5.0
}

fn one() -> f64 {
    1.0
}

/// How far a place is from another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LatencyPart {
    /// Where demand comes from, as `latency.origins` of services call it.
    from: String,
    /// Location of pools.
    to: String,
    /// Latency, in milliseconds.
    #[schemars(range(min = 0.0, max = 60_000.0))]
    ms: f64,
}

impl CapacityPart {
    /// `horizon_s` is how far ahead demand is forecast, in real seconds; `data_dir` the folder of the history.
    pub(super) fn check(self, horizon_s: f64, data_dir: &Path) -> Result<CapacitySettings, Problem> {
        let tiers = self.tiers()?;
        let shapes = listed("shapes", self.shapes, ShapePart::check, |shape| &shape.name)?;
        let pool = |part: CapacityPoolPart, at: &str| part.check(at, (&tiers, &shapes), horizon_s);
        let pools = listed("pools", self.pools, pool, |offer| &offer.pool.name)?;
        let services = listed("services", self.services, ServicePart::check, |one| &one.service.name)?;
        for (i, one) in services.iter().enumerate() {
            serving::check(&one.service, (&pools, &shapes, &tiers), &format!("capacity.services[{i}]"))?;
        }
        let mut latencies = Latencies::default();
        for (i, LatencyPart { from, to, ms }) in self.latencies.into_iter().enumerate() {
            let ms = within(format!("capacity.latencies[{i}].ms"), ms, 0.0..=60_000.0)?;
            latencies.set(from, to, ms);
        }
        let budget = |part: BudgetPart, at: &str| {
            part.check(at, &|name| pools.iter().any(|offer| offer.pool.name == name), &|tenant| {
                services.iter().any(|one| one.service.tenant.as_deref() == Some(tenant))
            })
        };
        let budgets = listed("budgets", self.budgets, budget, |budget| &budget.name)?;
        let names: Vec<&str> = services.iter().map(|one| one.service.name.as_str()).collect();
        let manager = self.manager.check(Declared { services: &names, pools: &pools, shapes: &shapes, data_dir })?;
        let decide_every_s = within("capacity.decide_every_s".to_owned(), self.decide_every_s, 0.1..=3600.0)?;
        let generated_shapes = self.generated_shapes.check(&manager)?;
        Ok(CapacitySettings {
            decide_every: Duration::from_secs_f64(decide_every_s),
            manager,
            endpoints: self.endpoints,
            xds: self.xds.map(XdsPart::check).transpose()?,
            tiers,
            shapes,
            pools,
            services,
            latencies,
            budgets,
            performance: self.performance.check()?,
            generated_shapes,
        })
    }

    /// Without any there is the standard one.
    fn tiers(&self) -> Result<Vec<Tier>, Problem> {
        let standard = Tier {
            name: STANDARD.to_owned(),
            cpu_performance: 1.0,
            memory_performance: 1.0,
            volatility_per_h: 0.0,
            price_milli: 1000,
        };
        let mut tiers = listed("tiers", self.tiers.iter().collect(), TierPart::check, |tier| &tier.name)?;
        if tiers.iter().all(|tier| tier.name != STANDARD) {
            tiers.push(standard);
        }
        Ok(tiers)
    }
}

/// Checks the parts of a list, whose names must differ.
fn listed<P, T>(
    list: &str,
    parts: Vec<P>,
    check: impl Fn(P, &str) -> Result<T, Problem>,
    name: impl Fn(&T) -> &String,
) -> Result<Vec<T>, Problem> {
    if parts.len() > MOST {
        let reason = format!("{} entries, at most {MOST} are possible", parts.len());
        return Err(problem(format!("capacity.{list}"), reason, "run several controllers, each with part of them"));
    }
    let mut checked: Vec<T> = Vec::with_capacity(parts.len());
    for (i, part) in parts.into_iter().enumerate() {
        let at = format!("capacity.{list}[{i}]");
        let next = check(part, &at)?;
        check_name(format!("{at}.name"), name(&next))?;
        if let Some(first) = checked.iter().position(|one| name(one) == name(&next)) {
            let reason = format!("{:?} is declared in capacity.{list}[{first}] already", name(&next));
            return Err(problem(format!("{at}.name"), reason, "give each a name of its own"));
        }
        checked.push(next);
    }
    Ok(checked)
}

fn within(path: String, value: f64, range: std::ops::RangeInclusive<f64>) -> Result<f64, Problem> {
    if range.contains(&value) {
        return Ok(value);
    }
    let remedy = format!("give a number from {} to {}", range.start(), range.end());
    Err(problem(path, format!("{value} is out of range"), remedy))
}

fn seconds(path: String, value: f64) -> Result<f64, Problem> {
    within(path, value, 0.0..=LONGEST_S)
}

/// A share of instances or money, exact to a thousandth.
fn factor_milli(path: String, factor: f64) -> Result<u64, Problem> {
    Ok((within(path, factor, 0.0..=1000.0)? * 1000.0).round() as u64)
}

fn micros(path: String, money: f64) -> Result<Micros, Problem> {
    Ok((within(path, money, 0.0..=MOST_MONEY)? * 1e6).round() as Micros)
}

#[cfg(test)]
mod tests;
