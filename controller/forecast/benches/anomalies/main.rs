//! `cargo xtask bench anomalies`: the detector on labelled series, beside a robust z-score; F1, delay, false alarms.
//!
//! Series are read from a folder of CSV files: a first column `timestamp`, a value column, and either a column `label`
//! (1 marks an anomalous row) or an entry in `nab_windows.json` (windows by file name). Steps finer than five minutes are
//! averaged to five minutes, as the daemon plans; such a step is labelled if one of its rows is.
//!
//! Protocol, the same for all detectors:
//! - The first quarter of a series, three days at least, teaches and is not scored. Everything that is chosen per series
//!   is chosen there or from steps before the judged one; nothing is chosen by labels.
//! - An event is a labelled run or a window that begins after the first quarter. It is found if an alarm sounds in it.
//!   Delay is from its beginning to the first alarm in it, in steps and in hours; windows of NAB begin well before the
//!   anomaly, so their delays say little and are printed apart.
//! - Alarms less than two hours (or three steps) apart are one. An alarm is false if no event overlaps it; alarms in an
//!   event that began in the first quarter count neither way.
//! - F1 is of events: recall over events, precision over alarms.
//! - False alarms per week: over all steps that lie a day or more from any event.
//!
//! The baseline is the distance from the median over the day before (or over the same time of the last seven days,
//! whichever finds more on all series together) in median absolute deviations. Its threshold is the return level of its
//! peaks for the same period, by the same estimate, kept up as the series goes on.

mod baseline;
mod labelled;
mod protocol;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Parser;
use forebay_forecast::{Detector, Expected, ForecastError, Forecaster, Ledger, Series, Settings, Verdict, fit};

use crate::labelled::Labelled;
use crate::protocol::{Outcome, Tally};

/// Leads of each forecast: an hour of five-minute steps, half a day of hourly ones. Fixed beforehand, as is how long a
/// deviation must hold its level to be a change: half a day, for the reasons that the daemon gives.
const HORIZON_STEPS: usize = 12;
/// Weeks of history that a fit sees.
const FIT_WEEKS: usize = 8;

/// F1, delay and false alarms of the anomaly detector on labelled series, beside a robust z-score.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench anomalies")]
struct Args {
    /// Folder that holds the CSV files, or one that holds it as `traces`
    #[arg(long)]
    data: PathBuf,
    /// Only files whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Series at once, 0 for as many as there are cores; the figures do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print every alarm
    #[arg(long)]
    alarms: bool,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let all = match labelled::read_folder(&args.data) {
        Ok(all) => all,
        Err(message) => {
            eprintln!("bench anomalies: {message}");
            return ExitCode::FAILURE;
        }
    };
    let wanted = |labelled: &&Labelled| args.only.as_ref().is_none_or(|only| labelled.name.contains(only.as_str()));
    let all: Vec<&Labelled> = all.iter().filter(wanted).collect();
    let names = ["forebay", "z over the day", "z over the time of day"];
    let mut totals: [Tally; 3] = Default::default();
    println!(
        "{:<44} {:>6} {:>6} {:>6} | found/alarms/false, false per clean week, median delay in steps",
        "series", "events", "weeks", "step"
    );
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if args.threads == 0 { cores } else { args.threads };
    for judged in run_all(&all, threads, |judged| judged.print(args.alarms)) {
        for (total, outcome) in totals.iter_mut().zip(judged.outcomes) {
            total.add(outcome);
        }
    }
    println!();
    for (name, total) in names.iter().zip(&totals) {
        println!("{name:<24} {total}");
    }
    let better = if totals[1].f1() >= totals[2].f1() { &totals[1] } else { &totals[2] };
    if args.json {
        println!("{}", totals[0].json(better));
    }
    ExitCode::SUCCESS
}

/// A series with what the three detectors made of it.
struct Judged<'a> {
    labelled: &'a Labelled,
    outcomes: [Outcome; 3],
    /// Of the first detector.
    alarms: Vec<bool>,
}

impl<'a> Judged<'a> {
    fn of(labelled: &'a Labelled) -> Self {
        let day = labelled.series.day_steps();
        let [own, last_day, same_time] = [
            live(labelled),
            baseline::alarms(labelled, baseline::Reference::LastDay(day)),
            baseline::alarms(labelled, baseline::Reference::SameTime(day)),
        ];
        let outcomes = [&own, &last_day, &same_time].map(|alarms| Outcome::of(labelled, alarms));
        Self { labelled, outcomes, alarms: own }
    }

