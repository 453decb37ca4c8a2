//! Capacity behind one trait: instance managers, who keep the number of instances that a plan asks for.
//!
//! The intuition: the controller says how many instances each group is to have ([`Order`]), a manager sees what there is
//! ([`InstanceManager::observe`]) and starts, warms, drains and stops until it is so ([`InstanceManager::apply`]). Orders
//! are whole and level-triggered: an order says everything, saying it twice changes nothing, and one that got lost is
//! made good by the next. A manager makes no choice but which instances of a group go first.
//!
//! Invariants, held by the conformance suite (`tests/suite`) for every manager: an order with an older generation than one
//! that was taken is refused; what is observed as ready serves now; no instance is started twice for one order, whatever
//! answers were lost; an instance that the manager started stays known to it until it is gone, also over a restart.
//!
//! What it does not do: decide how many, where or which shape (`forebay-plan`), or keep time: managers are asked again and
//! again by the controller's loop.

mod call;
mod declared;
mod dry_run;
mod kind;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod process;
mod state;
mod webhook;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use forebay_plan::capacity::{Generation, Group, Instance, Shape, Target};

pub use declared::Declared;
pub use dry_run::{Action, DryRun, MAX_STEPS, Step};
pub use kind::Manager;
pub use process::{Backoff, Drain, Health, Ports, Process, ProcessSettings, Template, Warming};
pub use webhook::{
    ClientFiles, REWINDS_MAX, Retries, SECRET_BYTES_MIN, Secret, SecretTooShort, TlsError, TlsSettings, Webhook,
    WebhookError, WebhookSettings, protocol, signature,
};

/// What a manager is to make true.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Order {
    /// Who decided; older ones than the newest that was taken are refused.
    pub generation: Generation,
    /// Every group that is to have instances. A group of this manager that is not in it is to have none.
    pub targets: Vec<Target>,
    /// Sizes that targets may be of beside those that managers are configured with: shapes that were generated from what
    /// instances use. A manager that cannot make a size passes them over, and its group fails as unknown.
    pub shapes: Vec<Shape>,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The newest generation that was taken; `None` before the first.
    pub generation: Option<Generation>,
    /// All instances that the manager owns; those that are gone for at most a day.
    pub instances: Vec<Instance>,
    /// Names of pools that could not be seen, as where a region is lost: what is said of their instances is what was known
    /// before, nothing at all after a restart, and an order does nothing there until they are seen again.
    pub unreachable: BTreeSet<String>,
    /// What instances use, of those that the manager can measure; nothing rests on any of them being here.
    pub usage: Vec<InstanceUsage>,
}

/// What one instance used of late, on average since it was last told.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceUsage {
    /// The instance.
    pub id: String,
    /// Thousandths of a core.
    pub cpu_milli: f64,
    /// Memory, in MiB.
    pub memory_mib: f64,
}

/// What came of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Instances that were asked for.
    pub started: u32,
    /// Instances that were told to drain, or given up before they were ready.
    pub stopped: u32,
    /// Groups that could not be brought to their number; the others were.
    pub failures: Vec<GroupFailure>,
}

/// Why a group is not at its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFailure {
    /// The group.
    pub group: Group,
    /// The kind of failure, for what is done about it.
    pub kind: FailureKind,
    /// For people.
    pub detail: String,
}

/// What a failure means for the next plan; the name is also the label of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// A quota or limit that somebody has to raise.
    QuotaExceeded,
    /// The pool has nothing left at present.
    OutOfCapacity,
    /// The manager does not know the pool, shape or service.
    Unknown,
    /// It was tried and did not work.
    Failed,
}

impl FailureKind {
    /// The name in answers and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QuotaExceeded => "quota_exceeded",
            Self::OutOfCapacity => "out_of_capacity",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

/// Why a manager did not answer, or would not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// The manager has no pool of this name.
    #[error("ask for ready capacity: no pool {pool:?} is declared")]
    UnknownPool {
        /// The name that was asked for.
        pool: String,
    },
    /// A newer order was taken before.
    #[error(
        "apply order {asked}: order {taken} was taken before; a newer controller is at work, or a store was restored"
    )]
    StaleGeneration {
        /// Of the order.
        asked: Generation,
        /// Of the newest that was taken.
        taken: Generation,
    },
    /// The manager could not be reached, or did not answer in time; nothing is known of what it did.
    #[error("{operation}: {detail}")]
    Unreachable {
        /// What was tried.
        operation: &'static str,
        /// What happened.
        detail: String,
    },
    /// It answered something that makes no sense.
    #[error("{operation}: the answer makes no sense: {detail}")]
    Malformed {
        /// What was tried.
        operation: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl ProvisionError {
    /// The kind, as a label.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownPool { .. } => "unknown_pool",
            Self::StaleGeneration { .. } => "stale_generation",
            Self::Unreachable { .. } => "unreachable",
            Self::Malformed { .. } => "malformed",
        }
    }
}

/// Keeps instances at the numbers of orders.
///
/// Both calls may take as long as the outside takes; who calls sets the limit ([`CALL_WITHIN`]) and treats what ran out of
/// it as [`ProvisionError::Unreachable`]. A call that is dropped half-way leaves nothing that the next cannot see.
pub trait InstanceManager: Send + Sync {
    /// What there is now. Also moves on what is waiting to be started, warmed or drained.
    ///
    /// # Errors
    /// [`ProvisionError`] when the manager cannot say; what is known of before then stands, and nothing is given up.
    fn observe(&self) -> impl Future<Output = Result<Observed, ProvisionError>> + Send;

    /// Makes `order` true as far as it goes, and returns without waiting until instances are ready.
    ///
    /// # Errors
    /// [`ProvisionError`] when nothing is known to have been done; a group that failed by itself is in
    /// [`Applied::failures`].
    fn apply(&self, order: &Order) -> impl Future<Output = Result<Applied, ProvisionError>> + Send;

    /// What it could not do lately beside its groups, in words with the remedy, for people.
    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Longest that a call to a manager may take.
pub const CALL_WITHIN: Duration = Duration::from_secs(30);
