//! A small world in which headroom and spot share have a price: what the tuner's tests and its bench live in.
//!
//! An epoch is an hour. The planner forecasts a log-normal demand and plans for its newsvendor quantile; a part of it is on
//! spot. Instances cost by the hour, demand above what is ready costs a multiple of that. Now and then all spot instances
//! are gone for a tenth of the hour. What differs between worlds is how wrong the planner is about its own forecast, and the
//! [`Ground`] that it stands on. Demand does not depend on what is ready, so every arm can be replayed on the demand of any
//! epoch.

use anyhow::Result;
use forebay_plan::learning::tuner::{Arm, Context, Decision, Epoch, Outcome, Settlement, State, Tuner};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

const ON_DEMAND: f64 = 1.0;
const OUTAGE_SHARE: f64 = 0.1;
/// Millionths of the currency for an hour of one unit of demand on demand.
const UNIT_MICROS: f64 = 10_000.0;

/// What a world is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ground {
    /// Deviation of demand from its forecast that the planner believes, in logarithms.
    pub(crate) deviation: f64,
    /// What the planner plans for.
    pub(crate) quantile: f64,
    /// Price of an hour on spot, on demand being 1.
    pub(crate) spot: f64,
    pub(crate) spot_share: f64,
    /// Price of an hour of a unit that is not served.
    pub(crate) shortage: f64,
    /// Degrees of freedom of the deviations, if they are Student's; else they are normal. The planner's quantile is right in
    /// either case.
    pub(crate) freedom: Option<f64>,
    /// Correlation of a deviation with the one before.
    pub(crate) persistence: f64,
    /// Demand of a day off over that of another.
    pub(crate) day_off: f64,
}

/// The ground that the tuner's settings were chosen on.
pub(crate) const SEEN: Ground = Ground {
    deviation: 0.2,
    quantile: 0.97,
    spot: 0.7,
    spot_share: 0.5,
    shortage: 20.0,
    freedom: None,
    persistence: 0.0,
    day_off: 1.0,
};

impl Ground {
    fn forecast(&self, epoch: usize) -> f64 {
        let of_day = 100.0 * (1.0 + 0.5 * (std::f64::consts::TAU * epoch as f64 / 24.0).sin());
        of_day * if epoch / 24 % 7 >= 5 { self.day_off } else { 1.0 }
    }

    fn need(&self, epoch: usize) -> f64 {
        self.forecast(epoch) * (self.deviation * Normal::standard().inverse_cdf(self.quantile)).exp()
    }

    /// The deviation, in units of what the planner believes, that ranks as a standard normal one does.
    fn deviates(&self, normal: f64) -> f64 {
        let student = self.freedom.and_then(|freedom| StudentsT::new(0.0, 1.0, freedom).ok());
        let standard = Normal::standard();
        student.map_or(normal, |student| {
            let scale = standard.inverse_cdf(self.quantile) / student.inverse_cdf(self.quantile);
            scale * student.inverse_cdf(standard.cdf(normal).clamp(1e-9, 1.0 - 1e-9))
        })
    }
}

/// How things really are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Truth {
    /// Demand over the forecast's median, in logarithms.
    pub(crate) bias: f64,
    /// Deviation over the one that the planner believes.
    pub(crate) spread: f64,
    /// Chance that spot instances are taken within an hour.
    pub(crate) interruption: f64,
    pub(crate) ground: Ground,
}

/// The planner is right, and its spot share is, too.
pub(crate) const RIGHT: Truth = Truth { bias: 0.0, spread: 1.0, interruption: 0.17, ground: SEEN };
/// The planner believes demand to be higher and wilder than it is.
pub(crate) const TOO_CAREFUL: Truth = Truth { bias: -0.08, spread: 0.5, ..RIGHT };
/// The other way round.
pub(crate) const TOO_BOLD: Truth = Truth { bias: 0.10, spread: 1.4, ..RIGHT };
/// Spot instances stay.
pub(crate) const CALM_SPOT: Truth = Truth { interruption: 0.01, ..RIGHT };

/// How a world goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum World {
    /// As it is.
    Steady(Truth),
    /// By the epoch.
    By(fn(usize) -> Truth),
    /// Another one from an epoch on.
    Shifted(Truth, Truth, usize),
}

/// Careful at night and bold by day.
pub(crate) fn careful_nights(epoch: usize) -> Truth {
    if (8..20).contains(&(epoch % 24)) { TOO_BOLD } else { TOO_CAREFUL }
}

