//! `cargo xtask bench leases`: eight workers on one hot key, with the real module on the deterministic host.
//!
//! What is asked: how often does a request touch shared data, does every worker get its part of the key, and does every
//! unit that left the shared bucket reach a request or come back? The clock is virtual, so the counts are the same on
//! every machine; which worker a request goes to is drawn from a seeded generator.
//!
//! Two loads, because they use leases in different ways: *below* the limit every request finds a lease or draws one;
//! *above* it the bucket is empty all the time and workers compete for what flows in.
//!
//! Lost units are those that the bucket gave and nobody got; the books are in [`balance`]. A second run of the engine
//! itself, natively, does the same with millions of requests (`--requests`).

mod balance;
mod native;
mod wasm;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use forebay_admission::units::NANO;
use forebay_host_tests::artefacts::Artefacts;
use serde::Serialize;

/// Before counting starts: every worker is on the list and knows of the others.
pub(crate) const WARM_UP: Duration = Duration::from_secs(2);
/// Without requests: every worker gives back what it holds, and the bucket does not fill up meanwhile.
pub(crate) const COOL_DOWN: Duration = Duration::from_millis(600);
/// The hot key's tenant.
pub(crate) const TENANT: &str = "hot";

/// Shared-data operations per request, fairness between workers and lost tokens of eight workers on one hot key.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench leases")]
struct Args {
    /// Workers that share the key
    #[arg(long, default_value_t = 8)]
    workers: usize,
    /// Requests that are counted in each wasm run
    #[arg(long, default_value_t = 100_000)]
    wasm_requests: u64,
    /// Requests of the native run against the oracle
    #[arg(long, default_value_t = 10_000_000)]
    requests: u64,
    /// Units per second that flow into the key's bucket
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// Units that the key's bucket holds
    #[arg(long, default_value_t = 10_000)]
    burst: u64,
    /// Seed of the order of workers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// The key and who shares it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) workers: usize,
    pub(crate) rate: u64,
    pub(crate) burst: u64,
    pub(crate) seed: u64,
}

/// How much arrives, as a part of the rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) percent_of_rate: u64,
}

/// What one run found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Found {
    pub(crate) load: String,
    pub(crate) requests: u64,
    pub(crate) admitted: u64,
    /// Reads and writes of shared data during requests, not during ticks.
    pub(crate) shared_data_ops_per_request: f64,
    /// Those during ticks, over the same requests.
    pub(crate) shared_data_ops_per_request_in_ticks: f64,
    /// The worker with the fewest admitted requests to the one with the most.
    pub(crate) fairness_min_to_max: f64,
    /// Admitted beyond what the bucket can have given: negative means that units were left.
    pub(crate) units_beyond_bucket: i64,
    /// Units that left the bucket and neither reached a request nor came back.
    pub(crate) lost_units: i64,
}

#[derive(Debug, Serialize)]
struct Findings {
    shared_data_ops_per_request: f64,
    fairness_min_to_max: f64,
    lost_units: i64,
    runs: Vec<Found>,
    conditions: Conditions,
}

#[derive(Debug, Serialize)]
struct Conditions {
    workers: usize,
    rate_per_s: u64,
    burst: u64,
    seed: u64,
}

