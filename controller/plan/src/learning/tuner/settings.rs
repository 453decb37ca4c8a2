//! What an operator sets of the tuner.

use serde::{Deserialize, Serialize};

use super::band::Band;
use crate::learning::LearningError;

/// What an operator sets of the tuner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunerSettings {
    /// The arms.
    pub band: Band,
    /// Most share of the baseline's loss that may be lost by not using it, above 0 to 1.
    pub alpha: f64,
    /// Probability with which bounds hold, 0.5 to 0.9999.
    pub confidence: f64,
    /// Share of decisions that are really explored while watching, 0 (none: draws are settled by replay) to 0.5.
    pub watching_share: f64,
    /// Share of decisions that stay the baseline's while acting, so that its loss goes on being seen; 0.01 to 0.5.
    pub acting_baseline_share: f64,
    /// Settled decisions before anything is proposed.
    pub least_decisions: usize,
    /// Whether a proposal is accepted by itself.
    pub is_automatic: bool,
    /// Decisions after which what was learned counts half.
    pub half_life_decisions: f64,
    /// Last decisions by which acting is judged, at least 20.
    pub kill_window: usize,
    /// Most that an epoch is taken to lose, as a multiple of what was expected; above 1.
    pub most_loss: f64,
}

impl Default for TunerSettings {
    /// Epochs of an hour: 200 are eight days, 1,000 six weeks, 72 three days.
    fn default() -> Self {
        Self {
            band: Band::default(),
            alpha: 0.05,
            confidence: 0.95,
            watching_share: 0.0,
            acting_baseline_share: 0.1,
            least_decisions: 200,
            is_automatic: false,
            half_life_decisions: 1_000.0,
            kill_window: 72,
            most_loss: 5.0,
        }
    }
}

impl TunerSettings {
    /// The same, if it means something.
    pub(super) fn checked(self) -> Result<Self, LearningError> {
        let ranges = [
            ("alpha", self.alpha, 1e-4, 1.0),
            ("confidence", self.confidence, 0.5, 0.9999),
            ("watching_share", self.watching_share, 0.0, 0.5),
            ("acting_baseline_share", self.acting_baseline_share, 0.01, 0.5),
            ("half_life_decisions", self.half_life_decisions, 10.0, 1e9),
            ("kill_window", self.kill_window as f64, 20.0, super::MAX_DECISIONS as f64),
            ("least_decisions", self.least_decisions as f64, 20.0, super::MAX_DECISIONS as f64),
            ("most_loss", self.most_loss, 1.0, 1e3),
        ];
        match ranges.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((name, value, least, most)) => Err(LearningError::Setting { name, value, least, most }),
            None => Ok(self),
        }
    }
}
