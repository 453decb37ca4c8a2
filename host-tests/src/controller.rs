//! The real `forebay controller`, as a process that tests start, kill, stop and restart.
//!
//! Invariant: the address stays the same over restarts, since Envoy's cluster names it; the first start takes a free
//! port, every later one that same port. The data folder lives as long as this value, or is the caller's own if the
//! configuration names one.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::artefacts::forebay_binary;
use crate::poll;
use crate::process::Process;

/// Starting is opening a file and a port; the rest is room for a busy machine and for reading a long history.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// A graceful stop answers held watches and writes the history; anything near this is a fault.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// A controller process with its configuration and data.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    config: Value,
    address: SocketAddr,
    folder: TempDir,
}

impl Controller {
    /// Starts a controller and waits until it listens. `config` is what `forebay.yaml` would say, as JSON (which is
    /// YAML); `listen`, `port_file` and `data_dir` are filled in where it leaves them out.
    pub async fn start(config: Value) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("forebay-controller-").tempdir().context("no folder for the controller")?;
        let mut config = config;
        let settings = config.as_object_mut().context("the controller's configuration is no JSON object")?;
        settings.entry("listen").or_insert(json!("127.0.0.1:0"));
        settings.entry("data_dir").or_insert(json!(folder.path().join("data")));
        settings.insert("port_file".into(), json!(folder.path().join("address")));
        let (process, address) = launch(&config, folder.path()).await?;
        Ok(Self { process, config, address, folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of its history.
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.config["data_dir"].as_str().unwrap_or_default())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything that it has logged, over all its lives.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// User and system CPU seconds since the last start, in steps of 10 ms.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.process.cpu_seconds()
    }

    /// An error, with the log, if it has ended by itself.
    pub fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }

    /// Ends it at once, without a chance to write anything.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Stops it as an operator would (SIGTERM) and waits until it has ended.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.terminate(STOP_DEADLINE).await
    }

    /// Starts it again on the same address with the same data; a running one is terminated first.
    pub async fn restart(&mut self) -> Result<()> {
        self.terminate().await?;
        self.config["listen"] = json!(self.address.to_string());
        let (process, address) = launch(&self.config, self.folder.path()).await?;
        self.process = process;
        self.address = address;
        Ok(())
    }
}

async fn launch(config: &Value, folder: &Path) -> Result<(Process, SocketAddr)> {
    let (config_file, address_file) = (folder.join("forebay.yaml"), folder.join("address"));
    fs::write(&config_file, format!("{config:#}\n")).context("cannot write the controller's configuration")?;
    // The last life's address would be taken for this one's.
    match fs::remove_file(&address_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot remove the old address: {error}")
        }
        _ => {}
    }
    let mut command = Command::new(forebay_binary()?);
    command.arg("controller").arg("--config").arg(&config_file);
    let mut process = Process::start("the controller", &mut command, &folder.join("controller.log"))?;
    let address = poll::until("address from the controller", START_DEADLINE, async || {
        if let Some(status) = process.exit_status()? {
            bail!("it ended ({status})");
        }
        Ok(fs::read_to_string(&address_file).ok().and_then(|text| text.trim().parse().ok()))
    })
    .await
    .with_context(|| format!("the controller did not start; its log:\n{}", process.log()))?;
    Ok((process, address))
}
