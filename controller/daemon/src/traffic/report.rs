//! The shapes in which the result of a replay is printed: JSON, CSV per step, and a table.
//!
//! What it does not do: count; that is [`super::result`].

use hdrhistogram::Histogram;
use serde::Serialize;

use super::result::{Counts, LATE_MS};
use crate::calendar;

/// Points of a distribution, in milliseconds; 0 where nothing was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(histogram_us: &Histogram<u64>) -> Self {
        let at = |quantile| histogram_us.value_at_quantile(quantile) as f64 / 1000.0;
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: histogram_us.max() as f64 / 1000.0 }
    }
}

/// The counts of one step of the trace.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StepReport {
    /// Calendar time at which the step begins, unix seconds.
    pub(crate) step_start_s: i64,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

/// One tenant at one target.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TenantReport {
    pub(crate) tenant: String,
    pub(crate) totals: Counts,
    pub(crate) late: u64,
    pub(crate) latency_ms: Spread,
    pub(crate) admitted_per_bucket: Vec<u32>,
    pub(crate) steps: Vec<StepReport>,
}

/// One target of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TargetReport {
    pub(crate) target: String,
    pub(crate) url: String,
    pub(crate) totals: Counts,
    pub(crate) late: u64,
    pub(crate) lateness_ms: Spread,
    /// Connections opened.
    pub(crate) connections: u64,
    /// Admitted answers of all tenants per interval of `bucket_ms` since the start.
    pub(crate) admitted_per_bucket: Vec<u32>,
    pub(crate) tenants: Vec<TenantReport>,
}

/// The per-step counts of all targets as CSV.
pub(crate) fn steps_csv(targets: &[TargetReport]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "timestamp",
        "target",
        "tenant",
        "offered",
        "admitted",
        "reserved",
        "standard",
        "borrowed",
        "none",
        "refused",
        "errors",
        "failed",
        "unanswered",
    ])?;
    for target in targets {
        for tenant in &target.tenants {
            for step in &tenant.steps {
                let c = &step.counts;
                let names = [calendar::print(step.step_start_s), target.target.clone(), tenant.tenant.clone()];
                let counts = [
                    c.offered,
                    c.admitted,
                    c.reserved,
                    c.standard,
                    c.borrowed,
                    c.none,
                    c.refused,
                    c.errors,
                    c.failed,
                    c.unanswered,
                ];
                writer.write_record(names.into_iter().chain(counts.map(|count| count.to_string())))?;
            }
        }
    }
    Ok(writer.into_inner()?)
}

/// The table that closes a replay.
pub(crate) fn table(targets: &[TargetReport]) -> String {
    let names = targets.iter().flat_map(|target| {
        let tenants = target.tenants.iter().map(|tenant| tenant.tenant.len());
        tenants.chain([target.target.len()])
    });
    let wide = names.max().unwrap_or(0).max("target".len());
    let mut text = format!(
        "{:<wide$} {:<wide$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7} {:>8} {:>8} {:>6}\n",
        "target",
        "tenant",
        "offered",
        "reserved",
        "standard",
        "borrowed",
        "refused",
        "failed",
        "other",
        "p50_ms",
        "p99_ms",
        "late"
    );
    for target in targets {
        for tenant in &target.tenants {
            let c = &tenant.totals;
            // "other" holds what an admission test should not see: errors, and admitted without a lane.
            text += &format!(
                "{:<wide$} {:<wide$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7} {:>8.2} {:>8.2} {:>6}\n",
                target.target,
                tenant.tenant,
                c.offered,
                c.reserved,
                c.standard,
                c.borrowed,
                c.refused,
                c.failed + c.unanswered,
                c.errors + c.none,
                tenant.latency_ms.p50,
                tenant.latency_ms.p99,
                tenant.late
            );
        }
    }
    for target in targets {
        text += &format!(
            "{}: {} late by more than {LATE_MS} ms; lateness p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; {} connections\n",
            target.target,
            target.late,
            target.lateness_ms.p50,
            target.lateness_ms.p99,
            target.lateness_ms.max,
            target.connections
        );
    }
    text
}
