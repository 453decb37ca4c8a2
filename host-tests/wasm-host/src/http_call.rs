//! HTTP calls that modules make, and the answers a test gives.
//!
//! A call stays open until the test answers it, its stream ends, or its VM goes. Nothing times out by itself:
//! a test that plays a timeout answers with [`Answer::timeout`] (Envoy delivers a 504), and one that plays a
//! connection failure uses [`crate::Process::fail_call`] (delivered with no headers at all).

use std::time::Duration;

use crate::{Headers, VmId};

/// A call that a VM made with `proxy_http_call`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    /// Who called.
    pub vm: VmId,
    /// The context that gets the answer: the effective one when the call was made.
    pub context: u32,
    /// The module's name for this call, unique in its VM.
    pub token: u32,
    /// Envoy cluster that was called.
    pub cluster: String,
    /// Request headers with `:method`, `:path` and `:authority`.
    pub headers: Headers,
    /// Request body.
    pub body: Vec<u8>,
    /// Request trailers.
    pub trailers: Headers,
    /// Zero means none.
    pub timeout: Duration,
    /// Steady time of the call, ns.
    pub issued_at_ns: u64,
}

/// The answer to a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Response headers with `:status`.
    pub headers: Headers,
    /// Response body.
    pub body: Vec<u8>,
    /// Response trailers.
    pub trailers: Headers,
}

impl Answer {
    /// An answer with this status and body and no other header.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = [(":status", status.to_string())].into_iter().collect();
        Self { headers, body: body.into(), trailers: Headers::default() }
    }

    /// What Envoy delivers when the call's timeout has passed.
    pub fn timeout() -> Self {
        Self::new(504, "upstream request timeout")
    }
}
