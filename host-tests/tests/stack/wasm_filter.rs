//! The real wasm file on the deterministic host: what the filter does with requests, workers, faults and hostile input.

use std::time::Duration;

use anyhow::{Context, Result};
use forebay_host_tests::artefacts::Artefacts;
use forebay_protocol::v1::{Grant, Limit, Slot};
use forebay_protocol::{Generation, GrantTable, Message, decode, encode};
use forebay_wasm_host::{Answer, Code, HttpCall, Options, Outcome, Process, Request, VmId, cas_mismatches};

const TICK: Duration = Duration::from_millis(50);
const CONFIG: &str = r#"{
    "proxy_id": "p1",
    "controller": {"cluster": "ctl"},
    "policy": {
        "resources": [{"name": "requests", "others": {"rate_per_s": 10, "burst": 5}}],
        "contracts": [{"tenant": "a", "resource": "requests", "rate_per_s": 1000, "burst": 2000}]
    }
}"#;

/// The filter as `cargo xtask setup` built it.
pub(crate) fn code(fuel: bool) -> Result<Code> {
    let path = Artefacts::find()?.forebay_filter;
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(Code::compile(&bytes, Options { fuel, vm_id: "forebay".into(), ..Options::default() })?)
}

fn process(vms: usize) -> Result<(Process, Vec<VmId>)> {
    let mut process = Process::of(&code(false)?);
    let vms = (0..vms).map(|_| process.add_vm(CONFIG.as_bytes(), b"test")).collect::<Result<_, _>>()?;
    Ok((process, vms))
}

fn lane(process: &mut Process, vm: VmId, tenant: &[u8]) -> Result<String> {
    let exchange = process.request(vm, Request::get("/").header("x-tenant", tenant))?;
    Ok(match &exchange.outcome {
        Outcome::Continue { headers } => headers.text("x-forebay-lane").unwrap_or_default().to_string(),
        Outcome::LocalReply(reply) => format!("{}", reply.status),
        other => format!("{other:?}"),
    })
}

fn is_watch(call: &HttpCall) -> bool {
    matches!(decode(&call.body), Ok(Message::Watch(_)))
}

/// Advances until the leader watches, and returns that call; reports stay without answer.
fn watch(process: &mut Process) -> Result<HttpCall> {
    for _ in 0..400 {
        if let Some(call) = process.take_calls().into_iter().find(is_watch) {
            return Ok(call);
        }
        process.advance(TICK)?;
    }
    anyhow::bail!("no watch within 20 s")
}

fn table(sequence: u64, valid_for_ms: u32, grants: Vec<Grant>) -> GrantTable {
    let generation = Generation { shard: 0, epoch: 1, sequence };
    GrantTable { generation, part: 0, parts: 1, valid_for_ms, grants, extensions: vec![] }
}

fn grant(rate_per_s: u64, burst: u64, slots: Vec<Slot>) -> Grant {
    Grant {
        tenant: "a".into(),
        resource: "requests".into(),
        standard: Limit { rate_milli_per_s: rate_per_s * 1_000, burst },
        safe: Limit { rate_milli_per_s: 1_000, burst: 1 },
        forecast_version: 1,
        slots,
    }
}

fn push(process: &mut Process, table: GrantTable) -> Result<()> {
    let call = watch(process)?;
    process.answer(&call, Answer::new(200, encode(&Message::GrantTable(table))))?;
    Ok(process.advance(TICK)?)
}

#[test]
fn headers_are_read_the_same_way_however_many_there_are() -> Result<()> {
    let (mut process, vms) = process(1)?;
    for further in [0, 20, 63, 64, 200] {
        let mut request = Request::get("/").header("x-forebay-lane", "reserved").header("x-forebay-lane", "standard");
        for number in 0..further {
            request = request.header(format!("x-further-{number}"), "x".repeat(number * 3));
        }
        // The first of two values counts, and what a client says about its lane does not.
        let request = request.header("x-tenant", "a").header("x-tenant", "nobody");
        process.advance(TICK)?;
        let exchange = process.request(vms[0], request)?;
        let Outcome::Continue { headers } = &exchange.outcome else {
            anyhow::bail!("{further}: {:?}", exchange.outcome)
        };
        let lanes = headers.0.iter().filter(|(name, _)| name == b"x-forebay-lane").count();
        assert_eq!((headers.text("x-forebay-lane").as_deref(), lanes), (Some("standard"), 1), "{further} headers");
    }
    // Five requests of `others` would be its whole burst; the contract was charged.
    assert_eq!(lane(&mut process, vms[0], b"nobody")?, "standard");
    Ok(())
}

