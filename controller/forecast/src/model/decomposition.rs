//! A history taken apart into a day's season, a week's season and the rest, by locally weighted regression.
//!
//! The day's season takes part from two days of history on, the week's from two weeks on. What is kept of a season is its
//! last cycle, by place. `stlrs` decomposes, with the lengths of the seasonal smoothers that the paper gives.
//!
//! Bounds: at most [`MAX_STEPS`] steps are decomposed and a day of at most [`MAX_DAY_STEPS`] is held; a longer one is
//! refused. Gaps enter as [`History`] fills them, since a decomposition has no missing values, and are missing in the rest.
//!
//! Sources: Bandara, Hyndman and Bergmeir, MSTL, arXiv 2107.13462; Cleveland et al., STL, 1990.

use stlrs::Mstl;

use super::smoothing::{SEASONS, Unit, mean_known};
use crate::error::ModelError;
use crate::history::History;

/// Steps that are decomposed: four weeks of five minutes, 48 weeks of hours.
const MAX_STEPS: usize = 4 * 2_016;
/// Steps at the end of the rest that its course is learned from: a week of five minutes, 12 weeks of hours.
const LESSON_STEPS: usize = 2_016;
/// Longest day in steps: one a minute.
const MAX_DAY_STEPS: usize = 1_440;
/// Smallest mean squared difference told apart, in squared means of the series.
const MIN_SQUARE: f64 = 1e-18;
/// Cycles of each season that a history has to hold.
const MIN_CYCLES: usize = 2;

/// The parts, in `unit`.
#[derive(Debug, Clone)]
pub(super) struct Decomposition {
    pub(super) unit: Unit,
    /// Values less their figures, NaN where a value was missing.
    pub(super) rest: Vec<f64>,
    /// The last cycle of the day's and of the week's season by place; none is empty.
    pub(super) figures: [Vec<f64>; SEASONS],
}

impl Decomposition {
    /// The end of the rest, from which its course is learned.
    pub(super) fn lesson(&self) -> &[f64] {
        &self.rest[self.rest.len().saturating_sub(LESSON_STEPS)..]
    }

    /// Takes the end of a history apart. `model` is who asks, for the error.
    pub(super) fn of(model: &'static str, history: &History, end: usize) -> Result<Self, ModelError> {
        let (day, week) = (history.day_steps(), history.week_steps());
        if day > MAX_DAY_STEPS {
            return Err(ModelError::SeasonTooLong { model, season_steps: day, most: MAX_DAY_STEPS });
        }
        let end = end.min(history.len());
        let from = end.saturating_sub(MAX_STEPS);
        // A decomposition has no season of one step.
        let need = MIN_CYCLES * day.max(2);
        if end - from < need {
            return Err(ModelError::TooFewSteps { model, have: end - from, need });
        }
        let seasons: &[usize] = match (day > 1, end - from >= MIN_CYCLES * week) {
            (true, true) => &[day, week],
            (true, false) => &[day],
            (false, _) => &[week],
        };
        let values: Vec<f64> = (from..end).filter_map(|index| history.value(index)).collect();
        let unit = unit_of(&values, day);
        let mut rest: Vec<f64> = values.iter().map(|&value| unit.inward(value)).collect();
        let parts = Mstl::fit(&rest, seasons)
            .map_err(|error| ModelError::NotEstimated { model, message: error.to_string() })?;
        let mut figures: [Vec<f64>; SEASONS] = [Vec::new(), Vec::new()];
        for ((&steps, part), figures) in seasons.iter().zip(parts.seasonal()).zip(&mut figures) {
            *figures = vec![0.0; steps];
            // The last cycle stands; earlier ones are for places that a change of the clock has left out of it.
            for (index, figure) in (from..end).zip(part) {
                figures[history.place(index, steps)] = *figure;
            }
            for (value, figure) in rest.iter_mut().zip(part) {
                *value -= figure;
            }
        }
        for (value, _) in rest.iter_mut().zip(from..).filter(|(_, index)| !history.known(*index)) {
            *value = f64::NAN;
        }
        Ok(Self { unit, rest, figures })
    }
}

/// The unit in which a value is nearer to that of a day before: plain where seasons and noise add up, compressed where they
/// multiply. By Akaike's criterion of the two differences, since their sizes are not comparable as they stand.
fn unit_of(values: &[f64], day: usize) -> Unit {
    let mean = mean_known(values);
    let [plain, compressed] = [false, true].map(|compressed| {
        let unit = Unit::of(mean, compressed);
        let later = &values[day..];
        let square = |(now, before): (&f64, &f64)| (unit.inward(*now) - unit.inward(*before)).powi(2);
        let mean_square = later.iter().zip(values).map(square).sum::<f64>() / later.len() as f64;
        (later.len() as f64 * mean_square.max(MIN_SQUARE).ln() + unit.criterion_correction(later), unit)
    });
    if compressed.0 < plain.0 { compressed.1 } else { plain.1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn the_parts_are_those_that_were_put_together() {
        let day = |hour: usize| 30.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let week = |hour: usize| if hour / 24 % 7 >= 5 { -50.0 } else { 20.0 };
        let rate = |hour: usize| if hour == 600 { f64::NAN } else { 200.0 + day(hour) + week(hour) };
        // Not from a place 0 on: figures are found by calendar.
        let history = History::new(&Series::new(5 * 3600, 3600, (0..28 * 24).map(rate).collect()).unwrap());
        let parts = Decomposition::of("test", &history, 28 * 24).unwrap();
        assert!(parts.rest[600].is_nan());
        let level = mean_known(&parts.rest);
        for hour in 0..168 {
            let figures = parts.figures.each_ref().map(|figures| figures[history.place(hour, figures.len())]);
            let together = parts.unit.outward(level + figures[0] + figures[1]);
            assert!((together - rate(hour)).abs() < 4.0, "hour {hour}: {together} for {}", rate(hour));
        }
    }

    #[test]
    fn what_multiplies_is_compressed_and_what_adds_up_is_not() {
        let wave = |hour: usize| (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let other = |hour: usize| (hour as f64 / 37.0).sin();
        let compressed = |rate: &dyn Fn(usize) -> f64| unit_of(&(0..600).map(rate).collect::<Vec<_>>(), 24).compressed;
        assert!(!compressed(&|hour| 100.0 + 50.0 * wave(hour) + 20.0 * other(hour)));
        assert!(compressed(&|hour| 100.0 * (wave(hour) + 0.3 * other(hour)).exp()));
    }

    #[test]
    fn what_is_too_short_or_too_long_is_refused() {
        let of = |step_s: u32, steps: usize| {
            let history = History::new(&Series::new(0, step_s, vec![1.0; steps]).unwrap());
            Decomposition::of("test", &history, steps).unwrap_err()
        };
        assert_eq!(of(3600, 47), ModelError::TooFewSteps { model: "test", have: 47, need: 48 });
        let refused = ModelError::SeasonTooLong { model: "test", season_steps: 86_400, most: 1_440 };
        assert_eq!(of(1, 180_000), refused);
    }
}
