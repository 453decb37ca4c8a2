//! A real Envoy process, from a [`Bootstrap`] to facts: addresses, answers of its admin port, counters, CPU seconds.
//!
//! Invariant: when [`Envoy::start`] returns, Envoy is live, every listener is bound and its address is known.
//!
//! Hot restart is switched off, so that any number of Envoys run side by side; a test that needs what a hot restart
//! does to shared data (it is gone) starts a second Envoy.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::artefacts::Artefacts;
use crate::bootstrap::{Bootstrap, Listener};
use crate::client::{Answer, Request, send_once};
use crate::poll;
use crate::process::Process;

/// Starting takes about half a second, most of it V8 compiling the module; a busy two-core machine may need ten times
/// that, and a test must not fail for it.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A running Envoy; dropped, it is killed and its folder removed.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
    /// Bootstrap, listeners file and log. Declared after the process, so that it goes after it.
    folder: TempDir,
}

impl Envoy {
    /// Starts Envoy and waits until it serves. When it refuses its configuration the error carries its log.
    pub async fn start(artefacts: &Artefacts, bootstrap: &Bootstrap) -> Result<Self> {
        let folder = folder()?;
        let listeners_file = folder.path().join("listeners.json");
        let config = bootstrap.to_json(&listeners_file.to_string_lossy());
        if bootstrap.listeners_replaceable {
            fs::write(&listeners_file, listeners_resource(&bootstrap.listeners, 1)?)
                .context("cannot write Envoy's listeners")?;
        }
        // With replaceable listeners a refused one never comes; the caller sees that it has no address, and the log.
        let awaited = if bootstrap.listeners_replaceable { &[] } else { bootstrap.listeners.as_slice() };
        let names: Vec<&str> = awaited.iter().map(|listener| listener.name.as_str()).collect();
        Self::launch(artefacts, folder, &config, bootstrap.workers, &names).await
    }

    /// Starts Envoy with a configuration as it is, which is to have all ports 0, and waits until these listeners are bound.
    pub async fn start_configured(artefacts: &Artefacts, config: &Value, listeners: &[&str]) -> Result<Self> {
        Self::launch(artefacts, folder()?, config, 2, listeners).await
    }

    async fn launch(
        artefacts: &Artefacts,
        folder: TempDir,
        config: &Value,
        workers: u32,
        names: &[&str],
    ) -> Result<Self> {
        let file = |name: &str| folder.path().join(name);
        fs::write(file("envoy.json"), config.to_string()).context("cannot write Envoy's bootstrap")?;
        let mut command = Command::new(&artefacts.envoy);
        command
            .arg("-c")
            .arg(file("envoy.json"))
            .arg("--admin-address-path")
            .arg(file("admin-address"))
            .args(["--disable-hot-restart", "--use-dynamic-base-id", "-l", "warning", "--concurrency"])
            .arg(workers.to_string());
        let mut process = Process::start("Envoy", &mut command, &file("envoy.log"))?;
        let admin_file = file("admin-address");
        let (admin, listeners) = poll::until("ready Envoy", START_DEADLINE, async || {
            if let Some(status) = process.exit_status()? {
                bail!("it ended ({status})");
            }
            Ok(serving(&admin_file, names).await)
        })
        .await
        .with_context(|| format!("Envoy did not start; its log:\n{}", process.log()))?;
        Ok(Self { process, admin, listeners, folder })
    }

    /// Where a listener listens.
    pub fn address(&self, listener: &str) -> Result<SocketAddr> {
        self.listeners.get(listener).copied().with_context(|| format!("Envoy has no listener `{listener}`"))
    }

    /// Where the admin port is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A GET of the admin port.
    pub async fn admin_get(&self, path: &str) -> Result<Answer> {
        send_once(self.admin, &Request::get(path)).await
    }

    /// A POST to the admin port, which is what its commands take (`/quitquitquit`, `/logging?level=debug` ...).
    pub async fn admin_post(&self, path: &str) -> Result<Answer> {
        send_once(self.admin, &Request::post(path, "")).await
    }

