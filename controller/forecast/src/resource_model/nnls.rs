//! Least squares with coefficients that are not negative, from sums of products.
//!
//! The active-set method: begin with all coefficients at 0, free the one whose growth would lower the error most, solve for
//! the free ones, and where one of these would become negative go only as far as it reaches 0 and hold it there (Lawson
//! and Hanson, Solving Least Squares Problems, 1974; on normal equations: Bro and de Jong, A fast non-negativity-constrained
//! least squares algorithm, 1997). Own code, since the crates there are solve from all rows, which are not kept here.

use nalgebra::{DMatrix, DVector};

/// Slope that frees a coefficient, and coefficient that is none, when the largest product of a column and usage is 1.
const TOLERANCE: f64 = 1e-10;

/// The x without a negative entry that minimises `x' gram x - 2 x' moment`. Columns and usage are brought to the same
/// size first, so that units do not matter; a column that is all 0 gets 0.
pub(super) fn solve(gram: &DMatrix<f64>, moment: &DVector<f64>) -> DVector<f64> {
    let width = gram.nrows();
    let sizes = gram.diagonal().map(|square| if square > 0.0 { square.sqrt() } else { 1.0 });
    let gram = DMatrix::from_fn(width, width, |row, column| gram[(row, column)] / (sizes[row] * sizes[column]));
    let moment = moment.component_div(&sizes);
    let largest = moment.amax();
    if largest <= 0.0 {
        return DVector::zeros(width);
    }
    let moment = moment / largest;
    let (mut x, mut free) = (DVector::zeros(width), vec![false; width]);
    // A freed coefficient that comes back to 0 at once would be freed for ever.
    let mut held = vec![false; width];
    // The method hardly ever needs more rounds than half as many again as there are columns.
    for _ in 0..3 * width {
        let slope = &moment - &gram * &x;
        let steepest = (0..width)
            .filter(|&column| !free[column] && !held[column] && slope[column] > TOLERANCE)
            .max_by(|&a, &b| slope[a].total_cmp(&slope[b]));
        let Some(freed) = steepest else { break };
        let before = (x.clone(), free.clone());
        free[freed] = true;
        if descend(&gram, &moment, &mut x, &mut free) && x[freed] > 0.0 {
            held.fill(false);
        } else {
            (x, free) = before;
            held[freed] = true;
        }
    }
    x.component_div(&sizes) * largest
}

/// Moves `x` to the solution over the free columns, and fewer of them where that would be negative. `false` if there is
/// none.
fn descend(gram: &DMatrix<f64>, moment: &DVector<f64>, x: &mut DVector<f64>, free: &mut [bool]) -> bool {
    loop {
        let columns: Vec<usize> = (0..free.len()).filter(|&column| free[column]).collect();
        let part = DMatrix::from_fn(columns.len(), columns.len(), |row, column| gram[(columns[row], columns[column])]);
        let right = DVector::from_fn(columns.len(), |row, _| moment[columns[row]]);
        let Some(factor) = part.cholesky() else { return false };
        let solved = factor.solve(&right);
        // How far the way to the solution can be gone.
        let mut way = 1.0_f64;
        for (&column, &wanted) in columns.iter().zip(solved.iter()).filter(|(_, wanted)| **wanted <= 0.0) {
            way = way.min(x[column] / (x[column] - wanted).max(f64::MIN_POSITIVE));
        }
        let mut stopped = false;
        for (&column, &wanted) in columns.iter().zip(solved.iter()) {
            x[column] += way * (wanted - x[column]);
            if wanted <= 0.0 && x[column] <= TOLERANCE {
                (x[column], free[column], stopped) = (0.0, false, true);
            }
        }
        if !stopped {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objective(gram: &DMatrix<f64>, moment: &DVector<f64>, x: &DVector<f64>) -> f64 {
        (x.transpose() * gram * x)[(0, 0)] - 2.0 * x.dot(moment)
    }

    /// The best of all sets of free columns whose solution is not negative.
    fn by_trying_all(gram: &DMatrix<f64>, moment: &DVector<f64>) -> f64 {
        let width = gram.nrows();
        let mut best = 0.0;
        for set in 1..1_usize << width {
            let columns: Vec<usize> = (0..width).filter(|column| set >> column & 1 == 1).collect();
            let part = DMatrix::from_fn(columns.len(), columns.len(), |r, c| gram[(columns[r], columns[c])]);
            let right = DVector::from_fn(columns.len(), |r, _| moment[columns[r]]);
            let Some(solved) = part.cholesky().map(|factor| factor.solve(&right)) else { continue };
            if solved.iter().all(|value| *value >= 0.0) {
                let mut x = DVector::zeros(width);
                columns.iter().zip(solved.iter()).for_each(|(&column, &value)| x[column] = value);
                best = f64::min(best, objective(gram, moment, &x));
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn no_set_of_free_columns_does_better(
            width in 1..6_usize,
            values in prop::collection::vec(-1.0..1.0_f64, 60),
            target in prop::collection::vec(-1.0..1.0_f64, 10),
            scale in 1e-3..1e3_f64,
        ) {
            let mut rows = DMatrix::from_fn(10, width, |row, column| values[row * 6 + column]);
            rows.column_mut(0).scale_mut(scale);
            let target = DVector::from_vec(target);
            let (gram, moment) = (rows.transpose() * &rows, rows.transpose() * &target);
            let x = solve(&gram, &moment);
            prop_assert!(x.iter().all(|value| *value >= 0.0), "{x}");
            let (found, best) = (objective(&gram, &moment, &x), by_trying_all(&gram, &moment));
            prop_assert!(found <= best + 1e-9 * target.norm_squared(), "{found} for {best}: {x}");
        }
    }

    #[test]
    fn columns_without_anything_get_nothing() {
        assert_eq!(solve(&DMatrix::zeros(3, 3), &DVector::zeros(3)), DVector::zeros(3));
        // Twice the same column: either may have it, together they do.
        let gram = DMatrix::from_element(2, 2, 4.0);
        let x = solve(&gram, &DVector::from_element(2, 12.0));
        assert!((x.sum() - 3.0).abs() < 1e-9 && x.iter().all(|value| *value >= 0.0), "{x}");
    }
}
