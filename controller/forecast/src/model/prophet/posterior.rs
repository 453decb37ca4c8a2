//! The most probable parameters (MAP) of Prophet's model, as its Stan program defines them:
//!
//! `y ~ normal(trend + X b, s)`, or with factors `normal(trend (1 + X b), s)`; slope and offset `~ normal(0, 5)`, changes of
//! the slope `~ Laplace(0, tau)`, `b ~ normal(0, scale)`, `s ~ half-normal(0, 0.5)`; `y` divided by its largest value and time
//! running from 0 to 1.
//!
//! Prophet hands this to L-BFGS. Here each part is solved exactly in turn until nothing moves: given `s`, everything that
//! is linear with a Gaussian prior is eliminated from the normal equations (a Schur complement), what remains is a lasso
//! in the changes of the slope ([`lasso`]), without smoothing; given the rest, `s` is the root of a quadratic. With
//! factors, trend and `b` take turns as well. So no step length, no tolerance on gradients, and the Gram matrix of the
//! additive model is made once: its cost does not depend on how many turns there are.

use nalgebra::{DMatrix, DVector};

use super::lasso;
use crate::model::ridge::dot;

/// Prior deviation of slope and offset.
const TREND_SCALE: f64 = 5.0;
/// Laplace scale of the changes of the slope.
pub(super) const CHANGE_SCALE: f64 = 0.05;
/// Prior deviation of the noise.
const NOISE_SCALE: f64 = 0.5;
/// Smallest noise, as a share of the largest value: below, there is nothing left to explain.
const MIN_NOISE: f64 = 1e-4;
/// Turns after which it ends wherever it is; five to thirty are usual.
const MAX_TURNS: usize = 200;
/// The noise has settled when it moves by less than this share in a turn.
const SETTLED: f64 = 1e-7;

/// Rows to fit, scaled. Every row counts `weight` times.
pub(super) struct Rows {
    pub(super) targets: Vec<f64>,
    /// Row by row: slope, offset and hinges.
    pub(super) trend: Vec<f64>,
    pub(super) trend_columns: usize,
    /// Row by row: waves and occasions.
    pub(super) features: Vec<f64>,
    pub(super) prior_scales: Vec<f64>,
    pub(super) weight: f64,
}

/// Weights of the trend's columns and of the features.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) trend: Vec<f64>,
    pub(super) features: Vec<f64>,
}

impl Rows {
    fn trend_of(&self, row: usize) -> &[f64] {
        &self.trend[row * self.trend_columns..][..self.trend_columns]
    }

    fn features_of(&self, row: usize) -> &[f64] {
        let width = self.prior_scales.len();
        &self.features[row * width..][..width]
    }

    /// `y = trend + X b`. `None` if the normal equations have no solution.
    pub(super) fn fit_sum(&self) -> Option<Weights> {
        let (smooth, width) = (2 + self.prior_scales.len(), self.trend_columns + self.prior_scales.len());
        let mut normal = Normal::new(width);
        let mut row = Vec::with_capacity(width);
        for (index, &target) in self.targets.iter().enumerate() {
            let (line, hinges) = self.trend_of(index).split_at(2);
            row.clear();
            row.extend(line.iter().chain(self.features_of(index)).chain(hinges));
            normal.add(&row, target, self.weight);
        }
        let mut precisions = vec![TREND_SCALE.powi(-2); 2];
        precisions.extend(self.prior_scales.iter().map(|scale| scale.powi(-2)));
        let mut weights = DVector::zeros(width);
        let mut variance = NOISE_SCALE.powi(2);
        for _ in 0..MAX_TURNS {
            normal.solve(variance, &precisions, &mut weights)?;
            let last = std::mem::replace(&mut variance, self.variance(normal.squared_error(&weights)));
            if (variance / last - 1.0).abs() < SETTLED {
                break;
            }
        }
        let mut trend = weights.as_slice()[..2].to_vec();
        trend.extend(&weights.as_slice()[smooth..]);
        Some(Weights { trend, features: weights.as_slice()[2..smooth].to_vec() })
    }

