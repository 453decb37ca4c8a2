//! What was decided about a key's forecasts, and why: the list behind `forebay forecast --explain KEY`.
//!
//! Every decision of this module and of the selection is one value with a time. The list is bounded, newest kept: one refit
//! a day and a contest a week are some 500 choices a year.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::lineup::{LineupEvent, Record};
use super::triggers::{Refit, RefitScope, RefitTrigger};
use crate::model::ModelKind;

/// Choices kept per key: half a year of daily ones; 256 x about 100 bytes is 25 KiB.
const MAX_CHOICES: usize = 256;

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// When, unix seconds.
    pub at_s: i64,
    /// What.
    pub chosen: Chosen,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Chosen {
    /// A fit was due.
    Refit(Refit),
    /// The selection settled on a model.
    Selected {
        /// The model.
        model: ModelKind,
        /// Its relative pinball loss on held-out history.
        loss: f64,
        /// That of the best naive model.
        naive_loss: f64,
    },
    /// A contest of two models was decided.
    Lineup(LineupEvent),
    /// The key had no history of its own and borrowed from others.
    ColdStart {
        /// How many others.
        donors: usize,
        /// Weight of the key's own level, 0 to 1.
        own_weight: f64,
    },
    /// Better parameters were found.
    Tuned {
        /// Trials made.
        trials: usize,
        /// Loss of the parameters in force before.
        before: f64,
        /// Loss of the best that was found.
        after: f64,
    },
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refit(refit) => write_refit(f, refit),
            Self::Selected { model, loss, naive_loss } => {
                write!(f, "{model} selected: loss {loss:.4}, the best naive one {naive_loss:.4}")
            }
            Self::Lineup(event) => write_event(f, event),
            Self::ColdStart { donors, own_weight } => {
                write!(f, "forecast from {donors} similar tenants, own level counting {:.0} %", 100.0 * own_weight)
            }
            Self::Tuned { trials, before, after } => {
                write!(f, "parameters tuned in {trials} trials: loss {before:.4} to {after:.4}")
            }
        }
    }
}

fn write_refit(f: &mut fmt::Formatter<'_>, refit: &Refit) -> fmt::Result {
    match refit.what {
        RefitScope::Recalibrate => write!(f, "recalibrated: ")?,
        RefitScope::Select => write!(f, "selected anew: ")?,
        RefitScope::SelectSince { .. } => write!(f, "selected anew on what came since the change: ")?,
    }
    match refit.why {
        RefitTrigger::Changed { from_s } => write!(f, "the level changed at {from_s}"),
        RefitTrigger::WorseThanNaive => write!(f, "a naive forecast was better lately"),
        RefitTrigger::Miscalibrated { coverage } => {
            write!(f, "the upper quantile held in {:.1} % of steps", 100.0 * coverage)
        }
        RefitTrigger::Drifted { height } => write!(f, "losses crept up, {height:.1} times what is put up with"),
        RefitTrigger::Scheduled => write!(f, "as scheduled"),
    }
}

fn write_event(f: &mut fmt::Formatter<'_>, event: &LineupEvent) -> fmt::Result {
    let record = match event {
        LineupEvent::Promoted { champion, standing_by, record } => {
            write!(f, "model {} promoted over {}", champion.0, standing_by.0)?;
            record
        }
        LineupEvent::Dropped { challenger, record } => {
            write!(f, "challenger {} dropped", challenger.0)?;
            record
        }
        LineupEvent::RolledBack { champion, failed, record } => {
            write!(f, "rolled back from model {} to {}", failed.0, champion.0)?;
            record
        }
        LineupEvent::Confirmed { champion, record } => {
            write!(f, "model {} confirmed", champion.0)?;
            record
        }
    };
    let Record { champion_loss, rival_loss, steps, standard_errors } = record;
    write!(f, ": loss {champion_loss:.4} against the rival's {rival_loss:.4} over {steps} steps, ")?;
    write!(f, "{standard_errors:+.1} standard errors for the rival")
}

/// The choices about one key, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Choices {
    kept: VecDeque<Choice>,
}

impl Choices {
    /// Adds a choice; of too many the oldest leaves.
    pub fn record(&mut self, at_s: i64, chosen: Chosen) {
        if self.kept.len() == MAX_CHOICES {
            self.kept.pop_front();
        }
        self.kept.push_back(Choice { at_s, chosen });
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Choice> {
        self.kept.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_bounded_stored_and_read_like_sentences() {
        let mut choices = Choices::default();
        for day in 0..MAX_CHOICES as i64 + 5 {
            let refit = Refit { what: RefitScope::Recalibrate, why: RefitTrigger::Miscalibrated { coverage: 0.881 } };
            choices.record(day * 86_400, Chosen::Refit(refit));
        }
        assert_eq!(choices.iter().count(), MAX_CHOICES);
        let first = choices.iter().next().unwrap();
        assert_eq!(first.at_s, 5 * 86_400);
        assert_eq!(first.chosen.to_string(), "recalibrated: the upper quantile held in 88.1 % of steps");
        let bytes = postcard::to_allocvec(&choices).unwrap();
        assert_eq!(postcard::from_bytes::<Choices>(&bytes).unwrap(), choices);
    }
}
