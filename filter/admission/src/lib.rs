//! The admission decision: may this request pass, out of which bucket, and if not, when?
//!
//! The intuition in three layers. A *key* (tenant x resource) has one [`KeyState`] per proxy: a standard token
//! [`bucket`] and, while a forecast has pre-allocated something, a [`shadow`] bucket beside it. Workers do not touch
//! that state per request: each takes a *lease* out of it and spends the lease from its own memory ([`account`]).
//! [`decision::admit`] charges a request to one or several keys, all or nothing: shadow, else standard, else refuse.
//!
//! Invariants: integers only, saturating on purpose; nothing is ever admitted twice out of the same units; units that
//! are leased have left the shared state, so that over any window and any number of workers
//! `admitted <= rate x time + burst + leases outstanding at its start`, where [`lease_units`] keeps the last term below
//! 2 % of the burst.
//!
//! Pure: time is an argument, storage is the [`Ledger`] trait, there is no randomness. It does not know what a tenant
//! is, nor what a host is.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

extern crate alloc;

pub mod account;
pub mod bucket;
pub mod client_timeout;
pub mod concurrency;
pub mod decision;
pub mod fingerprint;
pub mod grant;
pub mod key_state;
pub mod queue;
pub mod seats;
pub mod shadow;
pub mod sketch;
pub mod slot_set;
pub mod units;

pub use account::{Account, Conditions, Contended, Counts, Ledger, Tally, lease_units};
pub use bucket::{Bucket, Wait};
pub use concurrency::{ClusterState, Guard, GuardLedger, GuardSettings};
pub use decision::{Charge, Lane, MAX_CHARGES, Verdict, admit};
pub use fingerprint::{Fingerprint, Seed};
pub use grant::{Grant, Terms};
pub use key_state::KeyState;
pub use queue::{Bound, Class, Entry, NoWait, Queue};
pub use seats::{Place, Seats, SlotLedger, SlotStore};
pub use shadow::{ShadowState, Slot};
pub use sketch::Sketch;
pub use slot_set::{Claim, SlotSet};
pub use units::{Limit, Nanos, Rate};
