//! How a forecaster would have lived through the last part of a series: the judge of benches and of `forebay backtest`.
//!
//! The first [`FITTED_SHARE`] of the series is only fitted. Then time goes step by step, as for the controller: at an
//! origin the next steps are forecast from what lies before; when a step is over, its value is given to
//! [`Forecaster::observe`] for every forecast of it; the fit is renewed now and then, and forecasts of the replaced
//! forecaster teach nothing. Unlike the selection's own backtest, which calibrates, this one only measures: nothing that
//! it sees flows back into a choice.
//!
//! With a calendar ([`Rolling::run_with_events`]) it lives as the controller does with event feeds: fitted on and forecasting
//! from history cleared of events, what they do put in afterwards, learned anew with each fit and while one is on or has
//! ended unseen; steps in an event teach the forecaster nothing. The calendar is taken as known in advance, all of it.
//!
//! Its cost is bounded: where there are too many origins, every n-th is used, with an n that meets every time of day. Live
//! updates then come less often than the controller's.

use std::ops::Range;

use crate::backtest::coprime_stride;
use crate::calendar::WEEK_S;
use crate::error::{ForecastError, SeriesError};
use crate::events::{EventCalendar, EventForecast, EventModel};
use crate::forecaster::{Forecast, Forecaster};
use crate::series::Series;

/// Share of a series that is fitted before anything is forecast.
pub const FITTED_SHARE: f64 = 0.7;
/// Weeks of history that a fit looks at: the controller's default.
const HISTORY_WEEKS: i64 = 8;
/// Days up to which the fit is renewed every day, and beyond which every week.
const DAILY_REFITS: usize = 10;
/// Most origins of one run.
const MAX_ORIGINS: usize = 2000;
/// Most forecast steps of one run, over all origins: each is observed once, at up to 0.2 ms, so 2.4 s.
const MAX_FORECAST_STEPS: usize = 12_000;

/// What is rolled through, and how densely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rolling {
    part: Range<usize>,
    /// No forecast is made from here on.
    origins_end: usize,
    horizon_steps: usize,
    stride: usize,
    refit_steps: usize,
    windows: usize,
}

impl Rolling {
    /// The last part of `series`, in windows of `horizon_steps`.
    #[must_use]
    pub fn over(series: &Series, horizon_steps: usize) -> Self {
        let horizon_steps = horizon_steps.max(1);
        let split = (FITTED_SHARE * series.len() as f64).floor() as usize;
        let all = Self::through(series, split..series.len(), horizon_steps, 1);
        let most = MAX_ORIGINS.min(MAX_FORECAST_STEPS / horizon_steps).max(all.windows).max(1);
        let origins = (all.part.len() + 1).saturating_sub(horizon_steps);
        let stride = coprime_stride(origins, most, series.day_steps());
        Self { stride, origins_end: split + origins, ..all }
    }

    /// Any part of `series`, with a forecast at every `stride`-th step of it, those too that reach beyond it.
    #[must_use]
    pub fn through(series: &Series, part: Range<usize>, horizon_steps: usize, stride: usize) -> Self {
        let (horizon_steps, day) = (horizon_steps.max(1), series.day_steps());
        let windows = series.values()[part.clone()].chunks_exact(horizon_steps);
        let windows = windows.filter(|window| window.iter().any(|value| !value.is_nan())).count();
        let refit_days = if part.len() > DAILY_REFITS * day { 7 } else { 1 };
        let (origins_end, refit_steps) = (part.end, refit_days * day);
        Self { part, origins_end, horizon_steps, stride: stride.max(1), refit_steps, windows }
    }

    /// Windows that do not overlap and hold a known value: how much independent evidence the last part has.
    #[must_use]
    pub fn disjoint_windows(&self) -> usize {
        self.windows
    }

    /// What the first fit of a run sees of `series`.
    ///
    /// # Errors
    /// The series is shorter than the one that the run was made for.
    pub fn first_history(&self, series: &Series) -> Result<Series, SeriesError> {
        let history_steps = (HISTORY_WEEKS * WEEK_S / i64::from(series.step_s())) as usize;
        series.slice(self.part.start.saturating_sub(history_steps), self.part.start)
    }

    /// Rolls through the part. `fit` makes a forecaster from a history; `seen` is given every forecast with the index of
    /// its first step. A fit that fails later than the first leaves the forecaster that is there at work.
    ///
    /// # Errors
    /// The first fit failed.
    pub fn run(
        &self,
        series: &Series,
        fit: impl FnMut(&Series) -> Result<Forecaster, ForecastError>,
        mut seen: impl FnMut(usize, &Forecast),
    ) -> Result<(), ForecastError> {
        self.live(series, &EventCalendar::default(), fit, |now, forecast, _| seen(now, forecast))
    }

