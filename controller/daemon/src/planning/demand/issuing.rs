//! The forecasts that are issued for steps to come, each of which waits for its step to be over.

use std::collections::BTreeMap;

use forebay_forecast::{ForecastError, Series, SeriesError};

use super::belief::Anomalous;
use super::{Issued, KeyDemand, SPARE_LEADS};
use crate::config::Quantiles;

impl KeyDemand {
    /// Forecasts the steps from `now_step` on. `known_to` is the first step whose value is not known yet; `estimate`
    /// stands in for the step before `now_step` when only part of it has been reported.
    ///
    /// # Errors
    /// The forecaster or the history refused; the forecasts made before stay.
    pub(crate) fn forecast(&mut self, now_step: i64, known_to: i64, estimate: Option<f64>) -> Result<(), DemandError> {
        self.learn_events(now_step)?;
        let Some(fitted) = &self.fitted else {
            self.forecast_borrowed(now_step);
            return Ok(());
        };
        let recent = fitted.forecaster.recent_steps() as i64;
        let from = (now_step - recent).max(self.first_step);
        let mut values = self.believed_between(from..known_to.min(now_step), Anomalous::Capped)?;
        values.resize(usize::try_from(now_step - from).unwrap_or(0), f64::NAN);
        if let (Some(estimate), Some(last)) = (estimate, values.last_mut()) {
            *last = self.capped_estimate(now_step - 1, estimate);
        }
        let missing = values.iter().rev().take_while(|value| value.is_nan()).count();
        if missing <= SPARE_LEADS {
            values.truncate(values.len() - missing);
        }
        let series = Series::new(from * i64::from(self.step_s), self.step_s, values)?;
        let cleared = self.events.cleared(series);
        let forecast = self.events.applied(fitted.forecaster.predict(&cleared)?);
        let mut shadows = self.life.shadows(&cleared);
        for step_forecast in &forecast.steps {
            let in_event = step_forecast.uplift.is_some();
            let shadow = shadows.next().filter(|_| !in_event);
            let step = step_forecast.plain.start_s.div_euclid(i64::from(self.step_s));
            if step < now_step {
                continue;
            }
            let issued = Issued {
                at_step: now_step,
                version: fitted.version,
                point: step_forecast.quantile(0.5),
                upper: step_forecast.quantile(self.quantiles.upper),
                bought: step_forecast.quantile(self.quantiles.shadow),
                lead: step_forecast.plain.lead,
                forecast: (!in_event).then(|| step_forecast.plain.clone()),
                shadow,
            };
            issue(&mut self.issued, step, issued);
        }
        self.ahead = Some(forecast);
        Ok(())
    }

    /// A key without a forecaster is forecast from others, if there are enough.
    fn forecast_borrowed(&mut self, now_step: i64) {
        let Some(borrowed) = self.life.borrowed() else { return };
        let Quantiles { shadow, upper } = self.quantiles;
        let issued = |lead: usize| {
            let at_s = (now_step + lead as i64 - 1) * i64::from(self.step_s);
            let [point, upper, bought] = [0.5, upper, shadow].map(|p| borrowed.start.quantile(at_s, p));
            let version = borrowed.version;
            Issued { at_step: now_step, version, point, upper, bought, lead, forecast: None, shadow: None }
        };
        let all: Vec<Issued> = (1..=borrowed.horizon_steps).map(issued).collect();
        for (step, issued) in (now_step..).zip(all) {
            issue(&mut self.issued, step, issued);
        }
    }
}

/// Made again within one step, after a fit, the newer one stands.
fn issue(all: &mut BTreeMap<i64, Vec<Issued>>, step: i64, issued: Issued) {
    let of_step = all.entry(step).or_default();
    of_step.retain(|earlier| earlier.at_step != issued.at_step);
    of_step.push(issued);
}

/// Why no forecast was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemandError {
    #[error("lay out recent demand: {0}")]
    Series(#[from] SeriesError),
    #[error("forecast from recent demand: {0}")]
    Forecast(#[from] ForecastError),
}
