//! `cargo xtask bench traces`: forecasts of request and resource traces, against last value and seasonal naive.
//!
//! A cell is one column of one file at one horizon: 5, 15, 30 and 60 minutes and 24 hours, as far as they are whole steps.
//! Each has a forecaster of its own, rolls over the last 30 % of the trace ([`cell`]), and counts if that part holds at
//! least 50 disjoint windows; the others are printed as not judged. Missing values are neither forecast nor scored.
//!
//! The figure is the weighted quantile loss: pinball losses at the crate's scored quantiles over the sum of the actual
//! values, as a ratio to the better baseline's, over all steps of the windows; and beside it that of the last step alone.
//!
//! `--holdout` is for choosing parameters: the last 30 % of every trace are cut off first, and what is rolled over is the
//! last part of the rest.

mod cell;
#[path = "../shared/cpu.rs"]
mod cpu;
mod read;
mod tally;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use clap::Parser;
use forebay_forecast::{FITTED_SHARE, SCORED_QUANTILES, Series};
use serde_json::{Value, json};

use crate::cell::{Judged, MIN_WINDOWS, NotJudged};
use crate::read::Trace;
use crate::tally::{COVERED, FORECASTERS, Interval};

/// Horizons in seconds, with what they are called.
const HORIZONS: [(&str, u32); 5] = [("5m", 300), ("15m", 900), ("30m", 1800), ("60m", 3600), ("24h", 86_400)];

/// Forecasts of traces against the better of last value and seasonal naive.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench traces")]
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
    /// Only these horizons: 5m, 15m, 30m, 60m, 24h
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    horizons: Vec<String>,
    /// Cells at once; the figures do not depend on it
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Search parameters before the first fit of each cell, with so many fits
    #[arg(long, value_name = "N")]
    search: Option<usize>,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// A trace at a horizon.
struct Cell<'a> {
    trace: &'a str,
    horizon: &'static str,
    series: &'a Series,
    steps: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    for name in &args.horizons {
        ensure!(HORIZONS.iter().any(|(known, _)| known == name), "--horizons {name}: there are 5m, 15m, 30m, 60m, 24h");
    }
    ensure!(args.threads > 0, "--threads must be at least 1");
    let traces = read::folder(&args.data, args.only.as_deref())?;
    let traces: Vec<Trace> = if args.holdout { traces.into_iter().map(without_last_part).collect() } else { traces };
    let cells = cells(&args, &traces);
    println!("{}", conditions(&args));
    for trace in &traces {
        if let Err(reason) = &trace.series {
            println!("{}: not judged: {reason}", trace.name);
        }
    }
    print_header();
    let outcomes = run_all(&cells, args.threads, args.search)?;
    let judged: Vec<(&Cell<'_>, &Judged)> =
        cells.iter().zip(&outcomes).filter_map(|(cell, outcome)| Some((cell, outcome.as_ref().ok()?))).collect();
    let summary = summary(&judged);
    println!("{}", in_words(&summary, cells.len()));
    if args.json {
        let mut line = summary;
        line["cells"] = json!(judged.len());
        line["cells_not_judged"] = json!(cells.len() - judged.len());
        line["table"] = cells.iter().zip(&outcomes).map(|(cell, outcome)| row_json(cell, outcome)).collect();
        line["conditions"] = json!({
            "part": if args.holdout { "before the last 30 %" } else { "last 30 %" }, "quantiles": SCORED_QUANTILES,
            "min_windows": MIN_WINDOWS, "baselines": &FORECASTERS[1..], "bootstrap": "days, 200 resamples, seeded",
        });
        println!("{line}");
    }
    Ok(())
}

fn without_last_part(trace: Trace) -> Trace {
    let cut = |series: Series| series.slice(0, (FITTED_SHARE * series.len() as f64).floor() as usize);
    let series = trace.series.and_then(|series| cut(series).map_err(|error| error.to_string()));
    Trace { series, ..trace }
}

