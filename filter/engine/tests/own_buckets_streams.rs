//! Tenants without contract with buckets of their own, and what happens after the decision: waiting, settling, telling.

use std::collections::BTreeMap;

use forebay_admission::{Lane, Nanos};
use forebay_engine::leader::Answer;
use forebay_engine::memory::Memory;
use forebay_engine::{CallKind, Effect, Metric, Module, Outcome, Stream, Worker};
use forebay_protocol::v1::{Grant, Limit};
use forebay_protocol::{Generation, GrantTable, Message, encode};

const MS: u64 = Nanos::MILLI;

/// One worker under a policy whose one resource gives each name a bucket of its own.
struct Proxy {
    memory: Memory,
    worker: Worker,
    next: u32,
    tick_ms: u32,
    counted: BTreeMap<String, u64>,
}

impl Proxy {
    /// Each name has `rate_per_s` and `burst`; `more` goes into the policy.
    fn new(rate_per_s: u64, burst: u64, more: &str) -> Self {
        let config = format!(
            r#"{{"proxy_id":"p1","controller":{{"cluster":"ctl"}},"policy":{{"resources":[{{"name":"units",
                "others":{{"rate_per_s":{rate_per_s},"burst":{burst}}},"uncontracted":"each"}}],{more}}}}}"#
        );
        let worker = Worker::configure_in(Module::Streams, config.as_bytes()).unwrap();
        let mut memory = Memory::default();
        (memory.now, memory.wall_nanos, memory.random) = (Nanos(1_000 * MS), 77, [3, 4]);
        let mut this = Self { memory, worker, next: 1, tick_ms: 50, counted: BTreeMap::new() };
        this.advance(30_000);
        this
    }

    /// The stream's number, and what becomes of it now.
    fn open(&mut self, tenant: &str) -> (u32, Outcome) {
        let id = self.next;
        self.next += 1;
        let headers: &[(&str, &[u8])] = &[("x-tenant", tenant.as_bytes())];
        let stream = Stream { id, end_of_stream: true };
        let outcome = self.worker.on_stream(stream, &mut self.memory.request(headers));
        if let Outcome::Wait { tick_ms: Some(ms) } = outcome {
            self.tick_ms = ms;
        }
        (id, outcome)
    }

    fn admitted(&mut self, tenant: &str, tries: usize) -> usize {
        (0..tries).filter(|_| matches!(self.open(tenant).1, Outcome::Admit(_))).count()
    }

    /// Streams that were let go on within so many milliseconds.
    fn advance(&mut self, ms: u64) -> Vec<(u32, Option<Lane>)> {
        let mut resumed = vec![];
        let end = self.memory.now.plus(ms * MS);
        while self.memory.now < end {
            self.memory.advance_nanos(u64::from(self.tick_ms) * MS);
            for effect in self.worker.on_tick(&mut self.memory.host()) {
                match effect {
                    Effect::Resume { stream, lane } => resumed.push((stream, lane)),
                    Effect::TickEvery(ms) => self.tick_ms = ms,
                    Effect::Count(metric, n) => *self.counted.entry(format!("{metric:?}")).or_default() += n,
                    _ => {}
                }
            }
        }
        resumed
    }

    /// A table with a contract for each of these tenants.
    fn push(&mut self, sequence: u64, tenants: &[&str]) {
        let grant = |tenant: &&str| Grant {
            tenant: (*tenant).into(),
            resource: "units".into(),
            standard: Limit { rate_milli_per_s: 100_000, burst: 100 },
            safe: Limit::default(),
            forecast_version: 0,
            slots: vec![],
        };
        let table = GrantTable {
            generation: Generation { shard: 0, epoch: 1, sequence },
            part: 0,
            parts: 1,
            valid_for_ms: 600_000,
            grants: tenants.iter().map(grant).collect(),
            extensions: vec![],
        };
        let answer = Answer::Received { status: 200, body: encode(&Message::GrantTable(table)) };
        self.worker.on_answer(CallKind::Watch, answer, &mut self.memory.host());
        assert_eq!(self.worker.generation().sequence, sequence, "the table is in force");
    }

    /// The answer came whole; its header says what the request used.
    fn answered(&mut self, stream: u32, used: &str) {
        let headers: &[(&str, &[u8])] = &[("x-used", used.as_bytes())];
        self.worker.on_response_headers(stream, true, &mut self.memory.response(headers));
        self.worker.on_stream_end(stream, &mut self.memory.host());
    }

    fn count(&mut self, metric: Metric) -> u64 {
        self.advance(500);
        self.counted.get(&format!("{metric:?}")).copied().unwrap_or(0)
    }
}

