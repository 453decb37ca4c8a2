//! `cargo xtask demo`: the main job, end to end, on real Envoy.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use forebay_host_tests::artefacts::forebay_binary;
use forebay_host_tests::demo::scenario::Scenario;
use forebay_host_tests::demo::table::{Findings, Outcome};
use forebay_host_tests::demo::{capacity, run};

/// Plays a trace through Envoy with Forebay and through Envoy's own local_ratelimit, side by side; then a daily burst at
/// capacity that is started by forecast and at capacity that is started by use, side by side.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo")]
struct Args {
    /// Play this trace instead of the generated one (repeatable): CSV, first column time, second the rate or count
    #[arg(long, value_name = "TENANT=FILE", value_parser = tenant_and_file)]
    trace: Vec<(String, PathBuf)>,
    /// Calendar seconds per real second; by default the live part takes 80 s
    #[arg(long)]
    speed: Option<f64>,
    /// Factor on all rates
    #[arg(long, default_value_t = 1.0)]
    rate_scale: f64,
    /// Seed of the generated trace
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What to play
    #[arg(long, value_enum, default_value_t = Part::Both)]
    part: Part,
    /// End with the tables as one JSON line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Both,
    /// Who is admitted, beside local_ratelimit
    Admission,
    /// What capacity is ready, beside reactive scaling
    Capacity,
}

fn tenant_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((tenant, file)) if !tenant.is_empty() && !file.is_empty() => Ok((tenant.to_owned(), file.into())),
        _ => Err(format!("{text:?} is not TENANT=FILE")),
    }
}

fn main() -> ExitCode {
    match demo(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(args: &Args) -> Result<bool> {
    for (name, value) in [("--speed", args.speed.unwrap_or(1.0)), ("--rate-scale", args.rate_scale)] {
        if !(value.is_finite() && value > 0.0) {
            bail!("{name} {value}: must be above 0");
        }
    }
    let folder = tempfile::Builder::new().prefix("forebay-demo-").tempdir().context("no folder for the demo")?;
    let forebay = forebay_binary()?;
    let say =
        |text: &str| eprintln!("{} {text}", if std::io::stderr().is_terminal() { "\x1b[1m==>\x1b[0m" } else { "==>" });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut admission = None;
    if args.part != Part::Capacity {
        let scenario = Scenario::build(&forebay, folder.path(), &args.trace, args.seed, args.rate_scale)?;
        let speed = args.speed.unwrap_or_else(|| run::speed_for(&scenario));
        let (replay, coverages) = runtime.block_on(run::play(&scenario, speed, &forebay, folder.path(), &say))?;
        let findings = Findings::of(&scenario, &replay, &coverages)?;
        println!("{}", findings.text());
        admission = Some(findings);
    }
    let mut prewarmed = None;
    if args.part != Part::Admission {
        let findings = runtime.block_on(capacity::run(args.seed, &forebay, folder.path(), &say))?;
        println!("{}", findings.text());
        prewarmed = Some(findings);
    }
    let outcome = Outcome::of(admission, prewarmed);
    if args.json {
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(outcome.ok)
}
