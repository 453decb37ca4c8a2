//! What a selection saw, what it chose and why.

use super::{ExpensiveModels, Gain, Worth};
use crate::backtest::Score;
use crate::error::ModelError;
use crate::model::ModelKind;

/// What the selection saw and what it chose.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectionReport {
    /// Every model that was tried, in the order of [`ModelKind::ALL`], then their combination if it was.
    pub candidates: Vec<CandidateScore>,
    /// The model that forecasts.
    pub chosen: ModelKind,
    /// The naive model that live forecasts are compared with: the best baseline that is not itself chosen.
    pub reference: ModelKind,
    /// Why.
    pub reason: Reason,
    /// What the best forecaster that is no baseline (the chosen one, unless that is a baseline) saves of the best
    /// baseline's loss; `None` where no other model took part.
    pub gain: Option<Gain>,
    /// Whether expensive models were tried, and why.
    pub expensive: ExpensiveModels,
}

/// One model in the backtest.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateScore {
    /// Which one.
    pub kind: ModelKind,
    /// How it did, or why it could not take part.
    pub outcome: Result<Score, ModelError>,
}

/// Why a model was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// It beats the best baseline; its loss is lower by this share.
    BeatsBaseline {
        /// Share of the baseline's loss that is saved.
        gain: f64,
    },
    /// It is the best baseline, and no other model took part.
    NoOtherModel,
    /// It is the best baseline; the best other model's loss is lower by only this share (higher if negative).
    NotBeaten {
        /// Share of the baseline's loss that the other model would save.
        gain: f64,
    },
    /// The caller asked for it.
    AskedFor,
}

impl SelectionReport {
    /// Whether any forecaster helps on this series; `None` where no model but baselines took part.
    #[must_use]
    pub fn worth(&self) -> Option<Worth> {
        self.gain.map(Gain::worth)
    }

    /// The score of the chosen model; its coverage is that of the upper quantile on held-out history.
    #[must_use]
    pub fn chosen_score(&self) -> Option<Score> {
        self.score_of(self.chosen)
    }

    /// The score of a model, if it took part.
    #[must_use]
    pub fn score_of(&self, kind: ModelKind) -> Option<Score> {
        let candidate = self.candidates.iter().find(|candidate| candidate.kind == kind)?;
        candidate.outcome.as_ref().ok().copied()
    }
}
