//! `cargo xtask matrix`: the core tests of the real stack on every supported Envoy.
//!
//! What forms the matrix are the tests in which Envoy itself decides the outcome: what clients and upstreams see, the
//! limit over two workers, reloads, the sync path, hostile input, bad answers, statistics, configuration, streams that wait,
//! are settled, guarded or reset, VMs that trap. Tests of the controller and of the forecast are the same on any Envoy and
//! run once, on the one that setup chose.
//!
//! A version that cannot be fetched fails the run: a matrix with a hole that nobody sees is worse than none.

use std::path::Path;

use crate::failure::Failure;
use crate::releases::{self, RELEASES};
use crate::verbs::{NATIVE, Phases};
use crate::workspace::Workspace;

/// What `cargo xtask matrix --help` prints.
pub(crate) const HELP: &str = "\
Runs the core tests on the real Envoy, on the newest patch of each supported minor version.

Usage: cargo xtask matrix [VERSION...]

  cargo xtask matrix           all versions
  cargo xtask matrix 1.36.4    only this one";

/// The modules of `host-tests/tests/stack` that are run on each version.
const MODULES: [&str; 14] = [
    "envoy_lanes::",
    "envoy_limits::",
    "envoy_push::",
    "envoy_hostile::",
    "envoy_faults::",
    "envoy_hosts::",
    "envoy_stats::",
    "envoy_answers::",
    "envoy_queue::",
    "envoy_settle::",
    "envoy_guard::",
    "envoy_mixes::",
    "envoy_resets::",
    "envoy_trap::",
];

/// Every version but the one that setup chose, on which all tests have run.
pub(crate) fn all_but_the_chosen(workspace: &Workspace) -> Result<Vec<String>, Failure> {
    let path = workspace.artefact("envoy-path")?;
    let chosen = std::fs::read_to_string(&path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let is_chosen = |version: &str| chosen.contains(&format!("/envoy-{version}/"));
    Ok(RELEASES.iter().map(|release| release.version).filter(|version| !is_chosen(version)).map(String::from).collect())
}

/// One phase per version; `versions` empty means all of them.
pub(crate) fn phases(
    workspace: &Workspace,
    daemon: &Path,
    versions: &[String],
    phases: &mut Phases,
) -> Result<(), Failure> {
    if let Some(unknown) = versions.iter().find(|wanted| !RELEASES.iter().any(|known| known.version == **wanted)) {
        let known: Vec<_> = RELEASES.iter().map(|release| release.version).collect();
        return Err(Failure::usage(&format!("no Envoy {unknown} here, only {}", known.join(", ")), HELP));
    }
    for release in RELEASES {
        let version = release.version;
        if !versions.is_empty() && !versions.iter().any(|wanted| wanted == version) {
            continue;
        }
        let envoy = releases::provide(workspace, release)?;
        phases.time(&format!("tests on Envoy {version}"), || {
            let mut test = workspace.cargo();
            test.env("FOREBAY_BIN", daemon).env("FOREBAY_STACK_ENVOY", &envoy);
            test.args(["test", "--quiet"]).args(NATIVE).args(["--test", "stack", "--"]).args(MODULES);
            crate::failure::run(&mut test)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_the_matrix_exists() {
        let stack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/stack");
        for module in MODULES {
            let file = stack.join(format!("{}.rs", module.trim_end_matches("::")));
            assert!(file.is_file(), "{} is in the matrix and has no tests", file.display());
        }
    }
}
