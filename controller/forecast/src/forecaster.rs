//! A fitted forecaster: cheap to ask at every step, and corrected by what then came.
//!
//! The round is: `predict` from the newest history, keep the forecast, and when a step's value is known hand both to
//! `observe`. That adds the miss to the residuals from which the next quantiles are made, and scores the forecast against
//! the naive one that was made at the same moment. A refit gives a new forecaster; [`Forecaster::take_over_live_score`]
//! lets it go on with the old one's record, while its residuals come afresh from the backtest, which by then holds the
//! live period too.
//!
//! What is forecast is the model's distribution, hedged with the last value's ([`LastValueHedge`]);
//! a combination's weights follow what its members lost lately ([`Members`]).

mod forecast;
mod hedge;
mod members;

pub use forecast::{Distribution, Forecast, StepForecast};
pub(crate) use hedge::LastValueHedge;

use self::members::Members;
use crate::calendar::WEEK_S;
use crate::conformal::LeadResiduals;
use crate::error::ForecastError;
use crate::history::History;
use crate::live::{ForecastPair, LiveScore};
use crate::model::FittedModel;
use crate::paths::ResidualVectors;
use crate::scale::{ScaleKind, Surroundings};
use crate::selection::{SelectionReport, Settings};
use crate::series::Series;

/// Weeks of recent history that a forecast looks at; older values change nothing.
const RECENT_WEEKS: i64 = 5;

/// A fitted model with its calibration; see the module's text.
#[derive(Debug, Clone)]
pub struct Forecaster {
    step_s: u32,
    horizon_steps: usize,
    upper_quantile: f64,
    mean_level: f64,
    own: Channel,
    naive: Channel,
    /// Absent where the model was asked for, or is the last value itself.
    hedge: Option<LastValueHedge>,
    vectors: ResidualVectors,
    live: LiveScore,
    report: SelectionReport,
}

/// A model, its scale and its residuals by lead.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub(crate) model: FittedModel,
    pub(crate) scale: ScaleKind,
    pub(crate) residuals: Vec<LeadResiduals>,
    /// Where the model is a combination.
    members: Option<Members>,
}

impl Forecaster {
    pub(crate) fn new(
        series: &Series,
        settings: &Settings,
        mean_level: f64,
        [own, naive]: [Channel; 2],
        hedge: Option<LastValueHedge>,
        vectors: ResidualVectors,
        report: SelectionReport,
    ) -> Self {
        let &Settings { horizon_steps, upper_quantile, .. } = settings;
        let live = LiveScore::new(upper_quantile, series.day_steps(), horizon_steps);
        let step_s = series.step_s();
        Self { step_s, horizon_steps, upper_quantile, mean_level, own, naive, hedge, vectors, live, report }
    }

    /// Steps of history that a forecast uses; a shorter one does, at a loss of accuracy, and a longer one is cut.
    #[must_use]
    pub fn recent_steps(&self) -> usize {
        (RECENT_WEEKS * WEEK_S / i64::from(self.step_s)) as usize
    }

    /// Forecasts the steps after `recent`, the newest history. Missing values are allowed, at its end too.
    ///
    /// # Errors
    /// `recent` has another step than the history of the fit.
    pub fn predict(&self, recent: &Series) -> Result<Forecast, ForecastError> {
        if recent.step_s() != self.step_s {
            return Err(ForecastError::StepMismatch { fitted_s: self.step_s, got_s: recent.step_s() });
        }
        let cut = recent.slice(recent.len().saturating_sub(self.recent_steps()), recent.len());
        let history = History::new(cut.as_ref().unwrap_or(recent));
        let distributions = |channel: &Channel| {
            let points = channel.points(&history, self.horizon_steps);
            channel.around(&points, &history, self.mean_level)
        };
        let members = Members::points(&self.own.model, &history, history.len(), self.horizon_steps);
        let own = match &self.own.members {
            Some(weights) => {
                let points: Vec<f64> = (1..).zip(&members).map(|(lead, points)| weights.mean(lead, points)).collect();
                self.own.around(&points, &history, self.mean_level)
            }
            None => distributions(&self.own),
        };
        let steady_point = |lead: usize, own: &Distribution, members: &[f64]| match &self.own.members {
            Some(weights) => weights.prior_mean(lead, members),
            None => own.point,
        };
        let naive = distributions(&self.naive);
        let hedge = self.hedge.as_ref();
        let mut last = hedge.map(|hedge| hedge.last.as_ref().map_or_else(|| naive.clone(), distributions).into_iter());
        let steps = (1..)
            .zip(own.into_iter().zip(naive).zip(members))
            .map(|(lead, ((own, naive), members))| {
                let hedged = hedge.zip(last.as_mut().and_then(Iterator::next));
                let hedged = hedged.map(|(hedge, last)| hedge.hedged(lead, last));
                let steady_point = steady_point(lead, &own, &members);
                let start_s = recent.at_s(recent.len() + lead - 1);
                StepForecast { start_s, lead, own, naive, hedged, members, steady_point }
            })
            .collect();
        Ok(Forecast { first_s: recent.end_s(), step_s: self.step_s, model: self.own.model.kind(), steps })
    }

