//! On the real Envoy: one limit over two workers, and what reloads and restarts do to it.
//!
//! A bucket of burst `b` and rate `r` that is full (or empty) when a load begins admits at most `b + r t` (or `r t`) in
//! `t` seconds; the promise adds max(one request per worker, 2 % of the burst). `t` is measured at the client, from
//! before the first request to after the last answer, so it is never shorter than the time at the bucket.

use std::time::{Duration, Instant};

use anyhow::Result;
use forebay_host_tests::filters::{self, FOREBAY_FILTER, FOREBAY_VM_ID};
use serde_json::json;

use super::envoy_rig::{Load, Rig, at_refusal, empty_after, listener, load, of, outcome, policy};

/// A burst of one second of the rate: full from the start, since a key is born with that. The rate is what a client still
/// offers several times over when the machine is busy; a slower client leaves tokens in the bucket.
const RATE_PER_S: u64 = 300;
const BURST: u64 = 300;
/// 2 % of the burst; more than one request for each of two workers.
const OVER_ADMISSION_MAX: f64 = 6.0;

fn judge(name: &str, loads: &[Load]) {
    let began = loads.iter().map(|load| load.began).min().expect("a load");
    let ended = loads.iter().map(|load| load.ended).max().expect("a load");
    let seconds = (ended - began).as_secs_f64();
    let limit = BURST as f64 + RATE_PER_S as f64 * seconds;
    let admitted = loads.iter().map(|load| load.count("standard")).sum::<u64>() as f64;
    let offered: u64 = loads.iter().map(Load::total).sum();
    println!(
        "{name}: {admitted} admitted of a limit of {limit:.1} ({:.2} %) in {seconds:.3} s, {offered} offered",
        100.0 * admitted / limit
    );
    assert!(admitted >= 0.99 * limit, "{name}: too little of the limit is usable");
    assert!(admitted <= limit + OVER_ADMISSION_MAX, "{name}: over-admission");
}

#[tokio::test]
async fn the_limit_is_usable_and_kept_when_one_connection_has_all_the_load() -> Result<()> {
    let rig = Rig::start(policy(&[("acme", RATE_PER_S, BURST)]), None).await?;
    let [mut busy, mut idle] = rig.connect_to_both().await?;
    let began = Instant::now();
    // The second worker serves as well, holds a lease, and then has nothing to do.
    assert_eq!(outcome(&idle.send(&of("acme")).await?), "standard");
    let mut skewed = load(&mut busy, &of("acme"), empty_after(Duration::from_secs(5))).await?;
    skewed.began = began;
    *skewed.outcomes.entry("standard".into()).or_default() += 1;
    judge("all load on one of two workers", &[skewed]);
    Ok(())
}

#[tokio::test]
async fn the_limit_is_usable_and_kept_when_both_workers_have_the_same_load() -> Result<()> {
    let rig = Rig::start(policy(&[("acme", RATE_PER_S, BURST)]), None).await?;
    let [mut first, mut second] = rig.connect_to_both().await?;
    let (request, seconds) = (of("acme"), Duration::from_secs(5));
    let (a, b) = tokio::try_join!(
        load(&mut first, &request, empty_after(seconds)),
        load(&mut second, &request, empty_after(seconds))
    )?;
    judge("even load on two workers", &[a, b]);
    Ok(())
}

/// A slow key with a deep bucket: a refill by mistake would add at least one second of its rate, 100.
const SLOW: (&str, u64, u64) = ("slow", 100, 1_000);

#[tokio::test]
async fn new_vms_and_new_configurations_refill_nothing() -> Result<()> {
    let mut rig = Rig::start(policy(&[SLOW]), None).await?;
    let created = "wasm.envoy.wasm.runtime.v8.created";
    let mut connection = rig.connect().await?;
    load(&mut connection, &of(SLOW.0), at_refusal).await?;

    // Another VM configuration makes other VMs, as a new build or a reload after a trap does.
    let vms = rig.envoy.stat(created).await?;
    let mut replaced = listener(&rig.artefacts, &policy(&[SLOW]));
    replaced.filters = vec![filters::wasm(
        FOREBAY_FILTER,
        FOREBAY_VM_ID,
        "another build",
        &rig.artefacts.forebay_filter,
        &policy(&[SLOW]),
    )];
    let emptied = Instant::now();
    let mut connection = rig.connect().await?;
    load(&mut connection, &of(SLOW.0), at_refusal).await?;
    rig.envoy.replace_listeners(&[replaced]).await?;
    let new_vms = rig.envoy.stat(created).await? - vms;
    assert!(new_vms >= 3, "one for each worker and for the main thread, not {new_vms}");
    judge_refill(&rig, "after new VMs", emptied).await?;

    let mut strict = policy(&[SLOW]);
    strict["policy"]["unidentified"] = json!("refuse");
    let emptied = Instant::now();
    load(&mut rig.connect().await?, &of(SLOW.0), at_refusal).await?;
    rig.envoy.replace_listeners(&[listener(&rig.artefacts, &strict)]).await?;
    let nobody = rig.connect().await?.send(&of("")).await?;
    assert!(nobody.text().contains("names no tenant"), "the new configuration is in force: {}", nobody.text());
    judge_refill(&rig, "after a new plugin configuration", emptied).await
}

/// Empties the bucket over a new connection. It was emptied after `emptied` and saw no other request since, so it
/// admits what has flowed in.
async fn judge_refill(rig: &Rig, name: &str, emptied: Instant) -> Result<()> {
    let drained = load(&mut rig.connect().await?, &of(SLOW.0), at_refusal).await?;
    let seconds = (drained.ended - emptied).as_secs_f64();
    let bound = SLOW.1 as f64 * seconds + 0.02 * SLOW.2 as f64;
    let admitted = drained.count("standard");
    println!("{name}: {admitted} admitted {seconds:.3} s after the bucket was emptied; at most {bound:.0}");
    assert!(admitted as f64 <= bound, "{name}: {admitted} admitted, at most {bound:.1}");
    Ok(())
}

#[tokio::test]
async fn after_a_restart_a_key_has_one_second_of_its_rate() -> Result<()> {
    let rig = Rig::start(policy(&[SLOW]), None).await?;
    load(&mut rig.connect().await?, &of(SLOW.0), at_refusal).await?;
    drop(rig);
    let began = Instant::now();
    let rig = Rig::start(policy(&[SLOW]), None).await?;
    let drained = load(&mut rig.connect().await?, &of(SLOW.0), at_refusal).await?;
    let (admitted, seconds) = (drained.count("standard"), (drained.ended - began).as_secs_f64());
    let bound = SLOW.1 as f64 * (1.0 + seconds);
    println!(
        "after a restart: {admitted} admitted {seconds:.3} s after the start of Envoy; a full burst is {}",
        SLOW.2
    );
    assert!(admitted >= SLOW.1, "one second of the rate");
    assert!(admitted as f64 <= bound && bound < SLOW.2 as f64, "{admitted} admitted, at most {bound:.0}");
    Ok(())
}
