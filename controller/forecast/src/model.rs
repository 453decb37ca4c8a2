//! The forecasting models behind one trait, and the bounds that no forecast leaves.
//!
//! A model is fitted to the beginning of a history and then asked, from any later origin, for the next steps. It gives
//! points only; uncertainty is added outside, from what the points got wrong. So a model needs no distribution of its
//! own, and one that is badly wrong is merely given wide quantiles and loses the selection.
//!
//! [`FittedModel`] bounds what a model says: not a number becomes the last value, negative becomes zero, and anything
//! above [`EXPLOSION_FACTOR`] times the largest value ever seen becomes that. (A regression on a window that was flat
//! until a burst has been seen to forecast a thousand times the burst.)

mod arima;
mod boosted_trees;
pub(crate) mod combination;
mod count_regression;
mod decomposition;
mod deviation_ridge;
mod elastic_net;
mod ets;
mod flat_trees;
mod forest;
mod intermittent;
mod kind;
mod lag_features;
mod lag_model;
mod lag_ridge;
mod last_value;
mod lstm;
mod mstl;
mod nelder_mead;
pub(crate) mod prophet;
pub(crate) mod ridge;
mod seasonal_naive;
mod seasonal_profile;
mod smoothing;
mod standard;
mod support_vectors;
mod theta;
mod walk;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::history::History;
use crate::network::GlobalNetwork;
use combination::{Combination, Member};
use deviation_ridge::{Base, DeviationRidge};
pub use kind::ModelKind;
pub(crate) use lag_features::Shape;
use lag_model::{Direct, Recursive};
use smoothing::Smoother;

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

/// What models may draw on beside the series itself.
#[derive(Debug, Clone, Default)]
pub struct Globals {
    /// A network trained on many series.
    pub network: Option<Arc<GlobalNetwork>>,
}

impl ModelKind {
    fn fit_prophet(self, history: &History, end: usize, horizon_steps: usize) -> Result<prophet::Prophet, ModelError> {
        let options = prophet::ProphetOptions { carry_last_miss: self == Self::ProphetCarried, ..Default::default() };
        prophet::Prophet::fit(history, end, horizon_steps, &options)
    }

    /// Fits this model to the first `end` steps of `history`.
    ///
    /// # Errors
    /// The model has no use for so little history, or has no solution for it.
    pub fn fit(self, history: &History, end: usize, horizon_steps: usize) -> Result<FittedModel, ModelError> {
        self.fit_with(&Globals::default(), history, end, horizon_steps)
    }

    /// As [`ModelKind::fit`], for models that draw on more than the series.
    ///
    /// # Errors
    /// As [`ModelKind::fit`], and what is given forecasts fewer steps or has already seen what comes after `end`.
    pub fn fit_with(
        self,
        globals: &Globals,
        history: &History,
        end: usize,
        horizon_steps: usize,
    ) -> Result<FittedModel, ModelError> {
        let model = match self {
            Self::LastValue => Learned::LastValue(last_value::LastValue),
            Self::SeasonalNaive => Learned::SeasonalNaive(seasonal_naive::SeasonalNaive::fit(history, end)),
            Self::LagRidge => Learned::LagRidge(lag_ridge::LagRidge::fit(history, end, horizon_steps)?),
            Self::LevelRidge => Self::deviation_ridge(Base::Level, history, end, horizon_steps)?,
            Self::YesterdayRidge => Self::deviation_ridge(Base::Yesterday, history, end, horizon_steps)?,
            Self::DaysRidge => Self::deviation_ridge(Base::Days, history, end, horizon_steps)?,
            Self::WeeksRidge => Self::deviation_ridge(Base::Weeks, history, end, horizon_steps)?,
            Self::Combination => return Err(ModelError::MadeBySelection),
            Self::SeasonalProfile => {
                Learned::SeasonalProfile(seasonal_profile::SeasonalProfile::fit(history, end, horizon_steps))
            }
            Self::Ets => Learned::Ets(ets::fit(history, end, horizon_steps)?),
            Self::Mstl => Learned::Mstl(mstl::fit(history, end, horizon_steps)?),
            Self::Theta => Learned::Theta(theta::Theta::fit(history, end, horizon_steps)?),
            Self::Intermittent => Learned::Intermittent(intermittent::Intermittent::fit(history, end, horizon_steps)),
            Self::CountRegression => {
                Learned::CountRegression(count_regression::CountRegression::fit(history, end, horizon_steps)?)
            }
            Self::ElasticNet => Learned::ElasticNet(Direct::fit(history, end, horizon_steps)?),
            Self::ElasticNetRecursive => Learned::ElasticNetRecursive(Recursive::fit(history, end)?),
            Self::RandomForest => Learned::RandomForest(Direct::fit(history, end, horizon_steps)?),
            Self::ExtraTrees => Learned::ExtraTrees(Direct::fit(history, end, horizon_steps)?),
            Self::BoostedTrees => Learned::BoostedTrees(Direct::fit(history, end, horizon_steps)?),
            Self::SupportVectors => Learned::SupportVectors(Direct::fit(history, end, horizon_steps)?),
            Self::Lstm => Learned::Lstm(lstm::Lstm::fit(globals, history, end, horizon_steps)?),
            Self::Prophet | Self::ProphetCarried => Learned::Prophet(self.fit_prophet(history, end, horizon_steps)?),
            Self::Arima => Learned::Arima(arima::Arima::fit(history, end)?),
        };
        Ok(FittedModel { kind: self, model, max_seen: history.max_before(end) })
    }

