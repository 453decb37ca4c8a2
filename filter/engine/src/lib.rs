//! The filter's life cycle, without a host: requests, ticks and answers in, verdicts and effects out.
//!
//! One [`Worker`] is one plugin instance in one VM. A [`request`] becomes facts, facts become keys and costs, the
//! admission crate decides. Behind that, on the tick, workers hand their counts to shared data, and one of them, the
//! [`leader`], reports to the controller and watches for grants; what arrives it puts into shared data, where
//! the others find it ([`table`]).
//!
//! Pure but for the [`Host`] port, which a proxy-wasm shell, the simulation and the tests implement: so the same
//! decisions come out natively and in wasm. Nothing here panics, whatever the network or a client sends: what cannot be
//! decoded is counted, and the last good state stays.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

extern crate alloc;

pub mod answer;
pub mod cells;
pub mod config;
pub mod effect;
pub mod host;
pub mod keys;
pub mod leader;
mod ledger;
pub mod memory;
pub mod metric_names;
mod named;
mod percent;
pub mod policy;
pub mod provenance;
mod record;
pub mod request;
pub mod settling;
pub mod shared;
pub mod strangers;
pub mod streams;
pub mod table;
mod totals;
pub mod usage;
mod waiting;
pub mod worker;

pub use config::{Config, ConfigError};
pub use effect::{CallKind, CallOut, Effect, Metric};
pub use host::{Expected, Host, StoreError, Unreadable};
pub use request::Outcome;
pub use streams::{Module, Stream};
pub use waiting::WAITING_TICK_MS;
pub use worker::Worker;
