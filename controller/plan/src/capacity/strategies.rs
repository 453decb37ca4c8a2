//! The algorithms of the founding documents, by their names: what each decides for one key, one instance or one request.
//!
//! The planner ([`super::plan_capacity`]) chooses for all services at once and is what the controller acts on. These decide
//! for one asker, from what is at hand, and are small enough to be read beside the documents. Each names its seed; golden
//! tests hold their answers.
//!
//! [`select_shape`] can be asked for: an allocation with a trade-off has its shape chosen by it (`tradeoff` in `POST
//! /v1/allocations`). The other two are not a way to run the controller. [`allocate_resources`] answers SUCCESS, PENDING or
//! FAILURE for one key from free instances of pools; the planner gives the same three answers (201, 202 and 422) with budgets,
//! latency, dwell and what is promised to others in them, which this does not know. [`orchestrate_resources`] resizes single
//! instances by any amount of CPU and memory, and no instance manager here has instances of any size: shapes are what they
//! have. Of it, the planner has the tier's own factors of CPU and memory ([`super::price::units_per_s`]).

mod allocate;
mod orchestrate;
mod select_shape;

pub use allocate::{Allocation, AllocationOutcome, IdealProfile, PoolState, allocate_resources};
pub use orchestrate::{
    Deltas, InstanceNeed, Orchestration, Prediction, calculate_resources, orchestrate_resources, select_resource_tier,
};
pub use select_shape::{PredictedLoad, ShapeScore, moves_to, select_shape, shape_scores};
