//! One of the two stacks: a controller with its processes, and an Envoy that reads the endpoints it writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::load::Sample;
use super::play::{Play, SERVICE, SPEED, STEP_S, TENANT};
use crate::artefacts::Artefacts;
use crate::bootstrap::{Bootstrap, CONTROLLER_CLUSTER, Cluster, Listener};
use crate::client::{Request, send_once};
use crate::controller::Controller;
use crate::envoy::Envoy;
use crate::filters::{self, FOREBAY_VM_ID};
use crate::instance::{HEALTH, Instances};
use crate::poll;

/// Steps that the controller plans ahead; its instances take four.
const HORIZON_STEPS: u32 = 12;
/// What an instance is given credit for in plans, and what it can do: at most two requests at a time of 100 ms each.
const PLANNED_PER_S: f64 = 16.0;
const AT_ONCE: u32 = 2;
const SERVICE_MS: u32 = 100;
/// How long an instance takes until it listens; its warming takes 2 s more.
const STARTS_AFTER_MS: u32 = 4_000;
const COLD_REQUESTS: u32 = 5;
/// What an hour of missing capacity costs, in multiples of its price: plans cover 19 of 20 of what demand may be.
const SHORTAGE_OVER_PRICE: f64 = 19.0;
/// A third of a step. Much more often, and a report tells of too few requests to be a rate.
const REPORT_INTERVAL_MS: u32 = 500;
/// Declared to the controllers, in seconds, as an operator would who wants it kept on a busy machine, too; they learn what
/// it really is.
const LEAD_S: f64 = 8.0;
/// The listener.
const GATEWAY: &str = "gateway";
/// The share of what is ready that the reactive side wants to be used: Kubernetes' documentation and most of its users.
pub const REACTIVE_TARGET: f64 = 0.7;
/// How often the autoscaler looks where nobody says otherwise: `--horizontal-pod-autoscaler-sync-period` of Kubernetes'
/// controller manager.
const SYNC_PERIOD_S: f64 = 15.0;
/// Starting takes a second or two; the rest is room for a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How often it is looked which instances there are.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the service's capacity follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// The forecast of its demand.
    Forecast,
    /// What is used now.
    Reactive,
    /// What is used now, looked at as often as Kubernetes' autoscaler does by default.
    ReactiveSeldom,
}

impl Scaling {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forecast => "predictive",
            Self::Reactive => "reactive",
            Self::ReactiveSeldom => "reactive-15s",
        }
    }

    fn configured(self) -> Value {
        match self {
            Self::Forecast => json!("forecast"),
            Self::Reactive => json!({ "reactive": { "target": REACTIVE_TARGET } }),
            Self::ReactiveSeldom => json!({ "reactive": { "target": REACTIVE_TARGET, "every_s": SYNC_PERIOD_S } }),
        }
    }
}

/// An instance's life, in unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// When it was asked for: from then on it is paid for.
    pub requested_ms: u64,
    /// When it first served.
    pub ready_ms: Option<u64>,
    /// When it was first seen to be gone.
    pub gone_ms: Option<u64>,
}

type Lives = BTreeMap<String, Life>;

/// What a side came to.
#[derive(Debug)]
pub struct Record {
    /// Which one.
    pub scaling: Scaling,
    /// Every request.
    pub samples: Vec<Sample>,
    /// Every instance.
    pub lives: Lives,
    /// When the live part ended, unix milliseconds.
    pub end_unix_ms: u64,
}

/// A running stack. Its instances outlive the controller, so [`Side::end`] ends them.
pub struct Side {
    scaling: Scaling,
    controller: Controller,
    envoy: Envoy,
    lives: Arc<Mutex<Lives>>,
    /// Looks at the instances; aborted when dropped.
    looking: JoinSet<()>,
    /// Ends what runs should the demo fail half-way.
    instances: Instances,
}

