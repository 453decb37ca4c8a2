//! One proxied request: what a test sends, what became of it, and the host's state between callbacks.
//!
//! Header maps come and go with the phase, as in Envoy: request headers can be read and edited until the
//! request goes on, then not at all, and again read (not edited) in `proxy_on_log`. Response headers can be
//! edited in `proxy_on_response_headers` only; a piece of the response's body is there for its own callback.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Headers, RootId, VmId};

/// A stream context of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The VM.
    pub vm: VmId,
    /// The context id inside it.
    pub context: u32,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {} of {}", self.context, self.vm)
    }
}

/// A request that reaches the filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Headers with `:method`, `:path` and so on.
    pub headers: Headers,
    /// Whether no body follows.
    pub end_of_stream: bool,
    /// The root it belongs to; the newest root of the VM when none is named.
    pub root: Option<RootId>,
    /// Properties of this request only, in front of the process's: path segments joined by NUL -> value.
    pub properties: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Request {
    /// A request without body.
    pub fn new(method: &str, path: &str) -> Self {
        let headers = [(":method", method), (":path", path), (":authority", "example.test"), (":scheme", "http")];
        Self { headers: headers.into_iter().collect(), end_of_stream: true, ..Self::default() }
    }

    /// A GET without body.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// Adds a header.
    pub fn header(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(key.as_ref(), value.as_ref());
        self
    }

    /// Adds a property that only this request has.
    pub fn property(mut self, path: &[&str], value: impl AsRef<[u8]>) -> Self {
        self.properties.insert(property_path(path), value.as_ref().to_vec());
        self
    }

    /// Sends it through this root instead of the newest.
    pub fn via(mut self, root: RootId) -> Self {
        self.root = Some(root);
        self
    }
}

/// The upstream's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Headers with `:status`.
    pub headers: Headers,
    /// The body in the pieces in which it arrives; none is no body.
    pub body: Vec<Vec<u8>>,
}

impl Response {
    /// A response with this status, no other header and no body.
    pub fn status(status: u16) -> Self {
        Self { headers: [(":status", status.to_string())].into_iter().collect(), body: Vec::new() }
    }

    /// Adds a header.
    pub fn header(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(key.as_ref(), value.as_ref());
        self
    }

    /// Adds a piece of the body.
    pub fn chunk(mut self, piece: impl AsRef<[u8]>) -> Self {
        self.body.push(piece.as_ref().to_vec());
        self
    }
}

/// A response that the filter itself gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// HTTP status.
    pub status: u32,
    /// Response code details, empty if none were given.
    pub details: String,
    /// The headers it added, after edits in `proxy_on_response_headers`, without `:status`.
    pub headers: Headers,
    /// Body.
    pub body: Vec<u8>,
    /// gRPC status, if one was given.
    pub grpc_status: Option<u32>,
}

/// What the filter did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent upstream with these headers, edits included.
    Continue {
        /// Request headers after edits.
        headers: Headers,
    },
    /// Answered by the filter.
    LocalReply(LocalReply),
    /// Held; it is settled later from a tick or a call's answer, see [`crate::Process::take_settled`].
    Paused,
    /// Reset by the filter.
    Closed,
    /// A callback of this stream trapped, now or at its end, or the VM was failed before: Envoy answers 503.
    Trapped(String),
}

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its stream.
    pub stream: StreamId,
    /// What the filter did.
    pub outcome: Outcome,
    /// What it set with `proxy_set_property`: path (segments joined by NUL) -> value.
    pub filter_state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Response headers after edits; empty if there was no response phase.
    pub response_headers: Headers,
}

impl Exchange {
    /// Whether it was sent upstream.
    pub fn admitted(&self) -> bool {
        matches!(self.outcome, Outcome::Continue { .. })
    }

    /// The local reply, if the filter gave one.
    pub fn local_reply(&self) -> Option<&LocalReply> {
        match &self.outcome {
            Outcome::LocalReply(reply) => Some(reply),
            _ => None,
        }
    }

    /// Status of the local reply, if the filter gave one.
    pub fn refused_with(&self) -> Option<u32> {
        self.local_reply().map(|reply| reply.status)
    }

    /// A header of the request as it went upstream, or of the local reply; first value as text.
    pub fn header(&self, key: &str) -> Option<String> {
        match &self.outcome {
            Outcome::Continue { headers } => headers.text(key),
            Outcome::LocalReply(reply) => reply.headers.text(key),
            Outcome::Paused | Outcome::Closed | Outcome::Trapped(_) => None,
        }
    }
}

/// A paused stream that was let go, answered or reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Steady time, ns.
    pub at_ns: u64,
    /// What became of it. After `Continue` the test ends it with [`crate::Process::finish`].
    pub exchange: Exchange,
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    RequestHeaders,
    Proceeding,
    ResponseHeaders,
    ResponseBody,
    Log,
}

/// What the filter decided; headers are in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Continue,
    LocalReply(LocalReply),
    Closed,
}

/// Host state of a stream context.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) root: u32,
    pub(crate) phase: Phase,
    pub(crate) decision: Option<Decision>,
    /// The test was told `Paused`; what becomes of it is reported as [`Settled`].
    pub(crate) held: bool,
    pub(crate) request_headers: Headers,
    pub(crate) response_headers: Headers,
    /// The piece of the response's body that a callback is about.
    pub(crate) response_body: Vec<u8>,
    pub(crate) properties: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) filter_state: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Stream {
    pub(crate) fn new(root: u32, request: Request) -> Self {
        Self {
            root,
            phase: Phase::Created,
            decision: None,
            held: false,
            request_headers: request.headers,
            response_headers: Headers::default(),
            response_body: Vec::new(),
            properties: request.properties,
            filter_state: BTreeMap::new(),
        }
    }

    /// What a test is told once the stream is over, or (a copy) while it goes on.
    pub(crate) fn into_exchange(self, stream: StreamId) -> Exchange {
        let mut response_headers = self.response_headers;
        let outcome = match self.decision {
            Some(Decision::Continue) => Outcome::Continue { headers: self.request_headers },
            Some(Decision::LocalReply(mut reply)) => {
                if !response_headers.is_empty() {
                    reply.headers = response_headers.clone();
                    reply.headers.remove(b":status");
                }
                Outcome::LocalReply(reply)
            }
            Some(Decision::Closed) => Outcome::Closed,
            None => Outcome::Paused,
        };
        if matches!(outcome, Outcome::Paused | Outcome::Closed) {
            response_headers = Headers::default();
        }
        Exchange { stream, outcome, filter_state: self.filter_state, response_headers }
    }

    pub(crate) fn to_exchange(&self, stream: StreamId) -> Exchange {
        let copy = Self {
            root: self.root,
            phase: self.phase,
            decision: self.decision.clone(),
            held: self.held,
            request_headers: self.request_headers.clone(),
            response_headers: self.response_headers.clone(),
            response_body: Vec::new(),
            properties: BTreeMap::new(),
            filter_state: self.filter_state.clone(),
        };
        copy.into_exchange(stream)
    }
}

/// The ABI's form of a property path.
pub(crate) fn property_path(segments: &[&str]) -> Vec<u8> {
    segments.join("\0").into_bytes()
}
