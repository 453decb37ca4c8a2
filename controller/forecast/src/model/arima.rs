//! ARIMA with automatic orders: what the last values and errors say about the next, around a season.
//!
//! The intuition: demand that is high now stays high for a while, and falls back as fast as it used to. An ARIMA model is a
//! short recursion on past values and past errors, after differencing what does not come back to a level. Where a day has
//! at most [`LONGEST_SEASON`] steps and a strong pattern, the season is part of the recursion (SARIMA): yesterday counts, and
//! its errors do. With longer days a seasonal state space would have hundreds of states, so the season is a regression
//! on harmonics (`harmonics.rs`) and ARIMA models what is left. The pattern of the week is always harmonics.
//!
//! Orders are chosen by tests and a stepwise search (`order.rs`), the winner's parameters by exact likelihood
//! (`likelihood.rs`, `state_space.rs`). A forecast from a later origin filters the values since the beginning of the
//! history with the fitted parameters; missing values are left out of the filter, not filled.
//!
//! Cost: fits take tens of milliseconds (see `ModelKind::EXPENSIVE`); a walk costs little a step once the filter has
//! settled. Bounded by [`MAX_STEPS`], [`MAX_DYNAMIC_STEPS`] and [`MOST_DAY_STEPS`].
//!
//! What it does not do: transform values (a multiplicative season is left to others), use a season other than the day's
//! in the recursion, or give intervals of its own.
//!
//! Sources: Box and Jenkins (1970); Harvey (1989), chapter 3; Hyndman and Khandakar (2008).

#[cfg(test)]
mod goldens;
mod harmonics;
mod likelihood;
mod optimise;
mod order;
mod polynomial;
mod state_space;

use serde::{Deserialize, Serialize};

use self::harmonics::{Harmonics, Lesson};
use self::order::{Choice, Search, is_integrated, is_strongly_seasonal, mean_and_deviation};
use self::polynomial::{Arma, Orders, Term};
use self::state_space::Filter;
use super::{Model, last_value};
use crate::error::ModelError;
use crate::history::History;

/// The longest day that is part of the recursion. With 24 steps a filter has up to 78 states, and a step of an unsettled
/// filter costs their square, 6,084; with 48 it would be four times that.
const LONGEST_SEASON: usize = 24;
/// The longest day: one-minute steps. A forecast filters all it is given, five weeks: 50,400 steps.
const MOST_DAY_STEPS: usize = 1_440;
/// Steps that harmonics are learned from, newest last: ten weeks of five minutes, two of one minute. As a regression with 61
/// columns that is 10 MB.
const MAX_STEPS: usize = 20_160;
/// Steps that the recursion is learned from, newest last: four weeks of five minutes.
const MAX_DYNAMIC_STEPS: usize = 8_064;
/// Fewest known values, two days of hours: below, orders are guesses.
const MIN_KNOWN: usize = 48;
/// A deviation of errors below this share of the mean is rounding; then there is nothing to model.
const NEGLIGIBLE: f64 = 1e-9;
/// Most multiplications of one pass of a filter that does not settle (steps times the square of the state's length) for
/// which a series with gaps is still fitted exactly: a hundred passes of 5 ms. Seven states over four weeks of
/// five minutes take 395,000; a season of 24 over four weeks of hours takes two million, and keeps the conditional fit.
const MAX_PASS: usize = 1_000_000;
/// The exact search ends when a step brings less log-likelihood per value than this.
const TOLERANCE: f64 = 1e-7;

/// A fitted model: `value / unit = harmonics + level + slope * index + ARIMA`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Arima {
    orders: Orders,
    arma: Arma,
    harmonics: Harmonics,
    /// Standard deviation of the errors, in the series' units.
    unit: f64,
    /// In units; 0 if anything is differenced.
    level: f64,
    /// In units per step; 0 unless something is differenced.
    slope: f64,
}

