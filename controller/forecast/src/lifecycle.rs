//! When a model is fitted again, which model forecasts, and what a key without history is forecast from.
//!
//! The intuition: a model is never right, it is only the best one so far. So there is always a reason to look again
//! ([`Triggers`]: time, error, calibration, drift, change), what is found has to prove itself in the shadow before it is
//! believed ([`Lineup`]), what it replaces is kept until the new one has stood a week, and a key that is new borrows from
//! its like ([`ColdStart`]). [`Search`] looks for better parameters a few trials at a time. Every decision is a value
//! ([`Choice`]) that can be kept and shown.
//!
//! Deliberately not here: nothing is run. These are state machines and estimates; the daemon fits, forecasts and scores.

mod choices;
mod cold_start;
mod drift;
mod lineup;
mod search;
mod triggers;
mod tune;

pub use choices::{Choice, Chosen, Contender, FitChoice, Place};
pub use cold_start::{ColdStart, ColdStartError, MAX_DONORS};
pub use drift::PageHinkley;
pub use lineup::{Lineup, LineupEvent, ModelVersion, Record};
pub use search::{Parameter, ParameterRange, Point, Search, SearchError, Trial};
pub use triggers::{Refit, RefitSchedule, RefitScope, RefitTrigger, StepEvidence, Triggers};
pub use tune::{MAX_SEARCH_FITS, SearchBudget, Tuned, TuningError, tune};
