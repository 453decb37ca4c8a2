//! `cargo xtask bench queue`: how late streams that wait on a real Envoy are resumed or refused.
//!
//! One Envoy worker, so one queue, and 1,000 HTTP/2 streams that wait in it all the time; the client measures, with its
//! own clock, when the headers of each answer are there, and takes nothing off. What the figures hold besides the filter:
//! the client's own scheduling, both ways over loopback, Envoy, and for resumed streams the upstream. Three runs:
//!
//! - [`refusals`], steady: streams come at a constant rate and nothing is to be had; due is each stream's deadline.
//! - [`refusals`], together: all come as fast as the client can send, so that nearly all are due at once.
//! - [`resumes`]: each answer is followed by another stream; due is the instant at which the next token is there.
//!
//! A run fails when it measured something else: a stream that was not queued, that was answered before it was due, or
//! that the queue dropped for another reason. A missed target fails nothing.

mod lateness;
mod refusals;
mod resumes;
mod stack;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use forebay_host_tests::artefacts::Artefacts;
use serde::Serialize;

use crate::lateness::Lateness;
use crate::stack::Stack;

/// What the 99th percentile shall not exceed.
const TARGET_MS: f64 = 15.0;

/// How late 1,000 waiting streams are resumed or refused on a real Envoy.
#[derive(Debug, Clone, Copy, Parser)]
#[command(bin_name = "cargo xtask bench queue")]
struct Args {
    /// Streams that wait
    #[arg(long, default_value_t = 1_000)]
    waiting: u32,
    /// Streams per second that become due
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds of each steady run, after its queue has filled
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Serialize)]
struct Findings {
    refusals: Lateness,
    refusals_due_together: Lateness,
    resumes: Lateness,
    target_p99_ms: f64,
    target_met: bool,
    conditions: Conditions,
}

#[derive(Debug, Serialize)]
struct Conditions {
    envoy_version: String,
    envoy_workers: u32,
    machine_cores: usize,
    waiting: u32,
    due_per_s: u32,
    connections: usize,
    round_trip_p50_ms: f64,
    /// How far before the true one the instant lies that resumes are counted from: part of their lateness.
    resumes_counted_early_ms: f64,
}

fn main() -> ExitCode {
    match queue(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("queue: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn queue(args: &Args) -> Result<()> {
    for (name, value) in [("--waiting", args.waiting), ("--rate", args.rate), ("--seconds", args.seconds)] {
        if value == 0 {
            bail!("{name} 0: must be at least 1");
        }
    }
    let artefacts = Artefacts::find()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let findings = runtime.block_on(measure(&artefacts, args))?;
    println!("{}", findings.text());
    if args.json {
        println!("{}", serde_json::to_string(&findings)?);
    }
    Ok(())
}

async fn measure(artefacts: &Artefacts, args: &Args) -> Result<Findings> {
    eprintln!("==> refusals at their deadlines, {} waiting", args.waiting);
    let stack = Stack::start(artefacts, args, refusals::max_wait_ms(args)).await?;
    let round_trip_p50_ms = stack.round_trip().await?.p50_ms;
    let refusals = refusals::steady(&stack, args).await.context("refusals")?;
    eprintln!("==> refusals that are due together");
    let refusals_due_together = refusals::together(&stack, args).await.context("refusals due together")?;
    eprintln!("==> resumes, {} waiting", args.waiting);
    let stack = Stack::start(artefacts, args, resumes::MAX_WAIT_MS).await?;
    stack.round_trip().await?;
    let (resumes, counted_early) = resumes::steady(&stack, args).await.context("resumes")?;
    Ok(Findings {
        target_p99_ms: TARGET_MS,
        target_met: refusals.p99_ms <= TARGET_MS && resumes.p99_ms <= TARGET_MS,
        refusals,
        refusals_due_together,
        resumes,
        conditions: Conditions {
            envoy_version: artefacts.envoy_version()?,
            envoy_workers: stack::WORKERS,
            machine_cores: std::thread::available_parallelism().context("cannot count the cores")?.get(),
            waiting: args.waiting,
            due_per_s: args.rate,
            connections: stack.connections.len(),
            round_trip_p50_ms,
            resumes_counted_early_ms: counted_early.as_secs_f64() * 1_000.0,
        },
    })
}

impl Findings {
    /// The table, as text.
    fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["late by, ms", "streams", "p50", "p90", "p99", "max", "Envoy CPU, % of a core"]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let rows = [
            ("refused at the deadline", &self.refusals),
            ("resumed for a token", &self.resumes),
            ("refused, all due together", &self.refusals_due_together),
        ];
        for (name, late) in rows {
            let ms = |ms: f64| format!("{ms:.2}");
            let figures = [late.p50_ms, late.p90_ms, late.p99_ms, late.max_ms].map(ms);
            let [p50, p90, p99, max] = figures;
            let cpu = format!("{:.0}", late.envoy_cpu_percent);
            table.add_row([name.to_owned(), late.streams.to_string(), p50, p90, p99, max, cpu]);
        }
        let conditions = &self.conditions;
        let verdict = if self.target_met { "met" } else { "MISSED" };
        format!(
            "{table}\n\
             Client's clock, until the answer's headers are there; nothing is taken off. Due is: for refusals the send\n\
             instant + the longest wait; for the m-th resume t0 + m / rate, where at t0 the client sent the request that\n\
             emptied the bucket. Envoy had that one up to {:.2} ms later, which counts as lateness too.\n\
             A request that need not wait takes {:.2} ms (p50) there and back.\n\
             Target: p99 of the first two at most {TARGET_MS} ms: {verdict}.\n\n\
             Conditions: Envoy {}, {} worker, {} streams waiting on {} HTTP/2 connections, {}/s due, {} cores.\n",
            conditions.resumes_counted_early_ms,
            conditions.round_trip_p50_ms,
            conditions.envoy_version,
            conditions.envoy_workers,
            conditions.waiting,
            conditions.connections,
            conditions.due_per_s,
            conditions.machine_cores,
        )
    }
}
