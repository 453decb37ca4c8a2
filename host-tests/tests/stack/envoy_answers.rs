//! On the real Envoy: what refused clients read over HTTP/1, HTTP/2 and gRPC, and what admitted ones are told.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::client::{self, Answer, Connection, Request};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID};
use forebay_host_tests::upstream::Upstream;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use super::envoy_rig::{MAIN, Rig, of, policy};

/// One POST over HTTP/2 of its own.
async fn send_h2(address: std::net::SocketAddr, headers: &[(&str, &str)]) -> Result<Answer> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = hyper::Request::post(format!("http://{address}/shop.v1.Orders/List"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, body) = sender.send_request(request.body(Full::new(Bytes::new()))?).await?.into_parts();
    let body = body.collect().await?;
    // A reply of trailers only has them where headers stand.
    ensure!(body.trailers().is_none(), "trailers of their own");
    Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
}

#[tokio::test]
async fn a_refused_client_reads_the_answer_in_its_own_protocol() -> Result<()> {
    let rig = Rig::start(policy(&[("acme", 1, 0), ("slow", 1, 1)]), None).await?;
    let address = rig.envoy.address(MAIN)?;
    let mut connection = rig.connect().await?;
    connection.send(&of("slow")).await?;
    let over_http1 = connection.send(&of("slow")).await?;
    let over_http2 = send_h2(address, &[("x-tenant", "slow")]).await?;
    for answer in [&over_http1, &over_http2] {
        assert_eq!(answer.status, 429, "{}", answer.text());
        let retry_after_s: u64 = answer.header("retry-after").context("no retry-after")?.parse()?;
        assert!((1..=2).contains(&retry_after_s), "one second, and a spread of one: {retry_after_s}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("x-envoy-ratelimited"), Some("true"));
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=1;w=1"));
        assert_eq!(answer.header("ratelimit"), Some("\"requests\";r=0;t=1"));
        let problem: serde_json::Value = serde_json::from_slice(&answer.body)?;
        assert_eq!(problem["violated-policies"][0], "requests");
    }

    let grpc =
        send_h2(address, &[("x-tenant", "slow"), ("content-type", "application/grpc"), ("te", "trailers")]).await?;
    assert_eq!((grpc.status.as_u16(), grpc.header("content-type")), (200, Some("application/grpc")));
    assert_eq!(grpc.header("grpc-status"), Some("8"), "{:?}", grpc.headers);
    let message = grpc.header("grpc-message").context("no grpc-message")?;
    assert!(message.starts_with("The limit for this resource is used up"), "{message}");
    assert!(grpc.body.is_empty(), "{}", grpc.text());
    let details = grpc.header("grpc-status-details-bin").context("no details")?;
    let details = STANDARD_NO_PAD.decode(details)?;
    // google.rpc.Status: field 1 is the code, field 2 the message.
    assert_eq!(details[..3], [0x08, 8, 0x12]);
    assert_eq!(&details[4..][..usize::from(details[3])], message.as_bytes());
    let text = String::from_utf8_lossy(&details).into_owned();
    assert!(text.contains("google.rpc.RetryInfo") && text.contains("google.rpc.QuotaFailure"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_request_without_tenant_is_a_bad_one() -> Result<()> {
    let mut strict = policy(&[("acme", 10, 10)]);
    strict["policy"]["unidentified"] = json!("refuse");
    let rig = Rig::start(strict, None).await?;
    let answer = rig.connect().await?.send(&Request::get("/")).await?;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (400, None));
    assert_eq!(answer.header("x-envoy-ratelimited"), None);
    assert!(answer.text().contains("names no tenant in x-tenant."), "{}", answer.text());
    Ok(())
}

#[tokio::test]
async fn admitted_clients_read_what_is_left_and_why() -> Result<()> {
    let artefacts = Artefacts::find()?;
    let upstream = Upstream::start().await?;
    let token = "0123456789abcdef";
    let mut told = policy(&[("acme", 1, 5)]);
    told["policy"]["rules"][0]["name"] = json!("all");
    told["policy"]["answer"] = json!({ "headers": "draft-10" });
    told["policy"]["debug"] = json!({ "token": token });
    let filter = filters::forebay_streams(&artefacts, FOREBAY_VM_ID, &told);
    let bootstrap =
        Bootstrap::new("answers").upstream(&[upstream.address()]).listener(Listener::new(MAIN, vec![filter]));
    let envoy = Envoy::start(&artefacts, &bootstrap).await?;
    let mut connection = Connection::open(envoy.address(MAIN)?).await?;
    let answer = connection.send(&of("acme").header("x-forebay-debug", token)).await?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=5;w=5"));
    // A key is born with one second of its rate, which this request took.
    assert_eq!(answer.header("ratelimit"), Some("\"requests\";r=0;t=1"));
    assert_eq!(answer.header("x-forebay-debug"), Some("lane=standard;gen=-;fc=-;charge=all@acme"));
    assert!(upstream.recent()[0].headers.get("x-forebay-debug").is_none(), "the token goes no further");
    let refused = client::send_once(envoy.address(MAIN)?, &of("nobody").header("x-forebay-debug", "guessed")).await?;
    assert_eq!((refused.status.as_u16(), refused.header("x-forebay-debug")), (429, None));
    Ok(())
}
