//! What two workers count together reaches the controller in one report: settlement, the counterfactual, bursts against
//! what the controller expects, attributes.

use std::collections::BTreeMap;

use forebay_admission::{Lane, Nanos};
use forebay_engine::memory::Memory;
use forebay_engine::{CallKind, Effect, Module, Outcome, Stream, Worker};
use forebay_protocol::extension::{AttributeNames, DETAILS, EXPECTATIONS, SlotTime, extension, find};
use forebay_protocol::v1::{Grant, Limit, Slot};
use forebay_protocol::{Count, Details, Expectations, Extension, Further, Message, Report, ReportAck, Row};

use crate::support::{MS, grant, received, table};

const CONFIG: &str = r#"{
    "proxy_id": "p1",
    "controller": {"cluster": "ctl"},
    "policy": {
        "resources": [{"name": "requests", "others": {"rate_per_s": 10, "burst": 5}}],
        "contracts": [{"tenant": "a", "resource": "requests", "rate_per_s": 10, "burst": 4}],
        "attributes": [{"name": "region", "header": "x-region", "values": ["eu", "us"]},
                       {"name": "account", "header": "x-account", "values": ["trial"]}]
    }
}"#;

/// What the controller expects of tenant `a`: when the slots begin, their ids and length, and the row.
#[derive(Clone)]
struct Expected {
    from: Nanos,
    length_ms: u32,
    ids: Vec<u64>,
    row: Vec<(u64, u64)>,
}

/// A proxy with two workers, and a controller that answers each report at once.
struct Proxy {
    memory: Memory,
    workers: [Worker; 2],
    watches: Vec<usize>,
    expected: Option<Expected>,
    /// The newest row of each tenant.
    rows: BTreeMap<String, (Further, Vec<(u16, u64)>)>,
    attributes: Vec<AttributeNames>,
}

impl Proxy {
    fn new(module: Module, config: &str) -> Self {
        let mut memory = Memory::default();
        (memory.now, memory.wall_nanos) = (Nanos(100_000 * MS), 77);
        let worker = || Worker::configure_in(module, config.as_bytes()).unwrap();
        let (watches, rows) = (Vec::new(), BTreeMap::new());
        let workers = [worker(), worker()];
        let mut proxy = Self { memory, workers, watches, expected: None, rows, attributes: Vec::new() };
        proxy.advance_ms(5_000);
        proxy
    }

    fn advance_ms(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.memory.advance_nanos(50 * MS);
            for worker in 0..2 {
                let effects = self.workers[worker].on_tick(&mut self.memory.host());
                self.take(worker, effects);
            }
        }
    }

    fn take(&mut self, worker: usize, effects: Vec<Effect>) {
        for effect in effects {
            let Effect::Call(call) = effect else { continue };
            match forebay_protocol::decode(&call.body) {
                Ok(Message::Report(report)) => {
                    self.read(&report);
                    let extensions = self.expectations(&report);
                    let generation = report.generation;
                    let ack = ReportAck { generation, valid_for_ms: 30_000, extensions };
                    self.answer(worker, CallKind::Report, &Message::ReportAck(ack));
                }
                Ok(Message::Watch(_)) => self.watches.push(worker),
                other => panic!("{other:?}"),
            }
        }
    }

    fn read(&mut self, report: &Report) {
        let details: Details = find(&report.extensions, DETAILS).expect("details");
        assert_eq!(details.rows.len(), report.rows.len());
        for (row, detail) in report.rows.iter().zip(details.rows) {
            let further = Further::read(&mut detail.counts.into_iter());
            self.rows.insert(row.tenant.clone(), (further, detail.cells));
        }
        if !details.attributes.is_empty() {
            self.attributes = details.attributes;
        }
    }

    fn expectations(&self, report: &Report) -> Vec<Extension> {
        let Some(expected) = &self.expected else { return Vec::new() };
        let begun_ms = (self.memory.now.since(expected.from) / MS) as i64;
        let time = |(id, at): (&u64, i64)| {
            let starts_in_ms = at * i64::from(expected.length_ms) - begun_ms;
            SlotTime { id: *id, starts_in_ms, length_ms: expected.length_ms }
        };
        let row = |row: &Row| if row.tenant == "a" { expected.row.clone() } else { Vec::new() };
        let slots = expected.ids.iter().zip(0..).map(time).collect();
        vec![extension(EXPECTATIONS, &Expectations { slots, rows: report.rows.iter().map(row).collect() })]
    }

    fn answer(&mut self, worker: usize, kind: CallKind, message: &Message) {
        let effects = self.workers[worker].on_answer(kind, received(message), &mut self.memory.host());
        self.take(worker, effects);
    }

    fn request(&mut self, worker: usize, headers: &[(&str, &[u8])]) -> Outcome {
        self.workers[worker].on_request(&mut self.memory.request(headers))
    }

    fn requests(&mut self, times: usize) -> Vec<Outcome> {
        (0..times).map(|number| self.request(number % 2, A)).collect()
    }

    /// What was reported of tenant `a`, once everything was handed over.
    fn further(&mut self) -> Further {
        self.advance_ms(2_500);
        self.rows.get("a").map(|row| row.0).unwrap_or_default()
    }
}

