//! The real stack around Forebay, for the demo, the tests and the benches: a real Envoy, the real controller binary, and
//! upstreams and clients that speak real HTTP over loopback.
//!
//! Intuition: each part is a value. Starting it returns when the part answers, its addresses come from the part itself
//! (port 0 everywhere, so any number of stacks run side by side), and dropping it ends the process and removes its
//! files. Whoever builds a stack describes it once as a [`bootstrap::Bootstrap`] and reads plain facts back: answers,
//! counters, CPU seconds, log text.
//!
//! Invariants: only processes that were started here are ever signalled, by their own id; waiting is always polling
//! with a deadline ([`poll::until`]), never a pause of a guessed length.
//!
//! The stack holds no assertion and no scenario: those live in the tests, the benches and [`demo`].

pub mod artefacts;
pub mod bootstrap;
pub mod client;
pub mod contest;
pub mod controller;
pub mod demo;
pub mod envoy;
pub mod filters;
pub mod instance;
pub mod poll;
pub mod process;
pub mod spread;
pub mod upstream;
pub mod usage;
