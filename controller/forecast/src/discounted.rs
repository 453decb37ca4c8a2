//! How much each of several forecasters is worth by what it lost in the last hours.
//!
//! The intuition: weights from held-out history are right on average and late when things change. What each forecaster
//! has lost lately says more, and what it lost yesterday less than what it lost today. So losses fade, and a weight is a
//! power of the inverse of what is left, beside a prior that counts as much as some hours of evidence.
//!
//! Losses fade with time, not with their number, so that it does not matter how often forecasts are made. Leads are pooled
//! by octave: beyond an hour a model may be right where it is wrong about the next minutes.
//!
//! Sources: Bates and Granger, The combination of forecasts, 1969 (weights from recent errors); Stock and Watson,
//! Combination forecasts of output growth in a seven-country data set, 2004 (discounting).

use crate::model::combination::octave;

/// Steps after which a loss counts half: eight hours of five minutes. On the first 70 % of the traces, 48 to 144 are alike.
const HALF_LIFE_STEPS: f64 = 96.0;

/// How losses become weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rule {
    /// The power of the inverse loss.
    pub(crate) sharpness: i32,
    /// For how many steps of evidence the prior counts.
    pub(crate) prior_steps: f64,
}

/// What is thought of each forecaster in one octave of leads before its losses are seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prior {
    /// Weights until anything was seen; they sum to 1.
    pub(crate) weights: Vec<f64>,
    /// What each is taken to lose, in units of the least.
    pub(crate) losses: Vec<f64>,
}

/// Fading losses of several forecasters; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Discounted {
    step_s: i64,
    rule: Rule,
    octaves: Vec<Octave>,
}

#[derive(Debug, Clone, PartialEq)]
struct Octave {
    prior: Prior,
    /// Begin of the newest step that was seen, unix seconds.
    newest_s: i64,
    /// How many steps of time were seen, faded.
    seen_steps: f64,
    samples: f64,
    losses: Vec<f64>,
}

impl Discounted {
    /// One prior per octave of leads, nearest first, each for the same forecasters.
    pub(crate) fn new(step_s: i64, rule: Rule, priors: impl IntoIterator<Item = Prior>) -> Self {
        let octaves = priors.into_iter().map(|prior| {
            let losses = vec![0.0; prior.weights.len()];
            Octave { prior, newest_s: 0, seen_steps: 0.0, samples: 0.0, losses }
        });
        Self { step_s, rule, octaves: octaves.collect() }
    }

    /// Takes in what each lost in the step that begins at `start_s`.
    pub(crate) fn observe(&mut self, lead: usize, start_s: i64, losses: impl IntoIterator<Item = f64>) {
        let Some(of) = self.octaves.get_mut(octave(lead)) else {
            return;
        };
        let passed = (start_s - of.newest_s).max(0) as f64 / self.step_s as f64;
        let decay = 0.5_f64.powf(passed / HALF_LIFE_STEPS);
        of.seen_steps = of.seen_steps * decay + if of.samples > 0.0 { passed } else { 1.0 };
        of.newest_s = of.newest_s.max(start_s);
        of.samples = of.samples * decay + 1.0;
        for (sum, loss) in of.losses.iter_mut().zip(losses) {
            *sum = *sum * decay + loss;
        }
    }

    /// The weights at a lead; they sum to 1. None for a lead beyond the octaves.
    pub(crate) fn weights(&self, lead: usize) -> Vec<f64> {
        let Some(of) = self.octaves.get(octave(lead)) else {
            return Vec::new();
        };
        if of.samples <= 0.0 {
            return of.prior.weights.clone();
        }
        let usual = least(&of.losses);
        let prior = self.rule.prior_steps * usual;
        let lost: Vec<f64> = of
            .losses
            .iter()
            .zip(&of.prior.losses)
            .map(|(loss, factor)| of.seen_steps * loss + prior * factor)
            .collect();
        let least = least(&lost);
        let worth = |(&lost, &before): (&f64, &f64)| match least > 0.0 {
            true => (least / lost).powi(self.rule.sharpness),
            // Those that lost nothing share all of it, as they did before if they had anything.
            false => before.max(f64::MIN_POSITIVE) * f64::from(u8::from(lost <= 0.0)),
        };
        let worth: Vec<f64> = lost.iter().zip(&of.prior.weights).map(worth).collect();
        let total: f64 = worth.iter().sum();
        worth.into_iter().map(|worth| worth / total).collect()
    }

    /// The weights at a lead before anything was seen.
    pub(crate) fn prior(&self, lead: usize) -> &[f64] {
        self.octaves.get(octave(lead)).map_or(&[], |of| &of.prior.weights)
    }

