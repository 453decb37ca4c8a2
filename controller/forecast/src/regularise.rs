//! From observations at any times to a regular [`Series`].
//!
//! The intuition: a reading stands for a stretch of time, as long as its neighbours are apart, and a step's value is made
//! of the stretches that overlap it: amounts are divided among steps in proportion, levels are averaged by time, ratios
//! by weight. Where stamps are a log of events with no cadence, a reading is a point in one step. Steps are aligned to
//! multiples of their length since 1970, so that series of the same step lie on each other.
//!
//! What is uncertain is answered in one way and counted in [`Notes`], or refused with the row and the remedy:
//! - unordered stamps are sorted;
//! - rows with one stamp merge as [`Duplicates`] says;
//! - a step of which less than half is known is missing (NaN); of an amount that is known in part, the rest is taken to
//!   have been like the known part;
//! - where the cadence changes within the source, its longest decides: five-minute values do not tell what came in a
//!   minute, so a step shorter than that is refused;
//! - a counter that falls has begun again from zero; its increase over a long gap is not spread, but missing.
//!
//! What it does not do: fill gaps ([`History`](crate::History) does), read text ([`Table`](crate::Table) does), or guess
//! which kind of quantity it has.

mod cadence;
mod grid;
mod readings;

use crate::calendar::DAY_S;
use crate::observation::{MAX_VALUE, Measure, Observation, ObservationError, SECOND_NS};
use crate::series::Series;
use cadence::{Cadence, step_for};
use grid::Grid;
use readings::Readings;

/// The most steps that one series may have: ten million are 80 MB, 115 days of seconds or 95 years of five minutes. More
/// is a stray stamp.
pub const MAX_SERIES_STEPS: i64 = 10_000_000;

/// The increase of a counter is spread over a gap of at most so many steps or distances of its readings, whichever is
/// longer; over a longer one nobody knows when it came. Prometheus looks back five of its default scrapes.
const LONGEST_SPREAD: i64 = 5;

/// How observations become a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Regularise {
    /// What kind of quantity the values are.
    pub measure: Measure,
    /// Length of a step in seconds; default: the distance of the stamps, or the next longer step that divides a day.
    pub step_s: Option<u32>,
    /// Whether amounts become rates; of no effect on levels and ratios.
    pub per: Per,
    /// What becomes of rows with the same stamp.
    pub duplicates: Duplicates,
    /// What a step without any row means.
    pub absent: Absent,
}

impl Regularise {
    /// The usual way with `measure`: step read from the stamps, amounts as rates, absent is missing.
    #[must_use]
    pub fn new(measure: Measure) -> Self {
        let duplicates = match measure {
            Measure::Count | Measure::Sum => Duplicates::Add,
            Measure::Level | Measure::Ratio => Duplicates::Mean,
            Measure::Counter => Duplicates::Largest,
        };
        Self { measure, step_s: None, per: Per::Second, duplicates, absent: Absent::Missing }
    }
}

/// What the values of a series of amounts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// Mean rates per second, which is what a [`Series`] holds everywhere else.
    Second,
    /// Amounts per step, for models of counts. Where a step is known in part only it need not be whole.
    Step,
}

/// How rows with the same stamp become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// They do not: they are an error.
    Refuse,
    /// The one that stands last in the source.
    Last,
    /// Their mean, by weight for ratios.
    Mean,
    /// Their sum: events in the same second, or parts of an amount.
    Add,
    /// The largest: a counter that was read twice.
    Largest,
}

/// What it means that there is no row for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nobody knows.
    Missing,
    /// There was nothing: for logs of events, and for counts whose zeros are not written.
    Zero,
}

/// A regular series and what was done to get it.
#[derive(Debug, Clone, PartialEq)]
pub struct Regular {
    /// The values.
    pub series: Series,
    /// What was found and answered.
    pub notes: Notes,
}

