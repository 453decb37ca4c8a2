//! Ridge regression on lags, seasonal lags and calendar terms: one linear model per lead, each trained directly on what
//! came that many steps later (no step builds on a forecast, so errors do not pile up).
//!
//! Why a linear model: on hourly and five-minute demand it is as good as far costlier ones, and it fits in milliseconds.
//! Columns are standardised; a constant column (a service that never changed) is an everyday thing and gets no weight.
//! Far leads are hardly different from their neighbours, so lines are solved at ever wider distances and what lies between
//! two is forecast by both.
//!
//! Training rows are capped at [`MAX_ROWS`]. They are then taken at a stride that shares no factor with the day, so that
//! over a few days every time of day is met: a stride of 4 would never see a burst that lives between two of its steps.
//!
//! What it does not do: it neither bounds its output ([`FittedModel`](super::FittedModel) does) nor estimates its error.

use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use super::lag_features::{Features, Shape};
use super::standard::standardise;
use super::{Model, ridge};
use crate::backtest::coprime_stride;
use crate::error::ModelError;
use crate::history::History;

/// Most training rows per lead: forty for each of fifty weights; more changes little but the time of the fit.
const MAX_ROWS: usize = 1_000;
/// Fewest training rows per feature; below, the weights are noise.
const ROWS_PER_FEATURE: usize = 3;
/// Ridge penalty per training row, on standardised columns: small, for the many lags are alike and need only be kept
/// from cancelling each other out.
const PENALTY_PER_ROW: f64 = 1e-3;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LagRidge {
    shape: Shape,
    /// By lead, ascending from 1 to the horizon.
    lines: Vec<(usize, Line)>,
}

/// A linear function of a row, giving a logarithm above the level.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    intercept: f64,
    weights: Vec<f64>,
}

impl LagRidge {
    pub(super) fn fit(history: &History, end: usize, horizon_steps: usize) -> Result<Self, ModelError> {
        let shape = Shape::of(history, end);
        let first = shape.first_origin(history);
        let stride = coprime_stride(end.saturating_sub(first), MAX_ROWS, history.day_steps());
        let mut features = Features::of_many(shape, history);
        let mut rows = Vec::new();
        let origins: Vec<usize> = (first..end).step_by(stride).collect();
        origins.iter().for_each(|&origin| features.push_recent(origin, &mut rows));
        let width = (rows.len() / origins.len().max(1)).max(1);
        let origins: Vec<(usize, &[f64])> = origins.into_iter().zip(rows.chunks(width)).collect();
        let lines = solved_leads(horizon_steps)
            .into_iter()
            .map(|lead| {
                // Up to the last origin whose target is still within the training part.
                let within = origins.partition_point(|(origin, _)| origin + lead <= end);
                Ok((lead, Line::fit(history, &mut features, &origins[..within], lead)?))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shape, lines })
    }

    fn forecast_from(&self, features: &mut Features, row: &mut Vec<f64>, origin: usize, out: &mut [f64]) {
        let level = features.level(origin);
        row.clear();
        features.push_recent(origin, row);
        let recent = row.len();
        let mut solved = self.lines.windows(2).peekable();
        for (point, lead) in out.iter_mut().zip(1..) {
            row.truncate(recent);
            features.push_target(origin, lead, row);
            while solved.peek().is_some_and(|pair| pair[1].0 < lead) {
                solved.next();
            }
            let above = match (solved.peek(), self.lines.last()) {
                (Some([(from, near), (to, far)]), _) => {
                    let share = (lead - from) as f64 / (to - from) as f64;
                    (1.0 - share) * near.at(row) + share * far.at(row)
                }
                (_, last) => last.map_or(0.0, |(_, line)| line.at(row)),
            };
            *point = self.shape.rate(level + above);
        }
    }
}

impl Model for LagRidge {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        let mut features = Features::of_one(self.shape, history);
        self.forecast_from(&mut features, &mut Vec::new(), origin, out);
    }

    fn roll(&self, history: &History, origins: &[usize], steps: usize, visit: &mut dyn FnMut(usize, &mut [f64])) {
        let (mut points, mut row) = (vec![0.0; steps], Vec::new());
        let mut features = Features::of_many(self.shape, history);
        for &origin in origins {
            self.forecast_from(&mut features, &mut row, origin, &mut points);
            visit(origin, &mut points);
        }
    }
}

/// Leads 1 to 4, then each half as far again, and the last.
fn solved_leads(horizon_steps: usize) -> Vec<usize> {
    let mut leads = vec![];
    let mut lead = 1;
    while lead < horizon_steps {
        leads.push(lead);
        lead += (lead / 2).max(1);
    }
    leads.push(horizon_steps);
    leads
}

impl Line {
    /// From origins, each with the features that are the same for all leads.
    fn fit(
        history: &History,
        features: &mut Features,
        origins: &[(usize, &[f64])],
        lead: usize,
    ) -> Result<Self, ModelError> {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for &(origin, recent) in origins {
            let target = origin + lead - 1;
            if let Some(actual) = history.value(target).filter(|_| history.known(target)) {
                targets.push(features.log(actual) - features.level(origin));
                rows.extend_from_slice(recent);
                features.push_target(origin, lead, &mut rows);
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
        let refused = |message: &str| ModelError::Solver { lead, message: message.to_owned() };
        let rows = DMatrix::from_vec(width, count, rows);
        let targets = DMatrix::from_vec(1, count, targets);
        let solved = ridge::solve(&rows, &targets, PENALTY_PER_ROW).ok_or_else(|| refused("no solution"))?;
        let solved = solved.into_iter().next().unwrap_or_default();

        // Back from standardised columns to plain rows.
        let mut intercept = target_mean;
        let mut weights = Vec::with_capacity(width);
        for (column, weight) in columns.iter().zip(solved) {
            let weight = weight / column.deviation;
            intercept -= weight * column.mean;
            weights.push(weight);
        }
        if !intercept.is_finite() || weights.iter().any(|weight| !weight.is_finite()) {
            return Err(refused("a weight is not finite"));
        }
        Ok(Self { intercept, weights })
    }

    fn at(&self, row: &[f64]) -> f64 {
        self.weights.iter().zip(row).map(|(weight, feature)| weight * feature).sum::<f64>() + self.intercept
    }
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
