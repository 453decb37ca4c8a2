//! Sends requests at their instants, whatever becomes of the earlier ones, and notes what came back and from whom.
//!
//! Latency counts from the instant at which a request was due, so that what waits in the client for a late answer of an
//! earlier one is not left out (Tene's "coordinated omission"). Connections are kept and used again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::play::TENANT;
use crate::client::{Connection, Request};
use crate::filters::TENANT_HEADER;
use crate::instance::INSTANCE;

/// Longer than Envoy waits for an upstream (15 s), so that it is Envoy who gives up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// One request, and what became of it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Whether it belongs to the burst.
    pub is_burst: bool,
    /// From the instant at which it was due to the end of its answer.
    pub latency: Duration,
    /// Status of the answer; `None` without one.
    pub status: Option<u16>,
    /// Who answered.
    pub instance: Option<String>,
}

/// Sends every request of `due`, counted from `begin`.
///
/// # Errors
/// When a task of the client fails; what the server does is in the samples.
pub async fn send(address: SocketAddr, begin: Instant, due: &[(Duration, bool)]) -> Result<Vec<Sample>> {
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let mut tasks = JoinSet::new();
    for &(at, is_burst) in due {
        sleep_until(begin + at).await;
        let idle = Arc::clone(&idle);
        tasks.spawn(async move {
            let answer = timeout(ANSWER_WITHIN, once(address, &idle)).await.ok().and_then(Result::ok);
            let (status, instance) = answer.unzip();
            Sample { is_burst, latency: (begin + at).elapsed(), status, instance: instance.flatten() }
        });
    }
    let mut samples = Vec::with_capacity(due.len());
    while let Some(sample) = tasks.join_next().await {
        samples.push(sample.context("a request of the demo")?);
    }
    Ok(samples)
}

async fn once(address: SocketAddr, idle: &Mutex<Vec<Connection>>) -> Result<(u16, Option<String>)> {
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut connection = match kept {
        Some(connection) => connection,
        None => Connection::open(address).await?,
    };
    let answer = connection.send(&Request::get("/").header(TENANT_HEADER, TENANT)).await?;
    idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    Ok((answer.status.as_u16(), answer.header(INSTANCE).map(str::to_owned)))
}
