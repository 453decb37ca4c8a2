//! Debian packages, for the few tools that neither cargo nor pip can bring.
//!
//! apt is only run as root. Anyone else gets the exact command to run: a task runner that asks for a password, or uses
//! a sudo that happens to need none, does more than its user asked for.

use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, probe, run};

/// Installs Debian packages, or says how. `why` completes the sentence "... is needed: {why}".
pub(crate) fn install(packages: &[&str], why: &str) -> Result<(), Failure> {
    let list = packages.join(" ");
    if probe(Command::new("apt-get").arg("--version")).is_none() {
        return Err(Failure::new(format!("{list} is needed ({why}), and this machine has no apt-get"))
            .with_remedy(format!("install what Debian calls: {list}")));
    }
    if probe(Command::new("id").arg("-u")).as_deref() != Some("0") {
        return Err(Failure::new(format!("{list} is needed ({why}), and only root can install packages"))
            .with_remedy(format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {list}")));
    }
    println!("    installing {list} from Debian: {why}");
    let installed = run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages));
    if installed.is_ok() {
        return Ok(());
    }
    // The lists of a fresh machine are empty or old: that is the usual reason, so one more try with new ones.
    println!("    apt-get could not install it with the package lists on this machine: fetching new ones");
    run(apt_get().arg("update"))
        .and_then(|()| run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages)))
        .map_err(|failure| {
            failure.with_remedy(format!(
                "apt-get update && apt-get install -y --no-install-recommends {list}    # needs root and the network"
            ))
        })
}

/// Downloads a Debian package and unpacks it into `folder`, installing nothing.
pub(crate) fn unpack(package: &str, folder: &Path, why: &str) -> Result<(), Failure> {
    println!("    unpacking {package} from Debian: {why}");
    std::fs::create_dir_all(folder).map_err(|error| Failure::new(format!("make {}: {error}", folder.display())))?;
    let download = || run(apt_get().args(["download", package]).current_dir(folder));
    download()
        .or_else(|_| run(apt_get().arg("update")).and_then(|()| download()))
        .and_then(|()| run(Command::new("sh").args(["-c", "dpkg-deb -x *.deb . && rm *.deb"]).current_dir(folder)))
        .map_err(|failure| failure.with_remedy(format!("install what Debian calls: {package} ({why})")))
}

/// Downloads the sources of a Debian package and unpacks them into `folder`, by lists of its own: what apt knows of this
/// machine does not change, and nobody needs to be root.
pub(crate) fn source(package: &str, lists: &str, folder: &Path, why: &str) -> Result<(), Failure> {
    println!("    fetching the sources of {package} from Debian: {why}");
    let own = folder.join("apt");
    let written = std::fs::create_dir_all(own.join("lists/partial"))
        .and_then(|()| std::fs::write(own.join("sources.list"), lists))
        .map_err(|error| Failure::new(format!("{}: {error}", own.display())));
    let apt = |arguments: &[&str]| {
        let option = |name: &str, value: &str| format!("-o{name}={value}");
        let of_own = |name: &str| own.join(name).display().to_string();
        let mut apt = apt_get();
        apt.current_dir(folder).arg(option("Dir::Etc::sourcelist", &of_own("sources.list")));
        apt.arg(option("Dir::Etc::sourceparts", "-")).arg(option("Dir::State::lists", &of_own("lists")));
        run(apt.args(arguments))
    };
    written
        .and_then(|()| apt(&["update"]))
        .and_then(|()| apt(&["source", "--download-only", package]))
        .and_then(|()| run(Command::new("sh").args(["-c", "tar xzf *.orig.tar.gz"]).current_dir(folder)))
        .map_err(|failure| failure.with_remedy(format!("apt-get source {package}    # needs the network ({why})")))
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    apt_get.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}
