//! Exponential smoothing, additive, in its error-correction form: the machinery that ETS and MSTL share.
//!
//! A level, a damped trend, up to two seasons (a day's and a week's figures) and a carried error are each corrected by a
//! share of what the last step's expectation missed:
//!
//! ```text
//! expected = level + damping * trend + season_1 + season_2 + carry * carried      error = value - expected
//! level   += damping * trend + alpha * error          trend   = damping * trend + beta * error
//! season_i += gamma_i * error (at its place)          carried = carry * carried + error
//! ```
//!
//! Without the carried error this is ETS(A,N/Ad,N/A) with one or two seasons. With it, an excursion from the level may end
//! by itself (an AR(1) error as in Taylor's double-seasonal smoothing and in TBATS), which is what lets the level be slow.
//!
//! The constants are those with the smallest squared error *over the leads that will be asked for*, not of one step ahead
//! only: one-step error likes a level that follows every wiggle, and such a level is wrong for a day to come.
//! A missing value corrects nothing; the trend goes on.
//!
//! Sources: Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing, 2008; Taylor, Short-term electricity
//! demand forecasting using double seasonal exponential smoothing, 2003; De Livera, Hyndman and Snyder, 2011.

mod smoother;
mod unit;

use serde::{Deserialize, Serialize};

use super::nelder_mead::{Search, minimise};
use crate::history::History;
pub(super) use smoother::Smoother;
pub(super) use unit::{Unit, mean_if_known, mean_known};

/// A day's and a week's.
pub(super) const SEASONS: usize = 2;
/// Most walks per search: each costs a few nanoseconds per value and lead.
const MAX_WALKS: usize = 60;
/// Relative difference of losses at which a search ends: far below what a fold can tell apart.
const TOLERANCE: f64 = 1e-3;
/// Smallest mean squared error told apart, in squared means of the series: a series without noise has no best model.
const MIN_SQUARE: f64 = 1e-18;

/// How much of an error goes where.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Constants {
    pub(super) alpha: f64,
    pub(super) beta: f64,
    pub(super) damping: f64,
    pub(super) gamma: [f64; SEASONS],
    pub(super) carry: f64,
}

/// Which parts there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Form {
    pub(super) trend: bool,
    pub(super) seasons: [bool; SEASONS],
    pub(super) carry: bool,
}

/// What is known at a moment. A season without figures is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) level: f64,
    pub(super) trend: f64,
    pub(super) carried: f64,
    pub(super) seasons: [Vec<f64>; SEASONS],
}

/// Where in each season a step lies.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Places(pub(super) [usize; SEASONS]);

impl State {
    /// How long the seasons are; 0 for none.
    pub(super) fn lengths(&self) -> [usize; SEASONS] {
        [self.seasons[0].len(), self.seasons[1].len()]
    }

    fn season(&self, Places(places): Places) -> f64 {
        let figure = |season: usize| self.seasons[season].get(places[season]).copied().unwrap_or(0.0);
        figure(0) + figure(1)
    }

    /// Takes in the value of a step, NaN if missing, and gives the error of what was expected.
    pub(super) fn take(&mut self, constants: &Constants, places: Places, value: f64) -> f64 {
        let &Constants { alpha, beta, damping, gamma, carry } = constants;
        let grown = damping * self.trend;
        let carried = carry * self.carried;
        let error = value - (self.level + grown + carried + self.season(places));
        let correction = if error.is_nan() { 0.0 } else { error };
        self.level += grown + alpha * correction;
        self.trend = grown + beta * correction;
        self.carried = carried + correction;
        for (season, gamma) in gamma.into_iter().enumerate() {
            if let Some(figure) = self.seasons[season].get_mut(places.0[season]) {
                *figure += gamma * correction;
            }
        }
        error
    }

    /// Writes what is expected of the next steps, which lie at `places`.
    pub(super) fn look_ahead(&self, constants: &Constants, places: impl Iterator<Item = Places>, out: &mut [f64]) {
        let (mut level, mut grown, mut carried) = (self.level, self.trend, self.carried);
        for (point, places) in out.iter_mut().zip(places) {
            grown *= constants.damping;
            level += grown;
            carried *= constants.carry;
            *point = level + carried + self.season(places);
        }
    }
}

impl Places {
    /// Where a step lies in seasons of these lengths.
    pub(super) fn of(history: &History, index: usize, lengths: [usize; SEASONS]) -> Self {
        Self(lengths.map(|steps| if steps > 0 { history.place(index, steps) } else { 0 }))
    }
}

/// Values in a row, NaN where missing, from which constants are learned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lesson<'a> {
    pub(super) values: &'a [f64],
    /// Where each value lies; none where there is no season.
    pub(super) places: &'a [Places],
    /// Leads whose errors count, nearest first.
    pub(super) leads: &'a [usize],
    /// The smallest alpha that is allowed; see [`least_alpha`].
    pub(super) least_alpha: f64,
}

