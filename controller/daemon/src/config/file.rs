//! The configuration as it stands in the file, and the checks that turn it into a [`Config`].
//!
//! A check fails at the first problem, in the order of the file; its path is what a person would search for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use forebay_plan::ReadyCapacity;
use schemars::JsonSchema;
use serde::Deserialize;

use super::capacity::CapacityPart;
use super::contracts::{Contracts, Document};
use super::events::Named;
use super::forecast::ForecastPart;
use super::{Config, SyncSettings};
use crate::calendar;
use crate::clock::ClockSettings;

pub(super) const DAY_S: u32 = 86_400;
/// Highest rate or capacity, per second: with it a day's amount in milli-units still fits a u64 nine times over.
const MAX_PER_S: f64 = 2e10;
/// Longest name, in bytes; metrics and tables repeat names many times.
const MAX_NAME_BYTES: usize = 256;

/// The configuration of the controller, `forebay.yaml`. Everything has a default, so an empty file is a running controller
/// without contracts. A field that is not listed is an error.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "forebay.yaml")]
pub(crate) struct File {
    /// Address and port that HTTP is served on: to filters, probes, Prometheus and people. Port 0 takes a free one.
    listen: String,
    /// File that the bound address is written to once the controller listens, relative to where it is started. Without it none
    /// is written.
    port_file: Option<PathBuf>,
    /// Folder of the history and of all that must survive a restart, relative to where the controller is started. It is made
    /// where it is missing.
    data_dir: PathBuf,
    /// Length of a step of history and forecasts, in seconds of the calendar. It must divide a day of 86400.
    #[schemars(range(min = 1, max = 86_400))]
    step_s: u32,
    /// How the calendar that demand follows runs beside real time. It is for rehearsals; leave it out in operation.
    clock: ClockPart,
    /// What is forecast, how far ahead, and from how much history.
    forecast: ForecastPart,
    /// How filters are served.
    sync: SyncPart,
    /// Pools that contracts may name, whose capacity is declared. A pool whose instances are provisioned is a service under
    /// `capacity` instead.
    pools: Vec<PoolPart>,
    /// What capacity there may be, what it costs, and which services it is for. Without it nothing is provisioned.
    capacity: Option<CapacityPart>,
    /// Policy document that proxies have, relative to the folder of this file. Its contracts and shadow settings are the
    /// controller's, too.
    pub(super) policy: Option<PathBuf>,
    /// Who may use how much of what. They may add to those of the policy and must not contradict them.
    #[schemars(length(max = 100_000))]
    contracts: Vec<ContractPart>,
    /// What is logged, to standard error.
    log: LogPart,
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8090".to_owned(),
            port_file: None,
            data_dir: PathBuf::from("forebay-data"),
            step_s: 300,
            clock: ClockPart::default(),
            forecast: ForecastPart::default(),
            sync: SyncPart::default(),
            pools: Vec::new(),
            capacity: None,
            policy: None,
            contracts: Vec::new(),
            log: LogPart::default(),
        }
    }
}

/// How the calendar that demand follows runs beside real time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ClockPart {
    /// Seconds of the calendar that pass in a real second.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1e6))]
    speed: f64,
    /// Time of the calendar at the start of the controller, as RFC 3339, YYYY-MM-DD HH:MM:SS in UTC, or unix seconds in
    /// quotes. Without it the calendar shows the real time.
    calendar_start: Option<String>,
    /// Real time that `calendar_start` belongs to, in unix milliseconds. Without it that is the start of the controller.
    steady_start_unix_ms: Option<u64>,
}

impl Default for ClockPart {
    fn default() -> Self {
        Self { speed: 1.0, calendar_start: None, steady_start_unix_ms: None }
    }
}

/// How filters are served.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SyncPart {
    /// How long a grant holds at a proxy that hears nothing of the controller any more, in seconds. After that the proxy goes on
    /// with its safe share.
    #[schemars(range(min = 0.1, max = 3600.0))]
    grant_validity_s: f64,
    /// How long a call that waits for news is held at most, in seconds. Proxies give up after 30 s.
    #[schemars(range(min = 0.1, max = 3600.0))]
    watch_hold_s: f64,
    /// A proxy that was not heard of for so long has no share any more, in seconds.
    #[schemars(range(min = 0.1, max = 3600.0))]
    proxy_stale_after_s: f64,
}

