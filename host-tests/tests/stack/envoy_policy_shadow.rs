//! On the real Envoy with the real controller: both read one policy document, and what it says of shadow holds. Two
//! tenants have the same history and are in the middle of the same burst; the one whose shadow the policy bounds is served
//! from the lane `reserved` within that bound, the one for which it is off never.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use forebay_host_tests::artefacts::forebay_binary;
use forebay_host_tests::client::{Request, send_once};
use forebay_host_tests::controller::Controller;
use forebay_host_tests::poll;
use serde_json::{Value, json};

use super::envoy_rig::{DEADLINE, Rig, of, outcome, policy};

const STEP_S: i64 = 3_600;
/// 2026-01-05, a Monday.
const HISTORY_START_S: i64 = 1_767_571_200;
/// The live part begins with the burst, at noon; its hour is longer than the test.
const LIVE_STEP: i64 = 14 * 24 + 12;
const CONTRACT_PER_S: u64 = 20;
const SHADOW_MAX_PER_S: u64 = 30;
/// Each of the two workers may hold a lease of one request.
const LEASES: u64 = 2;
const WATCHED: Duration = Duration::from_secs(2);

/// Both tenants: 60 per second from noon to six, and 5 else.
fn history() -> Result<String> {
    let mut csv = String::from("timestamp,key,value\n");
    for step in 0..LIVE_STEP {
        let level = if (12..18).contains(&(step % 24)) { 60.0 } else { 5.0 };
        let rate = level * (1.0 + 0.05 * (step as f64 * 12.9898).sin());
        for tenant in ["shop", "feed"] {
            writeln!(csv, "{},{tenant}/requests,{rate}", HISTORY_START_S + step * STEP_S)?;
        }
    }
    Ok(csv)
}

#[tokio::test]
async fn one_policy_says_for_both_sides_who_may_have_shadow() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, data, document) =
        (folder.path().join("history.csv"), folder.path().join("data"), folder.path().join("policy.json"));
    std::fs::write(&file, history()?)?;
    let mut command = Command::new(forebay_binary()?);
    command.arg("import").arg("--data-dir").arg(&data).args(["--step-s", &STEP_S.to_string()]).arg(&file);
    let output = command.output().context("cannot run forebay import")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let limits = [("shop", CONTRACT_PER_S, CONTRACT_PER_S), ("feed", CONTRACT_PER_S, CONTRACT_PER_S)];
    let mut plugin = policy(&limits);
    plugin["policy"]["contracts"][0]["shadow"] = json!({ "max_per_s": SHADOW_MAX_PER_S });
    plugin["policy"]["contracts"][1]["shadow"] = json!({ "enabled": false });
    std::fs::write(&document, plugin["policy"].to_string())?;
    let live = jiff::Timestamp::from_second(HISTORY_START_S + LIVE_STEP * STEP_S)?.to_string();
    let controller = Controller::start(json!({
        "data_dir": data,
        "step_s": STEP_S,
        "clock": { "calendar_start": live },
        "policy": document,
    }))
    .await?;
    let plan = poll::until("forecasts of both", DEADLINE, async || {
        let text = send_once(controller.address(), &Request::get("/v1/plan")).await?.text();
        Ok((text.contains("\"amount\"") && !text.contains("no_forecast")).then_some(text))
    })
    .await?;
    let report = serde_json::from_str::<Value>(&plan)?["report"].clone();
    for row in report.as_array().context("a report")? {
        assert!(row["peak_need_per_s"].as_f64() > Some(30.0), "both would need shadow: {plan}");
    }

    let began = Instant::now();
    let rig = Rig::start(plugin, Some(controller.address())).await?;
    let mut connection = rig.connect().await?;
    let mut lanes = BTreeMap::<(&str, String), u64>::new();
    let mut granted_at = None;
    while granted_at.is_none_or(|at: Instant| at.elapsed() < WATCHED) {
        ensure!(began.elapsed() < DEADLINE, "{lanes:?}: {plan}\n{}", controller.log());
        for tenant in ["shop", "feed"] {
            let lane = outcome(&connection.send(&of(tenant)).await?);
            if lane == "reserved" {
                granted_at.get_or_insert_with(Instant::now);
            }
            *lanes.entry((tenant, lane)).or_default() += 1;
        }
    }
    let elapsed_ms = began.elapsed().as_millis() as u64;
    let count = |tenant: &'static str, lane: &str| lanes.get(&(tenant, lane.to_owned())).copied().unwrap_or(0);
    println!("in {elapsed_ms} ms: {lanes:?}");
    let reserved = count("shop", "reserved");
    assert!(reserved * 10 >= SHADOW_MAX_PER_S * WATCHED.as_secs() * 9, "{reserved} reserved: {lanes:?}");
    assert!(reserved <= SHADOW_MAX_PER_S * elapsed_ms / 1_000 + SHADOW_MAX_PER_S + LEASES + 1, "{lanes:?}");
    assert_eq!(count("feed", "reserved"), 0, "{lanes:?}");
    assert!(count("feed", "standard") > 0 && count("feed", "429") > 0, "{lanes:?}");
    Ok(())
}
