//! The guard of upstream concurrency on an in-memory host: limits that follow a scripted latency, lanes, resets, waiting.

use std::collections::BTreeMap;

use forebay_admission::concurrency::LANE_PERCENT;
use forebay_admission::{ClusterState, Lane, Nanos};
use forebay_engine::guard::{MAX_CLUSTERS, START_CONCURRENCY};
use forebay_engine::memory::{Memory, Timers};
use forebay_engine::{CallKind, CallOut, Effect, Metric, Module, Outcome, Stream, Worker};
use forebay_protocol::Message;
use forebay_protocol::v1::{Limit, Slot};
use proptest::prelude::*;

use crate::support::{MS, grant, received, table};

const CLUSTER: &str = "xds\0cluster_name";
const DETAILS: &str = "response\0code_details";

/// `b` is standard, and `a` reserved once it has a table.
fn config(guard: &str, more: &str) -> String {
    format!(
        r#"{{"proxy_id":"p1","controller":{{"cluster":"ctl"}},"policy":{{
        "resources":[{{"name":"requests","others":{{"rate_per_s":0}}}}],
        "contracts":[{{"tenant":"a","resource":"requests","rate_per_s":100000}},
                     {{"tenant":"b","resource":"requests","rate_per_s":100000}},
                     {{"tenant":"small","resource":"requests","rate_per_s":10,"burst":10}}],
        "guard":{guard}{more}}}}}"#
    )
}

const CODEL: &str = r#"{"mode":"codel","target_ms":50,"min_concurrency":5,"max_concurrency":40}"#;

/// A proxy whose workers tick when time passes.
struct Proxy {
    memory: Memory,
    workers: Vec<Worker>,
    next: u32,
    timers: Timers,
    /// By worker.
    ticks: Vec<usize>,
    calls: Vec<(usize, CallOut)>,
    counted: Vec<(Metric, u64)>,
    resumed: Vec<(u32, Option<Lane>)>,
    answered: Vec<(u32, &'static str, u16)>,
    limits: BTreeMap<String, u64>,
}

impl Proxy {
    fn new(workers: usize, config: &str) -> Self {
        let mut memory = Memory::default();
        (memory.now, memory.wall_nanos) = (Nanos(1_000 * MS), 77);
        memory.properties.insert(CLUSTER.into(), Ok(b"shop".to_vec()));
        memory.properties.insert(DETAILS.into(), Ok(b"via_upstream".to_vec()));
        let worker = || Worker::configure_in(Module::Streams, config.as_bytes()).unwrap();
        let mut this = Self {
            timers: Timers::new(workers, memory.now),
            ticks: vec![0; workers],
            memory,
            workers: (0..workers).map(|_| worker()).collect(),
            next: 1,
            calls: vec![],
            counted: vec![],
            resumed: vec![],
            answered: vec![],
            limits: BTreeMap::new(),
        };
        this.advance(2_000);
        this
    }

    fn advance(&mut self, ms: u64) {
        let end = self.memory.now.plus(ms * MS);
        while let Some((worker, effects)) = self.timers.tick(&mut self.memory, &mut self.workers, end) {
            self.ticks[worker] += 1;
            self.take(worker, effects);
        }
    }