    /// Takes in what came of a forecast step. A missing value (NaN) or one that is no rate teaches nothing.
    pub fn observe(&mut self, forecast: &StepForecast, actual: f64) {
        if !actual.is_finite() || actual < 0.0 {
            return;
        }
        let pair = |quantile: &dyn Fn(f64) -> f64| ForecastPair::of(self.upper_quantile, quantile);
        let naive = pair(&|p| forecast.naive.quantile(p));
        self.live.record(pair(&|p| forecast.quantile(p)), naive, actual);
        self.own.observe(forecast.lead, &forecast.own, self.upper_quantile, actual);
        self.naive.observe(forecast.lead, &forecast.naive, self.upper_quantile, actual);
        if let (Some(hedge), Some(hedged)) = (&mut self.hedge, &forecast.hedged) {
            hedge.observe(forecast, hedged, self.upper_quantile, actual);
        }
        if let Some(members) = &mut self.own.members {
            members.observe(forecast.lead, forecast.start_s, &forecast.members, actual);
        }
        let origin_s = forecast.start_s - (forecast.lead as i64 - 1) * i64::from(self.step_s);
        self.vectors.add(origin_s, forecast.lead, forecast.own.normalised_residual(actual).value);
    }

    /// Goes on with the live record of the forecaster that this one replaces, if it was kept for the same horizon, step
    /// and quantile.
    pub fn take_over_live_score(&mut self, replaced: &Self) {
        if self.live.is_alike(&replaced.live) {
            self.live = replaced.live.clone();
            self.own.take_over(&replaced.own);
            self.naive.take_over(&replaced.naive);
            if let (Some(hedge), Some(replaced)) = (&mut self.hedge, &replaced.hedge) {
                hedge.take_over(replaced);
            }
        }
    }

    /// How live forecasts have done lately, for the quality gate and for metrics.
    #[must_use]
    pub fn live(&self) -> &LiveScore {
        &self.live
    }

    /// Whether lately the naive forecast has been the better one; see [`LiveScore::is_worse_than_naive`].
    #[must_use]
    pub fn is_worse_than_naive(&self) -> bool {
        self.live.is_worse_than_naive()
    }

    /// The model that forecasts, as it can be stored.
    #[must_use]
    pub fn model(&self) -> &FittedModel {
        &self.own.model
    }

    /// How its misses belong together, over leads and with other series'.
    pub(crate) fn residual_vectors(&self) -> &ResidualVectors {
        &self.vectors
    }

    /// What the selection saw and chose.
    #[must_use]
    pub fn report(&self) -> &SelectionReport {
        &self.report
    }
}

impl Channel {
    pub(crate) fn new(model: FittedModel, step_s: i64, scale: ScaleKind, residuals: Vec<LeadResiduals>) -> Self {
        let members = Members::of(&model, step_s);
        Self { model, scale, residuals, members }
    }

    fn points(&self, history: &History, horizon_steps: usize) -> Vec<f64> {
        let mut points = vec![0.0; horizon_steps];
        self.model.forecast(history, history.len(), &mut points);
        points
    }

    /// Distributions around the points that are forecast after `history`.
    fn around(&self, points: &[f64], history: &History, mean_level: f64) -> Vec<Distribution> {
        let origin = history.len();
        let ceiling = self.model.ceiling(history, origin);
        let targets = origin..;
        points
            .iter()
            .zip(targets)
            .zip(&self.residuals)
            .map(|((&point, target), residuals)| {
                let around = Surroundings::of(history, origin, target, mean_level);
                let (high, scale) = (around.burst_expected(point), around.scale(self.scale, point));
                let width = residuals.width(high);
                Distribution { point, scale, floor: 0.0, ceiling, high, width, residuals: residuals.quantiles(high) }
            })
            .collect()
    }

    fn observe(&mut self, lead: usize, forecast: &Distribution, upper_quantile: f64, actual: f64) {
        if let Some(residuals) = lead.checked_sub(1).and_then(|index| self.residuals.get_mut(index)) {
            residuals.observe_coverage(forecast.high, upper_quantile, actual <= forecast.quantile(upper_quantile));
            residuals.push(forecast.normalised_residual(actual));
        }
    }

    fn take_over(&mut self, replaced: &Self) {
        if let (Some(members), Some(replaced)) = (&mut self.members, &replaced.members) {
            members.take_over(replaced);
        }
        for (residuals, replaced) in self.residuals.iter_mut().zip(&replaced.residuals) {
            residuals.take_over_widths(replaced);
        }
    }
}
