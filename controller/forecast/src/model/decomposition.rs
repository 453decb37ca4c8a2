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
/// Longest day in steps: one a minute.
const MAX_DAY_STEPS: usize = 1_440;
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
    /// What makes Akaike's criterion comparable between units.
    pub(super) criterion_correction: f64,
}

impl Decomposition {
    /// Plain and compressed. `model` is who asks, for the error.
    pub(super) fn both(model: &'static str, history: &History, end: usize) -> Result<[Self; 2], ModelError> {
        Ok([Self::of(model, history, end, false)?, Self::of(model, history, end, true)?])
    }

    fn of(model: &'static str, history: &History, end: usize, compressed: bool) -> Result<Self, ModelError> {
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
        let unit = Unit::of(mean_known(&values), compressed);
        let mut rest: Vec<f64> = values.iter().map(|&value| unit.inward(value)).collect();
        let parts = Mstl::fit(&rest, seasons)
            .map_err(|error| ModelError::NotEstimated { model, message: error.to_string() })?;
        let mut figures: [Vec<f64>; SEASONS] = [Vec::new(), Vec::new()];
        for ((&steps, part), figures) in seasons.iter().zip(parts.seasonal()).zip(&mut figures) {
            *figures = vec![0.0; steps];
            for (index, figure) in (from..end).zip(part).skip(part.len() - steps) {
                figures[history.place(index, steps)] = *figure;
            }
            for (value, figure) in rest.iter_mut().zip(part) {
                *value -= figure;
            }
        }
        for (value, _) in rest.iter_mut().zip(from..).filter(|(_, index)| !history.known(*index)) {
            *value = f64::NAN;
        }
        Ok(Self { unit, rest, figures, criterion_correction: unit.criterion_correction(&values) })
    }
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
        let [plain, compressed] = Decomposition::both("test", &history, 28 * 24).unwrap();
        assert!(plain.unit != compressed.unit && plain.rest[600].is_nan());
        let level = mean_known(&plain.rest);
        for hour in 0..168 {
            let figures = plain.figures.each_ref().map(|figures| figures[history.place(hour, figures.len())]);
            let together = plain.unit.outward(level + figures[0] + figures[1]);
            assert!((together - rate(hour)).abs() < 4.0, "hour {hour}: {together} for {}", rate(hour));
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_is_refused() {
        let of = |step_s: u32, steps: usize| {
            let history = History::new(&Series::new(0, step_s, vec![1.0; steps]).unwrap());
            Decomposition::both("test", &history, steps).unwrap_err()
        };
        assert_eq!(of(3600, 47), ModelError::TooFewSteps { model: "test", have: 47, need: 48 });
        let refused = ModelError::SeasonTooLong { model: "test", season_steps: 86_400, most: 1_440 };
        assert_eq!(of(1, 180_000), refused);
    }
}
