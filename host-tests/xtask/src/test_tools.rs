//! Tools that single tests use: h2load, nghttp2's load generator, so that not only our own clients have been tried; and
//! promtool, by which the shipped rules for Prometheus are checked and run.

use std::process::Command;

use crate::failure::{Failure, probe};
use crate::packages;
use crate::workspace::Workspace;

/// Gets those that are missing.
pub(crate) fn provide(workspace: &Workspace) -> Result<(), Failure> {
    if probe(Command::new("h2load").arg("--version")).is_none() {
        packages::install(&["nghttp2-client"], "h2load, the load generator of one test")?;
    }
    // Unpacked and not installed: the package would start a Prometheus.
    let unpacked = workspace.target().join("forebay/prometheus");
    if probe(Command::new("promtool").arg("--version")).is_none() && !unpacked.join("usr/bin/promtool").is_file() {
        packages::unpack("prometheus", &unpacked, "promtool, which checks the shipped rules")?;
    }
    Ok(())
}