const A: &[(&str, &[u8])] = &[("x-tenant", b"a")];

#[test]
fn the_counterfactual_of_both_workers_is_in_one_report() {
    let mut proxy = Proxy::new(Module::Lean, CONFIG);
    let pace = Limit { rate_milli_per_s: 1, burst: 6 };
    let slot = Slot { id: 9, starts_in_ms: 0, length_ms: 60_000, amount: 6, pace };
    let limit = Limit { rate_milli_per_s: 1, burst: 4 };
    let grants = vec![Grant { standard: limit, safe: limit, ..grant("a", "requests", 0, 0, vec![slot]) }];
    let table = table(1, 60_000, grants);
    let watching = proxy.watches.pop().expect("a watch");
    proxy.answer(watching, CallKind::Watch, &Message::GrantTable(table));
    proxy.advance_ms(50);
    let outcomes = proxy.requests(20);
    let reserved = outcomes.iter().filter(|outcome| **outcome == Outcome::Admit(Lane::Reserved)).count();
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Refuse(_))).count() as u64;
    assert!(reserved == 6 && refused > 0, "{outcomes:?}");
    let further = proxy.further();
    // A worker that has not been counted yet takes itself for the only one, so each simulates the whole bucket of 4.
    assert_eq!(further.refused_by_plain, Count { requests: 12, units: 12 });
    assert_eq!(further.rescued.requests + refused, 12 + further.worse_than_plain.requests);
    assert_eq!(further.in_slot, Count { requests: 20, units: 20 }, "a slot was always running");
}

#[test]
fn bursts_are_counted_over_both_workers_against_what_the_controller_expects() {
    let mut proxy = Proxy::new(Module::Lean, CONFIG);
    let (from, ids) = (proxy.memory.now, vec![40, 41]);
    proxy.expected = Some(Expected { from, length_ms: 20_000, ids, row: vec![(5, 8), (5, 8)] });
    proxy.advance_ms(2_000);
    proxy.requests(6);
    let further = proxy.further();
    assert_eq!((further.running.id, further.running.offered.requests, further.burst_units), (40, 6, 0));
    proxy.requests(4);
    let further = proxy.further();
    assert_eq!((further.running.predicted, further.running.upper), (5, 8));
    assert_eq!(further.running.offered, Count { requests: 10, units: 10 }, "of both workers");
    assert_eq!((further.burst_slots, further.burst_units), (1, 2), "10 where at most 8 were expected");
    proxy.advance_ms(20_000);
    proxy.requests(3);
    let further = proxy.further();
    assert_eq!((further.running.id, further.running.offered.requests), (41, 3));
    assert_eq!((further.last.id, further.last.offered.requests, further.burst_units), (40, 10, 2));
    // Nobody says what comes after slot 41.
    proxy.advance_ms(40_000);
    proxy.requests(30);
    let further = proxy.further();
    assert_eq!((further.running.id, further.running.offered.requests, further.burst_slots), (41, 3, 1));
}