fn cells<'a>(args: &Args, traces: &'a [Trace]) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();
    for trace in traces {
        let Ok(series) = &trace.series else { continue };
        for (horizon, horizon_s) in HORIZONS {
            let wanted = args.horizons.is_empty() || args.horizons.iter().any(|name| name == horizon);
            if wanted && horizon_s.is_multiple_of(series.step_s()) {
                let steps = (horizon_s / series.step_s()) as usize;
                cells.push(Cell { trace: &trace.name, horizon, series, steps });
            }
        }
    }
    cells
}

/// Runs the cells, each on one thread; the outcomes stand in the order of the cells, whoever was first. Rows are printed
/// as soon as all before them are done.
fn run_all(cells: &[Cell<'_>], threads: usize, search: Option<usize>) -> Result<Vec<Result<Judged, NotJudged>>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((0, cells.iter().map(|_| None).collect::<Vec<_>>()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, cell)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, cells.get(index)?)))
                {
                    let outcome = cell::run(cell.series, cell.steps, search);
                    let Ok(mut done) = done.lock() else { return };
                    let (printed, outcomes) = &mut *done;
                    outcomes[index] = Some(outcome);
                    while let Some(Some(Ok(outcome))) = outcomes.get(*printed) {
                        print_row(&cells[*printed], outcome);
                        *printed += 1;
                    }
                }
            });
        }
    });
    let (_, outcomes) = done.into_inner().map_err(|_| anyhow::anyhow!("a thread of the bench panicked"))?;
    outcomes.into_iter().flatten().collect()
}

fn conditions(args: &Args) -> String {
    let part = if args.holdout { "the end of the first 70 %; the last 30 % are not read" } else { "the last 30 %" };
    format!(
        "traces: rolling over {part}; fitted on at most 8 weeks before, again every day (every week where the part is \
         longer than 10 days);\nat most 2000 origins and 12000 forecast steps per cell, evenly over the part; cells with \
         fewer than {MIN_WINDOWS} disjoint windows are not judged;\nboth baselines have the same calibration and live \
         updates; in brackets: 95 % block bootstrap over days"
    )
}

fn print_header() {
    println!(
        "{:<58}{:>5}{:>8}{:>8}{:>9}{:>9}{:>9}  {:<22}{:>7}  {:<22}{:>7}{:>7}{:>8}  chosen",
        "trace",
        "at",
        "windows",
        "origins",
        "wql",
        "last",
        "seasonal",
        "ratio",
        "lead",
        "coverage of 95 %",
        "lead",
        "CPU s",
        "fit s"
    );
}

fn print_row(cell: &Cell<'_>, outcome: &Result<Judged, NotJudged>) {
    let Cell { trace, horizon, .. } = cell;
    match outcome {
        Err(NotJudged { windows, reason }) => println!("{trace:<58}{horizon:>5}{windows:>8}  not judged: {reason}"),
        Ok(judged) => {
            let (all, last_lead) = (judged.all.total(), judged.last_lead.total());
            let (ratio, coverage) = judged.all.intervals();
            let [own, last, seasonal] = all.wql();
            let chosen: Vec<String> = judged.chosen.iter().map(|(name, count)| format!("{name} {count}")).collect();
            println!(
                "{trace:<58}{horizon:>5}{:>8}{:>8}{own:>9.4}{last:>9.4}{seasonal:>9.4}  {:<22}{:>7.3}  {:<22}{:>7.3}{:>7.1}{:>8.2}  {}",
                judged.windows,
                judged.origins,
                figure(all.ratio(), ratio),
                last_lead.ratio(),
                figure(all.coverage(), coverage),
                last_lead.coverage(),
                judged.cpu_s,
                judged.fit_cpu_s,
                chosen.join(", "),
            );
        }
    }
}

fn figure(value: f64, (from, to): Interval) -> String {
    format!("{value:.3} [{from:.3} {to:.3}]")
}

