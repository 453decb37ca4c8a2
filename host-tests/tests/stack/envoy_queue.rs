//! On the real Envoy: requests that wait in the module that follows streams, over HTTP/1.1, HTTP/2 and as gRPC.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::client::{Answer, Request};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID};
use forebay_host_tests::poll;
use forebay_host_tests::upstream::Upstream;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::envoy_rig::{DEADLINE, MAIN, Rig, of};

/// One worker, so that all wait in one queue; `acme` has 10/s and a burst of 1, PUT goes before everything else.
pub(crate) fn policy(queue: &Value) -> Value {
    json!({
        "proxy_id": "gateway",
        "policy": {
            "resources": [{ "name": "requests", "others": { "rate_per_s": 0, "burst": 0 } }],
            "rules": [
                { "charges": [{ "resource": "requests" }] },
                { "match": { "methods": ["PUT"] }, "charges": [{ "resource": "requests" }], "priority_class": 0 },
            ],
            "queue": queue,
            "contracts": [
                { "tenant": "acme", "resource": "requests", "rate_per_s": 10, "burst": 1 },
                { "tenant": "slow", "resource": "requests", "rate_per_s": 2, "burst": 1 },
            ],
        },
    })
}

pub(crate) fn listener(artefacts: &Artefacts, policy: &Value) -> Listener {
    Listener::new(MAIN, vec![filters::forebay_streams(artefacts, FOREBAY_VM_ID, policy)])
}

pub(crate) async fn start(queue: Value) -> Result<Rig> {
    let artefacts = Artefacts::find()?;
    let upstream = Upstream::start().await?;
    let bootstrap = Bootstrap::new("gateway").workers(1).upstream(&[upstream.address()]).replaceable_listeners();
    let envoy = Envoy::start(&artefacts, &bootstrap.listener(listener(&artefacts, &policy(&queue)))).await?;
    envoy.address(MAIN).with_context(|| envoy.log())?;
    Ok(Rig { artefacts, upstream, envoy })
}

/// Sends over a connection of its own, and says how long the answer took.
async fn send(rig: &Rig, request: Request) -> Result<JoinHandle<Result<(Answer, Duration)>>> {
    let mut connection = rig.connect().await?;
    Ok(tokio::spawn(async move {
        let began = Instant::now();
        let answer = connection.send(&request).await?;
        Ok((answer, began.elapsed()))
    }))
}

/// Waits until so many streams have ever waited.
pub(crate) async fn waited(rig: &Rig, streams: u64) -> Result<()> {
    poll::until("waiting streams", DEADLINE, async || {
        Ok((rig.filter_stat("queue.waited").await.unwrap_or(0) >= streams).then_some(()))
    })
    .await
}

/// Takes the tokens that are there.
pub(crate) async fn drain(rig: &Rig, tenant: &str) -> Result<()> {
    let answer = rig.connect().await?.send(&of(tenant)).await?;
    ensure!(answer.status == 200, "{}", answer.status);
    rig.upstream.forget();
    Ok(())
}

#[tokio::test]
async fn requests_wait_with_and_without_a_body_and_the_better_class_goes_first() -> Result<()> {
    let rig = start(json!({ "max_wait_ms": 10_000, "bodies": true, "codel_target_ms": 0 })).await?;
    drain(&rig, "slow").await?;
    let get = send(&rig, of("slow")).await?;
    waited(&rig, 1).await?;
    let post = send(&rig, Request::post("/post", vec![b'x'; 20_000]).header("x-tenant", "slow")).await?;
    waited(&rig, 2).await?;
    let mut client = http2(&rig).await?;
    let put = http2_request(&rig, "PUT", "slow").body(Full::new(Bytes::from_static(b"body")))?;
    let response = client.send_request(put);
    let put = tokio::spawn(response);
    waited(&rig, 3).await?;
    let ((get, took), (post, _)) = (get.await??, post.await??);
    let put = put.await??;
    assert_eq!([get.status.as_u16(), post.status.as_u16(), put.status().as_u16()], [200, 200, 200]);
    assert_eq!(get.header("x-lane"), Some("standard"), "marked like any other");
    assert!(took > Duration::from_millis(300), "{took:?}: it waited");
    let paths: Vec<_> = rig.upstream.recent().into_iter().map(|seen| seen.path).collect();
    let place = |path: &str| paths.iter().position(|one| one == path);
    assert!(place("/put") < place("/post"), "{paths:?}");
    assert_eq!(rig.filter_stat("queue.expired").await?, 0);
    Ok(())
}

