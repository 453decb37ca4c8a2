//! `demo`, `test` and `bench`: setup, then the right cargo commands in the right order.
//!
//! All three use the dev profile and select the whole workspace, so that nearly every dependency is compiled once, whichever
//! verb came first. All three build the binaries first and pass the daemon's path on in `FOREBAY_BIN`, since the real stack
//! starts it as a process. `test` builds them together with the tests: the few dependencies that have more features in
//! tests, and the daemon on top of them, would else be compiled twice.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::failure::{Failure, probe, run};
use crate::matrix;
use crate::setup;
use crate::workspace::Workspace;

/// What `cargo xtask demo --help` prints.
pub(crate) const DEMO_HELP: &str = "\
Runs the main job end to end: upstreams, controller, a real Envoy with the filter, history and live traffic in
compressed time, beside Envoy's own local_ratelimit; prints a table and the checks that hold or do not.

Usage: cargo xtask demo [ARGUMENTS OF THE DEMO]

`cargo xtask demo -- --help` lists the demo's own arguments.";

/// What `cargo xtask test --help` prints.
pub(crate) const TEST_HELP: &str = "\
Runs every check: formatting, lints, all tests (the real-Envoy ones included), licences and sources of dependencies.

Usage: cargo xtask test [ARGUMENTS OF `cargo test`]

  cargo xtask test               everything, the core tests on every supported Envoy too
  cargo xtask test push          only the tests whose name contains `push` (formatting and lints still run), on one Envoy";

/// What `cargo xtask bench --help` prints.
pub(crate) const BENCH_HELP: &str = "\
Lists the benches, or runs one of them.

Usage: cargo xtask bench [NAME [ARGUMENTS OF THE BENCH]]

  cargo xtask bench                    the names, one line each
  cargo xtask bench overhead --json    runs one; with --json it ends with one JSON object on one line";

/// Every bench: its cargo name, how it is compiled, and what it measures. A new bench is one row here and one file in
/// host-tests/benches (or, when the compiler's work is what is measured, in the measured crate's own).
const BENCHES: [(&str, Build, &str); 14] = [
    ("overhead", Build::Stack, "Envoy CPU microseconds per request: no filter, empty wasm, local_ratelimit, Forebay"),
    ("attribution", Build::Stack, "Envoy CPU microseconds of each call that a wasm filter can make per request"),
    ("leases", Build::Stack, "eight workers on one hot key: shared data per request, fairness, lost units"),
    ("queue", Build::Stack, "how late 1,000 waiting streams on Envoy are resumed or refused, in milliseconds"),
    ("idle", Build::Stack, "CPU of an Envoy without traffic, with Forebay and without any filter"),
    ("decision", Build::Optimised("forebay-engine"), "the decision natively, beside the governor crate's keyed check"),
    ("forecast", Build::Optimised("forebay-forecast"), "M4 Hourly: OWA, MASE, MSIS, coverage, series per CPU second"),
    ("traces", Build::Optimised("forebay-forecast"), "traces, 5 minutes to 24 hours ahead, against naive forecasts"),
    ("anomalies", Build::Optimised("forebay-forecast"), "anomalies on labelled series: F1, delay, false alarms a week"),
    ("learning", Build::Optimised("forebay-plan"), "tuning headroom and tier mix beside the planner's own choice"),
    (
        "provisioning",
        Build::Optimised("forebay-plan"),
        "capacity by forecast beside reactive scaling, at matched violation",
    ),
    ("planner", Build::Optimised("forebay-plan"), "capacity planning: seconds, gap to the linear bound, growth"),
    ("books", Build::Optimised("forebay-plan"), "services that say how often they may be short: bytes, CPU per step"),
    ("kubernetes", Build::Counted("forebay-provision"), "a look at a cluster of 5,000 pods: requests, bytes, CPU"),
];

