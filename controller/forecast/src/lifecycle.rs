//! When a model is fitted again, which model forecasts, and what a key without history is forecast from.
//!
//! The intuition: a model is never right, it is only the best one so far. So there is always a reason to look again
//! ([`Triggers`]: time, error, calibration, drift, change).
//!
//! Deliberately not here: nothing is run. These are state machines and estimates; the daemon fits, forecasts and scores.

mod drift;
mod triggers;

pub use drift::PageHinkley;
pub use triggers::{Evidence, Refit, RefitSchedule, RefitScope, RefitTrigger, Triggers};
