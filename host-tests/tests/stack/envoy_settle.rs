//! Costs that are known only afterwards, on a real Envoy with the streams module: refund, debt, long streams, resets.
//!
//! The tenant has 10 units per second and a burst of 10; a request is estimated at 5. The upstream says what an answer
//! cost where the path asks for it.

use std::time::{Duration, Instant};

use anyhow::Result;
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::client::{Request, send_once};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID};
use forebay_host_tests::poll;
use forebay_host_tests::upstream::{TRUE_COST, Upstream};
use serde_json::{Value, json};

use super::envoy_rig::{DEADLINE, MAIN, Rig, outcome};

fn policy() -> Value {
    let rule = |path: &str, by: Value| {
        let settled = json!({ "estimate": 5, "by": by, "settle_every_s": 1 });
        json!({ "match": { "path": path }, "charges": [{ "resource": "tokens", "cost": { "settled": settled } }] })
    };
    let usage = json!({ "usage": { "fields": ["usage.input_tokens", "usage.output_tokens"] } });
    json!({
        "proxy_id": "gateway",
        "policy": {
            "resources": [{ "name": "tokens", "others": { "rate_per_s": 0, "burst": 0 } }],
            "rules": [
                rule("/json/**", usage.clone()),
                rule("/sse/**", usage),
                rule("/header", json!({ "response_header": TRUE_COST })),
                rule("/bytes", json!({ "response_bytes": { "unit_bytes": 2 } })),
                rule("/time/**", json!({ "duration": { "unit_ms": 100 } })),
            ],
            "contracts": [{ "tenant": "llm", "resource": "tokens", "rate_per_s": 10, "burst": 10 }],
        },
    })
}

async fn start() -> Result<Rig> {
    let artefacts = Artefacts::find()?;
    let upstream = Upstream::start().await?;
    let listener = Listener::new(MAIN, vec![filters::forebay_streams(&artefacts, FOREBAY_VM_ID, &policy())]);
    let bootstrap = Bootstrap::new("gateway").upstream(&[upstream.address()]).listener(listener);
    let envoy = Envoy::start(&artefacts, &bootstrap).await?;
    Ok(Rig { artefacts, upstream, envoy })
}

fn of(path: &str) -> Request {
    Request::get(path).header("x-tenant", "llm").header("accept-encoding", "gzip")
}

/// Waits until so many charges are settled; then refunded units, and those used beyond estimates.
async fn settled(rig: &Rig, charges: u64) -> Result<(u64, u64)> {
    poll::until("settlement", DEADLINE, async || {
        Ok((rig.filter_stat("settlement.settled").await? >= charges).then_some(()))
    })
    .await?;
    Ok((rig.filter_stat("settlement.refunded_units").await?, beyond(rig).await?))
}

async fn beyond(rig: &Rig) -> Result<u64> {
    let forgiven = rig.filter_stat("settlement.forgiven_units").await?;
    Ok(rig.filter_stat("settlement.charged_units").await? + forgiven)
}

#[tokio::test]
async fn a_refund_makes_room_and_a_debt_takes_it() -> Result<()> {
    let rig = start().await?;
    let mut connection = rig.connect().await?;
    for number in 0..6 {
        let answer = connection.send(&of("/json/1/0")).await?;
        assert_eq!(answer.status, 200, "request {number}: each used 1 of 10");
    }
    assert_eq!(settled(&rig, 6).await?, (24, 0));
    let encodings = rig.upstream.recent().iter().filter(|seen| seen.headers.contains_key("accept-encoding")).count();
    assert_eq!(encodings, 0, "the body could not be read");

    // A full bucket has 10, so at least 20 of these 30 are owed, and 5 more are needed.
    poll::until(
        "room",
        DEADLINE,
        async || Ok((connection.send(&of("/json/20/10")).await?.status == 200).then_some(())),
    )
    .await?;
    let owed = Instant::now();
    let refused = connection.send(&of("/json/1/0")).await?;
    assert_eq!(refused.status, 429);
    let retry_after: u64 = refused.header("retry-after").unwrap_or_default().parse()?;
    // At most 3 s are left, and retries are spread over a quarter more, in whole seconds.
    assert!((2..=4).contains(&retry_after), "{retry_after} s");
    poll::until("repayment", DEADLINE, async || {
        Ok((connection.send(&of("/json/1/0")).await?.status == 200).then_some(()))
    })
    .await?;
    let repaid = owed.elapsed();
    println!("25 units beyond the estimate: refused with retry-after {retry_after} s, admitted after {repaid:?}");
    assert!(repaid > Duration::from_millis(2_200), "{repaid:?}");
    assert_eq!(settled(&rig, 8).await?, (28, 25));
    Ok(())
}

#[tokio::test]
async fn a_long_stream_is_charged_before_its_end() -> Result<()> {
    let rig = start().await?;
    let address = rig.envoy.address(MAIN)?;
    // 3 s, ten tokens each 100 ms: 300 in all.
    let stream = tokio::spawn(async move { send_once(address, &of("/sse/30/100/10")).await });
    let charged =
        poll::until("charge", DEADLINE, async || Ok(Some(beyond(&rig).await?).filter(|units| *units > 0))).await?;
    assert!(!stream.is_finished(), "{charged} units charged only at the end");
    assert_eq!(outcome(&rig.connect().await?.send(&of("/json/1/0")).await?), "429", "the debt is seen at once");
    let answer = stream.await??;
    assert!(answer.text().contains("300"), "{}", answer.text());
    println!("a stream of 300 tokens: {charged} charged while it ran");
    assert_eq!(settled(&rig, 1).await?, (0, 295));
    Ok(())
}

#[tokio::test]
async fn a_stream_that_the_client_leaves_is_settled_with_what_it_used() -> Result<()> {
    let rig = start().await?;
    let address = rig.envoy.address(MAIN)?;
    // It would run for 100 s. Settling each second would charge it too, so it is left before.
    let left = tokio::time::timeout(Duration::from_millis(700), send_once(address, &of("/sse/1000/100/10"))).await;
    assert!(left.is_err(), "it was still running");
    let (refunded, charged) = settled(&rig, 1).await?;
    println!("left after 0.7 s: {charged} units beyond the estimate");
    assert!(refunded == 0 && (5..=995).contains(&charged), "{refunded} {charged}");
    Ok(())
}

#[tokio::test]
async fn headers_bytes_and_time_settle_too() -> Result<()> {
    let rig = start().await?;
    let mut connection = rig.connect().await?;
    assert_eq!(connection.send(&of("/header").header(TRUE_COST, "2")).await?.status, 200);
    assert_eq!(settled(&rig, 1).await?, (3, 0));
    assert!(rig.upstream.recent()[0].headers.contains_key("accept-encoding"), "nothing reads this body");
    // "served\n": 7 bytes are 4 units.
    poll::until("room", DEADLINE, async || Ok((connection.send(&of("/bytes")).await?.status == 200).then_some(())))
        .await?;
    assert_eq!(settled(&rig, 2).await?, (4, 0));
    // The answer comes at once and is one unit begun.
    poll::until("room", DEADLINE, async || Ok((connection.send(&of("/time/x")).await?.status == 200).then_some(())))
        .await?;
    let (refunded, _) = settled(&rig, 3).await?;
    assert!(refunded > 4, "the time was shorter than 5 units of 100 ms");
    Ok(())
}
