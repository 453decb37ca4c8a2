//! What can go wrong in learning, as values.

use thiserror::Error;

/// Why something was not learned.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LearningError {
    /// A number that cannot have been measured.
    #[error("learning {of}: {value} is not from {least} to {most}; leave such a measurement out")]
    Value {
        /// What it was to teach.
        of: &'static str,
        /// The refused number.
        value: f64,
        /// Least that is taken.
        least: f64,
        /// Most that is taken.
        most: f64,
    },
    /// A band that the tuner cannot work in.
    #[error("checking the band of {of}: {problem}")]
    Band {
        /// Which of its arms.
        of: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A setting of the tuner that means nothing.
    #[error("checking the tuner's setting {name}: {value} is not from {least} to {most}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// The refused value.
        value: f64,
        /// Least that is taken.
        least: f64,
        /// Most that is taken.
        most: f64,
    },
    /// An outcome of a decision that is not in the journal, or that has one.
    #[error(
        "settling decision {id}: it is not waiting for an outcome; settle each decision once, within {kept} decisions"
    )]
    Decision {
        /// The refused number.
        id: u64,
        /// Decisions that are kept.
        kept: usize,
    },
    /// A change of state that is not possible from where the tuner is.
    #[error("{asked} the tuner: it is {state}, and must be {needed}")]
    State {
        /// What was asked for.
        asked: &'static str,
        /// What the tuner is.
        state: &'static str,
        /// What it would have to be.
        needed: &'static str,
    },
    /// The tuner's sums are not those of a regression.
    #[error("deciding: the tuner's stored sums cannot be solved; discard them with `Tuner::new`")]
    Unsolvable,
}

/// The number, if it lies between `least` and `most`.
pub(super) fn within(of: &'static str, value: f64, least: f64, most: f64) -> Result<f64, LearningError> {
    if (least..=most).contains(&value) { Ok(value) } else { Err(LearningError::Value { of, value, least, most }) }
}
