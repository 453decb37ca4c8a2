//! The admission decision: may this request pass, out of which bucket, and if not, when?
//!
//! The intuition in four layers. A *key* (tenant x resource) has one [`KeyState`] per proxy: a standard token
//! [`bucket`] and, while a forecast has pre-allocated something, a [`shadow`] bucket beside it. What owners leave idle of
//! their shadows, a [`pool`] lends to others. Workers do not touch that state per request: each takes a [`lease`] out of
//! it and spends the lease from its own memory ([`account`]). [`decision::admit`] charges a request to one or several
//! keys, all or nothing: shadow, else standard, else borrow, else refuse; [`settlement`] corrects the charge when the
//! true cost is known.
//!
//! Invariants: integers only, saturating on purpose; nothing is ever admitted twice out of the same units; units that
//! are leased have left the shared state, which leaves room for them ([`claims`]), so that over any window and any number
//! of workers `admitted <= rate x time + burst + one request per worker`. Buckets that keep no claims (shadow, pools, slots)
//! have small leases instead: [`lease_cap`] keeps them below 2 % of the burst or one request per worker.
//!
//! Pure: time is an argument, storage and clock are the [`Ledger`] trait, there is no randomness. It does not know what
//! a tenant is, nor what a host is.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

extern crate alloc;

pub mod account;
mod borrow;
pub mod bucket;
pub mod claims;
pub mod client_timeout;
pub mod concurrency;
pub mod counts;
pub mod decision;
pub mod demand;
mod draw;
pub mod dry;
pub mod fingerprint;
pub mod grant;
pub mod key_state;
pub mod lease;
pub mod ledger;
pub mod pool;
pub mod queue;
pub mod score;
pub mod seats;
pub mod settlement;
pub mod shadow;
pub mod sketch;
pub mod slot_set;
pub mod units;

pub use account::Account;
pub use bucket::{Bucket, Wait};
pub use claims::{Claimed, Claims};
pub use concurrency::{ClusterState, Guard, GuardLedger, GuardSettings};
pub use counts::{Counts, Settled, Tally};
pub use decision::{
    Cause, Charge, Lane, MAX_CHARGES, Receipt, Receipts, Secured, Source, TooLittle, Verdict, admit,
    admit_with_receipts, attempt, count_refused, secure, spend,
};
pub use demand::{Bursts, DemandState, Expected, SlotDemand};
pub use fingerprint::{Fingerprint, Seed};
pub use grant::{Grant, Terms};
pub use key_state::KeyState;
pub use lease::{claim_cap, lease_cap};
pub use ledger::{Clock, Conditions, Contended, Ledger};
pub use pool::{Membership, Pool, PoolState};
pub use queue::{Bound, Class, Entry, NoWait, Queue};
pub use seats::{Place, Seats, SlotLedger, SlotStore};
pub use shadow::{ShadowState, Slot};
pub use sketch::Sketch;
pub use slot_set::{Claim, SlotSet};
pub use units::{Limit, Nanos, Rate};
