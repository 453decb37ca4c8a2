//! Seasons as sums of sines and cosines: harmonics of the day and of the week, as many as Akaike's criterion allows.
//!
//! The intuition: a season of 288 steps inside an ARIMA model costs hundreds of states, and a sine costs two numbers.
//! So the repeating part is a regression on harmonics, and ARIMA models what is left over: dynamic harmonic regression
//! (Young, Pedregal and Tych 1999; Hyndman and Athanasopoulos, section 10.5). Harmonics of the week that are harmonics of
//! the day too are left to the day.
//!
//! Errors of neighbouring steps are alike, which makes plain least squares take noise for harmonics. So values
//! and harmonics are differenced as the model does, then whitened by the first autocorrelation of the plain residuals
//! (Cochrane and Orcutt 1949), and only then is the number of harmonics chosen.

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::polynomial::Term;
use crate::history::History;

/// Most harmonics of the day: down to waves of two hours.
const MAX_DAY: usize = 12;
/// Most harmonics of the week, those of the day left out: the sidebands of the first three harmonics of the day, which is
/// what a weekend does to a daily wave.
const MAX_WEEK: usize = 18;
/// Harmonics of the week are added this many at a time: a week's edges need several to show at all.
const WEEK_BY: usize = 6;
/// Whitening stops short of differencing.
const MAX_CORRELATION: f64 = 0.98;
/// Penalty on each coefficient, as a share of its column's squares: keeps equations solvable that gaps have made singular.
const PENALTY: f64 = 1e-9;

/// Sine and cosine coefficients by harmonic, in the units that they were learned in.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Harmonics {
    day: Vec<[f64; 2]>,
    /// Harmonics 1 to 6, 8 to 13, 15 to 20 and so on.
    week: Vec<[f64; 2]>,
}

/// What to learn from, and how; the history says when a step is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lesson<'a> {
    pub(super) history: &'a History,
    /// The step of the first value.
    pub(super) from: usize,
    /// What is learned, in any units; NaN is missing.
    pub(super) values: &'a [f64],
    pub(super) differencing: &'a [Term],
    /// Whether the season of a day is the regression's or somebody else's.
    pub(super) with_day: bool,
}

impl Harmonics {
    /// Estimates coefficients of at most [`MAX_DAY`] and [`MAX_WEEK`] harmonics, and tells the criterion per value by which
    /// they were chosen; none, and infinity, where there is too little to see.
    pub(super) fn fit(lesson: Lesson) -> (Self, f64) {
        let nothing = || (Self::default(), f64::INFINITY);
        let history = lesson.history;
        let (day_steps, steps) = (history.day_steps(), lesson.values.len());
        let most_day = if lesson.with_day && steps >= 2 * day_steps { MAX_DAY.min((day_steps - 1) / 2) } else { 0 };
        let most_week =
            if steps >= 2 * history.week_steps() { MAX_WEEK.min((history.week_steps() - 1) / 2) } else { 0 };
        let columns = 2 * (most_day + most_week) + 1;
        let Some(rows) = Rows::of(lesson, most_day, most_week) else { return nothing() };
        let plain: Vec<usize> = (0..columns).collect();
        let Some((coefficients, _)) = rows.solve(&plain) else { return nothing() };
        let rows = rows.whitened(&coefficients);

        // The constant first, then the day, then the week.
        let wanted = |day: usize, week: usize| -> Vec<usize> {
            (0..1 + 2 * day).chain(1 + 2 * most_day..1 + 2 * (most_day + week)).collect()
        };
        let mut best: Option<(f64, usize, usize, DVector<f64>)> = None;
        let mut consider = |day: usize, week: usize| {
            let chosen = wanted(day, week);
            if let Some((coefficients, squares)) = rows.solve(&chosen) {
                let criterion = rows.criterion(squares, chosen.len());
                if best.as_ref().is_none_or(|(least, ..)| criterion < *least) {
                    best = Some((criterion, day, week, coefficients));
                }
            }
            best.as_ref().map_or((0, 0), |(_, day, week, _)| (*day, *week))
        };
        let mut chosen = (0, 0);
        for day in 0..=most_day {
            chosen = consider(day, most_week);
        }
        for week in (0..most_week).step_by(WEEK_BY) {
            consider(chosen.0, week);
        }
        let Some((criterion, day, _, coefficients)) = best else { return nothing() };
        let pairs: Vec<[f64; 2]> =
            coefficients.as_slice()[1..].chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
        let harmonics = Self { day: pairs[..day].to_vec(), week: pairs[day..].to_vec() };
        (harmonics, criterion / rows.values.len() as f64)
    }

