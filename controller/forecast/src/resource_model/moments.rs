//! Sums of products of columns and usage, older ones fading: all that a regression needs of its rows, in bounded memory.

use nalgebra::{DMatrix, DVector};

/// Variation, as a share of its mean, below which a column counts as constant.
const MIN_VARIATION: f64 = 1e-3;
/// Smallest eigenvalue of a correlation matrix told from 0.
const MIN_EIGENVALUE: f64 = 1e-9;

/// Fading sums over rows whose first entry is 1.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    /// What is left of a row's weight after the next one.
    decay: f64,
    /// Of rows, whatever they count.
    steps: f64,
    gram: DMatrix<f64>,
    moment: DVector<f64>,
    /// Products of rows times squared residuals, with squared weights: the spread of what `moment` is a sum of.
    spread: DMatrix<f64>,
    /// Rows in which each column was not 0.
    seen: Vec<f64>,
}

impl Moments {
    pub(super) fn new(width: usize, decay: f64) -> Self {
        Self {
            decay,
            steps: 0.0,
            gram: DMatrix::zeros(width, width),
            moment: DVector::zeros(width),
            spread: DMatrix::zeros(width, width),
            seen: vec![0.0; width],
        }
    }

    /// Takes a row, what came of it, its weight, and by how much it was mispredicted.
    pub(super) fn take(&mut self, row: &DVector<f64>, usage: f64, weight: f64, residual: f64) {
        self.steps = self.decay * self.steps + 1.0;
        self.gram.ger(weight, row, row, self.decay);
        self.moment.axpy(weight * usage, row, self.decay);
        self.spread.ger((weight * residual).powi(2), row, row, self.decay * self.decay);
        for (seen, value) in self.seen.iter_mut().zip(row.iter()) {
            *seen = self.decay * *seen + f64::from(u8::from(*value > 0.0));
        }
    }

    /// Rows taken, older ones counting less.
    pub(super) fn steps(&self) -> f64 {
        self.steps
    }

    pub(super) fn gram(&self) -> &DMatrix<f64> {
        &self.gram
    }

    pub(super) fn moment(&self) -> &DVector<f64> {
        &self.moment
    }

    /// Columns, the first one left out, that were not 0 in fewer than `least` rows.
    pub(super) fn seen_less_than(&self, least: f64) -> Vec<usize> {
        let kinds = self.seen.iter().skip(1).enumerate();
        kinds.filter(|(_, seen)| **seen < least).map(|(kind, _)| kind).collect()
    }

    /// Of the given columns (the first one not counted), those whose coefficient the others or a constant stand in for:
    /// its variance is inflated by more than `most` times (variance inflation factor: Marquardt, 1970).
    pub(super) fn inflated_beyond(&self, most: f64, kinds: &[usize]) -> Vec<usize> {
        let total = self.gram[(0, 0)];
        let mean = |kind: usize| self.gram[(0, kind + 1)] / total;
        let covariance = |a: usize, b: usize| self.gram[(a + 1, b + 1)] / total - mean(a) * mean(b);
        let constant = |kind: usize| covariance(kind, kind) <= (MIN_VARIATION * mean(kind)).powi(2);
        let (mut inflated, varying): (Vec<usize>, Vec<usize>) = kinds.iter().copied().partition(|&kind| constant(kind));
        let deviation = |kind: usize| covariance(kind, kind).sqrt();
        let correlation = DMatrix::from_fn(varying.len(), varying.len(), |row, column| {
            let (a, b) = (varying[row], varying[column]);
            covariance(a, b) / (deviation(a) * deviation(b))
        });
        let eigen = correlation.symmetric_eigen();
        for (place, &kind) in varying.iter().enumerate() {
            let parts = eigen.eigenvectors.row(place);
            let parts = parts.iter().zip(eigen.eigenvalues.iter());
            let inflation: f64 = parts.map(|(part, value)| part * part / value.max(MIN_EIGENVALUE)).sum();
            if inflation > most {
                inflated.push(kind);
            }
        }
        inflated.sort_unstable();
        inflated
    }

    /// Standard errors of the coefficients as if none were held at 0, from the spread of what was seen (White, A
    /// heteroskedasticity-consistent covariance matrix estimator, 1980); infinite where the sums say nothing.
    pub(super) fn standard_errors(&self) -> Vec<f64> {
        let width = self.gram.nrows();
        let sizes = self.gram.diagonal().map(|square| if square > 0.0 { square.sqrt() } else { 1.0 });
        let scaled = |sums: &DMatrix<f64>| {
            DMatrix::from_fn(width, width, |row, column| sums[(row, column)] / sizes[row] / sizes[column])
        };
        match scaled(&self.gram).cholesky().map(|factor| factor.inverse()) {
            Some(inverse) => {
                let covariance = &inverse * scaled(&self.spread) * &inverse;
                (0..width).map(|column| covariance[(column, column)].max(0.0).sqrt() / sizes[column]).collect()
            }
            None => vec![f64::INFINITY; width],
        }
    }
}
