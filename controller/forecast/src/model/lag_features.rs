//! What the regression looks at for one target step: the last values, the same time on other days, and the calendar.
//!
//! Everything with the unit of a rate is divided by the *normaliser*, the mean of the last week, so that one set of
//! weights serves a service that has doubled since. The normaliser is floored (see [`Shape::floor`]): after a week of
//! next to nothing the first burst would otherwise be a ratio of thousands.
//!
//! The ratio then enters as `ln(1 + ratio)`: squared error on plain rates would let a few burst steps set the weights for
//! all quiet ones.
//!
//! Seasonal features are taken around the *target*, not around the origin: the step before a daily burst already sees
//! the burst of yesterday. Beside them stand the same seasonal values at the origin, so that the regression can learn
//! "today runs 20 % above yesterday". Where a value lies before the history's beginning, the normaliser stands in; what a
//! gap takes is [`History`]'s business.

use serde::{Deserialize, Serialize};

use std::f64::consts::TAU;

use crate::history::History;

/// Values right before the origin that enter one by one.
const RECENT_LAGS: usize = 8;
/// Longer means before the origin, in steps.
const RECENT_MEANS: [usize; 2] = [4, 24];
/// The same time yesterday, with this many neighbours on both sides: bursts do not start on the second.
const DAY_NEIGHBOURS: usize = 2;
/// The same time last week, with this many neighbours on both sides.
const WEEK_NEIGHBOURS: usize = 1;
/// Days whose values at the same time are averaged.
const DAYS_AVERAGED: usize = 7;
/// Weeks whose values at the same time are averaged.
const WEEKS_AVERAGED: usize = 4;
/// Sine and cosine pairs of the time of day: a smooth daily shape, down to a quarter of a day.
const DAY_HARMONICS: u32 = 4;
/// Sine and cosine pairs of the time of week: weekday against weekend.
const WEEK_HARMONICS: u32 = 3;

/// Weeks of history from which on the weekly features are used: one for the lag, two to tell a pattern from a week.
const WEEKS_FOR_WEEKLY: usize = 3;
/// The normaliser's floor as a share of the history's mean.
const FLOOR_OF_MEAN: f64 = 0.1;
/// The normaliser's floor for a history without any demand, in units per second.
const FLOOR_RATE_PER_S: f64 = 1e-6;

/// Added before the logarithm, as a share of the normaliser: rates well below the normaliser count linearly, bursts well
/// above it by their ratio. (A smaller offset pulls forecasts of bursts that move in time down to the geometric mean.)
const COMPRESSION_OFFSET: f64 = 1.0;

/// Which features a fit uses, and the floor of its normaliser. Fixed at the fit, so that a row means the same later.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Whether the history was long enough to learn from last week's values.
    pub(crate) weekly: bool,
    /// Smallest normaliser.
    pub(crate) floor: f64,
}

impl Shape {
    /// What can be learned from the first `end` steps of `history`.
    pub(crate) fn of(history: &History, end: usize) -> Self {
        let mean = history.mean(0, end).unwrap_or(0.0);
        let weekly = end >= WEEKS_FOR_WEEKLY * history.week_steps();
        Self { weekly, floor: (FLOOR_OF_MEAN * mean).max(FLOOR_RATE_PER_S) }
    }

    /// The first origin whose seasonal features are all from within the history.
    pub(crate) fn first_origin(&self, history: &History) -> usize {
        if self.weekly { history.week_steps() } else { history.day_steps() }
    }

    /// The normaliser at `origin`: mean of the last week, floored.
    pub(crate) fn normaliser(&self, history: &History, origin: usize) -> f64 {
        let week_ago = origin.saturating_sub(history.week_steps());
        history.mean(week_ago, origin).unwrap_or(0.0).max(self.floor)
    }

    /// Appends the features for the step `lead` steps ahead (1 = `origin` itself).
    /// Uses values before `origin` only.
    pub(crate) fn push_row(&self, history: &History, origin: usize, lead: usize, row: &mut Vec<f64>) {
        self.push_recent(history, origin, row);
        self.push_target(history, origin, lead, row);
    }

    /// The first features of a row: those that are the same for all leads.
    pub(super) fn push_recent(&self, history: &History, origin: usize, row: &mut Vec<f64>) {
        let level = self.normaliser(history, origin);
        for lag in 1..=RECENT_LAGS {
            row.push(scaled(origin.checked_sub(lag).and_then(|index| history.value(index)), level));
        }
        for steps in RECENT_MEANS {
            row.push(scaled(history.mean(origin.saturating_sub(steps), origin), level));
        }
        row.push(scaled(history.mean(origin.saturating_sub(history.day_steps()), origin), level));
        for season in self.seasons(history) {
            let last = origin.checked_sub(1);
            let before = last.and_then(|last| history.seasons_before(last, season.steps, origin).next());
            row.push(scaled(before, level));
            row.push(scaled(last.and_then(|last| season.mean_at(history, last, origin)), level));
        }
    }