impl World {
    pub(crate) fn truth(self, epoch: usize) -> Truth {
        match self {
            Self::Steady(truth) => truth,
            Self::By(truth) => truth(epoch),
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

/// What happens in an epoch.
#[derive(Debug, Clone, Copy)]
struct Happening {
    epoch: usize,
    ground: Ground,
    demand: f64,
    interrupted: bool,
}

impl Happening {
    fn outcome(self, arm: Arm) -> Outcome {
        let ready = self.ground.need(self.epoch) * arm.headroom;
        let spot = (self.ground.spot_share + arm.spot_shift).clamp(0.0, 1.0);
        let cost = ready * (spot * self.ground.spot + (1.0 - spot) * ON_DEMAND);
        let short = |ready: f64| (self.demand - ready).max(0.0);
        let outage = if self.interrupted { OUTAGE_SHARE } else { 0.0 };
        let missing = (1.0 - outage) * short(ready) + outage * short(ready * (1.0 - spot));
        Outcome { cost_micros: UNIT_MICROS * cost, shortage_micros: UNIT_MICROS * self.ground.shortage * missing }
    }
}

fn total(outcome: Outcome) -> f64 {
    outcome.cost_micros + outcome.shortage_micros
}

/// Expected loss of an arm in an epoch, in millionths: over demand and interruption.
pub(crate) fn expected_micros(epoch: usize, truth: Truth, arm: Arm) -> f64 {
    const POINTS: u32 = 40;
    let ground = truth.ground;
    let of = |rank: u32, interrupted: bool| {
        let normal = Normal::standard().inverse_cdf((f64::from(rank) + 0.5) / f64::from(POINTS));
        let deviation = truth.spread * ground.deviation * ground.deviates(normal);
        let demand = ground.forecast(epoch) * (truth.bias + deviation).exp();
        total(Happening { epoch, ground, demand, interrupted }.outcome(arm))
    };
    let mean = |interrupted: bool| (0..POINTS).map(|rank| of(rank, interrupted)).sum::<f64>() / f64::from(POINTS);
    truth.interruption * mean(true) + (1.0 - truth.interruption) * mean(false)
}

/// What is at stake in an epoch. Losses scale with the forecast, so one epoch's shares are those of all.
struct Stakes {
    truth: Truth,
    /// What the planner expects to lose in the first epoch, in millionths.
    expected: f64,
    /// What is to be expected of each arm, over that, and of the best.
    losses: Vec<f64>,
    best: f64,
}

impl Stakes {
    fn of(truth: Truth, arms: &[Arm]) -> Self {
        let expected = expected_micros(0, Truth { ground: truth.ground, ..RIGHT }, Arm::BASELINE);
        let losses: Vec<f64> = arms.iter().map(|arm| expected_micros(0, truth, *arm) / expected).collect();
        let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
        Self { truth, expected, losses, best }
    }
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
    let mut steps = Vec::with_capacity(epochs);
    let mut recent_violations = 0.0;
    let mut known: Vec<Stakes> = Vec::new();
    let mut normal = 0.0;
    for epoch in 0..epochs {
        let truth = world.truth(epoch);
        let ground = truth.ground;
        let at = known.iter().position(|stakes| stakes.truth == truth).unwrap_or_else(|| {
            known.push(Stakes::of(truth, &arms));
            known.len() - 1
        });
        let stakes = &known[at];
        let expected = stakes.expected * ground.forecast(epoch) / ground.forecast(0);
        let context = Context {
            hour_of_week: (epoch % 168) as f64,
            uncertainty: (ground.deviation * Normal::standard().inverse_cdf(ground.quantile)).exp_m1(),
            violations: recent_violations,
            interruption_per_h: truth.interruption,
        };
        let decision =
            tuner.decide(&Epoch { at_s: epoch as i64 * 3600, context, expected_micros: expected }, &mut of_tuner)?;
        let state = tuner.state();
        let fresh = Normal::standard().inverse_cdf(of_world.random::<f64>().clamp(1e-9, 1.0 - 1e-9));
        normal = ground.persistence * normal + (1.0 - ground.persistence.powi(2)).sqrt() * fresh;
        let deviation = truth.spread * ground.deviation * ground.deviates(normal);
        let demand = ground.forecast(epoch) * (truth.bias + deviation).exp();
        let interrupted = of_world.random::<f64>() < truth.interruption;
        let happening = Happening { epoch, ground, demand, interrupted };
        let [lived, drawn, baseline] =
            [decision.in_force, decision.drawn, Arm::BASELINE].map(|arm| happening.outcome(arm));
        let replay = |outcome: Outcome| replays.then_some(outcome);
        tuner.settle(decision.id, &Settlement { lived, drawn: replay(drawn), baseline: replay(baseline) })?;
        let of = |arm: Arm| {
            arms.iter().position(|known| *known == arm).map_or(f64::NAN, |at| stakes.losses[at] - stakes.best)
        };
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
