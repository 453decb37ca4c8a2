//! All pairs at all lags, and which of them are more than chance.
//!
//! With `x` and `y` the normal scores of two series' innovations, the statistic at lag `k` is the sum of `x(t) y(t + k)`
//! over the root of the sum of its squares: about standard normal when the two are independent, also when both are wilder
//! at the same hours (White, 1980). Remaining autocorrelation widens it by Bartlett's factor `1 + 2 sum r_x(j) r_y(j)`,
//! which is never taken below 1. Both sums are products of matrices, one pair for each lag.

use libm::erfc;
use nalgebra::DMatrix;
use std::f64::consts::SQRT_2;

use super::LeadLagSettings;
use super::innovations::{Innovations, autocovariances, autoregression, whitened};
use crate::events::normal;

/// Lags over which remaining autocorrelation is counted in.
const BARTLETT_LAGS: usize = 20;
/// One-sided, in standard errors, for the second half: 1 in 1,000. Hundreds of leads may stand to be confirmed.
const CONFIRMED_AT: f64 = 3.09;

/// A lead in the first half.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) leader: usize,
    pub(super) follower: usize,
    pub(super) lag_steps: usize,
    pub(super) correlation: f64,
    pub(super) q_value: f64,
}

/// Searches the first halves. Of the lags of a pair only the most evident is given.
pub(super) fn search(innovations: &[Innovations], settings: &LeadLagSettings) -> Vec<Found> {
    let series = innovations.len();
    let scores: Vec<Vec<f64>> = innovations.iter().map(|of_one| evidence(&of_one.halves[0])).collect();
    let steps = scores.first().map_or(0, Vec::len);
    if series < 2 || scores.iter().any(|scores| scores.len() != steps) {
        return Vec::new();
    }
    let flat: Vec<f64> = scores.iter().flatten().copied().collect();
    let by_step = DMatrix::from_vec(steps, series, flat);
    let squares = by_step.map(|score| score * score);
    let widths = widths(&scores);
    let energy: Vec<f64> = squares.column_iter().map(|column| column.sum()).collect();

    let mut candidates = Vec::new();
    for lag_steps in 1..=settings.max_lag_steps.min(steps.saturating_sub(1)) {
        let lagged = |scores: &DMatrix<f64>| {
            scores.rows(0, steps - lag_steps).transpose() * scores.rows(lag_steps, steps - lag_steps)
        };
        let (sums, variances) = (lagged(&by_step), lagged(&squares));
        for leader in 0..series {
            for follower in (0..series).filter(|&follower| follower != leader) {
                let at = (leader, follower);
                let p = p_value(sums[at] / (variances[at] * widths[at]).sqrt());
                if p <= settings.false_discovery_rate {
                    let correlation = sums[at] / (energy[leader] * energy[follower]).sqrt();
                    candidates.push((p, Found { leader, follower, lag_steps, correlation, q_value: 1.0 }));
                }
            }
        }
    }
    let tests = series * (series - 1) * settings.max_lag_steps;
    let mut found = below(candidates, tests, settings.false_discovery_rate);
    found.sort_by_key(|found| (found.leader, found.follower));
    found.dedup_by_key(|found| (found.leader, found.follower));
    found
}

/// Benjamini and Yekutieli over `tests` p-values, of which all that are small are given. The result is in order of p.
fn below(mut candidates: Vec<(f64, Found)>, tests: usize, rate: f64) -> Vec<Found> {
    candidates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let tests = tests as f64;
    // The sum of 1 / i up to the number of tests.
    let harmonic = tests.ln() + 0.577_215_664_901_532_9 + 0.5 / tests;
    let mut smallest = 1.0_f64;
    for (rank, (p, found)) in candidates.iter_mut().enumerate().rev() {
        smallest = smallest.min(*p * tests * harmonic / (rank + 1) as f64);
        found.q_value = smallest;
    }
    candidates.into_iter().map(|(_, found)| found).take_while(|found| found.q_value <= rate).collect()
}