    /// Goes on with the losses of the forecasters that these replace: `before` says which of those each one was. A newcomer
    /// is taken to have lost what its prior says.
    pub(crate) fn take_over(&mut self, replaced: &Self, before: impl Fn(usize) -> Option<usize>) {
        if self.step_s != replaced.step_s || self.octaves.len() != replaced.octaves.len() {
            return;
        }
        for (of, replaced) in self.octaves.iter_mut().zip(&replaced.octaves) {
            let usual = least(&replaced.losses);
            for (index, loss) in of.losses.iter_mut().enumerate() {
                let known = before(index).and_then(|before| replaced.losses.get(before));
                *loss = known.copied().unwrap_or(usual * of.prior.losses[index]);
            }
            (of.newest_s, of.seen_steps, of.samples) = (replaced.newest_s, replaced.seen_steps, replaced.samples);
        }
    }
}

fn least(losses: &[f64]) -> f64 {
    losses.iter().copied().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN_S: i64 = 1_600_000_000;

    /// Two forecasters of which the first is taken to be somewhat better.
    fn two(octaves: usize) -> Discounted {
        let prior = Prior { weights: vec![1.0, 0.0], losses: vec![1.0, 1.15] };
        Discounted::new(300, Rule { sharpness: 12, prior_steps: 48.0 }, vec![prior; octaves])
    }

    /// The weight of the first after so many steps at which both lost the given, seen every `every` steps.
    fn first_after(steps: i64, every: usize, losses: [f64; 2]) -> f64 {
        let mut two = two(1);
        for step in (0..steps).step_by(every) {
            two.observe(1, BEGIN_S + step * 300, losses);
        }
        two.weights(1)[0]
    }

    #[test]
    fn who_does_as_well_keeps_the_advantage_of_the_prior() {
        assert_eq!(first_after(0, 1, [0.0, 0.0]), 1.0, "nothing was seen");
        assert!(first_after(288, 1, [1.0, 1.5]) > 0.9);
        assert!((0.5..0.9).contains(&first_after(288, 1, [1.0, 1.0])));
        assert_eq!(first_after(288, 1, [0.0, 0.0]), 1.0, "nothing was lost");
        assert_eq!(first_after(288, 1, [1.0, 0.0]), 0.0, "only one has lost anything");
    }

    #[test]
    fn who_falls_behind_loses_its_weight_within_hours_and_has_it_back() {
        let mut two = two(1);
        let mut at_s = BEGIN_S;
        let mut until = |two: &mut Discounted, losses: [f64; 2], weight: std::ops::Range<f64>| {
            (1..1000).find(|_| {
                at_s += 300;
                two.observe(1, at_s, losses);
                weight.contains(&two.weights(1)[0])
            })
        };
        (0..500).for_each(|_| assert!(until(&mut two, [0.5, 1.0], 0.0..2.0).is_some()));
        let behind = until(&mut two, [5.0, 0.5], 0.0..0.1).unwrap();
        assert!((3..=36).contains(&behind), "{behind} steps");
        let back = until(&mut two, [0.5, 1.0], 0.9..1.1).unwrap();
        assert!((96..=500).contains(&back), "{back} steps");
    }

    #[test]
    fn how_often_forecasts_are_made_hardly_matters() {
        let [often, seldom] = [1, 7].map(|every| first_after(300, every, [1.0, 0.9]));
        assert!((often - seldom).abs() < 0.02, "{often} and {seldom}");
    }

    #[test]
    fn leads_are_apart_by_octave() {
        let mut two = two(4);
        for step in 0..100 {
            two.observe(1, step * 300, [5.0, 1.0]);
            two.observe(9, step * 300, [1.0, 5.0]);
        }
        assert!(two.weights(1)[0] < 0.01 && two.weights(12)[0] > 0.99, "{two:?}");
        assert_eq!(two.weights(2), [1.0, 0.0], "not seen");
        assert!(two.weights(16).is_empty());
    }

    #[test]
    fn losses_are_taken_over_by_who_they_are() {
        let mut before = two(1);
        (0..100).for_each(|step| before.observe(1, step * 300, [5.0, 1.0]));
        let prior = Prior { weights: vec![0.5, 0.3, 0.2], losses: vec![1.0, 1.2, 1.4] };
        let mut after = Discounted::new(300, Rule { sharpness: 8, prior_steps: 96.0 }, [prior]);
        after.take_over(&before, |index| [Some(1), None, Some(0)][index]);
        let weights = after.weights(1);
        assert!(weights[0] > weights[1] && weights[1] > weights[2], "{weights:?}");
        assert!(weights[2] < 0.01 && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{weights:?}");
    }
}
