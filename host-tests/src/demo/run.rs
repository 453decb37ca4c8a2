//! Starts the stack, plays the scenario, and collects what happened.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::process::Command;

use super::checks::WORKERS;
use super::outcome::{Coverages, Replay};
use super::scenario::Scenario;
use crate::artefacts::Artefacts;
use crate::bootstrap::{Bootstrap, CONTROLLER_CLUSTER, Listener};
use crate::client::{Request, send_once};
use crate::controller::Controller;
use crate::envoy::Envoy;
use crate::filters::{self, FOREBAY_VM_ID, TokenBucket};
use crate::poll;
use crate::upstream::Upstream;

/// The target with the Forebay filter.
pub const FOREBAY: &str = "forebay";
/// The target with `local_ratelimit` and the same contracts.
pub const LRL: &str = "local_ratelimit";
/// The target with `local_ratelimit` and the contracts scaled up evenly to the pool's capacity.
pub const LRL_SCALED: &str = "local_ratelimit_scaled";
/// All targets.
pub const TARGETS: [&str; 3] = [FOREBAY, LRL, LRL_SCALED];

/// Real time of the whole live part, unless `--speed` says otherwise.
const LIVE: Duration = Duration::from_secs(80);
/// From the start of the controller to the first request: reading the past, fitting, starting two Envoys.
const LEAD_TIME: Duration = Duration::from_secs(12);
/// Steps are short in compressed time, so proxies report more often than once a second.
const REPORT_INTERVAL_MS: u32 = 100;
/// The bucket of whoever is no tenant of the demo.
const OTHERS: TokenBucket = TokenBucket { rate_per_s: 5, burst: 5 };

/// Calendar seconds per real second, so that the live part takes [`LIVE`].
pub fn speed_for(scenario: &Scenario) -> f64 {
    scenario.steps as f64 * scenario.step_s as f64 / LIVE.as_secs_f64()
}

/// Plays `scenario` in a stack of its own. `say` hears what goes on.
pub async fn play(
    scenario: &Scenario,
    speed: f64,
    forebay: &Path,
    folder: &Path,
    say: &dyn Fn(&str),
) -> Result<(Replay, Coverages)> {
    let artefacts = Artefacts::find()?;
    let (past, live, data) = (folder.join("past.csv"), folder.join("live.csv"), folder.join("data"));
    scenario.write(&past, &live)?;
    say("importing the past into the controller's history");
    import(forebay, &past, &data, scenario.step_s).await?;

    let begin = unix_ms()? + LEAD_TIME.as_millis() as u64;
    say("starting the controller; it fits its forecasts");
    let controller = Controller::start(controller_config(scenario, speed, begin, &data)).await?;
    poll::until("the first plan", LEAD_TIME, async || {
        let ready = send_once(controller.address(), &Request::get("/readyz")).await?;
        Ok((ready.status == 200).then_some(()))
    })
    .await?;
    say("starting the upstream and two Envoys, one with Forebay, one with local_ratelimit");
    let upstream = Upstream::start().await?;
    let ours = Envoy::start(&artefacts, &forebay_bootstrap(scenario, &artefacts, &upstream, &controller)).await?;
    let theirs = Envoy::start(&artefacts, &local_ratelimit_bootstrap(scenario, &upstream)).await?;

    let seconds = scenario.steps as f64 * scenario.step_s as f64 / speed;
    say(&format!("replaying {} steps of {} s in {seconds:.0} s of real time", scenario.steps, scenario.step_s));
    let mut command = Command::new(forebay);
    command.args(["replay", "--json", "--arrivals", "even"]).arg("--trace").arg(&live);
    command.args(["--speed", &speed.to_string(), "--start-at", &begin.to_string()]);
    for (target, envoy) in [(FOREBAY, &ours), (LRL, &theirs), (LRL_SCALED, &theirs)] {
        command.args(["--target", &format!("{target}=http://{}", envoy.address(target)?)]);
    }
    // Its progress is ours; its result is on stdout.
    let replaying =
        command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().context("running forebay replay")?;
    let output = replaying.wait_with_output().await.context("running forebay replay")?;
    if !output.status.success() {
        bail!("forebay replay ended with {}", output.status);
    }
    let replay = Replay::read(&String::from_utf8_lossy(&output.stdout))?;
    let coverages = coverages(&controller, scenario).await?;
    if let Some(folder) = std::env::var_os("FOREBAY_DEMO_KEEP").map(PathBuf::from) {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("replay.json"), &output.stdout)?;
        std::fs::write(folder.join("controller.log"), controller.log())?;
        std::fs::write(folder.join("envoy.log"), ours.log())?;
        let forecasts = send_once(controller.address(), &Request::get("/v1/forecasts")).await?;
        std::fs::write(folder.join("forecasts.json"), forecasts.text())?;
        let plan = send_once(controller.address(), &Request::get("/v1/plan")).await?;
        std::fs::write(folder.join("plan.json"), plan.text())?;
    }
    Ok((replay, coverages))
}

