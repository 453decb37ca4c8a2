//! What comes new with each step of a series: the one-step errors of its own model, without what they repeat.
//!
//! The model is the lag ridge: last values, same time on other days, calendar. It is fitted to what lies before the second
//! half, so the errors of that half are those of a live model. What it leaves is still a little autocorrelated, and then a
//! correlation at lag 0 would show at lag 1 too; so an autoregression of the errors takes that out (prewhitening).

use nalgebra::{Cholesky, DMatrix, DVector};

use super::MAX_STEPS;
use crate::error::ModelError;
use crate::history::History;
use crate::model::{FittedModel, ModelKind};
use crate::series::Series;

/// What a series is modelled by on its own.
pub(super) const OWN_MODEL: ModelKind = ModelKind::LagRidge;
/// Order of the autoregression of its errors.
const WHITENING_ORDER: usize = 8;

/// A fitted model of one series and what it was surprised by.
#[derive(Debug, Clone)]
pub(super) struct Innovations {
    pub(super) whitener: Whitener,
    /// Before and after the split, oldest first; NaN where a value was missing.
    pub(super) halves: [Vec<f64>; 2],
}

/// Turns a history into innovations.
#[derive(Debug, Clone)]
pub(super) struct Whitener {
    model: FittedModel,
    /// Of the errors on those before, nearest first.
    weights: Vec<f64>,
}

impl Innovations {
    pub(super) fn of(series: &Series) -> Result<Self, ModelError> {
        let history = History::new(series);
        let steps = window(&history);
        let middle = steps.start + steps.len() / 2;
        let model = OWN_MODEL.fit(&history, middle, 1)?;
        let errors = errors(&model, &history, steps.clone());
        let weights = autoregression(&errors[..middle - steps.start]);
        let mut white = whitened(&errors, &weights);
        let later = white.split_off(middle - steps.start);
        Ok(Self { whitener: Whitener { model, weights }, halves: [white, later] })
    }
}

impl Whitener {
    /// The innovations of the last `count` steps before `end`; fewer if the history is shorter.
    pub(super) fn before(&self, history: &History, end: usize, count: usize) -> Vec<f64> {
        let end = end.min(history.len());
        let from = end.saturating_sub(count + WHITENING_ORDER);
        let mut white = whitened(&errors(&self.model, history, from..end), &self.weights);
        white.split_off(white.len().saturating_sub(count))
    }
}

/// What `weights` on the values before, nearest first, do not say of each; NaN where it is missing.
pub(super) fn whitened(values: &[f64], weights: &[f64]) -> Vec<f64> {
    (0..values.len())
        .map(|at| {
            let before = values[..at].iter().rev();
            let repeated: f64 = before.zip(weights).filter(|(value, _)| !value.is_nan()).map(|(v, w)| v * w).sum();
            values[at] - repeated
        })
        .collect()
}

/// The steps that are looked at: the last ones, not the first day, whose seasonal features are not from the history.
pub(super) fn window(history: &History) -> std::ops::Range<usize> {
    history.len().saturating_sub(MAX_STEPS).max(history.day_steps())..history.len()
}

/// One-step errors; NaN where the value was missing.
fn errors(model: &FittedModel, history: &History, steps: std::ops::Range<usize>) -> Vec<f64> {
    let origins: Vec<usize> = steps.collect();
    let mut errors = Vec::with_capacity(origins.len());
    model.roll(history, &origins, 1, |origin, points| {
        let actual = history.value(origin).filter(|_| history.known(origin));
        errors.push(actual.unwrap_or(f64::NAN) - points.first().copied().unwrap_or(0.0));
    });
    errors
}

/// Yule-Walker: the autocovariance matrix is positive definite as long as there is any variance.
pub(super) fn autoregression(errors: &[f64]) -> Vec<f64> {
    let covariances = autocovariances(errors, WHITENING_ORDER);
    let matrix = DMatrix::from_fn(WHITENING_ORDER, WHITENING_ORDER, |a, b| covariances[a.abs_diff(b)]);
    let right = DVector::from_iterator(WHITENING_ORDER, covariances[1..].iter().copied());
    Cholesky::new(matrix).map_or_else(|| vec![0.0; WHITENING_ORDER], |factor| factor.solve(&right).as_slice().to_vec())
}

/// Lags 0 to `order`; what is missing counts as zero.
pub(super) fn autocovariances(values: &[f64], order: usize) -> Vec<f64> {
    let known = |value: f64| if value.is_nan() { 0.0 } else { value };
    let at = |lag: usize| -> f64 {
        values.iter().zip(values.get(lag..).unwrap_or_default()).map(|(a, b)| known(*a) * known(*b)).sum()
    };
    (0..=order).map(at).collect()
}
