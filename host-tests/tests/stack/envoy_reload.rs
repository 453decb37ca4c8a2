//! On the real Envoy: new configurations while requests come in and while requests wait.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use forebay_host_tests::client::{Connection, Multiplexed};
use forebay_host_tests::poll;
use serde_json::json;
use tokio::task::JoinSet;

use super::envoy_queue;
use super::envoy_rig::{DEADLINE, MAIN, Rig, listener, of, outcome, policy};

/// A burst of one second, full from the start; the load offers several times the rate.
const RATE_PER_S: u64 = 300;
const BURST: u64 = 300;
/// 2 % of the burst.
const OVER_ADMISSION_MAX: f64 = 6.0;
const RELOADS: u32 = 6;
const CLIENTS: usize = 4;
/// New connections meet the new configuration, old ones stay with the old.
const REQUESTS_PER_CONNECTION: usize = 40;

type Outcomes = BTreeMap<String, u64>;

#[tokio::test]
async fn new_configurations_under_load_refuse_nobody_wrongly_and_refill_nothing() -> Result<()> {
    let mut rig = Rig::start(policy(&[("acme", RATE_PER_S, BURST)]), None).await?;
    let (address, stop) = (rig.envoy.address(MAIN)?, Arc::new(AtomicBool::new(false)));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(load(address, Arc::clone(&stop)));
    }
    for number in 1..=RELOADS {
        let mut changed = policy(&[("acme", RATE_PER_S, BURST), ("b", u64::from(number), 1)]);
        changed["policy"]["unidentified"] = json!(if number % 2 == 0 { "refuse" } else { "others" });
        rig.envoy.replace_listeners(&[listener(&rig.artefacts, &changed)]).await?;
        let admitted = rig.upstream.total();
        poll::until("admitted requests", DEADLINE, async || {
            Ok((rig.upstream.total() >= admitted + RATE_PER_S / 3).then_some(()))
        })
        .await?;
    }
    stop.store(true, Ordering::Relaxed);
    let mut outcomes = Outcomes::new();
    while let Some(client) = clients.join_next().await {
        for (outcome, count) in client?? {
            *outcomes.entry(outcome).or_default() += count;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let (admitted, refused) = (outcomes["standard"], outcomes["429"]);
    let limit = BURST as f64 + RATE_PER_S as f64 * seconds;
    println!("{RELOADS} new configurations in {seconds:.1} s: {admitted} admitted of {limit:.0}, {refused} refused");
    assert_eq!(outcomes.values().sum::<u64>(), admitted + refused, "{outcomes:?}");
    assert_eq!(rig.upstream.total(), admitted, "all admitted requests got their answer");
    assert!(admitted as f64 <= limit + OVER_ADMISSION_MAX, "{admitted} of {limit:.0}");
    assert!(admitted as f64 >= 0.95 * limit, "{admitted} of {limit:.0}: reloads cost the limit");
    let nobody = rig.connect().await?.send(&of("")).await?;
    assert_eq!(nobody.status, 400, "the last configuration is in force");
    rig.envoy.check_running()
}

/// Requests one after the other until told to stop, over short connections.
async fn load(address: SocketAddr, stop: Arc<AtomicBool>) -> Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    while !stop.load(Ordering::Relaxed) {
        let mut connection = Connection::open(address).await?;
        for _ in 0..REQUESTS_PER_CONNECTION {
            let answer = connection.send(&of("acme")).await?;
            *outcomes.entry(outcome(&answer)).or_default() += 1;
            // A listener that is replaced closes its connections politely.
            if answer.header("connection") == Some("close") {
                break;
            }
        }
    }
    Ok(outcomes)
}

/// Streams that wait all the time, of a tenant with 10/s and a burst of 1.
const WAITING: usize = 30;

#[tokio::test]
async fn streams_wait_on_through_new_configurations() -> Result<()> {
    let queue = |max_wait_ms: u32| {
        let room = json!({ "per_vm": 1_000, "per_tenant": 500, "per_connection": 500 });
        json!({ "max_wait_ms": max_wait_ms, "codel_target_ms": 0, "max_waiting": room })
    };
    let mut rig = envoy_queue::start(queue(60_000)).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (began, mut streams) = (Instant::now(), JoinSet::new());
    for number in 1..=RELOADS {
        // Each configuration gets streams of its own, on a connection of its own; the earlier ones wait on.
        let client = Multiplexed::open(rig.envoy.address(MAIN)?).await?;
        for _ in 0..WAITING / RELOADS as usize {
            streams.spawn(waiting(client.clone(), Arc::clone(&stop)));
        }
        // All of them wait; then so many more have gone on, and were followed by others.
        envoy_queue::waited(&rig, streams.len() as u64 + 3).await?;
        let changed = envoy_queue::policy(&queue(60_000 - number));
        rig.envoy.replace_listeners(&[envoy_queue::listener(&rig.artefacts, &changed)]).await?;
    }
    stop.store(true, Ordering::Relaxed);
    let mut admitted = 0;
    while let Some(stream) = streams.join_next().await {
        admitted += stream??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let limit = 1.0 + 10.0 * seconds;
    println!("{RELOADS} new configurations over {WAITING} waiting streams: {admitted} went on of {limit:.1}");
    assert_eq!(rig.upstream.total(), admitted);
    assert!(admitted as f64 <= limit + 2.0, "one request per plugin instance that serves");
    assert!(admitted as f64 >= 0.9 * limit, "{admitted} of {limit:.1}");
    let lost = [rig.filter_stat("queue.expired").await?, rig.filter_stat("queue.shed").await?];
    assert_eq!((lost, rig.filter_stat("queue.full").await?), ([0, 0], 0));
    Ok(())
}

/// One stream after the other; each waits and goes on.
async fn waiting(client: Multiplexed, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut admitted = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = client.send(&of("acme")).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        admitted += 1;
    }
    Ok(admitted)
}
