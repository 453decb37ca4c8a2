//! On the real Envoy under h2load (nghttp2), whose clients are not ours: many streams on few HTTP/2 connections, HTTP/1.1
//! with keep-alive and uploads, all at once, as fast as they go.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID};
use forebay_host_tests::upstream::Upstream;
use serde_json::{Value, json};

const LISTENER: &str = "http";
/// Of each run's tenant; a burst of one second, full from the start. Few, so that the load is above it on a busy machine.
const RATE_PER_S: u64 = 50;
const BURST: u64 = 50;
/// One request for each of two workers.
const OVER_ADMISSION_MAX: f64 = 2.0;
/// Requests of each run: enough for some seconds above the limit.
const REQUESTS: u64 = 8_000;
/// The same where most of them wait.
const WAITING_REQUESTS: u64 = 1_000;
const UPLOAD_BYTES: usize = 4 << 10;

/// The runs: name, which is the tenant too, and what distinguishes it.
const RUNS: [(&str, &[&str]); 3] = [
    ("streams", &["--clients=4", "--max-concurrent-streams=25"]),
    ("keep-alive", &["--clients=8", "--h1"]),
    ("uploads", &["--clients=2", "--max-concurrent-streams=10"]),
];

/// What h2load says at its end.
#[derive(Debug)]
struct Summary {
    /// `total`, `done`, `errored`, `timeout` ...
    requests: BTreeMap<String, u64>,
    /// `2xx`, `4xx` ...
    statuses: BTreeMap<String, u64>,
    seconds: f64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lean_module_under_h2load() -> Result<()> {
    let artefacts = Artefacts::find()?;
    let filter = filters::forebay(&artefacts, FOREBAY_VM_ID, &policy(&json!({ "max_wait_ms": 0 })));
    under_h2load(&artefacts, &filter, REQUESTS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_streams_module_under_h2load_with_a_queue() -> Result<()> {
    let artefacts = Artefacts::find()?;
    let queue = json!({ "max_wait_ms": 50, "bodies": true });
    let filter = filters::forebay_streams(&artefacts, FOREBAY_VM_ID, &policy(&queue));
    under_h2load(&artefacts, &filter, WAITING_REQUESTS).await
}

fn policy(queue: &Value) -> Value {
    let contract = |(tenant, _): &(&str, _)| json!({ "tenant": tenant, "resource": "requests", "rate_per_s": RATE_PER_S, "burst": BURST });
    let resource = json!({ "name": "requests", "others": { "rate_per_s": 0, "burst": 0 } });
    let contracts: Vec<Value> = RUNS.iter().map(contract).collect();
    json!({
        "proxy_id": "gateway",
        "policy": { "resources": [resource], "contracts": contracts, "queue": queue },
    })
}

async fn under_h2load(artefacts: &Artefacts, filter: &Value, each: u64) -> Result<()> {
    let upstream = Upstream::start().await?;
    let bootstrap = Bootstrap::new("gateway")
        .upstream(&[upstream.address()])
        .listener(Listener::new(LISTENER, vec![filter.clone()]));
    let mut envoy = Envoy::start(artefacts, &bootstrap).await?;
    let url = format!("http://{}/", envoy.address(LISTENER)?);
    let upload = tempfile::NamedTempFile::new()?;
    std::fs::write(upload.path(), vec![b'x'; UPLOAD_BYTES])?;
    let data = format!("--data={}", upload.path().display());
    let runs = RUNS.map(|(name, more)| {
        let mut arguments = vec![format!("--requests={each}"), format!("--header=x-tenant: {name}")];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        arguments.extend((name == "uploads").then(|| data.clone()));
        arguments.push(url.clone());
        tokio::task::spawn_blocking(move || h2load(&arguments))
    });
    let mut passed = 0;
    for ((name, _), run) in RUNS.iter().zip(runs) {
        let Summary { requests, statuses, seconds } = run.await?.with_context(|| format!("run {name}"))?;
        println!("{name}: {seconds:.2} s, {requests:?}, {statuses:?}");
        let limit = BURST as f64 + RATE_PER_S as f64 * seconds;
        assert_eq!((requests["done"], requests["errored"], requests["timeout"]), (each, 0, 0), "{name}: all answered");
        assert_eq!(statuses["2xx"] + statuses["4xx"], each, "{name}: admitted or refused, nothing else");
        assert!(statuses["2xx"] as f64 <= limit + OVER_ADMISSION_MAX, "{name}: {} of {limit:.0}", statuses["2xx"]);
        assert!(statuses["2xx"] as f64 >= 0.9 * limit, "{name}: {} of {limit:.0}", statuses["2xx"]);
        passed += statuses["2xx"];
    }
    assert_eq!(upstream.total(), passed, "what clients were told is what the upstream saw");
    envoy.check_running()
}

fn h2load(arguments: &[String]) -> Result<Summary> {
    let began = Instant::now();
    let run =
        Command::new("h2load").args(arguments).output().context("h2load; `cargo xtask setup --all` installs it")?;
    let seconds = began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&run.stdout);
    ensure!(run.status.success(), "h2load: {}\n{said}{}", run.status, String::from_utf8_lossy(&run.stderr));
    // As in "status codes: 12 2xx, 0 3xx, 88 4xx, 0 5xx".
    let figures = |heading: &str| -> Result<BTreeMap<String, u64>> {
        let line = said.lines().find_map(|line| line.strip_prefix(heading)).context("h2load says it otherwise")?;
        let figure = |part: &str| {
            let (count, name) = part.trim().split_once(' ').context("a count and a name")?;
            Ok((name.to_owned(), count.parse()?))
        };
        line.split(',').map(figure).collect()
    };
    Ok(Summary { requests: figures("requests: ")?, statuses: figures("status codes: ")?, seconds })
}
