//! How the tuner stands, in a few numbers.

use super::evaluation::{Estimate, Evaluation, evaluate};
use super::journal::Entry;
use super::settings::TunerSettings;
use super::state::State;

/// How the tuner stands; losses are shares of what the planner expected epochs to cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// Where it is.
    pub state: State,
    /// What its choices were worth while it watched: what a proposal rests on.
    pub watched: Evaluation,
    /// Settled decisions since it watches or acts.
    pub settled: usize,
    /// Mean loss of what was in force.
    pub loss: f64,
    /// Regret of its choices against the baseline, per decision, whether they were in force or only drawn: negative where
    /// less was lost.
    pub over_baseline: Estimate,
    /// Regret of what was in force against the arm that was believed best at each decision, per decision, as it was believed.
    pub over_best: f64,
    /// Sum of what was really lost, and of what the planner expected, in millionths of the currency.
    pub lost_micros: f64,
    /// See [`lost_micros`](Self::lost_micros).
    pub expected_micros: f64,
    /// Share of decisions in which another arm than the baseline was in force.
    pub deviating: f64,
}

impl Report {
    pub(super) fn of(state: State, watched: Evaluation, settled: &[&Entry], settings: &TunerSettings) -> Self {
        let n = settled.len().max(1) as f64;
        let baseline = settings.band.baseline();
        let sum = |of: &dyn Fn(&Entry) -> f64| settled.iter().map(|entry| of(entry)).sum::<f64>();
        let lived = |entry: &Entry| entry.losses.map_or(0.0, |losses| losses.lived);
        let believed = |entry: &Entry| match entry.in_force == baseline {
            true => entry.expected.baseline,
            false => entry.expected.drawn,
        };
        Self {
            state,
            watched,
            settled: settled.len(),
            loss: sum(&lived) / n,
            over_baseline: evaluate(settled, baseline, settings.confidence).doubly_robust,
            over_best: sum(&|entry| believed(entry) - entry.expected.best) / n,
            lost_micros: sum(&|entry| lived(entry) * entry.expected_micros),
            expected_micros: sum(&|entry| entry.expected_micros),
            deviating: sum(&|entry| f64::from(u8::from(entry.in_force != baseline))) / n,
        }
    }
}
