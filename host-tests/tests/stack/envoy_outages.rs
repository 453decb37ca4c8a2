//! On the real Envoy with the real controller: kill -9 under load, and a store that was restored from an older copy.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use forebay_host_tests::client::{Request, send_once};
use forebay_host_tests::controller::Controller;
use forebay_host_tests::poll;
use forebay_protocol::Generation;
use serde_json::{Value, json};

use super::envoy_push::{halved, join, never_fits};
use super::envoy_rig::{DEADLINE, Load, Rig, load, of, outcome, policy, when};

const STEP_S: f64 = 300.0;

fn contract(rate_per_s: u64, burst: u64) -> Value {
    json!({ "contracts": [{ "tenant": "shop", "resource": "requests", "rate_per_s": rate_per_s, "burst": burst }] })
}

/// All demand in the history, from the file itself. The calendar runs at real speed, so a rate is units per second of
/// its step.
fn stored_units(data: &Path) -> Result<f64> {
    let store = rusqlite::Connection::open(data.join("history.sqlite3"))?;
    let rates: Option<f64> = store.query_row("SELECT SUM(value) FROM points", [], |row| row.get(0))?;
    Ok((rates.unwrap_or(0.0) * STEP_S).round())
}

async fn settled(data: &Path, units: u64) -> Result<()> {
    let what = format!("history of {units} units");
    let settled = poll::until(&what, DEADLINE, async || Ok((stored_units(data)? == units as f64).then_some(()))).await;
    settled.with_context(|| format!("the history holds {:?}", stored_units(data)))
}

#[tokio::test]
async fn a_killed_controller_fails_no_request_and_counts_each_once() -> Result<()> {
    let mut controller = Controller::start(contract(100_000, 1_000)).await?;
    let rig = Rig::start(policy(&[("shop", 100_000, 1_000)]), Some(controller.address())).await?;
    let [mut first, mut second] = rig.connect_to_both().await?;
    let (request, data) = (of("shop"), controller.data_dir());
    let before = load(&mut first, &request, |load: &Load| load.total() == 500).await?;
    settled(&data, before.total()).await?;

    let stop = Cell::new(false);
    let served = async |more: u64| {
        let least = rig.upstream.total() + more;
        poll::until("load", DEADLINE, async || Ok((rig.upstream.total() >= least).then_some(()))).await
    };
    let script = async {
        served(500).await?;
        controller.kill9()?;
        served(1_000).await?;
        controller.restart().await?;
        served(500).await?;
        stop.set(true);
        anyhow::Ok(())
    };
    let (a, b, ()) =
        tokio::try_join!(load(&mut first, &request, when(&stop)), load(&mut second, &request, when(&stop)), script)?;
    let sent = before.total() + a.total() + b.total();
    for load in [&before, &a, &b] {
        assert_eq!(load.count("standard"), load.total(), "{:?}", load.outcomes);
    }
    settled(&data, sent).await?;
    controller.terminate().await?;
    let stored = stored_units(&data)?;
    println!("killed under load and restarted: {sent} requests, none failed, {stored} in the history");
    assert_eq!(stored, sent as f64);
    Ok(())
}

async fn published(controller: &Controller) -> Result<Option<Generation>> {
    let answer = send_once(controller.address(), &Request::get("/v1/plan")).await?;
    if answer.status != 200 {
        return Ok(None);
    }
    let plan: Value = serde_json::from_slice(&answer.body)?;
    let number = |name: &str| plan["generation"][name].as_u64().context("a plan has a generation");
    Ok(Some(Generation { shard: 0, epoch: number("epoch")?, sequence: number("sequence")? }))
}

/// Waits until Envoy has taken a table since `before` tables.
async fn applied(rig: &Rig, before: u64) -> Result<u64> {
    poll::until("new table in Envoy", DEADLINE, async || {
        let now = rig.filter_stat("sync.tables_applied").await?;
        Ok((now > before).then_some(now))
    })
    .await
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A start takes the wall clock's milliseconds as its epoch, unless the store says that a higher one was in use. So that the
/// copy really begins below what Envoy knows, the store is moved ahead by this after the copy was made, as by a clock
/// that was wrong.
const AHEAD_MS: i64 = 1_000_000;

#[tokio::test]
async fn grants_of_a_store_restored_from_an_older_copy_are_taken() -> Result<()> {
    let mut controller = Controller::start(contract(1_000, 100)).await?;
    let rig = Rig::start(policy(&[]), Some(controller.address())).await?;
    let mut connection = rig.connect().await?;
    let mut tables = applied(&rig, 0).await?;
    controller.terminate().await?;
    let (data, folder) = (controller.data_dir(), tempfile::tempdir()?);
    let copy = folder.path().join("copy");
    copy_folder(&data, &copy)?;

    let store = rusqlite::Connection::open(data.join("history.sqlite3"))?;
    store.execute("UPDATE meta SET value = value + ?1 WHERE name = 'epoch'", [AHEAD_MS])?;
    drop(store);
    controller.restart().await?;
    tables = applied(&rig, tables).await?;
    poll::until("grant", DEADLINE, async || {
        Ok((outcome(&connection.send(&of("shop")).await?) == "standard").then_some(()))
    })
    .await?;
    // A restarted controller first lets proxies keep what they hold, and then deals.
    poll::until("its whole share", DEADLINE, async || Ok((!never_fits(&mut connection).await?).then_some(()))).await?;
    let known = published(&controller).await?.context("a plan")?;
    controller.kill9()?;
    fs::remove_dir_all(&data)?;
    copy_folder(&copy, &data)?;
    controller.restart().await?;

    applied(&rig, tables).await?;
    let newer = poll::until("plan above the one that Envoy knew", DEADLINE, async || {
        Ok(published(&controller).await?.filter(|generation| *generation > known))
    })
    .await?;
    // Not only taken, but in force: a second proxy halves the share.
    join(&controller, "second").await?;
    halved(&mut connection).await?;
    let outbid = controller.log().contains("epoch raised");
    println!(
        "Envoy knew {known:?}; the restored controller publishes {newer:?}, epoch raised by what Envoy knew: {outbid}"
    );
    assert!(outbid, "the copy began below what Envoy knew:\n{}", controller.log());
    Ok(())
}
