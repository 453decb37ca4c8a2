//! `forebay replay`: sends a trace as real HTTP requests, open loop, to one or several targets at once.
//!
//! Open loop means that the trace decides when a request leaves, never the answers: a slow target gets the same
//! requests as a fast one, and they pile up in front of it as they would in life. One loop sleeps until the next
//! request is due and hands a task per target to the runtime; every target gets every request at the same instant,
//! so that targets are compared on one sequence of requests.
//!
//! Invariants: no request is skipped; one that leaves more than 10 ms after it was due is counted as late. Step
//! borders lie at `--start-at` plus whole steps of real time. Rates are per real second: `--speed` shortens the
//! steps and leaves the rates alone, `--rate-scale` changes the rates.
//!
//! What it does not do: repeat what was refused, follow redirects, or invent demand where the trace has a gap.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use self::plan::{Plan, PlannedTarget};
use super::connections::{ANSWER_TIMEOUT, ConnectionPool, Endpoint};
use super::report::{TargetReport, steps_csv, table};
use super::result::{Counts, Finished, LATE_MS, Outcome, Tally};
use super::schedule::{Arrival, Arrivals, Schedule};
use crate::files;

mod plan;
#[cfg(test)]
mod tests;

/// Without `--start-at` a run begins this long after its preparations.
const START_DELAY: Duration = Duration::from_millis(200);
/// After an interrupt, answers under way are waited for this long.
const INTERRUPT_GRACE: Duration = Duration::from_secs(2);
/// Distance of progress lines where standard error is no terminal.
const PROGRESS_LINE: Duration = Duration::from_secs(10);
/// Distance of redraws where it is one.
const PROGRESS_REDRAW: Duration = Duration::from_millis(250);

/// `forebay replay`: sends a trace as real HTTP requests.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayArgs {
    /// CSV with columns time,tenant,rate or time,value (then one tenant).
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) trace: PathBuf,
    /// Where to send: URL or NAME=URL, repeatable; each gets every request.
    #[arg(long = "target", required = true, value_name = "URL|NAME=URL")]
    pub(crate) targets: Vec<String>,
    /// Tenant of a trace with one value per row; default: the file name without .csv.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// What a value of the trace is: units per second, or a count per step.
    #[arg(long, value_enum, default_value_t = Values::Rate)]
    pub(crate) values: Values,
    /// Calendar seconds of the trace per real second.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) speed: f64,
    /// Requests per real second for a rate of 1 in the trace.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) rate_scale: f64,
    /// Unix milliseconds at which the first step begins; default: at once.
    #[arg(long, value_name = "MS")]
    pub(crate) start_at: Option<u64>,
    /// First time of the trace to send.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Time of the trace to stop before.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Step length in calendar seconds; default: the trace's own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) step_s: Option<u32>,
    /// Evenly spaced or seeded random arrivals.
    #[arg(long, value_enum, default_value_t = Arrivals::Even)]
    pub(crate) arrivals: Arrivals,
    /// Seed of random arrivals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Path of the requests.
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    /// Request header that carries the tenant.
    #[arg(long, value_name = "NAME", default_value = "x-tenant")]
    pub(crate) tenant_header: String,
    /// Further request header, NAME: VALUE; repeatable.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The most connections per target. 256 carry 1000 requests/s as long as an answer takes up to 256 ms.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) connections: u32,
    /// Write per-step counts as CSV to this file.
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) out: Option<PathBuf>,
    /// End with one JSON object on the last line of standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a value of a trace means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Values {
    /// Units per second.
    Rate,
    /// Units per step.
    Count,
}

/// Sends the trace that `args` names and prints the result. Ctrl-C ends the run early, with its result so far.
pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<()> {
    let plan = Plan::new(&args)?;
    if args.out.is_some() || args.json {
        eprintln!("{}", plan.summary());
    } else {
        println!("{}", plan.summary());
    }
    let report = replay(&plan, async {
        // Without a signal handler Ctrl-C keeps its ordinary meaning, so a failure here loses nothing.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
    .await?;
    if let Some(path) = &args.out {
        files::write(path, "--out", steps_csv(&report.targets)?)?;
    }
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{}", table(&report.targets))?;
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&report)?)?;
    }
    Ok(())
}

/// The result of a run; the JSON object that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    trace: String,
    from_s: i64,
    to_s: i64,
    step_s: i64,
    step_real_s: f64,
    steps: usize,
    speed: f64,
    rate_scale: f64,
    arrivals: &'static str,
    seed: u64,
    started_unix_ms: u64,
    duration_s: f64,
    interrupted: bool,
    bucket_ms: u64,
    late_after_ms: u64,
    missing_steps: std::collections::BTreeMap<String, u64>,
    targets: Vec<TargetReport>,
}

/// A target while the run lasts.
#[derive(Debug)]
struct RunningTarget {
    planned: PlannedTarget,
    pool: ConnectionPool,
    tally: Mutex<Tally>,
    start: Instant,
}

