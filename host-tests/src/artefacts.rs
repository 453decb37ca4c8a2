//! What `cargo xtask setup` left behind: wasm modules, their build hash, and an Envoy.
//!
//! The folder is found from this crate's own place in the repository, so that it does not matter where a test or bench
//! is started from. Something missing is an error that names the command which makes it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The files that the real stack is made of.
#[derive(Debug, Clone)]
pub struct Artefacts {
    /// The Forebay filter.
    pub forebay_filter: PathBuf,
    /// The Forebay filter that follows streams to their end.
    pub forebay_filter_streams: PathBuf,
    /// The filter that does nothing.
    pub empty_filter: PathBuf,
    /// Tells one build of the Forebay filter from another; goes into the VM configuration.
    pub build_hash: String,
    /// The Envoy binary: `FOREBAY_STACK_ENVOY`, by which the matrix runs the stack on each version, else the one that
    /// setup chose.
    pub envoy: PathBuf,
}

impl Artefacts {
    /// Finds everything, or says what is missing and how to make it.
    pub fn find() -> Result<Self> {
        let folder = workspace_root()?.join("target/forebay");
        let file = |name: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            if !path.is_file() {
                bail!("{} is missing: run `cargo xtask setup` first", path.display());
            }
            Ok(path)
        };
        let text = |name: &str| -> Result<String> {
            let path = file(name)?;
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(text.trim().to_owned())
        };
        let envoy = match std::env::var_os("FOREBAY_STACK_ENVOY").filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(text("envoy-path")?),
        };
        if !envoy.is_file() {
            bail!("the Envoy to test with is gone ({}): run `cargo xtask setup` again", envoy.display());
        }
        Ok(Self {
            forebay_filter: file("forebay_filter.wasm")?,
            forebay_filter_streams: file("forebay_filter_streams.wasm")?,
            empty_filter: file("empty_filter.wasm")?,
            build_hash: text("build-hash")?,
            envoy,
        })
    }
}

impl Artefacts {
    /// The version that the Envoy binary says; it prints `PATH  version: REVISION/VERSION/...`.
    ///
    /// # Errors
    /// When it does not run or says something else.
    pub fn envoy_version(&self) -> Result<String> {
        let output = Command::new(&self.envoy).arg("--version").output().context("cannot run `envoy --version`")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_once("version: ").and_then(|(_, rest)| rest.split('/').nth(1));
        let version = version.with_context(|| format!("`envoy --version` says {text:?}"))?;
        Ok(version.to_owned())
    }
}

/// The `forebay` binary: `FOREBAY_BIN`, else the one that `cargo build -p forebay` makes.
pub fn forebay_binary() -> Result<PathBuf> {
    let path = match std::env::var_os("FOREBAY_BIN").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => workspace_root()?.join("target/debug/forebay"),
    };
    if !path.is_file() {
        bail!("{} is missing: run `cargo build -p forebay` first, or set FOREBAY_BIN", path.display());
    }
    Ok(path)
}

/// The repository's top folder.
pub fn workspace_root() -> Result<&'static Path> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().with_context(|| format!("{} lies in no repository", crate_folder.display()))
}