#[test]
fn admitted_requests_carry_the_lane_and_refused_ones_an_answer() -> Result<()> {
    let (mut process, vms) = process(1)?;
    let pace = Limit { rate_milli_per_s: 2_000, burst: 2 };
    let slot = Slot { id: 1, starts_in_ms: 0, length_ms: 60_000, amount: 2, pace };
    process.advance(TICK)?;
    push(&mut process, table(1, 60_000, vec![grant(0, 0, vec![slot])]))?;
    let spoofed = Request::get("/").header("x-tenant", "a").header("x-forebay-lane", "spoofed");
    let Outcome::Continue { headers } = process.request(vms[0], spoofed)?.outcome else { panic!("admitted") };
    assert_eq!(headers.text("x-forebay-lane"), Some("reserved".into()));
    assert_eq!(headers.text("priority"), Some("u=1".into()));
    let own = Request::get("/").header("x-tenant", "a").header("priority", "u=5");
    let Outcome::Continue { headers } = process.request(vms[0], own)?.outcome else { panic!("admitted") };
    assert_eq!(headers.text("priority"), Some("u=5".into()), "a client's own priority is left alone");
    // 2 were reserved, the standard share is 0: never.
    let Outcome::LocalReply(reply) = process.request(vms[0], Request::get("/").header("x-tenant", "a"))?.outcome else {
        panic!("refused")
    };
    assert_eq!((reply.status, reply.grpc_status, reply.headers.text("retry-after")), (429, Some(8), None));
    for _ in 0..5 {
        assert_eq!(lane(&mut process, vms[0], b"stranger")?, "standard");
    }
    let refused = process.request(vms[0], Request::get("/").header("x-tenant", "stranger"))?;
    let Outcome::LocalReply(reply) = refused.outcome else { panic!("refused") };
    let retry_after_s: u64 = reply.headers.text("retry-after").context("no retry-after")?.parse()?;
    assert!((1..=2).contains(&retry_after_s), "one second, and a spread of one: {retry_after_s}");
    assert_eq!(reply.headers.text("x-envoy-ratelimited"), Some("true".into()));
    assert_eq!(reply.headers.text("content-type"), Some("application/problem+json".into()));
    let probe = Request::get("/").header("user-agent", "kube-probe/1").header("x-forebay-lane", "spoofed");
    let Outcome::Continue { headers } = process.request(vms[0], probe)?.outcome else { panic!("exempt") };
    assert_eq!(headers.text("x-forebay-lane"), None, "a client's copy goes nowhere");
    Ok(())
}

#[test]
fn a_wrong_configuration_is_refused_with_place_reason_and_remedy() -> Result<()> {
    let mut process = Process::of(&code(false)?);
    let wrong = CONFIG.replace("\"rate_per_s\": 10,", "\"rate_per_s\": -1,");
    let error = process.add_vm(wrong.as_bytes(), b"test").expect_err("refused").to_string();
    assert!(error.contains("policy.resources[0].others.rate_per_s: the rate is out of range; choose 0 to"), "{error}");
    assert!(process.add_vm(b"", b"test").is_err());
    Ok(())
}

