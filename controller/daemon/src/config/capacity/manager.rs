//! Who keeps the instances: `capacity.manager`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forebay_provision::kubernetes::KubernetesSettings;
use forebay_provision::{Backoff, Drain, Health, Ports, ProcessSettings, Template, Warming};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kubernetes::{Declared, KubernetesPart};
use super::webhook::{ReceiverSettings, WebhookPart};
use super::{LONGEST_S, seconds, within};
use crate::config::file::{Problem, problem};

/// Most paths and rounds of warming.
const MOST_WARMING: usize = 1000;

/// What fails at once is tried again after a second, and after a minute at the longest.
const BACKOFF: Backoff = Backoff { first_ms: 1_000, most_ms: 60_000, forgotten_after_ms: 300_000 };
/// A server that needs longer for a health check is no help to anybody.
const CHECK_WITHIN_MS: u64 = 2_000;
/// As Kubernetes' probes do by default.
const UNHEALTHY_AFTER: u32 = 3;
/// Twice a megabyte each; 64 instances keep 128 MB.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// Who keeps the instances.
#[derive(Clone, Debug)]
pub(crate) enum ManagerSettings {
    /// Nobody: what would be done is said.
    DryRun,
    /// Processes of this machine.
    Process(ProcessSettings),
    /// Whoever answers at a URL.
    Webhook(ReceiverSettings),
    /// One or several clusters.
    Kubernetes(Box<KubernetesSettings>),
}

/// Who keeps the instances.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum ManagerPart {
    /// Nobody: what would be done is said.
    DryRun,
    /// Processes of this machine.
    Process(ProcessPart),
    /// Whoever answers at a URL.
    Webhook(WebhookPart),
    /// One or several clusters.
    Kubernetes(KubernetesPart),
}

/// Instances that are processes of this machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessPart {
    /// Folder of what is known of the processes. Without it that is `processes` in `data_dir`.
    folder: Option<PathBuf>,
    /// Ports that instances listen on. Without them, free ones.
    ports: Option<PortsPart>,
    /// Most processes at once, draining ones included.
    #[serde(default = "most_processes")]
    max_processes: u32,
    /// How services are run: for an instance the first entry that fits.
    run: Vec<RunPart>,
}

fn most_processes() -> u32 {
    64
}

/// A range of ports.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PortsPart {
    /// The first port.
    #[schemars(range(min = 1))]
    first: u16,
    /// The last port.
    #[schemars(range(min = 1))]
    last: u16,
}

/// How a service is run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunPart {
    /// Service that it runs.
    service: String,
    /// Pool that it is for. Without it, any.
    pool: Option<String>,
    /// Shape that it is for. Without it, any.
    shape: Option<String>,
    /// Program to start, looked up in the controller's `PATH`.
    program: PathBuf,
    /// Its arguments. `{port}`, `{id}`, `{service}`, `{pool}` and `{shape}` are filled in; the port must be in them or in the
    /// environment.
    #[serde(default)]
    arguments: Vec<String>,
    /// Its environment, filled in likewise, beside `PATH`, `HOME`, `LANG`, `TZ` and `TMPDIR`.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// How it is found to answer.
    #[serde(default)]
    health: HealthPart,
    /// What it does before it counts as ready.
    #[serde(default)]
    warming: WarmingPart,
    /// Time from its start within which it must be ready, in seconds. After that it is ended as failed.
    #[serde(default = "a_minute")]
    #[schemars(range(min = 0.0, max = LONGEST_S))]
    start_within_s: f64,
    /// How it is ended.
    #[serde(default)]
    drain: DrainPart,
    /// Most processes of one service, pool and shape at once, draining ones included. Without it there is no limit but that of all.
    max_processes: Option<u32>,
}

fn a_minute() -> f64 {
    60.0
}

/// How a process is found to answer.
#[derive(Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum HealthPart {
    /// Its port takes a connection.
    #[default]
    Connect,
    /// GET of this path is answered with 2xx.
    Http(String),
}

/// What an instance does before it counts as ready.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct WarmingPart {
    /// Paths that are asked for, one after the other, each to be answered with 2xx. Paths times rounds are at most 1000.
    paths: Vec<String>,
    /// How often all of them are asked for.
    #[schemars(range(max = MOST_WARMING))]
    rounds: u32,
    /// Least time since an instance first answered, in seconds.
    #[schemars(range(min = 0.0, max = LONGEST_S))]
    minimum_age_s: f64,
}

impl Default for WarmingPart {
    fn default() -> Self {
        Self { paths: Vec::new(), rounds: 1, minimum_age_s: 0.0 }
    }
}

