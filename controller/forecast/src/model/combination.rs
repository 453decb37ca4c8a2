//! The weighted mean of fitted models, with weights by lead: what the last value knows about the next minute it does not
//! know about tomorrow.
//!
//! A weight is a power of the inverse of the member's mean absolute error on held-out forecasts. Why not weights from
//! least squares: these fit the noise of one held-out week, and on hourly series they lose to this rule (the combination
//! puzzle: Timmermann, Forecast combinations, 2006). The fourth power ([`Tuning::sharpness`](super::Tuning)) is between a plain mean and the best member alone;
//! between the second and the eighth little changes. Members that would hardly count are left out.
//!
//! Leads are pooled by octave: errors of one lead are too few to tell models apart.

use serde::{Deserialize, Serialize};

use super::{FittedModel, Model};
use crate::history::History;

/// Smallest share of the weights that a member keeps.
pub(crate) const MIN_SHARE: f64 = 0.03;

/// Fitted models with their weights; see the module's text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Combination {
    members: Vec<Member>,
}

/// One model of a combination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) model: FittedModel,
    /// One per octave of leads.
    pub(crate) weights: Vec<f64>,
}

impl Combination {
    pub(crate) fn of(members: Vec<Member>) -> Self {
        Self { members }
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }
}

impl Model for Combination {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        out.fill(0.0);
        let mut points = vec![0.0; out.len()];
        for member in &self.members {
            member.model.forecast(history, origin, &mut points);
            for ((sum, point), lead) in out.iter_mut().zip(&points).zip(1..) {
                *sum += member.weights.get(octave(lead)).copied().unwrap_or(0.0) * point;
            }
        }
    }
}

/// The pool of leads that `lead` belongs to: 1, 2 and 3, 4 to 7, ...
pub(crate) fn octave(lead: usize) -> usize {
    lead.max(1).ilog2() as usize
}

/// Weights that sum to 1 from each member's mean absolute error over the same forecasts. Members without any error share
/// all of it; all are equal if nothing is known. Members that would hardly count have none.
/// `sharpness` is the power of the inverse error.
pub(crate) fn weights(errors: &[f64], sharpness: i32) -> Vec<f64> {
    let mut weights = shares(errors, sharpness);
    for weight in &mut weights {
        if *weight < MIN_SHARE {
            *weight = 0.0;
        }
    }
    share(&mut weights);
    weights
}

/// The same with those that would hardly count.
pub(crate) fn shares(errors: &[f64], sharpness: i32) -> Vec<f64> {
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    let worth = |error: f64| match least > 0.0 {
        true if error.is_finite() => (least / error).powi(sharpness),
        true => 0.0,
        false => f64::from(u8::from(error <= 0.0)),
    };
    let mut weights: Vec<f64> = errors.iter().map(|&error| worth(error)).collect();
    share(&mut weights);
    weights
}

fn share(weights: &mut [f64]) {
    let (total, count) = (weights.iter().sum::<f64>(), weights.len() as f64);
    for weight in weights {
        *weight = if total > 0.0 { *weight / total } else { 1.0 / count };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_error_is_worth_sixteen_times_the_weight() {
        let weights = weights(&[2.0, 1.0, 2.0, 9.0], 4);
        assert_eq!(weights[0], weights[2]);
        assert!((weights[1] / weights[0] - 16.0).abs() < 1e-9, "{weights:?}");
        assert_eq!(weights[3], 0.0, "it would hardly count");
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_member_that_never_erred_is_believed() {
        assert_eq!(weights(&[0.0, 1.0, 0.0], 4), [0.5, 0.0, 0.5]);
        assert_eq!(weights(&[f64::INFINITY, 1.0], 4), [0.0, 1.0]);
        assert_eq!(weights(&[f64::INFINITY, f64::INFINITY], 4), [0.5, 0.5]);
    }

    #[test]
    fn leads_are_pooled_by_octave() {
        assert_eq!([1, 2, 3, 4, 7, 8, 288].map(octave), [0, 1, 1, 2, 2, 3, 8]);
    }
}
