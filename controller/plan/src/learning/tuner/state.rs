//! Where the tuner is between watching and acting.

use serde::{Deserialize, Serialize};

/// Where the tuner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The baseline acts, but for what is explored.
    Watching,
    /// The same, and the learner has been shown to be better.
    Proposed {
        /// First decision after that was so.
        from: u64,
    },
    /// The learner acts.
    Acting {
        /// Its first decision.
        from: u64,
    },
    /// The baseline acts, until somebody lets it watch again.
    Killed {
        /// Why.
        by: KilledBy,
    },
}

/// Why it was switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KilledBy {
    /// Somebody did.
    Hand,
    /// Its last decisions lost more than the baseline's would have.
    WorseThanBaseline,
    /// Its last decisions lost more than the baseline was expected to, by more than it may lose.
    BeyondExpectation,
}

impl State {
    /// The name in answers and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Proposed { .. } => "proposed",
            Self::Acting { .. } => "acting",
            Self::Killed { .. } => "killed",
        }
    }
}

impl KilledBy {
    /// The name in answers and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::WorseThanBaseline => "worse_than_baseline",
            Self::BeyondExpectation => "beyond_expectation",
        }
    }
}
