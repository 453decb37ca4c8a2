//! `cargo xtask bench attribution`: where a wasm filter's microseconds go, call by call, on a real Envoy.
//!
//! Envoy answers by itself, so the base is a third of what proxying costs and the differences stand out. Every probe is
//! a module of its own with an Envoy of its own ([`probes`]); what a call costs is the difference between two of them in
//! the same round. With `--routes N` the route table has N routes before the one that matches: a header that is changed
//! makes Envoy look its route up again, and this shows at what price.

mod probes;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::bootstrap::{Bootstrap, Listener};
use forebay_host_tests::client::Request;
use forebay_host_tests::contest::{self, Contestant, LISTENER, Plan, Round};
use forebay_host_tests::filters::{self, FOREBAY_VM_ID, TENANT_HEADER, TokenBucket};
use forebay_host_tests::spread::Spread;
use serde_json::{Value, json};

use crate::probes::PROBES;

/// The policy of the overhead bench.
const FOREBAY_CONFIG: &str = include_str!("../overhead/forebay.json");
/// That policy's buckets.
const BUCKET: TokenBucket = TokenBucket { rate_per_s: 5_000, burst: 5_000 };
/// Requests through each Envoy before the first round.
const WARM_UP_REQUESTS: usize = 6_000;

/// Envoy CPU microseconds of each call that a wasm filter can make per request.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench attribution")]
struct Args {
    /// Rounds; every probe runs once in each
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Requests per probe and round
    #[arg(long, default_value_t = 2_500)]
    requests: usize,
    /// Routes that match nothing before the one that does
    #[arg(long, default_value_t = 0)]
    routes: usize,
    /// Further headers of each request
    #[arg(long, default_value_t = 0)]
    headers: usize,
    /// Another build of the filter, to be run beside the present one
    #[arg(long)]
    beside: Option<std::path::PathBuf>,
    /// Only these probes, by name, beside no filter and what they are compared with
    #[arg(long)]
    only: Vec<String>,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// One Envoy of the contest.
struct Entry {
    name: &'static str,
    does: &'static str,
    on_top_of: &'static str,
    filters: Vec<Value>,
}

fn main() -> ExitCode {
    match attribution(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attribution: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn attribution(args: &Args) -> Result<()> {
    if args.rounds == 0 || args.requests == 0 {
        bail!("--rounds and --requests must be at least 1");
    }
    let artefacts = Artefacts::find()?;
    let folder = tempfile::Builder::new().prefix("forebay-attribution-").tempdir().context("no folder")?;
    let config: Value = serde_json::from_str(FOREBAY_CONFIG).context("forebay.json is no JSON")?;
    let mut entries = vec![Entry { name: "none", does: "no filter", on_top_of: "none", filters: vec![] }];
    for probe in PROBES {
        let filter = filters::wasm(probe.name, probe.name, "1", &probe.module(folder.path())?, &json!({}));
        let Entry { name, does, on_top_of, filters } =
            Entry { name: probe.name, does: probe.does, on_top_of: probe.on_top_of, filters: vec![filter] };
        entries.push(Entry { name, does, on_top_of, filters });
    }
    let local_ratelimit = filters::local_ratelimit_wildcard(BUCKET, 200, BUCKET);
    let forebay = filters::forebay(&artefacts, FOREBAY_VM_ID, &config);
    let whole = [
        ("local_ratelimit", "a bucket per tenant", "none", local_ratelimit),
        ("forebay", "all of it", "pairs_add", forebay),
    ];
    for (name, does, on_top_of, filter) in whole {
        entries.push(Entry { name, does, on_top_of, filters: vec![filter] });
    }
    if let Some(module) = &args.beside {
        let module = std::path::absolute(module).context("--beside")?;
        let filters = vec![filters::wasm("forebay", "beside", "1", &module, &config)];
        entries.push(Entry { name: "forebay_beside", does: "the other build", on_top_of: "forebay", filters });
    }
    if !args.only.is_empty() {
        let wanted = |name: &str| args.only.iter().any(|only| only == name);
        let compared: Vec<&str> = entries.iter().filter(|e| wanted(e.name)).map(|e| e.on_top_of).collect();
        entries.retain(|e| e.name == "none" || wanted(e.name) || compared.contains(&e.name));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let rounds = runtime.block_on(play(&artefacts, &entries, args))?;
    report(&artefacts, &entries, &rounds, args)
}

async fn play(artefacts: &Artefacts, entries: &[Entry], args: &Args) -> Result<Vec<Round>> {
    let request = |tenant: usize| {
        let request = Request::get("/").header(TENANT_HEADER, format!("tenant-{tenant:02}"));
        (0..args.headers).fold(request, |request, number| request.header(&format!("x-further-{number}"), "a value"))
    };
    let requests: Arc<[Request]> = (1..=16).map(request).collect();
    let mut contestants = Vec::new();
    for entry in entries {
        let listener = Listener::new(LISTENER, entry.filters.clone()).direct_response().other_routes(args.routes);
        let bootstrap = Bootstrap::new("attribution").workers(1).listener(listener);
        let requests = Arc::clone(&requests);
        contestants.push(Contestant::start(entry.name, artefacts, &bootstrap, requests, WARM_UP_REQUESTS).await?);
    }
    contest::play(&mut contestants, Plan { rounds: args.rounds, requests: args.requests }).await
}

fn report(artefacts: &Artefacts, entries: &[Entry], rounds: &[Round], args: &Args) -> Result<()> {
    let place = |name: &str| entries.iter().position(|entry| entry.name == name).unwrap_or_default();
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["probe", "what it does", "us/request", "added to no filter", "added to", "us"]);
    for column in [2, 3, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let (mut us, mut added_us) = (BTreeMap::new(), BTreeMap::new());
    for (index, entry) in entries.iter().enumerate() {
        let below = place(entry.on_top_of);
        let whole = Spread::of(rounds, |round| round[index]);
        let added = Spread::of(rounds, |round| round[index] - round[0]);
        let step = Spread::of(rounds, |round| round[index] - round[below]);
        us.insert(entry.name, whole.median);
        added_us.insert(entry.name, step.median);
        let row = [whole.text(), added.text(), entry.on_top_of.to_owned(), step.text()];
        table.add_row([entry.name.to_owned(), entry.does.to_owned()].into_iter().chain(row));
    }
    let version = artefacts.envoy_version()?;
    println!(
        "{table}\nMedian (quartiles) of {} rounds of {} requests, direct responses, {} routes that do not match, \
         {} further headers, Envoy {version}, 1 worker.",
        args.rounds, args.requests, args.routes, args.headers
    );
    if args.json {
        let conditions = json!({
            "envoy_version": version, "rounds": args.rounds, "requests_per_round": args.requests, "routes": args.routes,
            "further_headers": args.headers,
        });
        println!("{}", json!({ "us": us, "added_us": added_us, "conditions": conditions }));
    }
    Ok(())
}
