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
//! Cost: a fit to four weeks of hours takes about 0.1 s of CPU, to a month of five minutes 0.1 to 0.4 s; a walk costs little
//! a step once the filter has settled. Bounded by [`MAX_STEPS`], [`MAX_DYNAMIC_STEPS`] and [`MOST_DAY_STEPS`].
//!
//! Where the wave and the noise grow with the level, all of this is done on logarithms (`transform.rs`).
//!
//! What it does not do: use a season other than the day's in the recursion, or give intervals of its own.
//!
//! Sources: Box and Jenkins (1970); Harvey (1989), chapter 3; Hyndman and Khandakar (2008).

mod estimate;
#[cfg(test)]
mod goldens;
mod harmonics;
mod likelihood;
mod optimise;
mod order;
mod polynomial;
mod state_space;
mod transform;

use serde::{Deserialize, Serialize};

use self::estimate::{Fitted, Seen, differenced};
use self::harmonics::Harmonics;
use self::order::{Search, is_integrated, is_strongly_seasonal, mean_and_deviation};
use self::polynomial::{Arma, Orders};
use self::state_space::Filter;
use self::transform::Transform;
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
/// A fitted model: `transform(value / scale) = harmonics + unit * (level + slope * index + ARIMA)`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Arima {
    orders: Orders,
    arma: Arma,
    harmonics: Harmonics,
    transform: Transform,
    /// The series' mean.
    scale: f64,
    /// Standard deviation of the errors, of scaled and transformed values.
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
        let scaled: Vec<f64> =
            (from..end).map(|index| known_value(history, index).map_or(f64::NAN, |value| value / scale)).collect();
        let Seen { transform, harmonics, values: seen } = Seen::best(history, from, &scaled, orders);
        let dynamic = seen.len().saturating_sub(MAX_DYNAMIC_STEPS);
        let rest: Vec<f64> = (from + dynamic..end)
            .zip(&seen[dynamic..])
            .map(|(index, value)| value - harmonics.at(history, index))
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
            transform,
            scale,
            unit: deviation,
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
            Some(value) => self.transform.forward(value / self.scale) / self.unit - self.around(history, index),
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
                        let seen = (*point + self.around(history, origin + ahead)) * self.unit;
                        *point = self.transform.back(seen) * self.scale;
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

fn known_value(history: &History, index: usize) -> Option<f64> {
    history.value(index).filter(|_| history.known(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    /// Even noise without an order, in -0.5..0.5.
    fn noise(index: usize) -> f64 {
        let mut mixed = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }

    fn history(step_s: u32, steps: usize, rate: impl Fn(usize) -> f64) -> History {
        History::new(&Series::new(0, step_s, (0..steps).map(rate).collect()).unwrap())
    }

    fn wave(share_of_day: f64) -> f64 {
        (share_of_day * std::f64::consts::TAU).sin()
    }

    #[test]
    fn a_short_day_is_part_of_the_recursion_and_a_long_one_is_harmonics() {
        let hours = history(3600, 672, |hour| 100.0 + 30.0 * wave(hour as f64 / 24.0) + 5.0 * noise(hour));
        let model = Arima::fit(&hours, 672).unwrap();
        assert_eq!((model.orders.seasonal_differences, model.orders.season_steps), (1, 24), "{model:?}");
        assert_eq!(model.harmonics.counts().0, 0);
        let minutes = history(300, 2016, |step| 100.0 + 30.0 * wave(step as f64 / 288.0) + 5.0 * noise(step));
        let model = Arima::fit(&minutes, 2016).unwrap();
        assert_eq!(model.orders.lost_steps(), 0, "{model:?}");
        assert!((1..=3).contains(&model.harmonics.counts().0), "{model:?}");
        // White noise has no terms worth their price, and its deviation is that of an even distribution.
        assert!(model.orders.coefficients() <= 1, "{model:?}");
        assert!((model.unit * model.scale - 5.0 / 12.0_f64.sqrt()).abs() < 0.1, "{model:?}");
    }

    #[test]
    fn a_demand_that_returns_to_its_level_is_forecast_to_return() {
        let mut values = vec![0.0_f64];
        for index in 1..2016 {
            values.push(0.9 * values[index - 1] + noise(index));
        }
        let at = |index: usize| 50.0 + values[index];
        let history = history(300, 2016, at);
        let model = Arima::fit(&history, 2016).unwrap();
        let origin = (1000..2016).max_by(|a, b| at(a - 1).total_cmp(&at(b - 1))).unwrap();
        let mut points = [0.0; 5];
        model.forecast(&history, origin, &mut points);
        for (ahead, point) in points.into_iter().enumerate() {
            let wanted = 50.0 + 0.9_f64.powi(ahead as i32 + 1) * values[origin - 1];
            assert!((point - wanted).abs() < 0.3, "{ahead}: {point} for {wanted}, {model:?}");
        }
    }

    #[test]
    fn waves_that_grow_with_the_level_are_seen_in_logarithms() {
        let level = |hour: usize| 10.0 * f64::exp(hour as f64 / 300.0 + 0.1 * noise(hour));
        let growing = history(3600, 672, |hour| level(hour) * (0.8 * wave(hour as f64 / 24.0)).exp());
        assert_eq!(Arima::fit(&growing, 672).unwrap().transform, Transform::Logarithm);
        let steady = history(3600, 672, |hour| 50.0 + 30.0 * wave(hour as f64 / 24.0) + 8.0 * noise(hour));
        assert_eq!(Arima::fit(&steady, 672).unwrap().transform, Transform::Plain);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let seconds = history(30, 100, |_| 1.0);
        let refused = Arima::fit(&seconds, 100).unwrap_err();
        assert_eq!(refused, ModelError::SeasonTooLong { model: "arima", season_steps: 2880, most: 1440 });
        let gaps = history(3600, 100, |hour| if hour < 60 { f64::NAN } else { 1.0 });
        let refused = Arima::fit(&gaps, 100).unwrap_err();
        assert_eq!(refused, ModelError::TooFewSteps { model: "arima", have: 40, need: 48 });
    }

    #[test]
    fn a_gap_is_left_out_and_not_filled() {
        // A level with a step up: while it is unknown, History fills yesterday's low level in.
        let rate = |hour: usize| match hour {
            600..=640 => f64::NAN,
            _ if hour < 560 => 100.0 + noise(hour),
            _ => 200.0 + noise(hour),
        };
        let history = history(3600, 672, rate);
        let model = Arima::fit(&history, 560).unwrap();
        let mut points = [0.0];
        model.forecast(&history, 641, &mut points);
        let before = points[0];
        model.forecast(&history, 600, &mut points);
        assert!((before - points[0]).abs() < 0.2 * points[0], "{before} after the gap, {} before it", points[0]);
    }
}
