//! The guard of upstream concurrency, one scenario in two builds: natively and in the streams module on the deterministic
//! host the same requests are admitted and the same refused, however streams end.

use std::time::Duration;

use anyhow::{Context, Result};
use forebay_admission::{ClusterState, Nanos};
use forebay_engine::memory::{Memory, Timers};
use forebay_engine::{Module, Outcome, Stream, Worker};
use forebay_host_tests::artefacts::Artefacts;
use forebay_wasm_host::{Code, Options, Outcome as WasmOutcome, Process, Request, Response, StreamId, VmId};
use proptest::prelude::*;

const WORKERS: usize = 2;
const DETAILS: [&str; 2] = ["via_upstream", "no_healthy_upstream"];
const CONFIG: &str = r#"{"policy":{
    "resources":[{"name":"requests","others":{"rate_per_s":40,"burst":20}}],
    "contracts":[{"tenant":"a","resource":"requests","rate_per_s":1000,"burst":2000}],
    "guard":{"mode":"codel","target_ms":60,"min_concurrency":2,"max_concurrency":12}}}"#;

#[derive(Clone, Debug)]
enum Operation {
    Send { worker: usize, contracted: bool, cluster: u8, details: usize },
    Finish { pick: usize },
    Reset { pick: usize },
    Advance { ms: u64 },
}

fn tenant(contracted: bool) -> &'static str {
    if contracted { "a" } else { "stranger" }
}

fn native(operations: &[Operation], start: Nanos) -> Vec<String> {
    let mut memory = Memory::default();
    memory.advance_nanos(start.0);
    let worker = |_| Worker::configure_in(Module::Streams, CONFIG.as_bytes()).ok();
    let mut workers: Vec<_> = (0..WORKERS).filter_map(worker).collect();
    let (mut seen, mut open) = (Vec::new(), Vec::new());
    let mut timers = Timers::new(WORKERS, start);
    for (id, operation) in (1u32..).zip(operations) {
        match operation {
            Operation::Advance { ms } => {
                let end = memory.now.plus(ms * Nanos::MILLI);
                while timers.tick(&mut memory, &mut workers, end).is_some() {}
            }
            Operation::Send { worker, contracted, cluster, details } => {
                memory.properties.insert("xds\0cluster_name".into(), Ok(format!("c{cluster}").into_bytes()));
                let headers = [("x-tenant", tenant(*contracted).as_bytes())];
                let stream = Stream { id, end_of_stream: true };
                let outcome = workers[*worker].on_stream(stream, &mut memory.request(&headers));
                seen.push(match outcome {
                    Outcome::Admit(lane) => {
                        open.push((*worker, id, *details));
                        lane.name().into()
                    }
                    Outcome::Refuse(answer) => format!("{} {:?} {}", answer.details, answer.headers, answer.body),
                    other => format!("{other:?}"),
                });
            }
            Operation::Finish { pick } | Operation::Reset { pick } if !open.is_empty() => {
                let (worker, id, details) = open.swap_remove(pick % open.len());
                if matches!(operation, Operation::Finish { .. }) {
                    memory.properties.insert("response\0code_details".into(), Ok(DETAILS[details].into()));
                    workers[worker].on_response_headers(id, true, &mut memory.response(&[]));
                }
                workers[worker].on_stream_end(id, &mut memory.host());
            }
            Operation::Finish { .. } | Operation::Reset { .. } => {}
        }
    }
    seen
}

fn in_wasm(process: &mut Process, vms: &[VmId], operations: &[Operation]) -> Result<Vec<String>> {
    let (mut seen, mut open) = (Vec::new(), Vec::<StreamId>::new());
    for operation in operations {
        match operation {
            Operation::Advance { ms } => process.advance(Duration::from_millis(*ms))?,
            Operation::Send { worker, contracted, cluster, details } => {
                let request = Request::get("/")
                    .header("x-tenant", tenant(*contracted))
                    .property(&["xds", "cluster_name"], format!("c{cluster}"))
                    .property(&["response", "code_details"], DETAILS[*details]);
                let exchange = process.open(vms[*worker], request)?;
                seen.push(match exchange.outcome {
                    WasmOutcome::Continue { headers } => {
                        open.push(exchange.stream);
                        headers.text("x-forebay-lane").unwrap_or_default().to_string()
                    }
                    WasmOutcome::LocalReply(reply) => {
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        let headers: Vec<_> = reply.headers.0.iter().map(|(k, v)| (text(k), text(v))).collect();
                        format!("{} {headers:?} {}", reply.details, text(&reply.body))
                    }
                    other => format!("{other:?}"),
                });
            }
            Operation::Finish { pick } if !open.is_empty() => {
                process.finish(open.swap_remove(pick % open.len()), Response::status(200))?;
            }
            Operation::Reset { pick } if !open.is_empty() => {
                process.reset(open.swap_remove(pick % open.len()))?;
            }
            Operation::Finish { .. } | Operation::Reset { .. } => {}
        }
    }
    for stream in open {
        process.reset(stream)?;
    }
    Ok(seen)
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        12 => (0..WORKERS, any::<bool>(), 0u8..2, 0..DETAILS.len())
            .prop_map(|(worker, contracted, cluster, details)| Operation::Send { worker, contracted, cluster, details }),
        4 => any::<usize>().prop_map(|pick| Operation::Finish { pick }),
        3 => any::<usize>().prop_map(|pick| Operation::Reset { pick }),
        3 => (1u64..150).prop_map(|ms| Operation::Advance { ms }),
    ];
    proptest::collection::vec(operation, 1..400)
}

#[test]
fn the_guard_decides_natively_as_in_wasm_and_leaves_no_slot_behind() -> Result<()> {
    let path = Artefacts::find()?.forebay_filter_streams;
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let code = Code::compile(&bytes, Options { vm_id: "forebay".into(), ..Options::default() })?;
    let config = ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() };
    let overloads = std::cell::Cell::new(0);
    proptest!(config, |(operations in operations())| {
        let mut process = Process::of(&code);
        let vms: Vec<_> = (0..WORKERS).filter_map(|_| process.add_vm(CONFIG.as_bytes(), b"test").ok()).collect();
        let start = Nanos(process.clock().steady_ns);
        let failed = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
        let wasm = in_wasm(&mut process, &vms, &operations).map_err(|error| failed(&error))?;
        prop_assert_eq!(&native(&operations, start), &wasm);
        overloads.set(overloads.get() + wasm.iter().filter(|one| one.starts_with("forebay_overloaded")).count());
        process.advance(Duration::from_millis(500)).map_err(|error| failed(&error))?;
        for cluster in 0..2 {
            let record = process.shared_data().get("forebay", format!("fb1/g/{cluster}").as_bytes());
            if let Some(state) = record.and_then(|entry| ClusterState::decode(&entry.value)) {
                prop_assert_eq!(state.leased(), 0);
            }
        }
    });
    assert!(overloads.get() > 50, "{} refusals by the guard", overloads.get());
    Ok(())
}
