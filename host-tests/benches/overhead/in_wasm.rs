//! Host calls and wasm instructions per request, counted on the deterministic host: the figures without noise.
//!
//! The module is the same file that Envoy runs. Requests come 100 µs apart from each tenant in turn, in the steady state
//! (every key has its lease, the worker is on the list), so that draws of leases are in the mean as often as they really
//! happen. Ticks fire in between and are not counted; on Envoy they are in the CPU figures.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::filters::{FOREBAY_VM_ID, TENANT_HEADER};
use forebay_wasm_host::{Code, Options, Outcome, Process, Request};
use serde::Serialize;

use crate::findings::table;
use crate::variants::Policy;

/// Requests before counting starts: a second of time, so every period of the housekeeping has passed.
const WARM_UP_REQUESTS: usize = 10_000;
/// Requests that are counted.
const COUNTED_REQUESTS: usize = 10_000;
/// Time from one request to the next: 10,000 per second, which one Envoy worker about reaches.
const GAP: Duration = Duration::from_micros(100);

/// Means over [`COUNTED_REQUESTS`].
#[derive(Debug, Serialize)]
pub(crate) struct InWasm {
    /// Host calls by name.
    pub(crate) hostcalls_per_request: BTreeMap<&'static str, f64>,
    /// Wasmtime fuel, about one per instruction.
    pub(crate) fuel_per_request: f64,
}

impl InWasm {
    /// The table, for people.
    pub(crate) fn text(&self) -> Table {
        let mut calls = table(&["forebay, standard lane", "per request"]);
        for (name, mean) in &self.hostcalls_per_request {
            calls.add_row([(*name).to_owned(), format!("{mean:.4}")]);
        }
        calls.add_row(["host calls, all".to_owned(), format!("{:.4}", self.hostcalls())]);
        calls.add_row(["fuel (about instructions)".to_owned(), format!("{:.1}", self.fuel_per_request)]);
        calls
    }

    /// All of them.
    pub(crate) fn hostcalls(&self) -> f64 {
        self.hostcalls_per_request.values().sum()
    }
}

/// Runs the requests.
pub(crate) fn measure(artefacts: &Artefacts, policy: &Policy) -> Result<InWasm> {
    let path = &artefacts.forebay_filter;
    let module = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let options = Options { fuel: true, vm_id: FOREBAY_VM_ID.to_owned(), ..Options::default() };
    let mut process = Process::of(&Code::compile(&module, options)?);
    let vm = process.add_vm(policy.plugin_config.to_string().as_bytes(), artefacts.build_hash.as_bytes())?;
    let (mut hostcalls, mut fuel) = (BTreeMap::<&'static str, u64>::new(), 0u64);
    for (number, tenant) in policy.tenants.iter().cycle().take(WARM_UP_REQUESTS + COUNTED_REQUESTS).enumerate() {
        process.advance(GAP)?;
        let exchange = process.request(vm, Request::get("/").header(TENANT_HEADER, tenant))?;
        match &exchange.outcome {
            Outcome::Continue { headers } if headers.text("x-forebay-lane").as_deref() == Some("standard") => {}
            other => bail!("request {number} of {tenant} was to take the standard lane: {other:?}"),
        }
        if number >= WARM_UP_REQUESTS {
            for (name, calls) in process.last_hostcalls() {
                *hostcalls.entry(name).or_default() += calls;
            }
            fuel += process.last_fuel().context("the host counts no fuel")?;
        }
    }
    let mean = |sum: u64| sum as f64 / COUNTED_REQUESTS as f64;
    Ok(InWasm {
        hostcalls_per_request: hostcalls.into_iter().map(|(name, calls)| (name, mean(calls))).collect(),
        fuel_per_request: mean(fuel),
    })
}
