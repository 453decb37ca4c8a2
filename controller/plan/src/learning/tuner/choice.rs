//! From what is believed to the chances of each arm, and to the one that is drawn.
//!
//! The learner's chances are counted from draws of what is believed (Thompson sampling): how often each arm is the best of
//! them. The arm itself is then drawn from these counted chances, so that its propensity is not an estimate.

use rand::{Rng, RngExt as _};

use super::context::Context;
use super::regression::Posterior;
use super::settings::TunerSettings;
use super::state::State;

/// Draws from what is believed, by which the learner's chances are counted.
const DRAWS: usize = 64;

/// What a choice is made by, beside what is believed.
pub(super) struct Choice<'a> {
    pub(super) settings: &'a TunerSettings,
    pub(super) state: State,
    /// Arms that the account covers, the baseline among them.
    pub(super) allowed: &'a [bool],
}

impl Choice<'_> {
    /// Whether what is drawn acts: not while it is only watched.
    pub(super) fn is_drawn_in_force(&self) -> bool {
        match self.state {
            State::Watching | State::Proposed { .. } => self.settings.watching_share > 0.0,
            State::Acting { .. } => true,
            State::Killed { .. } => false,
        }
    }

    /// What the learner would draw from if it acted: how often each arm is the best of what is believed, the baseline in
    /// place of arms that are not covered, and in a declared share of all cases.
    pub(super) fn target(&self, posterior: &Posterior, context: &Context, random: &mut impl Rng) -> Vec<f64> {
        let band = &self.settings.band;
        let kept = self.settings.acting_baseline_share;
        let mut chances = vec![0.0; band.arms()];
        let effects = posterior.effects(&context.features(), band.increments());
        for _ in 0..DRAWS {
            let drawn = effects.draw(random);
            let loss = |arm: usize| band.active(arm).map(|increment| drawn[increment]).sum::<f64>();
            let best = (0..band.arms()).min_by(|one, other| loss(*one).total_cmp(&loss(*other)));
            let best = best.filter(|arm| self.allowed[*arm]).unwrap_or_else(|| band.baseline());
            chances[best] += (1.0 - kept) / DRAWS as f64;
        }
        chances[band.baseline()] += kept;
        chances
    }

    /// What is drawn from: while watching, half like the learner and half evenly among what is covered, so that the
    /// weights of an evaluation are bounded; with the baseline in front of it where a draw would be in force.
    pub(super) fn behaviour(&self, target: &[f64]) -> Vec<f64> {
        let baseline = self.settings.band.baseline();
        let explored = match self.state {
            State::Acting { .. } => return target.to_vec(),
            State::Killed { .. } => 0.0,
            State::Watching | State::Proposed { .. } if self.is_drawn_in_force() => self.settings.watching_share,
            State::Watching | State::Proposed { .. } => 1.0,
        };
        // What is only drawn harms nobody.
        let open = |arm: usize| self.allowed[arm] || !self.is_drawn_in_force();
        let count = (0..target.len()).filter(|arm| open(*arm)).count() as f64;
        let evenly = |arm: usize| f64::from(u8::from(open(arm))) / count;
        let mut chances: Vec<f64> =
            target.iter().enumerate().map(|(arm, chance)| explored * 0.5 * (chance + evenly(arm))).collect();
        chances[baseline] += 1.0 - explored;
        chances
    }
}

/// Draws an index by its chance; one without a chance is never drawn.
pub(super) fn pick(chances: &[f64], random: &mut impl Rng) -> usize {
    let mut left = random.random::<f64>() * chances.iter().sum::<f64>();
    let mut last = 0;
    for (index, &chance) in chances.iter().enumerate().filter(|(_, chance)| **chance > 0.0) {
        last = index;
        left -= chance;
        if left < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::learning::tuner::regression::Regression;
    use crate::learning::tuner::state::KilledBy;

    #[test]
    fn chances_are_those_of_the_state_and_sum_to_one() {
        let explores = TunerSettings { watching_share: 0.2, ..TunerSettings::default() };
        let mut allowed = vec![true; explores.band.arms()];
        allowed[0] = false;
        let posterior = Regression::new(explores.band.increments(), 100.0).posterior().unwrap();
        let context = Context { hour_of_week: 5.0, uncertainty: 0.2, violations: 0.0, interruption_per_h: 0.1 };
        let baseline = explores.band.baseline();
        let (acting, killed) = (State::Acting { from: 0 }, State::Killed { by: KilledBy::Hand });
        for (state, least_of_baseline, draws_first) in
            [(State::Watching, 0.8, false), (acting, 0.1, false), (killed, 1.0, false)]
        {
            let choice = Choice { settings: &explores, state, allowed: &allowed };
            let target = choice.target(&posterior, &context, &mut ChaCha8Rng::seed_from_u64(1));
            let behaviour = choice.behaviour(&target);
            assert!(
                (behaviour.iter().sum::<f64>() - 1.0).abs() < 1e-12 && behaviour[baseline] >= least_of_baseline - 1e-12
            );
            assert_eq!(behaviour[0] > 0.0, draws_first, "{state:?}: the first is not covered");
            // Weights of an evaluation are bounded by two over what is explored.
            if state == State::Watching {
                assert!(target.iter().zip(&behaviour).all(|(target, logged)| *target <= logged * 2.0 / 0.2 + 1e-12));
            }
        }
        let watches = TunerSettings { watching_share: 0.0, ..explores.clone() };
        let choice = Choice { settings: &watches, state: State::Watching, allowed: &allowed };
        assert!(!choice.is_drawn_in_force());
        let target = choice.target(&posterior, &context, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(choice.behaviour(&target)[0] > 0.0, "what is only drawn harms nobody");
    }

    #[test]
    fn draws_come_as_often_as_their_chances_say() {
        let (chances, mut counts) = ([0.0, 0.5, 0.0, 0.3, 0.2, 0.0], [0_u32; 6]);
        let mut random = ChaCha8Rng::seed_from_u64(4);
        (0..20_000).for_each(|_| counts[pick(&chances, &mut random)] += 1);
        for (chance, count) in chances.into_iter().zip(counts) {
            assert!((f64::from(count) / 20_000.0 - chance).abs() < 0.015, "{counts:?}");
            assert!(chance > 0.0 || count == 0);
        }
    }
}