fn main() -> ExitCode {
    match leases(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leases: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn leases(args: &Args) -> Result<()> {
    if args.workers == 0 || args.rate == 0 || args.burst == 0 {
        bail!("--workers, --rate and --burst must be at least 1");
    }
    let key = Key { workers: args.workers, rate: args.rate, burst: args.burst, seed: args.seed };
    let artefacts = Artefacts::find()?;
    let (below, above) =
        (Load { name: "below the limit", percent_of_rate: 80 }, Load { name: "above the limit", percent_of_rate: 200 });
    let mut runs = Vec::new();
    for load in [below, above] {
        runs.push(wasm::run(&artefacts, key, load, args.wasm_requests)?);
    }
    for load in [below, above] {
        runs.push(native::run(key, load, args.requests / 2)?);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["load", "requests", "admitted", "ops/request", "in ticks", "fairness", "beyond", "lost"]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for run in &runs {
        table.add_row([
            run.load.clone(),
            run.requests.to_string(),
            run.admitted.to_string(),
            format!("{:.4}", run.shared_data_ops_per_request),
            format!("{:.4}", run.shared_data_ops_per_request_in_ticks),
            format!("{:.3}", run.fairness_min_to_max),
            run.units_beyond_bucket.to_string(),
            run.lost_units.to_string(),
        ]);
    }
    println!(
        "{table}\n{} workers, one key of {}/s with burst {}. ops/request: reads and writes of shared data while requests \
         are decided;\nin ticks: housekeeping, over the same requests. fairness: fewest to most admitted of a worker.\n\
         beyond: admitted beyond rate x time + what was there. lost: left the bucket, reached nobody.",
        key.workers, key.rate, key.burst
    );
    if args.json {
        let worst = |figure: fn(&Found) -> f64, pick: fn(f64, f64) -> f64| runs.iter().map(figure).reduce(pick);
        let findings = Findings {
            shared_data_ops_per_request: worst(|run| run.shared_data_ops_per_request, f64::max).unwrap_or_default(),
            fairness_min_to_max: worst(|run| run.fairness_min_to_max, f64::min).unwrap_or_default(),
            lost_units: runs.iter().map(|run| run.lost_units).max().unwrap_or_default(),
            conditions: Conditions { workers: key.workers, rate_per_s: key.rate, burst: key.burst, seed: key.seed },
            runs,
        };
        println!("{}", serde_json::to_string(&findings)?);
    }
    Ok(())
}

/// Plugin configuration with the one hot key.
pub(crate) fn plugin_config(key: Key) -> String {
    serde_json::json!({
        "proxy_id": "leases",
        "policy": {
            "resources": [{ "name": "requests", "others": { "rate_per_s": 1, "burst": 1 } }],
            "contracts": [{ "tenant": "hot", "resource": "requests", "rate_per_s": key.rate, "burst": key.burst }],
        },
    })
    .to_string()
}

/// A small generator of its own, so that the order of workers is the same for ever (Steele et al., `SplitMix64`).
#[derive(Debug)]
pub(crate) struct Order(pub(crate) u64);

impl Order {
    pub(crate) fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }
}

/// What is counted while requests run.
#[derive(Debug)]
pub(crate) struct Tally {
    requests: u64,
    admitted: Vec<u64>,
    pub(crate) request_ops: u64,
    pub(crate) tick_ops: u64,
}

impl Tally {
    pub(crate) fn new(workers: usize) -> Self {
        Self { requests: 0, admitted: vec![0; workers], request_ops: 0, tick_ops: 0 }
    }

    pub(crate) fn count(&mut self, worker: usize, passed: bool) {
        self.requests += 1;
        self.admitted[worker] += u64::from(passed);
    }

    /// The findings of a run of `took_ns` in which `out` units left the bucket; it began with a full one.
    pub(crate) fn found(self, load: String, key: Key, took_ns: u64, out: i128) -> Found {
        let admitted: u64 = self.admitted.iter().sum();
        let flowed_in = u128::from(key.rate) * u128::from(took_ns) / u128::from(NANO);
        let per_request = |ops: u64| ops as f64 / self.requests.max(1) as f64;
        let (least, most) = (self.admitted.iter().min(), self.admitted.iter().max());
        let fairness = least.zip(most).map_or(0.0, |(least, most)| *least as f64 / (*most).max(1) as f64);
        Found {
            load,
            requests: self.requests,
            admitted,
            shared_data_ops_per_request: per_request(self.request_ops),
            shared_data_ops_per_request_in_ticks: per_request(self.tick_ops),
            fairness_min_to_max: fairness,
            units_beyond_bucket: (i128::from(admitted) - i128::from(key.burst) - flowed_in as i128) as i64,
            lost_units: (out - i128::from(admitted)) as i64,
        }
    }
}
