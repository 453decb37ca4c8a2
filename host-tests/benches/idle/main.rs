//! `cargo xtask bench idle`: what a proxy without traffic costs, with Forebay and without any filter.
//!
//! Real Envoys with two workers each serve a few requests, fall silent, and are then watched over the same time, so that
//! whatever else the machine does meets all of them. The figure is the scheduler's account of all their threads, in
//! percent of one core. What Forebay adds is its tick in the VM of every worker and of the main thread; with a controller
//! also that one of them leads: it is never quiet, reports each second and keeps a watch hanging.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use forebay_engine::worker::QUIET_TICK_MS;
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, CONTROLLER_CLUSTER, Listener};
use forebay_host_tests::client::Request;
use forebay_host_tests::contest::{Contestant, LISTENER};
use forebay_host_tests::controller::Controller;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID, TENANT_HEADER};
use forebay_host_tests::upstream::Upstream;
use serde::Serialize;
use serde_json::json;

/// Worker threads of each Envoy.
const WORKERS: u32 = 2;
/// Requests before the silence, so that the filter holds leases and is on the list of those that serve.
const WARM_UP_REQUESTS: usize = 200;
/// Leases are back and workers are quiet after 2 s without a request.
const FALL_SILENT: Duration = Duration::from_secs(4);
/// What Forebay shall add at most, in percent of one core.
const TARGET_PERCENT: f64 = 0.5;

/// CPU of an Envoy without traffic, with and without Forebay.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench idle")]
struct Args {
    /// Seconds that all are watched
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// Who is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    None,
    Lean,
    Streams,
    LeanWithController,
}

impl Variant {
    const ALL: [Self; 4] = [Self::None, Self::Lean, Self::Streams, Self::LeanWithController];

    fn name(self) -> &'static str {
        match self {
            Self::None => "no filter",
            Self::Lean => "forebay_filter.wasm",
            Self::Streams => "forebay_filter_streams.wasm",
            Self::LeanWithController => "forebay_filter.wasm, controller",
        }
    }
}

/// Percent of one core, in the order of [`Variant::ALL`].
#[derive(Debug, Serialize)]
struct Findings {
    idle_percent_of_core_no_filter: f64,
    added_percent_of_core: f64,
    added_percent_of_core_streams: f64,
    added_percent_of_core_with_controller: f64,
    target_percent_of_core: f64,
    target_met: bool,
    /// What is added, over all ticks of all VMs.
    us_per_tick: f64,
    ticks_per_s: f64,
    envoy_version: String,
    workers: u32,
    seconds: u64,
    #[serde(skip)]
    percent: [f64; 4],
}

fn main() -> ExitCode {
    match idle(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn idle(args: &Args) -> Result<()> {
    if args.seconds == 0 {
        bail!("--seconds 0: must be at least 1");
    }
    let artefacts = Artefacts::find()?;
    eprintln!("==> {} Envoys, silent for {} s", Variant::ALL.len(), args.seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let percent = runtime.block_on(watch(&artefacts, Duration::from_secs(args.seconds)))?;
    let findings = Findings::of(percent, artefacts.envoy_version()?, args.seconds);
    println!("{}", findings.text());
    if args.json {
        println!("{}", serde_json::to_string(&findings)?);
    }
    Ok(())
}

/// Percent of a core of each variant.
async fn watch(artefacts: &Artefacts, time: Duration) -> Result<[f64; 4]> {
    let upstream = Upstream::start().await?;
    let controller = Controller::start(json!({})).await?;
    let requests: Arc<[Request]> = Arc::from([Request::get("/").header(TENANT_HEADER, "a")]);
    let mut contestants = Vec::new();
    for variant in Variant::ALL {
        let mut config = json!({
            "policy": { "resources": [{ "name": "requests", "others": { "rate_per_s": 100_000 } }] },
        });
        let mut bootstrap = Bootstrap::new("idle").workers(WORKERS).upstream(&[upstream.address()]);
        if variant == Variant::LeanWithController {
            config["controller"] = json!({ "cluster": CONTROLLER_CLUSTER });
            bootstrap = bootstrap.controller(controller.address());
        }
        let chain = match variant {
            Variant::None => vec![],
            Variant::Lean | Variant::LeanWithController => vec![filters::forebay(artefacts, FOREBAY_VM_ID, &config)],
            Variant::Streams => vec![filters::forebay_streams(artefacts, FOREBAY_VM_ID, &config)],
        };
        let bootstrap = bootstrap.listener(Listener::new(LISTENER, chain));
        let requests = Arc::clone(&requests);
        contestants.push(Contestant::start(variant.name(), artefacts, &bootstrap, requests, WARM_UP_REQUESTS).await?);
    }
    // Not for something to happen, but for nothing to happen: the silence is what is measured.
    tokio::time::sleep(FALL_SILENT).await;
    let cpu_ns = || contestants.iter().map(Contestant::cpu_ns).collect::<Result<Vec<u64>>>();
    let (start, before) = (Instant::now(), cpu_ns()?);
    tokio::time::sleep(time).await;
    let (after, elapsed) = (cpu_ns()?, start.elapsed().as_nanos() as f64);
    Ok(std::array::from_fn(|place| (after[place] - before[place]) as f64 * 100.0 / elapsed))
}

impl Findings {
    fn of(percent: [f64; 4], envoy_version: String, seconds: u64) -> Self {
        let [none, lean, streams, controller] = percent;
        let (added, ticks_per_s) = (lean - none, f64::from(WORKERS + 1) * 1_000.0 / f64::from(QUIET_TICK_MS));
        Self {
            idle_percent_of_core_no_filter: none,
            added_percent_of_core: added,
            added_percent_of_core_streams: streams - none,
            added_percent_of_core_with_controller: controller - none,
            target_percent_of_core: TARGET_PERCENT,
            target_met: added < TARGET_PERCENT && streams - none < TARGET_PERCENT,
            us_per_tick: added / 100.0 * 1e6 / ticks_per_s,
            ticks_per_s,
            envoy_version,
            workers: WORKERS,
            seconds,
            percent,
        }
    }

    /// The table, as text.
    fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["an idle Envoy", "% of a core", "added to no filter"]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for (variant, percent) in Variant::ALL.into_iter().zip(self.percent) {
            let added = format!("{:.3}", percent - self.idle_percent_of_core_no_filter);
            let added = if variant == Variant::None { "-".to_owned() } else { added };
            table.add_row([variant.name().to_owned(), format!("{percent:.3}"), added]);
        }
        let verdict = if self.target_met { "met" } else { "MISSED" };
        format!(
            "{table}\n\
             The scheduler's account of all threads over {} s. {:.0} ticks per second in {} VMs, {:.1} us each (lean, no \
             controller).\n\
             Target: each module adds less than {TARGET_PERCENT} % without a controller: {verdict}.\n\n\
             Conditions: Envoy {}, {} workers; a quiet worker ticks every {QUIET_TICK_MS} ms.\n",
            self.seconds,
            self.ticks_per_s,
            self.workers + 1,
            self.us_per_tick,
            self.envoy_version,
            self.workers,
        )
    }
}
