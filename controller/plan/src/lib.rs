//! Demand forecasts to grants: a plan is a complete value, made in one pure step from complete inputs.
//!
//! The intuition: a contract promises a standard rate at all times. Where the forecast says that a tenant will need
//! more for a while, the plan pre-allocates that difference (the *shadow*), as far as the pool behind it has capacity
//! that nobody was promised. [`plan`] decides, [`check`] judges any plan against the inputs without trusting how it was
//! made, [`Dealer`] deals a plan out to the proxies of the mesh by demand, [`split`] equally.
//!
//! Invariants (held by `check` and by property tests): in every slot, the standard rates and the shadow rates of a
//! pool's contracts together stay within the pool's ready capacity; no shadow exceeds its contract's `shadow_max`;
//! capacity that is short is shared by weighted max-min fairness; the same inputs give the same plan; what the proxies
//! get sums to no more than the plan.
//!
//! Pure: no I/O, no clock, no randomness. It does not forecast and does not know how demand was measured; a shape or
//! an instance is a later concern. Sources: SPEC A2, A3 and C2; DESIGN section 4; max-min fairness after Bertsekas and
//! Gallager, "Data Networks", section 6.5.2.

pub mod capacity;
mod check;
pub mod dealer;
mod fairness;
mod filling;
mod inputs;
pub mod learning;
mod planning;
pub mod simulation;
mod split;

pub use check::{Finding, check};
pub use dealer::holder::{Hand, Mark, Share};
pub use dealer::{Dealer, Recent, Seen};
pub use fairness::{Claim, max_min_shares};
pub use filling::{Asked, fill};
pub use inputs::{Contract, Demand, Inputs, Key, ReadyCapacity, SlotTime};
pub use planning::{Grant, KeyReport, Limit, Plan, PlanReport, Reason, Slot, plan};
pub use split::{share, split};
