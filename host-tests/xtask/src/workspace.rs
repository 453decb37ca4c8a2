//! Where things are: the repository, cargo's target folder and the folder of artefacts that the real stack reads.
//!
//! The artefacts always lie in `<repository>/target/forebay`, also when `CARGO_TARGET_DIR` points elsewhere, so that
//! `forebay-host-tests` finds them without asking cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// The folders of this checkout.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this task runner was built from.
    pub(crate) fn find() -> Result<Self, Failure> {
        let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest_dir
            .ancestors()
            .nth(2)
            .filter(|root| root.join("Cargo.lock").exists() || root.join("Cargo.toml").exists())
            .ok_or_else(|| {
                Failure::new(format!("the checkout that xtask was built from is gone ({})", manifest_dir.display()))
                    .with_remedy("run `cargo xtask` again from inside the repository")
            })?
            .to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => std::path::absolute(&folder).map_err(|error| {
                Failure::new(format!("CARGO_TARGET_DIR is no usable path ({}): {error}", folder.display()))
            })?,
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's own target folder.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// A path inside `target/forebay`, whose folder is made when it is missing.
    pub(crate) fn artefact(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.root.join("target/forebay");
        std::fs::create_dir_all(&folder)
            .map_err(|error| Failure::new(format!("cannot create the folder {}: {error}", folder.display())))?;
        Ok(folder.join(name))
    }

    /// Writes a small artefact as a whole.
    pub(crate) fn write_artefact(&self, name: &str, content: &str) -> Result<(), Failure> {
        let path = self.artefact(name)?;
        std::fs::write(&path, content)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
    }

    /// The cargo that runs us, working in the repository.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        cargo
    }
}
