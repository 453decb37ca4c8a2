//! Real Envoys under a fixed number of requests, and the CPU time that each took.
//!
//! Each contestant has an Envoy of its own, so that its timers and helper threads (Forebay's tick, V8's compiler) are
//! charged to it and not to whoever happens to run at the moment. Only one of them serves at a time; in a round every
//! contestant serves the same number of requests, and the order rotates and turns round from one round to the next, so
//! that a machine that gets slower or faster meets them all alike. Client and upstream are this process; their CPU does
//! not count.
//!
//! CPU time is the scheduler's own account in nanoseconds (`/proc/PID/task/TID/schedstat`, see Linux's
//! `Documentation/scheduler/sched-stats.rst`), because a round is short beside the 10 ms ticks of `/proc/PID/stat`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::StatusCode;
use tokio::task::JoinSet;

use crate::artefacts::Artefacts;
use crate::bootstrap::Bootstrap;
use crate::client::{Connection, Request};
use crate::envoy::Envoy;
use crate::poll;

/// Keep-alive connections to each Envoy: enough that its worker always has a request waiting.
pub const CONNECTIONS: usize = 16;
/// The listener that a contestant's bootstrap must have.
pub const LISTENER: &str = "main";
/// Envoy goes to sleep within a millisecond after the last answer; later than this something is wrong.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds.
    pub rounds: usize,
    /// Requests per contestant and round.
    pub requests: usize,
}

/// CPU microseconds per request of one round, in the order of the contestants.
pub type Round = Vec<f64>;

/// Runs the rounds.
///
/// # Errors
/// When an Envoy does not answer a request with 200.
pub async fn play(contestants: &mut [Contestant], plan: Plan) -> Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        let mut round = vec![0.0; contestants.len()];
        for place in order(number, contestants.len()) {
            let contestant = &mut contestants[place];
            let name = contestant.name;
            round[place] = contestant.us_per_request(plan.requests).await.context(name)?;
        }
        rounds.push(round);
    }
    Ok(rounds)
}

/// Whom a round runs in which order: each round starts one further, and every second one goes backwards.
fn order(round: usize, contestants: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contestants).map(|place| (place + round) % contestants).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// One Envoy and the connections to it.
#[derive(Debug)]
pub struct Contestant {
    name: &'static str,
    envoy: Envoy,
    connections: Vec<Connection>,
    requests: Arc<[Request]>,
}

impl Contestant {
    /// Starts the Envoy of `bootstrap` and serves `warm_up` requests: V8 has then compiled the hot functions with its
    /// second compiler. Requests are taken from `requests` in turn.
    ///
    /// # Errors
    /// When Envoy does not start or does not answer with 200.
    pub async fn start(
        name: &'static str,
        artefacts: &Artefacts,
        bootstrap: &Bootstrap,
        requests: Arc<[Request]>,
        warm_up: usize,
    ) -> Result<Self> {
        let envoy = Envoy::start(artefacts, bootstrap).await.context(name)?;
        let address: SocketAddr = envoy.address(LISTENER)?;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(address).await?);
        }
        let mut this = Self { name, envoy, connections, requests };
        this.serve(warm_up).await.context(name)?;
        Ok(this)
    }

    /// CPU nanoseconds of the whole Envoy so far; exact while it sleeps.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu_ns(&self) -> Result<u64> {
        cpu_ns(self.envoy.pid())
    }

    /// Serves so many requests and says what each cost, in CPU microseconds of the whole Envoy.
    async fn us_per_request(&mut self, requests: usize) -> Result<f64> {
        let before = settled_cpu_ns(self.envoy.pid()).await?;
        self.serve(requests).await?;
        let after = settled_cpu_ns(self.envoy.pid()).await?;
        Ok((after - before) as f64 / 1_000.0 / requests as f64)
    }

    /// Sends so many requests over all connections at once; each must be answered with 200.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_runs_everybody_and_the_order_changes() {
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..6 {
            let order = order(round, 5);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
            seen.insert(order);
        }
        assert_eq!(seen.len(), 6);
    }
}
