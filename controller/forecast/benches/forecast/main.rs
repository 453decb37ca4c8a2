//! `cargo xtask bench forecast`: forecasts of M4's hourly series, scored as the competition did, with their cost in CPU.
//!
//! Each series is fitted and forecast once by the whole selection, as the controller would, once more with a network of
//! many series taking part ([`network`]), and once by each model alone. The point is the median, the interval lies between the quantiles 0.025 and 0.975. `--holdout` is for choosing
//! parameters: the last 48 steps of each training part are what is to be forecast, and the test part is never read.
//!
//! One thread; CPU time is the thread's own. What `series_per_cpu_s` counts is everything that a series costs: backtests
//! of all models, choice, calibration, the final fit, and the forecast with its quantiles. In a model's own row it is
//! `fit_as`, so the baselines' backtests are in it; the bare fit stands beside it, with the bytes that a stored one takes.
//!
//! Last, what a controller with many keys spends ([`keys`]).

#[path = "../shared/cpu.rs"]
mod cpu;
mod keys;
mod m4;
mod naive2;
mod network;
mod scores;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use forebay_forecast::{
    Effort, Forecaster, Globals, History, MAX_DONORS, ModelKind, SearchBudget, Series, Settings, Trial, fit, fit_as,
    fit_with, tune,
};
use serde_json::{Value, json};

use crate::cpu::CpuTime;
use crate::keys::KeyCosts;
use crate::m4::{Task, Tasks};
use crate::naive2::SEASON;
use crate::scores::{Entry, Scores};

/// When every series begins, as far as anybody knows: Monday, 2018-01-01 0:00 UTC.
const START_S: i64 = 1_514_764_800;
const STEP_S: u32 = 3600;

/// Forecasts of M4 Hourly: accuracy, calibration, CPU time.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench forecast")]
struct Args {
    /// Folder with Hourly-train.csv, Hourly-test.csv and naive2_forecasts.csv, or with a folder m4 that has them
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Forecast the last 48 steps of the training part; the test part is not read
    #[arg(long)]
    holdout: bool,
    /// Only every N-th series
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: usize,
    /// Only this model, no selection
    #[arg(long, value_name = "MODEL", conflicts_with = "no_models")]
    only: Option<String>,
    /// Also search parameters for each series, with so many fits
    #[arg(long, value_name = "N")]
    search: Option<usize>,
    /// Let the selection try at most N expensive models where the cheap ones left something to be gained
    #[arg(long, value_name = "N", default_value_t = 0)]
    thorough: usize,
    /// Only the selection, no model on its own
    #[arg(long)]
    no_models: bool,
    /// Generated keys to measure retraining and updates on; 0 for none
    #[arg(long, value_name = "N", default_value_t = 100)]
    keys: usize,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.every > 0, "--every must be at least 1");
    let tasks = m4::read(&args.data, args.holdout, args.every)?;
    let kinds = kinds(&args)?;
    println!("{}", conditions(&args, &tasks));
    println!(
        "{:<24}{:>7}{:>8}{:>8}{:>9}{:>8}{:>8}{:>14}{:>11}{:>10}",
        "", "series", "OWA", "sMAPE", "MASE", "MSIS95", "cov95", "series/CPU-s", "fit CPU ms", "bytes"
    );
    let anchors = [
        ("Naive2, as given", plain(&tasks.tasks, |task| task.naive2.clone())),
        ("seasonal naive, 24", plain(&tasks.tasks, last_season)),
    ];
    for (name, scores) in &anchors {
        print_row(name, scores, &Cost::default());
    }
    let mut line = json!({
        "conditions": {
            "data": if args.holdout { "end of the training part" } else { "test part" }, "series": tasks.tasks.len(),
            "every": args.every, "naive2": tasks.naive2_from, "threads": 1, "thorough": args.thorough,
        },
        "anchors": anchors.iter().map(|(name, scores)| row_json(name, scores, &Cost::default())).collect::<Vec<_>>(),
    });
    if args.only.is_none() {
        let effort = if args.thorough > 0 { Effort::Thorough { most: args.thorough } } else { Effort::Quick };
        let run = run(&tasks.tasks, |series, settings| Ok(fit(series, &Settings { effort, ..settings.clone() })?))?;
        print_row("selection", &run.scores, &run.cost);
        println!("{}", run.picks());
        for (key, value) in [
            ("owa", run.scores.owa()),
            ("smape", run.scores.smape()),
            ("mase", run.scores.mase()),
            ("msis_95", run.scores.msis()),
            ("coverage_95", run.scores.coverage()),
            ("series_per_cpu_s", run.cost.series_per_cpu_s),
        ] {
            line[key] = json!(value);
        }
        line["models_run"] = json!(run.was_run);
        line["models_chosen"] = json!(run.chosen);

        let (globals, training_cpu_s) = network::trained(&tasks.tasks)?;
        let run = run_on(
            &tasks.tasks,
            |task| network::series(task, &tasks.tasks),
            |series, settings| Ok(fit_with(&globals, series, settings)?),
        )?;
        print_row("selection with network", &run.scores, &run.cost);
        println!("{}; {training_cpu_s:.1} CPU s of training beside it", run.picks());
        line["with_network"] = row_json("selection with network", &run.scores, &run.cost);
        line["with_network"]["training_cpu_s"] = json!(training_cpu_s);

        if let Some(trials) = args.search {
            let donors = RefCell::new(Vec::new());
            let run = run_on(&tasks.tasks, series, |series, settings| tuned_fit(series, settings, trials, &donors))?;
            print_row("selection, tuned", &run.scores, &run.cost);
            line["with_search"] = row_json("selection, tuned", &run.scores, &run.cost);
        }
    }
    let mut rows = Vec::new();
    for kind in kinds {
        let run = run_model(&tasks.tasks, kind)?;
        print_row(kind.as_str(), &run.scores, &run.cost);
        for (refusal, count) in &run.refused {
            println!("  {count} series refused: {refusal}");
        }
        rows.push(row_json(kind.as_str(), &run.scores, &run.cost));
    }
    if !rows.is_empty() {
        line["models"] = json!(rows);
    }
    if args.keys > 0 {
        let costs = KeyCosts::measure(args.keys)?;
        println!("{}", costs.in_words());
        line["keys"] = costs.json();
    }
    if args.json {
        println!("{line}");
    }
    Ok(())
}

