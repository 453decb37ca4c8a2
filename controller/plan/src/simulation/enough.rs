//! How much of a signal would have been enough: the distribution of the factors that would just have served each step.
//!
//! The intuition: a policy that asks for a factor times a signal leaves a step unserved exactly if the factor is at most what
//! that step needed. So nobody has to try factors: of the needed ones the quantile is the answer, and one that comes from the
//! days before says what is enough now (split conformal prediction with a score that is a ratio). Old steps fade.
//!
//! What needs more than a dozen times the signal counts as impossible, such as a burst after next to nothing: by what no factor
//! serves no factor is chosen, or one hour of silence would cost a hundredfold ever after.
//!
//! Deliberately not exact: factors are kept in bins of a tenth of a per cent, from 0.2 to 12. A step is three additions: new
//! ones weigh more instead of old ones less, and the bins lie in blocks with a sum each. Only blocks that something fell into
//! are there: factors of one signal lie close together, and a controller keeps dozens of signals for each of its services.

/// A bin is this much of a logarithm wide.
const BIN_LN: f64 = 0.001;
const BLOCKS: usize = 64;
const BLOCK_BINS: usize = 64;
const BINS: usize = BLOCKS * BLOCK_BINS;
/// The lowest bin: a fifth of the signal.
const LEAST: f64 = 0.2;
/// At this weight of a new step all are scaled back; 32 bits hold far more than a sum of such steps.
const HEAVIEST: f64 = 1e25;

/// Weights of neighbouring bins: in single precision, which is wrong by less than a step in a million.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    sum: f64,
    bins: [f32; BLOCK_BINS],
}

/// Fading distribution of needed factors, and what a signal asks for at a factor of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Enough {
    /// The bins' weights, by block.
    blocks: [Option<Box<Block>>; BLOCKS],
    total: f64,
    /// What could be served at no factor.
    impossible: f64,
    /// Weight of a step now.
    unit: f64,
    growth: f64,
    /// Replicas asked for at a factor of one, exactly; and steps with any, half each, for what rounding up adds.
    asked: f64,
    rounded: f64,
}

impl Enough {
    /// Steps count half after `half_life_steps`.
    pub(super) fn new(half_life_steps: f64) -> Self {
        let growth = 2.0_f64.powf(1.0 / half_life_steps.max(1.0));
        let blocks = [const { None }; BLOCKS];
        Self { blocks, total: 0.0, impossible: 0.0, unit: 1.0, growth, asked: 0.0, rounded: 0.0 }
    }

    /// Takes in a step that any factor above `needed` would have served, and for which a factor of one asks for `replicas`.
    pub(super) fn observe(&mut self, needed: f64, replicas: f64) {
        self.unit *= self.growth;
        if self.unit > HEAVIEST {
            let scale = 1.0 / self.unit;
            for block in self.blocks.iter_mut().flatten() {
                block.sum *= scale;
                block.bins.iter_mut().for_each(|weight| *weight *= scale as f32);
            }
            for sum in [&mut self.total, &mut self.impossible, &mut self.asked, &mut self.rounded, &mut self.unit] {
                *sum *= scale;
            }
        }
        let bin = if needed <= LEAST { 0.0 } else { ((needed / LEAST).ln() / BIN_LN).ceil() };
        self.total += self.unit;
        self.asked += self.unit * replicas;
        self.rounded += if replicas > 0.0 { 0.5 * self.unit } else { 0.0 };
        if bin >= BINS as f64 {
            self.impossible += self.unit;
            return;
        }
        let bin = bin as usize;
        let new = || Box::new(Block { sum: 0.0, bins: [0.0; BLOCK_BINS] });
        let block = self.blocks[bin / BLOCK_BINS].get_or_insert_with(new);
        block.sum += self.unit;
        block.bins[bin % BLOCK_BINS] += self.unit as f32;
    }

