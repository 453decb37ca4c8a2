//! `cargo xtask bench books`: what following a service costs that says how often it may be short.
//!
//! Each row is a service with weeks of demand at a length of step: a daily pattern with noise, and now and then a burst. Told
//! are the CPU microseconds of a step, with many services one after the other as in operation, and what the books take once
//! the demand has passed (by how much the process has grown, over so many services), both without the two reactive policies
//! that guard them; the CPU seconds of opening books anew from what was seen, with the tuning of what guards them, which is
//! once a day; and those of telling a demand again that nobody followed, forecasts included, which is once after an import.

use anyhow::{Context, Result};
use clap::Parser;
use forebay_forecast::Series;
use forebay_plan::simulation::{Aim, Live, QUANTILES, Retold, Scale, Sight};
use serde_json::{Value, json};

#[path = "../../../forecast/benches/shared/cpu.rs"]
mod cpu;
use cpu::CpuTime;

/// Length of a step and lead time in seconds.
const ROWS: [(u32, u32); 5] = [(60, 60), (60, 900), (300, 300), (300, 3600), (3600, 3600)];

/// Bytes and CPU of following services that say how often they may be short.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench books")]
struct Args {
    /// Days of demand
    #[arg(long, default_value_t = 28)]
    days: usize,
    /// Services of each row
    #[arg(long, default_value_t = 40)]
    services: usize,
    /// Share of steps that may go unserved
    #[arg(long, default_value_t = 0.01)]
    share: f64,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// What following costs.
struct Followed {
    live: Vec<Live>,
    sights: Vec<Sight>,
    micros_per_step: f64,
    bytes: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    anyhow::ensure!(args.services > 0 && args.days > 0, "--services and --days must be above 0");
    println!("books: {} days of demand, {} of steps may go unserved", args.days, args.share);
    println!(
        "{:>8}{:>8}{:>8}{:>12}{:>12}{:>12}{:>12}",
        "step s", "lead s", "steps", "us/step", "bytes", "open s", "retell s"
    );
    // Kept until all are measured: what is freed would be taken again, and not seen.
    let followed = ROWS.map(|row| follow(&args, row)).into_iter().collect::<Result<Vec<_>>>()?;
    let mut rows = Vec::new();
    for ((step_s, lead_s), of) in ROWS.into_iter().zip(&followed) {
        let (open_s, retell_s) = opened(&args, (step_s, lead_s), of)?;
        let (steps, micros_per_step, bytes) = (of.sights.len(), of.micros_per_step, of.bytes);
        println!("{step_s:>8}{lead_s:>8}{steps:>8}{micros_per_step:>12.1}{bytes:>12}{open_s:>12.2}{retell_s:>12.2}");
        rows.push(json!({
            "step_s": step_s, "lead_s": lead_s, "steps": steps, "micros_per_step": micros_per_step, "bytes": bytes,
            "open_cpu_s": open_s, "retell_cpu_s": retell_s,
        }));
    }
    if args.json {
        let (days, services, share) = (args.days, args.services, args.share);
        println!("{}", json!({ "days": days, "services": services, "share": share, "rows": Value::Array(rows) }));
    }
    Ok(())
}

fn scale((step_s, lead_s): (u32, u32)) -> Scale {
    Scale { step_s, per_replica: 10.0, lead_steps: lead_s.div_ceil(step_s) as usize }
}

fn aim(args: &Args, step_s: u32) -> Aim {
    Aim { allowed: args.share, day_steps: (86_400 / step_s) as usize }
}

/// Lets services live through the demand, and weighs them.
fn follow(args: &Args, row: (u32, u32)) -> Result<Followed> {
    let (scale, aim) = (scale(row), aim(args, row.0));
    let demand = demand(args.days * aim.day_steps, aim.day_steps);
    let ahead = |step: usize| &demand[step..demand.len().min(step + scale.lead_steps + 1)];
    let sight = |step: usize| {
        let highest = ahead(step).iter().copied().fold(0.0, f64::max);
        Sight { demand_per_s: demand[step - 1], served: None, upper: QUANTILES.map(|p| highest * (0.9 + 0.2 * p)) }
    };
    let sights: Vec<Sight> = (1..demand.len()).map(sight).collect();
    let before = resident_bytes()?;
    let mut live: Vec<Live> = (0..args.services).map(|_| Live::new(scale, aim)).collect();
    let mut stepping = CpuTime::default();
    // One after the other within a step, as in operation: none finds its books in a cache.
    stepping.time(|| sights.iter().for_each(|sight| live.iter_mut().for_each(|one| _ = one.step(sight))))?;
    let bytes = resident_bytes()?.saturating_sub(before) / args.services;
    let micros_per_step = stepping.seconds() * 1e6 / (sights.len() * args.services) as f64;
    Ok(Followed { live, sights, micros_per_step, bytes })
}

/// CPU seconds of opening one service's books anew, and of telling its demand again.
fn opened(args: &Args, row: (u32, u32), followed: &Followed) -> Result<(f64, f64)> {
    let (scale, aim) = (scale(row), aim(args, row.0));
    anyhow::ensure!(followed.live.iter().all(Live::is_proven), "{} days prove nothing at {}", args.days, args.share);
    let mut opening = CpuTime::default();
    opening.time(|| Live::replayed(scale, aim, &followed.sights))?;
    let demand = Series::new(0, scale.step_s, demand(args.days * aim.day_steps, aim.day_steps))?;
    let mut retelling = CpuTime::default();
    let retold = retelling.time(|| Retold::of(&demand, scale.lead_steps))?;
    anyhow::ensure!(retold.has_forecasts, "{} days can not be forecast", args.days);
    Ok((opening.seconds(), retelling.seconds()))
}

/// What this process has in memory, from Linux's own account of pages.
fn resident_bytes() -> Result<usize> {
    let path = "/proc/self/status";
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}: memory is told by Linux only"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<usize> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.map(|kib| 1024 * kib).with_context(|| format!("{path} has no VmRSS"))
}

/// A day that repeats itself with noise, and at one step in a hundred a burst.
fn demand(steps: usize, day_steps: usize) -> Vec<f64> {
    let noise = |step: usize| ((step as f64 * 12.9898).sin() * 43_758.545).fract().abs();
    let of_step = |step: usize| {
        let day = 1.0 + 0.8 * (step as f64 / day_steps as f64 * std::f64::consts::TAU).sin();
        let burst = if noise(step + 1) > 0.99 { 200.0 } else { 0.0 };
        400.0 * day * (0.9 + 0.2 * noise(step)) + burst
    };
    (0..steps).map(of_step).collect()
}
