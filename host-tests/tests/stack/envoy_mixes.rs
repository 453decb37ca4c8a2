//! On the real Envoy: mixes of traffic as load generators make them, all at once on one proxy with both modules' limits:
//! HTTP/1.1 with keep-alive, HTTP/2 with many streams, bodies, gRPC calls with trailers, and clients that reset.
//!
//! What is judged are counts: every request has exactly one end, nothing beyond the limit reaches an upstream, and what a
//! client was told is what the upstream saw.

mod grpc;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::Result;
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Cluster, Listener};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID};
use forebay_host_tests::upstream::Upstream;
use serde_json::{Value, json};

use grpc::GrpcUpstream;
use traffic::{Counts, Mix};

const HTTP: &str = "http";
const GRPC: &str = "grpc";
const GRPC_CLUSTER: &str = "grpc";
const LASTS: Duration = Duration::from_secs(4);
/// Of the two tenants, each; a burst of one second, full from the start. Few, so that the load is above it on a busy machine.
const RATE_PER_S: u64 = 50;
const BURST: u64 = 50;
/// One request for each of two workers.
const OVER_ADMISSION_MAX: f64 = 2.0;

fn policy(queue: Option<Value>) -> Value {
    let contract =
        |tenant| json!({ "tenant": tenant, "resource": "requests", "rate_per_s": RATE_PER_S, "burst": BURST });
    let mut policy = json!({
        "resources": [{ "name": "requests", "others": { "rate_per_s": 0, "burst": 0 } }],
        "contracts": [contract(traffic::HTTP_TENANT), contract(traffic::GRPC_TENANT)],
    });
    if let Some(queue) = queue {
        policy["queue"] = queue;
    }
    json!({ "proxy_id": "gateway", "policy": policy })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lean_module_under_a_mix() -> Result<()> {
    let artefacts = Artefacts::find()?;
    under_a_mix(&artefacts, &filters::forebay(&artefacts, FOREBAY_VM_ID, &policy(None))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_streams_module_under_a_mix_that_waits() -> Result<()> {
    let artefacts = Artefacts::find()?;
    let room = json!({ "per_vm": 400, "per_tenant": 200, "per_connection": 20 });
    let queue = json!({ "max_wait_ms": 100, "bodies": true, "max_waiting": room });
    under_a_mix(&artefacts, &filters::forebay_streams(&artefacts, FOREBAY_VM_ID, &policy(Some(queue)))).await
}

async fn under_a_mix(artefacts: &Artefacts, filter: &Value) -> Result<()> {
    let (upstream, grpc) = (Upstream::start().await?, GrpcUpstream::start().await?);
    let bootstrap = Bootstrap::new("gateway")
        .upstream(&[upstream.address()])
        .cluster(Cluster::new(GRPC_CLUSTER, &[grpc.address()]).http2())
        .listener(Listener::new(HTTP, vec![filter.clone()]))
        .listener(Listener::new(GRPC, vec![filter.clone()]).cluster(GRPC_CLUSTER));
    let mut envoy = Envoy::start(artefacts, &bootstrap).await?;
    let began = Instant::now();
    let mix = Mix { http: envoy.address(HTTP)?, grpc: envoy.address(GRPC)?, lasts: LASTS };
    let [http, calls] = mix.run().await?;
    let seconds = began.elapsed().as_secs_f64();
    let limit = BURST as f64 + RATE_PER_S as f64 * seconds;
    println!("{seconds:.2} s, limit {limit:.0} each: HTTP {http:?}, gRPC {calls:?}");
    for (name, counts, seen) in [("HTTP", &http, upstream.total()), ("gRPC", &calls, grpc.calls())] {
        let Counts { sent, admitted, refused, reset } = *counts;
        assert_eq!(sent, admitted + refused + reset, "{name}: every request has one end");
        assert!(refused > 0, "{name}: the load was above the limit");
        // Whoever resets does not know whether its request went on.
        assert!((admitted..=admitted + reset).contains(&seen), "{name}: {seen} upstream");
        assert!(seen as f64 <= limit + OVER_ADMISSION_MAX, "{name}: {seen} of {limit:.0}");
        // One that is reset may have been charged and have gone nowhere.
        assert!((seen + reset) as f64 >= 0.9 * limit, "{name}: {seen} and {reset} reset of {limit:.0}");
    }
    assert!(http.reset > 0, "some requests were reset");
    envoy.check_running()?;
    let stats = envoy.stats().await?;
    let failures = stats.iter().filter(|(name, count)| name.contains("vm_reload") && **count > 0);
    assert_eq!(failures.count(), 0, "no VM has failed");
    for word in ["Uncaught", "panicked", "wasm_fail"] {
        assert!(!envoy.log().contains(word), "{}", envoy.log());
    }
    Ok(())
}
