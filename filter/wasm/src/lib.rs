//! The proxy-wasm module. It translates the host's events into engine calls and the engine's effects into host calls;
//! what it knows of admission is nothing.
//!
//! It speaks proxy-wasm ABI 0.2.1 itself instead of through the Rust SDK, for two measured reasons. The host calls every
//! exported callback on every stream, the SDK exports all of them, and two thirds of an empty SDK filter's cost are
//! those (`cargo xtask bench overhead` prints both); this module exports the two that the request path needs and keeps no
//! state per stream. And the SDK's wrappers panic on any status that they do not list, while a filter must not.
//!
//! The feature `streams` adds the callbacks of a stream's life after its request headers (`streams`): a module of its own,
//! for the policies that need them.
//!
//! Invariants: no panic (the lints deny the usual suspects), no unsafe code outside this crate, and inside it only in
//! [`abi`]. A stream is identified by the context that the host has just created for it, which is the very call before
//! its request headers; plugin instances that no longer tick are forgotten.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod abi;
mod callbacks;
mod envoy;
mod headers;
mod instances;
#[cfg(feature = "streams")]
mod streams;