/// A level follows what changes for good within some days, even if nothing of the kind has been in the lesson: four days
/// after a change less than 37 % of it is still to come.
pub(super) fn least_alpha(day_steps: usize) -> f64 {
    1.0 / (4 * day_steps.max(1)) as f64
}

/// Leads over which errors are averaged: the next step, the middle and the end of the horizon.
pub(super) fn spread_leads(horizon_steps: usize) -> Vec<usize> {
    let mut leads = vec![1, horizon_steps.div_ceil(2).max(1), horizon_steps.max(1)];
    leads.dedup();
    leads
}

/// Constants that were learned, and how well they do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Learned {
    pub(super) constants: Constants,
    /// Mean over the leads of the mean squared error.
    pub(super) square: f64,
    /// Errors of the nearest lead.
    pub(super) count: usize,
    /// Free constants.
    pub(super) free: usize,
}

impl Learned {
    /// Akaike's criterion with the correction for few values; less is better. Comparable between forms that were learned
    /// from the same values in the same unit.
    pub(super) fn criterion(&self) -> f64 {
        let (count, free) = (self.count as f64, (self.free + 1) as f64);
        let correction = 2.0 * free * (free + 1.0) / (count - free - 1.0).max(1.0);
        count * self.square.max(MIN_SQUARE).ln() + 2.0 * free + correction
    }
}

/// The best constants of a form for a lesson that begins in the state `start`.
pub(super) fn learn(form: Form, start: &State, lesson: &Lesson<'_>) -> Learned {
    // Free: alpha, then what the form has. Beta is a share of alpha and gamma of what alpha leaves, so that every point of
    // the box is a stable model.
    let mut first_guess = vec![0.2];
    let mut bounds = vec![(lesson.least_alpha, 1.0)];
    let mut add = |guess: f64, low: f64, high: f64| {
        first_guess.push(guess);
        bounds.push((low, high));
    };
    if form.trend {
        add(0.1, 0.0, 1.0);
        add(0.95, 0.8, 0.995);
    }
    for _ in form.seasons.iter().filter(|season| **season) {
        add(0.1, 0.0, 1.0);
    }
    if form.carry {
        add(0.5, 0.0, 0.99);
    }
    let constants = |at: &[f64]| {
        let mut at = at.iter().copied();
        let mut next = || at.next().unwrap_or(0.0);
        let alpha = next();
        let (beta, damping) = if form.trend { (alpha * next(), next()) } else { (0.0, 0.0) };
        let gamma = form.seasons.map(|season| if season { (1.0 - alpha) * next() } else { 0.0 });
        Constants { alpha, beta, damping, gamma, carry: if form.carry { next() } else { 0.0 } }
    };
    let search =
        Search { start: &first_guess, bounds: &bounds, spread: 0.25, evaluations: MAX_WALKS, tolerance: TOLERANCE };
    let mut scratch = start.clone();
    let (at, square) = minimise(&search, |at| {
        scratch.clone_from(start);
        walk(&constants(at), &mut scratch, lesson)
    });
    let count = lesson.values.iter().filter(|value| !value.is_nan()).count();
    Learned { constants: constants(&at), square, count, free: first_guess.len() }
}

/// Takes in the whole lesson and gives the mean over its leads of the mean squared error.
pub(super) fn walk(constants: &Constants, state: &mut State, lesson: &Lesson<'_>) -> f64 {
    let ahead: Vec<Ahead> = lesson.leads.iter().map(|&lead| Ahead::of(constants, lead)).collect();
    let mut sums = vec![(0.0, 0.0_f64); ahead.len()];
    let places = |index: usize| lesson.places.get(index).copied().unwrap_or_default();
    for (index, &value) in lesson.values.iter().enumerate() {
        // From before this step: lead 1 is this step.
        for (ahead, (square, count)) in ahead.iter().zip(&mut sums) {
            let target = index + ahead.lead - 1;
            let Some(actual) = lesson.values.get(target) else { continue };
            let expected =
                state.level + ahead.trend * state.trend + ahead.carry * state.carried + state.season(places(target));
            let error = actual - expected;
            if !error.is_nan() {
                *square += error * error;
                *count += 1.0;
            }
        }
        state.take(constants, places(index), value);
    }
    let leads = sums.iter().filter(|(_, count)| *count > 0.0).count().max(1) as f64;
    sums.iter().map(|(square, count)| square / count.max(1.0)).sum::<f64>() / leads
}

/// What a state's parts are worth some steps ahead.
struct Ahead {
    lead: usize,
    trend: f64,
    carry: f64,
}