    /// As [`Rolling::run`], with the events of a calendar; see the module's text.
    ///
    /// # Errors
    /// As [`Rolling::run`].
    pub fn run_with_events(
        &self,
        series: &Series,
        calendar: &EventCalendar,
        fit: impl FnMut(&Series) -> Result<Forecaster, ForecastError>,
        mut seen: impl FnMut(usize, &EventForecast),
    ) -> Result<(), ForecastError> {
        self.live(series, calendar, fit, |now, forecast, events| seen(now, &events.applied(forecast.clone())))
    }

    fn live(
        &self,
        series: &Series,
        calendar: &EventCalendar,
        mut fit: impl FnMut(&Series) -> Result<Forecaster, ForecastError>,
        mut seen: impl FnMut(usize, &Forecast, &Learned<'_>),
    ) -> Result<(), ForecastError> {
        let history_steps = (HISTORY_WEEKS * WEEK_S / i64::from(series.step_s())) as usize;
        let before =
            |now: usize, steps: usize| series.slice(now.saturating_sub(steps), now).map_err(ForecastError::Series);
        let history = self.first_history(series)?;
        let mut events = Learned::from(&history, calendar);
        let mut forecaster = fit(&events.cleared(history)?)?;
        let mut open: Vec<(usize, Forecast)> = Vec::new();
        for now in self.part.clone() {
            let passed = now - self.part.start;
            if passed > 0 && passed.is_multiple_of(self.refit_steps) {
                let history = before(now, history_steps)?;
                events = Learned::from(&history, calendar);
                if let Ok(mut renewed) = fit(&events.cleared(history)?) {
                    renewed.take_over_live_score(&forecaster);
                    forecaster = renewed;
                    open.clear();
                }
            }
            if passed.is_multiple_of(self.stride) && now < self.origins_end {
                if events.is_behind(series.at_s(now)) {
                    events = Learned::from(&before(now, history_steps)?, calendar);
                }
                let recent = events.cleared(before(now, forecaster.recent_steps())?)?;
                let forecast = forecaster.predict(&recent)?;
                seen(now, &forecast, &events);
                open.push((now, forecast));
            }
            open.retain(|(from, _)| now < from + self.horizon_steps);
            if calendar.is_on(series.at_s(now)) {
                continue;
            }
            for (from, forecast) in &open {
                if let Some(step) = forecast.steps.get(now - from) {
                    forecaster.observe(step, series.values()[now]);
                }
            }
        }
        Ok(())
    }
}

/// What was learned of events up to a moment.
struct Learned<'a> {
    calendar: &'a EventCalendar,
    /// `None` for a calendar without events.
    model: Option<EventModel>,
    until_s: i64,
}

impl<'a> Learned<'a> {
    fn from(history: &Series, calendar: &'a EventCalendar) -> Self {
        let model = (!calendar.events().is_empty()).then(|| EventModel::learn(history, calendar));
        Self { calendar, model, until_s: history.end_s() }
    }

    fn cleared(&self, history: Series) -> Result<Series, SeriesError> {
        match &self.model {
            Some(model) => model.cleared(&history),
            None => Ok(history),
        }
    }

    fn applied(&self, forecast: Forecast) -> EventForecast {
        match &self.model {
            Some(model) => model.apply(forecast),
            None => EventForecast::without_events(forecast),
        }
    }

