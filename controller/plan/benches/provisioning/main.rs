//! `cargo xtask bench provisioning`: what capacity by forecast costs beside reactive scaling, at matched violation.
//!
//! Every column of every CSV file is a demand; its highest value is served by 100 replicas. At lead times of 5, 15 and 60
//! minutes each policy is tuned on the same earlier part to let at most 1 % of the steps go unserved at the least cost, and
//! judged on the last 30 % ([`contest`]). Forecasts are made as the controller makes them. Forebay is guarded by the reactive
//! policies as they were tuned on the earlier part.
//!
//! `cost_ratio_to_best_reactive` is Forebay beside the cheaper of autoscaler and last value as they were tuned on the earlier
//! part, whatever they left unserved on the judged one. `hindsight_cost_ratio` is the hardest comparison, at matched violation:
//! beside the cheapest of their settings that left no more unserved than 1 %, or than Forebay did, on the judged part itself.
//! `paced_cost_ratio` is beside the last value with Forebay's own pacing but no forecast.
//!
//! `violation_outside_interval` counts where the allowed share lies outside of the 95 % interval of what Forebay left unserved
//! ([`violation_interval`](forebay_plan::simulation::violation_interval)); of many that leave just what is allowed one in forty
//! may do so at either end. It is not outside of much where few days were judged: `violation_undecided` counts where the interval
//! holds twice the allowed share too. `violation_outside_percentile_interval` counts by plain percentiles of resampled days,
//! which are too narrow: of courses that truly leave what is allowed they put two in ten outside in four weeks, and six in
//! ten or more in two days.
//!
//! `--holdout` is for choosing constants: the last 30 % of every trace are cut off first.

mod contest;
mod kept;
#[path = "../../../forecast/benches/traces/read.rs"]
mod read;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use forebay_forecast::Series;
use rayon::prelude::*;
use serde_json::{Value, json};

use forebay_plan::simulation::{Kind, TUNED_SHARES};

use crate::contest::{ALLOWED, Judged, PEAK_REPLICAS};

/// Lead times in seconds, with what they are called.
const LEADS: [(&str, u32); 3] = [("5m", 300), ("15m", 900), ("60m", 3600)];

/// Provisioning by forecast against reactive scaling, static peak and an oracle.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench provisioning")]
struct Args {
    /// Folder of CSV files, or one with a folder traces: first column time, then one series per column
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Cut off the last 30 % of every trace first, and judge on the end of the rest
    #[arg(long)]
    holdout: bool,
    /// Only traces with this in FILE/COLUMN
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Folder to keep forecasts in, which later runs then read; only for the same code, traces and --holdout
    #[arg(long, value_name = "DIR")]
    outlooks: Option<PathBuf>,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// A trace at a lead time.
struct Cell {
    trace: String,
    lead: &'static str,
    outcome: Result<Judged, String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut traces = Vec::new();
    for trace in read::folder(&args.data, args.only.as_deref())? {
        match trace.series {
            Ok(series) if args.holdout => traces.push((trace.name, series.slice(0, series.len() * 7 / 10)?)),
            Ok(series) => traces.push((trace.name, series)),
            Err(reason) => println!("{}: not judged: {reason}", trace.name),
        }
    }
    let asked: Vec<_> = traces.iter().flat_map(|trace| LEADS.map(|lead| (trace, lead))).collect();
    let cells: Vec<Cell> =
        asked.into_par_iter().map(|((name, series), lead)| cell(&args, name, series, lead)).collect();

