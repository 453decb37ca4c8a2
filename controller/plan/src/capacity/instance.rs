//! What is running: instances with their state, the groups they are counted by, and the targets of a group.

use core::net::SocketAddr;
use std::fmt;

/// Who decided: a later decision has a higher generation, and whoever carries decisions out refuses older ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// Rises with every start of a controller, and above whatever is known to have been in force.
    pub epoch: u64,
    /// Rises with every decision of one epoch.
    pub sequence: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.sequence)
    }
}

/// All instances of a service that are of one shape in one pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The service, by the name that contracts give its pool.
    pub service: String,
    /// Name of the pool.
    pub pool: String,
    /// Name of the shape.
    pub shape: String,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.service, self.pool, self.shape)
    }
}

/// How many instances a group is to have: requested, starting, warming and ready together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The group.
    pub group: Group,
    /// The number.
    pub count: u32,
}

/// What an instance goes through, in this order; only [`Ready`](Self::Ready) serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceState {
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
    /// It has ended, for whatever reason.
    Gone,
}

impl InstanceState {
    /// The name in answers and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Starting => "starting",
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }

    /// Whether it counts towards its group's target.
    #[must_use]
    pub fn is_wanted(self) -> bool {
        self < Self::Draining
    }
}

/// One instance, as a manager sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Unique at its manager, never used again.
    pub id: String,
    /// What it belongs to.
    pub group: Group,
    /// Where it is in its life.
    pub state: InstanceState,
    /// When it was asked for; unix milliseconds.
    pub requested_ms: u64,
    /// When it became ready for the first time; unix milliseconds.
    pub ready_ms: Option<u64>,
    /// Where it serves, once that is known.
    pub address: Option<SocketAddr>,
    /// Whether it is known that it will be taken away, as by a notice of a spot market.
    pub is_interrupted: bool,
}
