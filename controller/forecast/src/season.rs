//! Series whose main season is not a day: a batch every six hours, a plant with shifts of 36.
//!
//! The intuition: models know a season as "a day" and a longer one as "a week of seven days", and nothing else of the calendar
//! matters to them but how many steps these have. So a series with another season is told on a clock on which that season
//! takes a day: steps keep their order and number, only their stamps are stretched. All models, their checks and their bounds
//! then hold for the season as they hold for a day: a fit needs two seasons, and at most seven can be forecast at once.
//!
//! Invariants: values are untouched; [`SeasonClock::real_s`] takes every stamp on that clock back to the step it stands for.
//!
//! What it does not do: two seasons of any lengths (the longer one is seven of the shorter), seasons that are no whole number
//! of steps, and local time, whose days are days.

use crate::calendar::DAY_S;
use crate::error::SeriesError;
use crate::series::Series;

/// A clock on which a season takes a day; see the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeasonClock {
    step_s: i64,
    /// Of the same step on this clock.
    clock_step_s: u32,
    /// Where steps begin within multiples of their length.
    phase_s: i64,
}

impl SeasonClock {
    /// For a series and those on the same steps.
    ///
    /// # Errors
    /// A season of so many steps cannot take a day of whole seconds, or is none: it must divide 86,400 and be at least 2.
    pub fn of(series: &Series, season_steps: usize) -> Result<Self, SeriesError> {
        let season = i64::try_from(season_steps).ok().filter(|steps| *steps >= 2 && DAY_S % steps == 0);
        let season = season.ok_or(SeriesError::Season { season_steps })?;
        let step_s = i64::from(series.step_s());
        // In range: DAY_S is.
        let clock_step_s = (DAY_S / season) as u32;
        Ok(Self { step_s, clock_step_s, phase_s: series.start_s().rem_euclid(step_s) })
    }

    /// The series on this clock, in UTC.
    ///
    /// # Errors
    /// None for a series on the steps that the clock was made for.
    pub fn series(&self, real: &Series) -> Result<Series, SeriesError> {
        let start_s = real.start_s().div_euclid(self.step_s) * i64::from(self.clock_step_s);
        Series::new(start_s, self.clock_step_s, real.values().to_vec())
    }

    /// The real time at which a step begins that begins at `clock_s` on this clock.
    #[must_use]
    pub fn real_s(&self, clock_s: i64) -> i64 {
        clock_s.div_euclid(i64::from(self.clock_step_s)) * self.step_s + self.phase_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelKind;
    use crate::selection::{Settings, fit, fit_as};

    /// Hours from a Thursday at 0:07 on, with a wave of 36.
    fn shifts(hours: usize) -> Series {
        let rate = |hour: usize| if hour % 36 < 12 { 90.0 + (hour % 36) as f64 } else { 10.0 };
        Series::new(1_767_225_600 + 420, 3600, (0..hours).map(rate).collect()).unwrap()
    }

    #[test]
    fn stamps_go_there_and_back() {
        let real = shifts(100);
        let clock = SeasonClock::of(&real, 36).unwrap();
        let stretched = clock.series(&real).unwrap();
        assert_eq!((stretched.step_s(), stretched.day_steps(), stretched.values()), (2400, 36, real.values()));
        for index in 0..200 {
            assert_eq!(clock.real_s(stretched.at_s(index)), real.at_s(index));
        }
        let before = Series::new(-7200, 3600, vec![1.0; 4]).unwrap();
        let clock = SeasonClock::of(&before, 12).unwrap();
        assert_eq!(clock.real_s(clock.series(&before).unwrap().at_s(3)), before.at_s(3));
    }

    #[test]
    fn a_season_of_another_length_is_forecast_as_a_day_is() {
        let real = shifts(15 * 36);
        let clock = SeasonClock::of(&real, 36).unwrap();
        let stretched = clock.series(&real).unwrap();
        let settings = Settings { horizon_steps: 36, ..Settings::default() };
        let naive = fit_as(ModelKind::SeasonalNaive, &stretched, &settings).unwrap().predict(&stretched).unwrap();
        let chosen = fit(&stretched, &settings).unwrap().predict(&stretched).unwrap();
        let told_daily = fit(&real, &settings).unwrap().predict(&real).unwrap();
        let coming = shifts(16 * 36);
        let miss = |steps: &[crate::StepForecast]| {
            let misses = steps.iter().zip(&coming.values()[real.len()..]);
            misses.map(|(step, actual)| (step.quantile(0.5) - actual).abs()).sum::<f64>()
        };
        assert_eq!(miss(&naive.steps), 0.0, "the season before is the season to come");
        assert!(miss(&chosen.steps) < 0.2 * miss(&told_daily.steps), "{}", miss(&chosen.steps));
        assert_eq!(clock.real_s(naive.steps[0].start_s), real.end_s());
    }

    #[test]
    fn seasons_that_take_no_day_are_refused() {
        for season_steps in [0, 1, 7, 168, 86_401, usize::MAX] {
            assert_eq!(SeasonClock::of(&shifts(3), season_steps), Err(SeriesError::Season { season_steps }));
        }
    }
}