/// The figures over all cells that count; an empty object's figures are null.
fn summary(judged: &[(&Cell<'_>, &Judged)]) -> Value {
    let ratios: Vec<f64> = judged.iter().map(|(_, judged)| judged.all.total().ratio()).collect();
    let mut gaps: Vec<f64> = judged.iter().map(|(_, judged)| (judged.all.total().coverage() - COVERED).abs()).collect();
    gaps.sort_by(f64::total_cmp);
    let geomean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let sum = |seconds: fn(&Judged) -> f64| judged.iter().map(|(_, judged)| seconds(judged)).sum::<f64>();
    json!({
        "wql_ratio_geomean": (!ratios.is_empty()).then_some(geomean),
        "wql_ratio_worst": ratios.iter().copied().max_by(f64::total_cmp),
        "coverage_p95_worst_gap": gaps.last(),
        "coverage_p95_median_gap": median(&gaps),
        "cells_worse_by_2_percent": ratios.iter().filter(|ratio| **ratio > 1.02).count(),
        "cells_off_by_3_points": gaps.iter().filter(|gap| **gap > 0.03).count(),
        "cpu_s": sum(|judged| judged.cpu_s),
        "fit_cpu_s": sum(|judged| judged.fit_cpu_s),
    })
}

fn median(ascending: &[f64]) -> Option<f64> {
    let middle = ascending.len() / 2;
    match ascending.len() {
        0 => None,
        len if len.is_multiple_of(2) => Some((ascending[middle - 1] + ascending[middle]) / 2.0),
        _ => Some(ascending[middle]),
    }
}

fn in_words(summary: &Value, cells: usize) -> String {
    let figure = |key: &str| summary[key].as_f64().map_or("-".to_owned(), |value| format!("{value:.3}"));
    format!(
        "{cells} cells. wql_ratio_geomean {}, worst {}, {} worse by more than 2 %; coverage off by {} at worst, {} in the \
         median, {} by more than 3 points; {} CPU s, of which Forebay's fits {}",
        figure("wql_ratio_geomean"),
        figure("wql_ratio_worst"),
        summary["cells_worse_by_2_percent"],
        figure("coverage_p95_worst_gap"),
        figure("coverage_p95_median_gap"),
        summary["cells_off_by_3_points"],
        figure("cpu_s"),
        figure("fit_cpu_s"),
    )
}

fn row_json(cell: &Cell<'_>, outcome: &Result<Judged, NotJudged>) -> Value {
    let mut row = json!({ "trace": cell.trace, "horizon": cell.horizon, "steps": cell.steps });
    match outcome {
        Err(NotJudged { windows, reason }) => {
            row["windows"] = json!(windows);
            row["not_judged"] = json!(reason);
        }
        Ok(judged) => {
            let (all, last_lead) = (judged.all.total(), judged.last_lead.total());
            let (ratio, coverage) = judged.all.intervals();
            row["windows"] = json!(judged.windows);
            row["origins"] = json!(judged.origins);
            row["scored_steps"] = json!(all.scored());
            row["days"] = json!(judged.all.days());
            for (name, wql) in ["wql", "wql_last_value", "wql_seasonal_naive"].into_iter().zip(all.wql()) {
                row[name] = json!(wql);
            }
            row["wql_ratio"] = json!(all.ratio());
            row["wql_ratio_interval"] = json!(ratio);
            row["wql_ratio_last_lead"] = json!(last_lead.ratio());
            row["coverage_p95"] = json!(all.coverage());
            row["coverage_p95_interval"] = json!(coverage);
            row["coverage_p95_last_lead"] = json!(last_lead.coverage());
            row["fits"] = json!(judged.fits);
            row["chosen"] = json!(judged.chosen);
            row["cpu_s"] = json!(judged.cpu_s);
            row["fit_cpu_s"] = json!(judged.fit_cpu_s);
        }
    }
    row
}
