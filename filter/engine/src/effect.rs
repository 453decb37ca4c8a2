//! What a worker wants done.

use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::Lane;

use crate::answer::Answer;

/// Something to do after a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a message to the controller; the answer comes back with the same kind.
    Call(CallOut),
    /// Add to a metric of the proxy.
    Count(Metric, u64),
    /// Add to a counter that the policy names: its number, for [`Worker::counter_name`](crate::Worker::counter_name).
    CountNamed(u16, u64),
    /// Set the gauge of the over-admission bound, in units: the largest of any key's.
    OverAdmissionBound(u64),
    /// Set the gauge of a guarded cluster's limit, in requests at once: the cluster's number, for
    /// [`Worker::guard_gauge`](crate::Worker::guard_gauge).
    GuardLimit(u16, u64),
    /// Write a line for the operator.
    Warn(String),
    /// Let a stream go on that was told to wait.
    Resume {
        /// Its context in this VM.
        stream: u32,
        /// The lane to mark it with; `None`: it is not limited after all.
        lane: Option<Lane>,
    },
    /// Answer a stream that was told to wait. Only a tick says so: a host skips what is left of its call for another
    /// stream once one is answered.
    Answer {
        /// Its context in this VM.
        stream: u32,
        /// The answer.
        refusal: Answer,
    },
    /// Tick every so many milliseconds from now on: the next tick comes that long after now.
    TickEvery(u32),
}

/// A call to the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOut {
    /// What the answer will answer.
    pub kind: CallKind,
    /// Envoy cluster.
    pub cluster: String,
    /// `:authority`.
    pub authority: String,
    /// Request body for `POST /v1/sync`.
    pub body: Vec<u8>,
    /// How long to wait for the whole answer.
    pub timeout_ms: u32,
}

/// The two calls of the sync path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Counters up.
    Report,
    /// Grants down.
    Watch,
}

/// The counters that the proxy exports. A fixed set: tenants never become metric names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names in Metric::NAMES say it")]
pub enum Metric {
    Reserved,
    Standard,
    Borrowed,
    Refused,
    Exempt,
    FailedOpen,
    UndecodableAnswers,
    OversizedAnswers,
    StaleTables,
    FailedCalls,
    TablesApplied,
    QueueWaited,
    QueueExpired,
    QueueShed,
    QueueFull,
    Settled,
    KeptEstimate,
    RefundedUnits,
    ChargedUnits,
    ForgivenUnits,
    GuardRefused,
    GuardWouldRefuse,
    GuardUnguarded,
}

impl Metric {
    /// Every metric with its name in the proxy's stats.
    pub const NAMES: [(Self, &'static str); 23] = [
        (Self::Reserved, "forebay.requests.reserved"),
        (Self::Standard, "forebay.requests.standard"),
        (Self::Borrowed, "forebay.requests.borrowed"),
        (Self::Refused, "forebay.requests.refused"),
        (Self::Exempt, "forebay.requests.exempt"),
        (Self::FailedOpen, "forebay.requests.failed_open"),
        (Self::UndecodableAnswers, "forebay.sync.undecodable_answers"),
        (Self::OversizedAnswers, "forebay.sync.oversized_answers"),
        (Self::StaleTables, "forebay.sync.stale_tables"),
        (Self::FailedCalls, "forebay.sync.failed_calls"),
        (Self::TablesApplied, "forebay.sync.tables_applied"),
        (Self::QueueWaited, "forebay.queue.waited"),
        (Self::QueueExpired, "forebay.queue.expired"),
        (Self::QueueShed, "forebay.queue.shed"),
        (Self::QueueFull, "forebay.queue.full"),
        (Self::Settled, "forebay.settlement.settled"),
        (Self::KeptEstimate, "forebay.settlement.kept_estimate"),
        (Self::RefundedUnits, "forebay.settlement.refunded_units"),
        (Self::ChargedUnits, "forebay.settlement.charged_units"),
        (Self::ForgivenUnits, "forebay.settlement.forgiven_units"),
        (Self::GuardRefused, "forebay.guard.refused"),
        (Self::GuardWouldRefuse, "forebay.guard.would_refuse"),
        (Self::GuardUnguarded, "forebay.guard.unguarded"),
    ];

    /// Name of the gauge behind [`Effect::OverAdmissionBound`].
    pub const OVER_ADMISSION_BOUND: &'static str = "forebay.over_admission_bound_units";
}