fn kinds(args: &Args) -> Result<Vec<ModelKind>> {
    let all = ModelKind::ALL.to_vec();
    let Some(name) = &args.only else {
        return Ok(if args.no_models { Vec::new() } else { all });
    };
    let known = all.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    let kind = all.iter().find(|kind| kind.as_str() == name);
    Ok(vec![*kind.with_context(|| format!("--only {name}: there is no such model; there are {known}"))?])
}

fn conditions(args: &Args, tasks: &Tasks) -> String {
    let part = if args.holdout { "last 48 steps of the training part; test part not read" } else { "test part" };
    let naive2 = match tasks.naive2_differs_by {
        Some(part) => format!("{} (the bench's own differs by at most {:.1e} of a value)", tasks.naive2_from, part),
        None => tasks.naive2_from.to_owned(),
    };
    format!("forecast: {} hourly series, {part}; OWA against {naive2}; one thread", tasks.tasks.len())
}

/// What a set of fits came to.
#[derive(Debug, Default)]
struct Run {
    scores: Scores,
    cost: Cost,
    was_run: BTreeMap<&'static str, usize>,
    chosen: BTreeMap<&'static str, usize>,
    refused: BTreeMap<String, usize>,
}

#[derive(Debug, Default)]
struct Cost {
    series_per_cpu_s: Option<f64>,
    fit_cpu_ms: Option<f64>,
    stored_bytes: Option<usize>,
}

impl Run {
    fn picks(&self) -> String {
        let count = |counts: &BTreeMap<&str, usize>, name: &str| counts.get(name).copied().unwrap_or(0);
        let per_model = self
            .was_run
            .keys()
            .map(|name| format!("{name} {}/{}", count(&self.chosen, name), count(&self.was_run, name)));
        format!("  chosen/run: {}", per_model.collect::<Vec<_>>().join(", "))
    }
}

/// Fits and forecasts every series; a series that is refused ends the bench, with its name.
fn run(tasks: &[Task], fit: impl Fn(&Series, &Settings) -> Result<Forecaster>) -> Result<Run> {
    run_on(tasks, series, fit)
}

