//! What operation teaches: how long starts take, how often instances are taken away or fail, what machines really do,
//! and which headroom and tier mix cost least.
//!
//! The intuition: everything that a plan believes of the world is declared first and learned then. Each learner is a small
//! value with a prior from the configuration, so that nothing learned means what was declared, little learned means a
//! mixture, and what was learned long ago fades back to it. What is learned feeds the planner's inputs ([`PoolLearning`]
//! gives a pool with its learned figures); it decides nothing. The only part that decides is the [`tuner`], and only inside
//! a declared band around the planner's own choice.
//!
//! Invariants: the same observations in the same order give the same value; every memory is bounded and its bound named;
//! numbers that cannot be (negative, infinite, none) are refused and leave no trace, so that a state can always be stored
//! as JSON and read back.
//!
//! Pure: time and seeded generators are arguments. Sources: SPEC C7 and C10; seed 11997021 (feedback loop).

mod census;
mod error;
mod failure;
mod forgetting;
mod interruption;
mod lead;
mod performance;
mod pool;
pub mod tuner;
mod utilisation;

pub use census::{Census, MAX_GAP_S, Seen};
pub use error::LearningError;
pub use failure::StartFailures;
pub use forgetting::HalfLife;
pub use interruption::{Exposure, InterruptionRate};
pub use lead::{DeclaredLead, LeadTime, LeadTimes, MAX_SHAPES, MAX_STARTS};
pub use performance::{Load, PerformanceFactor, RANGE as FACTOR_RANGE};
pub use pool::{DeclaredPool, PoolLearning};
pub use utilisation::{DeclaredUtilisation, Utilisation, UtilisationSample};