    /// Whether an event is on, or has ended unseen, by now.
    fn is_behind(&self, now_s: i64) -> bool {
        let mut begun = self.calendar.events().iter().take_while(|event| event.from_s < now_s);
        begun.any(|event| event.to_s > self.until_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::DAY_S;
    use crate::events::{Effect, Event};
    use crate::model::ModelKind;
    use crate::selection::{Settings, fit_as};

    /// 20 days of hours, as on the day before.
    fn series() -> Series {
        Series::new(0, 3600, (0..480).map(|hour| f64::from(hour % 24)).collect()).unwrap()
    }

    #[test]
    fn windows_are_counted_where_something_is_known() {
        let rolling = Rolling::over(&series(), 24);
        assert_eq!((rolling.part.clone(), rolling.windows, rolling.stride), (336..480, 6, 1));
        let mut values = series().values().to_vec();
        values[336..384].fill(f64::NAN);
        assert_eq!(Rolling::over(&Series::new(0, 3600, values).unwrap(), 24).windows, 4);
        assert_eq!(Rolling::over(&series(), 1000).windows, 0);
        assert_eq!(Rolling::over(&series().slice(0, 0).unwrap(), 4).windows, 0);
    }

    #[test]
    fn forecasts_are_made_from_the_past_and_the_fit_is_renewed_daily() {
        let (series, rolling) = (series(), Rolling::over(&series(), 4));
        let (mut fits, mut origins) = (Vec::new(), Vec::new());
        let fit = |history: &Series| {
            fits.push(history.end_s() / 3600);
            fit_as(ModelKind::SeasonalNaive, history, &Settings::default())
        };
        let seen = |from: usize, forecast: &Forecast| {
            assert_eq!(forecast.first_s, series.at_s(from));
            for (step, &actual) in forecast.steps.iter().zip(&series.values()[from..]) {
                assert_eq!(step.quantile(0.5), actual, "the pattern is exact");
            }
            origins.push(from);
        };
        rolling.run(&series, fit, seen).unwrap();
        assert_eq!(fits, [336, 360, 384, 408, 432, 456]);
        assert_eq!((origins[0], origins.len(), origins.last()), (336, 141, Some(&476)));
    }

    #[test]
    fn too_many_origins_are_thinned_over_every_time_of_day() {
        let long = Series::new(0, 300, vec![1.0; 40_000]).unwrap();
        let rolling = Rolling::over(&long, 12);
        assert_eq!((rolling.stride, rolling.refit_steps, rolling.windows), (13, 2016, 1000));
    }

    #[test]
    fn a_first_fit_that_fails_is_the_answer() {
        let short = Series::new(0, 3600, vec![1.0; 60]).unwrap();
        let outcome = Rolling::over(&short, 4).run(
            &short,
            |history| fit_as(ModelKind::LastValue, history, &Settings::default()),
            |_, _| panic!("nothing can be forecast"),
        );
        assert_eq!(outcome, Err(ForecastError::TooShort { have: 42, need: 48 }));
    }

    #[test]
    fn with_a_calendar_events_are_known_beforehand_and_disturb_nothing_afterwards() {
        // 40 days; on the days 20, 25, 33 and 36 demand is threefold.
        let sales = [20, 25, 33, 36];
        let rate = |hour: usize| {
            let plain = 50.0 + (hour % 24) as f64;
            if sales.contains(&(hour / 24)) { 3.0 * plain } else { plain }
        };
        let series = Series::new(0, 3600, (0..960).map(rate).collect()).unwrap();
        let sale = |day: usize| Event {
            kind: "sale".to_owned(),
            from_s: day as i64 * DAY_S,
            to_s: (day as i64 + 1) * DAY_S,
            key: None,
            effect: Effect::default(),
        };
        let calendar = EventCalendar::new(sales.map(sale).to_vec()).unwrap();
        let rolling = Rolling::over(&series, 24);
        let fit = |history: &Series| {
            fit_as(ModelKind::SeasonalNaive, history, &Settings { horizon_steps: 24, ..Settings::default() })
        };
        let miss = |from: usize, ahead: usize, median: f64| (median / series.values()[from + ahead] - 1.0).abs();
        let (mut without, mut with, mut after): (Vec<f64>, Vec<f64>, Vec<f64>) = Default::default();
        rolling
            .run(&series, fit, |from, forecast| {
                if from == 33 * 24 {
                    without = (0..24).map(|ahead| miss(from, ahead, forecast.steps[ahead].quantile(0.5))).collect();
                }
            })
            .unwrap();
        rolling
            .run_with_events(&series, &calendar, fit, |from, forecast| {
                let misses = (0..24).map(|ahead| miss(from, ahead, forecast.steps[ahead].quantile(0.5)));
                match from / 24 {
                    33 if from % 24 == 0 => with = misses.collect(),
                    34 if from % 24 == 0 => after = misses.collect(),
                    _ => {}
                }
            })
            .unwrap();
        let worst = |misses: &[f64]| misses.iter().copied().fold(0.0, f64::max);
        assert!(without.len() == 24 && without.iter().all(|miss| *miss > 0.6), "{without:?}");
        assert!(with.len() == 24 && worst(&with) < 0.25, "{with:?}");
        assert!(after.len() == 24 && worst(&after) < 0.05, "yesterday's sale is no pattern: {after:?}");
    }
}
