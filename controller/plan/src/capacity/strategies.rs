//! The algorithms of the founding documents, by their names: what each decides for one key, one instance or one request.
//!
//! The planner ([`super::plan_capacity`]) chooses for all services at once and is what the controller acts on. These decide
//! for one asker, from what is at hand: the request workflow answers with them before the next plan, and they are small
//! enough to be read beside the documents. Each names its seed; golden tests hold their answers.

mod allocate;
mod orchestrate;
mod select_shape;

pub use allocate::{Allocation, AllocationOutcome, IdealProfile, PoolState, allocate_resources};
pub use orchestrate::{
    Deltas, InstanceNeed, Orchestration, Prediction, calculate_resources, orchestrate_resources, select_resource_tier,
};
pub use select_shape::{PredictedLoad, ShapeScore, moves_to, select_shape, shape_scores};
