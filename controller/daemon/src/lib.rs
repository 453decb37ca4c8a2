//! `forebay`: the controller daemon and the project's command line, as a library that the binary and the demo share.
//!
//! Exit codes: 0, 78 (the configuration is wrong; the place is on stderr), 1 for everything else. Output for people and
//! tools goes to stdout, logs and progress to stderr.

mod calendar;
mod capacity;
mod clock;
mod config;
mod configuration;
mod controller;
mod events;
mod files;
mod forecasting;
mod http;
mod import;
mod metrics;
mod observe;
mod planning;
mod policy;
pub mod rehearsal;
mod serve;
mod shapes;
mod simulate;
mod state;
mod store;
mod sync;
pub mod traffic;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::store::StoreError;

/// As in sysexits.h: something in the configuration is wrong.
const EXIT_CONFIG: u8 = 78;

/// Predictive admission control for Envoy: the controller and its tools.
#[derive(Debug, Parser)]
#[command(name = "forebay", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller
    Controller(controller::ControllerArgs),
    /// Load history from CSV files
    Import(import::ImportArgs),
    /// Forecast a CSV file or a key of the history
    Forecast(forecasting::forecast::ForecastArgs),
    /// How well forecasts of a CSV file or a key would have done, beside naive ones
    Backtest(forecasting::backtest::BacktestArgs),
    /// What capacity would have cost and left unserved under scaling policies, replayed on a CSV file
    Simulate(simulate::SimulateArgs),
    /// Check configurations, or print their schema and a reference of all fields
    Config(configuration::ConfigArgs),
    /// Check policy documents, make one of another rate limiter's, or print their schema
    Policy(policy::PolicyArgs),
    /// Sizes of instance that observed demand would be cheaper with
    Shapes(shapes::ShapesArgs),
    /// Write a seeded traffic trace
    Generate(traffic::generate::GenerateArgs),
    /// Send a trace as real HTTP requests
    Replay(traffic::replay::ReplayArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forebay: {}", said(&error));
            let is_config = error.is::<ConfigError>()
                || error.is::<policy::Refused>()
                || matches!(error.downcast_ref(), Some(StoreError::Step { .. }));
            if is_config { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

/// An error with its causes, each once: many say their cause themselves, so that logs have it too.
fn said(error: &anyhow::Error) -> String {
    let mut causes = error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    causes.fold(first, |said, cause| if said.contains(&cause) { said } else { format!("{said}: {cause}") })
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Controller(args) => {
            let config = Config::load(args.config.as_deref())?;
            start_log(config.log_json, config.log_level);
            runtime()?.block_on(controller::run(config))
        }
        Command::Import(args) => import::run(&args),
        Command::Forecast(args) => forecasting::forecast::run(&args),
        Command::Backtest(args) => forecasting::backtest::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Config(args) => configuration::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Shapes(args) => shapes::run(&args),
        Command::Generate(args) => traffic::generate::run(args),
        Command::Replay(args) => {
            start_log(false, tracing::Level::WARN);
            runtime()?.block_on(traffic::replay::run(args))
        }
    }
}

/// Two workers: what is computed runs on threads of its own, and the rest waits for the network.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

fn start_log(json: bool, level: tracing::Level) {
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    if json { log.json().init() } else { log.with_ansi(false).init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let missing = Config::load(Some(std::path::Path::new("no/such/forebay.yaml"))).unwrap_err();
        let text = said(&anyhow::Error::from(missing).context("start"));
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
        assert!(text.starts_with("start: no/such/forebay.yaml: read configuration: No such file"), "{text}");
        assert_eq!(said(&anyhow::anyhow!("b").context("a")), "a: b");
    }
}
