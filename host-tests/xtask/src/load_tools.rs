//! h2load, nghttp2's load generator: one test sends with it, so that not only our own clients have been tried.

use std::process::Command;

use crate::failure::{Failure, probe};
use crate::packages;

/// Installs it where it is missing.
pub(crate) fn provide() -> Result<(), Failure> {
    if probe(Command::new("h2load").arg("--version")).is_none() {
        packages::install(&["nghttp2-client"], "h2load, the load generator of one test")?;
    }
    Ok(())
}