async fn import(forebay: &Path, past: &Path, data: &Path, step_s: i64) -> Result<()> {
    let mut command = Command::new(forebay);
    command.arg("import").arg("--data-dir").arg(data).args(["--step-s", &step_s.to_string()]).arg(past);
    let status = command.status().await.context("running forebay import")?;
    if !status.success() {
        bail!("forebay import ended with {status}");
    }
    Ok(())
}

fn controller_config(scenario: &Scenario, speed: f64, begin_unix_ms: u64, data: &Path) -> Value {
    let contracts: Vec<Value> = scenario
        .tenants
        .iter()
        .map(|tenant| {
            json!({
                "tenant": tenant.name,
                "resource": "requests",
                "rate_per_s": tenant.contract_per_s,
                "burst": tenant.burst,
                "shadow_max_per_s": tenant.shadow_max_per_s,
                "pool": "demo",
            })
        })
        .collect();
    json!({
        "data_dir": data,
        "step_s": scenario.step_s,
        "clock": {
            "speed": speed,
            "calendar_start": calendar(scenario.live_start_s),
            "steady_start_unix_ms": begin_unix_ms,
        },
        "forecast": { "refit_every_steps": 96 },
        "pools": [{ "name": "demo", "capacity_per_s": scenario.capacity_per_s }],
        "contracts": contracts,
    })
}

fn calendar(unix_s: i64) -> String {
    jiff::Timestamp::from_second(unix_s).map(|at| at.to_string()).unwrap_or_default()
}

fn forebay_bootstrap(
    scenario: &Scenario,
    artefacts: &Artefacts,
    upstream: &Upstream,
    controller: &Controller,
) -> Bootstrap {
    let contracts: Vec<Value> = scenario
        .tenants
        .iter()
        .map(|tenant| {
            json!({
                "tenant": tenant.name,
                "resource": "requests",
                "rate_per_s": tenant.contract_per_s,
                "burst": tenant.burst,
            })
        })
        .collect();
    let plugin = json!({
        "proxy_id": "demo-gateway",
        "controller": { "cluster": CONTROLLER_CLUSTER, "report_interval_ms": REPORT_INTERVAL_MS },
        "policy": {
            "resources": [{
                "name": "requests",
                "others": { "rate_per_s": OTHERS.rate_per_s, "burst": OTHERS.burst },
            }],
            "contracts": contracts,
        },
    });
    let filter = filters::forebay(artefacts, FOREBAY_VM_ID, &plugin);
    Bootstrap::new("demo-gateway")
        .workers(WORKERS)
        .listener(Listener::new(FOREBAY, vec![filter]))
        .upstream(&[upstream.address()])
        .controller(controller.address())
}

fn local_ratelimit_bootstrap(scenario: &Scenario, upstream: &Upstream) -> Bootstrap {
    let scale = f64::from(scenario.capacity_per_s) / f64::from(scenario.contracts_per_s());
    let filter = |scale: f64| {
        let scaled = |units: u32| (f64::from(units) * scale).round() as u32;
        let bucket = |tenant: &super::scenario::Tenant| TokenBucket {
            rate_per_s: scaled(tenant.contract_per_s),
            burst: scaled(tenant.burst),
        };
        let buckets: Vec<_> = scenario.tenants.iter().map(|tenant| (tenant.name.clone(), bucket(tenant))).collect();
        filters::local_ratelimit(&buckets, OTHERS)
    };
    Bootstrap::new("demo-peer")
        .workers(WORKERS)
        .listener(Listener::new(LRL, vec![filter(1.0)]))
        .listener(Listener::new(LRL_SCALED, vec![filter(scale)]))
        .upstream(&[upstream.address()])
}

/// Of the steps of the live part: how many stayed within the upper bound that was forecast one step before they began.
async fn coverages(controller: &Controller, scenario: &Scenario) -> Result<Coverages> {
    let answer = send_once(controller.address(), &Request::get("/v1/forecasts")).await?;
    let forecasts: Value = serde_json::from_slice(&answer.body).context("reading the controller's forecasts")?;
    let mut coverages = Coverages::new();
    for key in forecasts["keys"].as_array().into_iter().flatten() {
        let coverage = coverages.entry(key["tenant"].as_str().unwrap_or_default().to_owned()).or_default();
        for record in key["records"].as_array().into_iter().flatten() {
            let (step, issued) = (record["step"].as_i64(), record["issued_at_step"].as_i64());
            let (Some(step), Some(issued)) = (step, issued) else { continue };
            let (Some(upper), Some(actual)) = (record["upper"].as_f64(), record["actual"].as_f64()) else { continue };
            if issued == step - 1 && step >= scenario.live_start_s / scenario.step_s {
                coverage.steps += 1;
                coverage.covered += u64::from(actual <= upper);
            }
        }
    }
    Ok(coverages)
}

fn unix_ms() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(now.as_millis() as u64)
}