    fn deviation_ridge(base: Base, history: &History, end: usize, horizon_steps: usize) -> Result<Learned, ModelError> {
        DeviationRidge::fit(base, history, end, horizon_steps).map(Learned::DeviationRidge)
    }
}

/// What each kind of model has learned. An enum and not a trait object, so that a fitted model can be stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Learned {
    LastValue(last_value::LastValue),
    SeasonalNaive(seasonal_naive::SeasonalNaive),
    LagRidge(lag_ridge::LagRidge),
    DeviationRidge(DeviationRidge),
    Combination(Combination),
    SeasonalProfile(seasonal_profile::SeasonalProfile),
    Ets(Smoother),
    Mstl(Smoother),
    Theta(theta::Theta),
    Intermittent(intermittent::Intermittent),
    CountRegression(count_regression::CountRegression),
    ElasticNet(Direct<elastic_net::ElasticNet>),
    ElasticNetRecursive(Recursive<elastic_net::ElasticNet>),
    RandomForest(Direct<forest::Forest<forest::Bagged>>),
    ExtraTrees(Direct<forest::Forest<forest::Extra>>),
    BoostedTrees(Direct<boosted_trees::BoostedTrees>),
    SupportVectors(Direct<support_vectors::SupportVectors>),
    Lstm(lstm::Lstm),
    Prophet(prophet::Prophet),
    Arima(arima::Arima),
}

impl Learned {
    fn model(&self) -> &dyn Model {
        match self {
            Self::LastValue(model) => model,
            Self::SeasonalNaive(model) => model,
            Self::LagRidge(model) => model,
            Self::DeviationRidge(model) => model,
            Self::Combination(model) => model,
            Self::SeasonalProfile(model) => model,
            Self::Ets(model) | Self::Mstl(model) => model,
            Self::Theta(model) => model,
            Self::Intermittent(model) => model,
            Self::CountRegression(model) => model,
            Self::ElasticNet(model) => model,
            Self::ElasticNetRecursive(model) => model,
            Self::RandomForest(model) => model,
            Self::ExtraTrees(model) => model,
            Self::BoostedTrees(model) => model,
            Self::SupportVectors(model) => model,
            Self::Lstm(model) => model,
            Self::Prophet(model) => model,
            Self::Arima(model) => model,
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
    /// The weighted mean of fitted models.
    pub(crate) fn combined(combination: Combination, history: &History) -> Self {
        let max_seen = history.max_before(history.len());
        Self { kind: ModelKind::Combination, model: Learned::Combination(combination), max_seen }
    }

    /// What a combination is made of; `None` for any other model.
    pub(crate) fn members(&self) -> Option<&[Member]> {
        match &self.model {
            Learned::Combination(combination) => Some(combination.members()),
            _ => None,
        }
    }

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
