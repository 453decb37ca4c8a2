//! From values to parameters: how the series is seen, and the likelihood made largest.
//!
//! Two choices are made here by likelihood. The transform and the harmonics are chosen together, before any recursion is
//! known, as if neighbours' errors were alike by one correlation. The parameters of the recursion start where the search
//! for orders left them and end where the exact likelihood is largest; harmonics are not estimated again, since with as
//! many weeks as they need their estimates hardly depend on which recursion it is.

use super::harmonics::{Harmonics, Lesson};
use super::order::{Choice, Search};
use super::polynomial::{Arma, Orders, Term};
use super::state_space::Filter;
use super::transform::Transform;
use super::{likelihood, optimise};
use crate::history::History;

/// Most multiplications of one pass of a filter that does not settle (steps times the square of the state's length) for
/// which a series with gaps is still fitted exactly: a hundred passes of 5 ms. Seven states over four weeks of
/// five minutes take 395,000; a season of 24 over four weeks of hours takes two million, and keeps the conditional fit.
const MAX_PASS: usize = 1_000_000;
/// The exact search ends when a step brings less log-likelihood per value than this.
const TOLERANCE: f64 = 1e-7;

/// A series as the recursion will see it, and what repeats in it.
pub(super) struct Seen {
    pub(super) transform: Transform,
    pub(super) harmonics: Harmonics,
    pub(super) values: Vec<f64>,
}

impl Seen {
    /// Chooses the transform by how likely it makes the scaled values, around harmonics and with alike neighbours.
    pub(super) fn best(history: &History, from: usize, scaled: &[f64], orders: Orders) -> Self {
        let differencing = orders.differencing();
        let with_day = orders.seasonal_differences == 0;
        let seen_as = |transform: Transform| {
            let values: Vec<f64> = scaled.iter().map(|value| transform.forward(*value)).collect();
            let lesson = Lesson { history, from, values: &values, differencing: &differencing, with_day };
            let (harmonics, criterion) = Harmonics::fit(lesson);
            (criterion + transform.criterion(scaled), Self { transform, harmonics, values })
        };
        let [plain, logarithm] = Transform::ALL.map(seen_as);
        if logarithm.0 < plain.0 { logarithm.1 } else { plain.1 }
    }
}

/// What estimation leaves, in the units of the values that it was given.
pub(super) struct Fitted {
    pub(super) orders: Orders,
    pub(super) arma: Arma,
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

impl Fitted {
    /// Maximises the exact likelihood from where the search ended: of the differenced `values` if none is missing, else of
    /// `rest`, from which they were differenced; if that would take too long, the search's conditional fit is kept.
    pub(super) fn exactly(rest: &[f64], values: &[f64], search: &Search, choice: Choice) -> Option<Self> {
        let Choice { orders, constant, free, .. } = choice;
        let complete = !values.iter().any(|value| value.is_nan());
        let differencing = orders.differencing();
        let states = orders.lost_steps() + Arma::at(orders, &free[..orders.coefficients()])?.state_len();
        let affordable = complete || rest.len() * states * states <= MAX_PASS;
        let mut room = Vec::new();
        let mut likelihood = |free: &[f64]| {
            let (coefficients, mean) = search.split(free, constant);
            let arma = Arma::at(orders, coefficients)?;
            match (complete, affordable) {
                (true, _) => likelihood::exact(values, mean, &arma),
                (false, true) => filtered(rest, mean, orders, &differencing, &arma),
                (false, false) => Some(likelihood::conditional(values, mean, &arma, orders.ar_reach(), &mut room)),
            }
        };
        let found = optimise::minimise(free, TOLERANCE, &mut |free| Some(likelihood(free)?.deviance()))?;
        let deviation = likelihood(&found.at)?.variance().sqrt();
        let (coefficients, mean) = search.split(&found.at, constant);
        Some(Self { orders, arma: Arma::at(orders, coefficients)?, mean, deviation })
    }
}

/// Exact likelihood of values before differencing, some of them missing.
fn filtered(rest: &[f64], mean: f64, orders: Orders, differencing: &[Term], arma: &Arma) -> Option<likelihood::Fit> {
    let slope = if orders.seasonal_differences > 0 { mean / orders.season_steps as f64 } else { mean };
    let lost = orders.lost_steps();
    let drift = |index: usize| if lost == 0 { mean } else { slope * index as f64 };
    let at = |index: usize| rest[index] - drift(index);
    let first: Vec<f64> = (0..lost).map(at).collect();
    let mut filter = Filter::new(arma, differencing, &first)?;
    (lost..rest.len()).for_each(|index| filter.step(at(index)));
    Some(filter.fit())
}

/// `values` without their first steps, which differencing uses up; NaN where any part is missing.
pub(super) fn differenced(values: &[f64], differencing: &[Term]) -> Vec<f64> {
    let lost = differencing.last().map_or(0, |(lag, _)| *lag).min(values.len());
    (lost..values.len())
        .map(|index| values[index] - differencing.iter().map(|&(lag, c)| c * values[index - lag]).sum::<f64>())
        .collect()
}
