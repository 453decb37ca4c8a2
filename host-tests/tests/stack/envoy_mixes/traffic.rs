//! The clients of a mix. Each is a closed loop that sends the next request when the last one has ended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use forebay_host_tests::client::{Connection, Multiplexed, Request};
use http_body_util::BodyExt;
use tokio::task::JoinSet;

use super::grpc::MESSAGE;

pub(crate) const HTTP_TENANT: &str = "web";
pub(crate) const GRPC_TENANT: &str = "calls";

/// HTTP/1.1 connections with plain requests, and as many with bodies.
const HTTP1: usize = 4;
/// HTTP/2 connections, and streams on each.
const HTTP2: usize = 2;
const STREAMS: usize = 20;
/// gRPC calls at once, on one connection.
const CALLS: usize = 40;
/// Clients that reset their streams, from before one can be answered to long after.
const RESETTING: u64 = 4;
const RESET_AFTER_MAX: Duration = Duration::from_millis(40);
/// Envoy closes a connection of which half of 500 streams were reset early (`premature_reset_total_stream_count`).
const STREAMS_PER_RESETTING_CONNECTION: u64 = 100;
/// Larger than an HTTP/2 stream's first window, so that uploads depend on the proxy's flow control.
const BODY_BYTES: usize = 100_000;

/// What became of requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    /// By the client.
    pub(crate) reset: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.admitted += other.admitted;
        self.refused += other.refused;
        self.reset += other.reset;
    }

    fn status(&mut self, status: u16) -> Result<()> {
        match status {
            200 => self.admitted += 1,
            429 => self.refused += 1,
            other => bail!("answered with {other}"),
        }
        Ok(())
    }
}

/// Where it goes, and for how long.
pub(crate) struct Mix {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) lasts: Duration,
}

impl Mix {
    /// All clients at once; HTTP and gRPC apart.
    pub(crate) async fn run(&self) -> Result<[Counts; 2]> {
        let until = Instant::now() + self.lasts;
        let (mut http, mut calls) = (JoinSet::new(), JoinSet::new());
        let get = Request::get("/").header("x-tenant", HTTP_TENANT);
        let post = Request::post("/upload", vec![b'x'; BODY_BYTES]).header("x-tenant", HTTP_TENANT);
        for request in [&get, &post] {
            for _ in 0..HTTP1 {
                http.spawn(http1(self.http, request.clone(), until));
            }
            for _ in 0..HTTP2 {
                let client = Multiplexed::open(self.http).await?;
                for _ in 0..STREAMS {
                    http.spawn(http2(client.clone(), request.clone(), until));
                }
            }
        }
        for seed in 1..=RESETTING {
            http.spawn(resetting(self.http, get.clone(), until, seed));
        }
        let client = Multiplexed::open(self.grpc).await?;
        for _ in 0..CALLS {
            calls.spawn(grpc(client.clone(), until));
        }
        Ok([sum(http).await?, sum(calls).await?])
    }
}

async fn sum(mut clients: JoinSet<Result<Counts>>) -> Result<Counts> {
    let mut all = Counts::default();
    while let Some(client) = clients.join_next().await {
        all.add(client??);
    }
    Ok(all)
}

async fn http1(address: SocketAddr, request: Request, until: Instant) -> Result<Counts> {
    let (mut counts, mut connection) = (Counts::default(), Connection::open(address).await?);
    while Instant::now() < until {
        counts.sent += 1;
        let answer = connection.send(&request).await?;
        counts.status(answer.status.as_u16())?;
        // A refusal before the end of a body closes the connection: HTTP/1.1 has no other way to stop it.
        if answer.header("connection") == Some("close") {
            connection = Connection::open(address).await?;
        }
    }
    Ok(counts)
}

async fn http2(client: Multiplexed, request: Request, until: Instant) -> Result<Counts> {
    let mut counts = Counts::default();
    while Instant::now() < until {
        counts.sent += 1;
        counts.status(client.send(&request).await?.status.as_u16())?;
    }
    Ok(counts)
}

async fn resetting(address: SocketAddr, request: Request, until: Instant, seed: u64) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut client = Multiplexed::open(address).await?;
    while Instant::now() < until {
        counts.sent += 1;
        if counts.sent % STREAMS_PER_RESETTING_CONNECTION == 0 {
            client = Multiplexed::open(address).await?;
        }
        let patience = Duration::from_micros(counts.sent * seed * 1_731 % RESET_AFTER_MAX.as_micros() as u64);
        match tokio::time::timeout(patience, client.response(&request)).await {
            Ok(answer) => counts.status(answer?.status().as_u16())?,
            Err(_) => counts.reset += 1,
        }
    }
    Ok(counts)
}

async fn grpc(client: Multiplexed, until: Instant) -> Result<Counts> {
    let mut counts = Counts::default();
    let call = Request::post("/shop.v1.Orders/List", MESSAGE).header("x-tenant", GRPC_TENANT);
    let call = call.header("content-type", "application/grpc").header("te", "trailers");
    while Instant::now() < until {
        counts.sent += 1;
        let (head, body) = client.response(&call).await?.into_parts();
        ensure!(head.status == 200, "a call was answered with {}", head.status);
        let in_headers = head.headers.get("grpc-status").cloned();
        let body = body.collect().await?;
        let status = in_headers.or_else(|| body.trailers()?.get("grpc-status").cloned());
        match status.as_ref().map(|status| status.as_bytes()) {
            Some(b"0") => counts.admitted += 1,
            Some(b"8") => counts.refused += 1,
            other => bail!("a call ended with status {other:?}"),
        }
    }
    Ok(counts)
}
