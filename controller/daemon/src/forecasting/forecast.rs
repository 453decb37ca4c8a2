//! `forebay forecast`: the next steps of each series, as quantiles.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use comfy_table::{Table, presets};
use forebay_forecast::{Forecast, Forecaster, Series, Worth};
use serde_json::{Value, json};

use super::page::{Fan, PLOTTED, Plot, page};
use super::{Question, Task, explain, failure, report_failures, source, tasks, work};
use crate::calendar;

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
    /// Say why the model was chosen
    #[arg(long)]
    explain: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Forecasts and prints.
pub(crate) fn run(args: &ForecastArgs) -> anyhow::Result<()> {
    for quantile in &args.quantiles {
        anyhow::ensure!(
            *quantile > 0.0 && *quantile < 1.0,
            "--quantiles {quantile}: a quantile lies between 0 and 1, without them; write such as 0.5,0.95"
        );
    }
    let named = source::read(&args.question)?;
    let tasks = tasks(&args.question, &named)?;
    let outcomes = work(&tasks, |task| {
        let forecaster = task.fit(&task.named.series)?;
        let forecast = forecaster.predict(&task.named.series)?;
        Ok((forecaster, forecast))
    });
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (task, outcome) in tasks.iter().zip(outcomes) {
        match outcome {
            Ok((forecaster, forecast)) => done.push((task, forecaster, forecast)),
            Err(error) => failures.push(failure(task, &error)),
        }
    }
    if args.json {
        let all: Vec<Value> = done.iter().map(|(task, of, forecast)| as_json(args, task, of, forecast)).collect();
        println!("{}", json!({ "source": args.question.source, "forecasts": all }));
    } else {
        for (task, forecaster, forecast) in &done {
            print!("{}", as_text(args, task, forecaster, forecast));
        }
    }
    if let Some(path) = &args.html {
        let plots: Vec<Plot> = done.iter().map(|(task, _, forecast)| plot(task, forecast)).collect();
        let text = page(&format!("Forecasts of {}", args.question.source), &plots);
        std::fs::write(path, text).with_context(|| format!("write {}: check --html", path.display()))?;
    }
    report_failures(&failures, tasks.len())
}

fn as_text(args: &ForecastArgs, task: &Task<'_>, forecaster: &Forecaster, forecast: &Forecast) -> String {
    let series = &task.named.series;
    let mut text = format!(
        "{}: {} ahead by {}, from {} known steps of {} s until {}\n",
        task.named.name,
        task.horizon,
        forecast.model,
        series.known_steps(),
        series.step_s(),
        calendar::print(series.end_s()),
    );
    if args.explain {
        text += &explain::in_words(forecaster.report());
    } else {
        text += &format!("  verdict: {}\n", explain::verdict(forecaster.report()));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let names = args.quantiles.iter().map(|p| format!("p{}", percent(*p)));
    table.set_header(["begins".to_owned(), "lead".to_owned()].into_iter().chain(names));
    let every = forecast.steps.len().div_ceil(MAX_ROWS);
    for step in forecast.steps.iter().filter(|step| (forecast.steps.len() - step.lead).is_multiple_of(every)) {
        let quantiles = args.quantiles.iter().map(|&p| format!("{:.4}", step.quantile(p)));
        table.add_row([calendar::print(step.start_s), step.lead.to_string()].into_iter().chain(quantiles));
    }
    text += &format!("{table}\n\n");
    text
}

/// 0.95 as 95, 0.999 as 99.9.
fn percent(p: f64) -> f64 {
    (p * 1e8).round() / 1e6
}

fn as_json(args: &ForecastArgs, task: &Task<'_>, forecaster: &Forecaster, forecast: &Forecast) -> Value {
    let series = &task.named.series;
    let steps = forecast.steps.iter().map(|step| {
        let quantiles: Vec<f64> = args.quantiles.iter().map(|&p| step.quantile(p)).collect();
        json!({ "start_s": step.start_s, "lead": step.lead, "quantiles": quantiles })
    });
    let mut row = json!({
        "series": task.named.name, "horizon_s": task.horizon.seconds, "step_s": series.step_s(),
        "known_steps": series.known_steps(), "history_end_s": series.end_s(), "model": forecast.model.as_str(),
        "worth": forecaster.report().worth().map(Worth::as_str), "quantiles": args.quantiles, "steps": steps.collect::<Vec<_>>(),
    });
    if args.explain {
        row["explain"] = explain::as_json(forecaster.report());
    }
    row
}

fn plot(task: &Task<'_>, forecast: &Forecast) -> Plot {
    let series = &task.named.series;
    let shown = (PLOTTED_HISTORY * task.steps).max(2 * series.day_steps());
    let from = series.len().saturating_sub(shown);
    Plot {
        title: format!("{}, {} ahead by {}", task.named.name, task.horizon, forecast.model),
        step_s: series.step_s(),
        values: values(series, from),
        fans: forecast
            .steps
            .iter()
            .map(|step| Fan { start_s: step.start_s, quantiles: PLOTTED.map(|p| step.quantile(p)) })
            .collect(),
    }
}

/// Begin and value of the known steps from `from` on.
pub(super) fn values(series: &Series, from: usize) -> Vec<(i64, f64)> {
    let steps = series.values().iter().enumerate().skip(from);
    steps.filter(|(_, value)| !value.is_nan()).map(|(index, &value)| (series.at_s(index), value)).collect()
}
