//! Ridge regression of many targets on the same columns: one Gram matrix, one Cholesky factor, a right-hand side a target.
//!
//! Source: Hoerl and Kennard, Ridge Regression, 1970. The penalty is relative to the columns' mean square, so that neither
//! the unit of the values nor the number of rows changes what it does.

use nalgebra::{Cholesky, DMatrix, DVectorView};

/// Weights of every target on the columns, one vector a target; `None` if there is no finite solution.
///
/// `rows` is columns x observations and `targets` is targets x observations: what belongs to one observation lies together.
/// `penalty` is added to the diagonal as a share of its mean.
pub(crate) fn solve(rows: &DMatrix<f64>, targets: &DMatrix<f64>, penalty: f64) -> Option<Vec<Vec<f64>>> {
    let transposed = rows.transpose();
    let mut gram = rows * &transposed;
    let width = gram.nrows();
    let added = (penalty * gram.trace() / width.max(1) as f64).max(f64::MIN_POSITIVE);
    for index in 0..width {
        gram[(index, index)] += added;
    }
    let right = (targets * transposed).transpose();
    let solved = match Cholesky::new(gram) {
        Some(factor) => factor.solve(&right),
        // Only a matrix of zeros has no factor here: the columns say nothing.
        None => DMatrix::zeros(width, targets.nrows()),
    };
    let weights: Vec<Vec<f64>> = solved.column_iter().map(|column| column.iter().copied().collect()).collect();
    weights.iter().flatten().all(|weight| weight.is_finite()).then_some(weights)
}

/// The sum of the products of what both have.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let both = a.len().min(b.len());
    DVectorView::from_slice(&a[..both], both).dot(&DVectorView::from_slice(&b[..both], both))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_targets_are_solved_at_once() {
        // y = 2a - b and y = 3b over four observations.
        let rows =
            DMatrix::from_columns(&[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0]].map(|row| row.to_vec().into()));
        let targets =
            DMatrix::from_columns(&[[2.0, 0.0], [-1.0, 3.0], [1.0, 3.0], [3.0, 3.0]].map(|row| row.to_vec().into()));
        let weights = solve(&rows, &targets, 1e-12).unwrap();
        for (found, expected) in weights.iter().flatten().zip([2.0, -1.0, 0.0, 3.0]) {
            assert!((found - expected).abs() < 1e-9, "{weights:?}");
        }
    }

    #[test]
    fn products_add_up() {
        let (a, b): (Vec<f64>, Vec<f64>) = (1..=7).map(|n| (f64::from(n), f64::from(n * n))).unzip();
        assert_eq!(dot(&a, &b), 784.0);
    }

    #[test]
    fn columns_without_anything_get_no_weight() {
        let weights = solve(&DMatrix::zeros(3, 5), &DMatrix::from_element(1, 5, 7.0), 0.01).unwrap();
        assert_eq!(weights, [[0.0; 3]]);
    }
}