impl Ahead {
    fn of(constants: &Constants, lead: usize) -> Self {
        let (mut trend, mut power) = (0.0, 1.0);
        for _ in 0..lead {
            power *= constants.damping;
            trend += power;
        }
        Self { lead, trend, carry: constants.carry.powi(lead as i32) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;

    fn lesson<'a>(values: &'a [f64], leads: &'a [usize]) -> Lesson<'a> {
        Lesson { values, places: &[], leads, least_alpha: 0.0 }
    }

    #[test]
    fn missing_values_correct_nothing() {
        let constants = Constants { alpha: 0.5, beta: 0.1, damping: 0.9, ..Constants::default() };
        let mut state = State { level: 10.0, trend: 2.0, ..State::default() };
        assert!(state.take(&constants, Places::default(), NAN).is_nan());
        assert_eq!((state.level, state.trend), (11.8, 1.8));
    }

    #[test]
    fn squared_errors_of_a_lead_are_those_of_forecasts_made_one_by_one() {
        let values: Vec<f64> =
            (0..60).map(|step: i32| f64::from(step * 37 % 11) + if step == 9 { NAN } else { 0.0 }).collect();
        let constants = Constants { alpha: 0.3, beta: 0.05, damping: 0.9, gamma: [0.2, 0.1], carry: 0.4 };
        let start = State {
            level: 4.0,
            trend: 0.1,
            carried: 0.0,
            seasons: [vec![1.0, 0.0, -1.0], vec![0.5, 0.0, -0.5, 0.0, 0.2, -0.2]],
        };
        for lead in [1, 2, 7, 13] {
            let places: Vec<Places> = (0..60).map(|index| Places([index % 3, index % 6])).collect();
            let square = walk(&constants, &mut start.clone(), &Lesson { places: &places, ..lesson(&values, &[lead]) });
            let mut state = start.clone();
            let (mut sum, mut count) = (0.0, 0.0);
            let mut out = vec![0.0; lead];
            for index in 0..values.len() {
                state.look_ahead(&constants, (index..).map(|index| Places([index % 3, index % 6])), &mut out);
                let error = values.get(index + lead - 1).map_or(NAN, |value| value - out[lead - 1]);
                if !error.is_nan() {
                    sum += error * error;
                    count += 1.0;
                }
                state.take(&constants, places[index], values[index]);
            }
            assert!((square - sum / count).abs() < 1e-9, "lead {lead}: {square} for {}", sum / count);
        }
    }

    /// Sums of squared errors and forecasts of statsmodels 0.15.0, `ETSModel(y, error="add", initialization_method="known",
    /// initial_level=32, initial_trend=0.5, initial_seasonal=[2, -4, 1, 1]).smooth(params)`.
    #[test]
    fn errors_and_forecasts_are_those_of_statsmodels() {
        const VALUES: [f64; 40] = [
            30., 21., 29., 31., 40., 48., 53., 47., 37., 39., 31., 29., 17., 9., 20., 24., 27., 35., 41., 38., 27.,
            31., 27., 26., 21., 13., 21., 18., 33., 35., 40., 36., 22., 24., 21., 20., 17., 14., 17., 19.,
        ];
        let simple = Constants { alpha: 0.3, ..Constants::default() };
        let damped = Constants { beta: 0.05, damping: 0.9, ..simple };
        let seasonal = Constants { gamma: [0.2, 0.0], ..damped };
        let four = [vec![2.0, -4.0, 1.0, 1.0], vec![]];
        let cases = [
            (simple, 0.0, Default::default(), 3229.4156258837857, [18.854513108959065, 18.854513108959065]),
            (damped, 0.5, Default::default(), 3793.092077989601, [16.55261228046166, 15.864588158090946]),
            (seasonal, 0.5, four, 4066.9150793007793, [14.054646481794759, 13.323316505185208]),
        ];
        for (constants, trend, seasons, sum_of_squares, forecasts) in cases {
            let mut state = State { level: 32.0, trend, carried: 0.0, seasons };
            let places: Vec<Places> = (0..42).map(|index| Places([index % 4, 0])).collect();
            let square = walk(&constants, &mut state, &Lesson { places: &places, ..lesson(&VALUES, &[1]) });
            assert!((square * 40.0 - sum_of_squares).abs() < 1e-6, "{constants:?}: {}", square * 40.0);
            let mut out = [0.0; 2];
            state.look_ahead(&constants, places[40..].iter().copied(), &mut out);
            for (point, forecast) in out.into_iter().zip(forecasts) {
                assert!((point - forecast).abs() < 1e-9, "{constants:?}: {point} for {forecast}");
            }
        }
    }

    #[test]
    fn what_made_a_series_is_learned_from_it() {
        // ETS(A,N,N) with alpha 0.4, noise by a fixed sequence.
        let mut noise = 12_345_u32;
        let mut level = 100.0;
        let values: Vec<f64> = (0..4_000)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let error = f64::from(noise >> 8) / f64::from(1 << 24) - 0.5;
                let value = level + error;
                level += 0.4 * error;
                value
            })
            .collect();
        let start = State { level: 100.0, ..State::default() };
        let learned = learn(Form::default(), &start, &lesson(&values, &[1]));
        assert!((learned.constants.alpha - 0.4).abs() < 0.05, "{learned:?}");
        let with_trend = learn(Form { trend: true, ..Form::default() }, &start, &lesson(&values, &[1]));
        assert!(learned.criterion() < with_trend.criterion(), "a trend that is not there is not worth its constants");
    }
}