    /// The repeating part at step `index`, past or future, around zero.
    pub(super) fn at(&self, history: &History, index: usize) -> f64 {
        let mut sum = 0.0;
        let mut add = |coefficients: &[[f64; 2]], place: usize, wave: [f64; 2]| {
            sum += coefficients[place][0] * wave[0] + coefficients[place][1] * wave[1];
        };
        each_wave(history.phase_of_day(index), self.day.len(), false, |place, wave| add(&self.day, place, wave));
        each_wave(history.phase_of_week(index), self.week.len(), true, |place, wave| add(&self.week, place, wave));
        sum
    }

    /// Harmonics of the day and of the week.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.day.len(), self.week.len())
    }
}

/// Hands out sine and cosine of `count` harmonics at a phase, each turned from the one before.
fn each_wave(phase: f64, count: usize, but_sevenths: bool, mut wave: impl FnMut(usize, [f64; 2])) {
    if count == 0 {
        return;
    }
    let (sin, cos) = (phase * std::f64::consts::TAU).sin_cos();
    let (mut s, mut c, mut place) = (0.0, 1.0, 0);
    for harmonic in 1.. {
        (s, c) = (s * cos + c * sin, c * cos - s * sin);
        if but_sevenths && harmonic % 7 == 0 {
            continue;
        }
        wave(place, [s, c]);
        place += 1;
        if place == count {
            break;
        }
    }
}

/// The regression's rows, complete ones only.
struct Rows {
    /// Differenced regressors by row: the constant, sines and cosines.
    regressors: DMatrix<f64>,
    values: DVector<f64>,
    /// Whether the row before is the step before.
    follows: Vec<bool>,
    gram: DMatrix<f64>,
    right: DVector<f64>,
}

impl Rows {
    fn of(lesson: Lesson, day: usize, week: usize) -> Option<Self> {
        let Lesson { history, from, values: learned, differencing, .. } = lesson;
        let width = 1 + 2 * (day + week);
        let reach = differencing.last().map_or(0, |(lag, _)| *lag);
        let mut waves = DMatrix::zeros(width, learned.len());
        for (mut column, index) in waves.column_iter_mut().zip(from..) {
            each_wave(history.phase_of_day(index), day, false, |place, [sin, cos]| {
                (column[1 + 2 * place], column[2 + 2 * place]) = (sin, cos);
            });
            each_wave(history.phase_of_week(index), week, true, |place, [sin, cos]| {
                (column[1 + 2 * (day + place)], column[2 + 2 * (day + place)]) = (sin, cos);
            });
        }
        let known = |step: usize| Some(learned[step]).filter(|value| !value.is_nan());
        let (mut rows, mut values, mut follows, mut last) = (Vec::new(), Vec::new(), Vec::new(), None);
        for step in reach..learned.len() {
            let before =
                differencing.iter().map(|&(lag, c)| known(step - lag).map(|value| c * value)).sum::<Option<f64>>();
            let (Some(value), Some(before)) = (known(step), before) else { continue };
            let start = rows.len();
            rows.extend(waves.column(step).iter());
            for &(lag, c) in differencing {
                for (entry, wave) in rows[start..].iter_mut().zip(waves.column(step - lag).iter()) {
                    *entry -= c * wave;
                }
            }
            // The constant of what is modelled, whatever was differenced.
            rows[start] = 1.0;
            values.push(value - before);
            follows.push(step > 0 && last == Some(step - 1));
            last = Some(step);
        }
        let count = values.len();
        (count > 2 * width)
            .then(|| Self::new(DMatrix::from_row_slice(count, width, &rows), DVector::from_vec(values), follows))
    }

    fn new(regressors: DMatrix<f64>, values: DVector<f64>, follows: Vec<bool>) -> Self {
        let mut gram = regressors.tr_mul(&regressors);
        for index in 0..gram.nrows() {
            gram[(index, index)] *= 1.0 + PENALTY;
        }
        let right = regressors.tr_mul(&values);
        Self { regressors, values, follows, gram, right }
    }

