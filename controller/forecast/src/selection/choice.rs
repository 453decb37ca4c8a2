//! Which model forecasts.
//!
//! The order of simplicity is: baselines, whose failures people can foresee; the combination, since a mean of models is
//! flattered less by one held-out stretch than the best of them is; a single model.
//!
//! - A single model is used in place of the combination where it is better by [`LEAD_OF_SINGLE`], and that by more than
//!   [`ERRORS_OF_SINGLE`] standard errors of the difference.
//! - The better of the two is used in place of the best baseline where its loss is lower. Why not by a standard error too:
//!   a mean of models costs little where it gains nothing, and to forgo a gain that is not yet clear costs more than luck
//!   does. Whether the gain is clear is told beside it ([`Gain`](super::Gain)).

use super::Reason;
use crate::comparison::BlockLosses;
use crate::model::ModelKind;

/// Share of the combination's loss by which a single model has to be better to be used alone. One held-out week flatters
/// the best of many models; the mean of them is flattered less.
const LEAD_OF_SINGLE: f64 = 0.25;
/// Standard errors of the difference that this lead has to be above.
const ERRORS_OF_SINGLE: f64 = 1.0;

/// A model with its held-out losses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) kind: ModelKind,
    pub(super) losses: &'a BlockLosses,
}

/// The model that forecasts.
pub(super) fn choose(entries: &[Entry<'_>]) -> (ModelKind, Reason) {
    let baseline = best(entries, ModelKind::is_baseline);
    let (baseline, loss) = baseline.map_or((ModelKind::LastValue, f64::INFINITY), |it| (it.kind, it.losses.mean()));
    let Some(other) = contender(entries) else { return (baseline, Reason::NoOtherModel) };
    // A baseline without any loss cannot be beaten.
    let gain = if loss > 0.0 { 1.0 - other.losses.mean() / loss } else { 0.0 };
    if gain > 0.0 { (other.kind, Reason::BeatsBaseline { gain }) } else { (baseline, Reason::NotBeaten { gain }) }
}

/// The model that is to beat the best baseline.
pub(super) fn contender<'a>(entries: &[Entry<'a>]) -> Option<Entry<'a>> {
    let combination = best(entries, |kind| kind == ModelKind::Combination);
    let single = best(entries, |kind| !kind.is_baseline() && kind != ModelKind::Combination);
    let (Some(mean), Some(alone)) = (combination, single) else { return combination.or(single) };
    let baseline_loss = best(entries, ModelKind::is_baseline).map_or(f64::INFINITY, |entry| entry.losses.mean());
    let leads = alone.losses.mean() < (1.0 - LEAD_OF_SINGLE) * mean.losses.mean()
        && alone.losses.is_below(mean.losses, ERRORS_OF_SINGLE);
    if leads || mean.losses.mean() >= baseline_loss { single } else { combination }
}

/// The model with the smallest loss among those asked for; the first of equals.
pub(super) fn best<'a>(entries: &[Entry<'a>], asked_for: impl Fn(ModelKind) -> bool) -> Option<Entry<'a>> {
    let asked_for = entries.iter().filter(|entry| asked_for(entry.kind));
    asked_for.min_by(|a, b| a.losses.mean().total_cmp(&b.losses.mean())).copied()
}
