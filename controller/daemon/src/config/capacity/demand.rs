//! What capacity is for and what it may cost: services and budgets.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_plan::capacity::{BudgetScope, LatencyLimit, Origin, Service};
use forebay_plan::learning::LearningError;
use forebay_plan::learning::tuner::{Band, Tuner, TunerSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::supply::AmountsPart;
use super::{BudgetSettings, LONGEST_S, MOST_MONEY, Period, Scaling, ServiceSettings, micros, one, seconds, within};
use crate::config::file::{Problem, problem};

/// Shares of steps that a service may be short in: one in ten thousand is a step of five minutes in a month.
const SHARES: std::ops::RangeInclusive<f64> = 0.0001..=0.2;

/// What demand arrives for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServicePart {
    /// Name that contracts name as their pool.
    #[schemars(length(min = 1, max = 256))]
    name: String,
    /// Who pays for it, as budgets name them. Without it, nobody in particular.
    tenant: Option<String>,
    /// What serving one unit per second takes.
    need_per_unit: AmountsPart,
    /// Least instances that it has at all times.
    #[serde(default)]
    min_instances: u32,
    /// Locations that its instances may be in. Without any, all.
    #[serde(default)]
    locations: Vec<String>,
    /// Longest latency that its demand bears. Without it any is borne.
    latency: Option<LatencyLimitPart>,
    /// Lowest performance of a tier, of CPU and of memory, that will do, as a factor of the standard tier.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 100.0))]
    min_performance: f64,
    /// Largest share of its need that spot pools may cover: what may be gone at once.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    spot_max_share: f64,
    /// What an hour short of one unit per second costs, in the currency. It or `short_steps_share` must be there.
    #[schemars(range(min = 0.0, max = MOST_MONEY))]
    shortage_per_unit_h: Option<f64>,
    /// Share of steps in which it may be short of what is offered: what is covered then follows from what would have been enough
    /// before. Without it the cost of being short decides.
    #[schemars(range(min = 0.0001, max = 0.2))]
    short_steps_share: Option<f64>,
    /// Time that a number of instances that was wanted is kept before some are given back, in seconds. Nothing is started later
    /// for it.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 0.0, max = LONGEST_S))]
    min_dwell_s: f64,
    /// Time that an instance that drains is paid for at most, in seconds.
    #[serde(default = "half_a_minute")]
    #[schemars(range(min = 0.0, max = LONGEST_S))]
    drain_s: f64,
    /// Share of the standard rates of its contracts that is covered at all times. Below 1 is a declared overcommit.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1.0))]
    guaranteed_share: f64,
    /// What its need is read off.
    #[serde(default)]
    scaling: ScalingPart,
    /// How its headroom may be tuned. Without it, it is not.
    tuning: Option<TuningPart>,
}

/// How headroom may be tuned.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TuningPart {
    /// What the planned need may be multiplied by: up to 8 ascending factors, 1.0 among them.
    #[schemars(length(max = 8), inner(range(min = 0.5, max = 2.0)))]
    headrooms: Vec<f64>,
    /// What may be added to `spot_max_share`: up to 8 ascending shares, 0 among them. None is above 0, since that limit is yours.
    #[schemars(length(max = 8), inner(range(min = -1.0, max = 0.0)))]
    spot_shifts: Vec<f64>,
    /// Share of epochs in which something else than the planner's own is really tried before it is proposed.
    #[schemars(range(min = 0.0, max = 0.5))]
    explored_share: f64,
    /// Most share of the planner's own loss that may be lost by trying.
    #[schemars(range(min = 0.0001, max = 1.0))]
    alpha: f64,
    /// Whether what is shown to be better acts by itself.
    automatic: bool,
}

impl Default for TuningPart {
    fn default() -> Self {
        Self {
            headrooms: vec![0.9, 0.95, 1.0, 1.05, 1.1, 1.2],
            spot_shifts: vec![0.0],
            explored_share: 0.0,
            alpha: 0.05,
            automatic: false,
        }
    }
}

