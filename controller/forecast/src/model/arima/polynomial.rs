//! Lag polynomials of a multiplicative seasonal ARIMA model, and the map that keeps them stationary and invertible.
//!
//! The intuition: an optimiser wants to move freely, but an autoregression whose roots leave the unit circle explodes. Its
//! partial autocorrelations are all that has to stay within -1..1, so the optimiser moves numbers that are squeezed
//! into that range and turned into coefficients by the Durbin-Levinson recursion (Monahan 1984). A moving average is
//! invertible under the same condition with the signs turned.
//!
//! Polynomials are sparse: with a season of 24 steps an (1,1)x(1,1) model has 3 autoregressive terms, not 25.

use serde::{Deserialize, Serialize};

/// A coefficient at a lag, in steps.
pub(super) type Term = (usize, f64);

/// How many terms of each kind; `season_steps` is 0 where nothing is seasonal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// Autoregressive terms.
    pub(crate) ar: usize,
    /// Differences between neighbours.
    pub(crate) differences: usize,
    /// Moving-average terms.
    pub(crate) ma: usize,
    /// Seasonal autoregressive terms.
    pub(crate) seasonal_ar: usize,
    /// Differences over a season.
    pub(crate) seasonal_differences: usize,
    /// Seasonal moving-average terms.
    pub(crate) seasonal_ma: usize,
    /// Steps in a season.
    pub(crate) season_steps: usize,
}

impl Orders {
    /// Coefficients of all four kinds.
    pub(super) fn coefficients(self) -> usize {
        self.ar + self.ma + self.seasonal_ar + self.seasonal_ma
    }

    /// Differencing as a recursion: `y[t] = sum(c * y[t - lag]) + w[t]`.
    pub(super) fn differencing(self) -> Vec<Term> {
        let mut dense = vec![1.0];
        for _ in 0..self.differences {
            dense = times_one_minus_lag(&dense, 1);
        }
        for _ in 0..self.seasonal_differences {
            dense = times_one_minus_lag(&dense, self.season_steps);
        }
        dense.iter().enumerate().skip(1).filter(|(_, c)| **c != 0.0).map(|(lag, c)| (lag, -c)).collect()
    }

    /// Steps that differencing uses up.
    pub(super) fn lost_steps(self) -> usize {
        self.differences + self.seasonal_differences * self.season_steps
    }

    /// Steps back that the autoregression reaches.
    pub(super) fn ar_reach(self) -> usize {
        self.ar + self.seasonal_ar * self.season_steps
    }
}

/// The two sides of `w[t] = sum(ar * w[t - lag]) + e[t] + sum(ma * e[t - lag])`, lags ascending.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Arma {
    pub(super) ar: Vec<Term>,
    pub(super) ma: Vec<Term>,
}

impl Arma {
    /// Multiplies plain and seasonal factors, given as `[ar, seasonal ar, ma, seasonal ma]`.
    pub(super) fn product(ar: [&[f64]; 2], ma: [&[f64]; 2], season_steps: usize) -> Self {
        let negated = |factor: &[f64]| factor.iter().map(|c| -c).collect::<Vec<_>>();
        let ar = multiplied(&negated(ar[0]), &negated(ar[1]), season_steps);
        let ma = multiplied(ma[0], ma[1], season_steps);
        Self { ar: ar.into_iter().map(|(lag, c)| (lag, -c)).collect(), ma }
    }

    /// The model at a free point of the optimiser, ordered as ar, ma, seasonal ar, seasonal ma; `None` if a root is so near
    /// the unit circle that terms cancel or a difference was missed.
    pub(super) fn at(orders: Orders, free: &[f64]) -> Option<Self> {
        let mut rest = free;
        let mut factor = |count: usize| {
            let (these, others) = rest.split_at(count);
            rest = others;
            let partial: Vec<f64> = these.iter().map(|x| x / (1.0 + x * x).sqrt()).collect();
            from_partial(&partial)
        };
        let ar = factor(orders.ar);
        let ma = factor(orders.ma);
        let seasonal_ar = factor(orders.seasonal_ar);
        let seasonal_ma = factor(orders.seasonal_ma);
        if ![&ar, &ma, &seasonal_ar, &seasonal_ma].into_iter().all(|factor| keeps_clear_of_unit_circle(factor)) {
            return None;
        }
        let ma: Vec<f64> = ma.iter().map(|c| -c).collect();
        let seasonal_ma: Vec<f64> = seasonal_ma.iter().map(|c| -c).collect();
        Some(Self::product([&ar, &seasonal_ar], [&ma, &seasonal_ma], orders.season_steps))
    }

    /// Length of the state: the furthest lag, one more on the side of the errors.
    pub(super) fn state_len(&self) -> usize {
        let reach = |terms: &[Term]| terms.last().map_or(0, |(lag, _)| *lag);
        reach(&self.ar).max(reach(&self.ma) + 1)
    }
}

/// Smallest modulus of a root: below, the model is as good as not stationary (or not invertible) and is refused.
const MIN_ROOT: f64 = 1.01;

