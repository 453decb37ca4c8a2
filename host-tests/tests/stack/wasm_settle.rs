//! The streams module on the deterministic host: what an answer cost, to the unit, and no trace of streams that ended.

use std::time::Duration;

use anyhow::{Context, Result};
use forebay_host_tests::artefacts::Artefacts;
use forebay_wasm_host::{Code, Options, Outcome, Process, Request, Response, StreamId, VmId};

const TICK: Duration = Duration::from_millis(50);
const CONFIG: &str = r#"{"policy":{
    "resources":[{"name":"tokens","others":{"rate_per_s":0,"burst":0}}],
    "rules":[{"charges":[{"resource":"tokens","cost":{"settled":{
        "estimate":20,"by":{"usage":{"fields":["usage.output_tokens"]}}}}}]}],
    "contracts":[{"tenant":"a","resource":"tokens","rate_per_s":100,"burst":100}]}}"#;

fn start() -> Result<(Process, VmId)> {
    let path = Artefacts::find()?.forebay_filter_streams;
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let code = Code::compile(&bytes, Options { vm_id: "forebay".into(), ..Options::default() })?;
    let mut process = Process::of(&code);
    let vm = process.add_vm(CONFIG.as_bytes(), b"test")?;
    process.advance(TICK)?;
    Ok((process, vm))
}

fn open(process: &mut Process, vm: VmId) -> Result<Option<StreamId>> {
    let request = Request::get("/").header("x-tenant", "a").header("accept-encoding", "br");
    let exchange = process.open(vm, request)?;
    Ok(match exchange.outcome {
        Outcome::Continue { headers } => {
            assert_eq!(headers.text("accept-encoding"), None);
            Some(exchange.stream)
        }
        _ => None,
    })
}

fn sse() -> Response {
    Response::status(200).header("content-type", "text/event-stream")
}

#[test]
fn refunds_and_debts_are_exact_however_the_body_is_cut() -> Result<()> {
    let (mut process, vm) = start()?;
    let streams: Vec<StreamId> = (0..6).filter_map(|_| open(&mut process, vm).transpose()).collect::<Result<_>>()?;
    assert_eq!(streams.len(), 5, "100 units are five estimates");
    for stream in streams {
        process.stream_response(stream, sse().chunk("data: {\"usage\":{\"output").chunk("_tokens\":1"))?;
        process.finish(stream, sse().chunk("0}}\n\ndata: [DO").chunk("NE]\n\n"))?;
    }
    // 50 were used, so two more estimates fit.
    let more: Vec<StreamId> = (0..3).filter_map(|_| open(&mut process, vm).transpose()).collect::<Result<_>>()?;
    assert_eq!(more.len(), 2);
    for stream in more {
        process.finish(stream, sse().chunk("data: {\"usage\":{\"output_tokens\":60}}\n\n"))?;
    }
    // 50 + 120 of 100: 70 are owed, and 20 more make an estimate: 0.9 s.
    process.advance(Duration::from_millis(850))?;
    assert_eq!(open(&mut process, vm)?, None);
    process.advance(Duration::from_millis(150))?;
    assert!(open(&mut process, vm)?.is_some());
    Ok(())
}

#[test]
fn streams_that_are_reset_leave_no_trace_and_keep_their_estimate() -> Result<()> {
    let (mut process, vm) = start()?;
    for _ in 0..5 {
        let stream = open(&mut process, vm)?.context("admitted")?;
        process.stream_response(stream, sse().chunk("data: {\"usage\":{\"output_tokens\":1}}\n\n"))?;
        process.reset(stream)?;
    }
    assert_eq!(process.open_streams(vm), 0);
    assert_eq!(open(&mut process, vm)?, None, "five estimates are the burst");
    Ok(())
}
