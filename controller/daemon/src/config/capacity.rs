//! The part `capacity`: what capacity there may be, what it costs, and what demand arrives for.
//!
//! A service is the pool that contracts name; it is declared here instead of under `pools`, and what it has ready is what
//! its instances serve. Prices are in a currency of the operator's choice, per hour.

mod demand;
mod kubernetes;
mod manager;
mod supply;
mod webhook;
mod xds;

use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_plan::capacity::{BudgetScope, Latencies, Micros, PoolOffer, Service, Shape, Tier};
use forebay_plan::learning::tuner::TunerSettings;
use serde::Deserialize;

use super::file::{Problem, check_name, problem};
use demand::{BudgetPart, ServicePart};
use kubernetes::Declared;
use manager::ManagerPart;
pub(crate) use manager::ManagerSettings;
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
}

/// A service, and how much of its contracts it guarantees.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSettings {
    pub(crate) service: Service,
    /// Share of the standard rates that is covered at all times, 0 to 1. Below 1 is a declared overcommit.
    pub(crate) guaranteed_share: f64,
    /// What its need is read off.
    pub(crate) scaling: Scaling,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Period {
    Hour,
    Day,
    /// From Monday.
    Week,
    Month,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CapacityPart {
    #[serde(default = "five")]
    decide_every_s: f64,
    manager: ManagerPart,
    endpoints: Option<PathBuf>,
    xds: Option<XdsPart>,
    #[serde(default)]
    tiers: Vec<TierPart>,
    shapes: Vec<ShapePart>,
    pools: Vec<CapacityPoolPart>,
    services: Vec<ServicePart>,
    #[serde(default)]
    latencies: Vec<LatencyPart>,
    #[serde(default)]
    budgets: Vec<BudgetPart>,
}

fn five() -> f64 {
    5.0
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LatencyPart {
    from: String,
    to: String,
    ms: f64,
}

impl CapacityPart {
    /// `horizon_s` is how far ahead demand is forecast, in real seconds; `data_dir` the folder of the history.
    pub(super) fn check(self, horizon_s: f64, data_dir: &Path) -> Result<CapacitySettings, Problem> {
        let tiers = self.tiers()?;
        let shapes = listed("shapes", self.shapes, ShapePart::check, |shape| &shape.name)?;
        let pool = |part: CapacityPoolPart, at: &str| part.check(at, &tiers, horizon_s);
        let pools = listed("pools", self.pools, pool, |offer| &offer.pool.name)?;
        let services = listed("services", self.services, ServicePart::check, |one| &one.service.name)?;
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
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const WHOLE: &str = "
step_s: 60
contracts: [ { tenant: acme, resource: requests, rate_per_s: 5, pool: shop } ]
capacity:
  manager: dry_run
  endpoints: eds
  xds: { listen: 127.0.0.1:0, port_file: xds.port }
  tiers: [ { name: spot, price_factor: 0.3, volatility_per_h: 0.05, cpu_performance: 0.8 } ]
  shapes: [ { name: Small, offers: { cpu: 2, memory_mib: 4096 }, price_per_h: 0.085 } ]
  pools:
    - { name: a, location: eu, max_instances: 9, lead_s: 30 }
    - { name: b, location: eu, class: spot, tier: spot, max_instances: 9, lead_s: 30, price_factor_max: 1.5 }
  services:
    - { name: shop, tenant: acme, need_per_unit: { cpu: 0.01 }, shortage_per_unit_h: 0.02,
        latency: { max_ms: 50, origins: { eu: 3, us: 1 } }, scaling: { reactive: { target: 0.7 } } }
  latencies: [ { from: us, to: eu, ms: 40 } ]
  budgets: [ { name: acme, tenant: acme, limit: 12.5, per: month } ]
";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("forebay.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_about_capacity_is_read() {
        let config = parse(WHOLE).unwrap();
        assert_eq!(config.contracts[0].pool.as_deref(), Some("shop"), "a service is a pool of contracts");
        let capacity = config.capacity.unwrap();
        assert_eq!(capacity.shapes[0].price_micros_per_h, 85_000);
        assert_eq!(capacity.shapes[0].offers.cpu_milli, 2_000.0);
        assert_eq!(capacity.tiers.len(), 2, "beside the standard one");
        assert_eq!(capacity.pools[1].pool.interruption_per_h, 0.05, "what its tier is known for");
        assert_eq!((capacity.pools[1].pool.price_milli, capacity.pools[1].price_max_milli), (1_000, 1_500));
        assert_eq!(capacity.services[0].scaling, Scaling::Reactive { target: 0.7 });
        assert_eq!(capacity.xds.unwrap().listen.port(), 0);
        assert_eq!(capacity.latencies.ms("us", "eu"), 40.0);
        assert_eq!(capacity.budgets[0].limit_micros, 12_500_000);
    }

    #[test]
    fn clusters_are_read_and_held_against_what_is_declared() {
        let kubernetes =
            "{ kubernetes: { clusters: [ { location: eu, namespace: shop, kubeconfig: { context: eu-1 } } ],
            pools: { b: { node_selector: { capacity: spot }, node_pool: spot, tolerations: [ { key: spot } ],
              placeholders: { shape: Small, count: 2, priority_class: low, image: pause } } },
            services: { shop: { deployment: shop, port: 8080, warm_after_s: 5 } } } }";
        let with = |part: &str| WHOLE.replace("manager: dry_run", &format!("manager: {part}"));
        let settings = parse(&with(kubernetes)).unwrap().capacity.unwrap();
        let ManagerSettings::Kubernetes(settings) = settings.manager else { panic!() };
        assert_eq!((settings.clusters.len(), settings.pools.len(), settings.shapes.len()), (1, 2, 1));
        assert_eq!(settings.pools[1].node_pool.as_deref(), Some("spot"));
        for (right, wrong, part) in [
            ("location: eu", "location: us", "capacity.manager.kubernetes.clusters"),
            ("pools: { b:", "pools: { x:", "capacity.manager.kubernetes.pools"),
            ("services: { shop:", "services: { shot:", "capacity.manager.kubernetes.services"),
            ("shape: Small", "shape: Huge", "capacity.manager.kubernetes.pools.b.placeholders.shape"),
            ("warm_after_s: 5", "warm_after_s: -5", "capacity.manager.kubernetes.services.shop.warm_after_s"),
        ] {
            let error = parse(&with(&kubernetes.replacen(right, wrong, 1))).expect_err(wrong);
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_remedy() {
        for (right, wrong, parts) in [
            ("name: b,", "name: a,", ["capacity.pools[1].name", "capacity.pools[0]"]),
            ("tier: spot,", "tier: sport,", ["capacity.pools[1].tier", "capacity.tiers"]),
            ("price_factor_max: 1.5", "price_factor_max: 0.5", ["capacity.pools[1].price_factor_max", "highest"]),
            ("{ cpu: 0.01 }", "{}", ["capacity.services[0].need_per_unit", "at least one"]),
            ("{ cpu: 0.01 }", "{ cpu: -1 }", ["capacity.services[0].need_per_unit.cpu", "from 0"]),
            ("origins: { eu: 3, us: 1 }", "origins: {}", ["capacity.services[0].latency.origins", "shares"]),
            ("target: 0.7", "target: 7", ["capacity.services[0].scaling.reactive.target", "from 0.01"]),
            ("tenant: acme, limit", "tenant: acne, limit", ["capacity.budgets[0].tenant", "capacity.services"]),
            ("limit: 12.5", "limit: -1", ["capacity.budgets[0].limit", "from 0"]),
            ("ms: 40", "ms: .nan", ["capacity.latencies[0].ms", "from 0"]),
            ("manager: dry_run", "manager: { process: { run: [] } }", ["capacity.manager.process.run", "shop"]),
            ("lead_s: 30 }", "lead_s: 3000 }", ["capacity.pools[0].lead_s", "forecast.horizon_steps"]),
            (
                "\ncapacity:",
                "\npools: [ { name: shop, capacity_per_s: 1 } ]\ncapacity:",
                ["capacity.services[0].name", "pools"],
            ),
            ("listen: 127.0.0.1:0", "listen: here", ["capacity.xds.listen", "127.0.0.1:18000"]),
            ("max_instances: 9", "max_instance: 9", ["forebay.yaml:", "max_instance"]),
        ] {
            assert!(WHOLE.contains(right), "{right}");
            let error = parse(&WHOLE.replacen(right, wrong, 1)).expect_err(wrong);
            for part in parts {
                assert!(error.contains(part), "{wrong}: {part:?} is not in {error:?}");
            }
        }
    }
}
