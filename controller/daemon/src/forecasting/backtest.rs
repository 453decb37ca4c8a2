//! `forebay backtest`: how well the forecasts of each series would have done over its last part, beside naive ones.
//!
//! Every forecaster lives through the last 30 % of the series with the controller's refits and live updates
//! ([`Rolling`]). The selection, or each model that was named, is compared with last value and seasonal naive, which get
//! the same calibration; `ratio` is its weighted quantile loss over the better one's, so below 1 it helps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use forebay_forecast::{ForecastError, ModelKind, Rolling, SCORED_QUANTILES, Series, Worth, fit_as, pinball_loss};
use forebay_forecast::{mean_absolute_error, seasonal_scale};
use serde_json::{Value, json};

use super::forecast::values;
use super::page::{Fan, PLOTTED, Plot, page};
use super::{Question, Task, failure, report_failures, source, tasks, work};

/// Disjoint windows below which the figures are marked as thin.
const FEW_WINDOWS: usize = 50;
/// Most forecast steps in a plot, the last ones.
const MAX_PLOTTED: usize = 400;
/// The quantile whose coverage is told; one of [`SCORED_QUANTILES`].
const COVERED: f64 = 0.95;
const BASELINES: [ModelKind; 2] = [ModelKind::LastValue, ModelKind::SeasonalNaive];

/// Arguments of `forebay backtest`.
#[derive(Debug, Args)]
pub(crate) struct BacktestArgs {
    #[command(flatten)]
    question: Question,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What came of one task.
struct Outcome {
    windows: usize,
    own: Lived,
    /// Weighted quantile losses of [`BASELINES`].
    baselines: [f64; BASELINES.len()],
}

/// What a forecaster's life came to.
#[derive(Default)]
struct Lived {
    origins: usize,
    loss: f64,
    actuals: f64,
    covered: u32,
    scored: u32,
    medians: Vec<f64>,
    actual: Vec<f64>,
    mase: Option<f64>,
    chosen: BTreeMap<&'static str, usize>,
    /// How many fits came to each verdict on whether forecasting helps.
    worth: BTreeMap<&'static str, usize>,
    /// Of windows that do not overlap.
    fans: Vec<Fan>,
}

impl Lived {
    fn wql(&self) -> f64 {
        self.loss / (self.actuals * SCORED_QUANTILES.len() as f64)
    }

