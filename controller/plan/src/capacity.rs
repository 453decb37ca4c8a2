//! The world that capacity is planned in: pools, shapes, tiers, services and their instances.
//!
//! The intuition: a *service* is what demand arrives for; its name is the pool that contracts name. It is served by
//! *instances*, each of one *shape* (how big) in one *pool* (where, of which compute type and cost class). A *group* is all
//! instances of a service that are of one shape in one pool: what a plan counts and what an instance manager keeps to a
//! number. A plan never names single instances; which of a group goes first is the manager's choice.
//!
//! Money is whole millionths of one currency ([`Micros`]), so that sums are exact; amounts of resources are floating point,
//! their unit in their name.
//!
//! Pure values: what is learned of lead times and interruptions, and what is decided, live elsewhere. Sources: SPEC C1, C3
//! and C4; seeds 11997021, 8825550 and 11372686.

mod check;
mod commitment;
mod inputs;
mod instance;
mod planning;
mod pool;
pub mod price;
mod service;
mod shape;
pub mod shapes;
pub mod strategies;

pub use check::{CapacityFinding, check_capacity};
pub use commitment::{Asked, Budget, BudgetScope, Maintenance, Off, Reservation, Within};
pub use inputs::{CapacityInputs, DwellMemory, Fleet, PoolOffer};
pub use instance::{Generation, Group, Instance, InstanceState, Target};
pub use planning::{
    BudgetReport, CapacityPlan, CapacityReport, ChoiceReport, GroupReason, GroupReport, GroupSchedule, PlanningLimits,
    ServiceReason, ServiceReport, plan_capacity,
};
pub use pool::{ComputeType, CostClass, Pool, Tier};
pub use service::{Latencies, LatencyLimit, Origin, Outlook, Service};
pub use shape::{Amounts, Shape};

/// Millionths of the currency that prices and budgets are in.
pub type Micros = u64;
