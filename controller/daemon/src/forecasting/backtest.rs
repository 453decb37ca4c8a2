//! `forebay backtest`: how well the forecasts of each series would have done over its last part, beside naive ones.
//!
//! Every forecaster lives through the last 30 % of the series with the controller's refits and live updates
//! ([`Rolling`]). The selection, or each model that was named, is compared with last value and seasonal naive, which get
//! the same calibration; `ratio` is its weighted quantile loss over the better one's, so below 1 it helps.
//!
//! With `--events` it lives with what the calendar says, and once more without, so that what the calendar is worth can be
//! read: on the steps in events and on the others ([`WithEvents`]).

mod leads;
mod with_events;

use std::collections::BTreeMap;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use forebay_forecast::{
    EventCalendar, ForecastError, MAX_SEARCH_FITS, ModelKind, Rolling, SCORED_QUANTILES, Series, Worth,
};
use forebay_forecast::{mean_absolute_error, pinball_loss, seasonal_scale};
use serde_json::{Value, json};

use super::page::PlotArgs;
use super::plot::{Fan, MEDIAN, PLOTTED, Plot};
use super::{Question, Task, failure, network, report_failures, search, source, tasks, work};
use crate::config::forecast::LONGEST_TRAINING_S;
use leads::Leads;
use with_events::WithEvents;

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
    /// Let a network of all series take part, trained on their first parts for so many seconds of CPU
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "20",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST_TRAINING_S)))]
    network: Option<u32>,
    /// Search the models' parameters for each series on its first part, with so many fits
    #[arg(long, value_name = "FITS", value_parser = clap::value_parser!(u16).range(2..=MAX_SEARCH_FITS as i64))]
    search: Option<u16>,
    /// Tell which columns lead which, by how many steps, and what of it is more than chance
    #[arg(long)]
    leads: bool,
    #[command(flatten)]
    plot: PlotArgs,
}

/// What came of one task.
struct Outcome {
    windows: usize,
    own: Lived,
    events: Option<WithEvents>,
    /// Weighted quantile losses of [`BASELINES`].
    baselines: [f64; BASELINES.len()],
}

/// Loss and demand over some steps.
#[derive(Clone, Copy, Default)]
struct Losses {
    loss: f64,
    actuals: f64,
    steps: u32,
}

impl Losses {
    fn wql(self) -> f64 {
        self.loss / (self.actuals * SCORED_QUANTILES.len() as f64)
    }
}

/// What a forecaster's life came to.
#[derive(Default)]
struct Lived {
    origins: usize,
    /// Steps outside events, and in them.
    losses: [Losses; 2],
    covered: u32,
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
    fn all(&self) -> Losses {
        let [plain, events] = self.losses;
        Losses {
            loss: plain.loss + events.loss,
            actuals: plain.actuals + events.actuals,
            steps: plain.steps + events.steps,
        }
    }

    fn wql(&self) -> f64 {
        self.all().wql()
    }

    fn coverage(&self) -> f64 {
        f64::from(self.covered) / f64::from(self.all().steps)
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
    args.plot.check()?;
    let named = source::read(&args.question)?;
    let mut tasks = tasks(&args.question, &named)?;
    if let Some(cpu_s) = args.network {
        network::train(&mut tasks, cpu_s)?;
    }
    if let Some(trials) = args.search {
        search::tune_all(&mut tasks, usize::from(trials))?;
    }
    let leads = args.leads.then(|| Leads::search(&named)).transpose()?;
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
        let leads = leads.as_ref().map(Leads::as_json);
        println!("{}", json!({ "source": args.question.source, "backtests": all, "leads": leads }));
    } else {
        print!("{}{}", as_text(&done), leads.as_ref().map(Leads::in_words).unwrap_or_default());
    }
    args.plot.write(&format!("Backtest of {}", args.question.source), || {
        done.iter().map(|(task, outcome)| plot(task, outcome)).collect()
    })?;
    report_failures(&failures, tasks.len())
}

