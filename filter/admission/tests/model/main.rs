//! The admission core against naive oracles: several workers, random operations, every window checked.

mod buckets;
mod claims;
mod clock;
mod concurrency;
mod counting;
mod leases;
mod pools;
mod queue;
mod settling;
mod strangers;
mod support;
mod till;
