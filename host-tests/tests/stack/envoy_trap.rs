//! On the real Envoy: a VM that fails under load, with `FAIL_RELOAD`.
//!
//! The module is the shipped one with less memory ([`memory`]), and what it runs out of memory for is a flood of requests
//! that wait: so it traps in the middle of its work, at whatever allocation comes last.

mod memory;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::client::{Multiplexed, Request};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID};
use forebay_host_tests::poll;
use forebay_host_tests::upstream::Upstream;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::envoy_rig::{DEADLINE, MAIN, Rig, at_refusal, load, of, when};

/// Memory that the module may grow by, in pages of 64 KiB: enough for its start and for some hundred waiting streams.
const MORE_PAGES: u32 = 8;
/// Streams of the flood that wait at once on one connection.
const STREAMS: usize = 100;
/// Streams of the flood after which the VM must have failed: their entries alone would be more than its memory.
const FLOOD_MAX: usize = 6_000;
/// How long the flood waits. Some of it comes after the VM was made anew, and waits in the new one.
const MAX_WAIT: Duration = Duration::from_secs(8);
/// What waits in a VM that fails is answered by nobody until Envoy ends it as idle. Longer than the longest wait.
const STREAM_IDLE_TIMEOUT_S: u32 = 12;
/// A deep bucket: a refill by mistake would add at least one second of the rate.
const RATE_PER_S: u64 = 100;
const BURST: u64 = 1_000;

fn policy() -> Value {
    let room = json!({ "per_vm": 65_536, "per_tenant": 65_536, "per_connection": 65_536 });
    json!({
        "proxy_id": "gateway",
        "policy": {
            "resources": [{ "name": "requests", "others": { "rate_per_s": 0, "burst": 0 } }],
            "rules": [
                { "charges": [{ "resource": "requests" }] },
                {
                    "match": { "path": "/wait" },
                    "charges": [{ "resource": "requests" }],
                    "queue": { "max_wait_ms": MAX_WAIT.as_millis() as u64, "codel_target_ms": 0, "max_waiting": room },
                },
            ],
            "contracts": [
                { "tenant": "steady", "resource": "requests", "rate_per_s": RATE_PER_S, "burst": BURST },
                { "tenant": "flood", "resource": "requests", "rate_per_s": 1, "burst": 1 },
            ],
        },
    })
}

async fn start(folder: &std::path::Path) -> Result<Rig> {
    let mut artefacts = Artefacts::find()?;
    let module = std::fs::read(&artefacts.forebay_filter_streams).context("cannot read the module")?;
    artefacts.forebay_filter_streams = folder.join("bounded.wasm");
    std::fs::write(&artefacts.forebay_filter_streams, memory::bounded(&module, MORE_PAGES)?)?;
    let upstream = Upstream::start().await?;
    let filter = filters::forebay_streams(&artefacts, FOREBAY_VM_ID, &policy());
    let listener = Listener::new(MAIN, vec![filter]).stream_idle_timeout_s(STREAM_IDLE_TIMEOUT_S);
    let bootstrap = Bootstrap::new("gateway").upstream(&[upstream.address()]).listener(listener);
    let envoy = Envoy::start(&artefacts, &bootstrap).await?;
    Ok(Rig { artefacts, upstream, envoy })
}

#[tokio::test]
async fn a_vm_that_fails_under_load_refills_nothing_and_is_back_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut rig = start(folder.path()).await?;
    let address = rig.envoy.address(MAIN)?;
    let [mut first, mut second] = rig.connect_to_both().await?;
    let steady = of("steady");
    let began = Instant::now();
    load(&mut first, &steady, at_refusal).await?;

    let stop = Cell::new(false);
    let flooded = async {
        let flooded = flood(&rig, address).await;
        // The load goes on until both workers decide again.
        let recovered = match &flooded {
            Ok(_) => recovered(&rig).await,
            Err(_) => Ok(()),
        };
        stop.set(true);
        recovered.and(flooded)
    };
    let (a, b, (sent, answers)) =
        tokio::try_join!(load(&mut first, &steady, when(&stop)), load(&mut second, &steady, when(&stop)), flooded)?;
    let reloads = reloads(&rig).await?;
    println!(
        "{sent} waiting streams: {reloads:?} reloads; they ended as {answers:?}; meanwhile the load got {:?} and {:?}",
        a.outcomes, b.outcomes
    );
    assert!(rig.envoy.log().contains("unreachable"), "the module trapped: {}", rig.envoy.log());
    // What waited in the failed VM has failed when it ended as idle; what waits in the new one waits as usual.
    let known =
        |outcomes: &BTreeMap<String, u64>, known: &[&str]| outcomes.keys().all(|one| known.contains(&one.as_str()));
    assert!(answers.get("503").is_some_and(|failed| *failed >= 100), "{answers:?}");
    assert!(known(&answers, &["200", "429", "503"]), "{answers:?}");
    assert!(known(&a.outcomes, &["standard", "429", "503"]) && known(&b.outcomes, &["standard", "429", "503"]));
    let (failed, all) = (a.count("503") + b.count("503"), a.total() + b.total());
    assert!(failed * 10 < all, "{failed} of {all} other requests failed");

    let drained = load(&mut rig.connect().await?, &steady, at_refusal).await?;
    let seconds = (drained.ended - began).as_secs_f64();
    let admitted = rig.upstream.count_of("steady");
    // At the start the bucket holds one second of its rate.
    let bound = RATE_PER_S as f64 * (1.0 + seconds) + 0.02 * BURST as f64;
    println!("{admitted} admitted in {seconds:.2} s over {reloads:?} reloads, at most {bound:.0}");
    assert!(admitted as f64 <= bound, "{admitted} admitted, at most {bound:.0}: a reload refilled the bucket");
    rig.envoy.check_running()
}

/// Lets streams wait until a VM has failed and was made anew; how many, and how they ended.
async fn flood(rig: &Rig, address: SocketAddr) -> Result<(usize, BTreeMap<String, u64>)> {
    let (mut streams, mut sent) = (JoinSet::new(), 0);
    while reloads(rig).await? == 0 {
        if sent >= FLOOD_MAX {
            bail!("{sent} waiting streams, and no VM has failed");
        }
        let client = Multiplexed::open(address).await?;
        for _ in 0..STREAMS {
            let client = client.clone();
            streams.spawn(async move {
                match client.response(&Request::get("/wait").header("x-tenant", "flood")).await {
                    Ok(answer) => answer.status().as_str().to_owned(),
                    Err(_) => "reset".to_owned(),
                }
            });
            sent += 1;
        }
    }
    let mut answers = BTreeMap::new();
    let all = async {
        while let Some(answer) = streams.join_next().await {
            *answers.entry(answer?).or_default() += 1;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(STREAM_IDLE_TIMEOUT_S.into()) + DEADLINE, all)
        .await
        .context("waiting streams hang")??;
    Ok((sent, answers))
}

/// VMs that were made anew after a failure.
async fn reloads(rig: &Rig) -> Result<u64> {
    let stats = rig.envoy.stats().await?;
    Ok(stats.iter().filter(|(name, _)| name.ends_with("vm_reload_success")).map(|(_, count)| count).sum())
}

/// Waits until new requests are decided about again.
async fn recovered(rig: &Rig) -> Result<()> {
    for mut connection in rig.connect_to_both().await? {
        poll::until("decisions", DEADLINE, async || {
            Ok((connection.send(&of("nobody")).await?.status == 429).then_some(()))
        })
        .await?;
    }
    Ok(())
}
