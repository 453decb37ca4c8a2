//! The host against a small hand-written module (`module.wat`): every test says what a module can observe.

use std::sync::LazyLock;
use std::time::Duration;

use forebay_wasm_host::{
    Answer, Code, Headers, HostError, Metric, Options, Outcome, Process, Request, Response, SharedDataCall, Status,
    VmId, cas_mismatches,
};

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let options = Options { fuel: true, callback_fuel: 1_000_000, ..Options::default() };
    Code::compile(&wat::parse_str(include_str!("module.wat")).unwrap(), options).unwrap()
});

const MS: Duration = Duration::from_millis(1);

fn started(configuration: &str) -> (Process, VmId) {
    let mut process = Process::of(&CODE);
    let vm = process.add_vm(configuration.as_bytes(), b"build 1").unwrap();
    (process, vm)
}

fn doing(what: &str) -> Request {
    Request::get("/").header("x-do", what)
}

fn texts(process: &mut Process) -> Vec<String> {
    process.take_logs().into_iter().map(|line| line.text).collect()
}

#[test]
fn a_request_passes_with_an_added_header_and_its_stream_ends() {
    let (mut process, vm) = started("-");
    let exchange = process.request(vm, doing("h")).unwrap();
    assert_eq!(exchange.header("x-lane").as_deref(), Some("reserved"));
    assert_eq!(process.last_hostcalls().get("proxy_add_header_map_value"), Some(&1));
    assert!(process.last_fuel().is_some_and(|fuel| fuel > 0));
    assert_eq!(process.memory_bytes(vm), Some(2 * 65536));
    assert_eq!(texts(&mut process), ["log", "done", "delete"]);
    assert_eq!(process.open_streams(vm), 0);

    assert!(process.request(vm, Request::get("/")).unwrap().admitted());
    assert_eq!(process.last_hostcalls().get("proxy_add_header_map_value"), None, "costs are per method");
}

#[test]
fn a_response_body_arrives_in_pieces_before_the_stream_ends() {
    let (mut process, vm) = started("-");
    let stream = process.open(vm, doing("h")).unwrap().stream;
    let streaming = process.stream_response(stream, Response::status(200).chunk("one").chunk("two")).unwrap();
    assert!(streaming.admitted());
    assert_eq!(texts(&mut process), ["one", "two"], "the stream is still open");
    assert_eq!(process.open_streams(vm), 1);
    process.finish(stream, Response::status(200).chunk("three")).unwrap();
    assert_eq!(texts(&mut process), ["three", "log", "done", "delete"]);
    assert_eq!(process.open_streams(vm), 0);
}

#[test]
fn a_local_reply_carries_everything_and_wins_over_continue() {
    let (mut process, vm) = started("-");
    let exchange = process.open(vm, doing("l")).unwrap();
    let reply = exchange.local_reply().unwrap();
    assert_eq!((reply.status, reply.grpc_status), (429, Some(8)));
    assert_eq!((reply.details.as_str(), reply.body.as_slice()), ("over quota", b"over".as_slice()));
    assert_eq!(reply.headers, [("retry-after", "1")].into_iter().collect::<Headers>());
    assert_eq!(process.open_streams(vm), 0, "a local reply ends its stream");
}

#[test]
fn a_paused_stream_is_edited_and_let_go_by_the_tick() {
    let (mut process, vm) = started("t");
    let paused = process.request(vm, doing("p")).unwrap();
    assert_eq!(paused.outcome, Outcome::Paused);
    process.advance(9 * MS).unwrap();
    assert_eq!(process.take_settled(), []);
    process.advance(MS).unwrap();
    let settled = process.take_settled();
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0].at_ns, process.clock().steady_ns);
    assert_eq!(settled[0].exchange.header("x-lane").as_deref(), Some("reserved"));
    let finished = process.finish(paused.stream, Response::status(200)).unwrap();
    assert!(finished.admitted());
    assert_eq!(finished.response_headers.get(":status"), Some(b"200".as_slice()));
    assert!(matches!(process.reset(paused.stream), Err(HostError::NoSuchStream { .. })));
}

#[test]
fn a_stream_reset_while_paused_is_not_resumed() {
    let (mut process, vm) = started("t");
    let paused = process.request(vm, doing("p")).unwrap();
    assert_eq!(process.reset(paused.stream).unwrap().outcome, Outcome::Paused);
    assert_eq!(texts(&mut process), ["log", "done", "delete"]);
    process.advance(20 * MS).unwrap();
    assert_eq!(process.take_settled(), []);
}

