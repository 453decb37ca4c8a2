//! The lasso on a small Gram matrix, solved exactly: minimise `x'Qx / 2 - c'x + rate * sum |x|`.
//!
//! Changepoints lie so close that their columns are nearly alike; coordinate descent then needs tens of thousands of
//! sweeps, and a smoothed `|x|` leaves all of them a little off zero. The active set needs neither: the signs of the
//! non-zero coordinates make the problem a linear one, which is solved; a coordinate that would change its sign on the
//! way leaves the set there, and of those outside the one that the gradient pulls hardest enters. Every move lowers the
//! objective and no set of signs returns, so it ends. (Lee, Battle, Raina and Ng, Efficient sparse coding algorithms,
//! 2007: feature-sign search; here with the first crossing instead of a search along the line, as in Lawson and Hanson's
//! non-negative least squares.)

use nalgebra::{DMatrix, DVector};

/// Moves per coordinate after which the search is given up and the best point so far is taken; each coordinate is seen
/// to enter about once.
const MOVES_PER_COORDINATE: usize = 20;
/// What a gradient may exceed the rate by, as a share of it, before its coordinate enters.
const SLACK: f64 = 1e-9;
/// Added to the diagonal as a share of its largest entry, so that two equal columns do not make the set unsolvable.
const RIDGE: f64 = 1e-12;

/// Solves the lasso, going on from `x`.
pub(super) fn solve(q: &DMatrix<f64>, c: &DVector<f64>, rate: f64, x: &mut DVector<f64>) {
    let largest = q.diagonal().iter().copied().fold(0.0, f64::max);
    let mut entering: Option<(usize, f64)> = None;
    for _ in 0..MOVES_PER_COORDINATE * x.len() {
        // The active set with its signs; one that enters is still zero and gets the sign it is pulled towards.
        let mut active: Vec<(usize, f64)> =
            x.iter().enumerate().filter(|(_, value)| **value != 0.0).map(|(at, value)| (at, value.signum())).collect();
        active.extend(entering.take());
        let Some(goal) = solved(q, c, rate, &active, RIDGE * largest) else { return };
        let crossing = active
            .iter()
            .zip(goal.iter())
            .filter(|((_, sign), goal)| **goal * sign < 0.0)
            .map(|(&(at, _), &goal)| (at, x[at] / (x[at] - goal)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        match crossing {
            Some((leaving, share)) => {
                for (&(at, _), &goal) in active.iter().zip(goal.iter()) {
                    x[at] += share * (goal - x[at]);
                }
                x[leaving] = 0.0;
            }
            None => {
                for (&(at, _), &goal) in active.iter().zip(goal.iter()) {
                    x[at] = goal;
                }
                let gradient = q * &*x - c;
                let pulled = (0..x.len())
                    .filter(|&at| x[at] == 0.0 && gradient[at].abs() > rate * (1.0 + SLACK))
                    .max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()));
                match pulled {
                    Some(at) => entering = Some((at, -gradient[at].signum())),
                    None => return,
                }
            }
        }
    }
}

/// Where the objective is smallest if the active coordinates keep their signs and the others stay zero.
fn solved(q: &DMatrix<f64>, c: &DVector<f64>, rate: f64, active: &[(usize, f64)], ridge: f64) -> Option<DVector<f64>> {
    let count = active.len();
    let gram = DMatrix::from_fn(count, count, |row, column| {
        q[(active[row].0, active[column].0)] + if row == column { ridge } else { 0.0 }
    });
    let target = DVector::from_fn(count, |row, _| c[active[row].0] - rate * active[row].1);
    Some(gram.cholesky()?.solve(&target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objective(q: &DMatrix<f64>, c: &DVector<f64>, rate: f64, x: &DVector<f64>) -> f64 {
        (q * x).dot(x) / 2.0 - c.dot(x) + rate * x.abs().sum()
    }

    /// The naive oracle: many sweeps of coordinate descent.
    fn swept(q: &DMatrix<f64>, c: &DVector<f64>, rate: f64) -> DVector<f64> {
        let mut x = DVector::zeros(c.len());
        for _ in 0..5_000 {
            for at in 0..c.len() {
                let pull = c[at] - q.row(at).transpose().dot(&x) + q[(at, at)] * x[at];
                x[at] = pull.signum() * (pull.abs() - rate).max(0.0) / q[(at, at)];
            }
        }
        x
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn as_good_as_coordinate_descent(
            columns in prop::collection::vec(prop::collection::vec(-1.0..1.0_f64, 12), 1..7),
            target in prop::collection::vec(-3.0..3.0_f64, 12),
            rate in 0.001..3.0_f64,
        ) {
            let z = DMatrix::from_fn(12, columns.len(), |row, column| columns[column][row]);
            let (q, c) = (z.tr_mul(&z), z.tr_mul(&DVector::from_vec(target)));
            let mut x = DVector::zeros(c.len());
            solve(&q, &c, rate, &mut x);
            let (own, naive) = (objective(&q, &c, rate, &x), objective(&q, &c, rate, &swept(&q, &c, rate)));
            prop_assert!(own <= naive + 1e-7 * naive.abs().max(1.0), "{own} for {naive}");
            // Going on from the solution, or from another problem's, ends at the same place.
            let mut again = DVector::from_element(c.len(), 1.0);
            solve(&q, &c, rate, &mut again);
            let own = objective(&q, &c, rate, &again);
            prop_assert!(own <= naive + 1e-7 * naive.abs().max(1.0), "{own} for {naive}, from elsewhere");
        }
    }

    #[test]
    fn alike_columns_and_a_heavy_rate_are_no_trouble() {
        let q = DMatrix::from_element(3, 3, 2.0);
        let c = DVector::from_element(3, 4.0);
        let mut x = DVector::zeros(3);
        solve(&q, &c, 1.0, &mut x);
        assert!((x.sum() - 1.5).abs() < 1e-6, "{x}");
        solve(&q, &c, 9.0, &mut x);
        assert_eq!(x.sum(), 0.0);
        let mut none = DVector::zeros(0);
        solve(&DMatrix::zeros(0, 0), &DVector::zeros(0), 1.0, &mut none);
    }
}
