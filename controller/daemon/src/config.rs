//! `forebay.yaml`: read once, checked as a whole, turned into domain values.
//!
//! Every field has a default, so an empty file (or none) is a running controller without contracts. An unknown field is
//! an error, because a misspelt limit that is silently ignored is a limit that is not there. Each error names the file,
//! the place (line and column, or the path of the field), the reason and the remedy.
//!
//! [`file`] is the shape of the file, [`Config`] what the daemon works with; [`contracts`] has what the policy document that
//! the file may name adds to it. A changed file is read at the next start; this version does not reload.

pub(crate) mod capacity;
mod contracts;
mod events;
pub(crate) mod file;
pub(crate) mod forecast;
pub(crate) mod schema;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_forecast::Objective;
use forebay_plan::{Contract, Key, ReadyCapacity};

use crate::clock::ClockSettings;
use capacity::CapacitySettings;
use contracts::Document;
pub(crate) use events::FeedSettings;

/// A checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where to serve.
    pub(crate) listen: SocketAddr,
    /// Where to write the bound address once listening.
    pub(crate) port_file: Option<PathBuf>,
    /// Folder of the history.
    pub(crate) data_dir: PathBuf,
    /// Forecast step, calendar seconds; divides a day.
    pub(crate) step_s: u32,
    /// How calendar time maps to real time.
    pub(crate) clock: ClockSettings,
    /// What is forecast.
    pub(crate) forecast: ForecastSettings,
    /// How filters are served.
    pub(crate) sync: SyncSettings,
    /// What contracts may name as their pool: declared ones, and services of `capacity`, which have nothing ready here.
    pub(crate) pools: Vec<ReadyCapacity>,
    /// What capacity is planned from; `None` where all of it is declared.
    pub(crate) capacity: Option<CapacitySettings>,
    /// Contracts with distinct keys.
    pub(crate) contracts: Vec<Contract>,
    /// JSON lines instead of text.
    pub(crate) log_json: bool,
    /// Log level.
    pub(crate) log_level: tracing::Level,
}

/// What is forecast, and from how much.
#[derive(Clone, Debug)]
pub(crate) struct ForecastSettings {
    /// The upper quantile, and what shadow is bought for where the policy says nothing else.
    pub(crate) quantile: f64,
    /// What shadow is bought for by the policy.
    pub(crate) own_quantiles: BTreeMap<Key, f64>,
    /// Slots that a plan covers, the current one included.
    pub(crate) horizon_steps: usize,
    /// Steps between fits.
    pub(crate) refit_every_steps: u32,
    /// Weeks of history that are kept and learned from.
    pub(crate) history_weeks: u32,
    /// Feeds of events.
    pub(crate) events: Vec<FeedSettings>,
    /// CPU time of a training of a network of many keys, seconds; `None` where none is trained.
    pub(crate) network_cpu_s: Option<u32>,
    /// Fits of a search for a key's parameters; `None` where none is made.
    pub(crate) search_trials: Option<usize>,
}

/// Which quantiles of a key's forecasts count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantiles {
    /// Shadow is bought for so much of the demand.
    pub(crate) shadow: f64,
    /// The upper bound: demand above it is a burst. Never below `shadow`, so that what was bought for is no burst, and
    /// never below the controller's own, so that a tenant whose middle is bought for has no burst every other step.
    pub(crate) upper: f64,
}

impl ForecastSettings {
    /// Those of a key.
    pub(crate) fn quantiles_of(&self, key: &Key) -> Quantiles {
        let shadow = self.own_quantiles.get(key).copied().unwrap_or(self.quantile);
        Quantiles { shadow, upper: shadow.max(self.quantile) }
    }

    /// What a key's models are compared by: where the policy says what share of demand is worth buying for, that is what
    /// being short costs beside being idle.
    pub(crate) fn objective_of(&self, key: &Key) -> Objective {
        self.own_quantiles.get(key).map_or(Objective::default(), |&quantile| Objective::Quantile(quantile))
    }
}

/// How filters are served.
#[derive(Clone, Debug)]
pub(crate) struct SyncSettings {
    /// How long a grant holds without contact.
    pub(crate) grant_validity: Duration,
    /// How long a watch is held at most.
    pub(crate) watch_hold: Duration,
    /// A proxy not heard of for longer has no share.
    pub(crate) proxy_stale_after: Duration,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{}: read configuration: {source}; give the path of an existing file to --config", .file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{}:{line}:{column}: {reason}; `forebay config reference` lists every field", .file.display())]
    Parse { file: PathBuf, line: u64, column: u64, reason: String },
    #[error("{}: {path}: {reason}; {remedy}", .file.display())]
    Invalid { file: PathBuf, path: String, reason: String, remedy: String },
    #[error("{}: policy: read {}: {source}; give the path of a policy document, relative to this file's folder",
        .file.display(), .policy.display())]
    ReadPolicy { file: PathBuf, policy: PathBuf, source: std::io::Error },
    /// The findings are printed as `forebay policy check` prints them.
    #[error("{}: policy: {} is refused\n{findings}", .file.display(), .policy.display())]
    Policy { file: PathBuf, policy: PathBuf, findings: String },
}

