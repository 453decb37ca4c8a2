//! Support vector regression with a Gaussian kernel: what came after the past moments that looked most alike, weighted by
//! likeness; moments that are foretold within a tolerance by the others are not kept.
//!
//! smartcore trains it (sequential minimal optimisation; Smola and Schoelkopf, 2004). Training needs likenesses between
//! all rows and a forecast asks all that were kept, so rows are few. smartcore's own fitted form borrows its parameters
//! and loses them when stored; here the kept rows are taken out and the kernel is evaluated on them.

use serde::{Deserialize, Serialize};
use smartcore::svm::Kernels;
use smartcore::svm::svr::{SVR, SVRParameters};

use super::flat_trees::learned;
use super::lag_model::{Leads, Regressor, Rows};
use super::standard::{Column, standardise};

/// Error that costs nothing, in deviations of the target; decides how many rows are kept.
const TOLERANCE: f64 = 0.03;
/// What a unit of error costs beside a unit of curvature.
const COST: f64 = 5.0;
/// Likeness falls to 1/e at this many times the mean square distance of two standardised rows, which is twice the number
/// of features.
const KERNEL_WIDTH: f64 = 2.0;
/// When the solver stops, in deviations of the target.
const SOLVED_WITHIN: f64 = 1e-2;

/// The kept rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SupportVectors {
    columns: Vec<Column>,
    gamma: f64,
    bias: f64,
    /// One per kept row.
    weights: Vec<f64>,
    /// Row by row, standardised.
    rows: Vec<f32>,
}

/// What smartcore has learned, by its names.
#[derive(Deserialize)]
struct Learned {
    instances: Vec<Vec<f64>>,
    w: Vec<f64>,
    b: f64,
}

impl Regressor for SupportVectors {
    const LEADS: Leads = Leads::Together;
    /// 600 x 600 likenesses of 8 bytes are 2.9 MB while training; 600 kept rows of 50 `f32` are 120 kB.
    const MAX_ROWS: usize = 600;

    fn fit(mut rows: Rows) -> Result<Self, String> {
        let columns = standardise(&mut rows.features, rows.width);
        let gamma = 1.0 / (KERNEL_WIDTH * 2.0 * rows.width as f64);
        let parameters = SVRParameters::default()
            .with_eps(TOLERANCE)
            .with_c(COST)
            .with_tol(SOLVED_WITHIN)
            .with_kernel(Kernels::rbf().with_gamma(gamma));
        let matrix = rows.matrix()?;
        let machine = SVR::fit(&matrix, &rows.targets, &parameters).map_err(|error| error.to_string())?;
        let Learned { instances, w, b } = learned(&machine)?;
        let kept = instances.into_iter().flatten().map(|feature| feature as f32).collect();
        Ok(Self { columns, gamma, bias: b, weights: w, rows: kept })
    }

    fn at(&self, row: &[f64]) -> f64 {
        let standard: Vec<f32> = (self.columns.iter().zip(row))
            .map(|(column, feature)| ((feature - column.mean) / column.deviation) as f32)
            .collect();
        let likeness = |kept: &[f32]| {
            let distance: f32 = kept.iter().zip(&standard).map(|(kept, feature)| (kept - feature).powi(2)).sum();
            (-self.gamma * f64::from(distance)).exp()
        };
        let kept = self.rows.chunks_exact(self.columns.len().max(1));
        self.bias + self.weights.iter().zip(kept).map(|(weight, kept)| weight * likeness(kept)).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_out_says_what_smartcore_says() {
        let value = |row: usize, column: usize| f64::from((row * (3 * column + 5) % 37) as f32);
        let features: Vec<f64> = (0..120).flat_map(|row| (0..4).map(move |column| value(row, column))).collect();
        let targets: Vec<f64> = (0..120).map(|row| (value(row, 0) / 9.0).sin()).collect();
        let plain = Rows { width: 4, features: features.clone(), targets };
        let fitted = SupportVectors::fit(plain.clone()).unwrap();

        let mut standard = plain;
        standardise(&mut standard.features, 4);
        let parameters = SVRParameters::default()
            .with_eps(TOLERANCE)
            .with_c(COST)
            .with_tol(SOLVED_WITHIN)
            .with_kernel(Kernels::rbf().with_gamma(fitted.gamma));
        let matrix = standard.matrix().unwrap();
        let machine = SVR::fit(&matrix, &standard.targets, &parameters).unwrap();
        for (row, expected) in features.chunks(4).zip(machine.predict(&matrix).unwrap()) {
            assert!((fitted.at(row) - expected).abs() < 1e-4, "{} for {expected}", fitted.at(row));
        }
        assert!(fitted.weights.len() < 120, "rows within the tolerance are not kept");
    }
}
