//! `forebay forecast`: the next steps of each series, as quantiles.

use clap::Args;
use comfy_table::{Table, presets};
use forebay_forecast::{EventForecast, EventModel, Forecast, Forecaster, ModelKind, Worth};
use serde_json::{Value, json};

use super::page::PlotArgs;
use super::plot::{Fan, PLOTTED, Plot};
use super::sum::{Part, Sum};
use super::{Question, Task, explain, failure, report_failures, source, tasks, work};
use crate::http::anomalies::applied_json;
use crate::{calendar, events};

/// Most rows that are printed of one forecast; of a longer one so many are taken evenly, the last step among them. JSON
/// holds every step.
const MAX_ROWS: usize = 24;
/// Steps of history before the forecast in a plot, for each forecast step; and at least two days.
const PLOTTED_HISTORY: usize = 3;

/// Arguments of `forebay forecast`.
#[derive(Debug, Args)]
pub(crate) struct ForecastArgs {
    #[command(flatten)]
    question: Question,
    /// Quantiles to print, between 0 and 1
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0.05,0.5,0.95,0.99")]
    quantiles: Vec<f64>,
    /// Say why the model was chosen, and what is expected of events; for a key also what the controller decided about it,
    /// and when
    #[arg(long)]
    explain: bool,
    /// Tell also what all series together will be: their sum's quantiles, beside the sums of theirs
    #[arg(long)]
    sum: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plot: PlotArgs,
}

/// What came of one task.
struct Outcome {
    forecaster: Forecaster,
    /// What was learned of events, if there are any.
    events: Option<EventModel>,
    /// Without events.
    plain: Forecast,
    forecast: EventForecast,
}

/// Forecasts and prints.
pub(crate) fn run(args: &ForecastArgs) -> anyhow::Result<()> {
    for quantile in &args.quantiles {
        anyhow::ensure!(
            *quantile > 0.0 && *quantile < 1.0,
            "--quantiles {quantile}: a quantile lies between 0 and 1, without them; write such as 0.5,0.95"
        );
    }
    args.plot.check()?;
    let record = if args.explain { source::choices(&args.question)? } else { None };
    if let Some(choices) = record.as_ref().filter(|_| !args.json) {
        println!("{}", explain::record_in_words(&args.question.source, choices));
    }
    let named = source::read(&args.question)?;
    let tasks = tasks(&args.question, &named)?;
    let outcomes = work(&tasks, one);
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (task, outcome) in tasks.iter().zip(outcomes) {
        match outcome {
            Ok(outcome) => done.push((task, outcome)),
            Err(error) => failures.push(failure(task, &error)),
        }
    }
    let sums = if args.sum { sums(args, &done)? } else { Vec::new() };
    if args.json {
        let all: Vec<Value> = done.iter().map(|(task, outcome)| as_json(args, task, outcome)).collect();
        let mut answer = json!({ "source": args.question.source, "forecasts": all });
        if let Some(choices) = &record {
            answer["choices"] = choices.iter().map(explain::choice_json).collect();
        }
        if args.sum {
            answer["sums"] = sums.iter().map(Sum::as_json).collect();
        }
        println!("{answer}");
    } else {
        for (task, outcome) in &done {
            print!("{}", as_text(args, task, outcome));
        }
        for sum in &sums {
            print!("{}", sum.in_words(&names(args), MAX_ROWS));
        }
    }
    args.plot.write(&format!("Forecasts of {}", args.question.source), || {
        done.iter().map(|(task, outcome)| plot(task, outcome)).collect()
    })?;
    report_failures(&failures, tasks.len())
}

