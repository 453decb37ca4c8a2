//! Which series err together, as far as a limited number of errors can tell.
//!
//! With more series than errors the covariance that was seen is singular, and most of its correlations are chance. So they
//! are shrunk towards none, by the share that minimises the expected squared error: the variance of the correlations over
//! their squares (Schaefer and Strimmer, A shrinkage approach to large-scale covariance matrix estimation, 2005). Both are
//! sums over all pairs of series, but need no matrix of pairs: by swapping sums they come down to sums over pairs of
//! *observations*, of which there are a bounded number.

use nalgebra::{DMatrix, DVectorView};

use super::MAX_ERRORS;

/// Errors by node, less their means: observations x nodes.
pub(super) struct Errors {
    centred: DMatrix<f64>,
    variances: Vec<f64>,
}

impl Errors {
    /// Takes errors by node, all equally long.
    pub(super) fn of(errors: &[Vec<f64>]) -> Self {
        let count = errors.first().map_or(0, Vec::len).min(MAX_ERRORS);
        let last = errors.iter().flat_map(|errors| &errors[errors.len() - count..]).copied();
        let mut centred = DMatrix::from_iterator(count, errors.len(), last);
        let mut variances = Vec::with_capacity(errors.len());
        for mut column in centred.column_iter_mut() {
            let mean = column.sum() / count.max(1) as f64;
            column.iter_mut().for_each(|error| *error -= mean);
            variances.push(column.norm_squared() / (count.max(2) - 1) as f64);
        }
        Self { centred, variances }
    }

    /// Number of observations.
    pub(super) fn count(&self) -> usize {
        self.centred.nrows()
    }

    /// Those of a node.
    pub(super) fn of_node(&self, node: usize) -> DVectorView<'_, f64> {
        self.centred.column(node)
    }

    /// By node.
    pub(super) fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// How far correlations are to be shrunk, 0 to 1; `None` if an error is not finite.
    pub(super) fn shrinkage(&self) -> Option<f64> {
        let count = self.count() as f64;
        let mut standard = self.centred.clone();
        for (mut column, variance) in standard.column_iter_mut().zip(&self.variances) {
            // A node that never erred has no correlation with any other.
            let deviation = (variance * (count - 1.0) / count).sqrt();
            column.iter_mut().for_each(|error| *error = if deviation > 0.0 { *error / deviation } else { 0.0 });
        }
        // Sums over pairs of different nodes are those over all pairs less those of each with itself.
        let mut squares_of_products = 0.0;
        for row in standard.row_iter() {
            let squares: f64 = row.iter().map(|value| value.powi(2)).sum();
            squares_of_products += squares.powi(2) - row.iter().map(|value| value.powi(4)).sum::<f64>();
        }
        let with_itself: f64 = standard.column_iter().map(|column| column.norm_squared().powi(2)).sum();
        let products = &standard * standard.transpose();
        let squared_sums = products.norm_squared() - with_itself;
        let of_chance = squares_of_products - squared_sums / count;
        let squared_correlations = squared_sums / count.powi(2);
        let shrinkage = of_chance / (count * (count - 1.0)) / squared_correlations;
        match (shrinkage.is_nan(), of_chance.is_finite()) {
            (_, false) => None,
            // Nothing is correlated with anything.
            (true, true) => Some(1.0),
            (false, true) => Some(shrinkage.clamp(0.0, 1.0)),
        }
    }
}