/// What was found on the way and how it was answered, for people who ask why a series looks as it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Notes {
    /// Where the step comes from.
    pub step: StepSource,
    /// How the stamps are spaced.
    pub spacing: Spacing,
    /// Rows without a value.
    pub blanks: usize,
    /// Rows that merged with an earlier one of the same stamp.
    pub duplicates: usize,
    /// Rows whose stamp lies before that of the row above.
    pub out_of_order: usize,
    /// How often the distance of the stamps changes to another cadence.
    pub cadence_changes: usize,
    /// Counters that began again.
    pub resets: usize,
    /// Increases of a counter over gaps too long to spread them.
    pub unspread: usize,
    /// Steps that are missing.
    pub missing_steps: usize,
}

/// Where the step comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StepSource {
    /// It was given.
    Given,
    /// It is the distance of the stamps.
    Stamps,
    /// It is the shortest usual step that is at least as long as the distance of the stamps.
    NextLonger {
        /// The distance.
        distance_s: f64,
    },
}

/// How stamps are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// Equally, but for gaps and jitter.
    Regular,
    /// Equally, but moving against every step.
    Drifting,
    /// In no way that tells how long a value stands.
    Irregular,
}

/// Lays `observations` on regular steps; see the module's text.
///
/// # Errors
/// A value or a stamp is none, the step is not known or finer than what was measured, or the series would be too long.
pub fn regularise(observations: &[Observation], how: &Regularise) -> Result<Regular, ObservationError> {
    let readings = Readings::of(observations, how)?;
    let cadence = Cadence::of(&readings.stamps_ns());
    let (step_s, step) = step(&cadence, &readings, how.step_s)?;
    let grid = Grid::over(&readings, &cadence, how.measure, step_s)?;
    let mut notes = Notes {
        step,
        spacing: match &cadence {
            Cadence::Regular(regular) if regular.phase_ns.is_some() => Spacing::Regular,
            Cadence::Regular(_) => Spacing::Drifting,
            Cadence::Irregular { .. } => Spacing::Irregular,
        },
        blanks: readings.blanks,
        duplicates: readings.duplicates,
        out_of_order: readings.out_of_order,
        cadence_changes: if let Cadence::Regular(regular) = &cadence { regular.changes } else { 0 },
        resets: 0,
        unspread: 0,
        missing_steps: 0,
    };
    let values = grid.lay(&readings, &cadence, how, &mut notes);
    notes.missing_steps = values.iter().filter(|value| value.is_nan()).count();
    // Sums of what is at most MAX_VALUE can exceed it.
    if let Some(index) = values.iter().position(|value| *value > MAX_VALUE) {
        return Err(ObservationError::TooLarge { row: grid.row_at(&readings, &cadence, index), value: values[index] });
    }
    let series = Series::new(grid.start_s(), step_s, values).map_err(ObservationError::Series)?;
    Ok(Regular { series, notes })
}

/// The step that was asked for, if it can be had, or the one that the stamps tell.
fn step(cadence: &Cadence, readings: &Readings, given: Option<u32>) -> Result<(u32, StepSource), ObservationError> {
    let seconds = |ns: i64| ns as f64 / SECOND_NS as f64;
    if let Some(step_s) = given {
        if step_s == 0 || DAY_S % i64::from(step_s) != 0 {
            return Err(ObservationError::Step { step_s });
        }
        if let Cadence::Regular(regular) = cadence
            && regular.coarsest_ns > i64::from(step_s) * SECOND_NS
        {
            let (row, distance_s) = (readings.row(regular.coarsest_at), seconds(regular.coarsest_ns));
            return Err(ObservationError::Finer { row, distance_s, step_s });
        }
        return Ok((step_s, StepSource::Given));
    }
    let distance_ns = match cadence {
        Cadence::Regular(regular) => regular.coarsest_ns,
        Cadence::Irregular { median_ns } => {
            return Err(ObservationError::StepUnknown { stamps: readings.len(), median_s: seconds(*median_ns) });
        }
    };
    let distance_s = seconds(distance_ns);
    match step_for(distance_ns) {
        Some((step_s, true)) => Ok((step_s, StepSource::Stamps)),
        Some((step_s, false)) => Ok((step_s, StepSource::NextLonger { distance_s })),
        None => Err(ObservationError::TooCoarse { distance_s }),
    }
}