impl Default for SyncPart {
    fn default() -> Self {
        Self { grant_validity_s: 30.0, watch_hold_s: 20.0, proxy_stale_after_s: 10.0 }
    }
}

/// A pool whose capacity is declared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PoolPart {
    /// Name that contracts call it by.
    #[schemars(length(min = 1, max = 256))]
    name: String,
    /// Units per second that it serves.
    #[schemars(range(min = 0.0, max = 2e10))]
    capacity_per_s: f64,
}

/// Who may use how much of what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ContractPart {
    /// Who is charged.
    #[schemars(length(min = 1, max = 256))]
    pub(super) tenant: String,
    /// What is charged, as policies name it. It has no slash.
    #[schemars(length(min = 1, max = 256))]
    pub(super) resource: String,
    /// Standard rate, in units per second. It may be left out only where the policy says it.
    #[schemars(range(min = 0.0, max = 2e10))]
    pub(super) rate_per_s: Option<f64>,
    /// Units that the standard bucket holds. Without it they are those of a second at the rate, and at least 1.
    pub(super) burst: Option<u64>,
    /// Most shadow that may be bought beyond the standard rate, in units per second. Without it that is the standard rate.
    #[schemars(range(min = 0.0, max = 2e10))]
    pub(super) shadow_max_per_s: Option<f64>,
    /// Pool that serves it, of `pools` or a service of `capacity`. Without it, that of the policy; a contract without
    /// any is held by no pool's capacity.
    pub(super) pool: Option<String>,
    /// Weight of the contract where shadow is short. Without it that is 1.
    #[schemars(range(min = 1))]
    pub(super) weight: Option<u32>,
}

/// What is logged, to standard error.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct LogPart {
    /// How lines are written: `text` for people, or `json` with an object a line.
    #[schemars(extend("enum" = ["text", "json"]))]
    format: String,
    /// Least important lines that are written.
    #[schemars(extend("enum" = ["error", "warn", "info", "debug", "trace"]))]
    level: String,
}

impl Default for LogPart {
    fn default() -> Self {
        Self { format: "text".to_owned(), level: "info".to_owned() }
    }
}

/// What is wrong with a value.
pub(super) struct Problem {
    pub(super) path: String,
    pub(super) reason: String,
    pub(super) remedy: String,
}

pub(super) fn problem(path: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { path: path.into(), reason: reason.into(), remedy: remedy.into() }
}

impl File {
    /// Checks the file, together with the policy document that it names.
    pub(super) fn check(self, policy: Option<&Document>) -> Result<Config, Problem> {
        let listen = self.listen.parse().map_err(|_| {
            let reason = format!("{:?} is no address with a port", self.listen);
            problem("listen", reason, "write it like 127.0.0.1:8090; port 0 takes a free one")
        })?;
        if self.step_s == 0 || !DAY_S.is_multiple_of(self.step_s) {
            let reason = format!("{} s do not divide a day of 86400 s", self.step_s);
            return Err(problem("step_s", reason, "choose a divisor of 86400, such as 60, 300 or 3600"));
        }
        let mut pools = pools(self.pools)?;
        let clock = self.clock.check()?;
        // What is asked for now must be ready within what is forecast, or it is never asked for in time.
        let horizon_s = f64::from(self.forecast.horizon_steps) * f64::from(self.step_s) / clock.speed;
        let capacity = self.capacity.map(|part| part.check(horizon_s, &self.data_dir)).transpose()?;
        for (i, one) in capacity.iter().flat_map(|capacity| &capacity.services).enumerate() {
            let name = &one.service.name;
            if pools.iter().any(|pool| pool.name == *name) {
                let reason = format!("{name:?} is declared under pools, too");
                let remedy = "what a service has ready is what its instances serve; leave it out under pools";
                return Err(problem(format!("capacity.services[{i}].name"), reason, remedy));
            }
            // Nothing of it is ready before it is seen to be.
            pools.push(ReadyCapacity { name: name.clone(), ready_milli_per_s: 0 });
        }
        let Contracts { contracts, quantiles } = Contracts::of(self.contracts, policy, &pools)?;
        let physical: Vec<String> =
            capacity.iter().flat_map(|capacity| &capacity.pools).map(|offer| offer.pool.name.clone()).collect();
        let named = Named { contracts: &contracts, pools: &pools, physical: &physical };
        Ok(Config {
            listen,
            port_file: self.port_file,
            data_dir: self.data_dir,
            step_s: self.step_s,
            clock,
            forecast: self.forecast.check(self.step_s, quantiles, named)?,
            sync: self.sync.check()?,
            pools,
            capacity,
            contracts,
            log_json: self.log.json()?,
            log_level: self.log.level()?,
        })
    }
}

