//! How much accumulated deviation is too much on this series: a level that it reaches by itself about once a year.
//!
//! No formula knows it. Residuals of real demand are correlated and heavy-tailed, so the chance that a sum of them gets
//! high is neither that of normal noise nor that of independent noise. What can be seen is how high the sum got in each
//! block of four hours. The median and the ninth decile of these peaks fix a Gumbel distribution, whose level for a given
//! return period is then read off. Both are untouched by anomalies in up to a tenth of the blocks; where more blocks than
//! that have one, the level rises, which is right: an alarm that sounds daily is none.
//!
//! Source: Gumbel, Statistics of extremes, 1958, for block maxima; quantiles in place of moments for robustness.

use std::collections::VecDeque;

use crate::calendar::WEEK_S;

/// Length of a block, seconds: a morning, an evening. Longer than most correlations of residuals, and short enough that
/// two days give a distribution.
const BLOCK_S: i64 = 4 * 3600;
/// Weeks between two false alarms on one side, if the peaks follow their distribution. A person reads them: with two sides
/// and 1,000 keys, a year makes 40 a week, and four weeks would make 500.
const RETURN_WEEKS: i64 = 52;
/// Blocks in the return period.
const RETURN_BLOCKS: f64 = (RETURN_WEEKS * WEEK_S / BLOCK_S) as f64;
/// Blocks that are remembered: four weeks, 168 blocks x 8 bytes. How noisy a series is changes with the season.
const MAX_BLOCKS: usize = (4 * WEEK_S / BLOCK_S) as usize;
/// Blocks before anything is judged: two days.
const MIN_BLOCKS: usize = 12;
/// Blocks of a week. Before them the first weekend is still to come, and the level is twice what the peaks say.
const WEEK_BLOCKS: usize = (WEEK_S / BLOCK_S) as usize;

/// Peaks of the accumulated deviation on one side; see the module's text.
#[derive(Debug, Clone)]
pub(super) struct Threshold {
    floor: f64,
    block: Option<i64>,
    open_peak: f64,
    peaks: VecDeque<f64>,
    level: Option<f64>,
}

impl Threshold {
    /// A threshold that never lies below `floor`.
    pub(super) fn new(floor: f64) -> Self {
        Self { floor, block: None, open_peak: 0.0, peaks: VecDeque::new(), level: None }
    }

    /// The level; `None` before two days were seen.
    pub(super) fn level(&self) -> Option<f64> {
        self.level
    }

    /// Takes in the sum at `at_s`. A block's peak counts once the next block begins.
    pub(super) fn observe(&mut self, at_s: i64, sum: f64) {
        let block = at_s.div_euclid(BLOCK_S);
        if self.block.is_some_and(|open| open != block) {
            if self.peaks.len() == MAX_BLOCKS {
                self.peaks.pop_front();
            }
            self.peaks.push_back(self.open_peak);
            self.open_peak = 0.0;
            self.level = (self.peaks.len() >= MIN_BLOCKS).then(|| self.return_level());
        }
        self.block = Some(block);
        self.open_peak = self.open_peak.max(sum);
    }

    fn return_level(&self) -> f64 {
        let mut ascending: Vec<f64> = self.peaks.iter().copied().collect();
        ascending.sort_by(f64::total_cmp);
        // Rounded up: with few blocks the ninth decile is rather too high than too low.
        let rank = |p: f64| ascending[(p * (ascending.len() - 1) as f64).ceil() as usize];
        let (median, decile) = (rank(0.5), rank(0.9));
        let scale = (decile - median) / (gumbel(0.9) - gumbel(0.5));
        let caution = if ascending.len() < WEEK_BLOCKS { 2.0 } else { 1.0 };
        (median + scale * (gumbel(1.0 - 1.0 / RETURN_BLOCKS) - gumbel(0.5))).max(self.floor) * caution
    }
}

/// The quantile of the standard Gumbel distribution.
fn gumbel(p: f64) -> f64 {
    -(-p.ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peaks of the given blocks, each block one step.
    fn level(peaks: impl IntoIterator<Item = f64>) -> Option<f64> {
        let mut threshold = Threshold::new(1.0);
        let mut at_s = 0;
        for peak in peaks {
            threshold.observe(at_s, peak);
            at_s += BLOCK_S;
        }
        threshold.observe(at_s, 0.0);
        threshold.level()
    }

    #[test]
    fn gumbel_peaks_are_exceeded_once_in_the_return_period() {
        let peaks = (1..=168).map(|rank| 5.0 + 2.0 * gumbel(f64::from(rank) / 169.0));
        let expected = 5.0 + 2.0 * gumbel(1.0 - 1.0 / 2184.0);
        let level = level(peaks).unwrap();
        assert!((level / expected - 1.0).abs() < 0.03, "{level} against {expected}");
    }

    #[test]
    fn a_few_blocks_with_anomalies_do_not_move_it_and_many_do() {
        let with = |every: usize| level((0..100).map(|block| if block % every == 0 { 1e6 } else { 5.0 })).unwrap();
        assert_eq!(with(12), 5.0);
        assert!(with(5) > 1e6);
    }

    #[test]
    fn two_days_come_first_and_the_floor_holds() {
        assert_eq!(level([9.0; 11]), None);
        assert_eq!(level([9.0; 12]), Some(18.0), "no weekend was seen");
        assert_eq!(level([9.0; 42]), Some(9.0));
        assert_eq!(level([0.0; 42]), Some(1.0));
    }
}
