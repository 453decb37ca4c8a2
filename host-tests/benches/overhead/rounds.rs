//! Real Envoys under a fixed number of requests, and the CPU time that each took.
//!
//! Each variant has an Envoy of its own, so that its timers and helper threads (Forebay's tick, V8's compiler) are
//! charged to it and not to whoever happens to run at the moment. Only one of them serves at a time; in a round every
//! variant serves the same number of requests, and the order rotates and turns round from one round to the next, so that
//! a machine that gets slower or faster meets them all alike. Client and upstream are this process; their CPU does not
//! count.
//!
//! CPU time is the scheduler's own account in nanoseconds (`/proc/PID/task/TID/schedstat`, see Linux's
//! `Documentation/scheduler/sched-stats.rst`), because a round is short beside the 10 ms ticks of `/proc/PID/stat`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::client::{Connection, Request};
use forebay_host_tests::envoy::Envoy;
use forebay_host_tests::filters::TENANT_HEADER;
use forebay_host_tests::poll;
use forebay_host_tests::upstream::Upstream;
use hyper::StatusCode;
use tokio::task::JoinSet;

use crate::variants::{Policy, Variant, raw_module};

/// Threads of client and upstream together.
pub(crate) const CLIENT_THREADS: usize = 2;
/// Keep-alive connections to each Envoy: enough that its worker always has a request waiting.
pub(crate) const CONNECTIONS: usize = 16;
/// Worker threads of each Envoy.
pub(crate) const WORKERS: u32 = 1;
/// Requests through each Envoy before the first round: V8 has then compiled the hot functions with its second compiler.
const WARM_UP_REQUESTS: usize = 10_000;
/// Envoy goes to sleep within a millisecond after the last answer; later than this something is wrong.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds.
    pub(crate) rounds: usize,
    /// Requests per variant and round.
    pub(crate) requests: usize,
}

/// CPU microseconds per request of one round, in the order of [`Variant::ALL`].
pub(crate) type Round = [f64; Variant::ALL.len()];

/// Starts everything, warms it up and runs the rounds.
pub(crate) async fn play(artefacts: &Artefacts, policy: &Policy, plan: Plan) -> Result<Vec<Round>> {
    let folder = tempfile::Builder::new().prefix("forebay-overhead-").tempdir().context("no folder for the bench")?;
    let module = raw_module(folder.path())?;
    let upstream = Upstream::start().await?;
    let mut contestants = Vec::new();
    for variant in Variant::ALL {
        let listener = Listener::new("main", variant.filters(artefacts, policy, &module));
        let bootstrap = Bootstrap::new("overhead").workers(WORKERS).upstream(&[upstream.address()]).listener(listener);
        let mut contestant = Contestant::start(artefacts, &bootstrap, policy).await.context(variant.name())?;
        contestant.serve(WARM_UP_REQUESTS).await.context(variant.name())?;
        contestants.push(contestant);
    }
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        let mut round = Round::default();
        for place in order(number) {
            let (variant, contestant) = (Variant::ALL[place], &mut contestants[place]);
            round[place] = contestant.us_per_request(plan.requests).await.context(variant.name())?;
        }
        rounds.push(round);
    }
    check_lanes(&upstream, plan)?;
    Ok(rounds)
}

/// Whom a round runs in which order: each round starts one further, and every second one goes backwards.
fn order(round: usize) -> [usize; Variant::ALL.len()] {
    let mut order = std::array::from_fn(|place| (place + round) % Variant::ALL.len());
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// Exactly Forebay's requests carry a lane, and it is the standard one.
fn check_lanes(upstream: &Upstream, plan: Plan) -> Result<()> {
    let each = (WARM_UP_REQUESTS + plan.rounds * plan.requests) as u64;
    let (mut standard, mut without, mut reserved) = (0, 0, 0);
    for ((_, lane), count) in upstream.counts() {
        match lane.as_str() {
            "standard" => standard += count,
            "" => without += count,
            _ => reserved += count,
        }
    }
    let others = (Variant::ALL.len() - 1) as u64;
    if (standard, without, reserved) != (each, others * each, 0) {
        bail!("{each} requests each, but {standard} standard, {reserved} reserved and {without} without lane");
    }
    Ok(())
}

/// One variant's Envoy and the connections to it.
struct Contestant {
    envoy: Envoy,
    connections: Vec<Connection>,
    requests: Arc<[Request]>,
}

impl Contestant {
    async fn start(artefacts: &Artefacts, bootstrap: &Bootstrap, policy: &Policy) -> Result<Self> {
        let envoy = Envoy::start(artefacts, bootstrap).await?;
        let address: SocketAddr = envoy.address("main")?;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(address).await?);
        }
        let requests = policy.tenants.iter().map(|tenant| Request::get("/").header(TENANT_HEADER, tenant)).collect();
        Ok(Self { envoy, connections, requests })
    }

    /// Serves so many requests and says what each cost, in CPU microseconds of the whole Envoy.
    async fn us_per_request(&mut self, requests: usize) -> Result<f64> {
        let before = settled_cpu_ns(self.envoy.pid()).await?;
        self.serve(requests).await?;
        let after = settled_cpu_ns(self.envoy.pid()).await?;
        Ok((after - before) as f64 / 1_000.0 / requests as f64)
    }

    /// Sends so many requests, tenants in turn, over all connections at once; each must be answered with 200.
    async fn serve(&mut self, requests: usize) -> Result<()> {
        let mut tasks = JoinSet::new();
        for (first, mut connection) in self.connections.drain(..).enumerate() {
            let templates = Arc::clone(&self.requests);
            tasks.spawn(async move {
                for number in (first..requests).step_by(CONNECTIONS) {
                    let answer = connection.send(&templates[number % templates.len()]).await?;
                    if answer.status != StatusCode::OK {
                        bail!("request {number} was answered with {}: {}", answer.status, answer.text());
                    }
                }
                Ok(connection)
            });
        }
        while let Some(connection) = tasks.join_next().await {
            self.connections.push(connection??);
        }
        Ok(())
    }
}

/// CPU time of all threads once they sleep. The scheduler brings a running thread's account up to date only now and
/// then, a sleeping thread's is exact; two equal readings mean that all slept in between.
async fn settled_cpu_ns(pid: u32) -> Result<u64> {
    let mut last = None;
    poll::until("rest of Envoy's threads", SETTLE_DEADLINE, async || {
        let now = cpu_ns(pid)?;
        Ok((last.replace(now) == Some(now)).then_some(now))
    })
    .await
}

fn cpu_ns(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in std::fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let path = task?.path().join("schedstat");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let on_cpu_ns = text.split_ascii_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        sum += on_cpu_ns.with_context(|| format!("{} has no CPU time: {text}", path.display()))?;
    }
    Ok(sum)
}
