//! A forecast with its events: the distribution of a step times that of the uplift.
//!
//! The product of the two has no closed form. Taken as independent, their distances from the middle add like deviations, on
//! a logarithmic scale: `ln q(p) = ln(median) + mean +- sqrt(a(p)^2 + (z(p) deviation)^2)` with `a` the forecast's own distance
//! and `z` the normal quantile. Exact where the forecast is lognormal, and near it elsewhere; ordered and never negative.

use super::{EventModel, Uplift, normal};
use crate::forecaster::{Forecast, StepForecast};

/// Below this share of its median a low quantile of the forecast counts as this: a logarithm of zero is no distance.
const LOWEST_OF_MEDIAN: f64 = 1e-6;

/// A forecast in which events are accounted for.
#[derive(Debug, Clone, PartialEq)]
pub struct EventForecast {
    /// When the first forecast step begins, unix seconds.
    pub first_s: i64,
    /// Length of a step, seconds.
    pub step_s: u32,
    /// One per lead, nearest first.
    pub steps: Vec<EventStep>,
}

/// One step ahead, with what events do to it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventStep {
    /// The forecast without events.
    pub plain: StepForecast,
    /// What events do; `None` when none is on.
    pub uplift: Option<Uplift>,
}

impl EventStep {
    /// The rate that demand in this step does not exceed with probability `p`.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        self.lifted(|p| self.plain.quantile(p), p)
    }

    /// As [`StepForecast::steady_quantile`].
    #[must_use]
    pub fn steady_quantile(&self, p: f64) -> f64 {
        self.lifted(|p| self.plain.steady_quantile(p), p)
    }

    fn lifted(&self, plain: impl Fn(f64) -> f64, p: f64) -> f64 {
        match self.uplift {
            None => plain(p),
            Some(uplift) => product_quantile(plain(0.5), plain(p), uplift, p),
        }
    }
}

fn product_quantile(median: f64, quantile: f64, uplift: Uplift, p: f64) -> f64 {
    if median <= 0.0 {
        return quantile * uplift.factor();
    }
    let own = (quantile / median).max(LOWEST_OF_MEDIAN).ln();
    let distance = own.hypot(normal::quantile(p) * uplift.log_deviation);
    median * (uplift.log_mean + if p >= 0.5 { distance } else { -distance }).exp()
}

impl EventForecast {
    /// A forecast of a series that no event concerns.
    #[must_use]
    pub fn without_events(forecast: Forecast) -> Self {
        let Forecast { first_s, step_s, steps, .. } = forecast;
        Self { first_s, step_s, steps: steps.into_iter().map(|plain| EventStep { plain, uplift: None }).collect() }
    }
}

impl EventModel {
    /// Puts the events into a forecast that was made from the history [cleared](EventModel::cleared) of them.
    #[must_use]
    pub fn apply(&self, forecast: Forecast) -> EventForecast {
        let Forecast { first_s, step_s, steps, .. } = forecast;
        let with_event = |plain: StepForecast| EventStep { uplift: self.uplift(plain.start_s), plain };
        EventForecast { first_s, step_s, steps: steps.into_iter().map(with_event).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lognormals_multiply() {
        // Deviations 0.3 and 0.4 make 0.5.
        let (forecast, uplift) = (0.3, Uplift { log_mean: 0.7, log_deviation: 0.4 });
        let mut last = 0.0;
        for p in [0.001, 0.05, 0.4, 0.5, 0.6, 0.95, 0.999] {
            let z = normal::quantile(p);
            let quantile = product_quantile(10.0, 10.0 * (forecast * z).exp(), uplift, p);
            assert!((quantile / (10.0 * (0.7 + 0.5 * z).exp()) - 1.0).abs() < 1e-9, "{p}: {quantile}");
            assert!(quantile > last);
            last = quantile;
        }
    }

    #[test]
    fn no_demand_stays_none() {
        let uplift = Uplift { log_mean: 1.0, log_deviation: 0.5 };
        assert_eq!(product_quantile(0.0, 0.0, uplift, 0.99), 0.0);
        assert!(product_quantile(5.0, 0.0, uplift, 0.01) >= 0.0);
    }
}
