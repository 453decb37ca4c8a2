//! The members of a combination at work: their weights follow what each has lost lately.
//!
//! The weights that the selection gave ([`combination`](crate::model::combination)) are the prior: they hold until something
//! was seen, and count as much as eight hours of five-minute steps after.

use crate::discounted::{Discounted, Prior, Rule};
use crate::history::History;
use crate::model::{FittedModel, ModelKind};

/// On the first 70 % of the traces, powers of 8 to 16 lower the combination's absolute error by 2 %, one of 4 by 1 %; with
/// less of a prior some series lose.
const RULE: Rule = Rule { sharpness: 8, prior_steps: 96.0 };
/// The smallest weight of a prior: of a member that counts at other leads only.
const LEAST_WEIGHT: f64 = 1e-6;

/// Live weights of a combination's members.
#[derive(Debug, Clone)]
pub(super) struct Members {
    kinds: Vec<ModelKind>,
    weights: Discounted,
}

impl Members {
    /// Of a model that is a combination; `None` for any other.
    pub(super) fn of(model: &FittedModel, step_s: i64) -> Option<Self> {
        let members = model.members()?;
        let octaves = members.first()?.weights.len();
        let priors = (0..octaves).map(|octave| {
            let weights: Vec<f64> = members.iter().map(|member| member.weights[octave]).collect();
            let most = weights.iter().copied().fold(LEAST_WEIGHT, f64::max);
            let loss = |weight: &f64| (weight.max(LEAST_WEIGHT) / most).powf(-1.0 / f64::from(RULE.sharpness));
            Prior { losses: weights.iter().map(loss).collect(), weights }
        });
        let kinds = members.iter().map(|member| member.model.kind()).collect();
        Some(Self { kinds, weights: Discounted::new(step_s, RULE, priors) })
    }

    /// By lead, what each member forecasts after `origin`.
    pub(super) fn points(model: &FittedModel, history: &History, origin: usize, steps: usize) -> Vec<Vec<f64>> {
        let mut by_lead = vec![Vec::new(); steps];
        let mut points = vec![0.0; steps];
        for member in model.members().into_iter().flatten() {
            member.model.forecast(history, origin, &mut points);
            by_lead.iter_mut().zip(&points).for_each(|(of_lead, point)| of_lead.push(*point));
        }
        by_lead
    }

    /// The weighted mean of what the members forecast for a lead.
    pub(super) fn mean(&self, lead: usize, points: &[f64]) -> f64 {
        self.weights.weights(lead).iter().zip(points).map(|(weight, point)| weight * point).sum()
    }

    /// The same with the weights from held-out history.
    pub(super) fn prior_mean(&self, lead: usize, points: &[f64]) -> f64 {
        self.weights.prior(lead).iter().zip(points).map(|(weight, point)| weight * point).sum()
    }

    pub(super) fn observe(&mut self, lead: usize, start_s: i64, points: &[f64], actual: f64) {
        self.weights.observe(lead, start_s, points.iter().map(|point| (actual - point).abs()));
    }

    pub(super) fn take_over(&mut self, replaced: &Self) {
        let place = |index: usize| replaced.kinds.iter().position(|kind| *kind == self.kinds[index]);
        self.weights.take_over(&replaced.weights, place);
    }
}
