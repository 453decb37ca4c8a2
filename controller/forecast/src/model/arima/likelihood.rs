//! How likely a series is under a stationary ARMA model: quickly and nearly, and exactly.
//!
//! Conditional sum of squares: errors before the beginning are taken as zero and each later one is what the recursion leaves
//! over. It costs a few multiplications a step however long the season is, so the search for orders uses it.
//!
//! The exact likelihood is the Kalman filter's, in the form of Chandrasekhar: without missing values the covariance of
//! the state changes from step to step by a matrix of rank one, so a vector is carried along instead of the matrix and a
//! step costs the length of the state instead of its square (Morf, Sidhu and Kailath 1974; Herbst 2015). A series with
//! missing values goes through [`Filter`](super::state_space::Filter), which this agrees with where nothing is missing.

use nalgebra::{DMatrix, DVector};

use super::polynomial::Arma;

/// What a pass over a series leaves, for a variance of the errors of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fit {
    /// Squared one-step errors, each over its variance.
    pub(super) squares: f64,
    /// Logarithms of these variances, summed.
    pub(super) log_variances: f64,
    /// Values that were seen.
    pub(super) count: usize,
}

impl Fit {
    /// The variance of the errors that makes the series most likely.
    pub(super) fn variance(self) -> f64 {
        self.squares / self.count.max(1) as f64
    }

    /// Log-likelihood at a variance of the errors.
    #[cfg(test)]
    pub(super) fn log_likelihood(self, variance: f64) -> f64 {
        let count = self.count as f64;
        -0.5 * (count * (std::f64::consts::TAU * variance).ln() + self.log_variances + self.squares / variance)
    }

    /// Minus the largest log-likelihood, per value and without constants: what is minimised.
    pub(super) fn deviance(self) -> f64 {
        0.5 * (self.variance().max(f64::MIN_POSITIVE).ln() + self.log_variances / self.count.max(1) as f64)
    }
}

/// Conditional sum of squares of `values - mean` over the steps from `from` on; NaN is missing, counts for nothing and is
/// stood in for by its forecast. `room` holds values and errors, and is left for reuse.
pub(super) fn conditional(values: &[f64], mean: f64, arma: &Arma, from: usize, room: &mut Vec<(f64, f64)>) -> Fit {
    room.clear();
    let first = arma.ar.last().map_or(0, |(lag, _)| *lag);
    let (mut squares, mut count) = (0.0, 0);
    for (index, &value) in values.iter().enumerate() {
        let mut expected = 0.0;
        if index >= first {
            for &(lag, c) in &arma.ar {
                expected += c * room[index - lag].0;
            }
        }
        for &(lag, c) in &arma.ma {
            if index >= lag {
                expected += c * room[index - lag].1;
            }
        }
        let value = value - mean;
        if value.is_nan() {
            room.push((expected, 0.0));
        } else {
            let error = if index >= first { value - expected } else { 0.0 };
            room.push((value, error));
            if index >= from {
                squares += error * error;
                count += 1;
            }
        }
    }
    Fit { squares, log_variances: 0.0, count }
}

/// Exact likelihood of `values - mean`, none of them missing; `None` if the model has no stationary variance.
pub(super) fn exact(values: &[f64], mean: f64, arma: &Arma) -> Option<Fit> {
    let start = state_covariances(arma)?;
    let len = start.len();
    let mut variance = start[0];
    let advanced = |state: &[f64], out: &mut Vec<f64>| {
        out.clear();
        out.extend_from_slice(&state[1..]);
        out.push(0.0);
        for &(lag, c) in &arma.ar {
            out[lag - 1] += c * state[0];
        }
    };
    let (mut gain, mut state, mut moved) = (Vec::with_capacity(len), vec![0.0; len], Vec::with_capacity(len));
    advanced(&start, &mut gain);
    let mut step = gain.clone();
    let mut weight = -1.0 / variance;
    let mut settled = false;
    let mut fit = Fit { squares: 0.0, log_variances: 0.0, count: values.len() };
    for &value in values {
        let error = value - mean - state[0];
        fit.squares += error * error / variance;
        fit.log_variances += variance.ln();
        advanced(&state, &mut moved);
        for (next, gain) in moved.iter_mut().zip(&gain) {
            *next += gain * error / variance;
        }
        std::mem::swap(&mut state, &mut moved);
        if settled {
            continue;
        }
        // The covariance of the state grows by weight * step * step'.
        let ahead = step[0];
        let next_variance = variance + weight * ahead * ahead;
        advanced(&step, &mut moved);
        for ((step, gain), moved) in step.iter_mut().zip(&mut gain).zip(&moved) {
            *step = moved - *gain * (ahead / variance);
            *gain += moved * weight * ahead;
        }
        weight *= variance / next_variance;
        variance = next_variance;
        settled = step.iter().all(|x| x * x * weight.abs() < SETTLED);
        if !variance.is_finite() || variance <= 0.0 {
            return None;
        }
    }
    Some(fit)
}

/// When no entry of the covariance changes by more than this (the errors' variance is 1), it no longer changes.
const SETTLED: f64 = 1e-15;

/// Covariances of each entry of the state with the series itself, in the stationary state and for a variance of the
/// errors of 1; the first is the variance of the series.
pub(super) fn state_covariances(arma: &Arma) -> Option<Vec<f64>> {
    let ar_reach = arma.ar.last().map_or(0, |(lag, _)| *lag);
    let len = arma.state_len();
    // What an error adds to the series this many steps later.
    let mut responses = vec![0.0; len];
    for index in 0..len {
        let direct = if index == 0 { 1.0 } else { coefficient(&arma.ma, index) };
        let through: f64 =
            arma.ar.iter().filter(|(lag, _)| *lag <= index).map(|(lag, c)| c * responses[index - lag]).sum();
        responses[index] = direct + through;
    }
    // Covariance of the moving-average part from `ahead` on with the series.
    let from_errors = |ahead: usize| {
        let own = if ahead == 0 { responses[0] } else { 0.0 };
        own + arma.ma.iter().filter(|(lag, _)| *lag >= ahead).map(|(lag, c)| c * responses[lag - ahead]).sum::<f64>()
    };
    // Yule and Walker's equations for the autocovariances.
    let size = ar_reach + 1;
    let mut matrix = DMatrix::identity(size, size);
    for row in 0..size {
        for &(lag, c) in &arma.ar {
            matrix[(row, row.abs_diff(lag))] -= c;
        }
    }
    let right = DVector::from_fn(size, |row, _| from_errors(row));
    let autocovariances = matrix.lu().solve(&right)?;
    let covariance = |entry: usize| {
        let past = arma.ar.iter().filter(|(lag, _)| *lag > entry).map(|(lag, c)| c * autocovariances[lag - entry]);
        past.sum::<f64>() + from_errors(entry)
    };
    let mut covariances: Vec<f64> = (0..len).map(covariance).collect();
    covariances[0] = autocovariances[0];
    (covariances[0].is_finite() && covariances[0] > 0.0).then_some(covariances)
}

/// The coefficient at a lag, 0 if there is none.
pub(super) fn coefficient(terms: &[(usize, f64)], lag: usize) -> f64 {
    terms.iter().find(|(known, _)| *known == lag).map_or(0.0, |(_, c)| *c)
}
