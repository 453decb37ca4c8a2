//! Asks instances whether they answer, and warms them: all at once, each within a bound.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::HOST;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::settings::{Health, ProcessSettings, Warming};
use crate::call::call;

/// Longest answer that is read; what an instance says beyond it counts as a failure.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What to ask of one instance.
pub(super) struct Check {
    pub(super) id: String,
    pub(super) address: SocketAddr,
    pub(super) health: Health,
    /// Also to be gone through now.
    pub(super) warming: Option<Warming>,
}

/// What came of it.
pub(super) enum CheckResult {
    /// It did not answer, or not well.
    Fails(String),
    /// It answers.
    Answers,
    /// It answers, and went through its warming.
    IsWarm,
}

/// Runs all checks side by side. Dropped, it leaves none running.
pub(super) async fn run(checks: Vec<Check>, settings: &ProcessSettings) -> Vec<(String, CheckResult)> {
    let within = Duration::from_millis(settings.check_within_ms);
    let mut running: JoinSet<(String, CheckResult)> = checks
        .into_iter()
        .map(|check| async move {
            let result = check.run(within).await;
            (check.id, result)
        })
        .collect();
    let mut results = Vec::new();
    while let Some(result) = running.join_next().await {
        results.extend(result.ok());
    }
    results
}

impl Check {
    async fn run(&self, within: Duration) -> CheckResult {
        if let Err(detail) = bounded(within, self.is_answering()).await {
            return CheckResult::Fails(detail);
        }
        let Some(warming) = &self.warming else { return CheckResult::Answers };
        for path in (0..warming.rounds).flat_map(|_| &warming.paths) {
            if bounded(within, self.get(path)).await.is_err() {
                return CheckResult::Answers;
            }
        }
        CheckResult::IsWarm
    }

    async fn is_answering(&self) -> Result<(), String> {
        match &self.health {
            Health::Connect => TcpStream::connect(self.address).await.map(|_| ()).map_err(|error| error.to_string()),
            Health::Http(path) => self.get(path).await,
        }
    }

    async fn get(&self, path: &str) -> Result<(), String> {
        let authority = self.address.to_string();
        let request = Request::get(path).header(HOST, &authority).body(Full::new(Bytes::new()));
        let request = request.map_err(|error| format!("GET {path}: {error}"))?;
        let answer = call(&authority, request, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
        let status = answer.status;
        if status.is_success() { Ok(()) } else { Err(format!("GET {path}: {status}")) }
    }
}

async fn bounded(within: Duration, call: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::time::timeout(within, call).await.unwrap_or_else(|_| Err(format!("no answer within {within:?}")))
}