impl Side {
    /// Imports the past, starts the controller, waits for its first instance, and starts Envoy.
    pub async fn start(
        scaling: Scaling,
        play: &Play,
        begin_unix_ms: u64,
        artefacts: &Artefacts,
        forebay: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let folder = folder.join(scaling.name());
        std::fs::create_dir_all(&folder).context("no folder for the demo")?;
        let (past, data) = (folder.join("past.csv"), folder.join("data"));
        play.write_past(&past)?;
        import(forebay, &past, &data).await?;
        let endpoints = folder.join("endpoints");
        let instances = Instances::of(&folder.join("instances"));
        let config = config(scaling, play, begin_unix_ms, &folder)?;
        let controller = Controller::start(config).await?;
        let lives: Arc<Mutex<Lives>> = Arc::default();
        let mut looking = JoinSet::new();
        looking.spawn(look(controller.address(), Arc::clone(&lives)));
        let is_serving = async || Ok(locked(&lives).values().any(|life| life.ready_ms.is_some()).then_some(()));
        poll::until("instance that serves", START_DEADLINE, is_serving)
            .await
            .with_context(|| format!("the controller's log:\n{}", controller.log()))?;
        let file = endpoints.join(format!("{SERVICE}.json"));
        let envoy = Envoy::start(artefacts, &bootstrap(artefacts, &controller, &file)).await?;
        Ok(Self { scaling, controller, envoy, lives, looking, instances })
    }

    /// Where its Envoy takes requests.
    pub fn address(&self) -> Result<std::net::SocketAddr> {
        self.envoy.address(GATEWAY)
    }

    /// Ends the stack and says what came of it.
    pub async fn end(mut self, samples: Vec<Sample>, end_unix_ms: u64) -> Result<Record> {
        self.controller.check_running()?;
        if let Some(folder) = std::env::var_os("FOREBAY_DEMO_KEEP").map(PathBuf::from) {
            std::fs::create_dir_all(&folder)?;
            let name = self.scaling.name();
            std::fs::write(folder.join(format!("capacity-{name}-controller.log")), self.controller.log())?;
            std::fs::write(folder.join(format!("capacity-{name}-envoy.log")), self.envoy.log())?;
            for path in ["capacity", "capacity/decisions", "forecasts"] {
                let answer = send_once(self.controller.address(), &Request::get(&format!("/v1/{path}"))).await?;
                std::fs::write(folder.join(format!("capacity-{name}-{}.json", path.replace('/', "-"))), answer.text())?;
            }
        }
        self.looking.shutdown().await;
        let status = self.controller.terminate().await?;
        if !status.success() {
            bail!("the {} controller ended with {status}; its log:\n{}", self.scaling.name(), self.controller.log());
        }
        drop(self.instances);
        let lives = std::mem::take(&mut *locked(&self.lives));
        Ok(Record { scaling: self.scaling, samples, lives, end_unix_ms })
    }
}