    fn coverage(&self) -> f64 {
        f64::from(self.covered) / f64::from(self.scored)
    }
}

impl Outcome {
    /// `None` where the better baseline loses nothing.
    fn ratio(&self) -> Option<f64> {
        let better = self.baselines.into_iter().fold(f64::INFINITY, f64::min);
        (better > 0.0).then(|| self.own.wql() / better)
    }
}

/// Rolls and prints.
pub(crate) fn run(args: &BacktestArgs) -> anyhow::Result<()> {
    let named = source::read(&args.question)?;
    let tasks = tasks(&args.question, &named)?;
    let outcomes = work(&tasks, one);
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (task, outcome) in tasks.iter().zip(outcomes) {
        match outcome {
            Ok(Some(outcome)) => done.push((task, outcome)),
            Ok(None) => failures.push(format!(
                "{}: nothing to measure in the last part; give a longer history, a shorter --horizon, or one with demand",
                task.place()
            )),
            Err(error) => failures.push(failure(task, &error)),
        }
    }
    if args.json {
        let all: Vec<Value> = done.iter().map(|(task, outcome)| as_json(task, outcome)).collect();
        println!("{}", json!({ "source": args.question.source, "backtests": all }));
    } else {
        print!("{}", as_text(&done));
    }
    if let Some(path) = &args.html {
        let plots: Vec<Plot> = done.iter().map(|(task, outcome)| plot(task, outcome)).collect();
        let text = page(&format!("Backtest of {}", args.question.source), &plots);
        std::fs::write(path, text).with_context(|| format!("write {}: check --html", path.display()))?;
    }
    report_failures(&failures, tasks.len())
}

/// `None` where there is nothing to measure.
fn one(task: &Task<'_>) -> Result<Option<Outcome>, ForecastError> {
    let series = &task.named.series;
    let rolling = Rolling::over(series, task.steps);
    if rolling.disjoint_windows() == 0 {
        return Ok(None);
    }
    let gap_steps = task.settings.gap_steps;
    let own = live(&rolling, series, gap_steps, |history| task.fit(history))?;
    let baseline = |kind| live(&rolling, series, gap_steps, |history| fit_as(kind, history, &task.settings));
    let [last, seasonal] = BASELINES;
    let baselines = [baseline(last)?.wql(), baseline(seasonal)?.wql()];
    Ok((own.actuals > 0.0).then_some(Outcome { windows: rolling.disjoint_windows(), own, baselines }))
}

fn live(
    rolling: &Rolling,
    series: &Series,
    gap_steps: usize,
    fit: impl Fn(&Series) -> Result<forebay_forecast::Forecaster, ForecastError>,
) -> Result<Lived, ForecastError> {
    let (mut lived, mut plotted_to, mut first) = (Lived::default(), 0, None);
    let (mut chosen, mut worth) = (BTreeMap::new(), BTreeMap::new());
    let fit = |history: &Series| {
        let fitted = fit(history)?;
        *chosen.entry(fitted.report().chosen.as_str()).or_default() += 1;
        *worth.entry(fitted.report().worth().map_or("not-tried", Worth::as_str)).or_default() += 1;
        Ok(fitted)
    };
    rolling.run(series, fit, |from, forecast| {
        lived.origins += 1;
        first.get_or_insert(from);
        let is_apart = from >= plotted_to;
        if is_apart {
            plotted_to = from + forecast.steps.len();
        }
        for (step, &actual) in forecast.steps.iter().zip(&series.values()[from..]) {
            if is_apart {
                lived.fans.push(Fan { start_s: step.start_s, quantiles: PLOTTED.map(|p| step.quantile(p)) });
            }
            if actual.is_nan() || step.lead <= gap_steps {
                continue;
            }
            lived.loss += SCORED_QUANTILES.iter().map(|&p| pinball_loss(p, step.quantile(p), actual)).sum::<f64>();
            lived.actuals += actual;
            lived.covered += u32::from(actual <= step.quantile(COVERED));
            lived.scored += 1;
            lived.medians.push(step.quantile(0.5));
            lived.actual.push(actual);
        }
    })?;
    let before = &series.values()[..first.unwrap_or(0)];
    let scale = seasonal_scale(before, series.day_steps());
    lived.mase = scale.and_then(|scale| Some(mean_absolute_error(&lived.actual, &lived.medians)? / scale));
    (lived.chosen, lived.worth) = (chosen, worth);
    let surplus = lived.fans.len().saturating_sub(MAX_PLOTTED);
    lived.fans.drain(..surplus);
    Ok(lived)
}

fn as_text(done: &[(&Task<'_>, Outcome)]) -> String {
    if done.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "series",
        "horizon",
        "windows",
        "WQL",
        "last",
        "seasonal",
        "ratio",
        "cov p95",
        "MASE",
        "chosen (fits)",
        "forecasting (fits)",
    ]);
    for (task, outcome) in done {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        let few = if outcome.windows < FEW_WINDOWS { " (few)" } else { "" };
        let fits = |counts: &BTreeMap<&str, usize>| {
            let counts: Vec<String> = counts.iter().map(|(name, fits)| format!("{name} {fits}")).collect();
            counts.join(", ")
        };
        table.add_row([
            task.named.name.clone(),
            task.horizon.to_string(),
            format!("{}{few}", outcome.windows),
            format!("{:.4}", outcome.own.wql()),
            format!("{:.4}", outcome.baselines[0]),
            format!("{:.4}", outcome.baselines[1]),
            number(outcome.ratio()),
            number(Some(outcome.own.coverage())),
            number(outcome.own.mase),
            fits(&outcome.own.chosen),
            fits(&outcome.own.worth),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(7) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!(
        "{table}\nratio: weighted quantile loss to the better of last value and seasonal naive; below 1 is better\n"
    )
}

fn as_json(task: &Task<'_>, outcome: &Outcome) -> Value {
    let own = &outcome.own;
    json!({
        "series": task.named.name, "horizon_s": task.horizon.seconds, "step_s": task.named.series.step_s(),
        "gap_steps": task.settings.gap_steps, "windows": outcome.windows, "origins": own.origins, "scored_steps": own.scored, "wql": own.wql(),
        "wql_last_value": outcome.baselines[0], "wql_seasonal_naive": outcome.baselines[1],
        "wql_ratio": outcome.ratio(), "coverage_p95": own.coverage(), "mase": own.mase, "chosen": own.chosen,
        "worth": own.worth,
    })
}

fn plot(task: &Task<'_>, outcome: &Outcome) -> Plot {
    let series = &task.named.series;
    let fans = outcome.own.fans.clone();
    let from_s = fans.first().map_or(series.end_s(), |fan| fan.start_s);
    let from = (from_s - series.start_s()) / i64::from(series.step_s());
    Plot {
        title: format!("{}, {} ahead, as it would have been forecast", task.named.name, task.horizon),
        step_s: series.step_s(),
        values: values(series, usize::try_from(from).unwrap_or(0)),
        fans,
    }
}
