//! The real controller with real processes, when things go wrong: it is killed, they are killed, it is away for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forebay_host_tests::client::Request;
use forebay_host_tests::instance::Instances;
use forebay_host_tests::poll;
use serde_json::json;

use crate::capacity_rig::{CapacityRig, MOST, WANTED};

const DEADLINE: Duration = Duration::from_secs(30);
/// What the controller logs when it has decided, and before it says so to the manager.
const DECIDED: &str = "capacity ordered";

#[tokio::test]
async fn a_controller_killed_between_decision_and_order_starts_nothing_twice() -> Result<()> {
    let mut rig = CapacityRig::start().await?;
    for killed in 1..=5 {
        let has_decided = async || Ok((rig.controller.log().matches(DECIDED).count() >= killed).then_some(()));
        poll::until("decision", DEADLINE, has_decided).await.with_context(|| rig.controller.log())?;
        rig.controller.kill9()?;
        // Whatever came of the order, it came at most once.
        let processes = rig.processes();
        ensure!(processes.len() <= WANTED, "killed {killed} times: {processes:?}");
        rig.controller.restart().await?;
    }
    let ready = rig.ready(WANTED, &BTreeSet::new()).await?;
    let running: BTreeSet<String> = rig.processes().into_values().collect();
    ensure!(running == ready, "what runs is what the controller knows: {running:?}, {ready:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_killed_is_replaced_and_what_runs_is_adopted() -> Result<()> {
    let mut rig = CapacityRig::start().await?;
    let first = rig.ready(WANTED, &BTreeSet::new()).await?;
    let endpoints = rig.warm_endpoints();

    let pids = rig.instances.pids();
    let (killed, pid) = pids.first_key_value().context("there are some")?;
    Instances::kill9(*pid);
    let replaced = rig.ready(WANTED, &BTreeSet::from([killed.clone()])).await?;
    ensure!(replaced.difference(&first).count() == 1, "one is new: {first:?}, {replaced:?}");
    ensure!(rig.warm_endpoints().difference(&endpoints).count() == 1, "and is where requests go");

    rig.instances.pids().into_values().for_each(Instances::kill9);
    let renewed = rig.ready(WANTED, &replaced).await?;
    let endpoints = rig.warm_endpoints();

    let before = rig.processes();
    let status = rig.controller.terminate().await?;
    ensure!(status.success(), "{status}");
    ensure!(rig.processes() == before, "they outlive the controller");
    rig.controller.restart().await?;
    ensure!(rig.ready(WANTED, &BTreeSet::new()).await? == renewed, "adopted");
    ensure!((rig.processes(), rig.warm_endpoints()) == (before, endpoints));

    // What ends while nobody looks is made good.
    rig.controller.kill9()?;
    rig.instances.pids().into_values().for_each(Instances::kill9);
    rig.controller.restart().await?;
    rig.ready(WANTED, &renewed).await?;
    ensure!(rig.processes().len() == WANTED);
    Ok(())
}

#[tokio::test]
async fn an_allocation_is_pending_with_an_eta_then_there_and_given_back() -> Result<()> {
    let mut rig = CapacityRig::start().await?;
    let first = rig.ready(WANTED, &BTreeSet::new()).await?;
    let ask = |replicas: u32, key: &str| {
        let body = json!({ "service": "shop", "replicas": replicas }).to_string();
        Request::post("/v1/allocations", body).header("idempotency-key", key)
    };
    let (answer, made) = rig.send(&ask(2, "one")).await?;
    ensure!(answer.status == 202 && made["state"] == "pending", "{made}");
    let wait_s: u64 = answer.header("retry-after").context("when to ask again")?.parse()?;
    ensure!((1..=10).contains(&wait_s) && made["confidence"].as_f64().is_some_and(|sure| sure > 0.0), "{made}");
    let path = answer.header("location").context("where to ask again")?.to_owned();

    let (_, again) = rig.send(&ask(2, "one")).await?;
    ensure!(again["id"] == made["id"], "the same key is the same allocation: {again}");
    let (answer, _) = rig.send(&ask(1, "one")).await?;
    ensure!(answer.status == 409, "another one is none");

    rig.allocated(&path).await?;
    let with_it = rig.ready(WANTED + 2, &BTreeSet::new()).await?;
    ensure!(first.is_subset(&with_it));

    // A promise is kept by whoever comes after.
    rig.controller.kill9()?;
    rig.controller.restart().await?;
    ensure!(rig.ready(WANTED + 2, &BTreeSet::new()).await? == with_it);
    rig.allocated(&path).await?;

    let (_, available) = rig.send(&Request::get("/v1/availability?service=shop")).await?;
    ensure!(available["offers"][0]["instances"] == MOST - WANTED as u32 - 2, "{available}");
    for (body, status, constraint) in [
        (json!({ "service": "shop", "replicas": 100 }), 422, json!("capacity")),
        (json!({ "service": "shop", "replicas": 1, "region": "moon" }), 404, json!("region")),
        (json!({ "service": "nothing", "replicas": 1 }), 404, json!("service")),
        (json!({ "service": "shop" }), 400, json!(null)),
    ] {
        let (answer, problem) = rig.send(&Request::post("/v1/allocations", body.to_string())).await?;
        ensure!(answer.status == status && problem["constraint"] == constraint, "{body}: {problem}");
        ensure!(answer.header("content-type") == Some("application/problem+json"), "{body}");
    }

    let (answer, _) = rig.send(&Request::delete(&path)).await?;
    ensure!(answer.status == 200);
    rig.ready(WANTED, &BTreeSet::new()).await?;
    Ok(())
}
