//! What was measured, before it lies on regular steps: a value with a stamp, and what kind of quantity it is.
//!
//! The kind decides how several values become one, and mixing kinds up is the classic error: levels that are summed grow
//! with the number of probes, ratios that are averaged without weights let an idle minute count like a busy one, and a
//! counter that is taken for a count rises for ever. So every reader says which kind it has.
//!
//! A value that is NaN is missing: the row stands for "nobody knows". Everything else is a finite number that is not
//! negative and at most [`MAX_VALUE`]; what is refused is refused with its row.

use thiserror::Error;

use crate::error::SeriesError;

/// Largest value taken. Models square values and add the squares over up to 10^7 steps: 10^67 is far within f64, and a
/// value still fits into f32. Demand in bytes per second of all the world's networks is near 10^15.
pub const MAX_VALUE: f64 = 1e30;

/// Stamps reach this far from 1970 to both sides, 146 years, so that a difference of two is an `i64` of nanoseconds.
pub const MAX_STAMP_NS: i64 = i64::MAX / 2;

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: i64 = 1_000_000_000;

/// One measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Where it stands in its source, for error messages: the line of a file, or the number of a record.
    pub row: u64,
    /// Unix time in nanoseconds. What is reported for a stretch of time bears the stamp of the stretch's begin.
    pub at_ns: i64,
    /// The value, NaN where missing.
    pub value: f64,
    /// What a ratio is weighted with, such as the requests that an error share is a share of; else of no effect.
    pub weight: f64,
}

impl Observation {
    /// A value with weight 1.
    #[must_use]
    pub fn new(row: u64, at_ns: i64, value: f64) -> Self {
        Self { row, at_ns, value, weight: 1.0 }
    }

    /// The same from whole unix seconds; a second that no nanosecond can tell is refused later, with its row.
    #[must_use]
    pub fn at_second(row: u64, at_s: i64, value: f64) -> Self {
        Self::new(row, at_s.saturating_mul(SECOND_NS), value)
    }
}

/// What kind of quantity a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// How many events: whole numbers, added up.
    Count,
    /// How much altogether, such as bytes or CPU seconds: added up.
    Sum,
    /// What stood at that time or on average, such as a rate, a length of a queue or a utilisation: averaged over time.
    Level,
    /// A share or a quotient, averaged by weight and never added up.
    Ratio,
    /// A total since some beginning, which only grows; a fall is a restart from zero, as Prometheus takes it.
    Counter,
}

impl Measure {
    /// Whether values add up over time, so that a rate can be made of them.
    #[must_use]
    pub fn is_amount(self) -> bool {
        matches!(self, Self::Count | Self::Sum | Self::Counter)
    }
}

/// Why observations cannot become a series.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum ObservationError {
    #[error("regularising: there is no observation; give at least two rows")]
    Empty,
    #[error("regularising row {row}: value {value} is not finite; write a number, or nothing where it is missing")]
    NotFinite { row: u64, value: f64 },
    #[error("regularising row {row}: value {value} is negative, which demand cannot be; correct it, or leave it blank")]
    Negative { row: u64, value: f64 },
    #[error("regularising row {row}: value {value} is above {MAX_VALUE:e}; correct it, or use a larger unit")]
    TooLarge { row: u64, value: f64 },
    #[error("regularising row {row}: {value} is no count of events, which is whole; call the measure a sum or a level")]
    NotWhole { row: u64, value: f64 },
    #[error("regularising row {row}: weight {weight} is not a finite number of at least 0; correct it")]
    Weight { row: u64, weight: f64 },
    #[error("regularising row {row}: the stamp is more than 146 years from 1970; look whether its unit is right")]
    Stamp { row: u64 },
    #[error(
        "regularising row {row}: it has the same stamp as row {earlier}; delete one, or choose how duplicates merge"
    )]
    Duplicate { row: u64, earlier: u64 },
    #[error("regularising: a step of {step_s} s does not divide a day of 86400 s; choose one such as 60, 300 or 3600")]
    Step { step_s: u32 },
    #[error(
        "regularising: the step cannot be read from {stamps} irregular stamps (median distance {median_s} s); give it"
    )]
    StepUnknown { stamps: usize, median_s: f64 },
    #[error(
        "regularising row {row}: from here stamps are {distance_s} s apart, more than the step of {step_s} s; choose a step of at least {distance_s} s, since finer values are not known"
    )]
    Finer { row: u64, distance_s: f64, step_s: u32 },
    #[error("regularising: stamps are {distance_s} s apart, more than a day, which is the longest step")]
    TooCoarse { distance_s: f64 },
    #[error(
        "regularising: {steps} steps of {step_s} s, at most {most} are possible; the longest gap is before row {row}: look for a stray stamp there, or choose a longer step"
    )]
    TooLong { steps: i64, step_s: u32, most: i64, row: u64 },
    #[error("regularising")]
    Series(#[source] SeriesError),
}
