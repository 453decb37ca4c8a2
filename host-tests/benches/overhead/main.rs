//! `cargo xtask bench overhead`: what a request costs Envoy with Forebay, beside no filter, an empty wasm filter and
//! Envoy's own `local_ratelimit`.
//!
//! Two kinds of figures. Microseconds of Envoy's CPU per request come from real Envoys under a fixed number of requests
//! ([`rounds`]); they vary with the machine, so everything is compared inside one round. Host calls and wasm
//! instructions per request come from the deterministic host ([`in_wasm`]); they are the same on every machine.
//!
//! Nothing may be refused here and every request must take the standard lane; otherwise the run fails, since it would
//! have measured something else.
//!
//! What it does not measure: latency, several workers that contend for a bucket, a controller, the reserved lane.

mod findings;
mod in_wasm;
mod rounds;
mod variants;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::contest::Plan;

use crate::findings::Findings;
use crate::variants::Policy;

/// Envoy CPU microseconds per request: no filter, empty wasm filters, local_ratelimit, Forebay.
///
/// One Envoy with one worker per variant, one upstream, keep-alive connections; the variants take turns in every round.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench overhead")]
struct Args {
    /// Rounds; every variant runs once in each
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Requests per variant and round
    #[arg(long, default_value_t = 2_500)]
    requests: usize,
    /// Tenants, each with a contract like those of the committed policy, in turn; by default those of the policy
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    tenants: Option<u32>,
    /// Only host calls and wasm instructions, which take seconds and are exact: no Envoy
    #[arg(long)]
    exact: bool,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match overhead(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overhead: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn overhead(args: &Args) -> Result<()> {
    for (name, value) in [("--rounds", args.rounds), ("--requests", args.requests)] {
        if value == 0 {
            bail!("{name} 0: must be at least 1");
        }
    }
    let artefacts = Artefacts::find()?;
    let committed = Policy::committed()?;
    let policy = match args.tenants {
        Some(count) => committed.with_tenants(count as usize),
        None => committed,
    };
    eprintln!("==> counting host calls and instructions on the deterministic host");
    let in_wasm = in_wasm::measure(&artefacts, &policy)?;
    if args.exact {
        println!("{}", in_wasm.text());
        if args.json {
            println!("{}", serde_json::to_string(&in_wasm)?);
        }
        return Ok(());
    }
    eprintln!("==> {} rounds of {} requests through each Envoy", args.rounds, args.requests);
    let plan = Plan { rounds: args.rounds, requests: args.requests };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(rounds::CLIENT_THREADS).enable_all().build()?;
    let measured = runtime.block_on(rounds::play(&artefacts, &policy, plan))?;
    let findings = Findings::of(&artefacts, &policy, plan, &measured, in_wasm)?;
    println!("{}", findings.text());
    if args.json {
        println!("{}", serde_json::to_string(&findings)?);
    }
    Ok(())
}
