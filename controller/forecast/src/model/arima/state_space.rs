//! The Kalman filter of an ARIMA model, differences included: what is known at each step, missing values or not.
//!
//! The state is the last values (as many as differencing reaches back), and after them Harvey's state of the ARMA part. A
//! value that is there pins its place in the state; one that is missing leaves its variance, and what comes later
//! makes it smaller. So a gap is handled as probability says, without filling.
//!
//! The beginning: the first values, as many as differencing uses up, are conditioned on, which is the diffuse likelihood; those
//! of them that are missing get a variance of [`DIFFUSE`] instead. The ARMA part begins in its stationary state.
//!
//! Cost: the square of the state's length a step, until the gain no longer changes; then the length alone, until a value is
//! missing. State lengths are bounded by the search for orders (see `order.rs`): at most 25 + 53 with a season of 24.

use super::likelihood::{Fit, coefficient, state_covariances};
use super::polynomial::{Arma, Term};

/// Variance of a value of which nothing is known, in variances of the errors: a deviation of 10,000 errors.
const DIFFUSE: f64 = 1e8;
/// A one-step variance above this comes from an unknown beginning; such a step says nothing about the parameters.
const STILL_DIFFUSE: f64 = 1e4;
/// A gain that changes by less, over as many steps as the state is long, has settled.
const SETTLED: f64 = 1e-11;

/// A filter on its way through a series; see the module's text.
#[derive(Debug, Clone)]
pub(super) struct Filter<'a> {
    arma: &'a Arma,
    differencing: &'a [Term],
    /// Values in front of the ARMA state.
    lags: usize,
    len: usize,
    state: Vec<f64>,
    /// Row by row; `len * len`.
    covariance: Vec<f64>,
    scratch: Vec<f64>,
    gain: Vec<f64>,
    variance: f64,
    settled_steps: usize,
    fit: Fit,
}

impl<'a> Filter<'a> {
    /// Begins after `first`, the values that differencing uses up; NaN is missing. `None` if the model has no stationary
    /// state.
    pub(super) fn new(arma: &'a Arma, differencing: &'a [Term], first: &[f64]) -> Option<Self> {
        let (lags, own) = (first.len(), arma.state_len());
        let len = lags + own;
        let mut state = vec![0.0; len];
        let mut covariance = vec![0.0; len * len];
        for (place, value) in first.iter().rev().enumerate() {
            if value.is_nan() {
                // Somewhere near its neighbours; the variance says how little that means.
                state[place] = first.iter().copied().find(|value| !value.is_nan()).unwrap_or(0.0);
                covariance[place * len + place] = DIFFUSE;
            } else {
                state[place] = *value;
            }
        }
        // P = T P T' + R R', solved from the last corner, given the first row.
        let with_series = state_covariances(arma)?;
        let ar = |row: usize| coefficient(&arma.ar, row + 1);
        let error = |row: usize| if row == 0 { 1.0 } else { coefficient(&arma.ma, row) };
        let (ar, error): (Vec<f64>, Vec<f64>) = (0..own).map(|row| (ar(row), error(row))).unzip();
        let next = |row: usize| with_series.get(row + 1).copied().unwrap_or(0.0);
        for row in (0..own).rev() {
            for column in (0..own).rev() {
                let beyond = if row + 1 < own && column + 1 < own {
                    covariance[(lags + row + 1) * len + lags + column + 1]
                } else {
                    0.0
                };
                covariance[(lags + row) * len + lags + column] = beyond
                    + ar[row] * ar[column] * with_series[0]
                    + ar[row] * next(column)
                    + ar[column] * next(row)
                    + error[row] * error[column];
            }
        }
        Some(Self {
            arma,
            differencing,
            lags,
            len,
            state,
            covariance,
            scratch: vec![0.0; len * len],
            gain: vec![0.0; len],
            variance: 0.0,
            settled_steps: 0,
            fit: Fit { squares: 0.0, log_variances: 0.0, count: 0 },
        })
    }

