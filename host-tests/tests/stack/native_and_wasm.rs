//! One scenario, two builds: the same operations on the engine natively and on the real wasm file give the same
//! decisions and the same messages to the controller.

use std::time::Duration;

use anyhow::Result;
use forebay_admission::Nanos;
use forebay_engine::leader::Answer;
use forebay_engine::memory::{Memory, Timers};
use forebay_engine::{CallKind, Effect, Outcome, Worker};
use forebay_protocol::extension::{MoreReady, PROVISIONING, Provisioning, extension};
use forebay_protocol::v1::{Grant, Limit, Slot};
use forebay_protocol::{Generation, GrantTable, Message, ReportAck, decode, encode};
use forebay_wasm_host::{Answer as WasmAnswer, Outcome as WasmOutcome, Process, Request, VmId};
use proptest::prelude::*;

use crate::wasm_filter::code;

const WORKERS: usize = 3;
const TENANTS: [&str; 4] = ["a", "b", "stranger", ""];
const CONFIG: &str = r#"{
    "proxy_id": "p1",
    "controller": {"cluster": "ctl", "report_interval_ms": 200},
    "policy": {
        "resources": [
            {"name": "requests", "others": {"rate_per_s": 20, "burst": 10}},
            {"name": "tokens", "others": {"rate_per_s": 40, "burst": 60}}],
        "rules": [
            {"charges": [{"resource": "requests"}]},
            {"match": {"path": "/chat/**"}, "charges": [
                {"resource": "requests"},
                {"resource": "tokens", "cost": {"header": {"name": "x-tokens", "default": 3, "max": 50}}}]}],
        "contracts": [{"tenant": "a", "resource": "requests", "rate_per_s": 100, "burst": 300}]
    }
}"#;

#[derive(Clone, Debug)]
enum Operation {
    Advance {
        ms: u64,
    },
    Request {
        worker: usize,
        tenant: usize,
        chat: bool,
        tokens: u64,
    },
    /// Answers all waiting calls; watches get a table with these parameters.
    Answer {
        rate: u64,
        amount: u64,
    },
    /// Fails all waiting calls.
    Fail,
}

/// What can be seen of a run: decisions, and the messages sent to the controller.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    decisions: Vec<String>,
    messages: Vec<Message>,
}

fn reply(message: &Message, sequence: u64, rate: u64, amount: u64) -> Vec<u8> {
    let generation = Generation { shard: 0, epoch: 1, sequence };
    let limit = |rate: u64, burst| Limit { rate_milli_per_s: rate * 1_000, burst };
    let slot = |id: u64| Slot {
        id: sequence + id,
        starts_in_ms: id as i64 * 300 - 50,
        length_ms: 300,
        amount,
        pace: limit(amount * 3, amount),
    };
    let grant = |tenant: &str| Grant {
        tenant: tenant.into(),
        resource: "requests".into(),
        standard: limit(rate, rate),
        safe: limit(5, 5),
        forecast_version: 1,
        slots: (0..4).map(slot).collect(),
    };
    // Of some tables `a` is short, and gets more before the test is over or after it.
    let rows = (amount % 2 == 1).then_some(MoreReady { row: 0, in_ms: amount as u32 * 80 }).into_iter().collect();
    let provisioning = extension(PROVISIONING, &Provisioning { rows });
    encode(&match message {
        Message::Watch(_) => Message::GrantTable(GrantTable {
            generation,
            part: 0,
            parts: 1,
            valid_for_ms: 700,
            grants: vec![grant("a"), grant("b")],
            extensions: vec![provisioning],
        }),
        _ => Message::ReportAck(ReportAck { generation, valid_for_ms: 700, extensions: vec![] }),
    })
}

/// Begins at the same steady instant as the other: origins differ for what never happened yet, and retries are spread by
/// the instant.
fn native(operations: &[Operation], start: Nanos) -> Seen {
    let mut memory = Memory::default();
    memory.advance_nanos(start.0);
    let mut workers: Vec<_> = (0..WORKERS).filter_map(|_| Worker::configure(CONFIG.as_bytes()).ok()).collect();
    let mut timers = Timers::new(WORKERS, start);
    let (mut seen, mut calls, mut sequence) = (Seen::default(), Vec::new(), 0);
    for operation in operations {
        match operation {
            Operation::Advance { ms } => {
                let end = memory.now.plus(ms * Nanos::MILLI);
                while let Some((index, effects)) = timers.tick(&mut memory, &mut workers, end) {
                    take(index, effects, &mut calls, &mut seen);
                }
            }
            Operation::Request { worker, tenant, chat, tokens } => {
                let tokens = tokens.to_string();
                let path: &[u8] = if *chat { b"/chat" } else { b"/" };
                let headers =
                    [(":path", path), ("x-tenant", TENANTS[*tenant].as_bytes()), ("x-tokens", tokens.as_bytes())];
                let outcome = workers[*worker].on_request(&mut memory.request(&headers));
                seen.decisions.push(match outcome {
                    Outcome::Pass | Outcome::Charged => "pass".into(),
                    Outcome::Admit(lane) => lane.name().into(),
                    Outcome::Wait { .. } => unreachable!("the lean module lets nothing wait"),
                    Outcome::Refuse(answer) => format!("{:?} {}", answer.headers, answer.body),
                });
            }
            Operation::Answer { rate, amount } => {
                sequence += 1;
                for (worker, kind, message) in std::mem::take(&mut calls) {
                    let body = reply(&message, sequence, *rate, *amount);
                    let effects =
                        workers[worker].on_answer(kind, Answer::Received { status: 200, body }, &mut memory.host());
                    take(worker, effects, &mut calls, &mut seen);
                }
            }
            Operation::Fail => {
                for (worker, kind, _) in std::mem::take(&mut calls) {
                    let effects = workers[worker].on_answer(kind, Answer::Failed, &mut memory.host());
                    take(worker, effects, &mut calls, &mut seen);
                }
            }
        }
    }
    seen
}

