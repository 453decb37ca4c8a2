//! The life of a stream after its request headers: what waits, and what is to be settled.
//!
//! A host calls every callback that a module exports on every stream, about 1.6 µs for each pair, so there are two
//! modules of one source: [`Module::Lean`] decides on request headers and forgets, [`Module::Streams`] follows a stream to
//! its end. A policy that needs the second is refused in the first. The first is built without the feature `streams`:
//! then what is [`Followed`] is not there, nor is the code that works on it.
//!
//! Invariants: a table here is bounded, and a stream that ended, however, has left no trace in it
//! ([`Worker::on_stream_end`], which may be said more than once).

use alloc::vec;
use alloc::vec::Vec;

use forebay_protocol::policy::{Code, Finding};

use crate::answer::Header;
use crate::config::{Config, ConfigError};
use crate::guard::Guards;
use crate::host::Host;
use crate::policy::CompiledPolicy;
use crate::waiting::Waiting;
use crate::worker::Worker;

/// Which module a worker runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// `forebay_filter.wasm`: request headers, and nothing of a stream after that.
    Lean,
    /// `forebay_filter_streams.wasm`: streams are followed to their end.
    Streams,
}

/// A stream at its request headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its context in this VM.
    pub id: u32,
    /// Whether no body follows.
    pub end_of_stream: bool,
}

/// What is pending for streams.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Those that wait for tokens.
    pub(crate) waiting: Followed<Waiting>,
    /// Those that hold a slot of an upstream, where the policy has a guard.
    guards: Followed<Option<Guards>>,
}

/// State about streams after their request headers: one with the feature `streams`, none without it.
#[derive(Debug)]
pub(crate) struct Followed<T>([T; FOLLOWED]);

const FOLLOWED: usize = if cfg!(feature = "streams") { 1 } else { 0 };

impl<T> Followed<T> {
    /// With what `make` makes, where there shall be something.
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Self {
        Self(core::array::from_fn(|_| make()))
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.0.first()
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.first_mut()
    }
}

impl Streams {
    pub(crate) fn new(policy: &CompiledPolicy) -> Self {
        Self {
            waiting: Followed::new(|| Waiting::new(policy)),
            guards: Followed::new(|| policy.guard.map(Guards::new)),
        }
    }

    /// Whether the tick is the short one.
    pub(crate) fn ticks_short(&self) -> bool {
        self.waiting.get().is_some_and(Waiting::ticks_short)
    }

    /// Whether slots of upstreams are held, or something measured is to be handed over.
    pub(crate) fn hold_slots(&self) -> bool {
        self.guards().is_some_and(Guards::hold_slots)
    }

    /// What guards upstreams, where the policy has that.
    pub(crate) fn guards(&self) -> Option<&Guards> {
        self.guards.get().and_then(Option::as_ref)
    }

    /// The same, to work with.
    pub(crate) fn guards_mut(&mut self) -> Option<&mut Guards> {
        self.guards.get_mut().and_then(Option::as_mut)
    }

    /// Both.
    pub(crate) fn both(&mut self) -> (Option<&mut Waiting>, Option<&mut Guards>) {
        (self.waiting.get_mut(), self.guards.get_mut().and_then(Option::as_mut))
    }
}

impl Module {
    /// Whether the module can do what the configuration asks for.
    pub(crate) fn check(self, config: &Config) -> Result<(), ConfigError> {
        let Some((path, what)) = config.policy.needs_streams().filter(|_| self == Self::Lean) else { return Ok(()) };
        let finding = Finding {
            code: Code::BOOTSTRAP,
            path: alloc::format!("policy.{path}"),
            reason: alloc::format!("{what}: forebay_filter.wasm follows no stream after its request headers"),
            remedy: "load forebay_filter_streams.wasm instead".into(),
        };
        Err(ConfigError { findings: vec![finding] })
    }
}

impl Worker {
    /// Whether something is pending for the stream: only then are the other callbacks about it of any use.
    pub fn follows(&self, stream: u32) -> bool {
        self.streams.waiting.get().is_some_and(|waiting| waiting.knows(stream))
            || self.record.keeps(stream)
            || self.settles(stream)
            || self.holds_slot(stream)
    }

    /// The response headers of a stream are here, and the host reads them; what shall be added to them.
    pub fn on_response_headers(&mut self, stream: u32, end_of_stream: bool, host: &mut impl Host) -> Vec<Header> {
        self.guard_answered(stream, host);
        self.settle_headers(stream, end_of_stream, host);
        self.record.take_kept(stream)
    }

    /// `size` more bytes of the response's body; `chunk` holds them where [`Worker::reads_answer`]. `end` when they are
    /// the last.
    pub fn on_response_body(&mut self, stream: u32, size: usize, chunk: &[u8], end: bool, host: &mut impl Host) {
        self.settle_body(stream, size, chunk, end, host);
    }

    /// The stream ended, with or without a response. Saying it again changes nothing.
    pub fn on_stream_end(&mut self, stream: u32, host: &mut impl Host) {
        if let Some(waiting) = self.streams.waiting.get_mut() {
            waiting.remove(stream);
        }
        self.guard_ended(stream, host);
        self.record.take_kept(stream);
        self.settle_end(stream, host);
    }
}
