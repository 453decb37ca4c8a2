//! What the tests of this binary share: tables as a controller sends them, and one worker that is followed stream by
//! stream.

use std::collections::BTreeMap;

use forebay_admission::{Lane, Nanos};
use forebay_engine::leader::Answer;
use forebay_engine::memory::Memory;
use forebay_engine::{CallKind, Effect, Metric, Module, Outcome, Stream, Worker};
use forebay_protocol::v1::{Grant, Limit, Slot};
use forebay_protocol::{Generation, GrantTable, Message, encode};

pub(crate) const MS: u64 = Nanos::MILLI;

/// A key's grant: a rate per second and a burst, with a safe share of at most one unit per second.
pub(crate) fn grant(tenant: &str, resource: &str, per_s: u64, burst: u64, slots: Vec<Slot>) -> Grant {
    Grant {
        tenant: tenant.into(),
        resource: resource.into(),
        standard: Limit { rate_milli_per_s: per_s * 1_000, burst },
        safe: Limit { rate_milli_per_s: per_s.min(1) * 1_000, burst: burst.min(1) },
        forecast_version: 1,
        slots,
    }
}

/// A whole table in one part.
pub(crate) fn table(sequence: u64, valid_for_ms: u32, grants: Vec<Grant>) -> GrantTable {
    GrantTable { generation: generation(sequence), part: 0, parts: 1, valid_for_ms, grants, extensions: vec![] }
}

pub(crate) fn generation(sequence: u64) -> Generation {
    Generation { shard: 0, epoch: 1, sequence }
}

/// The controller answers with this.
pub(crate) fn received(message: &Message) -> Answer {
    Answer::Received { status: 200, body: encode(message) }
}

/// What becomes of a stream that waits.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Resumed(u32, Option<Lane>),
    Answered(u32, &'static str),
}

/// One worker of the streams module, which ticks at the period that it asks for.
pub(crate) struct Followed {
    pub(crate) memory: Memory,
    pub(crate) worker: Worker,
    pub(crate) tick_ms: u32,
    next: u32,
    counted: BTreeMap<String, u64>,
}

impl Followed {
    /// One second after the proxy's boot.
    pub(crate) fn new(config: &str) -> Self {
        let worker = Worker::configure_in(Module::Streams, config.as_bytes()).unwrap();
        let mut memory = Memory::default();
        (memory.now, memory.wall_nanos, memory.random) = (Nanos(1_000 * MS), 77, [3, 4]);
        Self { memory, worker, tick_ms: 50, next: 1, counted: BTreeMap::new() }
    }

    /// The number of a stream with these request headers, and what becomes of it now.
    pub(crate) fn send(&mut self, headers: &[(&str, &[u8])], end_of_stream: bool) -> (u32, Outcome) {
        let id = self.next;
        self.next += 1;
        let outcome = self.worker.on_stream(Stream { id, end_of_stream }, &mut self.memory.request(headers));
        if let Outcome::Wait { tick_ms: Some(ms) } = outcome {
            self.tick_ms = ms;
        }
        (id, outcome)
    }

    /// A request without body.
    pub(crate) fn open(&mut self, tenant: &str) -> (u32, Outcome) {
        self.send(&[("x-tenant", tenant.as_bytes())], true)
    }

    /// The streams of those of `tries` requests that are admitted from a lane that `counts`.
    pub(crate) fn admitted(&mut self, tenant: &str, tries: usize, counts: fn(Lane) -> bool) -> Vec<u32> {
        let opened: Vec<_> = (0..tries).map(|_| self.open(tenant)).collect();
        let admitted = |outcome: &Outcome| matches!(outcome, Outcome::Admit(lane) if counts(*lane));
        opened.into_iter().filter(|(_, outcome)| admitted(outcome)).map(|(id, _)| id).collect()
    }

    /// The answer came whole; its header says what the request used.
    pub(crate) fn answered(&mut self, stream: u32, used: &str) {
        let headers: &[(&str, &[u8])] = &[("x-used", used.as_bytes())];
        self.worker.on_response_headers(stream, true, &mut self.memory.response(headers));
        self.worker.on_stream_end(stream, &mut self.memory.host());
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn advance(&mut self, ms: u64) -> Vec<Seen> {
        let mut seen = vec![];
        let end = self.memory.now.plus(ms * MS);
        while self.memory.now < end {
            self.memory.advance_nanos(u64::from(self.tick_ms) * MS);
            let effects = self.worker.on_tick(&mut self.memory.host());
            self.take(effects, &mut seen);
        }
        seen
    }

    fn take(&mut self, effects: Vec<Effect>, seen: &mut Vec<Seen>) {
        for effect in effects {
            match effect {
                Effect::Resume { stream, lane } => seen.push(Seen::Resumed(stream, lane)),
                Effect::Answer { stream, refusal } => seen.push(Seen::Answered(stream, refusal.details)),
                Effect::TickEvery(ms) => self.tick_ms = ms,
                Effect::Count(metric, n) => *self.counted.entry(format!("{metric:?}")).or_default() += n,
                _ => {}
            }
        }
    }

    /// This table is in force from now on.
    pub(crate) fn push(&mut self, sequence: u64, grants: Vec<Grant>) {
        let message = Message::GrantTable(table(sequence, 600_000, grants));
        let effects = self.worker.on_answer(CallKind::Watch, received(&message), &mut self.memory.host());
        let mut seen = vec![];
        self.take(effects, &mut seen);
        assert!(seen.is_empty(), "streams go on from the tick: {seen:?}");
        assert_eq!(self.worker.generation().sequence, sequence, "the table is in force");
    }

    /// What the worker counted, once it has handed it over.
    pub(crate) fn count(&mut self, metric: Metric) -> u64 {
        self.advance(500);
        self.counted.get(&format!("{metric:?}")).copied().unwrap_or(0)
    }
}
