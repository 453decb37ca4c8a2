//! On the real Envoy: its endpoints come from the controller over xDS, change under load without a lost request, and stay
//! when the controller is gone; a controller that comes back is asked again. The clusters are those of the example to copy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use forebay_host_tests::artefacts::{Artefacts, workspace_root};
use forebay_host_tests::client::{Connection, Request};
use forebay_host_tests::controller::Controller;
use forebay_host_tests::envoy::{Envoy, validate};
use forebay_host_tests::poll;
use forebay_host_tests::upstream::Upstream;
use forebay_provision::protocol::{SIGNATURE, TIMESTAMP};
use forebay_provision::{Secret, signature};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::envoy_hosts::document;
use super::envoy_rig::DEADLINE;

const EXAMPLE: &str = "envoy/standalone/endpoints-xds.yaml";
const GATEWAY: &str = "gateway";
const SECRET: &str = "a secret of at least thirty-two bytes";

/// Instances as the receiver of a webhook tells of them: exactly what the test says, whatever is ordered.
struct Fleet {
    address: SocketAddr,
    view: Arc<Mutex<View>>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct View {
    revision: u64,
    instances: Vec<Value>,
    generation: Option<Value>,
}

impl Fleet {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let view = Arc::new(Mutex::new(View::default()));
        let mut server = JoinSet::new();
        server.spawn(receive(listener, Arc::clone(&view)));
        Ok(Self { address, view, _server: server })
    }

    /// There are these from now on, each an upstream and its state.
    fn set(&self, instances: &[(&Upstream, &str)]) {
        let instance = |(upstream, state): &(&Upstream, &str)| {
            json!({
                "id": upstream.address().port().to_string(), "service": "shop", "pool": "near", "shape": "Small",
                "state": state, "requested_ms": 1, "ready_ms": 2, "address": upstream.address(),
            })
        };
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.revision += 1;
        view.instances = instances.iter().map(instance).collect();
    }
}

async fn receive(listener: TcpListener, view: Arc<Mutex<View>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let view = Arc::clone(&view);
        let service = service_fn(move |request| answer(request, Arc::clone(&view)));
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    view: Arc<Mutex<View>>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let body = {
        let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
        if head.uri.path() == "/v1/apply" {
            view.generation = Some(asked["generation"].clone());
            json!({ "request": asked["request"], "generation": asked["generation"], "started": 0, "stopped": 0, "failures": [] })
        } else {
            let View { revision, instances, generation } = &*view;
            json!({ "request": asked["request"], "revision": revision, "generation": generation, "instances": instances })
        }
    };
    let body = body.to_string();
    let timestamp = head.headers.get(TIMESTAMP).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed =
        Secret::new(SECRET.into()).map(|secret| signature(&secret, timestamp, head.uri.path(), body.as_bytes()));
    let mut answer = hyper::Response::new(Full::new(Bytes::from(body)));
    if let Some(signed) = signed.ok().and_then(|signed| signed.parse().ok()) {
        answer.headers_mut().insert(SIGNATURE, signed);
    }
    Ok(answer)
}

fn config(fleet: &Fleet, secret_file: &std::path::Path, xds: SocketAddr) -> Value {
    json!({
        "step_s": 60,
        "contracts": [{ "tenant": "acme", "resource": "requests", "rate_per_s": 5, "pool": "shop" }],
        "capacity": {
            "decide_every_s": 0.1,
            "manager": { "webhook": { "url": format!("http://{}", fleet.address), "secret_file": secret_file } },
            "xds": { "listen": xds.to_string() },
            "shapes": [{ "name": "Small", "offers": { "cpu": 1 }, "price_per_h": 1 }],
            "pools": [{ "name": "near", "location": "here", "max_instances": 9, "lead_s": 1 }],
            "services": [{ "name": "shop", "need_per_unit": { "cpu": 0.1 }, "shortage_per_unit_h": 1 }],
        },
    })
}

/// The example with the controller at this address, this form of the protocol, and any free port.
fn at_home(xds: SocketAddr, api_type: &str) -> Result<Value> {
    let mut config = document(EXAMPLE)?;
    let free = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
    config["admin"]["address"] = free.clone();
    config["static_resources"]["listeners"][0]["address"] = free;
    let clusters = &mut config["static_resources"]["clusters"];
    clusters[0]["eds_cluster_config"]["eds_config"]["api_config_source"]["api_type"] = json!(api_type);
    let endpoint = &mut clusters[1]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    endpoint["address"]["socket_address"]["port_value"] = json!(xds.port());
    Ok(config)
}

