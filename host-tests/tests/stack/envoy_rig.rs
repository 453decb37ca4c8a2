//! What the tests on the real Envoy share: one policy, one listener, connections on known workers, and loads.
//!
//! Every rig has two workers and one upstream. The policy's `others` bucket is 0, so that a tenant is admitted exactly
//! when a contract or a table names it; a request's cost can be set by the header `x-cost`.
//!
//! Loads are closed loops over one connection, so they stay on one worker, and they note when they began and ended:
//! bounds on what a bucket may admit are computed from those instants, never from a nominal duration.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, CONTROLLER_CLUSTER, Listener};
use forebay_host_tests::client::{Answer, Connection, Request};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::{self, FOREBAY_VM_ID};
use forebay_host_tests::poll;
use forebay_host_tests::upstream::Upstream;
use serde_json::{Value, json};

/// The listener of every rig.
pub(crate) const MAIN: &str = "main";
/// Room for a busy machine; everything that is waited for takes well below a second.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// An Envoy with the filter, and the upstream behind it.
pub(crate) struct Rig {
    pub(crate) artefacts: Artefacts,
    pub(crate) upstream: Upstream,
    pub(crate) envoy: Envoy,
}

/// The plugin configuration with these contracts, each `(tenant, rate_per_s, burst)`.
pub(crate) fn policy(contracts: &[(&str, u64, u64)]) -> Value {
    let contract = |(tenant, rate_per_s, burst): &(&str, u64, u64)| json!({ "tenant": tenant, "resource": "requests", "rate_per_s": rate_per_s, "burst": burst });
    json!({
        "proxy_id": "gateway",
        "policy": {
            "resources": [{ "name": "requests", "others": { "rate_per_s": 0, "burst": 0 } }],
            "rules": [{ "charges": [{
                "resource": "requests",
                "cost": { "header": { "name": "x-cost", "default": 1, "max": 1_000_000 } },
            }] }],
            "contracts": contracts.iter().map(contract).collect::<Vec<_>>(),
        },
    })
}

impl Rig {
    /// Starts Envoy with `policy`, and with a controller if there is one.
    pub(crate) async fn start(policy: Value, controller: Option<SocketAddr>) -> Result<Self> {
        let artefacts = Artefacts::find()?;
        let upstream = Upstream::start().await?;
        let mut policy = policy;
        let mut bootstrap = Bootstrap::new("gateway").upstream(&[upstream.address()]).replaceable_listeners();
        if let Some(address) = controller {
            policy["controller"] = json!({ "cluster": CONTROLLER_CLUSTER, "report_interval_ms": 100 });
            bootstrap = bootstrap.controller(address);
        }
        let listener = listener(&artefacts, &policy);
        let envoy = Envoy::start(&artefacts, &bootstrap.listener(listener)).await?;
        envoy.address(MAIN).with_context(|| envoy.log())?;
        Ok(Self { artefacts, upstream, envoy })
    }

    /// A new connection, on whatever worker.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        Connection::open(self.envoy.address(MAIN)?).await
    }

    /// One connection on each worker. The kernel deals connections out at random, so surplus ones are opened and closed.
    pub(crate) async fn connect_to_both(&self) -> Result<[Connection; 2]> {
        let (mut found, mut surplus) = ([None, None], Vec::new());
        let mut before = self.accepted().await?;
        loop {
            let connection = self.connect().await?;
            let after = poll::until("accepted connection", DEADLINE, async || {
                let after = self.accepted().await?;
                Ok((after != before).then_some(after))
            })
            .await?;
            let worker = usize::from(after[0] == before[0]);
            before = after;
            match &mut found[worker] {
                free @ None => *free = Some(connection),
                Some(_) => surplus.push(connection),
            }
            if let [Some(_), Some(_)] = found {
                let [Some(first), Some(second)] = found else { continue };
                return Ok([first, second]);
            }
        }
    }

    /// Connections accepted by each worker so far.
    async fn accepted(&self) -> Result<[u64; 2]> {
        let stats = self.envoy.stats().await?;
        let of = |worker: &str| {
            let names = |name: &str| name.starts_with("listener.") && name.ends_with(worker);
            stats.iter().filter(|(name, _)| names(name)).map(|(_, count)| count).sum()
        };
        Ok([of(".worker_0.downstream_cx_total"), of(".worker_1.downstream_cx_total")])
    }

    /// A counter or gauge of the filter.
    pub(crate) async fn filter_stat(&self, name: &str) -> Result<u64> {
        self.envoy.stat(&format!("wasmcustom.forebay.{name}")).await
    }
}

/// The rig's listener with this plugin configuration.
pub(crate) fn listener(artefacts: &Artefacts, policy: &Value) -> Listener {
    Listener::new(MAIN, vec![filters::forebay(artefacts, FOREBAY_VM_ID, policy)]).request_headers_max_kib(96)
}

/// A request of a tenant.
pub(crate) fn of(tenant: &str) -> Request {
    Request::get("/").header("x-tenant", tenant)
}

/// The lane that an admitted request came in, or the status of one that was not.
pub(crate) fn outcome(answer: &Answer) -> String {
    match answer.header("x-lane") {
        Some(lane) if answer.status == 200 => lane.to_owned(),
        _ => answer.status.as_str().to_owned(),
    }
}

/// What became of a load.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// When the first refusal arrived.
    pub(crate) refused_at: Option<Instant>,
    /// Whether the last request was refused.
    pub(crate) last_refused: bool,
}

impl Load {
    /// Requests with this outcome.
    pub(crate) fn count(&self, outcome: &str) -> u64 {
        self.outcomes.get(outcome).copied().unwrap_or(0)
    }

    /// All requests.
    pub(crate) fn total(&self) -> u64 {
        self.outcomes.values().sum()
    }
}

/// Sends one request after the other until `done` says so. A connection that breaks is an error.
pub(crate) async fn load(
    connection: &mut Connection,
    request: &Request,
    mut done: impl FnMut(&Load) -> bool,
) -> Result<Load> {
    let now = Instant::now();
    let mut load = Load { began: now, ended: now, outcomes: BTreeMap::new(), refused_at: None, last_refused: false };
    while !done(&load) {
        let answer = connection.send(request).await?;
        load.ended = Instant::now();
        let outcome = outcome(&answer);
        load.last_refused = outcome == "429";
        if load.last_refused && load.refused_at.is_none() {
            load.refused_at = Some(load.ended);
        }
        *load.outcomes.entry(outcome).or_default() += 1;
    }
    Ok(load)
}

/// Ends a load at the first refusal after a time, so that nothing is left in the bucket that a slow client failed to
/// fetch; or at the deadline, when the client is slower than the bucket.
pub(crate) fn empty_after(duration: Duration) -> impl FnMut(&Load) -> bool {
    move |load| load.began.elapsed() >= if load.last_refused { duration } else { DEADLINE }
}

/// Ends a load after a time.
pub(crate) fn after(duration: Duration) -> impl FnMut(&Load) -> bool {
    move |load| load.began.elapsed() >= duration
}

/// Ends a load when a flag is set.
pub(crate) fn when(flag: &Cell<bool>) -> impl FnMut(&Load) -> bool + '_ {
    move |_| flag.get()
}

/// Ends a load at its first refusal.
pub(crate) fn at_refusal(load: &Load) -> bool {
    load.refused_at.is_some()
}
