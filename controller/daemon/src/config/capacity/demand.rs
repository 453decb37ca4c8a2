//! What capacity is for and what it may cost: services and budgets.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_plan::capacity::{BudgetScope, LatencyLimit, Origin, Service};
use forebay_plan::learning::LearningError;
use forebay_plan::learning::tuner::{Band, Tuner, TunerSettings};
use serde::Deserialize;

use super::supply::AmountsPart;
use super::{BudgetSettings, Period, Scaling, ServiceSettings, micros, one, seconds, within};
use crate::config::file::{Problem, problem};

/// Shares of steps that a service may be short in: one in ten thousand is a step of five minutes in a month.
const SHARES: std::ops::RangeInclusive<f64> = 0.0001..=0.2;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServicePart {
    name: String,
    tenant: Option<String>,
    need_per_unit: AmountsPart,
    #[serde(default)]
    min_instances: u32,
    #[serde(default)]
    locations: Vec<String>,
    latency: Option<LatencyLimitPart>,
    #[serde(default)]
    min_performance: f64,
    #[serde(default)]
    spot_max_share: f64,
    shortage_per_unit_h: Option<f64>,
    short_steps_share: Option<f64>,
    #[serde(default = "five_minutes")]
    min_dwell_s: f64,
    #[serde(default = "half_a_minute")]
    drain_s: f64,
    #[serde(default = "one")]
    guaranteed_share: f64,
    #[serde(default)]
    scaling: ScalingPart,
    tuning: Option<TuningPart>,
}

/// How headroom may be tuned.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TuningPart {
    headrooms: Vec<f64>,
    /// What is added to `spot_max_share`: the limit is the operator's, so none is above 0.
    spot_shifts: Vec<f64>,
    /// Share of epochs in which something else than the planner's own is really tried before it is proposed.
    explored_share: f64,
    /// Most share of the planner's own loss that may be lost.
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ScalingPart {
    #[default]
    Forecast,
    Reactive {
        target: f64,
        /// Real time from one look at what is used to the next; 15 is what Kubernetes' autoscaler does by default. 0: every turn.
        #[serde(default)]
        every_s: f64,
    },
}

fn five_minutes() -> f64 {
    300.0
}

fn half_a_minute() -> f64 {
    30.0
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LatencyLimitPart {
    max_ms: f64,
    /// Share of the demand by origin.
    origins: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetPart {
    name: String,
    tenant: Option<String>,
    pool: Option<String>,
    limit: f64,
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
