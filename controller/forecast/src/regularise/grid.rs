//! Steps, and what of the readings falls into each.

use super::cadence::{Cadence, Regular};
use super::readings::Readings;
use super::{Absent, LONGEST_SPREAD, MAX_SERIES_STEPS, Notes, Per, Regularise};
use crate::observation::{Measure, Observation, ObservationError, SECOND_NS};

/// Share of a step that must be known, else it is missing.
const KNOWN_SHARE: f64 = 0.5;

/// Where the steps lie.
#[derive(Debug)]
pub(super) struct Grid {
    /// Steps since 1970 before the first.
    first: i64,
    steps: usize,
    step_ns: i64,
}

/// What is known of one step.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// Amount, or sum of value times weight.
    total: f64,
    weight: f64,
    /// How much of the step the readings cover; a point covers all of it.
    covered_ns: i64,
}

/// A reading's place in time.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from_ns: i64,
    to_ns: i64,
}

impl Grid {
    pub(super) fn over(
        readings: &Readings,
        cadence: &Cadence,
        measure: Measure,
        step_s: u32,
    ) -> Result<Self, ObservationError> {
        let step_ns = i64::from(step_s) * SECOND_NS;
        let (mut from_ns, mut last_ns) = (i64::MAX, i64::MIN);
        for (index, reading) in readings.iter().enumerate() {
            let stretch = stretch(reading, index, cadence);
            from_ns = from_ns.min(stretch.from_ns);
            // Of a counter nothing is known behind its last reading.
            let to_ns = if measure == Measure::Counter { stretch.from_ns } else { stretch.to_ns };
            last_ns = last_ns.max(to_ns - 1).max(from_ns);
        }
        let (first, last) = (from_ns.div_euclid(step_ns), last_ns.div_euclid(step_ns));
        let steps = last - first + 1;
        if steps > MAX_SERIES_STEPS {
            let row = readings.row_after_longest_gap();
            return Err(ObservationError::TooLong { steps, step_s, most: MAX_SERIES_STEPS, row });
        }
        Ok(Self { first, steps: usize::try_from(steps).unwrap_or(0), step_ns })
    }

    pub(super) fn start_s(&self) -> i64 {
        self.first * (self.step_ns / SECOND_NS)
    }

    /// The first row whose reading reaches into step `index`.
    pub(super) fn row_at(&self, readings: &Readings, cadence: &Cadence, index: usize) -> u64 {
        let from_ns = (self.first + index as i64) * self.step_ns;
        let mut places = readings.iter().enumerate();
        let reaching = places.find(|(i, reading)| stretch(reading, *i, cadence).to_ns.max(reading.at_ns + 1) > from_ns);
        reaching.map_or(0, |(_, reading)| reading.row)
    }

    /// The value of every step.
    pub(super) fn lay(&self, readings: &Readings, cadence: &Cadence, how: &Regularise, notes: &mut Notes) -> Vec<f64> {
        let mut cells = vec![Cell::default(); self.steps];
        let known = readings.iter().enumerate().filter(|(_, reading)| !reading.value.is_nan());
        if how.measure == Measure::Counter {
            self.lay_increases(known, cadence, &mut cells, notes);
        } else {
            // The weight of a reading is the time that it stands, in units that make it exactly 1 in the usual case.
            let unit_ns = if let Cadence::Regular(Regular { finest_ns, .. }) = cadence { *finest_ns } else { 1 };
            for (index, reading) in known {
                let weight = if how.measure == Measure::Ratio { reading.weight } else { 1.0 };
                self.lay_one(stretch(reading, index, cadence), &mut cells, |cell, overlap| {
                    if how.measure.is_amount() {
                        cell.total += reading.value * overlap.of_stretch;
                    } else {
                        let weight = weight * if overlap.is_point { 1.0 } else { overlap.ns as f64 / unit_ns as f64 };
                        cell.total += reading.value * weight;
                        cell.weight += weight;
                    }
                });
            }
        }
        cells.iter().map(|cell| self.value(cell, how)).collect()
    }