/// The share of the follower's squared innovations of the second half that goes when what the first half says of the
/// leader is taken into account; `None` if nothing goes, or if the correlation is not there again.
pub(super) fn confirmed_gain(leader: &Innovations, follower: &Innovations, found: &Found) -> Option<f64> {
    let [earlier, later] = [0, 1].map(|half| Lagged {
        leader: &leader.halves[half],
        follower: &follower.halves[half],
        lag: found.lag_steps,
    });
    let (x, y) = (evidence(&leader.halves[1]), evidence(&follower.halves[1]));
    let seen = Lagged { leader: &x, follower: &y, lag: found.lag_steps };
    let variance: f64 = seen.pairs().map(|(x, y)| (x * y).powi(2)).sum();
    let statistic = seen.pairs().map(|(x, y)| x * y).sum::<f64>() / variance.sqrt();
    if (statistic * found.correlation.signum()).partial_cmp(&CONFIRMED_AT).is_none_or(|order| order.is_lt()) {
        return None;
    }
    let weight = earlier.pairs().map(|(x, y)| x * y).sum::<f64>() / earlier.pairs().map(|(x, _)| x * x).sum::<f64>();
    let without: f64 = later.pairs().map(|(_, y)| y * y).sum();
    let with: f64 = later.pairs().map(|(x, y)| (y - weight * x).powi(2)).sum();
    Some(1.0 - with / without).filter(|gain| *gain > 0.0)
}

/// Two series, one some steps behind.
struct Lagged<'a> {
    leader: &'a [f64],
    follower: &'a [f64],
    lag: usize,
}

impl Lagged<'_> {
    /// What is known of both.
    fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        let behind = self.follower.get(self.lag..).unwrap_or_default();
        self.leader.iter().copied().zip(behind.iter().copied()).filter(|(x, y)| !x.is_nan() && !y.is_nan())
    }
}

/// What of a series can be evidence: the normal scores of its innovations, whitened once more. A few wild innovations
/// decide the first autoregression, and what it leaves in all others would let a correlation at lag 0 show at lag 1.
/// 0 where a value is missing.
fn evidence(innovations: &[f64]) -> Vec<f64> {
    let scores = scores(innovations);
    let white = whitened(&scores, &autoregression(&scores));
    white.into_iter().map(|score| if score.is_nan() { 0.0 } else { score }).collect()
}

/// Normal scores (van der Waerden): the normal quantile at each value's rank, centred. NaN where the value is missing.
fn scores(values: &[f64]) -> Vec<f64> {
    let mut ascending: Vec<usize> = (0..values.len()).filter(|&index| !values[index].is_nan()).collect();
    ascending.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let known = ascending.len() as f64;
    let mut scores = vec![f64::NAN; values.len()];
    let mut below = 0;
    for equal in ascending.chunk_by(|&a, &b| values[a] == values[b]) {
        let middle = below as f64 + equal.len() as f64 / 2.0;
        let score = normal::quantile((middle + 0.5) / (known + 1.0));
        equal.iter().for_each(|&index| scores[index] = score);
        below += equal.len();
    }
    let mean = ascending.iter().map(|&index| scores[index]).sum::<f64>() / known.max(1.0);
    ascending.iter().for_each(|&index| scores[index] -= mean);
    scores
}

/// Bartlett's factor for each pair.
fn widths(scores: &[Vec<f64>]) -> DMatrix<f64> {
    let correlations = scores.iter().flat_map(|scores| {
        let covariances = autocovariances(scores, BARTLETT_LAGS);
        let variance = covariances[0];
        (1..=BARTLETT_LAGS).map(move |lag| if variance > 0.0 { covariances[lag] / variance } else { 0.0 })
    });
    let by_lag = DMatrix::from_iterator(BARTLETT_LAGS, scores.len(), correlations);
    (by_lag.transpose() * by_lag).map(|product| (1.0 + 2.0 * product).max(1.0))
}

/// Of a standard normal value, both sides; 1 for none.
fn p_value(statistic: f64) -> f64 {
    if statistic.is_nan() { 1.0 } else { erfc(statistic.abs() / SQRT_2) }
}