#[test]
fn two_workers_with_skewed_connections_use_the_limit_and_keep_the_bound() -> Result<()> {
    let (mut process, vms) = process(2)?;
    process.advance(TICK)?;
    // Both serve, so that both count; then all load is on one.
    for vm in &vms {
        lane(&mut process, *vm, b"a")?;
    }
    process.advance(Duration::from_secs(10))?;
    let (seconds, mut admitted) = (10u64, 0u64);
    for _ in 0..seconds * 2_000 {
        process.advance(Duration::from_micros(500))?;
        admitted += u64::from(lane(&mut process, vms[0], b"a")? == "standard");
    }
    let limit = 1_000 * seconds + 2_000;
    assert_eq!(process.metric("forebay.over_admission_bound_units"), Some(40), "2 % of 2,000, as documented");
    println!("skewed: {admitted} admitted of {limit} ({:.2} %)", 100.0 * admitted as f64 / limit as f64);
    assert!(admitted * 100 >= limit * 99, "{admitted} of {limit}");
    assert!(admitted <= limit + 40, "{admitted} of {limit}");
    Ok(())
}

#[test]
fn hostile_headers_and_a_hundred_thousand_tenants_do_no_harm() -> Result<()> {
    let (mut process, vms) = process(2)?;
    process.advance(TICK)?;
    lane(&mut process, vms[0], b"someone")?;
    process.advance(Duration::from_secs(1))?;
    let (memory, keys) = (process.memory_bytes(vms[0]), process.shared_data().keys("forebay").len());
    for number in 0..100_000u32 {
        lane(&mut process, vms[number as usize % 2], format!("tenant-{number}").as_bytes())?;
    }
    for hostile in [&b"\xff\xfe\x00\x01"[..], &vec![b'x'; 60 << 10], b"", b"*", b"a\0b"] {
        let answer = lane(&mut process, vms[0], hostile)?;
        assert!(["standard", "429"].contains(&answer.as_str()), "{answer}");
    }
    process.advance(Duration::from_secs(1))?;
    assert_eq!(process.shared_data().keys("forebay").len(), keys, "clients add no keys");
    let grown = process.memory_bytes(vms[0]).unwrap_or_default() - memory.unwrap_or_default();
    println!("memory after 100,000 tenants: {memory:?} + {grown} bytes, {keys} shared keys");
    assert!(grown <= 1 << 20, "{grown} bytes");
    assert!(process.failed(vms[0]).is_none() && process.failed(vms[1]).is_none());
    Ok(())
}

#[test]
fn bad_answers_are_counted_and_ignored() -> Result<()> {
    let (mut process, vms) = process(1)?;
    process.advance(TICK)?;
    push(&mut process, table(5, 600_000, vec![grant(0, 0, vec![])]))?;
    let good = encode(&Message::GrantTable(table(6, 1, vec![])));
    let answers = [
        Answer::new(200, b"garbage".to_vec()),
        Answer::new(200, good[..good.len() / 2].to_vec()),
        Answer::new(200, vec![0; (256 << 10) + 1]),
        Answer::new(200, encode(&Message::GrantTable(table(4, 1, vec![])))),
        Answer::new(503, good.clone()),
        Answer::timeout(),
    ];
    for answer in answers {
        let call = watch(&mut process)?;
        process.answer(&call, answer)?;
    }
    let call = watch(&mut process)?;
    process.fail_call(&call)?;
    process.advance(Duration::from_secs(1))?;
    assert_eq!(lane(&mut process, vms[0], b"a")?, "429", "generation 5 is still in force");
    let metric = |name: &str| process.metric(&format!("forebay.sync.{name}")).unwrap_or_default();
    assert_eq!([metric("undecodable_answers"), metric("oversized_answers"), metric("stale_tables")], [2, 1, 1]);
    assert!(metric("failed_calls") >= 2);
    Ok(())
}

#[test]
fn without_the_controller_keys_fall_to_their_safe_share() -> Result<()> {
    let (mut process, vms) = process(2)?;
    process.advance(TICK)?;
    push(&mut process, table(1, 3_000, vec![grant(1_000, 1_000, vec![])]))?;
    assert_eq!(lane(&mut process, vms[1], b"a")?, "standard");
    // Nobody answers any more.
    process.advance(Duration::from_secs(10))?;
    let lanes: Vec<_> = (0..5).map(|_| lane(&mut process, vms[1], b"a")).collect::<Result<_>>()?;
    assert_eq!(lanes, ["standard", "429", "429", "429", "429"], "the safe burst is one");
    Ok(())
}