    fn print(&self, with_alarms: bool) {
        let Self { labelled, outcomes, alarms } = self;
        let cells: Vec<String> = outcomes.iter().map(Outcome::cell).collect();
        println!(
            "{:<44} {:>6} {:>6.1} {:>6} | {}",
            labelled.name,
            outcomes[0].events,
            outcomes[0].clean_weeks,
            labelled.series.step_s(),
            cells.join(" | ")
        );
        if with_alarms {
            labelled::print_steps(labelled, "event", &labelled.events);
            labelled::print_steps(labelled, "alarm", &protocol::merged(labelled, alarms));
        }
    }
}

/// Judges the series, each on one thread; what comes of them stands in their order, whoever was first. `print` is called
/// in that order too, as soon as all before are done.
fn run_all<'a>(all: &[&'a Labelled], threads: usize, print: impl Fn(&Judged<'a>) + Sync) -> Vec<Judged<'a>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((0, all.iter().map(|_| None).collect::<Vec<_>>()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(labelled) = all.get(index) else { return };
                    let judged = Judged::of(labelled);
                    let Ok(mut done) = done.lock() else { return };
                    let (printed, outcomes) = &mut *done;
                    outcomes[index] = Some(judged);
                    while let Some(Some(judged)) = outcomes.get(*printed) {
                        print(judged);
                        *printed += 1;
                    }
                }
            });
        }
    });
    // A panic of a thread has ended the scope with it.
    done.into_inner().map_or_else(|_| Vec::new(), |(_, outcomes)| outcomes.into_iter().flatten().collect())
}

/// Lives through a series as the daemon would: a fit a day on masked history, a forecast and a verdict a step.
fn live(labelled: &Labelled) -> Vec<bool> {
    let series = &labelled.series;
    let day = series.day_steps();
    let mut detector = Detector::new(series.step_s(), HORIZON_STEPS).changing_after(day / 2);
    let mut ledger = Ledger::default();
    let mut masked = series.values().to_vec();
    let mut forecaster: Option<Forecaster> = None;
    let mut alarms = vec![false; series.len()];
    for index in 0..series.len() {
        if index % day == 0
            && let Ok((refitted, trained)) = refit(series, index, &ledger)
        {
            forecaster = Some(refitted);
            // Steps that were merely far out are history by now.
            masked[index - trained.len()..index].copy_from_slice(trained.values());
        }
        let Some(forecaster) = &mut forecaster else { continue };
        let from = index.saturating_sub(forecaster.recent_steps());
        let recent = Series::new(series.at_s(from), series.step_s(), masked[from..index].to_vec());
        let Some(forecast) = recent.ok().and_then(|recent| forecaster.predict(&recent).ok()) else { continue };
        let actual = series.values()[index];
        let verdict = detector.observe(&Expected::of_steps(&forecast), actual);
        if detector.last_was_far_out() {
            masked[index] = f64::NAN;
        }
        match &verdict {
            Verdict::Anomalous(anomaly) => {
                alarms[index] = true;
                ledger.detected(anomaly, series.at_s(index + 1));
                let begin = ((anomaly.from_s - series.start_s()) / i64::from(series.step_s())) as usize;
                masked[begin..=index].fill(f64::NAN);
            }
            Verdict::Changed(change) => {
                ledger.changed(change);
                let begin = ((change.from_s - series.start_s()) / i64::from(series.step_s())) as usize;
                masked[begin..=index].copy_from_slice(&series.values()[begin..=index]);
            }
            Verdict::Normal => {
                if let Some(step) = forecast.steps.first() {
                    forecaster.observe(step, actual);
                }
            }
        }
    }
    alarms
}

fn refit(series: &Series, end: usize, ledger: &Ledger) -> Result<(Forecaster, Series), ForecastError> {
    let settings = Settings { horizon_steps: HORIZON_STEPS, ..Settings::default() };
    let seen = series.slice(end.saturating_sub(FIT_WEEKS * 7 * series.day_steps()), end);
    let trained = seen.and_then(|seen| ledger.apply(&seen));
    match trained {
        Ok((trained, _)) => Ok((fit(&trained, &settings)?, trained)),
        Err(_) => Err(ForecastError::TooShort { have: 0, need: 1 }),
    }
}
