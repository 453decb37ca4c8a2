//! What each step away from the baseline does to the loss: a Bayesian linear regression whose evidence fades.
//!
//! Steps are believed to change little until they are seen to; that is the prior, and what fading evidence falls back to.
//! How much single epochs vary is learned with it. Source: Russac et al., Weighted linear bandits for non-stationary
//! environments, 2019 (fading), whose second matrix is left out: with it deviations would be somewhat smaller.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::context::FEATURES;
use crate::learning::LearningError;

/// Standard deviation of an epoch's loss before any was seen, and for how many epochs that counts.
const NOISE: f64 = 0.2;
const NOISE_EPOCHS: f64 = 20.0;
/// Losses are multiples of what was expected: one, give or take this.
const LEVEL: f64 = 1.0;
const LEVEL_DEVIATION: f64 = 0.5;
/// What one unit of a context's feature changes in the baseline's loss.
const CONTEXT_DEVIATION: f64 = 0.2;
/// What one step away changes, and what a feature changes in that.
const STEP_DEVIATION: f64 = 0.05;
const STEP_CONTEXT_DEVIATION: f64 = 0.03;

/// Sums of what was seen; see the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Regression {
    keep: f64,
    /// Weighted products of the rows, and of rows and losses, without the prior.
    products: DMatrix<f64>,
    moment: DVector<f64>,
    levels: Residuals,
    differences: Residuals,
}

/// What a row says: the loss of one epoch, or how much more one arm lost than another on the same demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Level,
    Difference,
}

/// Fading squares of what rows were away from what was expected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Residuals {
    squares: f64,
    weight: f64,
}

impl Residuals {
    fn take(&mut self, keep: f64, residual: f64) {
        self.squares = keep * self.squares + residual * residual;
        self.weight = keep * self.weight + 1.0;
    }

    fn variance(self) -> f64 {
        (NOISE * NOISE * NOISE_EPOCHS + self.squares) / (NOISE_EPOCHS + self.weight)
    }
}

/// What is believed after what was seen.
pub(super) struct Posterior {
    mean: DVector<f64>,
    precision: Cholesky<f64, Dyn>,
    noise_variance: f64,
}

/// What the steps do in one context: jointly normal.
pub(super) struct Effects {
    mean: DVector<f64>,
    root: DMatrix<f64>,
}

impl Regression {
    pub(super) fn new(increments: usize, half_life_decisions: f64) -> Self {
        let width = Self::width(increments);
        Self {
            keep: 0.5_f64.powf(1.0 / half_life_decisions),
            products: DMatrix::zeros(width, width),
            moment: DVector::zeros(width),
            levels: Residuals::default(),
            differences: Residuals::default(),
        }
    }

    /// Columns of a row.
    pub(super) fn width(increments: usize) -> usize {
        FEATURES * (1 + increments)
    }

    pub(super) fn is_whole(&self, width: usize) -> bool {
        self.products.shape() == (width, width) && self.moment.len() == width
    }

    /// What is left of an observation's weight after the next one.
    pub(super) fn keep(&self) -> f64 {
        self.keep
    }

    /// Takes a row and what came of it, of which `expected` was believed before. What comes of the same demand varies less,
    /// and counts the more. Evidence fades by [`fade`](Self::fade).
    pub(super) fn learn(&mut self, says: Says, row: &DVector<f64>, value: f64, expected: f64) {
        let residuals = if says == Says::Level { &mut self.levels } else { &mut self.differences };
        residuals.take(self.keep, value - expected);
        let weight =
            self.levels.variance() / if says == Says::Level { self.levels } else { self.differences }.variance();
        self.products.ger(weight, row, row, 1.0);
        self.moment.axpy(weight * value, row, 1.0);
    }

    /// One decision was settled: all earlier evidence counts less.
    pub(super) fn fade(&mut self) {
        self.products *= self.keep;
        self.moment *= self.keep;
    }

    pub(super) fn posterior(&self) -> Result<Posterior, LearningError> {
        let noise_variance = self.levels.variance();
        let (mut precision, mut moment) = (self.products.clone(), self.moment.clone());
        for column in 0..moment.len() {
            let deviation = match (column / FEATURES, column % FEATURES) {
                (0, 0) => LEVEL_DEVIATION,
                (0, _) => CONTEXT_DEVIATION,
                (_, 0) => STEP_DEVIATION,
                (_, _) => STEP_CONTEXT_DEVIATION,
            };
            precision[(column, column)] += noise_variance / (deviation * deviation);
        }
        moment[0] += LEVEL * noise_variance / (LEVEL_DEVIATION * LEVEL_DEVIATION);
        let precision = Cholesky::new(precision).ok_or(LearningError::Unsolvable)?;
        Ok(Posterior { mean: precision.solve(&moment), precision, noise_variance })
    }
}

impl Posterior {
    /// Expected value of a weighted sum of the coefficients, as the loss of a row.
    pub(super) fn expected(&self, row: &DVector<f64>) -> f64 {
        self.mean.dot(row)
    }

    /// Standard deviation of what is believed of it.
    pub(super) fn deviation(&self, row: &DVector<f64>) -> f64 {
        (self.noise_variance * row.dot(&self.precision.solve(row))).max(0.0).sqrt()
    }

    /// What the steps do in a context.
    pub(super) fn effects(&self, features: &[f64; FEATURES], increments: usize) -> Effects {
        let mut rows = DMatrix::zeros(self.mean.len(), increments);
        for step in 0..increments {
            rows.view_mut((FEATURES * (1 + step), step), (FEATURES, 1)).copy_from_slice(features);
        }
        let mean = rows.tr_mul(&self.mean);
        let covariance = rows.tr_mul(&self.precision.solve(&rows)) * self.noise_variance;
        // The prior makes it positive definite; were it not by rounding, the mean is what is left.
        let root =
            Cholesky::new(covariance).map_or_else(|| DMatrix::zeros(increments, increments), |root| root.unpack());
        Effects { mean, root }
    }
}

impl Effects {
    pub(super) fn draw(&self, random: &mut impl Rng) -> DVector<f64> {
        let normal = Normal::standard();
        // Never 0: its quantile would be infinite.
        let draws =
            DVector::from_fn(self.mean.len(), |_, _| normal.inverse_cdf(1.0 - random.random::<f64>().min(1.0 - 1e-12)));
        &self.mean + &self.root * draws
    }
}
