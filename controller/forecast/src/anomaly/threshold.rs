//! How much accumulated deviation is too much on this series: a level that it reaches by itself about once a year.
//!
//! No formula knows it. Residuals of real demand are correlated and heavy-tailed, so the chance that a sum of them gets
//! high is neither that of normal noise nor that of independent noise. What can be seen is how high the sum got in each
//! block of time. The median and the ninth decile of these peaks fix a Gumbel distribution, whose level for a given
//! return period is then read off. Both are untouched by anomalies in up to a tenth of the blocks; where more blocks than
//! that have one, the level rises, which is right: an alarm that sounds daily is none.
//!
//! Blocks are four hours, so that two days tell something, and once there is a week, days as well: a forecast that takes
//! a holiday for a working day is wrong all day, and four hours of it are not one of six independent mishaps. The higher
//! of the two levels counts.
//!
//! Source: Gumbel, Statistics of extremes, 1958, for block maxima; quantiles in place of moments for robustness.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::calendar::{DAY_S, WEEK_S};

/// Length of a short block, seconds: a morning, an evening.
const BLOCK_S: i64 = 4 * 3600;
/// Between two false alarms on one side, if the peaks follow their distribution, seconds. A person reads them: with two
/// sides and 1,000 keys, a year makes 40 a week, and four weeks would make 500.
const RETURN_S: i64 = 52 * WEEK_S;
/// Blocks that are remembered: four weeks of four hours, eight weeks of days; 168 and 56 blocks x 8 bytes. How noisy a
/// series is changes with the season.
const MAX_BLOCKS: usize = (4 * WEEK_S / BLOCK_S) as usize;
const MAX_DAYS: usize = (8 * WEEK_S / DAY_S) as usize;
/// Short blocks before anything is judged: two days.
const MIN_BLOCKS: usize = 12;
/// Days before these count: a week.
const MIN_DAYS: usize = 7;
/// Factor on the level before a week was seen, while the first weekend is still to come.
const CAUTION: f64 = 2.0;

/// Peaks of the accumulated deviation on one side; see the module's text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Threshold {
    floor: f64,
    blocks: Peaks,
    days: Peaks,
    level: Option<f64>,
}

impl Threshold {
    /// A threshold that never lies below `floor`.
    pub(super) fn new(floor: f64) -> Self {
        let blocks = Peaks::new(BLOCK_S, MIN_BLOCKS, MAX_BLOCKS);
        Self { floor, blocks, days: Peaks::new(DAY_S, MIN_DAYS, MAX_DAYS), level: None }
    }

    /// The level; `None` before two days were seen.
    pub(super) fn level(&self) -> Option<f64> {
        self.level
    }

    /// Takes in the sum at `at_s`. A block's peak counts once the next block begins.
    pub(super) fn observe(&mut self, at_s: i64, sum: f64) {
        let day_ended = self.days.observe(at_s, sum);
        if self.blocks.observe(at_s, sum) || day_ended {
            let by_days = self.days.return_level();
            self.level = self.blocks.return_level().map(|level| match by_days {
                Some(by_days) => level.max(by_days).max(self.floor),
                None => CAUTION * level.max(self.floor),
            });
        }
    }
}

/// The highest sums in blocks of one length, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Peaks {
    block_s: i64,
    least: usize,
    most: usize,
    open: Option<(i64, f64)>,
    peaks: VecDeque<f64>,
}

impl Peaks {
    fn new(block_s: i64, least: usize, most: usize) -> Self {
        Self { block_s, least, most, open: None, peaks: VecDeque::new() }
    }

    /// Takes in a sum; whether a block has ended.
    fn observe(&mut self, at_s: i64, sum: f64) -> bool {
        let block = at_s.div_euclid(self.block_s);
        match self.open {
            Some((open, peak)) if open == block => {
                self.open = Some((block, peak.max(sum)));
                false
            }
            earlier => {
                self.open = Some((block, sum));
                let Some((_, peak)) = earlier else { return false };
                if self.peaks.len() == self.most {
                    self.peaks.pop_front();
                }
                self.peaks.push_back(peak);
                true
            }
        }
    }

    /// What a block's peak exceeds once in the return period; `None` while there are too few.
    fn return_level(&self) -> Option<f64> {
        if self.peaks.len() < self.least {
            return None;
        }
        let mut ascending: Vec<f64> = self.peaks.iter().copied().collect();
        ascending.sort_by(f64::total_cmp);
        // Rounded up: with few blocks the ninth decile is rather too high than too low.
        let rank = |p: f64| ascending[(p * (ascending.len() - 1) as f64).ceil() as usize];
        let (median, decile) = (rank(0.5), rank(0.9));
        let scale = (decile - median) / (gumbel(0.9) - gumbel(0.5));
        let once = 1.0 - self.block_s as f64 / RETURN_S as f64;
        Some(median + scale * (gumbel(once) - gumbel(0.5)))
    }
}

/// The quantile of the standard Gumbel distribution.
fn gumbel(p: f64) -> f64 {
    -(-p.ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The level after the given peaks, each of one block.
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
        let mut peaks = Peaks::new(BLOCK_S, MIN_BLOCKS, MAX_BLOCKS);
        for rank in 1..=169 {
            peaks.observe(i64::from(rank) * BLOCK_S, 5.0 + 2.0 * gumbel(f64::from(rank) / 169.0));
        }
        let expected = 5.0 + 2.0 * gumbel(1.0 - 1.0 / 2184.0);
        let level = peaks.return_level().unwrap();
        assert!((level / expected - 1.0).abs() < 0.03, "{level} against {expected}");
    }

    #[test]
    fn a_few_days_with_anomalies_do_not_move_it_and_many_do() {
        let with = |days: usize| level((0..240).map(|block| if block % (6 * days) == 0 { 1e6 } else { 5.0 })).unwrap();
        assert_eq!(with(14), 5.0);
        assert!(with(5) > 1e6, "a thirtieth of the short blocks, and a fifth of the days");
    }

    #[test]
    fn two_days_come_first_and_the_floor_holds() {
        assert_eq!(level([9.0; 11]), None);
        assert_eq!(level([9.0; 12]), Some(18.0), "no weekend was seen");
        assert_eq!(level([9.0; 42]), Some(9.0));
        assert_eq!(level([0.0; 42]), Some(1.0));
    }
}
