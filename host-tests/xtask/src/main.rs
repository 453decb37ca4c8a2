//! The project's task runner: `cargo xtask setup | demo | test | matrix | cluster | bench`.
//!
//! Intuition: everything a newcomer must do on a fresh machine is a list of small steps, each of which first looks
//! whether its work is already done, says what it does, and on failure names the command that the user can run.
//!
//! Invariants: only the standard library, so that it compiles in about a second; nothing is written outside `target/`
//! except packages that apt installs when it runs as root; the exit code of a failed child is passed on.
//!
//! It deliberately does no work of its own beyond ordering commands: what is tested, shown or measured lives in
//! `forebay-host-tests` and in the crates.

mod cluster;
mod envoy;
mod failure;
mod matrix;
mod packages;
mod releases;
mod schemas;
mod setup;
mod test_tools;
mod verbs;
mod wasm;
mod workspace;

use std::process::ExitCode;

use failure::Failure;
use workspace::Workspace;

const USAGE: &str = "\
The project's task runner.

Usage: cargo xtask <VERB> [ARGUMENTS]

Verbs:
  setup   get what the other verbs need: wasm modules, Envoy (idempotent)
  demo    run the main job end to end on a real Envoy and print the result table
  test    formatting, lints, every test, the matrix, licences
  matrix  the core tests on the real Envoy, on every supported version of it
  cluster the Kubernetes manager on a real API server, which is built first
  bench   list the benches, or run one of them

`cargo xtask <VERB> --help` says more.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::from(failure.exit_code)
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<(), Failure> {
    let Some((verb, rest)) = arguments.split_first() else {
        return Err(Failure::usage("no verb given", USAGE));
    };
    // Only a leading `--help` is ours: `cargo xtask demo -- --help` reaches the demo itself.
    let wants_help = rest.first().is_some_and(|word| word == "--help" || word == "-h");
    let verb_help = match verb.as_str() {
        "setup" => setup::HELP,
        "demo" => verbs::DEMO_HELP,
        "test" => verbs::TEST_HELP,
        "matrix" => matrix::HELP,
        "cluster" => cluster::HELP,
        "bench" => verbs::BENCH_HELP,
        "--help" | "-h" | "help" => {
            println!("{USAGE}");
            return Ok(());
        }
        unknown => {
            return Err(Failure::usage(&format!("unknown verb `{unknown}`"), USAGE));
        }
    };
    if wants_help {
        println!("{verb_help}");
        return Ok(());
    }
    let workspace = Workspace::find()?;
    let rest = if rest.first().is_some_and(|word| word == "--") { &rest[1..] } else { rest };
    match verb.as_str() {
        "setup" => setup::run_with(&workspace, rest),
        "demo" => verbs::demo(&workspace, rest),
        "test" => verbs::test(&workspace, rest),
        "matrix" => verbs::matrix(&workspace, rest),
        "cluster" => cluster::run_suite(&workspace, rest),
        _ => verbs::bench(&workspace, rest),
    }
}
