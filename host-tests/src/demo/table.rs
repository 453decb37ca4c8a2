//! The demo's result for people and for programs.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::capacity::findings::CapacityFindings;
use super::checks::{self, Bursts, Check};
use super::outcome::{Coverages, Replay};
use super::run::{FOREBAY, LRL, LRL_SCALED, TARGETS};
use super::scenario::Scenario;

/// Both parts, as `--json` prints them; one that was not asked for is left out.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The first part.
    #[serde(flatten)]
    pub admission: Option<Findings>,
    /// The second part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityFindings>,
    /// Whether everything that was checked holds.
    pub ok: bool,
}

impl Outcome {
    /// Of the parts that were played.
    pub fn of(admission: Option<Findings>, capacity: Option<CapacityFindings>) -> Self {
        let ok =
            admission.as_ref().is_none_or(Findings::holds) && capacity.as_ref().is_none_or(CapacityFindings::holds);
        Self { admission, capacity, ok }
    }
}

/// Everything that the first part found.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// Sum of the contracted rates, requests per second.
    pub contracts_per_s: u32,
    /// The pool's capacity, requests per second; also what the scaled `local_ratelimit` has to spend.
    pub capacity_per_s: u32,
    /// By tenant.
    pub tenants: Vec<TenantFindings>,
    /// Burst steps with a precedent, all tenants.
    pub forecastable_bursts: Bursts,
    /// Burst steps without.
    pub surprising_bursts: Bursts,
    /// What must hold.
    pub checks: Vec<Check>,
}

/// One tenant's line.
#[derive(Debug, Serialize)]
pub struct TenantFindings {
    /// Its name.
    pub tenant: String,
    /// Contracted rate, requests per second.
    pub contract_per_s: u32,
    /// Requests sent to each target.
    pub offered: u64,
    /// Admitted by Forebay out of the forecast's bucket.
    pub reserved: u64,
    /// Admitted by Forebay out of the contract's bucket.
    pub standard: u64,
    /// Refused by Forebay.
    pub refused: u64,
    /// Refused by `local_ratelimit` with the same contracts.
    pub refused_local_ratelimit: u64,
    /// Refused by `local_ratelimit` with the contracts scaled up evenly to the capacity.
    pub refused_local_ratelimit_scaled: u64,
    /// Latency of admitted requests through Forebay, milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The same through `local_ratelimit`.
    pub p50_ms_local_ratelimit: f64,
    /// The 99th percentile.
    pub p99_ms_local_ratelimit: f64,
    /// Share of steps whose demand was within the upper bound forecast one step ahead; `None` without forecasts.
    pub forecast_coverage_percent: Option<f64>,
    /// Burst steps with a precedent.
    pub forecastable_bursts: Bursts,
    /// Burst steps without.
    pub surprising_bursts: Bursts,
}

impl Findings {
    /// Judges a run.
    pub fn of(scenario: &Scenario, replay: &Replay, coverages: &Coverages) -> Result<Self> {
        let (mut forecastable, mut surprising) = (Bursts::default(), Bursts::default());
        let mut tenants = Vec::new();
        for tenant in &scenario.tenants {
            let [ours, lrl, scaled] = TARGETS.map(|name| replay.target(name).and_then(|t| t.tenant(&tenant.name)));
            let (ours, lrl, scaled) = (ours?, lrl?, scaled?);
            let (known, unknown) = checks::bursts(scenario, tenant, replay)?;
            add(&mut forecastable, &known);
            add(&mut surprising, &unknown);
            tenants.push(TenantFindings {
                tenant: tenant.name.clone(),
                contract_per_s: tenant.contract_per_s,
                offered: ours.totals.offered,
                reserved: ours.totals.reserved,
                standard: ours.totals.standard,
                refused: ours.totals.refused,
                refused_local_ratelimit: lrl.totals.refused,
                refused_local_ratelimit_scaled: scaled.totals.refused,
                p50_ms: ours.latency_ms.p50,
                p99_ms: ours.latency_ms.p99,
                p50_ms_local_ratelimit: lrl.latency_ms.p50,
                p99_ms_local_ratelimit: lrl.latency_ms.p99,
                forecast_coverage_percent: coverages.get(&tenant.name).and_then(|coverage| coverage.percent()),
                forecastable_bursts: known,
                surprising_bursts: unknown,
            });
        }
        let checks = checks::all(scenario, replay, &forecastable)?;
        Ok(Self {
            contracts_per_s: scenario.contracts_per_s(),
            capacity_per_s: scenario.capacity_per_s,
            tenants,
            forecastable_bursts: forecastable,
            surprising_bursts: surprising,
            checks,
        })
    }

    /// Whether all checks hold.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// The table and the checks, as text.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "tenant",
            "contract/s",
            "offered",
            "reserved",
            "standard",
            "refused",
            "refused\nlocal_rl",
            "refused\nlocal_rl scaled",
            "p50 / p99 ms",
            "p50 / p99 ms\nlocal_rl",
            "forecast\ncoverage",
            "bursts refused\nours / local_rl / scaled",
        ]);
        for tenant in &self.tenants {
            let bursts = &tenant.forecastable_bursts;
            table.add_row([
                tenant.tenant.clone(),
                tenant.contract_per_s.to_string(),
                tenant.offered.to_string(),
                tenant.reserved.to_string(),
                tenant.standard.to_string(),
                tenant.refused.to_string(),
                tenant.refused_local_ratelimit.to_string(),
                tenant.refused_local_ratelimit_scaled.to_string(),
                format!("{:.1} / {:.1}", tenant.p50_ms, tenant.p99_ms),
                format!("{:.1} / {:.1}", tenant.p50_ms_local_ratelimit, tenant.p99_ms_local_ratelimit),
                tenant.forecast_coverage_percent.map_or("-".into(), |percent| format!("{percent:.0} %")),
                format!(
                    "{} / {} / {}",
                    bursts.refused_forebay, bursts.refused_local_ratelimit, bursts.refused_local_ratelimit_scaled
                ),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let surprising = &self.surprising_bursts;
        let mut text = format!("{table}\n\n");
        text += &format!(
            "{FOREBAY}: contracts {}/s, pool {}/s. {LRL}: the same contracts. {LRL_SCALED}: contracts x {:.2}, so that it has the \
             whole pool to spend.\nLast column: forecastable bursts only. Steps above the contract without precedent: {}, \
             refused {} / {} / {} there.\n\n",
            self.contracts_per_s,
            self.capacity_per_s,
            f64::from(self.capacity_per_s) / f64::from(self.contracts_per_s),
            surprising.steps,
            surprising.refused_forebay,
            surprising.refused_local_ratelimit,
            surprising.refused_local_ratelimit_scaled,
        );
        for check in &self.checks {
            text += &format!("{} {}: {}\n", if check.holds { "ok  " } else { "FAIL" }, check.name, check.detail);
        }
        text
    }
}

fn add(sum: &mut Bursts, bursts: &Bursts) {
    sum.steps += bursts.steps;
    sum.offered += bursts.offered;
    sum.refused_forebay += bursts.refused_forebay;
    sum.refused_local_ratelimit += bursts.refused_local_ratelimit;
    sum.refused_local_ratelimit_scaled += bursts.refused_local_ratelimit_scaled;
}
