//! What goes over the wire between a controller and a receiver, version 1: `openapi.yaml` in the names of the code.
//!
//! Both calls are `POST` with a JSON body, signed (see [`signature`](crate::signature)). A receiver checks [`SIGNATURE`] and
//! that [`TIMESTAMP`] is within [`REPLAY_WINDOW`] of its own clock, answers with the request's `request` repeated, and signs
//! its answer with the request's timestamp and path. It keeps the newest generation that it took, refuses older ones with 409
//! and [`Refused`], and makes the same one true again however often it comes: [`IDEMPOTENCY_KEY`] says which it is.
//! Fields that a side does not know are passed over; a change that this does not cover is another version, with paths of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use forebay_plan::capacity::Generation;
use serde::{Deserialize, Serialize};

use crate::Order;

/// Path of [`ObserveRequest`].
pub const OBSERVE: &str = "/v1/observe";
/// Path of [`ApplyRequest`].
pub const APPLY: &str = "/v1/apply";
/// Header: when the request was signed, in unix seconds.
pub const TIMESTAMP: &str = "x-forebay-timestamp";
/// Header of requests and answers: the signature.
pub const SIGNATURE: &str = "x-forebay-signature";
/// Header of orders: their generation, as `EPOCH.SEQUENCE`.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// How far a request's time may be from the receiver's; what is further away is refused with 401.
pub const REPLAY_WINDOW: Duration = Duration::from_secs(300);
/// Longest body either way: about 300 bytes for each of [`MAX_INSTANCES`], and as much again.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Instances in one answer.
pub const MAX_INSTANCES: usize = 10_000;
/// Pools that one answer says cannot be seen.
pub const MAX_UNREACHABLE: usize = 1_000;

/// Who decided: later decisions are greater, the epoch first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WireGeneration {
    /// Rises with every start of a controller.
    pub epoch: u64,
    /// Rises with every decision of an epoch.
    pub sequence: u64,
}

/// All instances of a service that are of one shape in one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WireGroup {
    /// The service.
    pub service: String,
    /// The pool.
    pub pool: String,
    /// The shape.
    pub shape: String,
}

/// How many instances a group is to have: requested, starting, warming and ready together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WireTarget {
    /// The group.
    #[serde(flatten)]
    pub group: WireGroup,
    /// The number.
    pub count: u32,
}

/// Asks what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ObserveRequest {
    /// Of this request alone; repeated in the answer.
    pub request: String,
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ObserveAnswer {
    /// The request's.
    pub request: String,
    /// Rises with everything that changes at the receiver, also over its restarts: says which view is newer.
    pub revision: u64,
    /// The newest that was taken; missing before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<WireGeneration>,
    /// All instances that the receiver keeps; those that are gone for at most a day.
    pub instances: Vec<WireInstance>,
    /// Names of pools that cannot be seen at present; absent where all are. What is said of them was known before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unreachable: BTreeSet<String>,
}

/// What an instance goes through, in this order; only `ready` serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WireState {
    /// Asked for; nothing has been seen of it yet.
    Requested,
    /// It exists and does not answer yet.
    Starting,
    /// It answers, and its warming steps are not done.
    Warming,
    /// It serves.
    Ready,
    /// It finishes what it has and gets nothing new.
    Draining,
    /// It has ended.
    Gone,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WireInstance {
    /// Unique at the receiver, never used again; 1 to 256 bytes.
    pub id: String,
    /// What it belongs to.
    #[serde(flatten)]
    pub group: WireGroup,
    /// Where it is in its life.
    pub state: WireState,
    /// When it was asked for; unix milliseconds.
    pub requested_ms: u64,
    /// When it became ready for the first time; unix milliseconds. Of a ready instance it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// Where it serves: an IP address and a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub address: Option<SocketAddr>,
    /// Whether it is known that it will be taken away.
    #[serde(default)]
    pub is_interrupted: bool,
    /// What it used of late; missing where the receiver does not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<WireUsage>,
}

/// What an instance used, on average over the last half a minute or so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WireUsage {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

/// An order: everything that is to be, not what is to change. A group that is not in it is to have no instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ApplyRequest {
    /// Of this request alone; repeated in the answer.
    pub request: String,
    /// Who decided.
    pub generation: WireGeneration,
    /// What is to be.
    pub targets: Vec<WireTarget>,
    /// Sizes that targets may be of beside those that the receiver was set up with; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shapes: Vec<WireShape>,
}

/// A size that was found from what instances use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WireShape {
    /// As targets name it.
    pub name: String,
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Disk space, in GiB.
    pub storage_gib: u64,
    /// Disk operations per second.
    pub disk_iops: u64,
    /// Network bandwidth, in Mbit/s.
    pub network_mbps: u64,
    /// Accelerators.
    pub gpus: u64,
}

/// What came of an order. It does not wait until instances are ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ApplyAnswer {
    /// The request's.
    pub request: String,
    /// The order's.
    pub generation: WireGeneration,
    /// Instances that were asked for just now.
    pub started: u32,
    /// Instances that were told to drain, or given up, just now.
    pub stopped: u32,
    /// Groups of the order that could not be brought to their number; the others were.
    pub failures: Vec<WireFailure>,
}

/// What a failure means for the next plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WireFailureKind {
    /// A quota or limit that somebody has to raise.
    QuotaExceeded,
    /// The pool has nothing left at present.
    OutOfCapacity,
    /// The pool, shape or service is not known.
    Unknown,
    /// It was tried and did not work.
    Failed,
}

/// Why a group is not at its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WireFailure {
    /// The group.
    #[serde(flatten)]
    pub group: WireGroup,
    /// The kind.
    pub kind: WireFailureKind,
    /// For people; at most 1,000 characters are kept.
    pub detail: String,
}

/// The answer 409: a newer order was taken before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Refused {
    /// The request's.
    pub request: String,
    /// The newest that was taken.
    pub taken: WireGeneration,
}

impl From<Generation> for WireGeneration {
    fn from(Generation { epoch, sequence }: Generation) -> Self {
        Self { epoch, sequence }
    }
}

impl From<WireGeneration> for Generation {
    fn from(WireGeneration { epoch, sequence }: WireGeneration) -> Self {
        Self { epoch, sequence }
    }
}

impl ApplyRequest {
    /// An order as a request of this number.
    #[must_use]
    pub fn new(request: String, order: &Order) -> Self {
        let target = |target: &forebay_plan::capacity::Target| WireTarget {
            group: target.group.clone().into(),
            count: target.count,
        };
        let targets = order.targets.iter().map(target).collect();
        let shapes = order.shapes.iter().map(WireShape::from).collect();
        Self { request, generation: order.generation.into(), targets, shapes }
    }
}