    /// All counters and gauges by name.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        let answer = self.admin_get("/stats").await?;
        // Histograms and text have values that are no number and are left out.
        Ok(answer
            .text()
            .lines()
            .filter_map(|line| line.rsplit_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// One counter or gauge; 0 when Envoy does not know it, since it makes many of them at their first use.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        Ok(self.stats().await?.get(name).copied().unwrap_or(0))
    }

    /// Replaces the listeners while Envoy runs and waits until it has taken them; needs a bootstrap with replaceable
    /// listeners. A listener that keeps its name keeps its address. Refused listeners are an error with Envoy's log.
    pub async fn replace_listeners(&mut self, listeners: &[Listener]) -> Result<()> {
        let file = self.folder.path().join("listeners.json");
        if !file.exists() {
            bail!("this Envoy's listeners are fixed: give it a bootstrap with replaceable listeners");
        }
        let before = self.stats().await?;
        let count = |stats: &BTreeMap<String, u64>, name: &str| stats.get(name).copied().unwrap_or(0);
        let (taken, refused) = ("listener_manager.lds.update_success", "listener_manager.lds.update_rejected");
        let version = 1 + count(&before, taken) + count(&before, refused);
        let partial: PathBuf = file.with_extension("partial");
        fs::write(&partial, listeners_resource(listeners, version)?).context("cannot write Envoy's listeners")?;
        // Envoy watches for a file that is moved into place; one that is written to is not noticed.
        fs::rename(&partial, &file).context("cannot replace Envoy's listeners")?;
        poll::until("listener update", START_DEADLINE, async || {
            let now = self.stats().await?;
            if count(&now, refused) > count(&before, refused) {
                bail!("Envoy refused the new listeners; its log:\n{}", self.log());
            }
            let warm = count(&now, "listener_manager.total_listeners_warming") == 0;
            Ok((count(&now, taken) > count(&before, taken) && warm).then_some(()))
        })
        .await?;
        self.listeners = bound_listeners(self.admin).await?;
        Ok(())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// User and system CPU seconds of the whole process since its start, in steps of 10 ms.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.process.cpu_seconds()
    }

    /// Everything that Envoy has logged, from level warning on.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// An error, with the log, if Envoy has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }
}

/// Asks Envoy whether it would take a bootstrap (JSON is YAML); the error is what it logged.
pub fn validate(artefacts: &Artefacts, bootstrap: &str) -> Result<()> {
    let folder = folder()?;
    let path = folder.path().join("envoy.yaml");
    fs::write(&path, bootstrap).context("cannot write Envoy's bootstrap")?;
    let output = Command::new(&artefacts.envoy)
        .args(["--mode", "validate", "--disable-hot-restart", "-l", "warning", "-c"])
        .arg(&path)
        .output()
        .context("cannot run Envoy")?;
    if !output.status.success() {
        let log = [output.stdout, output.stderr].concat();
        bail!("Envoy refuses the bootstrap:\n{}", String::from_utf8_lossy(&log));
    }
    Ok(())
}

fn folder() -> Result<TempDir> {
    tempfile::Builder::new().prefix("forebay-envoy-").tempdir().context("no folder for Envoy")
}

/// The addresses once everything is up; until then any of the questions may fail, and is asked again.
async fn serving(admin_file: &Path, names: &[&str]) -> Option<(SocketAddr, BTreeMap<String, SocketAddr>)> {
    let admin: SocketAddr = fs::read_to_string(admin_file).ok()?.trim().parse().ok()?;
    let ready = send_once(admin, &Request::get("/ready")).await.ok()?;
    if !ready.status.is_success() {
        return None;
    }
    let listeners = bound_listeners(admin).await.ok()?;
    names.iter().all(|name| listeners.contains_key(*name)).then_some((admin, listeners))
}

async fn bound_listeners(admin: SocketAddr) -> Result<BTreeMap<String, SocketAddr>> {
    let answer = send_once(admin, &Request::get("/listeners?format=json")).await?;
    let status: Value = serde_json::from_slice(&answer.body).context("Envoy's list of listeners is no JSON")?;
    let entries = status["listener_statuses"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let socket = &entry["local_address"]["socket_address"];
            let host = socket["address"].as_str().unwrap_or_default();
            let address = format!("{host}:{}", socket["port_value"])
                .parse()
                .with_context(|| format!("a listener without usable address: {entry}"))?;
            Ok((entry["name"].as_str().unwrap_or_default().to_owned(), address))
        })
        .collect()
}

