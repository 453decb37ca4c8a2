//! A deterministic proxy-wasm host (ABI 0.2.1): Envoy as the filter sees it, without Envoy.
//!
//! A [`Process`] stands for one Envoy process: several VMs (worker threads) of one module, the shared data
//! between them, two virtual clocks, the HTTP calls that leave, metrics and logs. Nothing runs by itself: a
//! test sends a request, moves the clock, answers a call, and every effect has happened when the method
//! returns. Same inputs, same results, down to the order of the log lines.
//!
//! Invariants: one callback runs at a time; no real clock, no thread, no global, no randomness but the seeded
//! `random_get`; a trap fails its own VM only. The semantics follow Envoy 1.36 to 1.40 with cpp-host, and where
//! a detail is deliberately different the item says so.
//!
//! What it does not do: bodies and trailers of proxied streams, gRPC calls (answered `Unimplemented`), pausing
//! in response headers (taken as continue), network filters, and threads: workers interleave only where the
//! test lets them, or inside a shared-data call through [`Process::on_shared_data`].
//!
//! Source: the proxy-wasm ABI specification 0.2.1 and the observed behaviour of Envoy.

mod clock;
mod code;
mod error;
mod guest;
mod headers;
mod hostcalls;
mod http_call;
mod log;
mod metric;
mod process;
mod shared_data;
mod shared_queue;
mod status;
mod stream;
mod vm;
mod world;

pub use clock::Clock;
pub use code::{Code, Options};
pub use error::HostError;
pub use headers::Headers;
pub use http_call::{Answer, HttpCall};
pub use log::{LogLevel, LogLine};
pub use metric::Metric;
pub use process::Process;
pub use shared_data::{Entry, SharedData, SharedDataCall, cas_mismatches};
pub use status::Status;
pub use stream::{Exchange, LocalReply, Outcome, Request, Response, Settled, StreamId};
pub use vm::{RootId, VmId};
