//! True costs through a worker on an in-memory host: estimates, refunds, debts, long streams, resets.

use std::collections::BTreeMap;

use forebay_admission::Nanos;
use forebay_engine::memory::Memory;
use forebay_engine::settling::MAX_TRACKED;
use forebay_engine::{CallKind, Effect, Metric, Module, Outcome, Stream, Worker};
use forebay_protocol::Message;
use proptest::prelude::*;

use crate::support::{grant, received, table};

const TICK: u64 = 50 * Nanos::MILLI;
const JSON: &[(&str, &[u8])] = &[("content-type", b"application/json")];
const SSE: &[(&str, &[u8])] = &[("content-type", b"text/event-stream; charset=utf-8")];

/// One worker with the tenant `a`: 10 units per second, a burst of 100, an estimate of 20 unless `x-estimate` says so.
struct Proxy {
    memory: Memory,
    worker: Worker,
    next: u32,
    counted: BTreeMap<String, u64>,
}

fn config(by: &str) -> String {
    let estimate = r#"{"header":{"name":"x-estimate","default":20,"max":1000}}"#;
    format!(
        r#"{{"proxy_id":"p1","controller":{{"cluster":"ctl"}},"policy":{{
            "resources":[{{"name":"tokens","others":{{"rate_per_s":0,"burst":0}}}}],
            "rules":[{{"charges":[{{"resource":"tokens","cost":{{"settled":{{"estimate":{estimate},"by":{by}}}}}}}]}}],
            "contracts":[{{"tenant":"a","resource":"tokens","rate_per_s":10,"burst":100}}]}}}}"#
    )
}

const USAGE: &str = r#"{"usage":{"fields":["usage.input_tokens","usage.output_tokens"]}}"#;

impl Proxy {
    /// With a full bucket.
    fn new(by: &str) -> Self {
        let worker = Worker::configure_in(Module::Streams, config(by).as_bytes()).unwrap();
        let mut memory = Memory::default();
        (memory.now, memory.wall_nanos) = (Nanos(1_000 * Nanos::MILLI), 77);
        let mut this = Self { memory, worker, next: 1, counted: BTreeMap::new() };
        // The bucket begins with a second of its rate.
        this.advance_ms(10_000);
        this
    }

    fn advance_ms(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.memory.advance_nanos(TICK);
            let effects = self.worker.on_tick(&mut self.memory.host());
            self.take(effects);
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Count(metric, n) = effect {
                *self.counted.entry(format!("{metric:?}")).or_default() += n;
            }
        }
    }

    /// The stream's number when the request was admitted.
    fn open(&mut self, estimate: &str) -> Option<u32> {
        self.open_for("a", estimate)
    }

    fn open_for(&mut self, tenant: &str, estimate: &str) -> Option<u32> {
        let id = self.next;
        self.next += 1;
        let headers = [("x-tenant", tenant.as_bytes()), ("x-estimate", estimate.as_bytes())];
        let outcome = self.worker.on_stream(Stream { id, end_of_stream: true }, &mut self.memory.request(&headers));
        matches!(outcome, Outcome::Admit(_)).then_some(id)
    }

    fn headers(&mut self, stream: u32, headers: &[(&str, &[u8])], end: bool) {
        self.worker.on_response_headers(stream, end, &mut self.memory.response(headers));
    }

    fn body(&mut self, stream: u32, chunk: &str, end: bool) {
        self.worker.on_response_body(stream, chunk.len(), chunk.as_bytes(), end, &mut self.memory.host());
    }

    /// A table with 100 units per second for each of these tenants.
    fn push(&mut self, sequence: u64, tenants: &[&str]) {
        let grants = tenants.iter().map(|tenant| grant(tenant, "tokens", 100, 100, vec![])).collect();
        let answer = received(&Message::GrantTable(table(sequence, 60_000, grants)));
        let effects = self.worker.on_answer(CallKind::Watch, answer, &mut self.memory.host());
        self.take(effects);
        assert_eq!(self.worker.generation().sequence, sequence, "the table is in force");
    }

    /// As hosts do: twice.
    fn close(&mut self, stream: u32) {
        self.worker.on_stream_end(stream, &mut self.memory.host());
        self.worker.on_stream_end(stream, &mut self.memory.host());
        assert!(!self.worker.follows(stream) || self.memory.broken, "no trace");
    }

    fn answered(&mut self, stream: u32, headers: &[(&str, &[u8])], body: &str) {
        self.headers(stream, headers, false);
        self.body(stream, body, true);
        self.close(stream);
    }

    fn count(&mut self, metric: Metric) -> u64 {
        self.advance_ms(500);
        self.counted.get(&format!("{metric:?}")).copied().unwrap_or(0)
    }

    /// Refunded, charged and forgiven units so far.
    fn units(&mut self) -> [u64; 3] {
        [Metric::RefundedUnits, Metric::ChargedUnits, Metric::ForgivenUnits].map(|metric| self.count(metric))
    }

    /// Takes what is in the bucket, unit by unit.
    fn drain(&mut self) -> u64 {
        let mut units = 0;
        while let Some(stream) = self.open("1") {
            self.headers(stream, &[("content-type", b"text/plain")], true);
            self.close(stream);
            units += 1;
        }
        units
    }
}