fn locked(lives: &Mutex<Lives>) -> std::sync::MutexGuard<'_, Lives> {
    lives.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn import(forebay: &Path, past: &Path, data: &Path) -> Result<()> {
    let mut command = Command::new(forebay);
    command.arg("import").arg("--data-dir").arg(data).args(["--step-s", &STEP_S.to_string()]).arg(past);
    let output = command.output().await.context("running forebay import")?;
    if !output.status.success() {
        bail!("forebay import ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn config(scaling: Scaling, play: &Play, begin_unix_ms: u64, folder: &Path) -> Result<Value> {
    let calendar_start = jiff::Timestamp::from_second(play.live_start_s())?.to_string();
    let program = std::env::current_exe()?.with_file_name("demo-instance");
    if !program.is_file() {
        bail!("{} is missing: run `cargo build -p forebay-host-tests --bins` first", program.display());
    }
    let arguments: Vec<String> = [
        ("--port", "{port}".to_owned()),
        ("--id", "{id}".to_owned()),
        ("--starts-after-ms", STARTS_AFTER_MS.to_string()),
        ("--at-once", AT_ONCE.to_string()),
        ("--service-ms", SERVICE_MS.to_string()),
        ("--cold-requests", COLD_REQUESTS.to_string()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect();
    let run = json!({
        "service": SERVICE,
        "program": program,
        "arguments": arguments,
        "health": { "http": HEALTH },
        "warming": { "paths": ["/"], "rounds": COLD_REQUESTS },
        "drain": { "serve_s": 0.5, "end_within_s": 5 },
    });
    Ok(json!({
        "data_dir": folder.join("data"),
        "step_s": STEP_S,
        "clock": { "speed": SPEED, "calendar_start": calendar_start, "steady_start_unix_ms": begin_unix_ms },
        "forecast": { "horizon_steps": HORIZON_STEPS, "refit_every_steps": 96 },
        // The contract is above any burst, so that nothing is refused and capacity alone decides.
        "contracts": [{
            "tenant": TENANT, "resource": "requests", "rate_per_s": 200, "burst": 200, "shadow_max_per_s": 0, "pool": SERVICE,
        }],
        "capacity": {
            "decide_every_s": 0.25,
            "endpoints": folder.join("endpoints"),
            "manager": { "process": { "folder": folder.join("instances"), "run": [run] } },
            "shapes": [{ "name": "Small", "offers": { "cpu": 1 }, "price_per_h": 1 }],
            "pools": [{ "name": "local", "location": "here", "max_instances": 16, "lead_s": LEAD_S }],
            "services": [{
                "name": SERVICE,
                "need_per_unit": { "cpu": 1.0 / PLANNED_PER_S },
                "min_instances": 1,
                "shortage_per_unit_h": SHORTAGE_OVER_PRICE / PLANNED_PER_S,
                // Nothing is guaranteed beyond the demand: else the contract would be provisioned at all times.
                "guaranteed_share": 0,
                "min_dwell_s": 3,
                "drain_s": 1,
                "scaling": scaling.configured(),
            }],
        },
    }))
}

fn bootstrap(artefacts: &Artefacts, controller: &Controller, endpoints: &Path) -> Bootstrap {
    let plugin = json!({
        "proxy_id": "demo-gateway",
        "controller": { "cluster": CONTROLLER_CLUSTER, "report_interval_ms": REPORT_INTERVAL_MS },
        "policy": {
            "resources": [{ "name": "requests", "others": { "rate_per_s": 1, "burst": 1 } }],
            "contracts": [{ "tenant": TENANT, "resource": "requests", "rate_per_s": 200, "burst": 200 }],
        },
    });
    let filter = filters::forebay(artefacts, FOREBAY_VM_ID, &plugin);
    Bootstrap::new("demo-gateway")
        .listener(Listener::new(GATEWAY, vec![filter]).cluster(SERVICE).warm_first())
        .cluster(Cluster::prewarmed(SERVICE, endpoints))
        .controller(controller.address())
}

/// Looks at a controller's instances until it is aborted. A look that fails is made up by the next.
async fn look(controller: std::net::SocketAddr, lives: Arc<Mutex<Lives>>) {
    loop {
        if let Ok(answer) = send_once(controller, &Request::get("/v1/capacity")).await
            && let Ok(seen) = serde_json::from_slice::<Value>(&answer.body)
            && let Some(instances) = seen["instances"].as_array()
        {
            note(&mut locked(&lives), instances);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn note(lives: &mut Lives, instances: &[Value]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for one in instances {
        let Some((id, requested_ms)) = one["id"].as_str().zip(one["requested_unix_ms"].as_u64()) else { continue };
        let life = lives.entry(id.to_owned()).or_insert(Life { requested_ms, ready_ms: None, gone_ms: None });
        life.ready_ms = life.ready_ms.or(one["ready_unix_ms"].as_u64());
        if one["state"] == "gone" {
            life.gone_ms = life.gone_ms.or(Some(now.as_millis() as u64));
        }
    }
}