/// Autoregressive coefficients from partial autocorrelations (Durbin-Levinson).
fn from_partial(partial: &[f64]) -> Vec<f64> {
    let mut coefficients: Vec<f64> = Vec::with_capacity(partial.len());
    for &last in partial {
        let shorter = coefficients.clone();
        for (coefficient, mirrored) in coefficients.iter_mut().zip(shorter.iter().rev()) {
            *coefficient -= last * mirrored;
        }
        coefficients.push(last);
    }
    coefficients
}

/// Whether all roots stay outside a circle of [`MIN_ROOT`]: the polynomial shrunk by it must still be stationary, which the
/// recursion run backwards tells.
fn keeps_clear_of_unit_circle(coefficients: &[f64]) -> bool {
    let mut scale = 1.0;
    let mut rest: Vec<f64> = coefficients
        .iter()
        .map(|c| {
            scale *= MIN_ROOT;
            c * scale
        })
        .collect();
    while let Some(last) = rest.pop() {
        if last.abs() >= 1.0 {
            return false;
        }
        let longer = rest.clone();
        for (coefficient, mirrored) in rest.iter_mut().zip(longer.iter().rev()) {
            *coefficient = (*coefficient + last * mirrored) / (1.0 - last * last);
        }
    }
    true
}

/// `(1 + sum(a * B^i)) * (1 + sum(b * B^(season * j)))` without the leading 1.
fn multiplied(plain: &[f64], seasonal: &[f64], season_steps: usize) -> Vec<Term> {
    let with_one = |factor: &[f64], step: usize| {
        std::iter::once((0, 1.0))
            .chain(factor.iter().enumerate().map(|(i, c)| ((i + 1) * step, *c)))
            .collect::<Vec<_>>()
    };
    let mut terms: Vec<Term> = Vec::new();
    for (far, b) in with_one(seasonal, season_steps) {
        for (near, a) in with_one(plain, 1) {
            let lag = near + far;
            match terms.iter_mut().find(|(known, _)| *known == lag) {
                _ if lag == 0 => {}
                Some((_, sum)) => *sum += a * b,
                None => terms.push((lag, a * b)),
            }
        }
    }
    terms.sort_by_key(|(lag, _)| *lag);
    terms
}

fn times_one_minus_lag(dense: &[f64], lag: usize) -> Vec<f64> {
    let mut product = dense.to_vec();
    product.resize(dense.len() + lag, 0.0);
    for (index, c) in dense.iter().enumerate() {
        product[index + lag] -= c;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_multiply_and_differences_expand() {
        let arma = Arma::product([&[0.5], &[0.2]], [&[0.4], &[0.1]], 12);
        let near = |terms: &[Term], wanted: &[Term]| {
            assert_eq!(terms.len(), wanted.len());
            for (got, wanted) in terms.iter().zip(wanted) {
                assert!(got.0 == wanted.0 && (got.1 - wanted.1).abs() < 1e-15, "{got:?} {wanted:?}");
            }
        };
        near(&arma.ar, &[(1, 0.5), (12, 0.2), (13, -0.1)]);
        near(&arma.ma, &[(1, 0.4), (12, 0.1), (13, 0.04)]);
        assert_eq!(arma.state_len(), 14);
        let orders = Orders { differences: 1, seasonal_differences: 1, season_steps: 4, ..AIRLINE };
        near(&orders.differencing(), &[(1, 1.0), (4, 1.0), (5, -1.0)]);
        assert_eq!(orders.lost_steps(), 5);
    }

    const AIRLINE: Orders = Orders {
        ar: 0,
        differences: 1,
        ma: 1,
        seasonal_ar: 0,
        seasonal_differences: 1,
        seasonal_ma: 1,
        season_steps: 12,
    };

    #[test]
    fn every_free_point_is_stationary_or_refused() {
        let orders = Orders { ar: 3, ma: 2, ..AIRLINE };
        for seed in 0..200 {
            let free: Vec<f64> = (0..6).map(|i| 4.0 * f64::sin((seed * 6 + i) as f64 * 1.7)).collect();
            let Some(arma) = Arma::at(orders, &free) else { continue };
            // Without errors, whatever was there dies away.
            let mut values = vec![1.0; 3];
            for _ in 0..3000 {
                let next = arma.ar.iter().map(|(lag, c)| c * values[values.len() - lag]).sum();
                values.push(next);
            }
            assert!(values.last().unwrap().abs() < 1e-6, "{free:?} explodes");
        }
    }

    #[test]
    fn a_root_at_the_unit_circle_is_refused() {
        assert!(keeps_clear_of_unit_circle(&[0.98]));
        assert!(!keeps_clear_of_unit_circle(&[0.995]));
        // Roots of 1 - 1.9 B + 0.95 B^2: modulus 1.026; of 1 - 1.99 B + 0.995 B^2: 1.0025.
        assert!(keeps_clear_of_unit_circle(&[1.9, -0.95]));
        assert!(!keeps_clear_of_unit_circle(&[1.99, -0.995]));
    }
}