/// `None` where there is nothing to measure.
fn one(task: &Task<'_>) -> Result<Option<Outcome>, ForecastError> {
    let rolling = Rolling::over(&task.named.series, task.steps);
    if rolling.disjoint_windows() == 0 {
        return Ok(None);
    }
    let (calendar, nothing) = (&task.named.calendar, EventCalendar::default());
    let life = |known: &EventCalendar, model| live(&rolling, task, model, known);
    let own = life(calendar, task.model)?;
    let events = if calendar.events().is_empty() {
        None
    } else {
        let without = life(&nothing, task.model)?;
        Some(WithEvents::of(&own, &without, calendar))
    };
    let baseline = |kind| life(&nothing, Some(kind));
    let [last, seasonal] = BASELINES;
    let baselines = [baseline(last)?.wql(), baseline(seasonal)?.wql()];
    let windows = rolling.disjoint_windows();
    Ok((own.all().actuals > 0.0).then_some(Outcome { windows, own, events, baselines }))
}

/// A life that knows of the events of `known`; its losses are told apart by those of the task.
fn live(
    rolling: &Rolling,
    task: &Task<'_>,
    model: Option<ModelKind>,
    known: &EventCalendar,
) -> Result<Lived, ForecastError> {
    let series = &task.named.series;
    let (mut lived, mut plotted_to, mut first) = (Lived::default(), 0, None);
    let (mut chosen, mut worth) = (BTreeMap::new(), BTreeMap::new());
    let fit = |history: &Series| {
        let fitted =
            Task { model, globals: task.globals.clone(), settings: task.settings.clone(), ..*task }.fit(history)?;
        *chosen.entry(fitted.report().chosen.as_str()).or_default() += 1;
        *worth.entry(fitted.report().worth().map_or("not-tried", Worth::as_str)).or_default() += 1;
        Ok(fitted)
    };
    rolling.run_with_events(series, known, fit, |from, forecast| {
        lived.origins += 1;
        first.get_or_insert(from);
        let is_apart = from >= plotted_to;
        if is_apart {
            plotted_to = from + forecast.steps.len();
        }
        for (step, &actual) in forecast.steps.iter().zip(&series.values()[from..]) {
            let start_s = step.plain.start_s;
            if is_apart {
                let start_s = task.named.real_s(start_s);
                lived.fans.push(Fan { start_s, quantiles: PLOTTED.map(|p| step.quantile(p)) });
            }
            if actual.is_nan() || step.plain.lead <= task.settings.gap_steps {
                continue;
            }
            let losses = &mut lived.losses[usize::from(task.named.calendar.is_on(start_s))];
            losses.loss += SCORED_QUANTILES.iter().map(|&p| pinball_loss(p, step.quantile(p), actual)).sum::<f64>();
            losses.actuals += actual;
            losses.steps += 1;
            lived.covered += u32::from(actual <= step.quantile(COVERED));
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
    let events = done.iter().filter_map(|(task, outcome)| Some((*task, outcome.events.as_ref()?)));
    format!(
        "{table}\nratio: weighted quantile loss to the better of last value and seasonal naive; below 1 is better\n{}",
        with_events::table(events)
    )
}

fn as_json(task: &Task<'_>, outcome: &Outcome) -> Value {
    let own = &outcome.own;
    json!({
        "series": task.named.name, "horizon_s": task.horizon.seconds, "step_s": task.named.step_s,
        "gap_steps": task.settings.gap_steps, "windows": outcome.windows, "origins": own.origins, "scored_steps": own.all().steps, "wql": own.wql(),
        "wql_last_value": outcome.baselines[0], "wql_seasonal_naive": outcome.baselines[1],
        "wql_ratio": outcome.ratio(), "coverage_p95": own.coverage(), "mase": own.mase, "chosen": own.chosen,
        "worth": own.worth, "events": outcome.events.as_ref().map(WithEvents::as_json),
    })
}

fn plot(task: &Task<'_>, outcome: &Outcome) -> Plot {
    let named = task.named;
    let fans = outcome.own.fans.clone();
    let from_s = fans.first().map_or(named.end_s(), |fan| fan.start_s);
    let from = (from_s - named.real_s(named.series.start_s())) / i64::from(named.step_s);
    Plot {
        title: format!("{}, {} ahead, as it would have been forecast", task.named.name, task.horizon),
        step_s: named.step_s,
        values: named.values(usize::try_from(from).unwrap_or(0)),
        fans,
        note: outcome.events.as_ref().map(WithEvents::in_words).unwrap_or_default(),
        beside: outcome.events.as_ref().map(|events| events.medians.clone()).unwrap_or_default(),
        events: outcome.events.as_ref().map(|events| events.spans.clone()).unwrap_or_default(),
    }
}