    /// What was seen so far.
    pub(super) fn fit(&self) -> Fit {
        self.fit
    }

    /// Takes the next value, NaN if it is missing, in units in which the errors' variance is 1 (only an unknown beginning
    /// depends on the units), and moves one step on.
    pub(super) fn step(&mut self, value: f64) {
        let settled = self.settled_steps > self.len;
        if value.is_nan() {
            self.settled_steps = 0;
            self.advance_covariance();
        } else {
            let error = value - self.ahead(&self.state);
            if !settled {
                self.update_gain();
            }
            if self.variance < STILL_DIFFUSE {
                self.fit.squares += error * error / self.variance;
                self.fit.log_variances += self.variance.ln();
                self.fit.count += 1;
            }
            for (entry, gain) in self.state.iter_mut().zip(&self.gain) {
                *entry += gain * error;
            }
            if !settled {
                self.shrink_covariance();
                self.advance_covariance();
            }
        }
        let mut state = std::mem::take(&mut self.state);
        self.advance(&mut state);
        self.state = state;
    }

    /// Forecasts of the next steps, as if no further value came.
    pub(super) fn forecast(&self, out: &mut [f64]) {
        let mut state = self.state.clone();
        for point in out {
            *point = self.ahead(&state);
            self.advance(&mut state);
        }
    }

    /// The series' value that a state stands for.
    fn ahead(&self, state: &[f64]) -> f64 {
        self.differencing.iter().map(|&(lag, c)| c * state[lag - 1]).sum::<f64>() + state[self.lags]
    }

    fn advance(&self, state: &mut [f64]) {
        let (value, front) = (self.ahead(state), state[self.lags]);
        if self.lags > 0 {
            state.copy_within(0..self.lags - 1, 1);
            state[0] = value;
        }
        state.copy_within(self.lags + 1.., self.lags);
        state[self.len - 1] = 0.0;
        for &(lag, c) in &self.arma.ar {
            state[self.lags + lag - 1] += c * front;
        }
    }

    /// Gain and one-step variance at the present covariance.
    fn update_gain(&mut self) {
        let len = self.len;
        // Covariance of each entry with the value ahead.
        let with_value: Vec<f64> = self.covariance.chunks_exact(len).map(|row| self.ahead(row)).collect();
        let variance = self.ahead(&with_value);
        self.variance = variance;
        let mut moved = 0.0_f64;
        for (gain, covariance) in self.gain.iter_mut().zip(&with_value) {
            // Never below 1, the variance of the newest error.
            let now = covariance / variance;
            moved = moved.max((now - *gain).abs());
            *gain = now;
        }
        self.settled_steps = if moved < SETTLED { self.settled_steps + 1 } else { 0 };
    }

    fn shrink_covariance(&mut self) {
        for (row, own) in self.covariance.chunks_exact_mut(self.len).zip(&self.gain) {
            let scaled = own * self.variance;
            for (entry, gain) in row.iter_mut().zip(&self.gain) {
                *entry -= scaled * gain;
            }
        }
    }

    /// `P = T P T' + R R'`: every row moves on as a state does, then every column.
    fn advance_covariance(&mut self) {
        let len = self.len;
        let mut covariance = std::mem::take(&mut self.covariance);
        for _ in 0..2 {
            for row in covariance.chunks_exact_mut(len) {
                self.advance(row);
            }
            for row in 0..len {
                for column in 0..len {
                    self.scratch[column * len + row] = covariance[row * len + column];
                }
            }
            std::mem::swap(&mut covariance, &mut self.scratch);
        }
        // An error enters the ARMA state, and with it the value ahead; the values before it are settled.
        let errors = || std::iter::once((0, 1.0)).chain(self.arma.ma.iter().copied());
        for (row, a) in errors() {
            for (column, b) in errors() {
                covariance[(self.lags + row) * len + self.lags + column] += a * b;
            }
        }
        self.covariance = covariance;
    }
}