    /// The least factor that leaves at most the share `allowed` of the possible steps unserved.
    pub(super) fn factor(&self, allowed: f64) -> f64 {
        // Rounding of sums must not make the answer one bin more careful.
        let served = (1.0 - allowed) * (self.total - self.impossible) * (1.0 - 1e-9);
        let bin = self.bin_of(served);
        // A hair above the bin's upper end, since a factor that is just needed is not enough.
        LEAST * (bin as f64 * BIN_LN).exp() * (1.0 + 1e-6)
    }

    /// The first bin up to which, it included, steps of this weight lie.
    fn bin_of(&self, mut weight: f64) -> usize {
        if weight <= 0.0 {
            return 0;
        }
        for (place, block) in self.blocks.iter().enumerate() {
            let Some(block) = block else { continue };
            if block.sum < weight {
                weight -= block.sum;
                continue;
            }
            let mut last = 0;
            for (offset, of_bin) in block.bins.iter().enumerate().filter(|(_, of_bin)| **of_bin > 0.0) {
                last = offset;
                weight -= f64::from(*of_bin);
                if weight <= 0.0 {
                    break;
                }
            }
            return place * BLOCK_BINS + last;
        }
        BINS - 1
    }

    /// Mean replicas that a factor of one asks for; `None` where nothing is known.
    pub(super) fn mean_asked(&self) -> Option<f64> {
        (self.total > 0.0).then(|| self.asked / self.total)
    }

    /// Mean replicas that are paid for at the factor for `allowed`; infinite where nothing is known, or no factor serves.
    pub(super) fn cost(&self, allowed: f64) -> f64 {
        if self.total <= 0.0 || self.impossible > allowed * self.total {
            return f64::INFINITY;
        }
        (self.factor(allowed) * self.asked + self.rounded) / self.total
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn old_steps_fade() {
        let mut enough = Enough::new(100.0);
        (0..1000).for_each(|_| enough.observe(3.0, 10.0));
        assert!((enough.factor(0.01) / 3.0 - 1.0).abs() < 0.002);
        (0..700).for_each(|_| enough.observe(1.0, 10.0));
        assert!(
            (enough.factor(0.01) - 1.0).abs() < 0.002,
            "of the old steps less than 1 % is left: {}",
            enough.factor(0.01)
        );
        assert!((enough.cost(0.01) - 10.5).abs() < 0.05);
    }

    #[test]
    fn what_no_factor_serves_has_no_cost_that_could_be_compared() {
        let mut enough = Enough::new(1e6);
        assert_eq!(enough.cost(0.01), f64::INFINITY, "nothing is known");
        (0..100).for_each(|_| enough.observe(0.0, 0.0));
        assert_eq!(enough.cost(0.01), 0.0);
        (0..2).for_each(|_| enough.observe(f64::INFINITY, 0.0));
        assert_eq!(enough.cost(0.01), f64::INFINITY);
    }

    #[test]
    fn years_of_steps_stay_finite() {
        let mut enough = Enough::new(1.0);
        (0..5000).for_each(|step| enough.observe(1.0 + f64::from(step % 2), 1.0));
        assert!(enough.factor(0.01).is_finite() && enough.cost(0.01).is_finite(), "{}", enough.factor(0.01));
    }

    proptest! {
        #[test]
        fn as_many_are_left_unserved_as_are_allowed(
            needed in prop::collection::vec(0.2_f64..12.0, 1..300),
            allowed in 0.0_f64..0.5,
        ) {
            let mut enough = Enough::new(1e12);
            needed.iter().for_each(|&needed| enough.observe(needed, 1.0));
            let unserved = |factor: f64| needed.iter().filter(|needed| **needed >= factor).count() as f64;
            let (factor, most) = (enough.factor(allowed), allowed * needed.len() as f64);
            prop_assert!(unserved(factor) <= most + 1e-6, "{factor} leaves {} of {most}", unserved(factor));
            // A factor smaller by some bins leaves more, unless it is the least there is.
            prop_assert!(unserved(factor * 0.996) > most - 1.0 || factor < 0.201);
        }
    }
}
