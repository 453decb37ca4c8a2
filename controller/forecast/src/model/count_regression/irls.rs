//! Regression with a logarithmic link: Poisson or negative binomial, by iteratively reweighted least squares.
//!
//! The mean is `exp(row . weights)`. The variance is `mean + overdispersion * mean^2`, up to a factor that does not matter:
//! 0 is Poisson's, above it the negative binomial's (its alpha). Each iteration solves a weighted least-squares problem for
//! a linearised target; the normal equations are small and solved by Cholesky's decomposition.
//!
//! Source: McCullagh and Nelder, Generalized Linear Models, 1989; Cameron and Trivedi, Regression Analysis of Count Data.

use nalgebra::{DMatrix, DVector};

/// Most iterations, each of which walks all rows; a handful is what it takes.
const MAX_ITERATIONS: usize = 10;
/// Largest change of a weight at which the iterations end; weights are those of logarithms, so this is a share.
const TOLERANCE: f64 = 1e-5;
/// Bounds of the linear part; means beyond 3000 or below a millionth of the unit are none.
const LINEAR_BOUNDS: (f64, f64) = (-14.0, 8.0);
/// Largest overdispersion told apart: the variance then is that of a multiplicative error.
const MAX_OVERDISPERSION: f64 = 1_000.0;

/// Rows of equal width, one after the other, and a target for each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) rows: &'a [f64],
    pub(super) targets: &'a [f64],
    pub(super) width: usize,
}

/// The mean that weights give to a row.
pub(super) fn mean(row: &[f64], weights: &[f64]) -> f64 {
    linear(row, weights).exp()
}

fn linear(row: &[f64], weights: &[f64]) -> f64 {
    let sum: f64 = row.iter().zip(weights).map(|(feature, weight)| feature * weight).sum();
    sum.clamp(LINEAR_BOUNDS.0, LINEAR_BOUNDS.1)
}

/// The weights, from a first guess; the first column is the intercept and not penalised. `None` if there is no solution.
pub(super) fn solve(table: Table<'_>, first: &[f64], overdispersion: f64, penalty_per_row: f64) -> Option<Vec<f64>> {
    let width = table.width;
    let mut weights = first.to_vec();
    for _ in 0..MAX_ITERATIONS {
        // The lower half by columns, of which the decomposition reads.
        let mut gram = vec![0.0; width * width];
        let mut moment = DVector::zeros(width);
        for (row, target) in table.rows.chunks_exact(width).zip(table.targets) {
            let linear = linear(row, &weights);
            let mean = linear.exp();
            let importance = mean / (1.0 + overdispersion * mean);
            let linearised = importance * (linear + (target - mean) / mean);
            for (index, (feature, column)) in row.iter().zip(gram.chunks_exact_mut(width)).enumerate() {
                moment[index] += linearised * feature;
                let scaled = importance * feature;
                for (cell, other) in column[index..].iter_mut().zip(&row[index..]) {
                    *cell += scaled * other;
                }
            }
        }
        let mut gram = DMatrix::from_vec(width, width, gram);
        for index in 1..width {
            gram[(index, index)] += penalty_per_row * table.targets.len() as f64;
        }
        let solved = gram.cholesky()?.solve(&moment);
        let change = solved.iter().zip(&weights).map(|(new, old): (&f64, &f64)| (new - old).abs()).fold(0.0, f64::max);
        weights.copy_from_slice(solved.as_slice());
        if !change.is_finite() {
            return None;
        }
        if change < TOLERANCE {
            break;
        }
    }
    Some(weights)
}

/// The overdispersion that squared errors around the means show: the slope of `error^2 / mean` over the mean, as a multiple
/// of its value at none (so that the unit of the targets does not matter). 0 where errors do not grow faster than Poisson's.
pub(super) fn overdispersion(table: Table<'_>, weights: &[f64]) -> f64 {
    let points = || {
        table.rows.chunks_exact(table.width).zip(table.targets).map(|(row, target)| {
            let mean = mean(row, weights);
            (mean, (target - mean).powi(2) / mean)
        })
    };
    let count = table.targets.len() as f64;
    let (means, ratios) = points().fold((0.0, 0.0), |sums, point| (sums.0 + point.0 / count, sums.1 + point.1 / count));
    let (together, alone) = points().fold((0.0, 0.0), |sums, (mean, ratio)| {
        (sums.0 + (mean - means) * (ratio - ratios), sums.1 + (mean - means).powi(2))
    });
    if alone <= 0.0 || together <= 0.0 {
        return 0.0;
    }
    let slope = together / alone;
    let at_none = ratios - slope * means;
    if at_none * MAX_OVERDISPERSION > slope { slope / at_none } else { MAX_OVERDISPERSION }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: [f64; 20] = [2., 3., 0., 5., 7., 1., 4., 9., 6., 12., 8., 3., 15., 11., 2., 14., 20., 9., 17., 10.];

    const POISSON: [f64; 3] = [1.125016322791088, 0.8617450610736828, -0.03689291152646168];
    const NEGATIVE: [f64; 3] = [1.0294688992483305, 0.9499364181863911, -0.016268860531401974];

    fn rows() -> Vec<f64> {
        (0..20).flat_map(|step| [1.0, f64::from(step) / 10.0, f64::from(step).sin()]).collect()
    }

    /// statsmodels 0.15.0, `GLM(y, X, family=Poisson())` and `family=NegativeBinomial(alpha=0.3)`, both with the log link.
    #[test]
    fn weights_are_those_of_statsmodels() {
        let rows = rows();
        let table = Table { rows: &rows, targets: &COUNTS, width: 3 };
        for (overdispersion, expected) in [(0.0, POISSON), (0.3, NEGATIVE)] {
            let weights = solve(table, &[2.0, 0.0, 0.0], overdispersion, 0.0).unwrap();
            for (weight, expected) in weights.iter().zip(expected) {
                assert!((weight - expected).abs() < 1e-5, "{overdispersion}: {weights:?}");
            }
        }
    }

    #[test]
    fn errors_that_grow_with_the_mean_are_overdispersed() {
        let rows: Vec<f64> = (0..400).flat_map(|step| [1.0, f64::from(step % 20) / 10.0]).collect();
        let weights = [0.0, 1.0];
        let dispersed = |of: &dyn Fn(f64) -> f64| {
            // As often above as below, by the deviation that the variance asks for.
            let targets: Vec<f64> = rows
                .chunks_exact(2)
                .enumerate()
                .map(|(step, row)| {
                    let mean = mean(row, &weights);
                    mean + if (step / 20).is_multiple_of(2) { 1.0 } else { -1.0 } * of(mean).sqrt()
                })
                .collect();
            overdispersion(Table { rows: &rows, targets: &targets, width: 2 }, &weights)
        };
        assert!(dispersed(&|mean| 0.1 * mean) < 1e-9);
        assert!((dispersed(&|mean| 0.1 * (mean + 0.5 * mean * mean)) - 0.5).abs() < 1e-9);
        assert_eq!(dispersed(&|mean| 0.1 * mean * mean), MAX_OVERDISPERSION);
    }
}