    /// Counters: each reading tells what came since the one before.
    fn lay_increases<'r>(
        &self,
        known: impl Iterator<Item = (usize, &'r Observation)>,
        cadence: &Cadence,
        cells: &mut [Cell],
        notes: &mut Notes,
    ) {
        let distance_ns = match cadence {
            Cadence::Regular(regular) => regular.coarsest_ns,
            Cadence::Irregular { median_ns } => *median_ns,
        };
        let longest_ns = LONGEST_SPREAD * self.step_ns.max(distance_ns);
        let mut before: Option<(i64, f64)> = None;
        for (index, reading) in known {
            let at_ns = stretch(reading, index, cadence).from_ns;
            if let Some((from_ns, earlier)) = before {
                let is_reset = reading.value < earlier;
                notes.resets += usize::from(is_reset);
                let increase = if is_reset { reading.value } else { reading.value - earlier };
                if at_ns - from_ns > longest_ns {
                    notes.unspread += 1;
                } else {
                    let stretch = Stretch { from_ns, to_ns: at_ns };
                    self.lay_one(stretch, cells, |cell, overlap| cell.total += increase * overlap.of_stretch);
                }
            }
            before = Some((at_ns, reading.value));
        }
    }

    /// Hands every step that a stretch overlaps to `add`; a stretch of no length is a point in one step.
    fn lay_one(&self, stretch: Stretch, cells: &mut [Cell], mut add: impl FnMut(&mut Cell, Overlap)) {
        let Stretch { from_ns, to_ns } = stretch;
        let is_point = to_ns <= from_ns;
        let last_ns = if is_point { from_ns } else { to_ns - 1 };
        for step in from_ns.div_euclid(self.step_ns)..=last_ns.div_euclid(self.step_ns) {
            let Some(cell) = usize::try_from(step - self.first).ok().and_then(|index| cells.get_mut(index)) else {
                continue;
            };
            let begin_ns = step * self.step_ns;
            let (ns, of_stretch) = if is_point {
                (self.step_ns, 1.0)
            } else {
                let ns = to_ns.min(begin_ns + self.step_ns) - from_ns.max(begin_ns);
                (ns, ns as f64 / (to_ns - from_ns) as f64)
            };
            let overlap = Overlap { ns, of_stretch, is_point };
            // Points do not add up to more than the step.
            cell.covered_ns = if is_point { cell.covered_ns.max(ns) } else { cell.covered_ns.saturating_add(ns) };
            add(cell, overlap);
        }
    }

    fn value(&self, cell: &Cell, how: &Regularise) -> f64 {
        let covered = cell.covered_ns as f64 / self.step_ns as f64;
        let is_zero = how.absent == Absent::Zero && how.measure.is_amount();
        if !is_zero && covered < KNOWN_SHARE {
            return f64::NAN;
        }
        if !how.measure.is_amount() {
            // Nothing at all behind a ratio: it is not known.
            return if cell.weight > 0.0 { cell.total / cell.weight } else { f64::NAN };
        }
        let amount = if is_zero { cell.total } else { cell.total / covered };
        match how.per {
            Per::Step => amount,
            Per::Second => amount / (self.step_ns / SECOND_NS) as f64,
        }
    }
}

/// How much of a stretch a step overlaps.
struct Overlap {
    ns: i64,
    of_stretch: f64,
    is_point: bool,
}

fn stretch(reading: &Observation, index: usize, cadence: &Cadence) -> Stretch {
    match cadence {
        Cadence::Irregular { .. } => Stretch { from_ns: reading.at_ns, to_ns: reading.at_ns },
        Cadence::Regular(regular) => {
            let from_ns = regular.laid(reading.at_ns);
            let stands_ns = regular.stands_ns.get(index).copied().unwrap_or(regular.finest_ns);
            Stretch { from_ns, to_ns: from_ns + stands_ns }
        }
    }
}
