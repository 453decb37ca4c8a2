//! What the regression looks at for one target step: the last values, the same time on other days, and the calendar.
//!
//! Rates enter as `ln(rate + offset)`: squared error on plain rates would let a few burst steps set the weights for all
//! quiet ones. The offset, a share of the mean at the fit, keeps nights near zero from mattering most. From every logarithm
//! the *level* is taken, that of the mean of the last week, so that one set of weights serves a service that has doubled
//! since. With the offset below it, a week of next to nothing is no divisor by which the first burst is thousands.
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
/// The offset under the logarithm as a share of the history's mean: rates well below it count linearly, bursts well above
/// it by their ratio. (A smaller one pulls forecasts of bursts that move in time down to the geometric mean.)
const OFFSET_OF_MEAN: f64 = 1.0;
/// The smallest offset, in units per second: of a history without any demand.
const MIN_OFFSET_PER_S: f64 = 1e-7;

/// Which features a fit uses, and what its logarithms have added. Fixed at the fit, so that a row means the same later.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Whether the history was long enough to learn from last week's values.
    pub(crate) weekly: bool,
    /// Added to every rate before the logarithm, units per second; above 0.
    pub(crate) offset: f64,
}

impl Shape {
    /// What can be learned from the first `end` steps of `history`.
    pub(crate) fn of(history: &History, end: usize) -> Self {
        let mean = history.mean(0, end).unwrap_or(0.0);
        let weekly = end >= WEEKS_FOR_WEEKLY * history.week_steps();
        Self { weekly, offset: (OFFSET_OF_MEAN * mean).max(MIN_OFFSET_PER_S) }
    }

    /// The first origin whose seasonal features are all from within the history.
    pub(crate) fn first_origin(&self, history: &History) -> usize {
        if self.weekly { history.week_steps() } else { history.day_steps() }
    }

    /// A rate on the logarithmic scale.
    pub(crate) fn log(&self, rate: f64) -> f64 {
        (rate.max(0.0) + self.offset).ln()
    }

    /// The inverse of [`Shape::log`].
    pub(crate) fn rate(&self, log: f64) -> f64 {
        log.exp() - self.offset
    }

    /// The level at `origin`: the logarithm of the mean of the last week.
    pub(crate) fn level(&self, history: &History, origin: usize) -> f64 {
        let week_ago = origin.saturating_sub(history.week_steps());
        self.log(history.mean(week_ago, origin).unwrap_or(0.0))
    }

    fn seasons(&self, history: &History) -> impl Iterator<Item = Season> + use<> {
        let day = Season { steps: history.day_steps(), neighbours: DAY_NEIGHBOURS, averaged: DAYS_AVERAGED };
        let week = Season { steps: history.week_steps(), neighbours: WEEK_NEIGHBOURS, averaged: WEEKS_AVERAGED };
        std::iter::once(day).chain(self.weekly.then_some(week))
    }
}

/// Writes rows of features.
pub(super) struct Features<'a> {
    shape: Shape,
    history: &'a History,
    /// Logarithms of the values as far as they were asked for, else NaN; empty where none is kept.
    logs: Vec<f64>,
    /// The newest origin with its level.
    level: (usize, f64),
}

impl<'a> Features<'a> {
    /// For many rows: neighbouring ones look at the same values, whose logarithms are kept.
    pub(super) fn of_many(shape: Shape, history: &'a History) -> Self {
        Self { logs: vec![f64::NAN; history.len()], ..Self::of_one(shape, history) }
    }

    /// For the rows of one origin.
    pub(super) fn of_one(shape: Shape, history: &'a History) -> Self {
        Self { shape, history, logs: Vec::new(), level: (0, shape.level(history, 0)) }
    }

    /// A rate on the logarithmic scale.
    pub(super) fn log(&self, rate: f64) -> f64 {
        self.shape.log(rate)
    }

    /// The level at `origin`.
    pub(super) fn level(&mut self, origin: usize) -> f64 {
        if self.level.0 != origin {
            self.level = (origin, self.shape.level(self.history, origin));
        }
        self.level.1
    }

    /// Appends the features for the step `lead` steps ahead (1 = `origin` itself).
    /// Uses values before `origin` only.
    pub(super) fn push_row(&mut self, origin: usize, lead: usize, row: &mut Vec<f64>) {
        self.push_recent(origin, row);
        self.push_target(origin, lead, row);
    }

    /// The first features of a row: those that are the same for all leads.
    pub(super) fn push_recent(&mut self, origin: usize, row: &mut Vec<f64>) {
        let (shape, history) = (self.shape, self.history);
        let level = self.level(origin);
        for lag in 1..=RECENT_LAGS {
            row.push(self.above(level, origin.checked_sub(lag)));
        }
        for steps in RECENT_MEANS.into_iter().chain([history.day_steps()]) {
            row.push(self.mean_above(level, history.mean(origin.saturating_sub(steps), origin)));
        }
        let last = origin.checked_sub(1);
        for season in shape.seasons(history) {
            row.push(self.above(level, last.and_then(|last| history.season_before(last, season.steps, origin))));
            row.push(self.mean_above(level, last.and_then(|last| season.mean_at(history, last, origin))));
        }
    }

