//! The engine without wasm: the same workers, a hundred times the requests.

use anyhow::{Result, anyhow, bail};
use forebay_admission::units::NANO;
use forebay_admission::{Limit, Rate};
use forebay_engine::memory::{Memory, Timers};
use forebay_engine::shared::state_key;
use forebay_engine::{Outcome, Worker};

use crate::balance::Balance;
use crate::{COOL_DOWN, Found, Key, Load, Order, TENANT, Tally, WARM_UP, plugin_config};

/// The proxy and its workers; ticks fire as they fall due.
struct Proxy {
    memory: Memory,
    workers: Vec<Worker>,
    timers: Timers,
}

impl Proxy {
    fn start(key: Key) -> Result<Self> {
        let mut memory = Memory::default();
        memory.advance_nanos(1_000 * NANO);
        let configured = (0..key.workers).map(|_| Worker::configure(plugin_config(key).as_bytes()));
        let workers: Vec<Worker> = configured.collect::<Result<_, _>>().map_err(|error| anyhow!("{error}"))?;
        let timers = Timers::new(workers.len(), memory.now);
        Ok(Self { memory, workers, timers })
    }

    fn advance(&mut self, nanos: u64) {
        let until = self.memory.now.plus(nanos);
        while self.timers.tick(&mut self.memory, &mut self.workers, until).is_some() {}
    }

    /// Whether a request passed.
    fn send(&mut self, worker: usize) -> Result<bool> {
        let headers: [(&str, &[u8]); 1] = [("x-tenant", TENANT.as_bytes())];
        match self.workers[worker].on_request(&mut self.memory.request(&headers)) {
            Outcome::Admit(_) => Ok(true),
            Outcome::Refuse(_) | Outcome::Wait { .. } => Ok(false),
            other => bail!("a request ended as {other:?}"),
        }
    }

    fn state(&self, name: &str) -> Option<&[u8]> {
        self.memory.shared.get(name).map(|(value, _)| value.as_slice())
    }
}

pub(crate) fn run(key: Key, load: Load, requests: u64) -> Result<Found> {
    let mut proxy = Proxy::start(key)?;
    let gap = 100 * NANO / (key.rate * load.percent_of_rate);
    let mut order = Order(key.seed);
    let until = proxy.memory.now.plus(WARM_UP.as_nanos() as u64);
    while proxy.memory.now < until {
        proxy.advance(gap);
        proxy.send(order.next(key.workers))?;
    }
    proxy.advance(COOL_DOWN.as_nanos() as u64);
    let name = state_key(TENANT, "requests");
    let mut balance = Balance::open(Limit::new(Rate::per_s(key.rate), key.burst), proxy.state(&name))?;
    let mut tally = Tally::new(key.workers);
    let began = proxy.memory.now;
    for _ in 0..requests {
        let worker = order.next(key.workers);
        let before = proxy.memory.accesses;
        proxy.advance(gap);
        let ticked = proxy.memory.accesses;
        if ticked > before {
            balance.see(proxy.state(&name))?;
        }
        tally.count(worker, proxy.send(worker)?);
        let requested = proxy.memory.accesses;
        if requested > ticked {
            balance.see(proxy.state(&name))?;
        }
        tally.tick_ops += ticked - before;
        tally.request_ops += requested - ticked;
    }
    let took = proxy.memory.now.since(began);
    let emptied = balance.emptied(proxy.state(&name))?;
    if let Some((value, _)) = proxy.memory.shared.get_mut(&name) {
        *value = emptied;
    }
    proxy.advance(COOL_DOWN.as_nanos() as u64);
    balance.see(proxy.state(&name))?;
    Ok(tally.found(format!("native, {}", load.name), key, took, balance.out()))
}