/// What a service's need is read off.
#[derive(Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ScalingPart {
    /// The forecast of its demand.
    #[default]
    Forecast,
    /// What is offered now, as Kubernetes' horizontal autoscaler does.
    Reactive {
        /// Share of the capacity that is to be used.
        #[schemars(range(min = 0.01, max = 1.0))]
        target: f64,
        /// Time from one look at what is used to the next, in real seconds. Kubernetes looks every 15; with 0 it is each turn.
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 3600.0))]
        every_s: f64,
    },
}

fn five_minutes() -> f64 {
    300.0
}

fn half_a_minute() -> f64 {
    30.0
}

/// Longest latency that demand bears.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LatencyLimitPart {
    /// Longest latency from an origin to the location that serves it, in milliseconds.
    #[schemars(range(min = 0.0, max = 60_000.0))]
    max_ms: f64,
    /// Share of the demand by origin, at least one above 0. They count relative to their sum.
    #[schemars(extend("additionalProperties" = { "type": "number", "minimum": 0.0, "maximum": 1e6 }))]
    origins: BTreeMap<String, f64>,
}

/// A hard limit of money.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetPart {
    /// Name of the budget.
    #[schemars(length(min = 1, max = 256))]
    name: String,
    /// Tenant of services that it limits. Without `tenant` and `pool` it limits everything.
    tenant: Option<String>,
    /// Pool that it limits.
    pool: Option<String>,
    /// Most that may be spent in a period, in the currency.
    #[schemars(range(min = 0.0, max = MOST_MONEY))]
    limit: f64,
    /// Period that it is for. It begins anew with each.
    per: Period,
}

impl ServicePart {
    pub(super) fn check(self, at: &str) -> Result<ServiceSettings, Problem> {
        let field = |name: &str| format!("{at}.{name}");
        let service = Service {
            need_per_unit: self.need_per_unit.check(&field("need_per_unit"))?,
            min_performance: within(field("min_performance"), self.min_performance, 0.0..=100.0)?,
            spot_max_share: within(field("spot_max_share"), self.spot_max_share, 0.0..=1.0)?,
            shortage_micros_per_unit_h: micros(
                field("shortage_per_unit_h"),
                self.shortage_per_unit_h.unwrap_or_default(),
            )?,
            min_dwell_s: seconds(field("min_dwell_s"), self.min_dwell_s)?,
            drain_s: seconds(field("drain_s"), self.drain_s)?,
            latency: self.latency.map(|limit| limit.check(&field("latency"))).transpose()?,
            name: self.name,
            tenant: self.tenant,
            min_instances: self.min_instances,
            locations: self.locations,
        };
        let guaranteed_share = within(field("guaranteed_share"), self.guaranteed_share, 0.0..=1.0)?;
        let (scaling, every_s) = match self.scaling {
            ScalingPart::Forecast => (Scaling::Forecast, 0.0),
            ScalingPart::Reactive { target, every_s } => {
                let target = within(field("scaling.reactive.target"), target, 0.01..=1.0)?;
                (Scaling::Reactive { target }, within(field("scaling.reactive.every_s"), every_s, 0.0..=3600.0)?)
            }
        };
        let look_every = Duration::from_secs_f64(every_s);
        let tuning = self.tuning.map(|part| part.check(&field_of(at, "tuning"))).transpose()?;
        let short_steps_share = match self.short_steps_share {
            Some(share) => Some(check_share(&field("short_steps_share"), share, scaling, tuning.as_ref())?),
            None if self.shortage_per_unit_h.is_none() => {
                let remedy = "give shortage_per_unit_h, what an hour short of one unit per second costs, or \
                    short_steps_share, the share of steps in which it may be short, such as 0.01";
                return Err(problem(at, "nothing says how careful to be", remedy));
            }
            None => None,
        };
        let is_shortage_implied = self.shortage_per_unit_h.is_none();
        Ok(ServiceSettings {
            service,
            guaranteed_share,
            scaling,
            short_steps_share,
            is_shortage_implied,
            look_every,
            tuning,
        })
    }
}