#[test]
fn a_reload_refills_nothing_and_a_hot_restart_starts_with_one_second() -> Result<()> {
    let (mut process, vms) = process(1)?;
    let admitted = |process: &mut Process, vm| -> Result<usize> {
        let lanes: Vec<_> = (0..3_000).map(|_| lane(process, vm, b"a")).collect::<Result<_>>()?;
        Ok(lanes.iter().filter(|lane| *lane == "standard").count())
    };
    process.advance(Duration::from_secs(10))?;
    assert_eq!(admitted(&mut process, vms[0])?, 2_000, "the whole burst");
    process.kill_vm(vms[0])?;
    let reloaded = process.add_vm(CONFIG.as_bytes(), b"test")?;
    assert!(admitted(&mut process, reloaded)? <= 40, "no more than the lost lease");
    process.restart();
    let restarted = process.add_vm(CONFIG.as_bytes(), b"test")?;
    assert_eq!(admitted(&mut process, restarted)?, 1_000, "one second of rate, not the burst");
    Ok(())
}

#[test]
fn lost_races_refuse_and_do_not_trap() -> Result<()> {
    let (mut process, vms) = process(1)?;
    process.advance(Duration::from_secs(1))?;
    lane(&mut process, vms[0], b"stranger")?;
    process.on_shared_data(cas_mismatches(1_000));
    assert_eq!(lane(&mut process, vms[0], b"stranger")?, "429");
    process.clear_shared_data_hook();
    process.advance(Duration::from_secs(1))?;
    assert_eq!(lane(&mut process, vms[0], b"stranger")?, "standard");
    Ok(())
}

#[test]
fn two_instances_in_one_vm_keep_their_configurations_apart() -> Result<()> {
    let (mut process, vms) = process(1)?;
    let strict = CONFIG.replace("\"resources\"", "\"unidentified\":\"refuse\",\"resources\"");
    let second = process.add_root(vms[0], strict.as_bytes())?;
    let first = process.roots(vms[0])[0];
    process.advance(TICK)?;
    assert!(process.request(vms[0], Request::get("/").via(first))?.admitted());
    assert!(!process.request(vms[0], Request::get("/").via(second))?.admitted());
    process.remove_root(second)?;
    process.advance(Duration::from_secs(120))?;
    assert!(process.request(vms[0], Request::get("/").via(first))?.admitted());
    Ok(())
}

#[test]
fn provenance_goes_into_filter_state_and_rules_have_counters() -> Result<()> {
    let mut process = Process::of(&code(false)?);
    let told = CONFIG.replace("\"resources\"", "\"provenance\":{\"filter_state\":true},\"resources\"");
    let vm = process.add_vm(told.as_bytes(), b"test")?;
    process.advance(TICK)?;
    let exchange = process.request(vm, Request::get("/").header("x-tenant", "a"))?;
    let line = exchange.filter_state.get(&b"forebay"[..]).map(|line| String::from_utf8_lossy(line).into_owned());
    assert_eq!(line.as_deref(), Some("lane=standard;gen=-;fc=-;charge=rule-0@a"));
    process.advance(Duration::from_secs(1))?;
    assert_eq!(process.metric("forebay.rule.rule-0.lane.standard.requests"), Some(1));

    let (mut quiet, vms) = self::process(1)?;
    quiet.advance(TICK)?;
    assert!(quiet.request(vms[0], Request::get("/").header("x-tenant", "a"))?.filter_state.is_empty(), "nobody asked");
    let missing = CONFIG.replace("\"resources\"", "\"unidentified\":\"refuse\",\"resources\"");
    let vm = quiet.add_vm(missing.as_bytes(), b"test")?;
    let Outcome::LocalReply(reply) = quiet.request(vm, Request::get("/"))?.outcome else { panic!("refused") };
    assert_eq!((reply.status, reply.grpc_status, reply.headers.text("retry-after")), (400, Some(3), None));
    Ok(())
}
