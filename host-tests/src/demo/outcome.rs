//! What came out of a run: the replay's record and the controller's forecasts, read into plain values.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The object that `forebay replay --json` ends with, as far as the demo reads it.
#[derive(Debug, Deserialize)]
pub struct Replay {
    /// Length of a bucket of `admitted_per_bucket`.
    pub bucket_ms: u64,
    /// By target.
    pub targets: Vec<Target>,
}

/// Everything that went to one target.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// Its name.
    pub target: String,
    /// All tenants together.
    pub totals: Counts,
    /// Requests that were sent late.
    pub late: u64,
    /// Admitted requests by real time.
    pub admitted_per_bucket: Vec<u64>,
    /// By tenant.
    pub tenants: Vec<TenantRecord>,
}

/// One tenant's requests to one target.
#[derive(Debug, Deserialize)]
pub struct TenantRecord {
    /// Its name.
    pub tenant: String,
    /// The whole run.
    pub totals: Counts,
    /// Latency of admitted requests.
    pub latency_ms: Latency,
    /// Admitted requests by real time.
    pub admitted_per_bucket: Vec<u64>,
    /// By step of the trace.
    pub steps: Vec<StepRecord>,
}

/// One step.
#[derive(Debug, Deserialize)]
pub struct StepRecord {
    /// Calendar second at which it begins.
    pub step_start_s: i64,
    /// What became of its requests.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What became of requests.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Counts {
    /// Sent.
    pub offered: u64,
    /// Answered with success.
    pub admitted: u64,
    /// Of these, in the lane `reserved`.
    pub reserved: u64,
    /// Of these, in the lane `standard`.
    pub standard: u64,
    /// Answered 429.
    pub refused: u64,
    /// Answered otherwise.
    pub errors: u64,
    /// Not answered because of the transport.
    pub failed: u64,
    /// Not answered when the run ended.
    pub unanswered: u64,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Replay {
    /// Reads the last line of the command's output.
    pub fn read(stdout: &str) -> Result<Self> {
        let line = stdout.lines().last().context("forebay replay printed nothing")?;
        serde_json::from_str(line).context("reading what forebay replay printed")
    }

    /// A target by name.
    pub fn target(&self, name: &str) -> Result<&Target> {
        self.targets.iter().find(|target| target.target == name).with_context(|| format!("no target {name}"))
    }
}

impl Target {
    /// A tenant's record.
    pub fn tenant(&self, name: &str) -> Result<&TenantRecord> {
        self.tenants.iter().find(|tenant| tenant.tenant == name).with_context(|| format!("no tenant {name}"))
    }
}

/// How often the actual demand was at or below the upper bound that was forecast for it one step ahead.
#[derive(Debug, Clone, Copy, Default)]
pub struct Coverage {
    /// Steps that had a forecast and came to pass.
    pub steps: u64,
    /// Of these, covered.
    pub covered: u64,
}

impl Coverage {
    /// As a percentage; `None` without forecasts.
    pub fn percent(self) -> Option<f64> {
        (self.steps > 0).then(|| 100.0 * self.covered as f64 / self.steps as f64)
    }
}

/// Coverage by tenant.
pub type Coverages = BTreeMap<String, Coverage>;
