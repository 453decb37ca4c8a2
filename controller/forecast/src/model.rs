//! The forecasting models behind one trait, and the bounds that no forecast leaves.
//!
//! A model is fitted to the beginning of a history and then asked, from any later origin, for the next steps. It gives
//! points only; uncertainty is added outside, from what the points got wrong. So a model needs no distribution of its
//! own, and one that is badly wrong is merely given wide quantiles and loses the selection.
//!
//! [`FittedModel`] bounds what a model says: not a number becomes the last value, negative becomes zero, and anything
//! above [`EXPLOSION_FACTOR`] times the largest value ever seen becomes that. (A regression on a window that was flat
//! until a burst has been seen to forecast a thousand times the burst.)

mod lag_features;
mod lag_ridge;
mod last_value;
mod seasonal_naive;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::history::History;

/// No forecast, point or quantile, exceeds this many times the largest value in the history. Recurring bursts come back
/// at about their size; a reservation of more than three times anything ever seen would be an error of the model.
pub(crate) const EXPLOSION_FACTOR: f64 = 3.0;

/// A fitted model: points for the steps after an origin.
pub trait Model {
    /// Writes the forecasts for steps `origin`, `origin + 1`, ... into `out`, made from the values before `origin` only.
    /// `out` is at most as long as the horizon of the fit. `history` need not be the one that was fitted.
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]);

    /// Forecasts `steps` steps from each of the ascending `origins` and hands them to `visit`; the same figures as
    /// [`Model::forecast`] gives one by one. A model that has to walk through the history to know its state walks once.
    fn roll(&self, history: &History, origins: &[usize], steps: usize, visit: &mut dyn FnMut(usize, &mut [f64])) {
        let mut points = vec![0.0; steps];
        for &origin in origins {
            self.forecast(history, origin, &mut points);
            visit(origin, &mut points);
        }
    }
}

/// The models there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ModelKind {
    /// What was last.
    LastValue,
    /// What was there one season ago, a day or a week, whichever did better.
    SeasonalNaive,
    /// Ridge regression on lags, seasonal lags and calendar terms, one per lead.
    LagRidge,
}

impl ModelKind {
    /// Every model; baselines first, so that on a tie the simpler one is kept.
    pub const ALL: [Self; 3] = [Self::LastValue, Self::SeasonalNaive, Self::LagRidge];

    /// A model that needs no training, which any other has to beat before it is used.
    #[must_use]
    pub fn is_baseline(self) -> bool {
        matches!(self, Self::LastValue | Self::SeasonalNaive)
    }

    /// Name for logs, metrics and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LastValue => "last-value",
            Self::SeasonalNaive => "seasonal-naive",
            Self::LagRidge => "lag-ridge",
        }
    }

    /// Fits this model to the first `end` steps of `history`.
    ///
    /// # Errors
    /// The model has no use for so little history, or has no solution for it.
    pub fn fit(self, history: &History, end: usize, horizon_steps: usize) -> Result<FittedModel, ModelError> {
        let model = match self {
            Self::LastValue => Learned::LastValue(last_value::LastValue),
            Self::SeasonalNaive => Learned::SeasonalNaive(seasonal_naive::SeasonalNaive::fit(history, end)),
            Self::LagRidge => Learned::LagRidge(lag_ridge::LagRidge::fit(history, end, horizon_steps)?),
        };
        Ok(FittedModel { kind: self, model, max_seen: history.max_before(end) })
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What each kind of model has learned. An enum and not a trait object, so that a fitted model can be stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Learned {
    LastValue(last_value::LastValue),
    SeasonalNaive(seasonal_naive::SeasonalNaive),
    LagRidge(lag_ridge::LagRidge),
}

impl Learned {
    fn model(&self) -> &dyn Model {
        match self {
            Self::LastValue(model) => model,
            Self::SeasonalNaive(model) => model,
            Self::LagRidge(model) => model,
        }
    }
}

/// A fitted model whose forecasts are held within bounds. Serialised by what was learned, so that a stored one forecasts
/// the same bits; what stores it adds a version, since models change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FittedModel {
    kind: ModelKind,
    model: Learned,
    max_seen: f64,
}

impl FittedModel {
    /// Which model this is.
    #[must_use]
    pub fn kind(&self) -> ModelKind {
        self.kind
    }

    /// Bounded forecasts for the steps from `origin` on; see [`Model::forecast`].
    pub fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        self.model.model().forecast(history, origin, out);
        self.bound(history, origin, out);
    }

    /// Bounded forecasts of `steps` steps from each of the ascending `origins`; see [`Model::roll`].
    pub fn roll(&self, history: &History, origins: &[usize], steps: usize, mut visit: impl FnMut(usize, &[f64])) {
        self.model.model().roll(history, origins, steps, &mut |origin, points| {
            self.bound(history, origin, points);
            visit(origin, points);
        });
    }

    fn bound(&self, history: &History, origin: usize, points: &mut [f64]) {
        let ceiling = self.ceiling(history, origin);
        let last = last_value::before(history, origin);
        for point in points {
            *point = if point.is_finite() { point.clamp(0.0, ceiling) } else { last };
        }
    }

    /// What no forecast from `origin` exceeds.
    #[must_use]
    pub fn ceiling(&self, history: &History, origin: usize) -> f64 {
        EXPLOSION_FACTOR * self.max_seen.max(history.max_before(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn what_a_model_says_is_bounded() {
        let history = History::new(&Series::new(0, 3600, vec![1.0, 10.0, 4.0]).unwrap());
        let model = Learned::LastValue(last_value::LastValue);
        let fitted = FittedModel { kind: ModelKind::LastValue, model, max_seen: 2.0 };
        let mut points = [-5.0, 1e12, f64::NAN, 7.0];
        fitted.bound(&history, 3, &mut points);
        assert_eq!(points, [0.0, 30.0, 4.0, 7.0]);
    }
}
