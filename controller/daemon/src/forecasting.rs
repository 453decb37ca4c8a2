//! `forebay forecast` and `forebay backtest`: what the controller would forecast for a file or a key, and how well it would
//! have done.
//!
//! Both take a CSV file (the first column is the time, every further one a series) or a key of the controller's store, fit
//! every series for every horizon, and print a table, JSON or a page with plots. The fits run on all cores; the order of
//! the results is that of the input, and the same input gives the same output, byte for byte.
//!
//! They only read: nothing is stored, and a running controller is not told.

pub(crate) mod backtest;
pub(crate) mod explain;
mod feeds;
pub(crate) mod forecast;
mod network;
mod page;
pub(crate) mod plot;
mod search;
mod season;
pub(crate) mod source;
mod sum;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use forebay_forecast::{
    Applied, Effort, EventCalendar, Forecaster, Globals, ModelKind, Objective, SeasonClock, Series, Settings,
    fit_as_with, fit_with,
};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use season::Season;

/// Most series of one call; each is fitted for every horizon and model.
const MAX_SERIES: usize = 1000;

const DAY_S: u32 = 86_400;
/// Longest length of time that an option may say, seconds: ten years.
const MOST_SPAN_S: u32 = 3660 * DAY_S;
/// Most that missing capacity may cost, in what idle capacity does: the quantile that follows must stay below 1.
const MOST_COST_OF_SHORT: f64 = 1e6;

/// What both commands are asked.
#[derive(Debug, Args)]
pub(crate) struct Question {
    /// CSV file (time, then one series per column), or TENANT/RESOURCE of the controller's store
    #[arg(value_name = "FILE.csv|KEY")]
    source: String,
    /// Only this column of the file; may be given several times
    #[arg(long, value_name = "NAME")]
    column: Vec<String>,
    /// What the columns are
    #[arg(long, value_enum, default_value_t = Kind::Level)]
    measure: Kind,
    /// Length of a step, such as 5m; default: read from the stamps, for a key the configuration's
    #[arg(long, value_name = "TIME")]
    step: Option<Span>,
    /// What repeats, as a length or in steps; with it a season of seven times its length [default: 24h,7d]
    #[arg(long, value_name = "SEASONS", value_delimiter = ',')]
    season: Vec<Season>,
    /// How far to forecast; several with commas
    #[arg(long, value_name = "TIMES", value_delimiter = ',', default_value = "1h")]
    horizon: Vec<Span>,
    /// Only these models, each on its own, in place of the selection
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    models: Vec<String>,
    /// iCalendar file with events that concern the series; may be given several times
    #[arg(long, value_name = "FILE.ics")]
    events: Vec<PathBuf>,
    /// Time zone of the days and times in --events that name none
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// Steps at the beginning of the horizon that a decision comes too late for; the model is chosen, and a backtest scored,
    /// by the later ones
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    gap: usize,
    /// How many times what idle capacity costs missing capacity does; the model is chosen at the quantile that follows
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true)]
    cost_of_short: Option<f64>,
    /// Try expensive models too, at most N of them, where the cheap ones left something to be gained
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "2")]
    thorough: Option<usize>,
    /// Folder of the store; default: the configuration's
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file, for data_dir, step_s and what else concerns a key, such as its event feeds
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What kind of quantity a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Events per row, added up to rates per second
    Count,
    /// Amounts per row, added up to rates per second
    Sum,
    /// Rates, lengths, utilisations: averaged
    Level,
    /// Shares: averaged
    Ratio,
    /// Totals that only grow: their increase per second
    Counter,
}

/// A length of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) seconds: u32,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of_days = || text.strip_suffix('d')?.parse::<u32>().ok()?.checked_mul(DAY_S);
        let length = || text.parse::<SignedDuration>().ok().filter(|length| length.subsec_nanos() == 0);
        let seconds = of_days().or_else(|| u32::try_from(length()?.as_secs()).ok());
        let seconds = seconds.filter(|seconds| (1..=MOST_SPAN_S).contains(seconds)).ok_or_else(|| {
            let most = MOST_SPAN_S / DAY_S;
            format!("write whole seconds, minutes, hours or days, such as 30s, 5m, 24h or 7d, at most {most}d")
        })?;
        Ok(Self { seconds })
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.seconds {
            hours if hours.is_multiple_of(3600) => write!(f, "{}h", hours / 3600),
            minutes if minutes.is_multiple_of(60) => write!(f, "{}m", minutes / 60),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

/// One series with its name.
struct Named {
    name: String,
    /// Length of a real step.
    step_s: u32,
    /// What is learned from, and compared with; on the clock, if there is one.
    series: Series,
    /// What is forecast from, where that is another one: what is anomalous is not learned, but seen.
    seen: Option<Series>,
    /// On which another season than the day takes a day.
    clock: Option<SeasonClock>,
    /// The events that concern it.
    calendar: EventCalendar,
    /// What was not to be learned as measured.
    left_out: Vec<Applied>,
}

impl Named {
    /// The real time of a step that begins at `at_s` in the series.
    fn real_s(&self, at_s: i64) -> i64 {
        self.clock.map_or(at_s, |clock| clock.real_s(at_s))
    }

    /// When the history ends.
    fn end_s(&self) -> i64 {
        self.real_s(self.series.end_s())
    }

    /// Real begin and value of the known steps from `from` on.
    fn values(&self, from: usize) -> Vec<(i64, f64)> {
        let steps = self.series.values().iter().enumerate().skip(from).filter(|(_, value)| !value.is_nan());
        steps.map(|(index, &value)| (self.real_s(self.series.at_s(index)), value)).collect()
    }
}

/// One fit that is asked for.
struct Task<'a> {
    named: &'a Named,
    horizon: Span,
    /// Of `horizon` on the series' step.
    steps: usize,
    /// The selection, if none.
    model: Option<ModelKind>,
    /// What models draw on beside the series.
    globals: Globals,
    settings: Settings,
}