#[test]
fn a_local_reply_for_another_stream_stops_this_one_too() {
    let (mut process, vm) = started("-");
    let waiting = process.open(vm, doing("p")).unwrap();
    let other = process.open(vm, doing("o")).unwrap();
    assert_eq!(other.outcome, Outcome::Paused, "Envoy's stop flag belongs to the VM");
    let settled = process.take_settled();
    assert_eq!(settled[0].exchange.stream, waiting.stream);
    assert_eq!(settled[0].exchange.refused_with(), Some(429));
}

#[test]
fn ticks_of_several_vms_and_roots_fire_in_order_of_time() {
    let (mut process, first) = started("t");
    let second = process.add_vm(b"f", b"").unwrap();
    process.add_root(first, b"f").unwrap();
    assert_eq!(process.roots(first).len(), 2);
    process.advance(30 * MS).unwrap();
    assert_eq!(process.metric("ticks"), Some(3 + 6 + 6));
    assert_eq!(process.next_tick_ns(), Some(process.clock().steady_ns + 5_000_000));
    process.kill_vm(second).unwrap();
    process.advance(10 * MS).unwrap();
    assert_eq!(process.metrics().get("ticks"), Some(&Metric::Counter(15 + 1 + 2)));
    let root = process.roots(first)[0];
    process.remove_root(root).unwrap();
    process.advance(10 * MS).unwrap();
    assert_eq!(process.metric("ticks"), Some(18 + 2));
}

#[test]
fn the_clocks_are_virtual_and_the_wall_clock_can_step() {
    let (mut process, vm) = started("-");
    let read = |process: &mut Process| {
        let state = process.request(vm, doing("c")).unwrap().filter_state;
        let (steady, wall) = state.get(b"time".as_slice()).unwrap().split_at(8);
        (u64::from_le_bytes(steady.try_into().unwrap()), u64::from_le_bytes(wall.try_into().unwrap()))
    };
    let (steady, wall) = read(&mut process);
    process.advance(7 * MS).unwrap();
    assert_eq!(read(&mut process), (steady + 7_000_000, wall + 7_000_000));
    process.set_wall_clock(5);
    assert_eq!(read(&mut process), (steady + 7_000_000, 5));
}

#[test]
fn calls_are_taken_and_answered_or_failed() {
    let (mut process, vm) = started("c");
    process.advance(20 * MS).unwrap();
    let calls = process.take_calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (calls[0].vm, calls[0].cluster.as_str(), calls[0].body.as_slice()),
        (vm, "controller", b"report".as_slice())
    );
    assert_eq!(calls[0].headers.get(":path"), Some(b"/v1/sync".as_slice()));
    assert_eq!(calls[0].timeout, 500 * MS);
    process.answer(&calls[1], Answer::new(200, "second")).unwrap();
    process.fail_call(&calls[0]).unwrap();
    assert_eq!(texts(&mut process), ["second", "call failed"]);
    assert!(matches!(process.answer(&calls[0], Answer::timeout()), Err(HostError::NoSuchCall { .. })));

    process.set_cluster_exists("controller", false);
    process.advance(10 * MS).unwrap();
    assert_eq!(process.take_calls(), [], "a call to an unknown cluster is refused");
}

#[test]
fn two_vms_meet_in_shared_data() {
    let (mut process, first) = started("-");
    let second = process.add_vm(b"-", b"build 2").unwrap();
    for vm in [first, second, first] {
        assert_eq!(process.request(vm, doing("k")).unwrap().header("x-status").as_deref(), Some("0"));
    }
    let entry = process.shared_data().get("forebay", b"key").unwrap();
    assert_eq!((entry.value.as_slice(), entry.cas), ([3].as_slice(), 3));

    process.kill_vm(first).unwrap();
    assert!(process.shared_data().get("forebay", b"key").is_some(), "outlives the VM");
    process.restart();
    assert_eq!(process.shared_data().get("forebay", b"key"), None);
    assert_eq!(process.vms(), []);
}

#[test]
fn another_worker_can_write_between_get_and_set() {
    let (mut process, vm) = started("-");
    process.shared_data_mut().set("forebay", b"key", &[10], 0);
    process.on_shared_data(|call, data| {
        if let SharedDataCall::Set { vm_id, key, .. } = call {
            assert_eq!(data.set(vm_id, key, &[20], 0), Status::Ok);
        }
        None
    });
    assert_eq!(process.request(vm, doing("k")).unwrap().header("x-status").as_deref(), Some("8"));
    assert_eq!(process.shared_data().get("forebay", b"key").unwrap().value, [20]);

    process.on_shared_data(cas_mismatches(1));
    assert_eq!(process.request(vm, doing("k")).unwrap().header("x-status").as_deref(), Some("8"));
    assert_eq!(process.request(vm, doing("k")).unwrap().header("x-status").as_deref(), Some("0"));
}

