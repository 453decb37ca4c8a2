//! `cargo xtask bench provisioning`: what capacity by forecast costs beside reactive scaling, at matched violation.
//!
//! Every column of every CSV file is a demand; its highest value is served by 100 replicas. At lead times of 5, 15 and 60
//! minutes each policy is tuned on the same earlier part to let at most 1 % of the steps go unserved at the least cost, and
//! judged on the last 30 % ([`contest`]). Forecasts are made as the controller makes them ([`outlook`]).
//!
//! `--holdout` is for choosing constants: the last 30 % of every trace are cut off first.

mod contest;
mod outlook;
#[path = "../../../forecast/benches/traces/read.rs"]
mod read;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use forebay_forecast::Series;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::contest::{ALLOWED, FOREBAY, Judged, PEAK_REPLICAS, POLICIES, TUNED};

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
    let cells: Vec<Cell> = asked.into_par_iter().map(|((name, series), lead)| cell(name, series, lead)).collect();

    println!(
        "provisioning: tuned on {:.0} to {:.0} % of each trace to at most {:.0} % of steps unserved, judged on the rest; \
         {PEAK_REPLICAS:.0} replicas at the peak;\ncost is replicas paid for, ready or starting, over the oracle's \
         exact need; behind it the share of steps unserved",
        100.0 * TUNED.start,
        100.0 * TUNED.end,
        100.0 * ALLOWED
    );
    print!("{:<54}{:>5}", "trace", "lead");
    POLICIES.iter().for_each(|policy| print!("{policy:>16}"));
    println!("{:>8}  {:<17}chosen", "ratio", "unserved, 95 %");
    cells.iter().for_each(print_row);
    let judged: Vec<&Judged> = cells.iter().filter_map(|cell| cell.outcome.as_ref().ok()).collect();
    let mut line = summary(&judged);
    println!(
        "{} of {} cells judged. cost_ratio_to_best_reactive_geomean {:.3}, worst {:.3} ({:.3}, {:.3} beside those that \
         served as much, in {} cells);\nviolation_gap_points_median {:.2}, {} outside of their interval",
        judged.len(),
        cells.len(),
        line["cost_ratio_to_best_reactive_geomean"].as_f64().unwrap_or(f64::NAN),
        line["cost_ratio_to_best_reactive_worst"].as_f64().unwrap_or(f64::NAN),
        line["matched_cost_ratio_geomean"].as_f64().unwrap_or(f64::NAN),
        line["matched_cost_ratio_worst"].as_f64().unwrap_or(f64::NAN),
        line["matched_cells"],
        line["violation_gap_points_median"].as_f64().unwrap_or(f64::NAN),
        line["violation_outside_interval"],
    );
    if args.json {
        line["table"] = cells.iter().map(row_json).collect();
        println!("{line}");
    }
    Ok(())
}

fn cell(name: &str, series: &Series, (lead, lead_s): (&'static str, u32)) -> Cell {
    let outcome = if lead_s.is_multiple_of(series.step_s()) {
        contest::judge(series, (lead_s / series.step_s()) as usize).map_err(|error| error.to_string())
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
            for measures in &judged.measures {
                print!("{:>9.3} {:>5.2}%", measures.cost_over_oracle(), 100.0 * measures.violations);
            }
            let (from, to) = judged.violations;
            let violations = format!("[{:.2} {:.2}]%", 100.0 * from, 100.0 * to);
            println!("{:>8.3}  {violations:<17}{}", judged.ratio(), judged.chosen);
        }
    }
}

fn summary(judged: &[&Judged]) -> Value {
    let mut gaps: Vec<f64> = judged.iter().map(|judged| 100.0 * judged.gap()).collect();
    gaps.sort_by(f64::total_cmp);
    let ratios: Vec<f64> = judged.iter().map(|judged| judged.ratio()).collect();
    let matched: Vec<f64> = judged.iter().filter_map(|judged| judged.matched_ratio()).collect();
    let geomean = |ratios: &[f64]| (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let worst = |ratios: &[f64]| ratios.iter().copied().fold(0.0, f64::max);
    json!({
        "cells_judged": judged.len(),
        "cost_ratio_to_best_reactive_geomean": geomean(&ratios), "cost_ratio_to_best_reactive_worst": worst(&ratios),
        "matched_cost_ratio_geomean": geomean(&matched), "matched_cost_ratio_worst": worst(&matched),
        "matched_cells": matched.len(),
        "violation_gap_points_median": gaps.get(gaps.len() / 2),
        "violation_outside_interval": judged.iter().filter(|judged| judged.is_outside()).count(),
    })
}

fn row_json(cell: &Cell) -> Value {
    let Cell { trace, lead, outcome } = cell;
    match outcome {
        Err(reason) => json!({ "trace": trace, "lead": lead, "not_judged": reason }),
        Ok(judged) => {
            let policies: serde_json::Map<String, Value> = POLICIES
                .iter()
                .zip(&judged.measures)
                .map(|(policy, of)| {
                    let figures = json!({
                        "cost_over_oracle": of.cost_over_oracle(), "tau_u": of.violations, "tau_o": of.over,
                        "theta_u": of.missing, "theta_o": of.idle, "instability": of.instability,
                        "unserved_share": of.unserved, "violation_minutes_per_day": 1440.0 * of.violations,
                    });
                    (policy.replace(' ', "_"), figures)
                })
                .collect();
            let of = judged.measures[FOREBAY];
            json!({
                "trace": trace, "lead": lead, "chosen": judged.chosen, "cost_ratio_to_best_reactive": judged.ratio(),
                "violations": of.violations, "violations_interval": [judged.violations.0, judged.violations.1],
                "steps": of.steps, "policies": policies,
            })
        }
    }
}