const SETTLED: &str = r#""rules":[{"charges":[{"resource":"units","cost":{"settled":{
    "estimate":20,"by":{"response_header":"x-used"}}}}]}]"#;

#[test]
fn names_wait_for_their_own_buckets_also_under_a_new_table() {
    for push in [false, true] {
        let mut proxy = Proxy::new(1, 1, r#""queue":{"max_wait_ms":5000}"#);
        let mut waiting = vec![];
        for name in ["one", "two", "three"] {
            // The first sighting goes to the bucket that all share, the second to the name's own.
            proxy.advance(2_000);
            assert!(matches!(proxy.open(name).1, Outcome::Admit(_)), "{name}");
            assert!(matches!(proxy.open(name).1, Outcome::Admit(_)), "{name}");
        }
        proxy.advance(2_000);
        for name in ["one", "two", "three"] {
            assert!(matches!(proxy.open(name).1, Outcome::Admit(_)), "{name}");
            let (id, outcome) = proxy.open(name);
            assert!(matches!(outcome, Outcome::Wait { .. }), "{name}: {outcome:?}");
            waiting.push((id, Some(Lane::Standard)));
        }
        if push {
            proxy.push(1, &["somebody", "else"]);
        }
        assert_eq!(proxy.advance(980), [], "1/s");
        let mut resumed = proxy.advance(40);
        resumed.sort_by_key(|(id, _)| *id);
        assert_eq!(resumed, waiting, "all at once, because each has its own");
    }
}

#[test]
fn a_waiting_name_that_gets_a_contract_is_charged_to_it() {
    let mut proxy = Proxy::new(1, 1, r#""queue":{"max_wait_ms":5000}"#);
    assert_eq!(proxy.admitted("one", 2), 2);
    let (id, outcome) = proxy.open("one");
    assert!(matches!(outcome, Outcome::Wait { .. }), "{outcome:?}");
    proxy.push(1, &["one"]);
    assert_eq!(proxy.advance(20), [(id, Some(Lane::Standard))], "a hundred per second");
}

#[test]
fn true_costs_are_settled_with_the_names_own_bucket() {
    let mut proxy = Proxy::new(10, 100, SETTLED);
    assert!(matches!(proxy.open("one").1, Outcome::Admit(_)), "from the bucket that all share");
    let (id, outcome) = proxy.open("one");
    assert!(matches!(outcome, Outcome::Admit(_)));
    proxy.push(1, &["somebody"]);
    // 100 - 20 + 15 are 4 more of 20 each; 80 would be too, with 0 left instead of 15.
    proxy.answered(id, "5");
    assert_eq!(proxy.admitted("one", 9), 4);
    assert_eq!((proxy.count(Metric::Settled), proxy.count(Metric::RefundedUnits)), (1, 15));
    assert_eq!(proxy.admitted("one", 9), 1, "15 refunded and 10 that have arrived in the second since");
}

#[test]
fn a_receipt_of_a_lost_slot_settles_nothing() {
    let mut proxy = Proxy::new(10, 100, SETTLED);
    proxy.open("one");
    let (id, outcome) = proxy.open("one");
    assert!(matches!(outcome, Outcome::Admit(_)));
    proxy.memory.shared.clear();
    proxy.memory.random = [5, 6];
    proxy.advance(1_000);
    proxy.answered(id, "5");
    assert_eq!((proxy.count(Metric::KeptEstimate), proxy.count(Metric::RefundedUnits)), (1, 0));
}

#[test]
fn clients_are_told_of_their_own_bucket_under_the_resources_name() {
    let mut proxy = Proxy::new(1, 10, r#""answer":{"headers":"draft-10"}"#);
    proxy.open("one");
    let (id, _) = proxy.open("one");
    let told = proxy.worker.on_response_headers(id, true, &mut proxy.memory.response(&[]));
    let field = told.iter().find(|(name, _)| *name == "ratelimit").map(|(_, value)| value.clone());
    assert!(field.as_deref().is_some_and(|value| value.starts_with("\"units\";r=9")), "{field:?}");
    proxy.admitted("one", 20);
    let (_, Outcome::Refuse(answer)) = proxy.open("one") else { panic!("used up") };
    assert!(answer.body.contains("\"units\""), "{}", answer.body);
    assert!(matches!(proxy.open("two").1, Outcome::Admit(_)), "from what is left in the bucket that all share");
}
