//! What is played: tenants with a past and a live part, their contracts, and the pool behind them.
//!
//! Contracts follow from the past alone, by one rule for every trace: a tenant has contracted what it needs in seven
//! hours out of ten ([`CONTRACT_QUANTILE`]), so its peaks lie above the contract, as they do where capacity is sold
//! tightly. The pool holds all contracts plus what the past would have needed above them at its worst moment
//! ([`HEADROOM`]): enough if it goes to the right tenant at the right time, too little if it is spread evenly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use forebay::traffic::trace::{Trace, Window};

/// Which part of the past a contract covers.
const CONTRACT_QUANTILE: f64 = 0.7;
/// The pool's headroom above the contracts, as a factor on demand: forecasts reserve an upper quantile, not the mean.
const HEADROOM: f64 = 1.15;
/// What a forecast may reserve for a tenant in all: its highest past demand, and as much more as upper bounds lie above.
const RESERVABLE: f64 = 1.3;
/// Highest rate of a tenant's past after scaling, in requests per second: three targets of it fit two cores.
const PEAK_PER_S: f64 = 150.0;
/// Most steps of the live part.
const STEPS_MAX: usize = 96;
/// The past that is imported, in seconds.
const PAST_S: i64 = 8 * WEEK_S;
/// Seed-generated tenant whose floods nobody can forecast.
pub const INTRUDER: &str = "intruder";
const WEEK_S: i64 = 7 * 86_400;

/// One tenant of the demo.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Rates of the past in requests per second, one per step; NaN is missing.
    pub past: Vec<f64>,
    /// Rates of the live part.
    pub live: Vec<f64>,
    /// Contracted rate in requests per second.
    pub contract_per_s: u32,
    /// Contracted burst.
    pub burst: u32,
    /// Most that a forecast may reserve above the contract.
    pub shadow_max_per_s: u32,
}

/// The whole play.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Calendar seconds per step.
    pub step_s: i64,
    /// Calendar second at which the live part begins.
    pub live_start_s: i64,
    /// Steps of the live part.
    pub steps: usize,
    /// The tenants.
    pub tenants: Vec<Tenant>,
    /// The pool's capacity in requests per second.
    pub capacity_per_s: u32,
}

impl Scenario {
    /// The generated scenario, or one of the given traces with the generated intruder beside them.
    pub fn build(
        forebay: &Path,
        folder: &Path,
        traces: &[(String, PathBuf)],
        seed: u64,
        rate_scale: f64,
    ) -> Result<Self> {
        let generated = generate(forebay, folder, seed)?;
        if traces.is_empty() {
            let grid = generated.regularise(Window::default())?;
            let steps = STEPS_MAX.min(grid.steps / 2);
            let tenants = grid.series.iter().map(|(name, values)| tenant(name, values, steps, rate_scale)).collect();
            let live_start_s = grid.start_s + (grid.steps - steps) as i64 * grid.step_s;
            return Ok(Self::of(grid.step_s, live_start_s, steps, tenants));
        }
        let (step_s, start_s, series) = common_grid(traces)?;
        let length = series.values().map(Vec::len).min().unwrap_or_default();
        let steps = STEPS_MAX.min(length / 4);
        if steps == 0 {
            bail!("the traces have {length} steps of {step_s} s in common; give longer ones");
        }
        let mut tenants = Vec::new();
        for (name, values) in &series {
            let peak = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
            if peak <= 0.0 {
                bail!("trace of {name}: no demand at all; give another one");
            }
            tenants.push(tenant(name, values, steps, rate_scale * PEAK_PER_S / peak));
        }
        let intruder = generated.regularise(Window::default())?;
        if let Some((name, values)) = intruder.series.iter().find(|(name, _)| name == INTRUDER) {
            let tail: Vec<f64> = values.iter().rev().cycle().take(length).copied().collect();
            tenants.push(tenant(name, &tail.into_iter().rev().collect::<Vec<_>>(), steps, rate_scale));
        }
        let live_start_s = start_s + (length - steps) as i64 * step_s;
        Ok(Self::of(step_s, live_start_s, steps, tenants))
    }

    fn of(step_s: i64, live_start_s: i64, steps: usize, tenants: Vec<Tenant>) -> Self {
        let contracts: u32 = tenants.iter().map(|tenant| tenant.contract_per_s).sum();
        let past = tenants.iter().map(|tenant| tenant.past.len()).max().unwrap_or_default();
        let above = |step: usize| -> f64 {
            let need = |tenant: &Tenant| {
                let from_end = tenant.past.len().checked_sub(step + 1)?;
                Some((tenant.past[from_end] * HEADROOM - f64::from(tenant.contract_per_s)).max(0.0))
            };
            tenants.iter().filter_map(need).filter(|need| need.is_finite()).sum()
        };
        let headroom = (0..past).map(above).fold(0.0, f64::max);
        Self { step_s, live_start_s, steps, tenants, capacity_per_s: contracts + headroom.ceil() as u32 }
    }

