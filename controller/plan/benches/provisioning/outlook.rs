//! What forecasts would have said of a trace, step by step, as the controller makes them: fitted on what lies before, asked
//! at every step (of at least five minutes), taught by what then came, fitted again every day or week.

use std::ops::Range;

use anyhow::Result;
use forebay_forecast::{Forecast, Forecaster, Series, Settings, WEEK_S, fit};

/// Quantiles that are asked for.
pub(crate) const QUANTILES: [f64; 7] = [0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995];
/// Weeks of history that a fit looks at: the controller's default.
const HISTORY_WEEKS: i64 = 8;
/// Days up to which the fit is renewed every day, and beyond which every week.
const DAILY_REFITS: usize = 10;
/// Seconds between forecasts, at least.
const ASK_EVERY_S: u32 = 300;

/// By quantile, and for each step of a part: the highest that demand gets until what is asked for then is ready.
pub(crate) struct Outlook {
    pub(crate) from: usize,
    pub(crate) upper: Vec<Vec<f64>>,
}

impl Outlook {
    pub(crate) fn of(series: &Series, part: Range<usize>, lead_steps: usize) -> Result<Self> {
        let every = ASK_EVERY_S.div_ceil(series.step_s()) as usize;
        let horizon_steps = lead_steps + every;
        let settings = Settings { horizon_steps, ..Settings::default() };
        let history_steps = (HISTORY_WEEKS * WEEK_S / i64::from(series.step_s())) as usize;
        let day = series.day_steps();
        let refit_steps = if part.len() > DAILY_REFITS * day { 7 * day } else { day };
        let before = |now: usize, steps: usize| series.slice(now.saturating_sub(steps), now);
        let fitted = |now: usize| -> Result<Forecaster> { Ok(fit(&before(now, history_steps)?, &settings)?) };
        let mut forecaster = fitted(part.start)?;
        let mut open: Vec<(usize, Forecast)> = Vec::new();
        let mut upper = vec![vec![f64::NAN; part.len()]; QUANTILES.len()];
        for now in part.clone() {
            let passed = now - part.start;
            if passed > 0
                && passed.is_multiple_of(refit_steps)
                && let Ok(mut renewed) = fitted(now)
            {
                renewed.take_over_live_score(&forecaster);
                forecaster = renewed;
                open.clear();
            }
            if passed.is_multiple_of(every) {
                let forecast = forecaster.predict(&before(now, forecaster.recent_steps())?)?;
                for (upper, p) in upper.iter_mut().zip(QUANTILES) {
                    let steps: Vec<f64> = forecast.steps.iter().map(|step| step.quantile(p)).collect();
                    for asked in now..(now + every).min(part.end) {
                        let until_ready =
                            &steps[asked - now..=asked - now + lead_steps.min(horizon_steps - 1 - (asked - now))];
                        upper[asked - part.start] = until_ready.iter().copied().fold(0.0, f64::max);
                    }
                }
                open.push((now, forecast));
            }
            open.retain(|(from, _)| now < from + horizon_steps);
            for (from, forecast) in &open {
                if let Some(step) = forecast.steps.get(now - from) {
                    forecaster.observe(step, series.values()[now]);
                }
            }
        }
        Ok(Self { from: part.start, upper })
    }
}
