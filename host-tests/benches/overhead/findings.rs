//! Medians of the rounds, for people and for programs; how they are taken: [`forebay_host_tests::spread`].

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::contest::{CONNECTIONS, Plan, Round};
use forebay_host_tests::spread::Spread;
use serde::Serialize;

use crate::in_wasm::InWasm;
use crate::rounds::WORKERS;
use crate::variants::{Policy, Variant};

/// Everything that the bench found; `us_` is Envoy CPU microseconds per request.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    us_none: f64,
    us_empty_wasm: f64,
    us_empty_wasm_raw: f64,
    us_local_ratelimit: f64,
    us_forebay: f64,
    added_us_empty_wasm: f64,
    added_us_empty_wasm_raw: f64,
    added_us_local_ratelimit: f64,
    added_us_forebay: f64,
    cpu_ratio_to_local_ratelimit: f64,
    cpu_ratio_to_local_ratelimit_quartiles: [f64; 2],
    hostcalls_per_request: f64,
    hostcalls_per_request_by_name: BTreeMap<&'static str, f64>,
    fuel_per_request: f64,
    conditions: Conditions,
    #[serde(skip)]
    rows: Vec<Row>,
    #[serde(skip)]
    exact: Table,
}

/// Under which conditions the figures came about.
#[derive(Debug, Serialize)]
struct Conditions {
    envoy_version: String,
    rounds: usize,
    requests_per_round: usize,
    tenants: usize,
    tenant_rate_per_s: u32,
    tenant_burst: u32,
    connections: usize,
    envoy_workers: u32,
    machine_cores: usize,
    filter_bytes: u64,
}

/// One variant in the table.
#[derive(Debug)]
struct Row {
    variant: Variant,
    whole: Spread,
    added: Spread,
}

impl Findings {
    /// Judges the rounds.
    pub(crate) fn of(
        artefacts: &Artefacts,
        policy: &Policy,
        plan: Plan,
        rounds: &[Round],
        in_wasm: InWasm,
    ) -> Result<Self> {
        let us = |variant: Variant| move |round: &Round| round[variant as usize];
        let whole = |variant| Spread::of(rounds, us(variant));
        let added = |variant| Spread::of(rounds, |round| us(variant)(round) - us(Variant::None)(round));
        let ratio = Spread::of(rounds, |round| us(Variant::Forebay)(round) / us(Variant::LocalRatelimit)(round));
        let filter = &artefacts.forebay_filter;
        let filter_bytes = filter.metadata().with_context(|| format!("cannot read {}", filter.display()))?.len();
        Ok(Self {
            us_none: whole(Variant::None).median,
            us_empty_wasm: whole(Variant::EmptyWasm).median,
            us_empty_wasm_raw: whole(Variant::EmptyWasmRaw).median,
            us_local_ratelimit: whole(Variant::LocalRatelimit).median,
            us_forebay: whole(Variant::Forebay).median,
            added_us_empty_wasm: added(Variant::EmptyWasm).median,
            added_us_empty_wasm_raw: added(Variant::EmptyWasmRaw).median,
            added_us_local_ratelimit: added(Variant::LocalRatelimit).median,
            added_us_forebay: added(Variant::Forebay).median,
            cpu_ratio_to_local_ratelimit: ratio.median,
            cpu_ratio_to_local_ratelimit_quartiles: [ratio.lower, ratio.upper],
            exact: in_wasm.text(),
            hostcalls_per_request: in_wasm.hostcalls(),
            hostcalls_per_request_by_name: in_wasm.hostcalls_per_request,
            fuel_per_request: in_wasm.fuel_per_request,
            conditions: Conditions {
                envoy_version: artefacts.envoy_version()?,
                rounds: plan.rounds,
                requests_per_round: plan.requests,
                tenants: policy.tenants.len(),
                tenant_rate_per_s: policy.bucket.rate_per_s,
                tenant_burst: policy.bucket.burst,
                connections: CONNECTIONS,
                envoy_workers: WORKERS,
                machine_cores: std::thread::available_parallelism().context("cannot count the cores")?.get(),
                filter_bytes,
            },
            rows: Variant::ALL.map(|variant| Row { variant, whole: whole(variant), added: added(variant) }).into(),
        })
    }

    /// The tables, as text.
    pub(crate) fn text(&self) -> String {
        let mut cpu = table(&["variant", "Envoy CPU us/request", "added to no filter"]);
        for row in &self.rows {
            let added = if row.variant == Variant::None { "-".to_owned() } else { row.added.text() };
            cpu.add_row([row.variant.name().to_owned(), row.whole.text(), added]);
        }
        let calls = &self.exact;
        let conditions = &self.conditions;
        let [lower, upper] = self.cpu_ratio_to_local_ratelimit_quartiles;
        format!(
            "{cpu}\n\
             Median (quartiles) of {} rounds of {} requests; differences are taken inside each round.\n\
             Forebay's whole cost to that of local_ratelimit: {:.3} ({lower:.3} to {upper:.3})\n\n\
             {calls}\n\
             From the deterministic host, the same on every machine; ticks are not in it.\n\n\
             Conditions: Envoy {}, {} worker, {} connections, {} tenants in turn at {}/s with burst {} each, no \
             controller, {} cores, filter of {} bytes.\n",
            conditions.rounds,
            conditions.requests_per_round,
            self.cpu_ratio_to_local_ratelimit,
            conditions.envoy_version,
            conditions.envoy_workers,
            conditions.connections,
            conditions.tenants,
            conditions.tenant_rate_per_s,
            conditions.tenant_burst,
            conditions.machine_cores,
            conditions.filter_bytes,
        )
    }
}

/// A table whose first column is text and the others numbers.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