impl Config {
    /// Reads and checks `file`; without one, the defaults.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = file else {
            return Self::parse(Path::new("(defaults)"), "");
        };
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// The keys of the contracts that a pool serves.
    pub(crate) fn keys_of(&self, pool: &str) -> Vec<Key> {
        let of_pool = self.contracts.iter().filter(|contract| contract.pool.as_deref() == Some(pool));
        of_pool.map(|contract| contract.key.clone()).collect()
    }

    /// Checks the text of a configuration; `file` is for error messages.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let only_comments = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        let raw: file::File = if only_comments {
            file::File::default()
        } else {
            serde_saphyr::from_str(text).map_err(|error| parse_error(file, &error))?
        };
        let policy = raw.policy.as_deref().map(|named| Document::read(file, named)).transpose()?;
        let checked = raw.check(policy.as_ref()).map_err(|problem| ConfigError::Invalid {
            file: file.to_owned(),
            path: problem.path,
            reason: problem.reason,
            remedy: problem.remedy,
        });
        checked.map(|mut config| {
            let folder = file.parent().unwrap_or(Path::new(""));
            config.forecast.events.iter_mut().for_each(|feed| feed.file = folder.join(&feed.file));
            if let Some(endpoints) = config.capacity.as_mut().and_then(|capacity| capacity.endpoints.as_mut()) {
                *endpoints = folder.join(&*endpoints);
            }
            config
        })
    }
}

fn parse_error(file: &Path, error: &serde_saphyr::Error) -> ConfigError {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    // The library ends its message with the place, which stands at the front here.
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or_default();
    let reason = reason.split(" at line ").next().unwrap_or(reason).to_owned();
    ConfigError::Parse { file: file.to_owned(), line, column, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("forebay.yaml"), text).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(text: &str, parts: &[&str]) {
        let error = parse(text).expect_err("this configuration is wrong");
        for part in parts.iter().chain(&["forebay.yaml"]) {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }

    #[test]
    fn nothing_is_a_configuration() {
        let config = parse("# nothing yet\n").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8090");
        assert_eq!((config.step_s, config.forecast.horizon_steps, config.forecast.quantile), (300, 4, 0.95));
        assert_eq!((config.forecast.network_cpu_s, config.forecast.search_trials), (None, None));
        assert_eq!(parse("forecast: { search: {} }").unwrap().forecast.search_trials, Some(16));
        let network = |text: &str| parse(&format!("forecast: {{ network: {text} }}")).unwrap().forecast.network_cpu_s;
        assert_eq!([network("{}"), network("{ cpu_seconds: 5 }")], [Some(20), Some(5)]);
        assert_eq!(config.sync.grant_validity, Duration::from_secs(30));
        assert!(config.contracts.is_empty());
    }

    #[test]
    fn a_contract_gets_its_defaults() {
        let config = parse(
            "pools: [ { name: default, capacity_per_s: 1000.0 } ]\n\
             contracts:\n  - { tenant: shop, resource: requests, rate_per_s: 2.5, pool: default }\n",
        )
        .unwrap();
        let contract = &config.contracts[0];
        assert_eq!((contract.rate_milli_per_s, contract.burst), (2_500, 3));
        assert_eq!((contract.shadow_max_milli_per_s, contract.weight), (2_500, 1));
        assert_eq!(config.pools[0].ready_milli_per_s, 1_000_000);
    }

    #[test]
    fn the_clock_can_be_mapped() {
        let config = parse(
            "clock: { speed: 600, calendar_start: \"2026-01-01 00:00:00\", steady_start_unix_ms: 1700000000500 }",
        )
        .unwrap();
        assert_eq!(config.clock.calendar_start_s, Some(1_767_225_600.0));
        assert_eq!(config.clock.steady_start_s, Some(1_700_000_000.5));
    }

    #[test]
    fn errors_name_place_reason_and_remedy() {
        let two = "contracts:\n  - { tenant: a, resource: r, rate_per_s: 1 }\n  - ";
        refused(&format!("{two}{{ tenant: a, resource: r, rate_per_s: 1 }}"), &["contracts[1]", "contracts[0]"]);
        refused(&format!("{two}{{ tenant: b, resource: r, rate_per_s: -1 }}"), &["contracts[1].rate_per_s", "-1"]);
        refused(&format!("{two}{{ tenant: b, resource: r, rate_per_s: .nan }}"), &["contracts[1].rate_per_s", "NaN"]);
        refused(&format!("{two}{{ tenant: b, resource: r, rate_per_s: 1, pool: x }}"), &["contracts[1].pool", "\"x\""]);
        refused(&format!("{two}{{ tenant: b, resource: r/s, rate_per_s: 1 }}"), &["contracts[1].resource"]);
        refused("step_s: 0", &["step_s", "86400"]);
        refused("step_s: 420", &["step_s", "86400"]);
        refused("clock: { speed: 0 }", &["clock.speed"]);
        refused("clock: { calendar_start: soon }", &["clock.calendar_start", "RFC 3339"]);
        refused("forecast: { quantile: 1.5 }", &["forecast.quantile"]);
        refused("forecast: { horizon_steps: 0 }", &["forecast.horizon_steps"]);
        refused("forecast: { network: { cpu_seconds: 0 } }", &["forecast.network.cpu_seconds", "3600"]);
        refused("forecast: { search: { trials: 1 } }", &["forecast.search.trials", "64"]);
        refused("listen: here", &["listen", "127.0.0.1:8090"]);
        refused("log: { level: loud }", &["log.level"]);
        refused("sync: { grant_validity_s: 0 }", &["sync.grant_validity_s"]);
    }

    #[test]
    fn unknown_fields_and_broken_yaml_give_line_and_column() {
        refused("step_s: 300\nforcast: {}\n", &["forebay.yaml:2:", "forcast"]);
        refused("forecast: { network: { seconds: 9 } }", &["forebay.yaml:1:", "seconds"]);
        refused("pools: [\n", &["forebay.yaml:"]);
        refused("step_s: many\n", &["forebay.yaml:1:"]);
    }
}
