//! On the real Envoy: clients that reset waiting HTTP/2 streams, or go away with a whole connection of them.

use std::time::{Duration, Instant};

use anyhow::Result;
use forebay_host_tests::client::Multiplexed;
use forebay_host_tests::poll;
use serde_json::json;
use tokio::task::JoinSet;

use super::envoy_queue::{drain, start, waited};
use super::envoy_rig::{DEADLINE, MAIN, Rig, of};

/// Streams of one tenant that may wait, and as many as are sent in each round.
const ROOM: u64 = 200;
/// Of the tenant `slow`.
const RATE_PER_S: f64 = 2.0;

#[tokio::test]
async fn reset_streams_leave_their_place_to_others() -> Result<()> {
    let room = json!({ "per_vm": 2 * ROOM, "per_tenant": ROOM, "per_connection": ROOM });
    let rig = start(json!({ "max_wait_ms": 60_000, "codel_target_ms": 0, "max_waiting": room })).await?;
    let began = Instant::now();
    drain(&rig, "slow").await?;
    for round in 1..=4 {
        let client = Multiplexed::open(rig.envoy.address(MAIN)?).await?;
        let mut streams = JoinSet::new();
        for _ in 0..ROOM {
            let client = client.clone();
            streams.spawn(async move { client.response(&of("slow")).await });
        }
        waited(&rig, round * ROOM).await?;
        if round % 2 == 0 {
            client.cut();
        }
        // A request whose task goes away is reset.
        streams.shutdown().await;
        poll::until("end of the streams", DEADLINE, async || Ok((active(&rig).await? == 0).then_some(()))).await?;
    }
    assert_eq!(rig.filter_stat("queue.full").await?, 0, "each round found all the room");

    let sent = Instant::now();
    let answer = rig.connect().await?.send(&of("slow")).await?;
    let took = sent.elapsed();
    assert_eq!(answer.status, 200);
    assert!(took < Duration::from_secs(2), "{took:?}: nobody is left in front of it");
    let limit = 1.0 + RATE_PER_S * began.elapsed().as_secs_f64();
    let upstream = rig.upstream.total();
    println!(
        "{} waiting streams were reset; the next one took {took:.0?}; {upstream} went on, at most {limit:.1}",
        4 * ROOM
    );
    assert!((upstream as f64) <= limit, "{upstream} of at most {limit:.1}");
    assert_eq!([rig.filter_stat("queue.expired").await?, rig.filter_stat("queue.shed").await?], [0, 0]);
    Ok(())
}

/// Streams that Envoy knows.
async fn active(rig: &Rig) -> Result<u64> {
    rig.envoy.stat(&format!("http.{MAIN}.downstream_rq_active")).await
}