impl Arima {
    pub(super) fn fit(history: &History, end: usize) -> Result<Self, ModelError> {
        const MODEL: &str = "arima";
        let (end, day_steps) = (end.min(history.len()), history.day_steps());
        if day_steps > MOST_DAY_STEPS {
            return Err(ModelError::SeasonTooLong { model: MODEL, season_steps: day_steps, most: MOST_DAY_STEPS });
        }
        let from = end.saturating_sub(MAX_STEPS);
        let known = (from..end).filter(|&index| history.known(index)).count();
        if known < MIN_KNOWN {
            return Err(ModelError::TooFewSteps { model: MODEL, have: known, need: MIN_KNOWN });
        }
        let scale = history.mean(from, end).filter(|mean| *mean > 0.0).unwrap_or(1.0);

        let mut orders = Orders::seasonal(history, end);
        let with_day = orders.seasonal_differences == 0;
        let harmonics =
            Harmonics::fit(Lesson { history, from, to: end, differencing: &orders.differencing(), with_day });
        let dynamic = end.saturating_sub(MAX_DYNAMIC_STEPS).max(from)..end;
        let rest: Vec<f64> = dynamic
            .map(|index| {
                known_value(history, index).map_or(f64::NAN, |value| (value - harmonics.at(history, index)) / scale)
            })
            .collect();
        orders.differences = usize::from(is_integrated(&differenced(&rest, &orders.differencing())));
        let differencing = orders.differencing();
        let values = differenced(&rest, &differencing);
        let (mean, deviation) = mean_and_deviation(&values);
        let fitted = if deviation < NEGLIGIBLE {
            Fitted { orders, arma: Arma::default(), mean, deviation: NEGLIGIBLE }
        } else {
            let search = Search::new(&values, orders);
            Fitted::exactly(&rest, &values, &search, search.run())
                .ok_or_else(|| ModelError::NotEstimated { model: MODEL, message: "no stationary model".to_owned() })?
        };
        let Fitted { orders, arma, mean, deviation } = fitted;
        let per_step = if orders.seasonal_differences > 0 { orders.season_steps as f64 } else { 1.0 };
        let is_level = orders.lost_steps() == 0;
        Ok(Self {
            orders,
            arma,
            harmonics,
            unit: deviation * scale,
            level: if is_level { mean / deviation } else { 0.0 },
            slope: if is_level { 0.0 } else { mean / deviation / per_step },
        })
    }

    /// The part of step `index` that is not ARIMA, in units.
    fn around(&self, history: &History, index: usize) -> f64 {
        self.harmonics.at(history, index) / self.unit + self.level + self.slope * index as f64
    }

    /// Filters the values before each of the ascending `origins` and hands the filter over; `None` where it has not begun.
    fn walk(&self, history: &History, origins: &[usize], visit: &mut dyn FnMut(usize, Option<&Filter>)) {
        let differencing = self.orders.differencing();
        let at = |index: usize| match known_value(history, index) {
            Some(value) => value / self.unit - self.around(history, index),
            None => f64::NAN,
        };
        let lost = self.orders.lost_steps();
        let first: Vec<f64> = (0..lost).map(at).collect();
        let mut filter = Filter::new(&self.arma, &differencing, &first);
        let (mut next, mut any_known) = (lost, first.iter().any(|value| !value.is_nan()));
        for &origin in origins {
            while let Some(filter) = filter.as_mut().filter(|_| next < origin.min(history.len())) {
                let value = at(next);
                any_known |= !value.is_nan();
                filter.step(value);
                next += 1;
            }
            visit(origin, filter.as_ref().filter(|_| origin == next && any_known && next > lost));
        }
    }
}

impl Model for Arima {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        self.roll(history, &[origin], out.len(), &mut |_, points| out.copy_from_slice(points));
    }

    fn roll(&self, history: &History, origins: &[usize], steps: usize, visit: &mut dyn FnMut(usize, &mut [f64])) {
        let mut points = vec![0.0; steps];
        self.walk(history, origins, &mut |origin, filter| {
            match filter {
                Some(filter) => {
                    filter.forecast(&mut points);
                    for (ahead, point) in points.iter_mut().enumerate() {
                        *point = (*point + self.around(history, origin + ahead)) * self.unit;
                    }
                }
                None => points.fill(last_value::before(history, origin)),
            }
            visit(origin, &mut points);
        });
    }
}