/// How a bench is compiled.
#[derive(Clone, Copy)]
enum Build {
    /// With the real stack, in the profile of all other verbs: what is measured is Envoy, wasm or a count.
    Stack,
    /// One package in the release profile: what is measured is compiled together with the bench.
    Optimised(&'static str),
    /// One package in the profile of all other verbs: what is measured is a count.
    Counted(&'static str),
}

/// Everything but the two wasm modules: they have no native form, and setup has built them for wasm32.
pub(crate) const NATIVE: [&str; 5] =
    ["--workspace", "--exclude", "forebay-filter", "--exclude", "forebay-empty-filter"];

/// `cargo xtask demo`.
pub(crate) fn demo(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    setup::run(workspace)?;
    println!("demo: building");
    build_binaries(workspace)?;
    let mut demo = Command::new(workspace.target().join("debug/demo"));
    run(demo.env("FOREBAY_BIN", daemon(workspace)).args(arguments))
}

/// `cargo xtask test`.
pub(crate) fn test(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let mut phases = Phases::default();
    let outcome = test_phases(workspace, arguments, &mut phases);
    phases.print();
    outcome
}

fn test_phases(workspace: &Workspace, arguments: &[String], phases: &mut Phases) -> Result<(), Failure> {
    phases.time("setup", || setup::run(workspace).and_then(|()| setup::for_tests(workspace)))?;
    phases.time("build", || build_binaries_and_tests(workspace))?;
    phases.time("formatting", || {
        run(workspace.cargo().args(["fmt", "--all", "--check"]))
            .map_err(|failure| failure.with_remedy("cargo fmt --all    # or: rustup component add rustfmt"))
    })?;
    phases.time("lints", || {
        run(workspace.cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
            .map_err(|failure| failure.with_remedy("see the lints above; without clippy: rustup component add clippy"))
    })?;
    phases.time("tests", || {
        run(workspace.cargo().env("FOREBAY_BIN", daemon(workspace)).arg("test").args(NATIVE).args(arguments))
    })?;
    if arguments.is_empty() {
        matrix::phases(workspace, &daemon(workspace), &matrix::all_but_the_chosen(workspace)?, phases)?;
    } else {
        println!(
            "test: NOT RUN: the matrix of Envoy versions, since only some tests were asked for: cargo xtask matrix"
        );
    }
    phases.time("licences and sources", || check_dependencies(workspace))
}

/// `cargo xtask matrix`.
pub(crate) fn matrix(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    setup::run(workspace)?;
    setup::for_tests(workspace)?;
    let mut phases = Phases::default();
    let outcome = phases
        .time("build", || build_binaries_and_tests(workspace))
        .and_then(|()| matrix::phases(workspace, &daemon(workspace), arguments, &mut phases));
    phases.print();
    outcome
}

/// cargo-deny takes minutes to compile, so it is used where it is and missed aloud where it is not.
fn check_dependencies(workspace: &Workspace) -> Result<(), Failure> {
    if probe(workspace.cargo().args(["deny", "--version"])).is_none() {
        println!("    NOT RUN: licences and sources of the dependencies, because cargo-deny is not on this machine.");
        println!("    To run it: cargo install --locked cargo-deny && cargo deny check licenses bans sources");
        return Ok(());
    }
    run(workspace.cargo().args(["deny", "check", "licenses", "bans", "sources"]))
}

/// `cargo xtask bench`.
pub(crate) fn bench(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", bench_list());
        return Ok(());
    };
    let Some((_, build, _)) = BENCHES.iter().find(|(known, _, _)| known == name) else {
        return Err(Failure::usage(&format!("there is no bench `{name}`"), &bench_list()));
    };
    let mut cargo = workspace.cargo();
    cargo.args(["bench", "--quiet"]);
    match build {
        Build::Stack => {
            setup::run(workspace)?;
            println!("bench {name}: building");
            build_binaries(workspace)?;
            cargo.env("FOREBAY_BIN", daemon(workspace)).args(["--profile", "dev"]).args(NATIVE);
        }
        Build::Optimised(package) => {
            println!("bench {name}: building");
            cargo.args(["--profile", "release", "--package", package]);
        }
        Build::Counted(package) => {
            println!("bench {name}: building");
            cargo.args(["--profile", "dev", "--package", package]);
        }
    }
    run(cargo.args(["--bench", name.as_str(), "--"]).args(rest))
}

fn bench_list() -> String {
    let mut list = String::from("Benches (`cargo xtask bench NAME` runs one):\n");
    for (name, _, what) in BENCHES {
        list.push_str(&format!("  {name:<12} {what}\n"));
    }
    list
}

fn build_binaries(workspace: &Workspace) -> Result<(), Failure> {
    run(workspace.cargo().arg("build").args(NATIVE).arg("--bins"))
}

fn build_binaries_and_tests(workspace: &Workspace) -> Result<(), Failure> {
    run(workspace.cargo().arg("build").args(NATIVE).args(["--bins", "--tests"]))
}

fn daemon(workspace: &Workspace) -> PathBuf {
    workspace.target().join("debug/forebay")
}

/// How long each phase took, in order, with the one that failed marked.
#[derive(Default)]
pub(crate) struct Phases(Vec<(String, Duration, bool)>);

impl Phases {
    /// Runs a phase and notes how long it took.
    pub(crate) fn time(&mut self, name: &str, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        println!("test: {name}");
        let started = Instant::now();
        let outcome = work();
        self.0.push((name.to_owned(), started.elapsed(), outcome.is_ok()));
        outcome
    }

    fn print(&self) {
        println!("\n  {:<24}{:>9}", "phase", "seconds");
        for (name, took, passed) in &self.0 {
            println!("  {name:<24}{:>9.1}{}", took.as_secs_f64(), if *passed { "" } else { "  FAILED" });
        }
        let total: Duration = self.0.iter().map(|(_, took, _)| *took).sum();
        println!("  {:<24}{:>9.1}", "total", total.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_benches_names_each_with_what_it_measures() {
        let list = bench_list();
        for (name, _, what) in BENCHES {
            assert!(list.contains(name) && list.contains(what), "{list}");
        }
    }

    #[test]
    fn a_failed_phase_stops_the_run_and_stays_in_the_times() {
        let mut phases = Phases::default();
        assert!(phases.time("first", || Ok(())).is_ok());
        assert!(phases.time("second", || Err(Failure::new("no"))).is_err());
        let seen: Vec<_> = phases.0.iter().map(|(name, _, passed)| (name.as_str(), *passed)).collect();
        assert_eq!(seen, [("first", true), ("second", false)]);
    }
}