impl ClockPart {
    fn check(self) -> Result<ClockSettings, Problem> {
        if !(self.speed.is_finite() && self.speed > 0.0 && self.speed <= 1e6) {
            let reason = format!("{} is no speed", self.speed);
            return Err(problem(
                "clock.speed",
                reason,
                "give calendar seconds per real second, above 0, at most 1000000",
            ));
        }
        let calendar_start_s = match self.calendar_start {
            None => None,
            Some(text) => Some(calendar::parse(text.trim()).ok_or_else(|| {
                let remedy = "write RFC 3339, YYYY-MM-DD HH:MM:SS (UTC) or unix seconds, in quotes";
                problem("clock.calendar_start", format!("{text:?} is no time"), remedy)
            })? as f64),
        };
        let steady_start_s = self.steady_start_unix_ms.map(|ms| ms as f64 / 1000.0);
        Ok(ClockSettings { speed: self.speed, calendar_start_s, steady_start_s })
    }
}

impl SyncPart {
    fn check(self) -> Result<SyncSettings, Problem> {
        let seconds = |name: &str, value: f64| match Duration::try_from_secs_f64(value) {
            Ok(duration) if duration >= Duration::from_millis(100) && duration <= Duration::from_secs(3600) => {
                Ok(duration)
            }
            _ => {
                let reason = format!("{value} s are not between 0.1 and 3600");
                Err(problem(format!("sync.{name}"), reason, "choose a length in seconds"))
            }
        };
        Ok(SyncSettings {
            grant_validity: seconds("grant_validity_s", self.grant_validity_s)?,
            watch_hold: seconds("watch_hold_s", self.watch_hold_s)?,
            proxy_stale_after: seconds("proxy_stale_after_s", self.proxy_stale_after_s)?,
        })
    }
}

impl LogPart {
    fn json(&self) -> Result<bool, Problem> {
        match self.format.as_str() {
            "text" => Ok(false),
            "json" => Ok(true),
            other => Err(problem("log.format", format!("{other:?} is no format"), "choose text or json")),
        }
    }

    fn level(&self) -> Result<tracing::Level, Problem> {
        self.level.parse().map_err(|_| {
            let reason = format!("{:?} is no level", self.level);
            problem("log.level", reason, "choose error, warn, info, debug or trace")
        })
    }
}

fn pools(parts: Vec<PoolPart>) -> Result<Vec<ReadyCapacity>, Problem> {
    let mut seen = BTreeMap::new();
    let mut pools = Vec::with_capacity(parts.len());
    for (i, part) in parts.into_iter().enumerate() {
        let path = |field: &str| format!("pools[{i}].{field}");
        check_name(path("name"), &part.name)?;
        let ready_milli_per_s = milli(path("capacity_per_s"), part.capacity_per_s)?;
        if let Some(first) = seen.insert(part.name.clone(), i) {
            let reason = format!("{:?} is declared in pools[{first}] already", part.name);
            return Err(problem(path("name"), reason, "give each pool a name of its own"));
        }
        pools.push(ReadyCapacity { name: part.name, ready_milli_per_s });
    }
    Ok(pools)
}

pub(super) fn check_name(path: String, name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        let reason = format!("{name:?} is no name");
        return Err(problem(path, reason, format!("use 1 to {MAX_NAME_BYTES} bytes without control characters")));
    }
    Ok(())
}

/// Units per second as milli-units per second.
pub(super) fn milli(path: String, per_s: f64) -> Result<u64, Problem> {
    if !(0.0..=MAX_PER_S).contains(&per_s) {
        let remedy = format!("give units per second, from 0 to {MAX_PER_S}");
        return Err(problem(path, format!("{per_s} is no rate"), remedy));
    }
    Ok((per_s * 1000.0).round() as u64)
}
