//! The demo: the main job on real traffic, beside Envoy's own `local_ratelimit`.
//!
//! A trace is split in two. Its past is imported into the controller's history; its last hours are replayed as real
//! HTTP, in compressed time, through a real Envoy with the Forebay filter and, the same requests at the same instants,
//! through `local_ratelimit` with the same contracts and once more with the contracts scaled up evenly to the pool's
//! capacity. What is compared is therefore only *when* and *to whom* the same capacity is given.
//!
//! One place scales time: the controller's clock port. Filter, sync path and buckets run as in production.
//!
//! The second part ([`capacity`]) is about capacity that is started ahead of a burst.

pub mod capacity;
pub mod checks;
pub mod outcome;
pub mod run;
pub mod scenario;
pub mod table;
