//! On the real Envoy: how long after the plan every worker enforces a changed grant.
//!
//! Each push names a new tenant, whom both workers refuse before it and admit after it. What is measured ends with the
//! first admitted answer in the client's hands on the slower worker, asked every 10 ms: an upper bound of the real thing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use forebay_host_tests::client::{Connection, Request, send_once};
use forebay_host_tests::controller::Controller;
use forebay_host_tests::poll;
use forebay_protocol::envelope::VERSION;
use forebay_protocol::{Generation, Message, Watch, encode};
use serde_json::{Value, json};

use super::envoy_rig::{DEADLINE, Rig, of, outcome, policy};
use super::envoy_scripted::{Scripted, grant, table};

/// What the product promises.
const PROMISED: Duration = Duration::from_millis(250);
const PUSHES: u64 = 25;

#[tokio::test]
async fn a_changed_grant_is_enforced_by_both_workers_within_250_ms() -> Result<()> {
    let mut controller = Scripted::start().await?;
    let rig = Rig::start(policy(&[]), Some(controller.address())).await?;
    let [mut first, mut second] = rig.connect_to_both().await?;
    let mut delays = Vec::new();
    for number in 1..=PUSHES {
        let tenant = format!("tenant-{number}");
        for connection in [&mut first, &mut second] {
            assert_eq!(outcome(&connection.send(&of(&tenant)).await?), "429", "nobody knows {tenant} yet");
        }
        let pushed = controller.push(table(number, 600_000, vec![grant(&tenant, 1_000, 1_000)])).await?;
        let (a, b) = tokio::try_join!(admitted(&mut first, &tenant), admitted(&mut second, &tenant))?;
        delays.push(a.max(b) - pushed);
    }
    delays.sort_unstable();
    let (median, max) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    println!("push to both workers: median {median:.1?}, max {max:.1?} of {PUSHES}");
    assert!(max <= PROMISED, "{max:.1?}");
    Ok(())
}

async fn admitted(connection: &mut Connection, tenant: &str) -> Result<Instant> {
    let request = of(tenant);
    poll::until("enforced push", DEADLINE, async || {
        let lane = outcome(&connection.send(&request).await?);
        Ok((lane == "standard").then(Instant::now))
    })
    .await
}

/// A second proxy halves the first one's share of 100 units, so that a cost of 80 no longer fits, ever.
#[tokio::test]
async fn a_plan_of_the_real_controller_is_enforced_within_250_ms() -> Result<()> {
    let contract = json!({ "tenant": "shop", "resource": "requests", "rate_per_s": 1_000, "burst": 100 });
    let controller = Controller::start(json!({ "contracts": [contract] })).await?;
    let rig = Rig::start(policy(&[]), Some(controller.address())).await?;
    let [mut first, mut second] = rig.connect_to_both().await?;
    tokio::try_join!(admitted(&mut first, "shop"), admitted(&mut second, "shop"))?;
    for connection in [&mut first, &mut second] {
        assert!(!never_fits(connection).await?, "80 fit into the whole share");
    }
    join(&controller, "second").await?;
    tokio::try_join!(halved(&mut first), halved(&mut second))?;
    let enforced = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let plan: Value = serde_json::from_slice(&send_once(controller.address(), &Request::get("/v1/plan")).await?.body)?;
    assert_eq!(plan["proxies"], json!(["gateway", "second"]));
    let published = plan["published_unix_ms"].as_u64().context("the plan says when it was published")?;
    let delay = enforced.saturating_sub(Duration::from_millis(published));
    println!("plan of the real controller to both workers: {delay:.1?}");
    assert!(delay <= PROMISED, "{delay:.1?}");
    Ok(())
}

/// Waits until a worker enforces half of the share.
pub(crate) async fn halved(connection: &mut Connection) -> Result<()> {
    poll::until("halved share", DEADLINE, async || Ok(never_fits(connection).await?.then_some(()))).await
}

/// Whether a cost of 80 is refused without saying when to come again.
pub(crate) async fn never_fits(connection: &mut Connection) -> Result<bool> {
    let answer = connection.send(&of("shop").header("x-cost", "80")).await?;
    Ok(answer.status == 429 && answer.header("retry-after").is_none())
}

/// Watches once under another proxy's name, which gives it a share; returns when it has one.
pub(crate) async fn join(controller: &Controller, proxy: &str) -> Result<()> {
    let watch = Watch {
        proxy: proxy.into(),
        boot_id: 1,
        known: Generation::default(),
        collecting: None,
        speaks: vec![VERSION],
        extensions: vec![],
    };
    let request = Request::post("/v1/sync", encode(&Message::Watch(watch)));
    let answer = send_once(controller.address(), &request).await?;
    anyhow::ensure!(answer.status == 200, "the watch of {proxy} was answered with {}", answer.status);
    Ok(())
}
