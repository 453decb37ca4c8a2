//! Estimates beside values that are known: a logged policy and a judged one over three arms, of which losses are drawn.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::learning::tuner::context::Context;
use crate::learning::tuner::journal::{Chances, Expected, Losses};
use crate::learning::tuner::state::State;

const BASELINE: usize = 1;
const LOGGED: [f64; 3] = [0.2, 0.6, 0.2];

/// A world of three arms.
#[derive(Clone, Copy)]
struct Arms {
    mean: [f64; 3],
    /// What is expected of them, however wrong.
    believed: [f64; 3],
    judged: [f64; 3],
    pairs: bool,
}

impl Arms {
    fn value(self, of: [f64; 3]) -> f64 {
        of.iter().zip(self.judged).map(|(loss, chance)| loss * chance).sum()
    }

    fn truth(self) -> f64 {
        self.value(self.mean) - self.mean[BASELINE]
    }

    /// Skewed losses, as shortages are, on a demand that all arms share.
    fn entry(self, id: u64, random: &mut ChaCha8Rng) -> Entry {
        let noise = |random: &mut ChaCha8Rng| -(1.0 - random.random::<f64>()).ln() - 1.0;
        let common = 0.3 * noise(random);
        let losses: [f64; 3] = std::array::from_fn(|arm| self.mean[arm] + common + 0.05 * noise(random));
        let at = random.random::<f64>();
        let drawn = usize::from(at >= LOGGED[0]) + usize::from(at >= LOGGED[0] + LOGGED[1]);
        let baseline = (self.pairs || drawn == BASELINE).then_some(losses[BASELINE]);
        Entry {
            id,
            at_s: 0,
            context: Context { hour_of_week: 0.0, uncertainty: 0.0, violations: 0.0, interruption_per_h: 0.0 },
            expected_micros: 1.0,
            drawn,
            in_force: drawn,
            state: State::Watching,
            chances: Chances {
                drawn: LOGGED[drawn],
                target: self.judged[drawn],
                target_baseline: self.judged[BASELINE],
            },
            expected: Expected {
                drawn: self.believed[drawn],
                baseline: self.believed[BASELINE],
                target: self.value(self.believed),
                best: 0.0,
            },
            losses: Some(Losses { lived: losses[drawn], drawn: Some(losses[drawn]), baseline }),
        }
    }

    fn log(self, decisions: u64, random: &mut ChaCha8Rng) -> Vec<Entry> {
        (0..decisions).map(|id| self.entry(id, random)).collect()
    }

    fn judged(self, entries: &[Entry]) -> Evaluation {
        evaluate(&entries.iter().collect::<Vec<_>>(), BASELINE, 0.95)
    }
}

const USUAL: Arms = Arms { mean: [0.9, 1.0, 1.2], believed: [1.0, 1.05, 1.1], judged: [0.7, 0.2, 0.1], pairs: false };

#[test]
fn intervals_contain_the_true_value_as_often_as_they_say() {
    for arms in [USUAL, Arms { pairs: true, ..USUAL }, Arms { believed: [0.0; 3], ..USUAL }] {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let (mut covered, mut widths) = ([0_u32; 3], [0.0; 3]);
        let seeds = 600;
        for _ in 0..seeds {
            let found = arms.judged(&arms.log(400, &mut random));
            for (at, of) in [found.weighted, found.self_normalised, found.doubly_robust].into_iter().enumerate() {
                covered[at] += u32::from((of.low..=of.high).contains(&arms.truth()));
                widths[at] += of.high - of.low;
            }
        }
        for covered in covered {
            let share = f64::from(covered) / f64::from(seeds);
            assert!((0.925..=0.975).contains(&share), "{share}, pairs {}", arms.pairs);
        }
        assert!(arms.believed[0] == 0.0 || widths[2] < widths[0], "what is expected makes it tighter: {widths:?}");
    }
}

#[test]
fn pairs_make_it_much_tighter() {
    let width = |pairs: bool| {
        let arms = Arms { pairs, ..USUAL };
        let found = arms.judged(&arms.log(400, &mut ChaCha8Rng::seed_from_u64(3)));
        assert_eq!(found.paired, if pairs { 400 } else { 0 });
        found.doubly_robust.high - found.doubly_robust.low
    };
    assert!(width(true) < 0.4 * width(false), "{} and {}", width(true), width(false));
}

#[test]
fn looking_after_every_decision_does_not_make_something_of_nothing() {
    // Other arms are as good as the baseline: whatever is drawn is no better.
    let nothing = Arms { mean: [1.0; 3], ..USUAL };
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let seeds = 150;
    let fooled = (0..seeds).filter(|_| {
        let log = nothing.log(500, &mut random);
        (50..log.len()).step_by(5).any(|seen| nothing.judged(&log[..seen]).is_better())
    });
    let share = fooled.count() as f64 / f64::from(seeds);
    assert!(share < 0.05, "{share}");
    // And what is better is found.
    let log = Arms { pairs: true, ..USUAL }.log(500, &mut random);
    assert!(USUAL.judged(&log).is_better());
}

#[test]
fn nothing_settled_is_nothing_known() {
    let none = USUAL.judged(&[]);
    assert!(!none.is_better() && none.doubly_robust.low == f64::NEG_INFINITY && none.settled == 0);
    assert!(!USUAL.judged(&USUAL.log(1, &mut ChaCha8Rng::seed_from_u64(1))).is_better());
}
