//! A small world in which headroom and spot share have a price: what the tuner's tests and its bench live in.
//!
//! An epoch is an hour. The planner forecasts a log-normal demand and plans for its newsvendor quantile; half of it is on
//! spot. Instances cost by the hour, demand above what is ready costs twenty times that. Now and then all spot instances
//! are gone for a tenth of the hour. What differs between worlds is how wrong the planner is about its own forecast.
//! Demand does not depend on what is ready, so every arm can be replayed on the demand of any epoch.

use anyhow::Result;
use forebay_plan::learning::tuner::{Arm, Context, Decision, Epoch, Outcome, Settlement, State, Tuner};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF as _, Normal};

const DEVIATION: f64 = 0.2;
const QUANTILE: f64 = 0.97;
const ON_DEMAND: f64 = 1.0;
const SPOT: f64 = 0.7;
const SPOT_SHARE: f64 = 0.5;
const SHORTAGE: f64 = 20.0;
const OUTAGE_SHARE: f64 = 0.1;
/// Millionths of the currency for an hour of one unit of demand on demand.
const UNIT_MICROS: f64 = 10_000.0;

/// How things really are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truth {
    /// Demand over the forecast's median, in logarithms.
    pub(crate) bias: f64,
    /// Deviation over the one that the planner believes.
    pub(crate) spread: f64,
    /// Chance that spot instances are taken within an hour.
    pub(crate) interruption: f64,
}

/// The planner is right, and its spot share is, too.
pub(crate) const RIGHT: Truth = Truth { bias: 0.0, spread: 1.0, interruption: 0.17 };
/// The planner believes demand to be higher and wilder than it is.
pub(crate) const TOO_CAREFUL: Truth = Truth { bias: -0.08, spread: 0.5, interruption: 0.17 };
/// The other way round.
pub(crate) const TOO_BOLD: Truth = Truth { bias: 0.10, spread: 1.4, interruption: 0.17 };
/// Spot instances stay.
pub(crate) const CALM_SPOT: Truth = Truth { bias: 0.0, spread: 1.0, interruption: 0.01 };

/// How a world goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum World {
    /// As it is.
    Steady(Truth),
    /// Careful at night and bold by day, or the other way round.
    Phased(Truth, Truth),
    /// Another one from an epoch on.
    Shifted(Truth, Truth, usize),
}

impl World {
    pub(crate) fn truth(self, epoch: usize) -> Truth {
        match self {
            Self::Steady(truth) => truth,
            Self::Phased(night, day) => {
                if (8..20).contains(&(epoch % 24)) {
                    day
                } else {
                    night
                }
            }
            Self::Shifted(before, after, at) => {
                if epoch < at {
                    before
                } else {
                    after
                }
            }
        }
    }
}

fn forecast(epoch: usize) -> f64 {
    100.0 * (1.0 + 0.5 * (std::f64::consts::TAU * epoch as f64 / 24.0).sin())
}

fn need(epoch: usize) -> f64 {
    forecast(epoch) * (DEVIATION * Normal::standard().inverse_cdf(QUANTILE)).exp()
}

/// What happens in an epoch.
#[derive(Debug, Clone, Copy)]
struct Happening {
    epoch: usize,
    demand: f64,
    interrupted: bool,
}

impl Happening {
    fn outcome(self, arm: Arm) -> Outcome {
        let ready = need(self.epoch) * arm.headroom;
        let spot = (SPOT_SHARE + arm.spot_shift).clamp(0.0, 1.0);
        let cost = ready * (spot * SPOT + (1.0 - spot) * ON_DEMAND);
        let short = |ready: f64| (self.demand - ready).max(0.0);
        let outage = if self.interrupted { OUTAGE_SHARE } else { 0.0 };
        let missing = (1.0 - outage) * short(ready) + outage * short(ready * (1.0 - spot));
        Outcome { cost_micros: UNIT_MICROS * cost, shortage_micros: UNIT_MICROS * SHORTAGE * missing }
    }
}

fn total(outcome: Outcome) -> f64 {
    outcome.cost_micros + outcome.shortage_micros
}

/// Expected loss of an arm in an epoch, in millionths: over demand and interruption.
pub(crate) fn expected_micros(epoch: usize, truth: Truth, arm: Arm) -> f64 {
    const POINTS: u32 = 40;
    let of = |rank: u32, interrupted: bool| {
        let z = Normal::standard().inverse_cdf((f64::from(rank) + 0.5) / f64::from(POINTS));
        let demand = forecast(epoch) * (truth.bias + truth.spread * DEVIATION * z).exp();
        total(Happening { epoch, demand, interrupted }.outcome(arm))
    };
    let mean = |interrupted: bool| (0..POINTS).map(|rank| of(rank, interrupted)).sum::<f64>() / f64::from(POINTS);
    truth.interruption * mean(true) + (1.0 - truth.interruption) * mean(false)
}

