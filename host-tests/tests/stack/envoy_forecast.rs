//! On the real Envoy with the real controller: a burst that comes every day is forecast, reserved before it arrives, and
//! served from the lane `reserved`. The calendar runs at 900 times real speed, one quarter of an hour per second.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use forebay_host_tests::artefacts::forebay_binary;
use forebay_host_tests::client::{Request, send_once};
use forebay_host_tests::controller::Controller;
use forebay_host_tests::poll;
use serde_json::json;

use super::envoy_rig::{DEADLINE, Rig, of, outcome, policy};

const STEP_S: i64 = 900;
const STEPS_PER_DAY: i64 = 86_400 / STEP_S;
const DAYS: i64 = 21;
/// 2026-01-05, a Monday.
const HISTORY_START_S: i64 = 1_767_571_200;
/// The burst: from noon, for six hours.
const BURST_STEPS: std::ops::Range<i64> = 48..72;
const CALM_PER_S: f64 = 5.0;
const BURST_PER_S: f64 = 60.0;
const CONTRACT_PER_S: u64 = 20;
/// The clock stands this many steps before the burst when the controller starts: time to fit, one step a second.
const LEAD_STEPS: i64 = 6;
/// Steps of the burst that are played.
const WATCHED_STEPS: i64 = 5;

fn rate(step: i64) -> f64 {
    let level = if BURST_STEPS.contains(&step.rem_euclid(STEPS_PER_DAY)) { BURST_PER_S } else { CALM_PER_S };
    // A little noise, the same in every run, so that there is something to be uncertain about.
    level * (1.0 + 0.05 * (step as f64 * 12.9898).sin())
}

#[tokio::test]
async fn a_burst_that_comes_every_day_is_served_from_the_reserved_lane() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (history, data) = (folder.path().join("history.csv"), folder.path().join("data"));
    let first = HISTORY_START_S / STEP_S;
    // The history ends where the live part begins.
    let live = first + DAYS * STEPS_PER_DAY + BURST_STEPS.start - LEAD_STEPS;
    let mut csv = String::from("timestamp,key,value\n");
    for step in first..live {
        writeln!(csv, "{},shop/requests,{}", step * STEP_S, rate(step))?;
    }
    std::fs::write(&history, csv)?;
    let mut command = Command::new(forebay_binary()?);
    command.arg("import").arg("--data-dir").arg(&data).args(["--step-s", &STEP_S.to_string()]).arg(&history);
    let output = command.output().context("cannot run forebay import")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let controller = Controller::start(json!({
        "data_dir": data,
        "step_s": STEP_S,
        "clock": {
            "speed": STEP_S,
            "calendar_start": jiff::Timestamp::from_second(live * STEP_S)?.to_string(),
            "steady_start_unix_ms": now_ms,
        },
        "pools": [{ "name": "small", "capacity_per_s": 200 }],
        "contracts": [{
            "tenant": "shop", "resource": "requests", "rate_per_s": CONTRACT_PER_S, "burst": CONTRACT_PER_S,
            "shadow_max_per_s": 100, "pool": "small",
        }],
    }))
    .await?;
    let rig = Rig::start(policy(&[("shop", CONTRACT_PER_S, CONTRACT_PER_S)]), Some(controller.address())).await?;
    let planned = poll::until("reserved capacity in the plan", DEADLINE, async || {
        let answer = send_once(controller.address(), &Request::get("/v1/plan")).await?;
        Ok(answer.text().contains("\"amount\"").then(|| answer.text()))
    })
    .await?;
    let live_now = || -> Result<f64> {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH)? - Duration::from_millis(now_ms);
        Ok(live as f64 + elapsed.as_secs_f64())
    };
    let mut connection = rig.connect().await?;
    let (mut all, mut in_burst) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    let burst_begins = live + LEAD_STEPS;
    let mut due = live_now()?;
    while due < (burst_begins + WATCHED_STEPS) as f64 {
        let step = due as i64;
        tokio::time::sleep(Duration::from_secs_f64((due - live_now()?).max(0.0))).await;
        let lane = outcome(&connection.send(&of("shop")).await?);
        *all.entry(lane.clone()).or_default() += 1;
        if step >= burst_begins {
            *in_burst.entry(lane).or_default() += 1;
        }
        due += 1.0 / rate(step);
    }
    let of_burst = |lane: &str| in_burst.get(lane).copied().unwrap_or(0);
    let offered: u64 = in_burst.values().sum();
    // What the bucket of the contract could not have served, had it been full when the burst began.
    let above_contract = offered.saturating_sub(CONTRACT_PER_S * (WATCHED_STEPS as u64 + 1));
    println!("all: {all:?}; in the burst: {in_burst:?}, of which {above_contract} are above the contract");
    assert!(of_burst("reserved") > 0, "{planned}\n{}", controller.log());
    assert!(of_burst("429") * 10 <= above_contract, "{in_burst:?} where a tenth of {above_contract} may be refused");
    let upstream = rig.upstream.counts();
    let reserved = upstream.get(&("shop".into(), "reserved".into())).copied();
    assert_eq!(reserved, all.get("reserved").copied(), "the upstream sees the lane: {upstream:?}");
    Ok(())
}