impl RunningTarget {
    fn with_tally<R>(&self, act: impl FnOnce(&mut Tally) -> R) -> R {
        act(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends one request and counts what becomes of it.
    async fn send(&self, arrival: Arrival) {
        let due = self.start + arrival.offset;
        let headers = self.planned.headers[arrival.tenant].clone();
        let exchange = self.pool.get(self.planned.uri.clone(), headers, due).await;
        let now = Instant::now();
        let sent = exchange.sent.unwrap_or(now);
        let (outcome, answered) = match &exchange.answer {
            Some(answer) => (Outcome::of(answer.status, answer.lane.as_ref()), answer.answered),
            None => (Outcome::Failed, now),
        };
        let finished = Finished {
            tenant: arrival.tenant,
            step: arrival.step,
            outcome,
            lateness: sent.saturating_duration_since(due),
            latency: answered.saturating_duration_since(sent),
            answered: answered.saturating_duration_since(self.start),
        };
        self.with_tally(|tally| tally.finish(&finished));
    }
}

/// Sends the whole plan, or as much of it as is due before `stop`.
async fn replay(plan: &Plan, stop: impl Future<Output = ()>) -> anyhow::Result<Report> {
    let layout = plan.layout();
    let mut pools = Vec::new();
    for target in &plan.targets {
        pools.push(ConnectionPool::connect(&target.endpoint, plan.max_connections).await?);
    }
    let (start, started) = start_instant(plan.start_at)?;
    let running = plan.targets.iter().zip(pools).map(|(planned, pool)| {
        Arc::new(RunningTarget { planned: planned.clone(), pool, tally: Mutex::new(Tally::new(&layout)), start })
    });
    let targets: Vec<_> = running.collect();
    let progress = tokio::spawn(show_progress(targets.clone(), plan.length(), start));
    let interrupted = send_all(Schedule::new(&plan.trace, &plan.pace), &targets, start, stop).await;
    progress.abort();
    let report = |target: &Arc<RunningTarget>| {
        let Endpoint { name, url, .. } = &target.planned.endpoint;
        target.with_tally(|tally| tally.report(name, url, target.pool.opened(), &layout))
    };
    Ok(Report {
        trace: plan.trace_file.clone(),
        from_s: plan.trace.start_s,
        to_s: plan.end_s(),
        step_s: plan.trace.step_s,
        step_real_s: plan.pace.step_real(&plan.trace).as_secs_f64(),
        steps: plan.trace.steps,
        speed: plan.pace.speed,
        rate_scale: plan.pace.rate_scale,
        arrivals: match plan.pace.arrivals {
            Arrivals::Even => "even",
            Arrivals::Poisson => "poisson",
        },
        seed: plan.pace.seed,
        started_unix_ms: started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
        duration_s: start.elapsed().as_secs_f64(),
        interrupted,
        bucket_ms: layout.bucket_ms,
        late_after_ms: LATE_MS,
        missing_steps: layout.tenants.iter().cloned().zip(plan.missing_steps.iter().copied()).collect(),
        targets: targets.iter().map(report).collect(),
    })
}

/// The instant at which step 0 begins, on the steady and on the wall clock.
fn start_instant(start_at: Option<SystemTime>) -> anyhow::Result<(Instant, SystemTime)> {
    // The wall clock first: a pause between the two readings makes the start late, never early.
    let wall = SystemTime::now();
    let now = Instant::now();
    let Some(wanted) = start_at else {
        return Ok((now + START_DELAY, wall + START_DELAY));
    };
    match wanted.duration_since(wall) {
        Ok(ahead) => Ok((now + ahead, wanted)),
        Err(past) => bail!("--start-at is {} ms in the past; name an instant ahead", past.duration().as_millis()),
    }
}

/// The open loop. Returns whether `stop` came before the end.
async fn send_all(
    schedule: Schedule,
    targets: &[Arc<RunningTarget>],
    start: Instant,
    stop: impl Future<Output = ()>,
) -> bool {
    let mut stop = pin!(stop);
    // Each task holds a sender: when all are gone, so are the tasks.
    let (under_way, mut all_done) = mpsc::channel::<()>(1);
    let mut interrupted = false;
    for (number, arrival) in schedule.enumerate() {
        tokio::select! {
            biased;
            () = &mut stop => {
                interrupted = true;
                break;
            }
            () = sleep_until(start + arrival.offset) => {}
        }
        for place in 0..targets.len() {
            // No target is always the first: whoever is handed over first has a few microseconds of advantage.
            let target = Arc::clone(&targets[(number + place) % targets.len()]);
            target.with_tally(|tally| tally.offer(arrival.tenant, arrival.step));
            let under_way = under_way.clone();
            tokio::spawn(async move {
                target.send(arrival).await;
                drop(under_way);
            });
        }
    }
    drop(under_way);
    if !interrupted {
        tokio::select! {
            _ = all_done.recv() => return false,
            () = &mut stop => {}
        }
    }
    tokio::select! {
        _ = all_done.recv() => {}
        () = sleep(INTERRUPT_GRACE) => {}
    }
    true
}

/// Shows how far the run is: a bar on a terminal, else a line now and then. Ends by being aborted.
async fn show_progress(targets: Vec<Arc<RunningTarget>>, length: Duration, start: Instant) {
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {percent:>3} % {msg}");
        ProgressBar::new(length.as_millis() as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    });
    let mut ticks = interval(if bar.is_some() { PROGRESS_REDRAW } else { PROGRESS_LINE });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when there is nothing to tell.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let line = progress_line(&targets);
        let passed = start.elapsed().min(length + ANSWER_TIMEOUT);
        match &bar {
            Some(bar) => {
                bar.set_position(passed.min(length).as_millis() as u64);
                bar.set_message(line);
            }
            None => eprintln!("{:.0} of {:.0} s: {line}", passed.as_secs_f64(), length.as_secs_f64()),
        }
    }
}

fn progress_line(targets: &[Arc<RunningTarget>]) -> String {
    let part = |target: &Arc<RunningTarget>| {
        let (Counts { offered, admitted, refused, failed, .. }, late) = target.with_tally(|tally| tally.so_far());
        let name = &target.planned.endpoint.name;
        format!("{name} offered {offered} admitted {admitted} refused {refused} failed {failed} late {late}")
    };
    targets.iter().map(part).collect::<Vec<_>>().join("; ")
}