    fn seasons(&self, history: &History) -> impl Iterator<Item = Season> {
        let day = Season { steps: history.day_steps(), neighbours: DAY_NEIGHBOURS, averaged: DAYS_AVERAGED };
        let week = Season { steps: history.week_steps(), neighbours: WEEK_NEIGHBOURS, averaged: WEEKS_AVERAGED };
        std::iter::once(day).chain(self.weekly.then_some(week))
    }

    /// The others.
    pub(super) fn push_target(&self, history: &History, origin: usize, lead: usize, row: &mut Vec<f64>) {
        let level = self.normaliser(history, origin);
        let target = origin + lead - 1;
        for season in self.seasons(history) {
            // A neighbour after the target may not be known yet when the horizon nears a season; it is then taken a
            // season further back, like the target itself.
            for index in target.saturating_sub(season.neighbours)..=target + season.neighbours {
                row.push(scaled(history.seasons_before(index, season.steps, origin).next(), level));
            }
            row.push(scaled(season.mean_at(history, target, origin), level));
        }
        push_waves(history.phase_of_day(target), DAY_HARMONICS, row);
        if self.weekly {
            push_waves(history.phase_of_week(target), WEEK_HARMONICS, row);
        }
    }
}

struct Season {
    steps: usize,
    neighbours: usize,
    averaged: usize,
}

impl Season {
    /// The mean over the last seasons at the time of step `index`.
    fn mean_at(&self, history: &History, index: usize, origin: usize) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0_u32);
        for value in history.seasons_before(index, self.steps, origin).take(self.averaged) {
            sum += value;
            count += 1;
        }
        (count > 0).then(|| sum / f64::from(count))
    }
}

/// Sine and cosine of a phase (in shares of its season) and of its multiples.
pub(super) fn push_waves(phase: f64, harmonics: u32, row: &mut Vec<f64>) {
    for harmonic in 1..=harmonics {
        let (sine, cosine) = (TAU * phase * f64::from(harmonic)).sin_cos();
        row.extend([sine, cosine]);
    }
}

fn scaled(value: Option<f64>, level: f64) -> f64 {
    compressed(value.map_or(1.0, |value| value / level))
}

/// A normalised rate on a logarithmic scale.
pub(crate) fn compressed(ratio: f64) -> f64 {
    (ratio.max(0.0) + COMPRESSION_OFFSET).ln()
}

/// The inverse of [`compressed`].
pub(crate) fn expanded(compressed: f64) -> f64 {
    compressed.exp() - COMPRESSION_OFFSET
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    fn history(values: Vec<f64>) -> History {
        History::new(&Series::new(0, 3600, values).unwrap())
    }

    #[test]
    fn a_row_sees_nothing_at_or_after_its_origin() {
        let shape = Shape { weekly: true, floor: 1e-9 };
        let values: Vec<f64> = (0..600).map(|hour| f64::from(hour * 7 % 50)).collect();
        let mut changed = values.clone();
        changed[500..].fill(1e6);
        for lead in [1, 5, 24] {
            let (mut row, mut row_of_changed) = (vec![], vec![]);
            shape.push_row(&history(values.clone()), 500, lead, &mut row);
            shape.push_row(&history(changed.clone()), 500, lead, &mut row_of_changed);
            assert_eq!(row, row_of_changed);
        }
    }

    #[test]
    fn a_flat_window_is_divided_by_the_floor() {
        let shape = Shape { weekly: false, floor: 2.0 };
        let mut row = vec![];
        shape.push_row(&history(vec![0.0; 300]), 300, 1, &mut row);
        assert!(row.iter().all(|feature| feature.abs() <= 1.0), "{row:?}");
        assert_eq!(shape.normaliser(&history(vec![]), 0), 2.0);
    }

    #[test]
    fn every_row_is_equally_long() {
        let shape = Shape { weekly: true, floor: 1.0 };
        let history = history(vec![1.0; 300]);
        let length = |origin| {
            let mut row = vec![];
            shape.push_row(&history, origin, 1, &mut row);
            row.len()
        };
        assert_eq!(length(300), length(100));
        assert_eq!(length(300), length(10));
    }
}