#[test]
fn an_absent_key_is_inserted_whatever_cas_says() {
    let (mut process, vm) = started("-");
    // The module sets an absent key with a number that no value has.
    assert_eq!(process.request(vm, doing("k")).unwrap().header("x-status").as_deref(), Some("0"));

    let (mut process, vm) = started("-");
    process.on_shared_data(|call, data| {
        if let SharedDataCall::Set { vm_id, key, .. } = call {
            assert_eq!(data.set(vm_id, key, b"created in between", 0), Status::Ok);
        }
        None
    });
    assert_eq!(process.request(vm, doing("k")).unwrap().header("x-status").as_deref(), Some("8"));
}

#[test]
fn a_trap_fails_its_own_vm_only() {
    let (mut process, first) = started("t");
    let second = process.add_vm(b"t", b"").unwrap();
    let exchange = process.request(first, doing("t")).unwrap();
    assert!(matches!(&exchange.outcome, Outcome::Trapped(why) if why.contains("proxy_on_request_headers")));
    assert!(process.failed(first).is_some());
    assert!(matches!(process.request(first, doing("h")).unwrap().outcome, Outcome::Trapped(_)));
    assert!(process.request(second, doing("h")).unwrap().admitted());
    process.advance(10 * MS).unwrap();
    assert_eq!(process.metric("ticks"), Some(1), "only the second VM ticks");
}

#[test]
fn an_endless_loop_ends_when_its_fuel_does() {
    let (mut process, vm) = started("-");
    assert!(matches!(process.request(vm, doing("i")).unwrap().outcome, Outcome::Trapped(_)));
    assert_eq!(process.last_fuel(), Some(1_000_000));
}

#[test]
fn a_bad_pointer_is_a_status_not_a_crash() {
    let (mut process, vm) = started("-");
    assert_eq!(process.request(vm, doing("m")).unwrap().header("x-status").as_deref(), Some("6"));
}

#[test]
fn an_item_reaches_the_last_registered_consumer_with_the_next_advance() {
    let (mut process, first) = started("q");
    let second = process.add_vm(b"q", b"").unwrap();
    process.request(first, doing("q")).unwrap();
    process.take_logs();
    process.advance(Duration::ZERO).unwrap();
    let logs = process.take_logs();
    assert_eq!(logs.len(), 1);
    assert_eq!((logs[0].vm, logs[0].text.as_str()), (second, "report"));
}

#[test]
fn a_refused_configuration_says_what_was_logged_and_leaves_no_vm() {
    let mut process = Process::of(&CODE);
    let refused = process.add_vm(b"n", b"").unwrap_err();
    assert!(matches!(refused, HostError::Refused { callback: "proxy_on_configure", .. }));
    assert!(refused.to_string().contains("refused"), "{refused}");
    assert!(matches!(process.add_vm(b"b", b""), Err(HostError::Trapped { .. })));
    assert_eq!(process.vms(), []);

    let vm = process.add_vm(b"-", b"").unwrap();
    assert!(process.add_root(vm, b"n").is_err());
    assert_eq!(process.roots(vm).len(), 1, "the old root goes on");
    assert!(process.request(vm, doing("h")).unwrap().admitted());
}

#[test]
fn an_unknown_import_is_named() {
    let module = wat::parse_str(r#"(module (import "env" "proxy_fly" (func)))"#).unwrap();
    let error = Process::new(&module, Options::default()).err().unwrap();
    assert!(matches!(&error, HostError::UnknownImport { name, .. } if name == "proxy_fly"), "{error}");
}

#[test]
fn the_same_inputs_give_the_same_log_and_costs() {
    let run = || {
        let (mut process, first) = started("c");
        let second = process.add_vm(b"f", b"").unwrap();
        let mut costs = Vec::new();
        for step in 0..20 {
            let vm = if step % 3 == 0 { second } else { first };
            let exchange = process.request(vm, doing(["h", "k", "p", "l"][step % 4])).unwrap();
            costs.push((exchange, process.last_hostcalls(), process.last_fuel()));
            process.advance(4 * MS).unwrap();
            for call in process.take_calls() {
                process.answer(&call, Answer::new(200, format!("answer {step}"))).unwrap();
            }
        }
        (costs, process.take_settled(), process.take_logs())
    };
    assert_eq!(run(), run());
}
