//! Whether a lower held-out loss is more than chance: what decides between a simple forecaster and a better-looking one.
//!
//! The intuition: of several forecasters one always looks best on a held-out stretch, if only by luck. Errors of one
//! evening are made together, so the stretch is cut into blocks of time and the differences of two forecasters' losses are
//! taken block by block: what these means vary by is what luck can do. The simpler forecaster is kept unless the gain is
//! several times that (rules of standard errors: Breiman, Friedman, Olshen and Stone, Classification and Regression Trees,
//! 1984; differences in pairs: Diebold and Mariano, Comparing predictive accuracy, 1995).

/// Blocks that a held-out stretch is cut into: of a week most of a day each, so that a bad evening is one of eight.
const BLOCKS: usize = 8;
/// Standard errors that a gain has to be above. With eight blocks, luck passes one error in one of six cases and two in one
/// of 24 (Student's t with 7 degrees of freedom).
const CLEAR_ERRORS: f64 = 2.0;

/// Losses of one forecaster by block of the held-out stretch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct BlockLosses {
    losses: [f64; BLOCKS],
    weights: [f64; BLOCKS],
}

impl BlockLosses {
    /// Takes a loss at a time, given as the share of the stretch that lies before it.
    pub(crate) fn take(&mut self, at: f64, loss: f64, weight: f64) {
        let block = ((at * BLOCKS as f64) as usize).min(BLOCKS - 1);
        self.losses[block] += weight * loss;
        self.weights[block] += weight;
    }

    fn weight(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// The weighted mean loss; 0 of none.
    pub(crate) fn mean(&self) -> f64 {
        let weight = self.weight();
        if weight > 0.0 { self.losses.iter().sum::<f64>() / weight } else { 0.0 }
    }

    /// By how much these losses are above the other's, on the mean, and the standard error of that. Of fewer than two
    /// blocks the error is infinite: nothing is known.
    pub(crate) fn above(&self, other: &Self) -> (f64, f64) {
        let known: Vec<usize> = (0..BLOCKS).filter(|&block| self.weights[block] > 0.0).collect();
        let count = known.len() as f64;
        if known.len() < 2 {
            return (self.mean() - other.mean(), f64::INFINITY);
        }
        let per_block = self.weight() / count;
        let differences = known.iter().map(|&block| (self.losses[block] - other.losses[block]) / per_block);
        let mean = differences.clone().sum::<f64>() / count;
        let variance = differences.map(|difference| (difference - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, (variance / count).sqrt())
    }

    /// Whether these losses are below the other's by more than luck.
    pub(crate) fn clearly_below(&self, other: &Self) -> bool {
        self.is_below(other, CLEAR_ERRORS)
    }

    /// Whether these losses are below the other's by more than so many standard errors.
    pub(crate) fn is_below(&self, other: &Self, errors: f64) -> bool {
        let (above, error) = other.above(self);
        above > errors * error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(of_block: impl Fn(usize) -> f64) -> BlockLosses {
        let mut losses = BlockLosses::default();
        (0..80).for_each(|place| losses.take(place as f64 / 80.0, of_block(place / 10), 1.0));
        losses
    }

    #[test]
    fn a_gain_in_every_block_counts_and_one_in_a_single_block_does_not() {
        let plain = losses(|_| 1.0);
        let steady = losses(|block| 0.9 - 0.01 * block as f64);
        let lucky = losses(|block| if block == 3 { 0.0 } else { 1.05 });
        assert!(lucky.mean() < plain.mean());
        assert!(!lucky.clearly_below(&plain) && steady.clearly_below(&plain));
        assert!(!plain.clearly_below(&plain) && !plain.clearly_below(&steady));
    }

    #[test]
    fn the_standard_error_is_that_of_block_means() {
        let (above, error) = losses(|block| block as f64).above(&losses(|_| 1.0));
        // Means 0 to 7, less 1: mean 2.5, variance 6.
        assert!((above - 2.5).abs() < 1e-12 && (error - (6.0_f64 / 8.0).sqrt()).abs() < 1e-12, "{above} {error}");
        let mut one = BlockLosses::default();
        one.take(0.0, 2.0, 3.0);
        assert_eq!((one.mean(), one.above(&BlockLosses::default())), (2.0, (2.0, f64::INFINITY)));
    }
}
