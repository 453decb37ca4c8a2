//! The Theta method, dynamic and optimised, on the seasonally adjusted history.
//!
//! The intuition: a forecast between a straight line through everything, which knows the long run, and exponential
//! smoothing, which knows the present. The line is refitted with every value ("dynamic"), and how much of its slope is
//! taken along and how fast the level forgets are learned ("optimised"), by the squared error at the next step, in the
//! middle and at the end of the horizon. Seasons are taken out by decomposition ([`decomposition`](super::decomposition)),
//! plain or compressed, as they add up or multiply, and put back in at their places.
//!
//! After the fit the seasonal figures stay, and level and line take in each value less its figures. A missing value is
//! taken to be what was expected.
//!
//! Sources: Assimakopoulos and Nikolopoulos, The theta model, 2000; Fiorucci et al., Models for optimising the theta
//! method and their relationship to state space models, 2016 (the model called DOTM there).

use serde::{Deserialize, Serialize};

use super::decomposition::Decomposition;
use super::nelder_mead::{Search, minimise};
use super::smoothing::{SEASONS, Unit, mean_known, spread_leads};
use super::walk::Walk;
use crate::error::ModelError;
use crate::history::History;

/// Most walks per search.
const MAX_WALKS: usize = 50;
/// Relative difference of losses at which a search ends.
const TOLERANCE: f64 = 1e-3;
/// Origins from which the middle and the end of the horizon are forecast in a walk: 50 x 168 steps at a horizon of a week.
const FAR_ORIGINS: usize = 50;
/// Values that only start the line: two points always lie on one.
const UNSCORED: usize = 3;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Theta {
    end_s: i64,
    unit: Unit,
    figures: [Vec<f64>; SEASONS],
    constants: Constants,
    lines: Lines,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Constants {
    /// How fast the level follows, in 0..1.
    alpha: f64,
    /// How much of the line's course is taken along: 1 - 1 / theta.
    share: f64,
}

/// The level, and the line through everything so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Lines {
    /// Values so far.
    count: f64,
    level: f64,
    mean: f64,
    intercept: f64,
    slope: f64,
    /// What is left of the level's beginning: `(1 - alpha) ^ count`.
    left: f64,
}

impl Lines {
    /// After the first value.
    fn begin(constants: Constants, level: f64, value: f64) -> Self {
        let level = constants.alpha * value + (1.0 - constants.alpha) * level;
        Self { count: 1.0, level, mean: value, intercept: value, slope: 0.0, left: 1.0 - constants.alpha }
    }

    fn expected(&self, Constants { alpha, share }: Constants) -> f64 {
        let grown = (1.0 - self.left * (1.0 - alpha)) / alpha;
        self.level + share * (self.intercept * self.left + self.slope * grown)
    }

    fn take(&mut self, Constants { alpha, .. }: Constants, value: f64) {
        let count = self.count;
        self.slope = ((count - 1.0) * self.slope + 6.0 * (value - self.mean) / (count + 1.0)) / (count + 2.0);
        self.mean += (value - self.mean) / (count + 1.0);
        self.intercept = self.mean - self.slope * (count + 2.0) / 2.0;
        self.level = alpha * value + (1.0 - alpha) * self.level;
        self.left *= 1.0 - alpha;
        self.count += 1.0;
    }
}

impl Theta {
    pub(super) fn fit(history: &History, end: usize, horizon_steps: usize) -> Result<Self, ModelError> {
        let end = end.min(history.len());
        let leads = spread_leads(horizon_steps);
        let parts = Decomposition::of("theta", history, end)?;
        let lesson = parts.lesson();
        let level = mean_known(&lesson[..history.day_steps().min(lesson.len())]);
        let search = Search {
            start: &[0.3, 0.5],
            bounds: &[(0.01, 0.99), (0.0, 1.0)],
            spread: 0.3,
            evaluations: MAX_WALKS,
            tolerance: TOLERANCE,
        };
        let constants = |at: &[f64]| Constants { alpha: at[0], share: at[1] };
        let (at, _) = minimise(&search, |at| walk(constants(at), level, lesson, &leads).0);
        let constants = constants(&at);
        let lines = walk(constants, level, lesson, &[1]).1;
        Ok(Self { end_s: history.at_s(end), unit: parts.unit, figures: parts.figures, constants, lines })
    }

    fn figure(&self, history: &History, index: usize) -> f64 {
        let figures = self.figures.iter().filter(|figures| !figures.is_empty());
        figures.map(|figures| figures[history.place(index, figures.len())]).sum()
    }
}

