//! Ridge regression on lags, seasonal lags and calendar terms: one linear model per lead, each trained directly on what
//! came that many steps later (no step builds on a forecast, so errors do not pile up).
//!
//! Why a linear model: on hourly and five-minute demand it is as good as far costlier ones, and it fits in milliseconds.
//! smartcore's `RidgeRegression` solves it; the columns are standardised here, because smartcore's own scaling refuses
//! a constant column, and a constant column (a service that never changed) is an everyday thing.
//!
//! Training rows are capped at [`MAX_ROWS`]. They are then taken at a stride that shares no factor with the day, so that
//! over a few days every time of day is met: a stride of 4 would never see a burst that lives between two of its steps.
//!
//! What it does not do: it neither bounds its output ([`FittedModel`](super::FittedModel) does) nor estimates its error.

use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::ridge_regression::{RidgeRegression, RidgeRegressionParameters};

use serde::{Deserialize, Serialize};

use super::Model;
use super::lag_features::{Shape, compressed, expanded};
use crate::backtest::coprime_stride;
use crate::error::ModelError;
use crate::history::History;

/// Most training rows per lead: about fifteen rows for each of fifty weights from each of five weeks' worth of patterns;
/// more changes nothing but the time of the fit.
const MAX_ROWS: usize = 4_000;
/// Fewest training rows per feature; below, the weights are noise.
const ROWS_PER_FEATURE: usize = 3;
/// Ridge penalty per training row, on standardised columns: small, for the many lags are alike and need only be kept
/// from cancelling each other out.
const PENALTY_PER_ROW: f64 = 1e-3;
/// Weeks of history from which on the weekly features are used: one for the lag, two to tell a pattern from a week.
const WEEKS_FOR_WEEKLY: usize = 3;
/// The normaliser's floor as a share of the history's mean.
const FLOOR_OF_MEAN: f64 = 0.1;
/// The normaliser's floor for a history without any demand, in units per second.
const FLOOR_RATE_PER_S: f64 = 1e-6;
/// A column that varies less than this does not count as varying.
const MIN_DEVIATION: f64 = 1e-9;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LagRidge {
    shape: Shape,
    /// One per lead.
    lines: Vec<Line>,
}

/// A linear function of a row, in compressed normalised units.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    intercept: f64,
    weights: Vec<f64>,
}

impl LagRidge {
    pub(super) fn fit(history: &History, end: usize, horizon_steps: usize) -> Result<Self, ModelError> {
        let (day, week) = (history.day_steps(), history.week_steps());
        let weekly = end >= WEEKS_FOR_WEEKLY * week;
        let mean = history.mean(0, end).unwrap_or(0.0);
        let shape = Shape { weekly, floor: (FLOOR_OF_MEAN * mean).max(FLOOR_RATE_PER_S) };
        let first = if weekly { week } else { day };
        let stride = coprime_stride(end.saturating_sub(first), MAX_ROWS, day);
        let lines = (1..=horizon_steps)
            .map(|lead| {
                // The last origin whose target is still within the training part.
                let origins = (first..(end + 1).saturating_sub(lead)).step_by(stride);
                Line::fit(history, shape, origins, lead)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shape, lines })
    }
}

impl Model for LagRidge {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        let level = self.shape.normaliser(history, origin);
        let mut row = Vec::new();
        for ((line, point), lead) in self.lines.iter().zip(out).zip(1..) {
            row.clear();
            self.shape.push_row(history, origin, lead, &mut row);
            *point = level * expanded(line.at(&row));
        }
    }
}

