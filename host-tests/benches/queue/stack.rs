//! The Envoy of each run: one worker, the module that follows streams, HTTP/2 connections that share the waiting streams.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::client::{Multiplexed, Request};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID, TENANT_HEADER};
use forebay_host_tests::upstream::Upstream;
use serde_json::json;

use crate::Args;
use crate::lateness::{Answered, Lateness};

/// One, so that all streams wait in one queue.
pub(crate) const WORKERS: u32 = 1;
/// Who waits for tokens that come.
pub(crate) const RESUMED: &str = "resumed";
/// Who waits in vain: its bucket gets one unit per second.
pub(crate) const REFUSED: &str = "refused";
/// Who never waits.
const FREE: &str = "free";
/// A request's cost; 1 unless it says otherwise.
pub(crate) const COST: &str = "x-cost";

const LISTENER: &str = "main";
/// Streams that wait on each connection: what RFC 9113 calls the least sensible maximum.
const STREAMS_PER_CONNECTION: u32 = 100;
/// Requests that need not wait, before each run: they warm up Envoy, V8 and the upstream connections.
const ROUND_TRIPS: usize = 2_000;

pub(crate) struct Stack {
    envoy: Envoy,
    _upstream: Upstream,
    pub(crate) connections: Vec<Multiplexed>,
    /// Burst of [`RESUMED`].
    pub(crate) burst: u32,
}

impl Stack {
    pub(crate) async fn start(artefacts: &Artefacts, args: &Args, max_wait_ms: u32) -> Result<Self> {
        let upstream = Upstream::start().await?;
        // Standard-lane requests fill three quarters of the room. The next stream may come before the last one has left.
        let per_vm = args.waiting * 2;
        // A fifth of a second, so that no token is lost when a tick is late; below 100 units nothing is leased in advance.
        let burst = (args.rate / 5).clamp(1, 99);
        let contract = |tenant: &str, rate_per_s: u32, burst: u32| json!({ "tenant": tenant, "resource": "requests", "rate_per_s": rate_per_s, "burst": burst });
        let config = json!({
            "proxy_id": "queue",
            "policy": {
                "resources": [{ "name": "requests", "others": { "rate_per_s": 0, "burst": 0 } }],
                "rules": [{ "charges": [{
                    "resource": "requests",
                    "cost": { "header": { "name": COST, "default": 1, "max": 1_000_000 } },
                }] }],
                "queue": {
                    "max_wait_ms": max_wait_ms,
                    "max_waiting": { "per_vm": per_vm, "per_tenant": per_vm, "per_connection": per_vm },
                    "codel_target_ms": 0,
                },
                "contracts": [
                    contract(RESUMED, args.rate, burst),
                    contract(REFUSED, 1, 1),
                    contract(FREE, 1_000_000, 1_000_000),
                ],
            },
        });
        let filter = filters::forebay_streams(artefacts, FOREBAY_VM_ID, &config);
        let bootstrap = Bootstrap::new("queue")
            .workers(WORKERS)
            .upstream(&[upstream.address()])
            .listener(Listener::new(LISTENER, vec![filter]));
        let envoy = Envoy::start(artefacts, &bootstrap).await?;
        let mut connections = Vec::new();
        for _ in 0..args.waiting.div_ceil(STREAMS_PER_CONNECTION) {
            connections.push(Multiplexed::open(envoy.address(LISTENER)?).await?);
        }
        Ok(Self { envoy, _upstream: upstream, connections, burst })
    }

    /// One after the other, requests that need not wait.
    pub(crate) async fn round_trip(&self) -> Result<Lateness> {
        let (began, cpu) = (Instant::now(), self.cpu_s()?);
        let mut answered = Vec::new();
        for number in 0..ROUND_TRIPS {
            let due = Instant::now();
            let answer = self.connection(number).response(&of(FREE)).await?;
            let at = Instant::now();
            if answer.status() != 200 {
                bail!("a request that need not wait was answered with {}", answer.status());
            }
            answered.push(Answered { due, at });
        }
        Lateness::of(&answered, self.cpu_s()? - cpu, began.elapsed())
    }

    /// The connection of a stream.
    pub(crate) fn connection(&self, number: usize) -> &Multiplexed {
        &self.connections[number % self.connections.len()]
    }

    /// A counter of the filter's queue.
    pub(crate) async fn count(&self, name: &str) -> Result<u64> {
        self.envoy.stat(&format!("wasmcustom.forebay.queue.{name}")).await
    }

    /// Nothing left the queue but by its deadline or a token, and everything found room.
    pub(crate) async fn check_queue(&self) -> Result<()> {
        let (shed, full) = (self.count("shed").await?, self.count("full").await?);
        if shed + full > 0 {
            bail!("the queue shed {shed} streams and had no room for {full}");
        }
        Ok(())
    }

    pub(crate) fn cpu_s(&self) -> Result<f64> {
        self.envoy.cpu_seconds().context("Envoy's CPU time")
    }
}

/// A request of a tenant.
pub(crate) fn of(tenant: &str) -> Request {
    Request::get("/").header(TENANT_HEADER, tenant)
}
