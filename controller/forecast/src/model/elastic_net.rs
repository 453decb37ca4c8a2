//! Elastic net (Zou and Hastie, 2005): linear regression whose penalty is part square, part absolute value.
//!
//! Against the ridge beside it, it sets the weights of features that do not help to nothing, so that it holds its own on
//! short histories, where fifty weights are too many. smartcore solves it by an interior-point method.

use serde::{Deserialize, Serialize};
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::elastic_net::{ElasticNet as Solver, ElasticNetParameters};

use super::lag_model::{Leads, Regressor, Rows};
use super::standard::standardise;

/// Penalty on standardised columns, as smartcore scales it: per training row.
const PENALTY: f64 = 1e-3;
/// Share of the penalty that is on absolute values.
const ABSOLUTE_SHARE: f64 = 0.5;
/// Gap between the solution and its bound at which the solver stops, as a share.
const TOLERANCE: f64 = 1e-4;
/// Most steps of the solver; it usually takes a few dozen.
const MAX_ITERATIONS: usize = 200;

/// Fitted weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ElasticNet {
    intercept: f64,
    weights: Vec<f64>,
}

impl Regressor for ElasticNet {
    const LEADS: Leads = Leads::Doubling;
    const MAX_ROWS: usize = 2_000;

    fn fit(mut rows: Rows) -> Result<Self, String> {
        let columns = standardise(&mut rows.features, rows.width);
        let parameters = ElasticNetParameters::default()
            .with_alpha(PENALTY)
            .with_l1_ratio(ABSOLUTE_SHARE)
            .with_normalize(false)
            .with_tol(TOLERANCE)
            .with_max_iter(MAX_ITERATIONS);
        let mut fitted = Self { intercept: 0.0, weights: vec![0.0; rows.width] };
        // A constant needs no solver, and smartcore's finds none.
        if rows.targets.iter().any(|&target| target != 0.0) {
            let matrix: DenseMatrix<f64> = rows.matrix()?;
            let solved = Solver::fit(&matrix, &rows.targets, parameters).map_err(|error| error.to_string())?;
            // Back from standardised columns to plain rows.
            fitted.intercept = *solved.intercept();
            for ((weight, column), index) in fitted.weights.iter_mut().zip(&columns).zip(0..) {
                *weight = solved.coefficients().get((index, 0)) / column.deviation;
                fitted.intercept -= *weight * column.mean;
            }
        }
        let finite = fitted.intercept.is_finite() && fitted.weights.iter().all(|weight| weight.is_finite());
        if finite { Ok(fitted) } else { Err("a weight is not finite".to_owned()) }
    }

    fn at(&self, row: &[f64]) -> f64 {
        self.weights.iter().zip(row).map(|(weight, feature)| weight * feature).sum::<f64>() + self.intercept
    }
}
