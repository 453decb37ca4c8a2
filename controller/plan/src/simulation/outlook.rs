//! What forecasts would have said of a trace, step by step, as the controller makes them: fitted on what lies before, asked
//! every few minutes, taught by what then came, fitted again every day or week ([`Rolling`]).

use std::ops::Range;

use forebay_forecast::{Forecast, ForecastError, Rolling, Series, Settings, fit};

/// Quantiles that are asked for.
pub const QUANTILES: [f64; 7] = [0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995];
/// Seconds between forecasts, at least.
const ASK_EVERY_S: u32 = 300;

/// The highest that demand gets until what is asked for in a step is ready, as was forecast before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Position of the first step.
    pub from: usize,
    /// By [`QUANTILES`], and for each step from the first on; NaN where there is no forecast.
    pub upper: Vec<Vec<f64>>,
}

impl Outlook {
    /// Through the steps `part` of `series`, for capacity that takes `lead_steps`.
    ///
    /// # Errors
    /// What lies before the part cannot be fitted.
    pub fn of(series: &Series, part: Range<usize>, lead_steps: usize) -> Result<Self, ForecastError> {
        let every = ASK_EVERY_S.div_ceil(series.step_s()) as usize;
        let horizon_steps = lead_steps + every;
        let settings = Settings { horizon_steps, ..Settings::default() };
        let rolling = Rolling::through(series, part.clone(), horizon_steps, every);
        let mut upper = vec![vec![f64::NAN; part.len()]; QUANTILES.len()];
        let seen = |now: usize, forecast: &Forecast| {
            for (upper, p) in upper.iter_mut().zip(QUANTILES) {
                let steps: Vec<f64> = forecast.steps.iter().map(|step| step.quantile(p)).collect();
                for asked in now..(now + every).min(part.end) {
                    let until_ready = &steps[asked - now..=asked - now + lead_steps];
                    upper[asked - part.start] = until_ready.iter().copied().fold(0.0, f64::max);
                }
            }
        };
        rolling.run(series, |history| fit(history, &settings), seen)?;
        Ok(Self { from: part.start, upper })
    }

    /// Of the quantile at this place among [`QUANTILES`], at a step.
    pub(super) fn at(&self, quantile: usize, step: usize) -> Option<f64> {
        let upper = self.upper.get(quantile)?.get(step.checked_sub(self.from)?);
        upper.copied().filter(|upper| !upper.is_nan())
    }
}
