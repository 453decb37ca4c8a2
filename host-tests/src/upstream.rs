//! A real little HTTP server to stand behind Envoy: answers everything with 200 and remembers what it saw.
//!
//! It runs as a task of the current tokio runtime on a free loopback port, keeps connections alive, counts by tenant and
//! lane, and keeps the last requests whole so that a test can look at the headers that Envoy really sent. Some paths ask
//! for answers that say what they cost ([`usage`]). It can be slowed down while it runs, and knows how many requests it
//! has at a time.
//!
//! Invariant: memory is bounded whatever is sent: at most [`RECENT_MAX`] whole requests and [`COUNTED_PAIRS_MAX`]
//! different (tenant, lane) pairs; further pairs are counted together under the tenant [`FURTHER_TENANTS`].

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::usage::{self, AnswerBody};

/// A request header that the answer carries too.
pub const TRUE_COST: &str = "x-true-cost";
/// How many requests are kept whole: enough for a test that sends one burst, about 100 KB.
pub const RECENT_MAX: usize = 256;
/// How many (tenant, lane) pairs are counted apart: two for each tenant of the largest bench, about 10 MB at the worst.
pub const COUNTED_PAIRS_MAX: usize = 40_960;
/// The name under which all further tenants are counted together.
pub const FURTHER_TENANTS: &str = "(further tenants)";

/// A request as it reached the upstream.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// Path and query.
    pub path: String,
    /// All headers, as Envoy sent them.
    pub headers: HeaderMap,
}

/// A running upstream; it stops when dropped, its open connections with it.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    /// Aborts the server when dropped.
    _server: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    counts: BTreeMap<(String, String), u64>,
    recent: VecDeque<SeenRequest>,
    delay: Duration,
    in_flight: usize,
    most_in_flight: usize,
}

impl Upstream {
    /// Starts on a free loopback port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port for the upstream")?;
        let address = listener.local_addr().context("the upstream has no address")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&seen)));
        Ok(Self { address, seen, _server: server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests by (tenant, lane); a header that was absent is the empty string.
    pub fn counts(&self) -> BTreeMap<(String, String), u64> {
        locked(&self.seen).counts.clone()
    }

    /// All requests of one tenant, in any lane.
    pub fn count_of(&self, tenant: &str) -> u64 {
        locked(&self.seen).counts.iter().filter(|((name, _), _)| name == tenant).map(|(_, count)| count).sum()
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        locked(&self.seen).counts.values().sum()
    }

    /// The last requests, oldest first.
    pub fn recent(&self) -> Vec<SeenRequest> {
        locked(&self.seen).recent.iter().cloned().collect()
    }

    /// Answers requests that come from now on after this time.
    pub fn slow_down(&self, delay: Duration) {
        locked(&self.seen).delay = delay;
    }

    /// Requests that are being answered; one that the proxy resets is over.
    pub fn in_flight(&self) -> usize {
        locked(&self.seen).in_flight
    }

    /// The most that were at a time.
    pub fn most_in_flight(&self) -> usize {
        locked(&self.seen).most_in_flight
    }

    /// Forgets what was seen, for a test with several parts.
    pub fn forget(&self) {
        let mut seen = locked(&self.seen);
        let Seen { delay, in_flight, .. } = *seen;
        *seen = Seen { delay, in_flight, most_in_flight: in_flight, ..Seen::default() };
    }
}

impl Seen {
    fn add(&mut self, path: String, headers: HeaderMap) {
        let text = |name: &str| {
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
        };
        let mut pair = (text("x-tenant"), text("x-forebay-lane"));
        if self.counts.len() >= COUNTED_PAIRS_MAX && !self.counts.contains_key(&pair) {
            pair = (FURTHER_TENANTS.to_owned(), String::new());
        }
        *self.counts.entry(pair).or_default() += 1;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(SeenRequest { path, headers });
    }
}

/// One request in flight, until it is dropped.
struct InFlight<'a>(&'a Mutex<Seen>);

impl<'a> InFlight<'a> {
    fn begin(seen: &'a Mutex<Seen>) -> Self {
        let mut now = locked(seen);
        now.in_flight += 1;
        now.most_in_flight = now.most_in_flight.max(now.in_flight);
        Self(seen)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        locked(self.0).in_flight -= 1;
    }
}

/// A lock that a panicking test left behind is still good: every update is complete in itself.
fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    let mut connections = JoinSet::new();
    // An accept error is about one connection that went away again (or about no free descriptor, which passes).
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, Arc::clone(&seen)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    // Small answers must leave at once, else delayed acknowledgements would show up as 40 ms of "Envoy latency".
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: hyper::Request<Incoming>| answer(request, &seen));
    // An error here is a connection that the other side broke off; the counts tell what arrived.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    seen: &Mutex<Seen>,
) -> Result<hyper::Response<AnswerBody>, Infallible> {
    let _in_flight = InFlight::begin(seen);
    let (head, body) = request.into_parts();
    // Read to the end, so that the connection can carry the next request.
    let _ = body.collect().await;
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    // The client learns the lane from the answer.
    let lane = head.headers.get("x-forebay-lane").cloned();
    let true_cost = head.headers.get(TRUE_COST).cloned();
    let asked = usage::answer(&path);
    let delay = {
        let mut seen = locked(seen);
        seen.add(path, head.headers);
        seen.delay
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let plain = || hyper::Response::new(Either::Left(Full::new(Bytes::from_static(b"served\n"))));
    let mut response = asked.unwrap_or_else(plain);
    if let Some(cost) = true_cost {
        response.headers_mut().insert(TRUE_COST, cost);
    }
    if let Some(lane) = lane {
        response.headers_mut().insert("x-lane", lane);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Connection, Request};

    #[tokio::test]
    async fn requests_are_counted_by_tenant_and_lane_and_kept_whole() {
        let upstream = Upstream::start().await.unwrap();
        let mut connection = Connection::open(upstream.address()).await.unwrap();
        let acme = Request::get("/a?b=c").header("x-tenant", "acme").header("x-forebay-lane", "reserved");
        for request in [&acme, &acme, &Request::post("/d", "body")] {
            assert_eq!(connection.send(request).await.unwrap().text(), "served\n");
        }
        assert_eq!(upstream.counts().get(&("acme".into(), "reserved".into())), Some(&2));
        assert_eq!((upstream.count_of("acme"), upstream.count_of(""), upstream.total()), (2, 1, 3));
        assert_eq!(upstream.recent()[0].path, "/a?b=c");
        upstream.forget();
        assert_eq!(upstream.total(), 0);
    }

    #[test]
    fn memory_is_bounded_whatever_is_sent() {
        let mut seen = Seen::default();
        for tenant in 0..COUNTED_PAIRS_MAX + 10 {
            let mut headers = HeaderMap::new();
            headers.insert("x-tenant", tenant.to_string().parse().unwrap());
            seen.add("/".into(), headers);
        }
        assert_eq!(seen.counts.get(&(FURTHER_TENANTS.to_owned(), String::new())), Some(&10));
        assert_eq!(seen.counts.len(), COUNTED_PAIRS_MAX + 1);
        assert_eq!(seen.recent.len(), RECENT_MAX);
    }
}
