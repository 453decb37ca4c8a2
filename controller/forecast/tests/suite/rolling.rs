//! Lets a forecaster live through the end of a series: forecast at every step, observe what came.

use std::collections::VecDeque;

use forebay_forecast::{Forecast, Forecaster, Series, StepForecast};

/// Rolls through the steps `from..to`; `seen` is called with every forecast of a known value, before it is observed.
pub(crate) fn roll(
    forecaster: &mut Forecaster,
    series: &Series,
    (from, to): (usize, usize),
    mut seen: impl FnMut(usize, &StepForecast, f64),
) {
    let mut open: VecDeque<Forecast> = VecDeque::new();
    for index in from..to {
        let recent = series.slice(index.saturating_sub(forecaster.recent_steps()), index).unwrap();
        let forecast = forecaster.predict(&recent).unwrap();
        let horizon = forecast.steps.len();
        assert_eq!(forecast.first_s, series.at_s(index));
        open.push_front(forecast);
        open.truncate(horizon);
        let actual = series.values()[index];
        for (made_before, forecast) in open.iter().enumerate() {
            let step = &forecast.steps[made_before];
            assert_eq!((step.lead, step.start_s), (made_before + 1, series.at_s(index)));
            if !actual.is_nan() {
                seen(index, step, actual);
            }
            forecaster.observe(step, actual);
        }
    }
}
