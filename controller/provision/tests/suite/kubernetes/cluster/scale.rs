//! What a look costs a real server with many pods: at rest nearly nothing, and while more start what is told of those.
//!
//! `FOREBAY_CLUSTER_PODS=5000 cargo xtask cluster scale` measures with so many; without it there are few, so that the suite
//! stays quick, and what holds for any number is held. Bytes are as the server's answers are before they are compressed.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forebay_provision::InstanceManager;
use tokio::time::Instant;

use super::{BehindRelay, PAUSE, kubeconfig};
use crate::driver::ready;
use crate::kubernetes::order;
use crate::subject::{Subject, steady};

const PODS: &str = "FOREBAY_CLUSTER_PODS";
const PODS_BY_DEFAULT: u32 = 60;
const PODS_OF_A_NODE: u32 = 10;
const LOOKS_AT_REST: usize = 10;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest that a pod may take to be made, placed and run, on a machine that has much else to do.
const EACH_WITHIN: Duration = Duration::from_millis(200);
const AT_LEAST: Duration = Duration::from_secs(120);
/// Most that a look at rest may be told: the order that was taken, and how far watches are.
const REST_REQUESTS_MAX: f64 = 3.0;
const REST_BYTES_MAX: f64 = 16_384.0;
/// Most that may be told of a pod that starts: some events of itself, of its Deployment, and of its node.
const START_BYTES_MAX: f64 = 100_000.0;

/// What passed: requests, bytes of answers, bytes of what was to be written.
#[derive(Clone, Copy)]
struct Passed {
    requests: usize,
    answered: usize,
    sent: usize,
}

fn passed(subject: &BehindRelay) -> Passed {
    let state = subject.place.relay().state();
    Passed { requests: state.requests, answered: state.answered_bytes, sent: state.sent_bytes }
}

fn lists(subject: &BehindRelay) -> u64 {
    subject.manager().watching().iter().flat_map(|(_, watched)| watched).map(|one| one.lists).sum()
}

/// Looks until so many are ready; how often it looked.
async fn until_ready(subject: &BehindRelay, count: u32) -> Result<usize> {
    let deadline = Instant::now() + AT_LEAST + EACH_WITHIN * count;
    let mut looks = 0;
    loop {
        let observed = subject.manager().observe().await?;
        looks += 1;
        let there = ready(&observed, &steady()).len();
        if there == count as usize {
            return Ok(looks);
        }
        ensure!(Instant::now() < deadline, "{there} of {count} are ready");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test]
async fn a_look_costs_what_changed() -> Result<()> {
    if kubeconfig().is_none() {
        return Ok(());
    }
    let asked = std::env::var(PODS).ok().map(|pods| pods.parse::<u32>().with_context(|| format!("{PODS}={pods}")));
    let pods = asked.transpose()?.unwrap_or(PODS_BY_DEFAULT);
    let subject = BehindRelay::with(|settings| settings.request_within = Duration::from_secs(60)).await?;
    subject.place.nodes.share(u64::from(pods / PODS_OF_A_NODE));
    subject.manager().apply(&order(1, &[(steady(), pods)])).await?;
    until_ready(&subject, pods).await?;
    tokio::time::sleep(PAUSE).await;
    subject.manager().observe().await?;

    let (before, lists_before) = (passed(&subject), lists(&subject));
    for _ in 0..LOOKS_AT_REST {
        tokio::time::sleep(LOOK_EVERY).await;
        subject.manager().observe().await?;
    }
    let rest = passed(&subject);
    let each = |sum: usize| sum as f64 / LOOKS_AT_REST as f64;
    let (requests, bytes) = (each(rest.requests - before.requests), each(rest.answered - before.answered));

    let more = (pods / 10).max(1);
    subject.manager().apply(&order(2, &[(steady(), pods + more)])).await?;
    let looks = until_ready(&subject, pods + more).await?;
    let up = passed(&subject);
    let of_each = |sum: usize| sum as f64 / f64::from(more);
    let (told, written) = (of_each(up.answered - rest.answered), of_each(up.sent - rest.sent));
    // Not `eprintln!`, which cargo keeps to itself where a test passes.
    writeln!(
        std::io::stderr(),
        "{pods} pods: a look at rest {requests:.1} requests, {bytes:.0} bytes; {more} more in {looks} looks: {} requests, \
         {told:.0} bytes told and {written:.0} written of each; {} lists, before {lists_before}",
        up.requests - rest.requests,
        lists(&subject),
    )?;
    ensure!(requests <= REST_REQUESTS_MAX && bytes <= REST_BYTES_MAX, "at rest {requests} requests, {bytes} bytes");
    ensure!(told <= START_BYTES_MAX, "{told} bytes are told of each that starts");
    Ok(())
}