#[tokio::test]
async fn who_waits_in_vain_is_refused_with_429_before_its_client_gives_up() -> Result<()> {
    let rig = start(json!({ "max_wait_ms": 20_000, "codel_target_ms": 0, "bodies": true })).await?;
    drain(&rig, "slow").await?;
    let mut others = Vec::new();
    for number in 1..=4 {
        others.push(send(&rig, of("slow")).await?);
        waited(&rig, number).await?;
    }
    let patient = of("slow").header("grpc-timeout", "700m");
    let (refused, took) = send(&rig, patient).await?.await??;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    assert!((Duration::from_millis(450)..Duration::from_millis(700)).contains(&took), "{took:?}");

    // A gRPC call, which always has a body and never a length; its refusal is in the headers.
    let mut client = http2(&rig).await?;
    let call = http2_request(&rig, "POST", "slow").header("content-type", "application/grpc").header("te", "trailers");
    let call = call.header("grpc-timeout", "600m").body(Full::new(Bytes::from_static(&[0, 0, 0, 0, 0])))?;
    let began = Instant::now();
    let response = client.send_request(call).await?;
    let took = began.elapsed();
    assert_eq!((response.status().as_u16(), response.headers()["grpc-status"].to_str()?), (200, "8"));
    assert!((Duration::from_millis(350)..Duration::from_millis(600)).contains(&took), "{took:?}");
    for other in others {
        assert_eq!(other.await??.0.status, 200);
    }
    Ok(())
}

#[tokio::test]
async fn resets_while_waiting_leave_nothing() -> Result<()> {
    let rig = start(json!({ "max_wait_ms": 20_000, "codel_target_ms": 0 })).await?;
    drain(&rig, "slow").await?;
    let mut gone = Vec::new();
    for number in 1..=10 {
        gone.push(send(&rig, of("slow")).await?);
        waited(&rig, number).await?;
    }
    let stays = send(&rig, of("slow")).await?;
    waited(&rig, 11).await?;
    for one in gone {
        one.abort();
        // The connection closes with its sender.
        let _ = one.await;
    }
    let (answer, took) = stays.await??;
    assert_eq!(answer.status, 200);
    assert!(took < Duration::from_secs(4), "{took:?}: ten in front of it would take five seconds");
    assert!(rig.upstream.total() <= 5, "those that are gone go nowhere: {}", rig.upstream.total());
    assert_eq!([rig.filter_stat("queue.expired").await?, rig.filter_stat("queue.shed").await?], [0, 0]);
    Ok(())
}

#[tokio::test]
async fn a_new_configuration_while_some_wait_loses_nobody() -> Result<()> {
    let mut rig = start(json!({ "max_wait_ms": 20_000, "codel_target_ms": 0 })).await?;
    drain(&rig, "slow").await?;
    let mut waiting = Vec::new();
    for number in 1..=3 {
        waiting.push(send(&rig, of("slow")).await?);
        waited(&rig, number).await?;
    }
    let other = policy(&json!({ "max_wait_ms": 10, "codel_target_ms": 0 }));
    rig.envoy.replace_listeners(&[listener(&rig.artefacts, &other)]).await?;
    for one in waiting {
        assert_eq!(one.await??.0.status, 200);
    }
    Ok(())
}

#[tokio::test]
async fn the_lean_module_refuses_a_policy_with_a_queue() -> Result<()> {
    let artefacts = Artefacts::find()?;
    let upstream = Upstream::start().await?;
    let lean = filters::forebay(&artefacts, FOREBAY_VM_ID, &policy(&json!({})));
    let bootstrap = Bootstrap::new("lean").upstream(&[upstream.address()]).listener(Listener::new(MAIN, vec![lean]));
    let error = Envoy::start(&artefacts, &bootstrap).await.err().context("Envoy started all the same")?;
    assert!(format!("{error:#}").contains("load forebay_filter_streams.wasm instead"), "{error:#}");
    Ok(())
}

async fn http2(rig: &Rig) -> Result<http2::SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(rig.envoy.address(MAIN)?).await?;
    stream.set_nodelay(true)?;
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn http2_request(rig: &Rig, method: &str, tenant: &str) -> hyper::http::request::Builder {
    let address = rig.envoy.address(MAIN).map(|address| address.to_string()).unwrap_or_default();
    let path = format!("http://{address}/{}", method.to_lowercase());
    hyper::Request::builder().method(method).uri(path).header("x-tenant", tenant)
}