/// How often a service may be short: only where nothing else decides how much is covered.
fn check_share(at: &str, share: f64, scaling: Scaling, tuning: Option<&TunerSettings>) -> Result<f64, Problem> {
    if scaling != Scaling::Forecast {
        let reason = "scaling.reactive follows its target, however often that is short";
        return Err(problem(at, reason, "leave one of the two out"));
    }
    let is_tuned = |band: &Band| (0..band.arms()).any(|arm| band.arm(arm).headroom != 1.0);
    if tuning.is_some_and(|settings| is_tuned(&settings.band)) {
        let reason = "a tuner of headroom would undo what is covered because of it";
        return Err(problem(at, reason, "give tuning.headrooms: [ 1.0 ], or leave one of the two out"));
    }
    within(at.to_owned(), share, SHARES)
}

impl LatencyLimitPart {
    pub(super) fn check(self, at: &str) -> Result<LatencyLimit, Problem> {
        let max_ms = within(format!("{at}.max_ms"), self.max_ms, 0.0..=60_000.0)?;
        let mut origins = Vec::with_capacity(self.origins.len());
        for (name, share) in self.origins {
            let share = within(format!("{at}.origins.{name}"), share, 0.0..=1e6)?;
            origins.push(Origin { name, share });
        }
        if !origins.iter().any(|origin| origin.share > 0.0) {
            return Err(problem(format!("{at}.origins"), "no demand comes from anywhere", "give shares by origin"));
        }
        Ok(LatencyLimit { max_ms, origins })
    }
}

impl BudgetPart {
    pub(super) fn check(
        self,
        at: &str,
        has_pool: &dyn Fn(&str) -> bool,
        has_tenant: &dyn Fn(&str) -> bool,
    ) -> Result<BudgetSettings, Problem> {
        let scope = match (self.tenant, self.pool) {
            (None, None) => BudgetScope::Whole,
            (Some(tenant), None) if has_tenant(&tenant) => BudgetScope::Tenant(tenant),
            (None, Some(pool)) if has_pool(&pool) => BudgetScope::Pool(pool),
            (Some(tenant), None) => {
                let remedy = "name it as tenant of a service under capacity.services";
                return Err(problem(format!("{at}.tenant"), format!("no service is of tenant {tenant:?}"), remedy));
            }
            (None, Some(pool)) => {
                let reason = format!("no pool is called {pool:?}");
                return Err(problem(format!("{at}.pool"), reason, "name one of capacity.pools"));
            }
            (Some(_), Some(_)) => {
                return Err(problem(at, "it is for a tenant and for a pool", "make two budgets of it"));
            }
        };
        let limit_micros = micros(format!("{at}.limit"), self.limit)?;
        Ok(BudgetSettings { name: self.name, scope, limit_micros, period: self.per })
    }
}

fn field_of(at: &str, name: &str) -> String {
    format!("{at}.{name}")
}

impl TuningPart {
    fn check(self, at: &str) -> Result<TunerSettings, Problem> {
        let refused = |error: LearningError| {
            problem(at, error.to_string(), "examples/capacity/forebay.yaml shows what may be tuned")
        };
        if let Some(above) = self.spot_shifts.iter().find(|shift| **shift > 0.0) {
            let reason = format!("{above} would have more on spot than spot_max_share allows");
            return Err(problem(
                format!("{at}.spot_shifts"),
                reason,
                "give shifts from -1 to 0; raise spot_max_share itself",
            ));
        }
        let watching_share = within(format!("{at}.explored_share"), self.explored_share, 0.0..=0.5)?;
        if self.spot_shifts.len() > 1 && watching_share == 0.0 {
            let reason = "another mix is only known by trying it, and nothing is ever tried".to_owned();
            return Err(problem(format!("{at}.spot_shifts"), reason, "give explored_share too, such as 0.1"));
        }
        let band = Band::new(self.headrooms, self.spot_shifts).map_err(refused)?;
        let alpha = within(format!("{at}.alpha"), self.alpha, 0.0001..=1.0)?;
        let is_automatic = self.automatic;
        let settings = TunerSettings { band, alpha, watching_share, is_automatic, ..TunerSettings::default() };
        Tuner::new(settings.clone()).map_err(refused)?;
        Ok(settings)
    }
}
