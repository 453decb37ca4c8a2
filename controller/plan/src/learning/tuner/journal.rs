//! Every decision with its chances, and what came of it: what an evaluation is made of, and what a person can read.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::MAX_MICROS;
use super::band::Band;
use super::context::Context;
use super::state::State;
use crate::learning::LearningError;
use crate::learning::error::within;

/// Decisions that are kept: twelve weeks of hours, 2,048 x 200 bytes is 400 KiB. The oldest leave, settled or not.
pub const MAX_DECISIONS: usize = 2_048;

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Number, rising.
    pub id: u64,
    /// When, unix seconds.
    pub at_s: i64,
    /// What was known.
    pub context: Context,
    /// What the planner expected it to cost, in millionths of the currency: the unit of the losses.
    pub expected_micros: f64,
    /// Index in the band of what was drawn.
    pub drawn: usize,
    /// Index in the band of what was in force.
    pub in_force: usize,
    /// Where the tuner was.
    pub state: State,
    /// The chances of the draw.
    pub chances: Chances,
    /// What was expected.
    pub expected: Expected,
    /// What came of it, once that is known.
    pub losses: Option<Losses>,
}

/// How likely a draw was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chances {
    /// To be drawn: its propensity.
    pub drawn: f64,
    /// To be drawn by the learner, had it acted.
    pub target: f64,
    /// Of the baseline, had the learner acted.
    pub target_baseline: f64,
}

/// Losses that were expected at the decision, before any of its outcome was known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Of what was drawn.
    pub drawn: f64,
    /// Of the baseline.
    pub baseline: f64,
    /// Of the learner's chances.
    pub target: f64,
    /// Of the arm with the least.
    pub best: f64,
}

/// Losses as multiples of what the planner expected; those that nobody knows are none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Of what was in force.
    pub lived: f64,
    /// Of what was drawn.
    pub drawn: Option<f64>,
    /// Of the baseline.
    pub baseline: Option<f64>,
}

/// What an epoch has cost, in millionths of the currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// For instances.
    pub cost_micros: f64,
    /// For demand that was not served.
    pub shortage_micros: f64,
}

impl Outcome {
    pub(super) fn total_micros(&self) -> Result<f64, LearningError> {
        let cost = within("tuner", self.cost_micros, 0.0, MAX_MICROS)?;
        Ok(cost + within("tuner", self.shortage_micros, 0.0, MAX_MICROS)?)
    }
}

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settlement {
    /// Of what was in force, as it was lived.
    pub lived: Outcome,
    /// What the drawn arm would have cost on the same demand, where it was not in force; none if nobody has replayed it.
    pub drawn: Option<Outcome>,
    /// The same of the baseline.
    pub baseline: Option<Outcome>,
}

impl Settlement {
    /// Nothing was replayed.
    #[must_use]
    pub fn lived(outcome: Outcome) -> Self {
        Self { lived: outcome, drawn: None, baseline: None }
    }
}

/// The decisions, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Journal {
    /// Notes a decision under the number that it gets.
    pub(super) fn note(&mut self, entry: Entry) -> u64 {
        let id = self.next_id;
        if self.entries.len() >= MAX_DECISIONS {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { id, ..entry });
        self.next_id += 1;
        id
    }

    /// A decision that has no outcome yet.
    pub(super) fn waiting(&mut self, id: u64) -> Result<&mut Entry, LearningError> {
        let entry = self.entries.binary_search_by_key(&id, |entry| entry.id).ok();
        let entry = entry.and_then(|at| self.entries.get_mut(at)).filter(|entry| entry.losses.is_none());
        entry.ok_or(LearningError::Decision { id, kept: MAX_DECISIONS })
    }

    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Those with an outcome, from a number on.
    pub(super) fn settled(&self, from: u64) -> impl Iterator<Item = &Entry> {
        let begin = self.entries.partition_point(|entry| entry.id < from);
        self.entries.range(begin..).filter(|entry| entry.losses.is_some())
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Whether it can be gone on with in a band.
    pub(super) fn is_whole(&self, band: &Band) -> bool {
        let arms = band.arms();
        self.entries.len() <= MAX_DECISIONS
            && self.entries.iter().all(|entry| entry.drawn < arms && entry.in_force < arms && entry.chances.drawn > 0.0)
            && self.entries.iter().zip(self.entries.iter().skip(1)).all(|(one, next)| one.id < next.id)
            && self.entries.back().is_none_or(|last| last.id < self.next_id)
    }
}