#[test]
fn settlement_of_both_workers_is_reported_also_after_the_row_was() {
    let config = r#"{
        "proxy_id": "p1",
        "controller": {"cluster": "ctl"},
        "policy": {
            "resources": [{"name": "tokens", "others": {"rate_per_s": 0, "burst": 0}}],
            "rules": [{"charges": [{"resource": "tokens", "cost": {"settled":
                {"estimate": 5, "by": {"response_header": "x-cost"}}}}]}],
            "contracts": [{"tenant": "a", "resource": "tokens", "rate_per_s": 100, "burst": 1000}]
        }
    }"#;
    let mut proxy = Proxy::new(Module::Streams, config);
    for worker in 0..2 {
        let stream = Stream { id: 1, end_of_stream: true };
        let outcome = proxy.workers[worker].on_stream(stream, &mut proxy.memory.request(A));
        assert_eq!(outcome, Outcome::Admit(Lane::Standard));
    }
    assert_eq!(proxy.further(), Further::default(), "nothing is settled yet");
    for (worker, cost) in [(0, b"2"), (1, b"9")] {
        let answer: &[(&str, &[u8])] = &[("x-cost", cost)];
        proxy.workers[worker].on_response_headers(1, true, &mut proxy.memory.response(answer));
    }
    let further = proxy.further();
    assert_eq!((further.refunded_units, further.charged_units, further.forgiven_units), (3, 4, 0));
}

#[test]
fn attributes_are_counted_per_key_and_value_whatever_becomes_of_the_request() {
    let mut proxy = Proxy::new(Module::Lean, CONFIG);
    let of = |region: &'static [u8]| -> [(&str, &[u8]); 2] { [("x-tenant", b"a"), ("x-region", region)] };
    for number in 0..30 {
        proxy.request(number % 2, &of(b"us"));
    }
    proxy.request(0, &of(b"mars"));
    proxy.request(1, &[("x-tenant", b"stranger"), ("x-region", b"eu"), ("x-account", b"trial")]);
    proxy.advance_ms(2_500);
    let names: Vec<_> = proxy.attributes.iter().map(|one| (one.name.as_str(), one.values.len())).collect();
    assert_eq!(names, [("region", 2), ("account", 1)]);
    // Numbered through: eu, us, another region, trial, another account.
    assert_eq!(proxy.rows["a"].1, [(1, 30), (2, 1), (4, 31)]);
    assert_eq!(proxy.rows["*"].1, [(0, 1), (3, 1)]);
}

#[test]
fn names_with_buckets_of_their_own_are_counted_for_others() {
    let config = CONFIG.replacen(r#""burst": 5}"#, r#""burst": 5}, "uncontracted": "each""#, 1);
    let mut proxy = Proxy::new(Module::Lean, &config);
    for _ in 0..4 {
        proxy.request(0, &[("x-tenant", b"stranger"), ("x-region", b"eu"), ("x-account", b"trial")]);
    }
    proxy.advance_ms(2_500);
    assert_eq!(proxy.rows["*"].1, [(0, 4), (3, 4)]);
}

#[test]
fn what_was_acknowledged_is_not_reported_again_before_it_moves() {
    let mut proxy = Proxy::new(Module::Lean, CONFIG);
    let from = proxy.memory.now;
    proxy.expected = Some(Expected { from, length_ms: 60_000, ids: vec![40, 41], row: vec![(5, 8), (5, 8)] });
    proxy.requests(5);
    proxy.advance_ms(4_000);
    assert!(proxy.rows.remove("a").is_some());
    proxy.advance_ms(4_000);
    assert!(proxy.rows.is_empty(), "{:?}", proxy.rows);
    proxy.requests(1);
    proxy.advance_ms(2_000);
    assert!(proxy.rows.contains_key("a"));
}

#[test]
fn an_acknowledgement_that_makes_no_sense_does_no_harm() {
    let now = Nanos(100_000 * MS);
    let odd = [
        Expected { from: now, length_ms: u32::MAX, ids: vec![1; 5], row: vec![] },
        Expected { from: now, length_ms: 1, ids: vec![2, 2], row: vec![(0, 1), (0, 1)] },
        Expected { from: now, length_ms: 60_000, ids: vec![0], row: vec![(u64::MAX, 1); 9] },
    ];
    for odd in odd {
        let mut proxy = Proxy::new(Module::Lean, CONFIG);
        proxy.expected = Some(odd);
        proxy.requests(3);
        proxy.advance_ms(2_000);
        proxy.requests(3);
        let further = proxy.further();
        assert_eq!((further.running.id, further.burst_slots), (0, 0));
    }
}

const MARKED: &str = r#"{
    "proxy_id": "p1",
    "controller": {"cluster": "ctl"},
    "policy": {
        "resources": [{"name": "requests", "others": {"rate_per_s": 10, "burst": 50}, "uncontracted": "each"}],
        "contracts": [{"tenant": "a", "resource": "requests", "rate_per_s": 10, "burst": 4}],
        "rules": [{"charges": [{"resource": "requests"}]},
                  {"match": {"headers": [{"name": "x-scan", "present": true}]}, "hostile": true,
                   "charges": [{"resource": "requests", "cost": 3}]}]
    }
}"#;