impl Line {
    fn fit(
        history: &History,
        shape: Shape,
        origins: impl Iterator<Item = usize>,
        lead: usize,
    ) -> Result<Self, ModelError> {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for origin in origins {
            let target = origin + lead - 1;
            if let Some(actual) = history.value(target).filter(|_| history.known(target)) {
                targets.push(compressed(actual / shape.normaliser(history, origin)));
                shape.push_row(history, origin, lead, &mut rows);
            }
        }
        let count = targets.len();
        let width = rows.len() / count.max(1);
        let need = (ROWS_PER_FEATURE * width).max(1);
        if count < need {
            return Err(ModelError::TooFewRows { have: count, need });
        }

        let columns = standardise(&mut rows, width);
        let target_mean = targets.iter().sum::<f64>() / count as f64;
        for target in &mut targets {
            *target -= target_mean;
        }
        let refused = |message: String| ModelError::Solver { lead, message };
        let matrix = DenseMatrix::new(count, width, rows, false).map_err(|error| refused(error.to_string()))?;
        let parameters =
            RidgeRegressionParameters::default().with_alpha(PENALTY_PER_ROW * count as f64).with_normalize(false);
        let solved = RidgeRegression::fit(&matrix, &targets, parameters).map_err(|error| refused(error.to_string()))?;

        // Back from standardised columns to plain rows.
        let mut intercept = target_mean;
        let mut weights = Vec::with_capacity(width);
        for (index, column) in columns.iter().enumerate() {
            let weight = solved.coefficients().get((index, 0)) / column.deviation;
            intercept -= weight * column.mean;
            weights.push(weight);
        }
        if !intercept.is_finite() || weights.iter().any(|weight| !weight.is_finite()) {
            return Err(refused("a weight is not finite".to_owned()));
        }
        Ok(Self { intercept, weights })
    }

    fn at(&self, row: &[f64]) -> f64 {
        self.weights.iter().zip(row).map(|(weight, feature)| weight * feature).sum::<f64>() + self.intercept
    }
}

struct Column {
    mean: f64,
    /// 1 for a constant column, which standardises to zeros and so gets no weight.
    deviation: f64,
}

/// Brings each column of the row-wise matrix to mean 0 and deviation 1.
fn standardise(rows: &mut [f64], width: usize) -> Vec<Column> {
    let count = (rows.len() / width) as f64;
    let mut means = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for (mean, feature) in means.iter_mut().zip(row) {
            *mean += feature / count;
        }
    }
    let mut variances = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for ((variance, mean), feature) in variances.iter_mut().zip(&means).zip(row) {
            *variance += (feature - mean).powi(2) / count;
        }
    }
    let columns: Vec<Column> = means
        .into_iter()
        .zip(variances)
        .map(|(mean, variance)| {
            let deviation = variance.sqrt();
            Column { mean, deviation: if deviation > MIN_DEVIATION { deviation } else { 1.0 } }
        })
        .collect();
    for row in rows.chunks_exact_mut(width) {
        for (feature, column) in row.iter_mut().zip(&columns) {
            *feature = (*feature - column.mean) / column.deviation;
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn what_is_linear_in_the_features_is_found() {
        // Daily wave on a ramp: yesterday plus the ramp's growth, which no naive forecast can give.
        let rate = |hour: usize| 100.0 + hour as f64 + 40.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let history = History::new(&Series::new(0, 3600, (0..28 * 24).map(rate).collect()).unwrap());
        let model = LagRidge::fit(&history, history.len(), 3).unwrap();
        let mut out = [0.0; 3];
        model.forecast(&history, history.len(), &mut out);
        for (ahead, point) in out.iter().enumerate() {
            let actual = rate(history.len() + ahead);
            assert!((point / actual - 1.0).abs() < 0.02, "lead {}: {point} for {actual}", ahead + 1);
        }
    }

    #[test]
    fn too_few_rows_are_refused() {
        let history = History::new(&Series::new(0, 3600, vec![1.0; 40]).unwrap());
        let refused = LagRidge::fit(&history, 40, 2).unwrap_err();
        assert!(matches!(refused, ModelError::TooFewRows { have: 16, .. }), "{refused}");
        let refused = LagRidge::fit(&history, 10, 2).unwrap_err();
        assert!(matches!(refused, ModelError::TooFewRows { have: 0, .. }), "{refused}");
    }
}