    fn take(&mut self, worker: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Call(call) => self.calls.push((worker, call)),
                Effect::Count(metric, n) => self.counted.push((metric, n)),
                Effect::Resume { stream, lane } => self.resumed.push((stream, lane)),
                Effect::Answer { stream, refusal } => self.answered.push((stream, refusal.details, refusal.status)),
                Effect::GuardLimit(number, limit) => {
                    let name = self.workers[worker].guard_gauge(number).expect("a number has a name");
                    self.limits.insert(name, limit);
                }
                Effect::CountNamed(..) | Effect::OverAdmissionBound(_) | Effect::Warn(_) | Effect::TickEvery(_) => {}
            }
        }
    }

    fn send(&mut self, worker: usize, tenant: &str) -> (u32, Outcome) {
        let id = self.next;
        self.next += 1;
        let stream = Stream { id, end_of_stream: true };
        let outcome =
            self.workers[worker].on_stream(stream, &mut self.memory.request(&[("x-tenant", tenant.as_bytes())]));
        if let Outcome::Wait { tick_ms: Some(ms) } = outcome {
            self.timers.set_period(worker, self.memory.now, ms);
        }
        (id, outcome)
    }

    /// Sends so many, and says which were admitted.
    fn admitted(&mut self, worker: usize, tenant: &str, tries: usize) -> Vec<u32> {
        let sent: Vec<_> = (0..tries).map(|_| self.send(worker, tenant)).collect();
        sent.into_iter().filter(|(_, outcome)| matches!(outcome, Outcome::Admit(_))).map(|(id, _)| id).collect()
    }

    /// The answer begins, and ends.
    fn finish(&mut self, worker: usize, stream: u32) {
        self.workers[worker].on_response_headers(stream, true, &mut self.memory.response(&[]));
        self.reset(worker, stream);
    }

    fn reset(&mut self, worker: usize, stream: u32) {
        for _ in 0..2 {
            self.workers[worker].on_stream_end(stream, &mut self.memory.host());
        }
    }

    fn count(&self, metric: Metric) -> u64 {
        self.counted.iter().filter(|(known, _)| *known == metric).map(|(_, n)| n).sum()
    }

    fn state(&self) -> ClusterState {
        ClusterState::decode(&self.memory.shared["fb1/g/0"].0).unwrap()
    }

    /// Reserves for tenant `a` from now on.
    fn reserve(&mut self) {
        let limit = |rate: u64| Limit { rate_milli_per_s: rate * 1_000, burst: rate };
        let slot = Slot { id: 1, starts_in_ms: -50, length_ms: 600_000, amount: 1_000_000, pace: limit(100_000) };
        let grants = vec![
            grant("a", "requests", 100_000, 100_000, vec![slot]),
            grant("b", "requests", 100_000, 100_000, vec![]),
        ];
        let place = self.calls.iter().position(|(_, call)| call.kind == CallKind::Watch).expect("a watch");
        let (worker, _) = self.calls.remove(place);
        let answer = received(&Message::GrantTable(table(1, 600_000, grants)));
        let effects = self.workers[worker].on_answer(CallKind::Watch, answer, &mut self.memory.host());
        self.take(worker, effects);
        self.advance(60);
    }
}

/// An open loop: 400 requests a second, alternating between the workers, each answered after `latency_ms`. Returns the
/// most that were in flight at a time, and how many were admitted.
fn run(
    proxy: &mut Proxy,
    seconds: u64,
    latency_ms: u64,
    under_way: &mut BTreeMap<u64, Vec<(usize, u32)>>,
) -> (usize, u64) {
    let (mut most, mut admitted) = (0, 0);
    for step in 0..seconds * 1_000 {
        proxy.advance(1);
        let now_ms = proxy.memory.now.0 / MS;
        while let Some(entry) = under_way.first_entry().filter(|entry| *entry.key() <= now_ms) {
            for (worker, stream) in entry.remove() {
                proxy.finish(worker, stream);
            }
        }
        if step % 5 < 2 {
            let worker = (step % 2) as usize;
            for stream in proxy.admitted(worker, "b", 1) {
                admitted += 1;
                under_way.entry(now_ms + latency_ms).or_default().push((worker, stream));
            }
        }
        let in_flight: usize = proxy.workers.iter().map(Worker::in_flight).sum();
        assert_eq!(in_flight, under_way.values().map(Vec::len).sum::<usize>(), "each admitted one holds a slot");
        most = most.max(in_flight);
    }
    (most, admitted)
}

#[test]
fn the_lean_module_refuses_a_guard_and_names_the_other() {
    let error = Worker::configure(config(CODEL, "").as_bytes()).unwrap_err().to_string();
    assert!(error.contains("policy.guard: the guard of upstream concurrency"), "{error}");
    assert!(error.contains("load forebay_filter_streams.wasm instead"), "{error}");
}