const SCAN: &[(&str, &[u8])] = &[("x-tenant", b"a"), ("x-scan", b"1")];

#[test]
fn hostile_requests_are_counted_apart_whatever_becomes_of_them_and_are_no_demand() {
    let mut proxy = Proxy::new(Module::Lean, MARKED);
    let from = proxy.memory.now;
    proxy.expected = Some(Expected { from, length_ms: 60_000, ids: vec![40, 41], row: vec![(5, 8), (5, 8)] });
    proxy.advance_ms(2_000);
    let outcomes: Vec<_> = (0..10).map(|number| proxy.request(number % 2, SCAN)).collect();
    proxy.requests(5);
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Admit(_))), "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refuse(_))), "{outcomes:?}");
    let further = proxy.further();
    assert_eq!(further.hostile, Count { requests: 10, units: 30 }, "of both workers");
    assert_eq!(further.running.offered, Count { requests: 5, units: 5 });
    assert_eq!(further.burst_slots, 0, "5 where at most 8 were expected");
    // A name without contract has a bucket of its own; what it does is counted for the others.
    proxy.request(0, &[("x-tenant", b"stranger"), ("x-scan", b"1")]);
    proxy.advance_ms(2_500);
    assert_eq!(proxy.rows["*"].0.hostile, Count { requests: 1, units: 3 });
}

#[test]
fn hostile_counts_go_on_under_another_policy_and_are_nothing_without_a_mark() {
    let mut proxy = Proxy::new(Module::Lean, MARKED);
    proxy.request(0, SCAN);
    assert_eq!(proxy.further().hostile.requests, 1);
    for (policy, counted) in [(MARKED.replace("\"cost\": 3", "\"cost\": 4"), 2), (MARKED.replace("true,", "false,"), 0)]
    {
        for worker in &mut proxy.workers {
            *worker = Worker::configure_in(Module::Lean, policy.as_bytes()).unwrap();
        }
        proxy.advance_ms(5_000);
        proxy.request(1, SCAN);
        assert_eq!(proxy.further().hostile.requests, counted);
    }
}

#[test]
fn hostile_requests_never_wait() {
    let queue = r#""hostile": true, "queue": {"max_wait_ms": 500},"#;
    let asked = Worker::configure_in(Module::Streams, MARKED.replace(r#""hostile": true,"#, queue).as_bytes());
    assert!(asked.is_err());
    let inherited = MARKED.replace(r#""contracts""#, r#""queue": {"max_wait_ms": 500}, "contracts""#);
    let mut proxy = Proxy::new(Module::Streams, &inherited);
    let outcomes: Vec<_> = [(1, A), (2, SCAN), (3, SCAN), (4, A)]
        .map(|(id, headers)| {
            let stream = Stream { id, end_of_stream: true };
            proxy.workers[0].on_stream(stream, &mut proxy.memory.request(headers))
        })
        .into();
    let hostile = matches!(outcomes[1], Outcome::Admit(_)) && matches!(outcomes[2], Outcome::Refuse(_));
    assert!(hostile && matches!(outcomes[3], Outcome::Wait { .. }), "{outcomes:?}");
}
