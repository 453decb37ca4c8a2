//! What is forecast: the next steps, each a distribution.
//!
//! A step's distribution is a calibrated point, hedged with the last value's; beside it stand the naive one that it is
//! scored against, and the model's as it was fitted. These are values: what makes and teaches them is the
//! [`Forecaster`](super::Forecaster).

use std::sync::Arc;

use super::hedge::Hedged;
use crate::conformal::{Residual, ResidualQuantiles};
use crate::model::ModelKind;

/// Quantiles that a mean is taken over: the highest is the 99.5 %.
const MOMENT_LEVELS: u32 = 100;

/// The next steps after the history that it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// When the first forecast step begins, unix seconds: the end of the history.
    pub first_s: i64,
    /// Length of a step, calendar seconds.
    pub step_s: u32,
    /// The model that made it.
    pub model: ModelKind,
    /// One per lead, nearest first.
    pub steps: Vec<StepForecast>,
}

/// One step ahead, as a distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct StepForecast {
    /// When the step begins, unix seconds.
    pub start_s: i64,
    /// Steps ahead of the history: 1 is the step that begins where it ends.
    pub lead: usize,
    pub(super) own: Distribution,
    pub(super) naive: Distribution,
    pub(super) hedged: Option<Hedged>,
    /// What each member of a combination says.
    pub(super) members: Vec<f64>,
    /// What the model would say had nothing happened since it was fitted.
    pub(super) steady_point: f64,
}

/// A point with calibrated residuals around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    pub(super) point: f64,
    pub(super) scale: f64,
    pub(super) floor: f64,
    pub(super) ceiling: f64,
    pub(super) high: bool,
    /// What quantiles above the median are stretched by.
    pub(super) width: f64,
    pub(super) residuals: Arc<ResidualQuantiles>,
}

impl Distribution {
    /// The value that is not exceeded with probability `p`; finite, not negative, and not falling when `p` rises.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        let residual = self.residuals.quantile(p);
        let stretched = if p > 0.5 {
            let median = self.residuals.quantile(0.5);
            median + self.width * (residual - median)
        } else {
            residual
        };
        (self.point + self.scale * stretched).clamp(self.floor, self.ceiling)
    }

    /// Scaled onto a lower mean or shifted onto a higher one, so that it gets neither negative nor wider.
    fn move_mean(&mut self, from: f64, to: f64) {
        if to < from {
            let factor = to / from;
            for part in [&mut self.point, &mut self.scale, &mut self.floor, &mut self.ceiling] {
                *part *= factor;
            }
        } else {
            for part in [&mut self.point, &mut self.floor, &mut self.ceiling] {
                *part += to - from;
            }
        }
    }

    pub(super) fn normalised_residual(&self, actual: f64) -> Residual {
        Residual { value: (actual - self.point) / self.scale, high: self.high }
    }
}

impl StepForecast {
    /// The rate that demand in this step does not exceed with probability `p`, 0 < p < 1. Probabilities outside are
    /// taken as the nearest inside.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        match &self.hedged {
            Some(Hedged { last, share_of_own }) if *share_of_own < 1.0 => {
                share_of_own * self.own.quantile(p) + (1.0 - share_of_own) * last.quantile(p)
            }
            _ => self.own.quantile(p),
        }
    }

    /// As [`StepForecast::quantile`], of the model as it was fitted: not hedged, with the weights and at least the width that
    /// held-out history gave. This is what demand is judged by, and so must not follow what is odd about it.
    #[must_use]
    pub fn steady_quantile(&self, p: f64) -> f64 {
        let steady = Distribution { point: self.steady_point, width: self.own.width.max(1.0), ..self.own.clone() };
        steady.quantile(p)
    }

    /// What the model says before its bias is corrected and the last value is heard; the middle of the forecast is
    /// `quantile(0.5)`.
    #[must_use]
    pub fn point(&self) -> f64 {
        self.own.point
    }

    /// The mean demand: what forecasts of parts and of their sum can agree in.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.moments().0
    }

    /// Mean and variance, over evenly spaced quantiles.
    pub(crate) fn moments(&self) -> (f64, f64) {
        let levels = (0..MOMENT_LEVELS).map(|level| (f64::from(level) + 0.5) / f64::from(MOMENT_LEVELS));
        let quantiles: Vec<f64> = levels.map(|p| self.quantile(p)).collect();
        let mean = quantiles.iter().sum::<f64>() / f64::from(MOMENT_LEVELS);
        let squares: f64 = quantiles.iter().map(|value| (value - mean).powi(2)).sum();
        (mean, squares / f64::from(MOMENT_LEVELS))
    }

    /// What a normalised residual amounts to in this step.
    pub(crate) fn error(&self, residual: f64) -> f64 {
        self.own.scale * residual
    }

    /// Moves the distribution so that its mean goes from `from`, where it is, to `to`.
    pub(crate) fn move_mean(&mut self, from: f64, to: f64) {
        self.own.move_mean(from, to);
        if let Some(hedged) = &mut self.hedged {
            hedged.last.move_mean(from, to);
        }
    }

    /// What the naive model that this one is measured against says.
    #[must_use]
    pub fn naive(&self) -> &Distribution {
        &self.naive
    }
}

impl Forecast {
    /// The same forecast with all of its distribution moved by `by`, by lead, nearest first; leads beyond are left. What is
    /// not finite moves nothing.
    #[must_use]
    pub fn shifted(mut self, by: &[f64]) -> Self {
        for (step, by) in self.steps.iter_mut().zip(by).filter(|(_, by)| by.is_finite()) {
            step.own.point += by;
            if let Some(hedged) = &mut step.hedged {
                hedged.last.point += by;
            }
        }
        self
    }
}