#[test]
fn without_a_guard_nothing_more_is_asked() {
    let reads = |guard: &str| {
        let mut proxy = Proxy::new(1, &config(guard, ""));
        let before = proxy.memory.fact_reads;
        let stream = proxy.admitted(0, "b", 1)[0];
        let asked = proxy.memory.fact_reads - before;
        let follows = proxy.workers[0].follows(stream);
        (asked, follows)
    };
    let (off, on) = (reads("{}"), reads(CODEL));
    assert_eq!((off.1, on.1), (false, true));
    assert_eq!(on.0, off.0 + 1, "the cluster");
}

#[test]
fn a_worker_with_a_slot_is_not_quiet_however_long_its_request_takes() {
    let mut proxy = Proxy::new(2, &config(CODEL, ""));
    let stream = proxy.admitted(1, "b", 1)[0];
    proxy.advance(10_000);
    let ticks = |proxy: &mut Proxy| {
        proxy.ticks.fill(0);
        proxy.advance(1_000);
        proxy.ticks[1]
    };
    assert_eq!(ticks(&mut proxy), 20);
    proxy.finish(1, stream);
    assert_eq!(ticks(&mut proxy), 1 + 4, "its slot went back with the next tick");
    assert_eq!(proxy.state().leased(), 0);
}

#[test]
fn the_limit_falls_under_rising_latency_and_comes_back() {
    let mut proxy = Proxy::new(2, &config(CODEL, ""));
    let mut under_way = BTreeMap::new();
    let gauge = "forebay.guard.cluster.shop.limit";
    // 400 a second at 20 ms are 8 at a time.
    let (most, admitted) = run(&mut proxy, 5, 20, &mut under_way);
    assert!(most <= 12 && admitted == 2_000, "{most} {admitted}");
    assert_eq!(proxy.limits[gauge], 40, "nothing was slow");
    // At 200 ms they would be 80.
    run(&mut proxy, 14, 200, &mut under_way);
    let slow = proxy.limits[gauge];
    assert_eq!(slow, 5, "the least");
    let (most, _) = run(&mut proxy, 5, 200, &mut under_way);
    assert!(most <= 5, "{most} in flight of {slow}");
    proxy.advance(250);
    let refused = proxy.count(Metric::GuardRefused);
    assert!(refused > 3_000, "{refused}");
    assert_eq!(proxy.count(Metric::Refused), refused, "and they are offered demand");
    let (_, admitted) = run(&mut proxy, 20, 20, &mut under_way);
    assert!(proxy.limits[gauge] >= 8 && admitted > 7_000, "{:?} {admitted}", proxy.limits);
}

#[test]
fn the_gradient_finds_it_without_a_target() {
    let guard = r#"{"mode":"gradient","min_concurrency":2,"max_concurrency":200}"#;
    let mut proxy = Proxy::new(2, &config(guard, ""));
    let mut under_way = BTreeMap::new();
    run(&mut proxy, 20, 20, &mut under_way);
    let gauge = "forebay.guard.cluster.shop.limit";
    let normal = proxy.limits[gauge];
    assert_eq!(normal, START_CONCURRENCY, "8 at a time do not test it");
    run(&mut proxy, 10, 200, &mut under_way);
    assert!(proxy.limits[gauge] * 2 < normal, "{} of {normal}", proxy.limits[gauge]);
}