/// The same with the series made otherwise.
fn run_on(
    tasks: &[Task],
    series: impl Fn(&Task) -> Result<Series>,
    fit: impl Fn(&Series, &Settings) -> Result<Forecaster>,
) -> Result<Run> {
    let (mut run, mut cpu) = (Run::default(), CpuTime::default());
    for task in tasks {
        let series = series(task)?;
        let settings = Settings { horizon_steps: task.actual.len(), ..Settings::default() };
        let done = cpu.time(|| -> Result<_> {
            let forecaster = fit(&series, &settings)?;
            let entry = Entry::of(&forecaster.predict(&series)?);
            Ok((forecaster, entry))
        })?;
        let (forecaster, entry) = done.with_context(|| format!("series {}", task.name))?;
        run.scores.add(task, &entry);
        let report = forecaster.report();
        for candidate in &report.candidates {
            let was_run = run.was_run.entry(candidate.kind.as_str()).or_default();
            *was_run += usize::from(candidate.outcome.is_ok());
        }
        *run.chosen.entry(report.chosen.as_str()).or_default() += 1;
    }
    run.cost.series_per_cpu_s = Some(run.scores.series as f64 / cpu.seconds().max(f64::MIN_POSITIVE));
    Ok(run)
}

/// A fit with parameters searched for the series, warmed by the trials of the series before it.
fn tuned_fit(
    series: &Series,
    settings: &Settings,
    trials: usize,
    donors: &RefCell<Vec<Vec<Trial>>>,
) -> Result<Forecaster> {
    let tuned = tune(&Globals::default(), series, settings, SearchBudget { trials, seed: 1 }, &donors.borrow())?;
    let mut donors = donors.borrow_mut();
    if donors.len() == MAX_DONORS {
        donors.remove(0);
    }
    donors.push(tuned.trials);
    Ok(fit_with(&Globals { tuning: tuned.tuning, ..Globals::default() }, series, settings)?)
}

/// One model on every series that it takes.
fn run_model(tasks: &[Task], kind: ModelKind) -> Result<Run> {
    let (mut cpu, mut largest, mut taken, mut refused) = (CpuTime::default(), 0, Vec::new(), BTreeMap::new());
    for task in tasks {
        let history = History::new(&series(task)?);
        match cpu.time(|| kind.fit(&history, history.len(), task.actual.len()))? {
            Ok(fitted) => {
                largest = largest.max(postcard::to_allocvec(&fitted).context("store a fitted model")?.len());
                taken.push(task.clone());
            }
            Err(error) => *refused.entry(error.to_string()).or_default() += 1,
        }
    }
    let mut run = run(&taken, |series, settings| Ok(fit_as(kind, series, settings)?))?;
    run.refused = refused;
    run.cost.fit_cpu_ms = Some(1000.0 * cpu.seconds() / tasks.len() as f64);
    run.cost.stored_bytes = Some(largest);
    Ok(run)
}

fn series(task: &Task) -> Result<Series> {
    Series::new(START_S, STEP_S, task.train.clone()).with_context(|| format!("series {}", task.name))
}

/// Scores of points that need no fit.
fn plain(tasks: &[Task], points: impl Fn(&Task) -> Vec<f64>) -> Scores {
    let mut scores = Scores::default();
    for task in tasks {
        scores.add(task, &Entry { points: points(task), interval: Vec::new() });
    }
    scores
}

fn last_season(task: &Task) -> Vec<f64> {
    let season = &task.train[task.train.len().saturating_sub(SEASON)..];
    season.iter().copied().cycle().take(task.actual.len()).collect()
}

fn print_row(name: &str, scores: &Scores, cost: &Cost) {
    let number = |value: Option<f64>, decimals: usize| match value {
        Some(value) => format!("{value:.decimals$}"),
        None => "-".to_owned(),
    };
    println!(
        "{name:<24}{:>7}{:>8}{:>8}{:>9}{:>8}{:>8}{:>14}{:>11}{:>10}",
        scores.series,
        number(scores.owa(), 4),
        number(scores.smape(), 3),
        number(scores.mase(), 4),
        number(scores.msis(), 3),
        number(scores.coverage(), 4),
        number(cost.series_per_cpu_s, 1),
        number(cost.fit_cpu_ms, 2),
        cost.stored_bytes.map_or("-".to_owned(), |bytes| bytes.to_string()),
    );
    if scores.without_scale > 0 {
        println!("  {} series repeat themselves exactly: no MASE, no MSIS", scores.without_scale);
    }
}

fn row_json(name: &str, scores: &Scores, cost: &Cost) -> Value {
    json!({
        "name": name, "series": scores.series, "owa": scores.owa(), "smape": scores.smape(), "mase": scores.mase(),
        "msis_95": scores.msis(), "coverage_95": scores.coverage(), "series_per_cpu_s": cost.series_per_cpu_s,
        "fit_cpu_ms": cost.fit_cpu_ms, "stored_bytes_largest": cost.stored_bytes,
    })
}
