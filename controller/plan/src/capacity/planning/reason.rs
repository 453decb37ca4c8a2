//! Why a plan is what it is, in words that are counted and read: a name for labels, and what is so, where, and what to do.
//!
//! A reason says what limits, not what was tried: of several the one that a person has to act on first.

use std::fmt;

/// Why a service has the capacity that it has; the name is also the label of its metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceReason {
    /// All that is needed, in every step.
    Met,
    /// All that is needed is asked for, and what is ready does not yet serve what is needed now.
    OnItsWay,
    /// Instances in a full pool that the demand of now does not need go, so that larger ones come in their places.
    MakingRoom {
        /// Name of the pool.
        pool: String,
    },
    /// A pool is full of instances that the demand of now needs, so that none can give its place to a larger one.
    FullOfNeeded {
        /// Name of the pool.
        pool: String,
    },
    /// All that is needed but in steps that nothing asked for now can reach any more.
    LateForLead {
        /// First step in which what is asked for now serves.
        from_step: usize,
    },
    /// Nothing usable is known of its demand; it keeps what it has, and at least what it needs now.
    NoOutlook,
    /// No pool and shape of the inputs is what a reservation asks for.
    ReservationUnmet {
        /// Its id.
        reservation: String,
    },
    /// No shape in any pool that it may use holds even a part of its need.
    NoAdequateGroup,
    /// No pool is within its latency of an origin; the nearest serves that origin.
    LatencyUnreachable {
        /// The origin.
        origin: String,
    },
    /// The pools that it may use have nothing left.
    PoolsExhausted {
        /// First step that is short.
        from_step: usize,
    },
    /// A budget does not allow what is needed.
    BudgetShort {
        /// Name of the budget.
        budget: String,
    },
    /// A budget does not even allow what the demand observed now needs.
    BelowFloorByBudget {
        /// Name of the budget.
        budget: String,
    },
}

impl ServiceReason {
    /// The name in answers and labels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::OnItsWay => "on_its_way",
            Self::MakingRoom { .. } => "making_room",
            Self::FullOfNeeded { .. } => "full_of_needed",
            Self::LateForLead { .. } => "late_for_lead",
            Self::NoOutlook => "no_outlook",
            Self::ReservationUnmet { .. } => "reservation_unmet",
            Self::NoAdequateGroup => "no_adequate_group",
            Self::LatencyUnreachable { .. } => "latency_unreachable",
            Self::PoolsExhausted { .. } => "pools_exhausted",
            Self::BudgetShort { .. } => "budget_short",
            Self::BelowFloorByBudget { .. } => "below_floor_by_budget",
        }
    }
}

impl fmt::Display for ServiceReason {
    /// What is so, where, and what to do about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met => write!(f, "all that is needed is there or asked for in time"),
            Self::OnItsWay => write!(f, "all that is needed is asked for, and what is ready does not yet serve it"),
            Self::MakingRoom { pool } => write!(
                f,
                "pool {pool} is full: instances that the demand of now does not need go, so that larger ones can come"
            ),
            Self::FullOfNeeded { pool } => write!(
                f,
                "pool {pool} is full of instances that the demand of now needs, so none can give its place to a larger one; \
                 let the pool have one instance more, or the service use another pool"
            ),
            Self::LateForLead { from_step } => {
                write!(
                    f,
                    "what is asked for now serves from step {from_step} on; forecasts that look further ahead help"
                )
            }
            Self::NoOutlook => write!(f, "nothing usable is known of the demand, so what runs stays"),
            Self::ReservationUnmet { reservation } => {
                write!(f, "no pool and shape is what reservation {reservation} asks for; change what it asks for")
            }
            Self::NoAdequateGroup => write!(f, "no shape in any pool that the service may use serves it; add one"),
            Self::LatencyUnreachable { origin } => {
                write!(f, "no pool is near enough to {origin}; add one there or raise the latency limit")
            }
            Self::PoolsExhausted { from_step } => {
                write!(f, "the pools have nothing left from step {from_step} on; let one of them have more instances")
            }
            Self::BudgetShort { budget } => write!(f, "budget {budget} does not allow what is needed; raise its limit"),
            Self::BelowFloorByBudget { budget } => {
                write!(f, "budget {budget} does not even allow what the demand of now needs; raise its limit")
            }
        }
    }
}

/// Why a group has its target; the name is also the label of its metric.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupReason {
    /// It has what is wanted.
    Unchanged,
    /// More is wanted.
    ScaledUp,
    /// Less is wanted.
    ScaledDown,
    /// Less is wanted, and it was wanted at its number until lately.
    HeldByDwell {
        /// Seconds until it may go down.
        remaining_s: f64,
    },
    /// Less is wanted, and what would be left that is ready now is less than is needed now.
    HeldForReadyCapacity,
    /// Less would do, and nothing usable is known of the demand.
    HeldWithoutOutlook,
    /// More is wanted, and the pool has no more.
    CutByPool,
    /// More is wanted, or was there, than a budget allows.
    CutByBudget {
        /// Name of the budget.
        budget: String,
    },
    /// Its pool, shape or service is not among the inputs.
    Unknown,
}

impl GroupReason {
    /// The name in answers and labels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::ScaledUp => "scaled_up",
            Self::ScaledDown => "scaled_down",
            Self::HeldByDwell { .. } => "held_by_dwell",
            Self::HeldForReadyCapacity => "held_for_ready_capacity",
            Self::HeldWithoutOutlook => "held_without_outlook",
            Self::CutByPool => "cut_by_pool",
            Self::CutByBudget { .. } => "cut_by_budget",
            Self::Unknown => "unknown",
        }
    }
}
