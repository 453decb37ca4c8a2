//! The published schemas that the configurations for Istio and Envoy Gateway are tested against.
//!
//! What is fetched, from where and with which hash stands in `host-tests/schemas/crd.py`; when nothing of it has changed
//! there is nothing to do.

use std::process::Command;

use crate::failure::{Failure, probe, run};
use crate::packages;
use crate::workspace::Workspace;

/// Fetches them into `target/forebay/schemas`: about 550 KB.
pub(crate) fn provide(workspace: &Workspace) -> Result<(), Failure> {
    if probe(Command::new("npm").arg("--version")).is_none() {
        packages::install(&["npm"], "to fetch the published schema of Envoy Gateway")?;
    }
    let script = workspace.root().join("host-tests/schemas/crd.py");
    run(Command::new("python3").arg(script).arg("fetch").arg(workspace.artefact("schemas")?)).map_err(|failure| {
        failure.with_remedy("cargo xtask setup --all    # again, with the network: the packages come from PyPI and npm")
    })
}