/// Of all series at each horizon with each model.
fn sums(args: &ForecastArgs, done: &[(&Task<'_>, Outcome)]) -> anyhow::Result<Vec<Sum>> {
    anyhow::ensure!(
        done.iter().all(|(_, outcome)| outcome.events.is_none()),
        "--sum: what events do to a sum is not known, since they concern its parts; leave out --sum, or the events"
    );
    let kind = |task: &Task<'_>| (task.horizon.seconds, task.model.map(ModelKind::as_str));
    let mut kinds: Vec<_> = done.iter().map(|(task, _)| kind(task)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let sum = |wanted| {
        let parts: Vec<Part<'_>> = done
            .iter()
            .filter(|(task, _)| kind(task) == wanted)
            .map(|(task, outcome)| Part { task, forecaster: &outcome.forecaster, plain: &outcome.plain })
            .collect();
        Sum::of(&parts, &args.quantiles)
    };
    kinds.into_iter().map(sum).collect()
}

fn names(args: &ForecastArgs) -> Vec<String> {
    args.quantiles.iter().map(|p| format!("p{}", percent(*p))).collect()
}

/// As the controller does: fits and forecasts without the events, which are put in afterwards.
fn one(task: &Task<'_>) -> Result<Outcome, forebay_forecast::ForecastError> {
    let (events, series) = events::learned(task.named.series.clone(), &task.named.calendar);
    let forecaster = task.fit(&series)?;
    let seen = match (&task.named.seen, &events) {
        (None, _) => series,
        (Some(seen), None) => seen.clone(),
        (Some(seen), Some(model)) => model.cleared(seen)?,
    };
    let plain = forecaster.predict(&seen)?;
    let forecast = match &events {
        Some(model) => model.apply(plain.clone()),
        None => EventForecast::without_events(plain.clone()),
    };
    Ok(Outcome { forecaster, events, plain, forecast })
}

fn as_text(args: &ForecastArgs, task: &Task<'_>, outcome: &Outcome) -> String {
    let Outcome { forecaster, events, forecast, .. } = outcome;
    let series = &task.named.series;
    let mut text = format!(
        "{}: {} ahead by {}, from {} known steps of {} s until {}\n",
        task.named.name,
        task.horizon,
        forecaster.report().chosen,
        series.known_steps(),
        task.named.step_s,
        calendar::print(task.named.end_s()),
    );
    if args.explain {
        text += &explain::in_words(forecaster.report());
        text += &events::in_words(&events.as_ref().map(EventModel::report).unwrap_or_default());
        text += &explain::left_out_in_words(&task.named.left_out);
    } else {
        text += &format!("  verdict: {}\n", explain::verdict(forecaster.report()));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["begins".to_owned(), "lead".to_owned()].into_iter().chain(names(args)));
    let every = forecast.steps.len().div_ceil(MAX_ROWS);
    for step in forecast.steps.iter().filter(|step| (forecast.steps.len() - step.plain.lead).is_multiple_of(every)) {
        let quantiles = args.quantiles.iter().map(|&p| format!("{:.4}", step.quantile(p)));
        let start_s = task.named.real_s(step.plain.start_s);
        table.add_row([calendar::print(start_s), step.plain.lead.to_string()].into_iter().chain(quantiles));
    }
    text += &format!("{table}\n\n");
    text
}

/// 0.95 as 95, 0.999 as 99.9.
fn percent(p: f64) -> f64 {
    (p * 1e8).round() / 1e6
}

fn as_json(args: &ForecastArgs, task: &Task<'_>, outcome: &Outcome) -> Value {
    let Outcome { forecaster, events, forecast, .. } = outcome;
    let series = &task.named.series;
    let steps = forecast.steps.iter().map(|step| {
        let quantiles: Vec<f64> = args.quantiles.iter().map(|&p| step.quantile(p)).collect();
        let uplift = step.uplift.map(|uplift| uplift.factor());
        let start_s = task.named.real_s(step.plain.start_s);
        json!({ "start_s": start_s, "lead": step.plain.lead, "quantiles": quantiles, "uplift": uplift })
    });
    let mut row = json!({
        "series": task.named.name, "horizon_s": task.horizon.seconds, "step_s": task.named.step_s,
        "known_steps": series.known_steps(), "history_end_s": task.named.end_s(), "model": forecaster.report().chosen.as_str(),
        "worth": forecaster.report().worth().map(Worth::as_str), "quantiles": args.quantiles, "steps": steps.collect::<Vec<_>>(),
    });
    if args.explain {
        row["explain"] = explain::as_json(forecaster.report());
        row["explain"]["left_out"] = task.named.left_out.iter().map(applied_json).collect();
        row["explain"]["events"] = events::as_json(&events.as_ref().map(EventModel::report).unwrap_or_default());
    }
    row
}

fn plot(task: &Task<'_>, outcome: &Outcome) -> Plot {
    let forecast = &outcome.forecast;
    let series = &task.named.series;
    let shown = (PLOTTED_HISTORY * task.steps).max(2 * series.day_steps());
    let from = series.len().saturating_sub(shown);
    let in_event = || forecast.steps.iter().filter(|step| step.uplift.is_some());
    Plot {
        title: format!("{}, {} ahead by {}", task.named.name, task.horizon, outcome.forecaster.report().chosen),
        step_s: task.named.step_s,
        values: task.named.values(from),
        fans: forecast
            .steps
            .iter()
            .map(|step| Fan {
                start_s: task.named.real_s(step.plain.start_s),
                quantiles: PLOTTED.map(|p| step.quantile(p)),
            })
            .collect(),
        note: String::new(),
        beside: in_event().map(|step| (step.plain.start_s, step.plain.quantile(0.5))).collect(),
        events: in_event().map(|step| (step.plain.start_s, step.plain.start_s + i64::from(forecast.step_s))).collect(),
    }
}
