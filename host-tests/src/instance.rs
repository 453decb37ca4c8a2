//! An instance of a service, as the process manager starts it: it takes its time to start, is slow at first, and has a
//! stated capacity.
//!
//! At most `at_once` requests are worked on at a time, each for `service`; further ones wait their turn, as behind a pool of
//! threads. The first requests after the start take longer ("cold": caches, compilation), so an instance that was not warmed
//! shows. It answers with its name (`x-instance`) and the number of the request (`x-count`). `/healthz` is answered at once
//! and not counted. Asked to end, it finishes what it has.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

/// The header that says which instance answered.
pub const INSTANCE: &str = "x-instance";
/// The header that says how many requests the instance has been asked so far, this one included.
pub const COUNT: &str = "x-count";
/// The path of health checks.
pub const HEALTH: &str = "/healthz";
/// What is under way when it is asked to end has this long.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What an instance is like.
#[derive(Debug, Clone, Parser)]
#[command(name = "demo-instance")]
pub struct Nature {
    /// Port of the loopback address
    #[arg(long)]
    pub port: u16,
    /// Its name in answers
    #[arg(long)]
    pub id: String,
    /// Milliseconds from the start until it listens
    #[arg(long, default_value_t = 0)]
    pub starts_after_ms: u64,
    /// Requests that are worked on at a time
    #[arg(long, default_value_t = 2)]
    pub at_once: u32,
    /// Milliseconds that a request takes
    #[arg(long, default_value_t = 100)]
    pub service_ms: u64,
    /// Requests after the start that take longer
    #[arg(long, default_value_t = 0)]
    pub cold_requests: u64,
    /// How many times as long
    #[arg(long, default_value_t = 4)]
    pub cold_factor: u64,
}

/// Instances that a controller's process manager has started, by the records in its folder. They outlive the controller;
/// with this value they end.
#[derive(Debug)]
pub struct Instances(PathBuf);

impl Instances {
    /// Of the manager that keeps its records in `folder`.
    pub fn of(folder: &Path) -> Self {
        Self(folder.join("instances"))
    }

    /// Process ids by the instances' ids, of those that are not gone.
    pub fn pids(&self) -> BTreeMap<String, u32> {
        let records = std::fs::read_dir(&self.0).into_iter().flatten().flatten().map(|record| record.path());
        let records = records.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let records = records.filter_map(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok());
        let alive = records.filter(|record: &Value| record["state"] != "gone");
        alive
            .filter_map(|record| {
                let pid = u32::try_from(record["process"]["pid"].as_u64()?).ok()?;
                Some((record["id"].as_str()?.to_owned(), pid))
            })
            .collect()
    }

    /// Ends one at once.
    pub fn kill9(pid: u32) {
        // Each leads a process group. It fails only when the process is gone, which is what is wanted.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).status();
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        self.pids().into_values().for_each(Self::kill9);
    }
}

struct Instance {
    nature: Nature,
    room: Semaphore,
    count: AtomicU64,
}

/// Serves until it is asked to end.
///
/// # Errors
/// When the port cannot be listened on.
pub async fn serve(nature: Nature) -> Result<()> {
    let mut asked_to_end = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(nature.starts_after_ms)) => {}
        _ = asked_to_end.recv() => return Ok(()),
    }
    let address = SocketAddr::from(([127, 0, 0, 1], nature.port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let room = Semaphore::new(nature.at_once as usize);
    let instance = Arc::new(Instance { nature, room, count: AtomicU64::new(0) });
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is about one connection that went away again.
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(connection(stream, Arc::clone(&instance)));
                }
            }
            _ = asked_to_end.recv() => break,
        }
    }
    drop(listener);
    // All of the room is free once nothing is under way and nothing waits.
    let all = instance.nature.at_once;
    let _ = tokio::time::timeout(END_WITHIN, instance.room.acquire_many(all)).await;
    Ok(())
}

async fn connection(stream: TcpStream, instance: Arc<Instance>) {
    // Small answers must leave at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: hyper::Request<Incoming>| answer(request, &instance));
    // An error here is a connection that the other side broke off.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    instance: &Instance,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let Nature { id, service_ms, cold_requests, cold_factor, .. } = &instance.nature;
    let mut response = hyper::Response::new(Full::new(Bytes::from_static(b"served\n")));
    if request.uri().path() == HEALTH {
        return Ok(response);
    }
    let count = instance.count.fetch_add(1, Ordering::Relaxed) + 1;
    // The semaphore is never closed, so the permit always comes.
    let permit = instance.room.acquire().await;
    let factor = if count <= *cold_requests { *cold_factor } else { 1 };
    tokio::time::sleep(Duration::from_millis(service_ms * factor)).await;
    drop(permit);
    if let Ok(id) = id.parse() {
        response.headers_mut().insert(INSTANCE, id);
    }
    response.headers_mut().insert(COUNT, count.into());
    Ok(response)
}