impl Task<'_> {
    fn fit(&self, history: &Series) -> Result<Forecaster, forebay_forecast::ForecastError> {
        match self.model {
            None => fit_with(&self.globals, history, &self.settings),
            Some(kind) => fit_as_with(&self.globals, kind, history, &self.settings),
        }
    }

    /// Where an error happened.
    fn place(&self) -> String {
        let model = self.model.map(|kind| format!(", model {kind}")).unwrap_or_default();
        format!("{}, horizon {}{model}", self.named.name, self.horizon)
    }
}

/// Every series at every horizon with the selection, or with each model that was named.
fn tasks<'a>(question: &Question, all: &'a [Named]) -> anyhow::Result<Vec<Task<'a>>> {
    let models: Vec<Option<ModelKind>> = if question.models.is_empty() {
        vec![None]
    } else {
        question.models.iter().map(|name| model(name).map(Some)).collect::<anyhow::Result<_>>()?
    };
    let asked = settings(question)?;
    let mut tasks = Vec::new();
    for named in all {
        let step_s = named.step_s;
        for &horizon in &question.horizon {
            anyhow::ensure!(
                horizon.seconds.is_multiple_of(step_s),
                "{}: --horizon {horizon} is no whole number of its steps of {}; choose one such as {}",
                named.name,
                Span { seconds: step_s },
                Span { seconds: horizon.seconds.div_ceil(step_s).saturating_mul(step_s) },
            );
            let steps = (horizon.seconds / step_s) as usize;
            let settings = Settings { horizon_steps: steps, ..asked.clone() };
            tasks.extend(models.iter().map(|&model| Task {
                named,
                horizon,
                steps,
                model,
                settings: settings.clone(),
                globals: Globals::default(),
            }));
        }
    }
    Ok(tasks)
}

/// What is asked of every fit.
fn settings(question: &Question) -> anyhow::Result<Settings> {
    let objective = match question.cost_of_short {
        None => Objective::default(),
        Some(ratio) => {
            anyhow::ensure!(
                ratio > 0.0 && ratio <= MOST_COST_OF_SHORT,
                "--cost-of-short {ratio}: write a number above 0, at most {MOST_COST_OF_SHORT}, such as 19"
            );
            Objective::of_costs(ratio, 1.0).context("--cost-of-short")?
        }
    };
    let effort = question.thorough.map_or(Effort::Quick, |most| Effort::Thorough { most });
    Ok(Settings { gap_steps: question.gap, objective, effort, ..Settings::default() })
}

fn model(name: &str) -> anyhow::Result<ModelKind> {
    let known = ModelKind::ALL;
    known.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| {
        let names = known.map(ModelKind::as_str).join(", ");
        anyhow::anyhow!("--models {name}: there is no such model; there are {names}")
    })
}

/// Works on all tasks, on all cores; the results stand in the order of the tasks.
fn work<T: Send>(tasks: &[Task<'_>], one: impl Fn(&Task<'_>) -> T + Sync) -> Vec<T> {
    let bar = progress(tasks.len() as u64);
    let done = tasks
        .par_iter()
        .map(|task| {
            let done = one(task);
            bar.inc(1);
            done
        })
        .collect();
    bar.finish_and_clear();
    done
}

/// A bar where somebody can see it.
fn progress(tasks: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(tasks);
    if let Ok(style) = ProgressStyle::with_template("fitting {bar:40} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Prints what failed; an error if anything did.
fn report_failures(failures: &[String], tasks: usize) -> anyhow::Result<()> {
    for failure in failures {
        eprintln!("forebay: {failure}");
    }
    anyhow::ensure!(failures.is_empty(), "{} of {tasks} could not be done; the reasons stand above", failures.len());
    Ok(())
}

/// A failed fit in words: where, why, and what helps.
fn failure(task: &Task<'_>, error: &forebay_forecast::ForecastError) -> String {
    use forebay_forecast::ForecastError;
    use std::error::Error;
    let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let remedy = match error {
        ForecastError::TooShort { .. } => "; give a longer history, or a longer --step",
        ForecastError::Horizon { .. } => "; choose a shorter --horizon, or a longer --step",
        ForecastError::Gap { .. } => "; choose a smaller --gap, or a longer --horizon",
        ForecastError::Model(_) => "; choose another of --models, or leave the choice to the selection",
        _ => "",
    };
    format!("{}: {error}{why}{remedy}", task.place())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        let span = |text: &str| text.parse::<Span>().map(|span| (span.seconds, span.to_string()));
        assert_eq!(span("30m"), Ok((1800, "30m".to_owned())));
        assert_eq!(span("24h"), Ok((86_400, "24h".to_owned())));
        assert_eq!(span("1h 30s"), Ok((3630, "3630s".to_owned())));
        for wrong in ["0s", "-5m", "1.5s", "soon", "", "90000000h"] {
            assert!(span(wrong).unwrap_err().contains("such as 30s"), "{wrong}");
        }
    }
}