    /// `y = trend (1 + X b)`.
    pub(super) fn fit_product(&self) -> Option<Weights> {
        let width = self.prior_scales.len();
        let trend_precisions = [TREND_SCALE.powi(-2); 2];
        let precisions: Vec<f64> = self.prior_scales.iter().map(|scale| scale.powi(-2)).collect();
        let (mut trend, mut features) = (DVector::zeros(self.trend_columns), DVector::zeros(width));
        let mut variance = NOISE_SCALE.powi(2);
        let mut scaled = Vec::new();
        for _ in 0..MAX_TURNS {
            let mut normal = Normal::new(self.trend_columns);
            for (index, &target) in self.targets.iter().enumerate() {
                let factor = 1.0 + dot(self.features_of(index), features.as_slice());
                scaled.clear();
                scaled.extend(self.trend_of(index).iter().map(|value| value * factor));
                normal.add(&scaled, target, self.weight);
            }
            normal.solve(variance, &trend_precisions, &mut trend)?;
            let mut normal = Normal::new(width);
            for (index, &target) in self.targets.iter().enumerate() {
                let level = dot(self.trend_of(index), trend.as_slice());
                scaled.clear();
                scaled.extend(self.features_of(index).iter().map(|value| value * level));
                normal.add(&scaled, target - level, self.weight);
            }
            normal.solve(variance, &precisions, &mut features)?;
            let last = std::mem::replace(&mut variance, self.variance(normal.squared_error(&features)));
            if (variance / last - 1.0).abs() < SETTLED {
                break;
            }
        }
        Some(Weights { trend: trend.as_slice().to_vec(), features: features.as_slice().to_vec() })
    }

    /// The most probable noise given the squared error: the root of `s^4 / scale^2 + n s^2 = error`.
    fn variance(&self, squared_error: f64) -> f64 {
        let count = self.weight * self.targets.len() as f64;
        let root = (count * count + 4.0 * squared_error / NOISE_SCALE.powi(2)).sqrt();
        (2.0 * squared_error / (count + root)).max(MIN_NOISE.powi(2))
    }
}

/// Normal equations, gathered row by row.
struct Normal {
    /// The lower triangle, mirrored when it is used.
    gram: DMatrix<f64>,
    product: DVector<f64>,
    squares: f64,
}

impl Normal {
    fn new(width: usize) -> Self {
        Self { gram: DMatrix::zeros(width, width), product: DVector::zeros(width), squares: 0.0 }
    }

    fn add(&mut self, row: &[f64], target: f64, weight: f64) {
        let width = row.len();
        let gram = self.gram.as_mut_slice();
        for (column, &value) in row.iter().enumerate() {
            let weighted = weight * value;
            if weighted != 0.0 {
                self.product[column] += weighted * target;
                for (entry, other) in gram[column * width + column..(column + 1) * width].iter_mut().zip(&row[column..])
                {
                    *entry += weighted * other;
                }
            }
        }
        self.squares += weight * target * target;
    }

    fn squared_error(&self, weights: &DVector<f64>) -> f64 {
        let mut gram = self.gram.clone();
        gram.fill_upper_triangle_with_lower_triangle();
        (self.squares - 2.0 * self.product.dot(weights) + (gram * weights).dot(weights)).max(0.0)
    }

    /// The most probable weights given the noise's variance: the first `precisions.len()` columns have Gaussian priors,
    /// the others Laplace ones.
    fn solve(&self, variance: f64, precisions: &[f64], weights: &mut DVector<f64>) -> Option<()> {
        let (width, smooth) = (weights.len(), precisions.len());
        let sparse = width - smooth;
        let mut own = self.gram.view((0, 0), (smooth, smooth)).clone_owned();
        for (index, precision) in precisions.iter().enumerate() {
            own[(index, index)] += variance * precision;
        }
        let own = own.cholesky()?;
        // Rows of the sparse columns against the smooth ones, which stand before them in the lower triangle.
        let cross = self.gram.view((smooth, 0), (sparse, smooth));
        let eliminated = own.solve(&cross.transpose());
        let alone = own.solve(&self.product.rows(0, smooth));
        let mut q = self.gram.view((smooth, smooth), (sparse, sparse)).clone_owned();
        q.fill_upper_triangle_with_lower_triangle();
        q -= cross * &eliminated;
        let c = self.product.rows(smooth, sparse) - cross * &alone;
        let mut changes = weights.rows(smooth, sparse).clone_owned();
        lasso::solve(&q, &c, variance / CHANGE_SCALE, &mut changes);
        let line = alone - eliminated * &changes;
        weights.rows_mut(0, smooth).copy_from(&line);
        weights.rows_mut(smooth, sparse).copy_from(&changes);
        weights.iter().all(|weight| weight.is_finite()).then_some(())
    }
}
