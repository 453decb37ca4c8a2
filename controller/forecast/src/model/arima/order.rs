//! Which ARIMA model: how often to difference by tests, how many terms by a stepwise search.
//!
//! After Hyndman and Khandakar (2008). A season is differenced when it is strong (Wang, Smith and Hyndman 2006: the share of
//! the variance that STL's seasonal part explains); neighbours are differenced when the KPSS test refuses that the series is
//! stationary (Kwiatkowski et al. 1992). From four models to begin with, the search goes to whichever neighbour
//! has the smallest corrected Akaike criterion until none is better. Candidates are fitted by conditional sums of squares,
//! all over the same steps; only the winner is fitted exactly, by the caller.
//!
//! What it does not do: difference twice in the same way. A demand whose growth grows is not forecast by drawing
//! its acceleration out for a day.

use std::collections::BTreeSet;

use super::likelihood::conditional;
use super::optimise::minimise;
use super::polynomial::{Arma, Orders};

/// Most plain terms on either side.
const MAX_TERMS: usize = 5;
/// Most seasonal terms on either side; with a season of 24 that is 25 + 53 states.
const MAX_SEASONAL_TERMS: usize = 2;
/// Most coefficients altogether.
const MAX_COEFFICIENTS: usize = 6;
/// Models that are tried at most: about twice what the search was seen to need.
const MAX_MODELS: usize = 60;
/// Values that the search looks at, newest last: two weeks of five minutes. Orders do not need more, and it is
/// `MAX_MODELS` fits of about 80 passes: 4,032 x 80 x 60 = 19 million steps of a recursion.
const MAX_STEPS: usize = 4_032;
/// The 5 % point of the KPSS test for a level.
const KPSS_CRITICAL: f64 = 0.463;
/// A seasonal part that explains at least this share of the variance is differenced away.
const STRONG: f64 = 0.64;
/// A search ends when a step brings less log-likelihood per value than this.
const TOLERANCE: f64 = 1e-6;

/// A model, not yet fitted exactly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) orders: Orders,
    /// Whether the differenced series has a mean of its own.
    pub(super) constant: bool,
    /// Where the optimiser ended: coefficients as in [`Arma::at`], then the mean in deviations of the series.
    pub(super) free: Vec<f64>,
    criterion: f64,
}

/// The search's view of a differenced series.
#[derive(Debug)]
pub(super) struct Search<'a> {
    values: &'a [f64],
    pub(super) mean: f64,
    pub(super) deviation: f64,
    /// Errors count from here on, so that all models are judged by the same values.
    from: usize,
    /// `orders` holds the differences; its other fields are what the search is after.
    orders: Orders,
}

impl<'a> Search<'a> {
    /// Values are differenced already; NaN is missing.
    pub(super) fn new(values: &'a [f64], orders: Orders) -> Self {
        let values = &values[values.len().saturating_sub(MAX_STEPS)..];
        let (mean, deviation) = mean_and_deviation(values);
        let reach = MAX_TERMS + MAX_SEASONAL_TERMS * orders.season_steps;
        Self { values, mean, deviation, from: reach.min(values.len() / 4), orders }
    }

    /// The stepwise search.
    pub(super) fn run(&self) -> Choice {
        let none = Choice { orders: self.orders, constant: true, free: vec![0.0], criterion: f64::INFINITY };
        let mut seen = BTreeSet::new();
        let mut best = none;
        let seasonal = usize::from(self.orders.season_steps > 0);
        // More than one difference with a mean would be a trend that bends.
        let may_have_constant = self.orders.differences + self.orders.seasonal_differences < 2;
        let starts = [[2, 2, seasonal, seasonal], [0, 0, 0, 0], [1, 0, seasonal, 0], [0, 1, 0, seasonal]];
        for terms in starts {
            self.consider(terms, may_have_constant, &mut seen, &mut best);
        }
        if may_have_constant {
            self.consider([0; 4], false, &mut seen, &mut best);
        }
        loop {
            let (before, constant) = (best.criterion, best.constant);
            let [p, q, sp, sq] = terms_of(best.orders);
            for [dp, dq, dsp, dsq] in NEIGHBOURS {
                let moved = [(p, dp), (q, dq), (sp, dsp), (sq, dsq)].map(|(now, by)| now.checked_add_signed(by));
                if let [Some(p), Some(q), Some(sp), Some(sq)] = moved {
                    self.consider([p, q, sp, sq], constant, &mut seen, &mut best);
                    if best.criterion < before {
                        break;
                    }
                }
            }
            if best.criterion >= before && may_have_constant {
                self.consider(terms_of(best.orders), !constant, &mut seen, &mut best);
            }
            if best.criterion >= before || seen.len() >= MAX_MODELS {
                return best;
            }
        }
    }

