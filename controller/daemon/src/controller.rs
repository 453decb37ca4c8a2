//! `forebay controller`: starts the parts in order, and stops them in the reverse one.
//!
//! Start: configuration, store, observer, all ports, planner (which publishes its first plan at once), provisioning, HTTP, and last
//! the port file, so that whoever sees it can call. A port that is taken is told before anything is planned or started. Stop, on SIGTERM or SIGINT: held watches are answered, connections end, the planner
//! writes what was observed last, the store closes. A kill -9 loses none of that either: the filters' counters are
//! cumulative and count on from the stored cursors.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::observe::{Moment, Observer};
use crate::planning::Planner;
use crate::serve::Speaks;
use crate::state::{Shared, lock};
use crate::store::HistoryStore;
use crate::store::sqlite::SqliteStore;
use crate::{capacity, http, serve};

/// Arguments of `forebay controller`.
#[derive(Debug, Args)]
pub(crate) struct ControllerArgs {
    /// Configuration file, whose fields `forebay config reference` lists; without one, the defaults and no contracts
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Runs until a signal.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let store = SqliteStore::open(&config.data_dir, config.step_s)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(&config.clock));
    let now = Moment { calendar_s: clock.calendar_now_s(), steady: clock.steady_now() };
    let keys = config.contracts.iter().map(|contract| contract.key.clone()).collect();
    let stale_after = config.sync.proxy_stale_after;
    let observer = Observer::new(config.step_s, clock.speed(), stale_after, keys, store.cursors()?, now);

    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen on {}: choose another address with listen", config.listen))?;
    let address = listener.local_addr().context("read the address listened on")?;
    let for_endpoints = capacity::xds::listen(&config).await?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;

    let (longest_hold, port_file) = (config.sync.watch_hold, config.port_file.clone());
    let contracts = config.contracts.len();
    let shared = Arc::new(Shared::new(config, clock, observer));
    let planner = Planner::new(Arc::clone(&shared), Box::new(store))?;
    let planning = std::thread::Builder::new()
        .name("planning".to_owned())
        .spawn(move || planner.run())
        .context("start the planning thread")?;

    let provisioning = capacity::starting::start(&shared).await?;

    let (stop, stopping) = watch::channel(false);
    let serving_endpoints = for_endpoints.map(|one| one.serve(&shared, &stopping)).transpose()?;
    let router = http::router(Arc::clone(&shared), stopping.clone());
    let serving = tokio::spawn(serve::serve(listener, router, Speaks::Http(longest_hold), stopping));
    if let Some(file) = &port_file {
        serve::write_port_file(file, address)?;
    }
    tracing::info!(%address, contracts, "controller serves");

    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping");
    stop.send_replace(true);
    serving.await.context("serve")?;
    if let Some(serving) = serving_endpoints {
        serving.await.context("serve endpoints")?;
    }
    shared.stop();
    let joined = tokio::task::spawn_blocking(move || planning.join()).await.context("stop the planning thread")?;
    anyhow::ensure!(joined.is_ok(), "the planning thread had panicked; what it observed last is not stored");
    if let Some(provisioning) = provisioning {
        // Without its sender the loop ends; what it has started goes on running, and is adopted at the next start.
        lock(&shared.capacity.asks).take();
        let joined = tokio::task::spawn_blocking(move || provisioning.join()).await.context("stop provisioning")?;
        anyhow::ensure!(joined.is_ok(), "the capacity thread had panicked");
    }
    tracing::info!("stopped");
    Ok(())
}
