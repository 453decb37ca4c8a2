//! The module that Envoy runs, one VM per worker.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use forebay_admission::units::NANO;
use forebay_admission::{Limit, Rate};
use forebay_engine::shared::state_key;
use forebay_host_tests::artefacts::Artefacts;
use forebay_wasm_host::{Code, Options, Outcome, Process, Request, VmId};

use crate::balance::Balance;
use crate::{COOL_DOWN, Found, Key, Load, Order, TENANT, Tally, WARM_UP, plugin_config};

const VM_ID: &str = "leases";

pub(crate) fn run(artefacts: &Artefacts, key: Key, load: Load, requests: u64) -> Result<Found> {
    let path = &artefacts.forebay_filter;
    let module = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let options = Options { vm_id: VM_ID.to_owned(), ..Options::default() };
    let mut process = Process::of(&Code::compile(&module, options)?);
    let mut workers = Vec::new();
    for _ in 0..key.workers {
        workers.push(process.add_vm(plugin_config(key).as_bytes(), artefacts.build_hash.as_bytes())?);
    }
    let gap = Duration::from_nanos(100 * NANO / (key.rate * load.percent_of_rate));
    let mut order = Order(key.seed);
    let until = process.clock().steady_ns + WARM_UP.as_nanos() as u64;
    while process.clock().steady_ns < until {
        process.advance(gap)?;
        send(&mut process, workers[order.next(key.workers)])?;
    }
    // Both balances are taken when no worker holds a lease.
    process.advance(COOL_DOWN)?;
    let name = state_key(TENANT, "requests");
    let state = |process: &Process| process.shared_data().get(VM_ID, name.as_bytes()).map(|entry| entry.value.clone());
    let mut balance = Balance::open(Limit::new(Rate::per_s(key.rate), key.burst), state(&process).as_deref())?;
    let mut tally = Tally::new(key.workers);
    let began = process.clock().steady_ns;
    for _ in 0..requests {
        let worker = order.next(key.workers);
        process.advance(gap)?;
        tally.tick_ops += shared_data_ops(&process);
        balance.see(state(&process).as_deref())?;
        tally.count(worker, send(&mut process, workers[worker])?);
        tally.request_ops += shared_data_ops(&process);
        balance.see(state(&process).as_deref())?;
    }
    let took = process.clock().steady_ns - began;
    let emptied = balance.emptied(state(&process).as_deref())?;
    process.shared_data_mut().set(VM_ID, name.as_bytes(), &emptied, 0);
    process.advance(COOL_DOWN)?;
    balance.see(state(&process).as_deref())?;
    Ok(tally.found(format!("wasm, {}", load.name), key, took, balance.out()))
}

/// Whether a request passed.
fn send(process: &mut Process, worker: VmId) -> Result<bool> {
    let exchange = process.request(worker, Request::get("/").header("x-tenant", TENANT))?;
    match exchange.outcome {
        Outcome::Continue { .. } => Ok(true),
        Outcome::LocalReply(reply) if reply.status == 429 => Ok(false),
        other => bail!("a request ended as {other:?}"),
    }
}

/// Reads and writes of shared data during the last call.
fn shared_data_ops(process: &Process) -> u64 {
    let calls = process.last_hostcalls();
    ["proxy_get_shared_data", "proxy_set_shared_data"].iter().filter_map(|name| calls.get(name)).sum()
}