    fn consider(&self, terms: [usize; 4], constant: bool, seen: &mut BTreeSet<([usize; 4], bool)>, best: &mut Choice) {
        let [ar, ma, seasonal_ar, seasonal_ma] = terms;
        let orders = Orders { ar, ma, seasonal_ar, seasonal_ma, ..self.orders };
        let allowed = ar.max(ma) <= MAX_TERMS
            && seasonal_ar.max(seasonal_ma) <= MAX_SEASONAL_TERMS
            && (orders.season_steps > 0 || seasonal_ar + seasonal_ma == 0)
            && orders.coefficients() <= MAX_COEFFICIENTS
            && orders.ar_reach() <= self.from;
        if !allowed || seen.len() >= MAX_MODELS || !seen.insert((terms, constant)) {
            return;
        }
        if let Some(choice) = self.fitted(orders, constant).filter(|choice| choice.criterion < best.criterion) {
            *best = choice;
        }
    }

    /// A model of given orders, by conditional sums of squares.
    pub(super) fn fitted(&self, orders: Orders, constant: bool) -> Option<Choice> {
        let mut room = Vec::with_capacity(self.values.len());
        let mut count = 0;
        let mut deviance = |free: &[f64]| {
            let (coefficients, mean) = self.split(free, constant);
            let arma = Arma::at(orders, coefficients)?;
            let fit = conditional(self.values, mean, &arma, self.from, &mut room);
            count = fit.count;
            Some(fit.deviance())
        };
        let start = vec![0.1; orders.coefficients()].into_iter().chain(constant.then_some(0.0)).collect();
        let found = minimise(start, TOLERANCE, &mut deviance)?;
        let (n, k) = (count as f64, found.at.len() as f64 + 1.0);
        if n <= k + 1.0 {
            return None;
        }
        let criterion = 2.0 * n * found.value + 2.0 * k * n / (n - k - 1.0);
        Some(Choice { orders, constant, free: found.at, criterion })
    }

    /// Coefficients and the mean of a free point.
    pub(super) fn split<'b>(&self, free: &'b [f64], constant: bool) -> (&'b [f64], f64) {
        match free.split_last() {
            Some((mean, coefficients)) if constant => (coefficients, self.mean + mean * self.deviation),
            _ => (free, 0.0),
        }
    }
}

/// Single steps, then both sides at once.
const NEIGHBOURS: [[isize; 4]; 16] = [
    [0, 0, -1, 0],
    [0, 0, 0, -1],
    [0, 0, 1, 0],
    [0, 0, 0, 1],
    [0, 0, -1, -1],
    [0, 0, -1, 1],
    [0, 0, 1, -1],
    [0, 0, 1, 1],
    [-1, 0, 0, 0],
    [0, -1, 0, 0],
    [1, 0, 0, 0],
    [0, 1, 0, 0],
    [-1, -1, 0, 0],
    [-1, 1, 0, 0],
    [1, -1, 0, 0],
    [1, 1, 0, 0],
];

fn terms_of(orders: Orders) -> [usize; 4] {
    [orders.ar, orders.ma, orders.seasonal_ar, orders.seasonal_ma]
}

/// Mean and standard deviation of the values that are not missing; 0 for none.
pub(super) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let known = || values.iter().filter(|value| !value.is_nan());
    let count = known().count().max(1) as f64;
    let mean = known().sum::<f64>() / count;
    (mean, (known().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
}

/// Whether the KPSS test refuses, at 5 %, that the series is stationary around a level.
pub(super) fn is_integrated(values: &[f64]) -> bool {
    kpss(values).is_some_and(|statistic| statistic > KPSS_CRITICAL)
}

/// The statistic of Kwiatkowski et al. (1992) for a level; missing values are passed over. `None` for a constant or for
/// fewer than ten values.
pub(super) fn kpss(values: &[f64]) -> Option<f64> {
    let (mean, deviation) = mean_and_deviation(values);
    let deviations: Vec<f64> = values.iter().filter(|value| !value.is_nan()).map(|value| value - mean).collect();
    let count = deviations.len() as f64;
    if count < 10.0 || deviation <= 0.0 {
        return None;
    }
    let (mut sum, mut squares) = (0.0, 0.0);
    for deviation in &deviations {
        sum += deviation;
        squares += sum * sum;
    }
    // Bartlett's window, as wide as in Hyndman and Khandakar's tests.
    let lags = (3.0 * count.sqrt() / 13.0) as usize;
    let covariance = |lag: usize| deviations.iter().zip(&deviations[lag..]).map(|(a, b)| a * b).sum::<f64>() / count;
    let weighted: f64 = (1..=lags).map(|lag| (1.0 - lag as f64 / (lags as f64 + 1.0)) * covariance(lag)).sum();
    let variance = covariance(0) + 2.0 * weighted;
    (variance > 0.0).then(|| squares / (count * count * variance))
}

/// Whether the season explains so much of the gapless `values` that it should be differenced.
pub(super) fn is_strongly_seasonal(values: &[f64], season_steps: usize) -> bool {
    values.len() >= 3 * season_steps
        && stlrs::params().fit(values, season_steps).is_ok_and(|parts| parts.seasonal_strength() > STRONG)
}