    /// Least squares on some of the columns, and the squares that are left.
    fn solve(&self, columns: &[usize]) -> Option<(DVector<f64>, f64)> {
        let size = columns.len();
        let gram = DMatrix::from_fn(size, size, |row, column| self.gram[(columns[row], columns[column])]);
        let right = DVector::from_fn(size, |row, _| self.right[columns[row]]);
        let coefficients = gram.cholesky()?.solve(&right);
        let explained = coefficients.dot(&right);
        Some((coefficients, (self.values.norm_squared() - explained).max(0.0)))
    }

    /// The rows with what the first autocorrelation of the residuals explains taken out.
    fn whitened(&self, coefficients: &DVector<f64>) -> Self {
        let residuals = &self.values - &self.regressors * coefficients;
        let follows = || (1..self.values.len()).filter(|&row| self.follows[row]);
        let squares = residuals.norm_squared();
        let products: f64 = follows().map(|row| residuals[row] * residuals[row - 1]).sum();
        let correlation = if squares > 0.0 { (products / squares).clamp(0.0, MAX_CORRELATION) } else { 0.0 };
        let rows: Vec<usize> = follows().collect();
        let regressors = DMatrix::from_fn(rows.len(), self.regressors.ncols(), |row, column| {
            self.regressors[(rows[row], column)] - correlation * self.regressors[(rows[row] - 1, column)]
        });
        let values =
            DVector::from_fn(rows.len(), |row, _| self.values[rows[row]] - correlation * self.values[rows[row] - 1]);
        Self::new(regressors, values, vec![false; rows.len()])
    }

    /// Akaike's criterion, corrected for small samples.
    fn criterion(&self, squares: f64, coefficients: usize) -> f64 {
        let (count, k) = (self.values.len() as f64, coefficients as f64 + 1.0);
        // Below this only rounding is left to explain.
        let floor = 1e-20 * self.values.norm_squared() + f64::MIN_POSITIVE;
        count * ((squares.max(floor)) / count).ln() + 2.0 * k * count / (count - k - 1.0).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn waves_are_found_and_noise_is_not() {
        let wave = |hour: usize, share: f64| (hour as f64 / share * std::f64::consts::TAU).sin();
        let noise = |hour: usize| f64::from((hour as u32).wrapping_mul(2_654_435_761) >> 16) / 65_536.0 - 0.5;
        let rate = |hour: usize| 100.0 + 20.0 * wave(hour, 24.0) + 10.0 * wave(hour, 12.0) + noise(hour);
        let values: Vec<f64> = (0..672).map(rate).collect();
        let history = History::new(&Series::new(0, 3600, values.clone()).unwrap());
        let lesson = Lesson { history: &history, from: 0, values: &values, differencing: &[], with_day: true };
        let (harmonics, _) = Harmonics::fit(lesson);
        let (day, week) = harmonics.counts();
        assert!((2..=5).contains(&day) && week <= WEEK_BY, "{day} of the day, {week} of the week");
        for hour in 0..48 {
            let wanted = 20.0 * wave(hour, 24.0) + 10.0 * wave(hour, 12.0);
            let got = harmonics.at(&history, 672 + hour);
            assert!((got - wanted).abs() < 0.3, "hour {hour}: {got} for {wanted}");
        }
    }

    #[test]
    fn gaps_and_differences_do_not_matter() {
        let rate = |hour: usize| {
            if hour.is_multiple_of(5) {
                f64::NAN
            } else {
                100.0 + 0.3 * hour as f64 + 20.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).cos()
            }
        };
        let values: Vec<f64> = (0..672).map(rate).collect();
        let history = History::new(&Series::new(0, 3600, values.clone()).unwrap());
        let lesson = Lesson { history: &history, from: 0, values: &values, differencing: &[(1, 1.0)], with_day: true };
        let (harmonics, _) = Harmonics::fit(lesson);
        assert!((harmonics.at(&history, 672) - 20.0).abs() < 1e-3 && (harmonics.at(&history, 684) + 20.0).abs() < 1e-3);
    }
}