    println!(
        "provisioning: tuned on {:.0} to {:.0} % of each trace to at most {:.0} % of steps unserved, judged on the rest; \
         {PEAK_REPLICAS:.0} replicas at the peak;\ncost is replicas paid for, ready or starting, over the oracle's \
         exact need; behind it the share of steps unserved.\nratios: forebay over the better reactive policy as tuned before, \
         whatever it left unserved; over the same at matched violation; over the best setting in hindsight; over a paced one \
         without forecast",
        100.0 * TUNED_SHARES.start,
        100.0 * TUNED_SHARES.end,
        100.0 * ALLOWED
    );
    print!("{:<54}{:>5}", "trace", "lead");
    Kind::ALL.iter().for_each(|kind| print!("{:>16}", kind.to_string()));
    println!("{:>8}{:>8}{:>8}{:>8}  {:<17}gate", "tuned", "match.", "hinds.", "paced", "unserved, 95 %");
    cells.iter().for_each(print_row);
    let judged: Vec<&Judged> = cells.iter().filter_map(|cell| cell.outcome.as_ref().ok()).collect();
    let mut line = summary(&judged);
    println!("{} of {} cells judged", judged.len(), cells.len());
    if let Some(figures) = line.as_object() {
        figures.iter().for_each(|(name, value)| println!("  {name} {value}"));
    }
    if args.json {
        line["table"] = cells.iter().map(row_json).collect();
        println!("{line}");
    }
    Ok(())
}

fn cell(args: &Args, name: &str, series: &Series, (lead, lead_s): (&'static str, u32)) -> Cell {
    let part = if args.holdout { "holdout" } else { "all" };
    let kept = args.outlooks.as_ref().map(|dir| dir.join(format!("{}-{lead}-{part}", name.replace('/', "-"))));
    let outcome = if lead_s.is_multiple_of(series.step_s()) {
        contest::judge(series, (lead_s / series.step_s()) as usize, kept.as_deref()).map_err(|error| error.to_string())
    } else {
        Err(format!("{lead} are no whole steps of {} s", series.step_s()))
    };
    Cell { trace: name.to_owned(), lead, outcome }
}

fn print_row(cell: &Cell) {
    let Cell { trace, lead, outcome } = cell;
    print!("{trace:<54}{lead:>5}");
    match outcome {
        Err(reason) => println!("  not judged: {reason}"),
        Ok(judged) => {
            for (_, measures) in judged.measures() {
                print!("{:>9.3} {:>5.2}%", measures.cost_over_oracle(), 100.0 * measures.violations);
            }
            let own = judged.own();
            let violations = format!("[{:.2} {:.2}]%", 100.0 * own.violations.from, 100.0 * own.violations.to);
            let told = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
            let (matched, hindsight) = (told(judged.matched_ratio()), told(judged.hindsight_ratio()));
            let gate = own.account.as_ref().map(ToString::to_string).unwrap_or_default();
            let (tuned, paced) = (judged.tuned_ratio(), judged.paced_ratio());
            println!("{tuned:>8.3}{matched:>8}{hindsight:>8}{paced:>8.3}  {violations:<17}{gate}");
        }
    }
}

/// Share by which a ratio may lie above 1 and count as no dearer.
const AS_CHEAP: f64 = 1.02;

fn summary(judged: &[&Judged]) -> Value {
    let mut gaps: Vec<f64> = judged.iter().map(|judged| 100.0 * judged.gap()).collect();
    gaps.sort_by(f64::total_cmp);
    // Where Forebay pays nothing at all a ratio has no logarithm.
    let geomean = |ratios: &[f64]| {
        let logs: Vec<f64> = ratios.iter().filter(|ratio| **ratio > 0.0).map(|ratio| ratio.ln()).collect();
        rounded((logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp())
    };
    let worst = |ratios: &[f64]| rounded(ratios.iter().copied().fold(0.0, f64::max));
    let above = |ratios: &[f64]| ratios.iter().filter(|ratio| **ratio > AS_CHEAP).count();
    let matched: Vec<f64> = judged.iter().filter_map(|judged| judged.matched_ratio()).collect();
    let hindsight: Vec<f64> = judged.iter().filter_map(|judged| judged.hindsight_ratio()).collect();
    let tuned: Vec<f64> = judged.iter().map(|judged| judged.tuned_ratio()).collect();
    let paced: Vec<f64> = judged.iter().map(|judged| judged.paced_ratio()).collect();
    let reactive = judged.iter().filter(|judged| judged.own().account.as_ref().is_some_and(|of| of.by_forecast == 0));
    json!({
        "cells_judged": judged.len(),
        "cost_ratio_to_best_reactive_geomean": geomean(&tuned), "cost_ratio_to_best_reactive_worst": worst(&tuned),
        "cost_ratio_to_best_reactive_above_1_02": above(&tuned),
        "matched_cost_ratio_geomean": geomean(&matched), "matched_cost_ratio_worst": worst(&matched),
        "matched_cost_ratio_above_1_02": above(&matched),
        "hindsight_cost_ratio_geomean": geomean(&hindsight), "hindsight_cost_ratio_worst": worst(&hindsight),
        "hindsight_cost_ratio_above_1_02": above(&hindsight),
        "cells_that_no_reactive_setting_matches": judged.len() - hindsight.len(),
        "paced_cost_ratio_geomean": geomean(&paced), "paced_cost_ratio_worst": worst(&paced),
        "paced_cost_ratio_above_1_02": above(&paced),
        "cells_that_stay_reactive": reactive.count(),
        "violation_gap_points_median": gaps.get(gaps.len() / 2).copied().map(rounded),
        "violation_outside_interval": judged.iter().filter(|judged| judged.is_outside()).count(),
        "violation_undecided": judged.iter().filter(|judged| judged.is_undecided()).count(),
        "violation_outside_percentile_interval":
            judged.iter().filter(|judged| judged.is_outside_percentile()).count(),
    })
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn row_json(cell: &Cell) -> Value {
    let Cell { trace, lead, outcome } = cell;
    match outcome {
        Err(reason) => json!({ "trace": trace, "lead": lead, "not_judged": reason }),
        Ok(judged) => {
            let policies: serde_json::Map<String, Value> = judged
                .measures()
                .map(|(kind, of)| {
                    let figures = json!({
                        "cost_over_oracle": of.cost_over_oracle(), "tau_u": of.violations, "tau_o": of.over,
                        "theta_u": of.missing, "theta_o": of.idle, "instability": of.instability,
                        "unserved_share": of.unserved, "violation_minutes_per_day": 1440.0 * of.violations,
                    });
                    (kind.to_string().replace(' ', "_"), figures)
                })
                .collect();
            let own = judged.own();
            json!({
                "trace": trace, "lead": lead, "gate": own.account.as_ref().map(ToString::to_string),
                "cost_ratio_to_best_reactive": judged.tuned_ratio(), "matched_cost_ratio": judged.matched_ratio(),
                "hindsight_cost_ratio": judged.hindsight_ratio(),
                "paced_cost_ratio": judged.paced_ratio(), "violations": own.measures.violations,
                "violations_interval": [own.violations.from, own.violations.to],
                "violations_percentile_interval": [judged.percentile.from, judged.percentile.to],
                "steps": own.measures.steps, "policies": policies,
            })
        }
    }
}
