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
use std::sync::Arc;

use crate::error::ModelError;
use crate::history::History;

/// No forecast, point or quantile, exceeds this many times the largest value in the history. Recurring bursts come back
/// at about their size; a reservation of more than three times anything ever seen would be an error of the model.
pub(crate) const EXPLOSION_FACTOR: f64 = 3.0;

/// A fitted model: points for the steps after an origin.
pub trait Model: fmt::Debug + Send + Sync {
    /// Writes the forecasts for steps `origin`, `origin + 1`, ... into `out`, made from the values before `origin` only.
    /// `out` is at most as long as the horizon of the fit. `history` need not be the one that was fitted.
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]);
}

/// The models there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
        let model: Arc<dyn Model> = match self {
            Self::LastValue => Arc::new(last_value::LastValue),
            Self::SeasonalNaive => Arc::new(seasonal_naive::SeasonalNaive::fit(history, end)),
            Self::LagRidge => Arc::new(lag_ridge::LagRidge::fit(history, end, horizon_steps)?),
        };
        Ok(FittedModel { kind: self, model, max_seen: history.max_before(end) })
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fitted model whose forecasts are held within bounds.
#[derive(Debug, Clone)]
pub struct FittedModel {
    kind: ModelKind,
    model: Arc<dyn Model>,
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
        self.model.forecast(history, origin, out);
        let ceiling = self.ceiling(history, origin);
        let last = last_value::before(history, origin);
        for point in out {
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

    #[derive(Debug)]
    struct Wild;

    impl Model for Wild {
        fn forecast(&self, _: &History, _: usize, out: &mut [f64]) {
            out.copy_from_slice(&[-5.0, 1e12, f64::NAN, 7.0]);
        }
    }

    #[test]
    fn what_a_model_says_is_bounded() {
        let history = History::new(&Series::new(0, 3600, vec![1.0, 10.0, 4.0]).unwrap());
        let fitted = FittedModel { kind: ModelKind::LagRidge, model: Arc::new(Wild), max_seen: 2.0 };
        let mut out = [0.0; 4];
        fitted.forecast(&history, 3, &mut out);
        assert_eq!(out, [0.0, 30.0, 4.0, 7.0]);
    }
}