/// Sends requests one after the other until it is told to end; how many, all of them served.
async fn load(address: SocketAddr, ends: Arc<AtomicBool>) -> Result<u64> {
    let mut connection = Connection::open(address).await?;
    let mut count = 0;
    while !ends.load(Ordering::Acquire) {
        let answer = connection.send(&Request::get("/")).await?;
        ensure!(answer.status.is_success(), "request {count}: {} {}", answer.status, answer.text());
        count += 1;
    }
    Ok(count)
}

/// Waits until an upstream is asked, or until it is asked no more.
async fn until_served_by(upstream: &Upstream) -> Result<()> {
    upstream.forget();
    poll::until("request at the upstream", DEADLINE, async || Ok((upstream.total() > 0).then_some(()))).await
}

async fn endpoints_follow_the_controller(api_type: &str) -> Result<()> {
    let (one, other, third) = (Upstream::start().await?, Upstream::start().await?, Upstream::start().await?);
    let fleet = Fleet::start().await?;
    let folder = tempfile::tempdir()?;
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, SECRET)?;
    // A port that is free now; the controller takes it over and over.
    let xds = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut controller = Controller::start(config(&fleet, &secret_file, xds)).await?;

    let envoy = Envoy::start_configured(&Artefacts::find()?, &at_home(xds, api_type)?, &[GATEWAY]).await?;
    let address = envoy.address(GATEWAY)?;
    // A service without instances is answered, too: Envoy started and does not wait for its first endpoints.
    assert_eq!(envoy.stat("cluster.service.membership_total").await?, 0);
    fleet.set(&[(&one, "ready")]);
    poll::until("first endpoint", DEADLINE, async || {
        let answer = Connection::open(address).await?.send(&Request::get("/")).await?;
        Ok(answer.status.is_success().then_some(()))
    })
    .await
    .with_context(|| format!("{}\n{}", controller.log(), envoy.log()))?;

    let ends = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(load(address, Arc::clone(&ends)));
    fleet.set(&[(&one, "ready"), (&other, "ready")]);
    until_served_by(&other).await?;
    fleet.set(&[(&one, "draining"), (&other, "ready")]);
    poll::until("drained endpoint", DEADLINE, async || {
        Ok((envoy.stat("cluster.service.membership_healthy").await? == 1).then_some(()))
    })
    .await?;
    fleet.set(&[(&other, "ready")]);
    poll::until("endpoint that is gone", DEADLINE, async || {
        Ok((envoy.stat("cluster.service.membership_total").await? == 1).then_some(()))
    })
    .await?;
    // The controller is gone: what there was stays. It comes back, and is asked again.
    controller.kill9()?;
    poll::until("lost stream", DEADLINE, async || {
        Ok((envoy.stat("cluster.forebay_xds.upstream_cx_active").await? == 0).then_some(()))
    })
    .await?;
    until_served_by(&other).await?;
    controller.restart().await?;
    fleet.set(&[(&other, "ready"), (&third, "ready")]);
    until_served_by(&third).await?;
    ends.store(true, Ordering::Release);
    let served = load.await?.with_context(|| format!("{}\n{}", controller.log(), envoy.log()))?;
    assert_eq!(envoy.stat("cluster.service.update_rejected").await?, 0);
    println!("{api_type}: {served} requests, all served");
    Ok(())
}

#[tokio::test]
async fn endpoints_change_without_a_lost_request_and_outlive_the_controller() -> Result<()> {
    endpoints_follow_the_controller("GRPC").await
}

#[tokio::test]
async fn incrementally_too() -> Result<()> {
    endpoints_follow_the_controller("DELTA_GRPC").await
}

#[test]
fn the_configuration_to_copy_is_valid() -> Result<()> {
    let text = std::fs::read_to_string(workspace_root()?.join(EXAMPLE))?;
    validate(&Artefacts::find()?, &text)?;
    let wrong = text.replace("api_type: GRPC", "api_type: GRPS");
    assert_ne!(wrong, text);
    validate(&Artefacts::find()?, &wrong).err().context("Envoy takes a wrong configuration")?;
    Ok(())
}