/// How a process is ended.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct DrainPart {
    /// Time that a ready instance has to finish what it has before it is asked to end with SIGTERM, in seconds.
    #[schemars(range(min = 0.0, max = LONGEST_S))]
    serve_s: f64,
    /// Time from then until it is ended with SIGKILL, in seconds.
    #[schemars(range(min = 0.0, max = LONGEST_S))]
    end_within_s: f64,
}

impl Default for DrainPart {
    fn default() -> Self {
        Self { serve_s: 1.0, end_within_s: 10.0 }
    }
}

impl ManagerPart {
    pub(super) fn check(self, declared: Declared<'_>) -> Result<ManagerSettings, Problem> {
        match self {
            Self::DryRun => Ok(ManagerSettings::DryRun),
            Self::Process(part) => part.check(declared).map(ManagerSettings::Process),
            Self::Webhook(part) => part.check().map(ManagerSettings::Webhook),
            Self::Kubernetes(part) => Ok(ManagerSettings::Kubernetes(Box::new(part.check(declared)?))),
        }
    }
}

impl ProcessPart {
    fn check(self, Declared { services, data_dir, .. }: Declared<'_>) -> Result<ProcessSettings, Problem> {
        const AT: &str = "capacity.manager.process";
        let ports = match self.ports {
            None => Ports::Free,
            Some(PortsPart { first, last }) if first > 0 && first <= last => Ports::Range(first, last),
            Some(PortsPart { first, last }) => {
                let reason = format!("{first} to {last} is no range");
                return Err(problem(format!("{AT}.ports"), reason, "give the first and the last port"));
            }
        };
        if let Some(name) = services.iter().find(|name| self.run.iter().all(|run| run.service != **name)) {
            let remedy = "add an entry with its program";
            return Err(problem(format!("{AT}.run"), format!("nothing says how to run service {name:?}"), remedy));
        }
        let templates: Result<Vec<Template>, Problem> =
            self.run.into_iter().enumerate().map(|(i, run)| run.check(&format!("{AT}.run[{i}]"), services)).collect();
        Ok(ProcessSettings {
            folder: self.folder.unwrap_or_else(|| data_dir.join("processes")),
            templates: templates?,
            ports,
            max_processes: self.max_processes,
            backoff: BACKOFF,
            check_within_ms: CHECK_WITHIN_MS,
            unhealthy_after: UNHEALTHY_AFTER,
            max_output_bytes: MAX_OUTPUT_BYTES,
        })
    }
}

impl RunPart {
    fn check(self, at: &str, services: &[&str]) -> Result<Template, Problem> {
        if !services.contains(&self.service.as_str()) {
            let remedy = "name one of capacity.services";
            return Err(problem(format!("{at}.service"), format!("no service is called {:?}", self.service), remedy));
        }
        let path = |field: String, path: &String| {
            let remedy = "write a path like /healthz";
            if path.starts_with('/') { Ok(()) } else { Err(problem(field, format!("{path:?} is no path"), remedy)) }
        };
        let health = match self.health {
            HealthPart::Connect => Health::Connect,
            HealthPart::Http(asked) => {
                path(format!("{at}.health.http"), &asked)?;
                Health::Http(asked)
            }
        };
        let mut texts = self.arguments.iter().chain(self.environment.values());
        if !texts.any(|text| text.contains("{port}")) {
            let reason = "nothing tells the program which port to listen on";
            return Err(problem(format!("{at}.arguments"), reason, "write {port} into arguments or environment"));
        }
        for asked in &self.warming.paths {
            path(format!("{at}.warming.paths"), asked)?;
        }
        let requests = self.warming.paths.len().saturating_mul(self.warming.rounds as usize);
        within(format!("{at}.warming.rounds"), requests as f64, 0.0..=MOST_WARMING as f64)?;
        let milliseconds = |field: &str, value: f64| Ok((seconds(format!("{at}.{field}"), value)? * 1000.0) as u64);
        Ok(Template {
            warming: Warming {
                minimum_age_ms: milliseconds("warming.minimum_age_s", self.warming.minimum_age_s)?,
                paths: self.warming.paths,
                rounds: self.warming.rounds,
            },
            start_within_ms: milliseconds("start_within_s", self.start_within_s)?,
            drain: Drain {
                serve_ms: milliseconds("drain.serve_s", self.drain.serve_s)?,
                end_within_ms: milliseconds("drain.end_within_s", self.drain.end_within_s)?,
            },
            service: self.service,
            pool: self.pool,
            shape: self.shape,
            program: self.program,
            arguments: self.arguments,
            environment: self.environment.into_iter().collect(),
            health,
            max_processes: self.max_processes.unwrap_or(u32::MAX),
        })
    }
}