/// What came of an epoch, in shares of what the planner expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Step {
    pub(crate) decision: Decision,
    pub(crate) state: State,
    /// Lived, and what the baseline would have lost on the same demand.
    pub(crate) loss: f64,
    pub(crate) baseline: f64,
    /// Expected excess over the best arm, of what was in force and of the baseline.
    pub(crate) regret: f64,
    pub(crate) baseline_regret: f64,
    pub(crate) violated: bool,
    pub(crate) baseline_violated: bool,
}

/// Lets a tuner live through the first `epochs` of a world, with or without replays of what was not in force.
pub(crate) fn live(tuner: &mut Tuner, world: World, epochs: usize, seed: u64, replays: bool) -> Result<Vec<Step>> {
    let mut of_world = ChaCha8Rng::seed_from_u64(seed);
    let mut of_tuner = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let arms: Vec<Arm> = (0..tuner.settings().band.arms()).map(|arm| tuner.settings().band.arm(arm)).collect();
    // Losses scale with the forecast, so one epoch's shares are those of all.
    let shares = |truth: Truth| -> Result<(Vec<f64>, f64)> {
        let expected = expected_micros(0, RIGHT, Arm::BASELINE);
        let losses: Vec<f64> = arms.iter().map(|arm| expected_micros(0, truth, *arm) / expected).collect();
        let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
        Ok((losses, best))
    };
    let mut steps = Vec::with_capacity(epochs);
    let mut recent_violations = 0.0;
    let mut known: Option<(usize, (Vec<f64>, f64))> = None;
    for epoch in 0..epochs {
        let truth = world.truth(epoch);
        let kind = usize::from(truth.bias > world.truth(0).bias) + 2 * usize::from(truth.bias < world.truth(0).bias);
        let (losses, best) = match known.take() {
            Some((of, shares)) if of == kind => shares,
            _ => shares(truth)?,
        };
        let expected = expected_micros(0, RIGHT, Arm::BASELINE) * forecast(epoch) / forecast(0);
        let context = Context {
            hour_of_week: (epoch % 168) as f64,
            uncertainty: (DEVIATION * 1.881).exp_m1(),
            violations: recent_violations,
            interruption_per_h: truth.interruption,
        };
        let decision =
            tuner.decide(&Epoch { at_s: epoch as i64 * 3600, context, expected_micros: expected }, &mut of_tuner)?;
        let state = tuner.state();
        let z = Normal::standard().inverse_cdf(of_world.random::<f64>().clamp(1e-9, 1.0 - 1e-9));
        let demand = forecast(epoch) * (truth.bias + truth.spread * DEVIATION * z).exp();
        let happening = Happening { epoch, demand, interrupted: of_world.random::<f64>() < truth.interruption };
        let [lived, drawn, baseline] =
            [decision.in_force, decision.drawn, Arm::BASELINE].map(|arm| happening.outcome(arm));
        let replay = |outcome: Outcome| replays.then_some(outcome);
        tuner.settle(decision.id, &Settlement { lived, drawn: replay(drawn), baseline: replay(baseline) })?;
        let of = |arm: Arm| arms.iter().position(|known| *known == arm).map_or(f64::NAN, |at| losses[at] - best);
        let violated = lived.shortage_micros > 0.0;
        recent_violations += (f64::from(u8::from(violated)) - recent_violations) / 24.0;
        steps.push(Step {
            decision,
            state,
            loss: total(lived) / expected,
            baseline: total(baseline) / expected,
            regret: of(decision.in_force),
            baseline_regret: of(Arm::BASELINE),
            violated,
            baseline_violated: baseline.shortage_micros > 0.0,
        });
        known = Some((kind, (losses, best)));
    }
    Ok(steps)
}

/// The same tuner as if somebody had let it act from the beginning, without any evidence.
pub(crate) fn acting(tuner: &Tuner) -> Result<Tuner> {
    let mut stored = serde_json::to_value(tuner)?;
    stored["state"] = serde_json::json!({ "Acting": { "from": 0 } });
    Ok(serde_json::from_value(stored)?)
}

/// Mean of a measure.
pub(crate) fn mean(steps: &[Step], of: impl Fn(&Step) -> f64) -> f64 {
    steps.iter().map(of).sum::<f64>() / steps.len().max(1) as f64
}