impl Orders {
    /// The season, if it is short and strong enough to be part of the recursion; no other orders yet.
    fn seasonal(history: &History, end: usize) -> Self {
        let season_steps = history.day_steps();
        let values: Vec<f64> =
            (end.saturating_sub(MAX_DYNAMIC_STEPS)..end).filter_map(|index| history.value(index)).collect();
        let within = season_steps > 1 && season_steps <= LONGEST_SEASON && is_strongly_seasonal(&values, season_steps);
        Self {
            ar: 0,
            differences: 0,
            ma: 0,
            seasonal_ar: 0,
            seasonal_differences: usize::from(within),
            seasonal_ma: 0,
            season_steps: if within { season_steps } else { 0 },
        }
    }
}

/// What estimation leaves, in the units of the values that it was given.
struct Fitted {
    orders: Orders,
    arma: Arma,
    mean: f64,
    deviation: f64,
}

impl Fitted {
    /// Maximises the exact likelihood from where the search ended: of the differenced `values` if none is missing, else of
    /// `rest`, from which they were differenced; if that would take too long, the search's conditional fit is kept.
    fn exactly(rest: &[f64], values: &[f64], search: &Search, choice: Choice) -> Option<Self> {
        let Choice { orders, constant, free, .. } = choice;
        let complete = !values.iter().any(|value| value.is_nan());
        let differencing = orders.differencing();
        let states = orders.lost_steps() + Arma::at(orders, &free[..orders.coefficients()])?.state_len();
        let affordable = complete || rest.len() * states * states <= MAX_PASS;
        let mut room = Vec::new();
        let mut likelihood = |free: &[f64]| {
            let (coefficients, mean) = search.split(free, constant);
            let arma = Arma::at(orders, coefficients)?;
            match (complete, affordable) {
                (true, _) => likelihood::exact(values, mean, &arma),
                (false, true) => filtered(rest, mean, orders, &differencing, &arma),
                (false, false) => Some(likelihood::conditional(values, mean, &arma, orders.ar_reach(), &mut room)),
            }
        };
        let found = optimise::minimise(free, TOLERANCE, &mut |free| Some(likelihood(free)?.deviance()))?;
        let deviation = likelihood(&found.at)?.variance().sqrt();
        let (coefficients, mean) = search.split(&found.at, constant);
        Some(Self { orders, arma: Arma::at(orders, coefficients)?, mean, deviation })
    }
}

/// Exact likelihood of values before differencing, some of them missing.
fn filtered(rest: &[f64], mean: f64, orders: Orders, differencing: &[Term], arma: &Arma) -> Option<likelihood::Fit> {
    let slope = if orders.seasonal_differences > 0 { mean / orders.season_steps as f64 } else { mean };
    let lost = orders.lost_steps();
    let drift = |index: usize| if lost == 0 { mean } else { slope * index as f64 };
    let at = |index: usize| rest[index] - drift(index);
    let first: Vec<f64> = (0..lost).map(at).collect();
    let mut filter = Filter::new(arma, differencing, &first)?;
    (lost..rest.len()).for_each(|index| filter.step(at(index)));
    Some(filter.fit())
}

fn known_value(history: &History, index: usize) -> Option<f64> {
    history.value(index).filter(|_| history.known(index))
}

/// `values` without their first steps, which differencing uses up; NaN where any part is missing.
fn differenced(values: &[f64], differencing: &[Term]) -> Vec<f64> {
    let lost = differencing.last().map_or(0, |(lag, _)| *lag).min(values.len());
    (lost..values.len())
        .map(|index| values[index] - differencing.iter().map(|&(lag, c)| c * values[index - lag]).sum::<f64>())
        .collect()
}
