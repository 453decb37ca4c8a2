//! Asks instances whether they answer, and warms them: all at once, each within a bound.
//!
//! Warming may take long, and a look at the instances must not: it goes on beside the looks, which only ask whether it is
//! done. So one instance that warms slowly delays no decision about the others.

use std::collections::BTreeMap;
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
}

/// What came of it.
pub(super) enum CheckResult {
    /// It did not answer, or not well.
    Fails(String),
    /// It answers.
    Answers,
}

/// Instances that are going through their warming.
#[derive(Default)]
pub(super) struct Warmings(BTreeMap<String, JoinSet<bool>>);

impl Warmings {
    /// Begins it where it is not under way.
    pub(super) fn begin(&mut self, id: &str, address: SocketAddr, warming: &Warming, check_within_ms: u64) {
        let within = Duration::from_millis(check_within_ms);
        if !self.0.contains_key(id) {
            let warming = warming.clone();
            let mut task = JoinSet::new();
            task.spawn(async move { warm(address, &warming, within).await });
            self.0.insert(id.to_owned(), task);
        }
    }

    /// Whether an instance went through it since the last call. One that failed on the way begins anew.
    pub(super) fn is_done(&mut self, id: &str) -> bool {
        let ended = self.0.get_mut(id).and_then(JoinSet::try_join_next);
        if ended.is_some() {
            self.0.remove(id);
        }
        matches!(ended, Some(Ok(true)))
    }

    /// Ends it for all instances but these.
    pub(super) fn keep(&mut self, is_warming: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| is_warming(id));
    }
}

async fn warm(address: SocketAddr, warming: &Warming, within: Duration) -> bool {
    for path in (0..warming.rounds).flat_map(|_| &warming.paths) {
        if bounded(within, get(address, path)).await.is_err() {
            return false;
        }
    }
    true
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
        match bounded(within, self.is_answering()).await {
            Ok(()) => CheckResult::Answers,
            Err(detail) => CheckResult::Fails(detail),
        }
    }

    async fn is_answering(&self) -> Result<(), String> {
        match &self.health {
            Health::Connect => TcpStream::connect(self.address).await.map(|_| ()).map_err(|error| error.to_string()),
            Health::Http(path) => get(self.address, path).await,
        }
    }
}

async fn get(address: SocketAddr, path: &str) -> Result<(), String> {
    let authority = address.to_string();
    let request = Request::get(path).header(HOST, &authority).body(Full::new(Bytes::new()));
    let request = request.map_err(|error| format!("GET {path}: {error}"))?;
    let answer = call(&authority, request, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
    let status = answer.status;
    if status.is_success() { Ok(()) } else { Err(format!("GET {path}: {status}")) }
}

async fn bounded(within: Duration, call: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::time::timeout(within, call).await.unwrap_or_else(|_| Err(format!("no answer within {within:?}")))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn warming_goes_on_beside_the_looks_and_begins_anew_where_it_failed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (let_go, mut asked, mut running) = (Semaphore::new(0), 0, Warmings::default());
        let warming = Warming { paths: vec!["/warm".to_owned()], rounds: 3, minimum_age_ms: 0 };
        // Answers when it is let go, the second request with an error.
        let mut serve = async || {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let_go.acquire().await.unwrap().forget();
            asked += 1;
            let status = if asked == 2 { "503 Service Unavailable" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        };
        running.begin("a", address, &warming, 10_000);
        tokio::task::yield_now().await;
        assert!(!running.is_done("a") && running.0.contains_key("a"), "no look waits for it");
        let_go.add_permits(5);
        for _ in 0..2 {
            serve().await;
        }
        while running.0.contains_key("a") {
            assert!(!running.is_done("a"), "one of its requests failed");
            tokio::task::yield_now().await;
        }
        running.begin("a", address, &warming, 10_000);
        for _ in 0..3 {
            serve().await;
        }
        while !running.is_done("a") {
            tokio::task::yield_now().await;
        }
        running.begin("b", address, &warming, 10_000);
        running.keep(|id| id != "b");
        assert!(running.0.is_empty());
    }
}
