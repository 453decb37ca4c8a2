//! What is borrowed, after the decision: waiting for it, settling it, and telling of it.

use forebay_admission::{Lane, Nanos};
use forebay_engine::leader::Answer;
use forebay_engine::memory::Memory;
use forebay_engine::{CallKind, Effect, Module, Outcome, Stream, Worker};
use forebay_protocol::v1::{Grant, Limit, Slot};
use forebay_protocol::{Generation, GrantTable, Message, encode};

const MS: u64 = Nanos::MILLI;
const RESERVED_PER_S: u64 = 100;
const DEBT: u64 = 40;

/// One worker. The owner has a reservation, its guest has nothing of its own.
struct Proxy {
    memory: Memory,
    worker: Worker,
    next: u32,
    tick_ms: u32,
}

fn grant(tenant: &str, slots: Vec<Slot>) -> Grant {
    let none = Limit::default();
    Grant { tenant: tenant.into(), resource: "units".into(), standard: none, safe: none, forecast_version: 1, slots }
}

impl Proxy {
    /// `more` goes into the policy.
    fn new(more: &str) -> Self {
        let config = format!(
            r#"{{"controller":{{"cluster":"ctl"}},"policy":{{"resources":[{{"name":"units",
                "others":{{"rate_per_s":0,"burst":0}},"pool":{{"name":"main","borrow":true,"debt":{DEBT}}}}}],{more}}}}}"#
        );
        let worker = Worker::configure_in(Module::Streams, config.as_bytes()).unwrap();
        let mut this = Self { memory: Memory::default(), worker, next: 1, tick_ms: 50 };
        (this.memory.now, this.memory.wall_nanos) = (Nanos(1_000 * MS), 77);
        this.advance(100);
        this.push(1, RESERVED_PER_S);
        // So long nothing was used, and the debt can be lent.
        this.advance(1_000);
        this
    }

    /// The owner has this reservation from now on.
    fn push(&mut self, sequence: u64, reserved_per_s: u64) {
        let pace = Limit { rate_milli_per_s: reserved_per_s * 1_000, burst: reserved_per_s };
        let slot = Slot { id: sequence, starts_in_ms: 0, length_ms: 600_000, amount: reserved_per_s * 600, pace };
        let table = GrantTable {
            generation: Generation { shard: 0, epoch: 1, sequence },
            part: 0,
            parts: 1,
            valid_for_ms: 600_000,
            grants: vec![grant("owner", vec![slot]), grant("guest", vec![])],
            extensions: vec![],
        };
        let answer = Answer::Received { status: 200, body: encode(&Message::GrantTable(table)) };
        self.worker.on_answer(CallKind::Watch, answer, &mut self.memory.host());
        assert_eq!(self.worker.generation().sequence, sequence, "the table is in force");
    }

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

    fn borrowed(&mut self, tries: usize) -> Vec<u32> {
        let opened: Vec<_> = (0..tries).map(|_| self.open("guest")).collect();
        opened.into_iter().filter(|(_, outcome)| *outcome == Outcome::Admit(Lane::Borrowed)).map(|(id, _)| id).collect()
    }

    fn answered(&mut self, stream: u32, used: &str) {
        let headers: &[(&str, &[u8])] = &[("x-used", used.as_bytes())];
        self.worker.on_response_headers(stream, true, &mut self.memory.response(headers));
        self.worker.on_stream_end(stream, &mut self.memory.host());
    }

    fn advance(&mut self, ms: u64) -> Vec<(u32, Option<Lane>)> {
        let mut resumed = vec![];
        let end = self.memory.now.plus(ms * MS);
        while self.memory.now < end {
            self.memory.advance_nanos(u64::from(self.tick_ms) * MS);
            for effect in self.worker.on_tick(&mut self.memory.host()) {
                match effect {
                    Effect::Resume { stream, lane } => resumed.push((stream, lane)),
                    Effect::TickEvery(ms) => self.tick_ms = ms,
                    _ => {}
                }
            }
        }
        resumed
    }
}

const SETTLED: &str = r#""rules":[{"charges":[{"resource":"units","cost":{"settled":{
    "estimate":20,"by":{"response_header":"x-used"}}}}]}]"#;

#[test]
fn an_unused_borrowed_unit_goes_back_to_the_pool() {
    let mut proxy = Proxy::new(SETTLED);
    let streams = proxy.borrowed(5);
    assert_eq!(streams.len() as u64, DEBT / 20, "the debt, in estimates");
    for stream in streams {
        proxy.answered(stream, "10");
    }
    // 2 x 10 came back: one more estimate. Nobody's standard bucket has anything, so it can come from the pool only.
    assert_eq!(proxy.borrowed(5).len(), 1);
}

#[test]
fn an_underestimate_is_charged_to_the_pool_as_far_as_it_goes() {
    let mut proxy = Proxy::new(SETTLED);
    let streams = proxy.borrowed(1);
    // Of the 20 left in the pool 15 more are taken: 5 are left, and 20 need 150 ms.
    proxy.answered(streams[0], "35");
    proxy.advance(100);
    assert_eq!(proxy.borrowed(1).len(), 0);
    proxy.advance(100);
    assert_eq!(proxy.borrowed(1).len(), 1);
}

#[test]
fn a_guest_waits_for_what_is_left_idle_next() {
    let mut proxy = Proxy::new(r#""queue":{"max_wait_ms":2000}"#);
    assert_eq!(proxy.borrowed(DEBT as usize).len() as u64, DEBT);
    let (id, outcome) = proxy.open("guest");
    assert!(matches!(outcome, Outcome::Wait { .. }), "{outcome:?}");
    assert_eq!(proxy.advance(20), [(id, Some(Lane::Borrowed))], "100/s");
}

#[test]
fn a_raised_reservation_is_not_lent_for_the_time_before_it() {
    let mut proxy = Proxy::new(r#""name":"none""#);
    assert_eq!(proxy.borrowed(100).len() as u64, DEBT);
    proxy.advance(100);
    // 10 have arrived; at the new rate they would be more than the debt.
    proxy.push(2, 100 * RESERVED_PER_S);
    assert_eq!(proxy.borrowed(100).len(), 10);
    proxy.advance(50);
    assert_eq!(proxy.borrowed(100).len() as u64, DEBT);
}

#[test]
fn a_guest_who_came_too_early_borrows_once_something_is_reserved() {
    let mut proxy = Proxy::new(r#""name":"none""#);
    proxy.push(2, 0);
    proxy.advance(1_000);
    proxy.borrowed(100);
    assert_eq!(proxy.borrowed(1).len(), 0, "nothing is reserved any more");
    proxy.push(3, RESERVED_PER_S);
    proxy.advance(1_000);
    assert_eq!(proxy.borrowed(100).len() as u64, DEBT);
}

#[test]
fn the_lane_is_in_provenance() {
    let mut proxy = Proxy::new(r#""provenance":{"filter_state":true}"#);
    assert_eq!(proxy.borrowed(1).len(), 1);
    let (_, line) = proxy.memory.filter_state.last().expect("a line");
    assert!(line.starts_with("lane=borrowed;"), "{line}");
}