    /// The others.
    pub(super) fn push_target(&mut self, origin: usize, lead: usize, row: &mut Vec<f64>) {
        let (shape, history) = (self.shape, self.history);
        let level = self.level(origin);
        let target = origin + lead - 1;
        for season in shape.seasons(history) {
            // A neighbour after the target may not be known yet when the horizon nears a season; it is then taken a
            // season further back, like the target itself.
            for index in target.saturating_sub(season.neighbours)..=target + season.neighbours {
                row.push(self.above(level, history.season_before(index, season.steps, origin)));
            }
            row.push(self.mean_above(level, season.mean_at(history, target, origin)));
        }
        push_waves(history.phase_of_day(target), DAY_HARMONICS, row);
        if shape.weekly {
            push_waves(history.phase_of_week(target), WEEK_HARMONICS, row);
        }
    }

    /// By how much the logarithm of a value exceeds the level; what is not there lies at it.
    fn above(&mut self, level: f64, index: Option<usize>) -> f64 {
        let Some((index, value)) = index.and_then(|index| Some((index, self.history.value(index)?))) else {
            return 0.0;
        };
        let log = match self.logs.get_mut(index) {
            Some(log) => {
                if log.is_nan() {
                    *log = self.shape.log(value);
                }
                *log
            }
            None => self.shape.log(value),
        };
        log - level
    }

    fn mean_above(&self, level: f64, mean: Option<f64>) -> f64 {
        mean.map_or(0.0, |mean| self.shape.log(mean) - level)
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

/// Sine and cosine of a phase (in shares of its season) and of its multiples, each turned on from the one before.
pub(super) fn push_waves(phase: f64, harmonics: u32, row: &mut Vec<f64>) {
    let (first_sine, first_cosine) = (TAU * phase).sin_cos();
    let (mut sine, mut cosine) = (first_sine, first_cosine);
    for _ in 0..harmonics {
        row.extend([sine, cosine]);
        (sine, cosine) = (sine * first_cosine + cosine * first_sine, cosine * first_cosine - sine * first_sine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    fn history(values: Vec<f64>) -> History {
        History::new(&Series::new(0, 3600, values).unwrap())
    }

    fn row(shape: Shape, values: Vec<f64>, origin: usize, lead: usize) -> Vec<f64> {
        let mut row = vec![];
        Features::of_one(shape, &history(values)).push_row(origin, lead, &mut row);
        row
    }

    #[test]
    fn a_row_sees_nothing_at_or_after_its_origin() {
        let shape = Shape { weekly: true, offset: 1e-9 };
        let values: Vec<f64> = (0..600).map(|hour| f64::from(hour * 7 % 50)).collect();
        let mut changed = values.clone();
        changed[500..].fill(1e6);
        for lead in [1, 5, 24] {
            assert_eq!(row(shape, values.clone(), 500, lead), row(shape, changed.clone(), 500, lead));
        }
    }

    #[test]
    fn kept_logarithms_are_those_of_the_values() {
        let shape = Shape { weekly: true, offset: 3.0 };
        let history = history((0..600).map(|hour| f64::from(hour * 7 % 50)).collect());
        let mut many = Features::of_many(shape, &history);
        for (origin, lead) in [(0, 1), (300, 1), (301, 4), (300, 30), (600, 2)] {
            let (mut kept, mut afresh) = (vec![], vec![]);
            many.push_row(origin, lead, &mut kept);
            Features::of_one(shape, &history).push_row(origin, lead, &mut afresh);
            assert_eq!(kept, afresh);
        }
    }

    #[test]
    fn a_flat_window_is_lifted_by_the_offset() {
        let shape = Shape { weekly: false, offset: 2.0 };
        let row = row(shape, vec![0.0; 300], 300, 1);
        assert!(row.iter().all(|feature| feature.abs() <= 1.0), "{row:?}");
        assert_eq!(shape.rate(shape.level(&history(vec![]), 0)), 0.0);
    }

    #[test]
    fn every_row_is_equally_long() {
        let shape = Shape { weekly: true, offset: 1.0 };
        let length = |origin| row(shape, vec![1.0; 300], origin, 1).len();
        assert_eq!(length(300), length(100));
        assert_eq!(length(300), length(10));
    }

    #[test]
    fn waves_are_those_of_the_multiples() {
        for phase in [0.0, 0.1, 0.37, 0.999] {
            let mut row = vec![];
            push_waves(phase, 4, &mut row);
            for (pair, harmonic) in row.chunks(2).zip(1..) {
                let (sine, cosine) = (TAU * phase * f64::from(harmonic)).sin_cos();
                assert!((pair[0] - sine).abs() < 1e-14 && (pair[1] - cosine).abs() < 1e-14, "{phase}: {row:?}");
            }
        }
    }
}
