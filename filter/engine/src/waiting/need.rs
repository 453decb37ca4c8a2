//! What a request waits for.

use forebay_admission::queue::LANES;

/// Tokens, or a slot of an overloaded upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Tokens of this key.
    Key(usize),
    /// A slot of this guarded cluster, for the lane of this rank.
    Slot { cluster: usize, rank: usize },
}

/// Where the queue's numbers for slots begin: above those of all keys.
const SLOTS: usize = usize::MAX / 2;

impl Need {
    /// The queue's number for it, which is a name and never read back: what waits for the same is in one line.
    pub(super) fn line(self) -> usize {
        match self {
            Self::Key(key) => key,
            Self::Slot { cluster, rank } => SLOTS.saturating_add(cluster.saturating_mul(LANES)).saturating_add(rank),
        }
    }
}