#[test]
fn what_was_not_used_comes_back_and_makes_room() {
    let mut proxy = Proxy::new(USAGE);
    let streams: Vec<u32> = (0..5).map(|_| proxy.open("20").expect("a burst of 100")).collect();
    assert!(proxy.worker.reads_answer(streams[0]));
    assert_eq!(proxy.open("20"), None, "the estimates fill the bucket");
    for stream in streams {
        proxy.answered(stream, JSON, r#"{"usage":{"input_tokens":3,"output_tokens":2}}"#);
    }
    assert_eq!(proxy.drain(), 75, "5 of 20 each were used");
    assert_eq!(proxy.units(), [75, 0, 0]);
}

#[test]
fn a_debt_is_repaid_before_anybody_is_admitted_again() {
    let mut proxy = Proxy::new(USAGE);
    let stream = proxy.open("100").unwrap();
    proxy.answered(stream, SSE, "data: {\"usage\":{\"input_tokens\":50,\"output_tokens\":70}}\n\n");
    assert_eq!(proxy.drain(), 0);
    proxy.advance_ms(1_900);
    assert_eq!(proxy.drain(), 0, "20 units of debt take 2 s at 10 per second");
    proxy.advance_ms(1_100);
    assert_eq!(proxy.drain(), 10, "and then the rate is there again");
    assert_eq!(proxy.units(), [0, 20, 0]);
}

#[test]
fn beyond_the_largest_debt_it_is_forgiven_and_counted() {
    let mut proxy = Proxy::new(r#"{"response_header":"X-Cost"}"#);
    let stream = proxy.open("100").unwrap();
    assert!(!proxy.worker.reads_answer(stream), "a header can be read in any answer");
    proxy.headers(stream, &[("x-cost", b"1000")], false);
    assert!(!proxy.worker.follows(stream), "a header says all at once");
    assert_eq!(proxy.units(), [0, 400, 500], "of 900 units four bursts are owed");
}

#[test]
fn headers_bytes_and_time_are_sources_too() {
    let mut proxy = Proxy::new(r#"{"response_header":"x-cost"}"#);
    let stream = proxy.open("20").unwrap();
    proxy.answered(stream, &[("x-cost", b"7")], "whatever");
    assert_eq!(proxy.units(), [13, 0, 0]);

    let mut proxy = Proxy::new(r#"{"response_bytes":{"unit_bytes":100}}"#);
    let stream = proxy.open("20").unwrap();
    proxy.headers(stream, &[("content-encoding", b"gzip")], false);
    proxy.body(stream, &"x".repeat(150), false);
    proxy.body(stream, &"x".repeat(151), true);
    assert_eq!(proxy.units(), [16, 0, 0], "301 bytes are 4 units, whatever they hold");

    let mut proxy = Proxy::new(r#"{"duration":{"unit_ms":100}}"#);
    let stream = proxy.open("20").unwrap();
    proxy.advance_ms(2_500);
    proxy.close(stream);
    assert_eq!(proxy.units(), [0, 5, 0], "25 units, though there was no answer");
}

#[test]
fn where_nothing_is_found_the_estimate_stays() {
    let mut proxy = Proxy::new(USAGE);
    let usage = r#"{"usage":{"input_tokens":1}}"#;
    for (headers, body) in [
        (&[("content-type", &b"application/json"[..]), ("content-encoding", b"gzip")][..], usage),
        (&[("content-type", b"text/plain")], usage),
        (&[], usage),
        (JSON, "{}"),
        (JSON, "not json"),
    ] {
        let stream = proxy.open("20").unwrap();
        proxy.answered(stream, headers, body);
    }
    assert_eq!(proxy.drain(), 0);
    assert_eq!((proxy.units(), proxy.count(Metric::KeptEstimate)), ([0, 0, 0], 5));
    let mut json = Proxy::new(r#"{"usage":{"fields":["usage.input_tokens"],"format":"json"}}"#);
    let stream = json.open("20").unwrap();
    json.answered(stream, &[], usage);
    assert_eq!((json.units(), json.count(Metric::Settled)), ([19, 0, 0], 1), "the policy knows better than the answer");
}

#[test]
fn a_long_stream_is_charged_while_it_runs() {
    let mut proxy = Proxy::new(USAGE);
    let stream = proxy.open("20").unwrap();
    proxy.headers(stream, SSE, false);
    proxy.body(stream, "data: {\"usage\":{\"input_tokens\":10,\"output_tokens\":80}}\n\n", false);
    assert_eq!(proxy.units(), [0, 0, 0], "not before its time");
    proxy.advance_ms(9_500);
    assert_eq!(proxy.units(), [0, 70, 0], "after 10 s what it used beyond its estimate");
    proxy.body(stream, "data: {\"usage\":{\"output_tokens\":150}}\n\n", false);
    proxy.advance_ms(10_000);
    assert_eq!(proxy.units(), [0, 140, 0]);
    proxy.body(stream, "data: [DONE]\n\n", true);
    proxy.close(stream);
    assert_eq!((proxy.units(), proxy.count(Metric::Settled)), ([0, 140, 0], 1), "once");
}

#[test]
fn an_answer_that_broke_off_costs_its_estimate_or_more() {
    let mut proxy = Proxy::new(USAGE);
    for (output, charged) in [(1, 0), (40, 21)] {
        let stream = proxy.open("20").unwrap();
        proxy.headers(stream, SSE, false);
        let event = format!("data: {{\"usage\":{{\"input_tokens\":1,\"output_tokens\":{output}}}}}\n\n");
        proxy.body(stream, &event, false);
        proxy.close(stream);
        assert_eq!(proxy.units(), [0, charged, 0]);
    }
    let stream = proxy.open("20").unwrap();
    proxy.close(stream);
    assert_eq!((proxy.units(), proxy.count(Metric::KeptEstimate)), ([0, 21, 0], 1), "no answer at all");
}

#[test]
fn the_table_of_streams_is_bounded_and_the_rest_keeps_its_estimate() {
    let mut proxy = Proxy::new(r#"{"response_header":"x-cost"}"#);
    let mut opened = vec![];
    for _ in 0..=MAX_TRACKED {
        // A unit arrives every 100 ms.
        proxy.memory.advance_nanos(100 * Nanos::MILLI);
        opened.extend(proxy.open("1"));
    }
    assert_eq!((opened.len(), proxy.worker.unsettled_streams()), (MAX_TRACKED + 1, MAX_TRACKED));
    assert_eq!(proxy.count(Metric::KeptEstimate), 1);
    for stream in opened {
        proxy.headers(stream, &[("x-cost", b"0")], true);
        proxy.close(stream);
    }
    assert_eq!((proxy.worker.unsettled_streams(), proxy.count(Metric::Settled)), (0, MAX_TRACKED as u64));
}

#[test]
fn a_settlement_that_loses_its_races_is_tried_again_for_a_second() {
    let mut proxy = Proxy::new(r#"{"response_header":"x-cost"}"#);
    for (broken_ms, refunded) in [(500, 13), (2_000, 0)] {
        let before = proxy.units()[0];
        let stream = proxy.open("20").unwrap();
        proxy.memory.broken = true;
        proxy.headers(stream, &[("x-cost", b"7")], true);
        proxy.close(stream);
        proxy.advance_ms(broken_ms);
        proxy.memory.broken = false;
        assert_eq!(proxy.units()[0] - before, refunded, "{broken_ms} ms");
        assert_eq!(proxy.worker.unsettled_streams(), 0);
    }
    assert_eq!(proxy.count(Metric::KeptEstimate), 1);
}

#[test]
fn a_new_table_renumbers_what_is_under_way_and_a_key_that_goes_keeps_its_estimate() {
    let mut proxy = Proxy::new(r#"{"response_header":"x-cost"}"#);
    proxy.push(1, &["b", "c"]);
    let [b, c] = ["b", "c"].map(|tenant| proxy.open_for(tenant, "60").expect("a second of its rate"));
    proxy.push(2, &["d", "c"]);
    for (stream, cost) in [(b, "1"), (c, "10")] {
        proxy.headers(stream, &[("x-cost", cost.as_bytes())], true);
    }
    assert_eq!((proxy.units(), proxy.count(Metric::KeptEstimate)), ([50, 0, 0], 1));
    assert!(proxy.open_for("d", "60").is_some() && proxy.open_for("d", "60").is_none(), "nobody else's refund");
}

#[test]
fn the_lean_module_refuses_such_a_policy() {
    let error = Worker::configure(config(USAGE).as_bytes()).unwrap_err();
    assert_eq!(error.findings[0].path, "policy.rules[0].charges[0].cost.settled");
}

proptest! {
    /// However streams come, go on, break off and end: what was used is what was admitted and settled.
    #[test]
    fn used_is_admitted_less_refunds_and_with_charges(
        streams in prop::collection::vec((1u64..60, 0u64..200, 0u8..4, 0u64..4), 1..40),
    ) {
        let mut proxy = Proxy::new(USAGE);
        let (mut used, mut admitted) = (0, 0);
        for (estimate, output, end, seconds) in streams {
            let Some(stream) = proxy.open(&estimate.to_string()) else {
                proxy.advance_ms(5_000);
                continue;
            };
            admitted += estimate;
            proxy.headers(stream, SSE, false);
            let event = format!("data: {{\"usage\":{{\"output_tokens\":{output}}}}}\n\n");
            match end {
                // Whole, at once or after a long time, or broken off, or without any numbers.
                0 | 1 => {
                    proxy.body(stream, &event, false);
                    proxy.advance_ms(u64::from(end) * seconds * 6_000);
                    proxy.body(stream, "data: [DONE]\n\n", true);
                    used += output;
                }
                2 => {
                    proxy.body(stream, &event, false);
                    used += output.max(estimate);
                }
                _ => used += estimate,
            }
            proxy.close(stream);
        }
        let [refunded, charged, forgiven] = proxy.units();
        prop_assert_eq!(used + refunded, admitted + charged + forgiven);
        prop_assert_eq!(proxy.worker.unsettled_streams(), 0);
    }
}