    /// Sum of the contracted rates in requests per second.
    pub fn contracts_per_s(&self) -> u32 {
        self.tenants.iter().map(|tenant| tenant.contract_per_s).sum()
    }

    /// Writes the past in the shape of `forebay import` and the live part in that of `forebay replay`.
    pub fn write(&self, past: &Path, live: &Path) -> Result<()> {
        let mut csv = csv::Writer::from_path(past).context("writing the past")?;
        csv.write_record(["timestamp", "key", "value"])?;
        for tenant in &self.tenants {
            let start_s = self.live_start_s - tenant.past.len() as i64 * self.step_s;
            for (step, value) in tenant.past.iter().enumerate().filter(|(_, value)| value.is_finite()) {
                let at = start_s + step as i64 * self.step_s;
                csv.write_record([at.to_string(), format!("{}/requests", tenant.name), value.to_string()])?;
            }
        }
        csv.flush()?;
        let mut csv = csv::Writer::from_path(live).context("writing the live part")?;
        csv.write_record(["timestamp", "tenant", "rate_per_s"])?;
        for tenant in &self.tenants {
            for (step, value) in tenant.live.iter().enumerate().filter(|(_, value)| value.is_finite()) {
                let at = self.live_start_s + step as i64 * self.step_s;
                csv.write_record([at.to_string(), tenant.name.clone(), value.to_string()])?;
            }
        }
        Ok(csv.flush()?)
    }
}

fn generate(forebay: &Path, folder: &Path, seed: u64) -> Result<Trace> {
    let file = folder.join("generated.csv");
    let days = (PAST_S / 86_400 + 1).to_string();
    let mut command = Command::new(forebay);
    command.args(["generate", "--step-s", "900", "--days", &days, "--seed", &seed.to_string(), "--out"]).arg(&file);
    let status = command.status().with_context(|| format!("running {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(Trace::read(&file, None)?)
}

/// A tenant of a series that ends with the live part.
fn tenant(name: &str, values: &[f64], steps: usize, scale: f64) -> Tenant {
    let scaled: Vec<f64> = values.iter().map(|value| value * scale).collect();
    let (past, live) = scaled.split_at(scaled.len() - steps);
    let mut known: Vec<f64> = past.iter().copied().filter(|value| value.is_finite()).collect();
    known.sort_by(f64::total_cmp);
    let at = |quantile: f64| known.get(((known.len() as f64 - 1.0) * quantile) as usize).copied().unwrap_or_default();
    // At least five per second, so that a contract is more than one request at a time.
    let contract_per_s = at(CONTRACT_QUANTILE).ceil().max(5.0) as u32;
    let shadow_max_per_s = (at(1.0) * RESERVABLE - f64::from(contract_per_s)).ceil().max(0.0) as u32;
    Tenant {
        name: name.to_owned(),
        past: past.to_vec(),
        live: live.to_vec(),
        contract_per_s,
        burst: (contract_per_s / 2).max(5),
        shadow_max_per_s,
    }
}

/// All traces on one grid: the coarsest of their steps, shifted by whole weeks so that they end together, each as long
/// as the shortest. Returns the step, the first second and the series by tenant.
fn common_grid(traces: &[(String, PathBuf)]) -> Result<(i64, i64, BTreeMap<String, Vec<f64>>)> {
    let mut read = BTreeMap::new();
    for (tenant, path) in traces {
        if tenant == INTRUDER || read.contains_key(tenant) {
            bail!("--trace {tenant}: this name is taken; choose another one");
        }
        read.insert(tenant.clone(), Trace::read(path, Some(tenant))?);
    }
    let step_s = read.values().map(|trace| trace.step_s).max().unwrap_or(1);
    let mut grids = Vec::new();
    for (tenant, trace) in &read {
        let grid = trace.regularise(Window { step_s: Some(step_s), ..Window::default() })?;
        let series = grid.series.into_iter().find(|(name, _)| name == tenant);
        let (_, values) = series.with_context(|| {
            let found: Vec<_> = trace.tenants.keys().cloned().collect();
            format!("--trace {tenant}: the file holds the tenants {found:?}; name one of them")
        })?;
        grids.push((tenant.clone(), grid.start_s + values.len() as i64 * step_s, values));
    }
    let latest = grids.iter().map(|(_, end, _)| *end).max().unwrap_or_default();
    let shifted = |end: i64| end + (latest - end) / WEEK_S * WEEK_S;
    let end_s = grids.iter().map(|(_, end, _)| shifted(*end)).min().unwrap_or_default();
    for (_, end, values) in &mut grids {
        let beyond = ((shifted(*end) - end_s) / step_s) as usize;
        values.truncate(values.len().saturating_sub(beyond));
    }
    let most = (PAST_S / step_s) as usize + STEPS_MAX;
    let length = grids.iter().map(|(_, _, values)| values.len()).min().unwrap_or_default().min(most);
    let series = grids.into_iter().map(|(tenant, _, mut values)| (tenant, values.split_off(values.len() - length)));
    Ok((step_s, end_s - length as i64 * step_s, series.collect()))
}
