//! The admission core against naive oracles: several workers, random operations, every window checked.

mod buckets;
mod claims;
mod clock;
mod counting;
mod leases;
mod pools;
mod settling;
mod support;