/// The watched file: a discovery response with typed listeners.
fn listeners_resource(listeners: &[Listener], version: u64) -> Result<String> {
    let mut resources = Vec::new();
    for listener in listeners {
        let mut resource = listener.to_json();
        resource
            .as_object_mut()
            .context("a listener is a JSON object")?
            .insert("@type".into(), json!("type.googleapis.com/envoy.config.listener.v3.Listener"));
        resources.push(resource);
    }
    Ok(json!({ "version_info": version.to_string(), "resources": resources }).to_string())
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::client::Connection;
    use crate::filters::{self, TokenBucket};
    use crate::upstream::Upstream;

    #[tokio::test]
    async fn requests_pass_a_wasm_filter_and_are_held_to_their_own_local_ratelimit() {
        let artefacts = Artefacts::find().unwrap();
        let upstream = Upstream::start().await.unwrap();
        let acme = TokenBucket { rate_per_s: 1, burst: 3 };
        let others = TokenBucket { rate_per_s: 1, burst: 5 };
        let bootstrap = Bootstrap::new("test")
            .upstream(&[upstream.address()])
            .listener(Listener::new("empty", vec![filters::empty(&artefacts)]))
            .listener(Listener::new("named", vec![filters::local_ratelimit(&[("acme".into(), acme)], others)]))
            .listener(Listener::new("wildcard", vec![filters::local_ratelimit_wildcard(acme, 100, others)]));
        let envoy = Envoy::start(&artefacts, &bootstrap).await.unwrap();
        // The buckets refill one token a second; the burst is spent within milliseconds.
        for (listener, tenant, admitted) in
            [("empty", "acme", 9), ("named", "acme", 3), ("named", "new", 5), ("wildcard", "new", 3)]
        {
            let mut connection = Connection::open(envoy.address(listener).unwrap()).await.unwrap();
            let mut seen = 0;
            for _ in 0..9 {
                let answer = connection.send(&Request::get("/").header("x-tenant", tenant)).await.unwrap();
                seen += u32::from(answer.status == StatusCode::OK);
            }
            assert!((admitted..=admitted + 1).contains(&seen), "{listener} {tenant}: {seen} of {admitted}");
        }
        assert_eq!(upstream.total(), envoy.stat("cluster.upstream.upstream_rq_200").await.unwrap());
        assert!(envoy.cpu_seconds().unwrap() > 0.0);
    }

    #[tokio::test]
    async fn replaced_listeners_keep_their_address() {
        let artefacts = Artefacts::find().unwrap();
        let upstream = Upstream::start().await.unwrap();
        let bootstrap = Bootstrap::new("test")
            .workers(1)
            .upstream(&[upstream.address()])
            .listener(Listener::new("main", vec![]))
            .replaceable_listeners();
        let mut envoy = Envoy::start(&artefacts, &bootstrap).await.unwrap();
        let address = envoy.address("main").unwrap();
        let one = TokenBucket { rate_per_s: 1, burst: 1 };
        let limited = Listener::new("main", vec![filters::local_ratelimit(&[], one)]);
        envoy.replace_listeners(&[limited]).await.unwrap();
        assert_eq!(envoy.address("main").unwrap(), address);
        let mut refused = 0;
        for _ in 0..5 {
            let answer = send_once(address, &Request::get("/")).await.unwrap();
            refused += u32::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
        }
        assert!(refused >= 3, "the new filter is in the chain: {refused} of 5 refused");
        let broken = Listener::new("main", vec![json!({ "name": "no-such-filter" })]);
        let error = envoy.replace_listeners(&[broken]).await.unwrap_err();
        assert!(error.to_string().contains("no-such-filter"), "{error}");
    }

    #[tokio::test]
    async fn a_refused_configuration_fails_the_start_with_the_log() {
        let artefacts = Artefacts::find().unwrap();
        let bootstrap = Bootstrap::new("test")
            .upstream(&[SocketAddr::from(([127, 0, 0, 1], 1))])
            .listener(Listener::new("main", vec![json!({ "name": "nonsense" })]));
        let error = Envoy::start(&artefacts, &bootstrap).await.unwrap_err();
        assert!(format!("{error:#}").contains("nonsense"), "{error:#}");
    }
}
