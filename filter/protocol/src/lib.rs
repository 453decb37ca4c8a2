//! The words that filter and controller exchange over `POST /v1/sync`.
//!
//! A message is an [`envelope`]: a fixed header (magic, version, kind, length) and a postcard body. The filter asks
//! with a [`Report`] (what it counted) or a [`Watch`] (what it has), the controller answers with a [`ReportAck`] or
//! with one part of a [`GrantTable`]. Everything is level-triggered: counters are cumulative, tables are whole, so a
//! message that is lost, repeated or late changes nothing.
//!
//! Invariants: no byte sequence makes decoding panic; a body longer than [`MAX_BODY_BYTES`] is refused before it is
//! read; the bytes of version 1 are held by golden tests and never change. Fields are added as [`Extension`]s, because
//! postcard cannot skip what it does not know.
//!
//! It does not hold domain types: the engine and the daemon parse these once, into their own.
#![no_std]

extern crate alloc;

pub mod bootstrap;
pub mod envelope;
pub mod extension;
pub mod json;
pub mod policy;
pub mod v1;

pub use envelope::{DecodeError, Kind, MAX_BODY_BYTES, decode, encode};
pub use extension::{Count, Details, Expectations, Further, Provisioning, SlotCount};
pub use v1::{
    Counters, Extension, Generation, Grant, GrantTable, Limit, Message, Report, ReportAck, Row, Slot, SyncStats, Watch,
};

/// The tenant name under which uncontracted and unidentified requests of a rule are limited and reported.
pub const OTHERS: &str = "*";