/// Takes in all values; gives the mean over the leads of the mean squared error, and what is known at the end.
fn walk(constants: Constants, level: f64, values: &[f64], leads: &[usize]) -> (f64, Lines) {
    let first = values.iter().copied().find(|value| !value.is_nan()).unwrap_or(0.0);
    let mut lines = Lines::begin(constants, level, first);
    let farthest = leads.iter().copied().max().unwrap_or(1);
    let stride = (values.len() / FAR_ORIGINS).max(1);
    let mut sums = vec![(0.0, 0.0_f64); leads.len()];
    for (index, &value) in values.iter().enumerate().skip(1) {
        let expected = lines.expected(constants);
        if index >= UNSCORED {
            let reach = if index.is_multiple_of(stride) { farthest } else { 1 };
            let mut ahead = lines;
            for lead in 1..=reach {
                let point = ahead.expected(constants);
                for (_, (square, count)) in leads.iter().zip(&mut sums).filter(|(wanted, _)| **wanted == lead) {
                    let error = values.get(index + lead - 1).map_or(f64::NAN, |actual| actual - point);
                    if !error.is_nan() {
                        *square += error * error;
                        *count += 1.0;
                    }
                }
                ahead.take(constants, point);
            }
        }
        lines.take(constants, if value.is_nan() { expected } else { value });
    }
    let scored = sums.iter().filter(|(_, count)| *count > 0.0).count().max(1) as f64;
    (sums.iter().map(|(square, count)| square / count.max(1.0)).sum::<f64>() / scored, lines)
}

impl Walk for Theta {
    type State = Lines;

    fn fitted(&self) -> (i64, Lines) {
        (self.end_s, self.lines)
    }

    fn take(&self, lines: &mut Lines, history: &History, index: usize) {
        let value = match history.value(index).filter(|_| history.known(index)) {
            Some(value) => self.unit.inward(value) - self.figure(history, index),
            None => lines.expected(self.constants),
        };
        lines.take(self.constants, value);
    }

    fn look_ahead(&self, lines: &Lines, history: &History, origin: usize, out: &mut [f64]) {
        let mut lines = *lines;
        for (index, point) in (origin..).zip(out) {
            let expected = lines.expected(self.constants);
            lines.take(self.constants, expected);
            *point = self.unit.outward(expected + self.figure(history, index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::series::Series;

    const VALUES: [f64; 40] = [
        30., 21., 29., 31., 40., 48., 53., 47., 37., 39., 31., 29., 17., 9., 20., 24., 27., 35., 41., 38., 27., 31.,
        27., 26., 21., 13., 21., 18., 33., 35., 40., 36., 22., 24., 21., 20., 17., 14., 17., 19.,
    ];

    /// statsforecast 2.1.1: `_theta.pegels_resid(y, DOTM, 25.0, 0.3, 3.0, 3)` (its `mse`, residuals and last state) and
    /// `_theta.forecast`. Theta 3 is a share of 2/3.
    #[test]
    fn errors_and_forecasts_are_those_of_statsforecast() {
        let constants = Constants { alpha: 0.3, share: 2.0 / 3.0 };
        let mut lines = Lines::begin(constants, 25.0, VALUES[0]);
        let mut errors = vec![];
        for value in &VALUES[1..] {
            errors.push(value - lines.expected(constants));
            lines.take(constants, *value);
        }
        let expected = [-19.5, 4.550000000000004, -0.5771111111111047, 6.398226666666673];
        for (error, expected) in errors.iter().zip(expected) {
            assert!((error - expected).abs() < 1e-9, "{error} for {expected}");
        }
        let last = [lines.level, lines.mean, lines.intercept, lines.slope];
        for (part, expected) in last.into_iter().zip([18.854508652195037, 28.2, 36.38076923076924, -0.3990619136960602])
        {
            assert!((part - expected).abs() < 1e-9, "{last:?}");
        }
        let forecasts =
            [17.967720236717597, 17.685794283782048, 17.402184165144728, 17.117342916137392, 16.831658835959782];
        for forecast in forecasts {
            let point = lines.expected(constants);
            assert!((point - forecast).abs() < 1e-9, "{point} for {forecast}");
            lines.take(constants, point);
        }
        // Its `mse` is the sum of squares without the first three over the mean of the values, 28.2.
        let square = walk(constants, 25.0, &VALUES, &[1]).0;
        assert!((square * 37.0 / 28.2 - 116.4031903085205).abs() < 1e-6, "{square}");
    }

    fn rate(hour: usize) -> f64 {
        let day = 30.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let week = if hour / 24 % 7 >= 5 { -40.0 } else { 16.0 };
        200.0 + 0.1 * hour as f64 + day + week
    }

    fn hourly(hours: usize) -> History {
        History::new(&Series::new(0, 3600, (0..hours).map(rate).collect()).unwrap())
    }

    #[test]
    fn a_trend_with_two_seasons_goes_on() {
        let model = Theta::fit(&hourly(28 * 24), 28 * 24, 48).unwrap();
        for hours in [28 * 24, 33 * 24 + 7] {
            let mut out = [0.0; 48];
            model.forecast(&hourly(hours), hours, &mut out);
            for (point, hour) in out.into_iter().zip(hours..) {
                assert!((point / rate(hour) - 1.0).abs() < 0.03, "hour {hour}: {point} for {}", rate(hour));
            }
        }
    }

    #[test]
    fn a_missing_value_moves_nothing() {
        let constants = Constants { alpha: 0.3, share: 0.5 };
        let mut values: Vec<f64> = (0..60).map(f64::from).collect();
        let whole = walk(constants, 0.0, &values, &[1]).1;
        values[58..].fill(f64::NAN);
        let gappy = walk(constants, 0.0, &values, &[1]).1;
        assert!((gappy.expected(constants) / whole.expected(constants) - 1.0).abs() < 0.05, "{gappy:?} for {whole:?}");
    }
}