#[test]
fn the_lowest_lane_is_refused_first() {
    let mut proxy = Proxy::new(1, &config(r#"{"mode":"codel","target_ms":50,"max_concurrency":40}"#, ""));
    proxy.reserve();
    let standard = proxy.admitted(0, "b", 100).len();
    assert_eq!(standard as u64, 40 * LANE_PERCENT[1] / 100);
    let (_, refused) = proxy.send(0, "b");
    let Outcome::Refuse(answer) = refused else { panic!("{refused:?}") };
    assert_eq!((answer.status, answer.details, answer.grpc_status), (429, "forebay_overloaded", 8));
    assert!(answer.headers.contains(&("x-envoy-ratelimited", "true".into())), "meshes do not try again");
    assert!(answer.headers.iter().any(|(name, _)| *name == "retry-after"));
    let reserved = proxy.admitted(0, "a", 100).len();
    assert_eq!(standard + reserved, 40);
}

#[test]
fn a_refusal_takes_nothing_from_the_bucket() {
    let mut proxy = Proxy::new(1, &config(r#"{"mode":"codel","target_ms":50,"max_concurrency":1}"#, ""));
    let mut held = proxy.admitted(0, "small", 50);
    assert_eq!(held.len(), 1);
    for _ in 0..9 {
        proxy.finish(0, held[0]);
        held = proxy.admitted(0, "small", 5);
        assert_eq!(held.len(), 1, "nine of the ten tokens are left");
    }
    proxy.finish(0, held[0]);
    let (_, outcome) = proxy.send(0, "small");
    let Outcome::Refuse(answer) = outcome else { panic!("{outcome:?}") };
    assert_eq!(answer.details, "forebay_over_limit");
}

#[test]
fn dry_runs_count_and_refuse_nothing() {
    let guard = r#"{"mode":"codel","target_ms":50,"max_concurrency":1"#;
    for (guard, more) in [(format!("{guard}}}"), r#","dry_run":true"#), (format!("{guard},\"dry_run\":true}}"), "")] {
        let mut proxy = Proxy::new(1, &config(&guard, more));
        assert_eq!(proxy.admitted(0, "b", 10).len(), 10);
        proxy.advance(250);
        assert_eq!([Metric::GuardWouldRefuse, Metric::GuardRefused].map(|name| proxy.count(name)), [9, 0]);
        assert_eq!(proxy.count(Metric::Standard), 10, "tagged and counted like any other");
    }
}

#[test]
fn what_does_not_come_from_upstream_says_nothing_about_it() {
    for (details, falls) in [("ext_authz_denied", false), ("no_healthy_upstream", false), ("response_timeout", true)] {
        let mut proxy = Proxy::new(2, &config(CODEL, ""));
        proxy.memory.properties.insert(DETAILS.into(), Ok(details.as_bytes().to_vec()));
        run(&mut proxy, 8, 200, &mut BTreeMap::new());
        let limit = proxy.state().limiter.slots();
        assert_eq!(limit < 40, falls, "{details}: {limit}");
    }
}

#[test]
fn clusters_are_bounded_and_apart() {
    let mut proxy = Proxy::new(2, &config(r#"{"mode":"codel","target_ms":50,"max_concurrency":1}"#, ""));
    for number in 0..MAX_CLUSTERS + 3 {
        proxy.memory.properties.insert(CLUSTER.into(), Ok(format!("c{number}").into_bytes()));
        let admitted = proxy.admitted(number % 2, "b", 2).len();
        assert_eq!(admitted, if number < MAX_CLUSTERS { 1 } else { 2 }, "{number}");
    }
    proxy.memory.properties.remove(CLUSTER);
    assert_eq!(proxy.admitted(0, "b", 5).len(), 5, "a request without cluster is the proxy's own matter");
    proxy.advance(250);
    assert_eq!(proxy.count(Metric::GuardUnguarded), 6);
    let records = proxy.memory.shared.keys().filter(|key| key.starts_with("fb1/g/")).count();
    assert_eq!(records, MAX_CLUSTERS);
    // The other worker knows the clusters by the same numbers.
    proxy.memory.properties.insert(CLUSTER.into(), Ok(b"c7".to_vec()));
    assert_eq!(proxy.admitted(0, "b", 2).len(), 0, "c7 is full");
}

#[test]
fn of_few_slots_no_worker_keeps_one_from_another() {
    let mut proxy = Proxy::new(2, &config(FOUR, ""));
    proxy.reserve();
    for worker in [0, 1, 0, 1] {
        let stream = proxy.admitted(worker, "a", 1)[0];
        proxy.finish(worker, stream);
    }
    // Both have heard of each other.
    proxy.advance(60);
    for round in 0..100 {
        let (one, other) = (round % 2, (round + 1) % 2);
        // Without a tick between them: the first worker has just served from the slot that standard requests cannot have.
        let reserved = proxy.admitted(one, "a", 1)[0];
        proxy.finish(one, reserved);
        let standard = proxy.admitted(other, "b", 4);
        assert_eq!(standard.len(), 3, "round {round}");
        let reserved = proxy.admitted(other, "a", 2);
        assert_eq!(reserved.len(), 1, "round {round}: what is reserved is served");
        for stream in standard.into_iter().chain(reserved) {
            proxy.finish(other, stream);
        }
        assert_eq!(proxy.state().leased(), 0);
        proxy.advance(17);
    }
}

#[test]
fn a_worker_that_is_busy_with_one_lane_keeps_no_slot_of_another() {
    let mut proxy = Proxy::new(2, &config(r#"{"mode":"codel","target_ms":600000,"max_concurrency":10}"#, ""));
    proxy.reserve();
    let reserved = proxy.admitted(0, "a", 1)[0];
    proxy.finish(0, reserved);
    let busy = |proxy: &mut Proxy| {
        for stream in proxy.admitted(0, "b", 1) {
            proxy.advance(10);
            proxy.finish(0, stream);
        }
    };
    (0..30).for_each(|_| busy(&mut proxy));
    assert_eq!(proxy.admitted(1, "a", 20).len(), 9, "all but the one that the other worker works with");
}

const WAITING: &str = r#","queue":{"max_wait_ms":1000,"codel_target_ms":0}"#;
const FOUR: &str = r#"{"mode":"codel","target_ms":50,"max_concurrency":4}"#;

#[test]
fn a_request_waits_for_a_slot_and_what_is_reserved_goes_first() {
    let mut proxy = Proxy::new(1, &config(FOUR, WAITING));
    proxy.reserve();
    let held = proxy.admitted(0, "a", 4);
    assert_eq!(held.len(), 4);
    let standard: Vec<u32> = (0..2).map(|_| proxy.send(0, "b")).map(|(id, outcome)| waits(id, &outcome)).collect();
    let reserved: Vec<u32> = (0..2).map(|_| proxy.send(0, "a")).map(|(id, outcome)| waits(id, &outcome)).collect();
    proxy.advance(50);
    assert_eq!(proxy.resumed, [], "no slot is free");
    for stream in &held {
        proxy.finish(0, *stream);
        // Whoever comes now does not get ahead of those that wait.
        let (late, outcome) = proxy.send(0, "b");
        waits(late, &outcome);
        proxy.advance(20);
    }
    // What is free of the better lane's slots stays with it until it is idle.
    proxy.advance(200);
    let (lanes, order): (Vec<_>, Vec<_>) = proxy.resumed.iter().map(|(stream, lane)| (*lane, *stream)).unzip();
    assert_eq!(order[..2], reserved, "{:?}", proxy.resumed);
    assert_eq!(order[2], standard[0]);
    assert_eq!(lanes[..3], [Some(Lane::Reserved), Some(Lane::Reserved), Some(Lane::Standard)]);
    assert!(proxy.workers[0].in_flight() <= 4);
    assert_eq!(proxy.count(Metric::GuardRefused), 0);
}

fn waits(id: u32, outcome: &Outcome) -> u32 {
    assert!(matches!(outcome, Outcome::Wait { .. }), "{outcome:?}");
    id
}

#[test]
fn who_waits_for_a_slot_in_vain_is_told_that_the_upstream_is_overloaded() {
    let mut proxy = Proxy::new(1, &config(FOUR, WAITING));
    let held = proxy.admitted(0, "b", 3);
    assert_eq!(held.len(), 3, "of four slots one is for what is reserved");
    let waiting = [proxy.send(0, "small"), proxy.send(0, "b")].map(|(id, outcome)| waits(id, &outcome));
    proxy.reset(0, waiting[1]);
    proxy.advance(1_010);
    assert_eq!(proxy.answered, [(waiting[0], "forebay_overloaded", 429)]);
    for stream in held {
        proxy.reset(0, stream);
    }
    proxy.advance(2_000);
    assert_eq!([Metric::GuardRefused, Metric::QueueExpired, Metric::Refused].map(|name| proxy.count(name)), [1, 1, 1]);
    assert_eq!(proxy.state().leased(), 0);
    let mut ten = 0;
    for _ in 0..12 {
        for stream in proxy.admitted(0, "small", 1) {
            proxy.reset(0, stream);
            ten += 1;
        }
    }
    assert_eq!(ten, 10, "waiting took no token");
}

#[test]
fn those_that_wait_for_one_upstream_do_not_stop_those_of_another() {
    let queue = r#","queue":{"max_wait_ms":10000,"codel_target_ms":0,"max_waiting":{"per_vm":2000,"per_tenant":2000,"per_connection":2000}}"#;
    let mut proxy = Proxy::new(1, &config(FOUR, queue));
    proxy.admitted(0, "b", 3);
    for _ in 0..900 {
        let (id, outcome) = proxy.send(0, "b");
        waits(id, &outcome);
    }
    proxy.memory.properties.insert(CLUSTER.into(), Ok(b"other".to_vec()));
    let held = proxy.admitted(0, "b", 3);
    let (waiting, outcome) = proxy.send(0, "b");
    waits(waiting, &outcome);
    proxy.finish(0, held[0]);
    proxy.advance(20);
    assert_eq!(proxy.resumed, [(waiting, Some(Lane::Standard))]);
}

#[derive(Clone, Debug)]
enum Op {
    Send { worker: usize, reserved: bool },
    Answer { pick: usize },
    Reset { pick: usize },
    Pass { ms: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0usize..2, any::<bool>()).prop_map(|(worker, reserved)| Op::Send { worker, reserved }),
        2 => any::<usize>().prop_map(|pick| Op::Answer { pick }),
        2 => any::<usize>().prop_map(|pick| Op::Reset { pick }),
        2 => (1u64..80).prop_map(|ms| Op::Pass { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// However streams end, their slots come back: the record ends with nobody holding anything, and nothing is followed.
    #[test]
    fn slots_are_conserved_under_resets(waiting in any::<bool>(), ops in proptest::collection::vec(op(), 1..300)) {
        // A target that everything meets holds the limit.
        let guard = r#"{"mode":"codel","target_ms":600000,"max_concurrency":12}"#;
        let mut proxy = Proxy::new(2, &config(guard, if waiting { WAITING } else { "" }));
        proxy.reserve();
        let (mut open, mut settled) = (Vec::new(), 0);
        for op in ops {
            match op {
                Op::Send { worker, reserved } => {
                    let (id, outcome) = proxy.send(worker, if reserved { "a" } else { "b" });
                    if !matches!(outcome, Outcome::Refuse(_)) {
                        open.push((worker, id));
                    }
                }
                Op::Answer { pick } | Op::Reset { pick } if !open.is_empty() => {
                    let (worker, id) = open.swap_remove(pick % open.len());
                    if matches!(op, Op::Answer { .. }) { proxy.finish(worker, id) } else { proxy.reset(worker, id) }
                }
                Op::Answer { .. } | Op::Reset { .. } => {}
                Op::Pass { ms } => proxy.advance(ms),
            }
            let in_flight: usize = proxy.workers.iter().map(Worker::in_flight).sum();
            prop_assert!(in_flight <= 12, "{} in flight", in_flight);
            for (stream, ..) in &proxy.answered[settled..] {
                open.retain(|(_, id)| id != stream);
            }
            settled = proxy.answered.len();
        }
        for (worker, id) in open {
            proxy.reset(worker, id);
            prop_assert!(!proxy.workers[worker].follows(id));
        }
        proxy.advance(400);
        prop_assert_eq!(proxy.workers.iter().map(Worker::in_flight).sum::<usize>(), 0);
        if proxy.memory.shared.contains_key("fb1/g/0") {
            prop_assert_eq!(proxy.state().leased(), 0);
        }
    }
}