fn take(worker: usize, effects: Vec<Effect>, calls: &mut Vec<(usize, CallKind, Message)>, seen: &mut Seen) {
    for effect in effects {
        if let Effect::Call(call) = effect
            && let Ok(message) = decode(&call.body)
        {
            seen.messages.push(message.clone());
            calls.push((worker, call.kind, message));
        }
    }
}

fn in_wasm(process: &mut Process, vms: &[VmId], operations: &[Operation]) -> Result<Seen> {
    let (mut seen, mut calls, mut sequence) = (Seen::default(), Vec::new(), 0);
    for operation in operations {
        match operation {
            Operation::Advance { ms } => process.advance(Duration::from_millis(*ms))?,
            Operation::Request { worker, tenant, chat, tokens } => {
                let request = Request::get(if *chat { "/chat" } else { "/" })
                    .header("x-tenant", TENANTS[*tenant])
                    .header("x-tokens", tokens.to_string());
                seen.decisions.push(match process.request(vms[*worker], request)?.outcome {
                    WasmOutcome::Continue { headers } => {
                        headers.text("x-forebay-lane").unwrap_or("pass".into()).to_string()
                    }
                    WasmOutcome::LocalReply(reply) => {
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        let headers: Vec<_> = reply.headers.0.iter().map(|(k, v)| (text(k), text(v))).collect();
                        format!("{headers:?} {}", text(&reply.body))
                    }
                    other => format!("{other:?}"),
                });
            }
            Operation::Answer { rate, amount } => {
                sequence += 1;
                for call in std::mem::take(&mut calls) {
                    let call: forebay_wasm_host::HttpCall = call;
                    let message = decode(&call.body)?;
                    process.answer(&call, WasmAnswer::new(200, reply(&message, sequence, *rate, *amount)))?;
                }
            }
            Operation::Fail => {
                for call in std::mem::take(&mut calls) {
                    process.fail_call(&call)?;
                }
            }
        }
        for call in process.take_calls() {
            seen.messages.push(decode(&call.body)?);
            calls.push(call);
        }
    }
    Ok(seen)
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        3 => (1u64..400).prop_map(|ms| Operation::Advance { ms }),
        20 => (0..WORKERS, 0..TENANTS.len(), any::<bool>(), 0u64..60)
            .prop_map(|(worker, tenant, chat, tokens)| Operation::Request { worker, tenant, chat, tokens }),
        2 => (0u64..200, 0u64..50).prop_map(|(rate, amount)| Operation::Answer { rate, amount }),
        1 => Just(Operation::Fail),
    ];
    proptest::collection::vec(operation, 1..300)
}

#[test]
fn the_same_scenario_gives_the_same_decisions_natively_and_in_wasm() -> Result<()> {
    let code = code(false)?;
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(operations in operations())| {
        let mut process = Process::of(&code);
        let vms: Vec<_> = (0..WORKERS).filter_map(|_| process.add_vm(CONFIG.as_bytes(), b"test").ok()).collect();
        let start = Nanos(process.clock().steady_ns);
        let wasm = in_wasm(&mut process, &vms, &operations).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let native = native(&operations, start);
        prop_assert_eq!(&native.decisions, &wasm.decisions);
        // The boot is named by the wall clock, which the two hosts need not start at the same instant.
        prop_assert_eq!(named(native.messages), named(wasm.messages));
    });
    Ok(())
}

fn named(mut messages: Vec<Message>) -> Vec<Message> {
    for message in &mut messages {
        match message {
            Message::Report(report) => (report.boot_id, report.sequence) = (0, 0),
            Message::Watch(watch) => watch.boot_id = 0,
            Message::ReportAck(_) | Message::GrantTable(_) => {}
        }
    }
    messages
}
