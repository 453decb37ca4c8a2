//! The robust z-score: how many median absolute deviations a value is from a median of earlier values.

use std::collections::VecDeque;

use crate::labelled::Labelled;

/// What a value is compared with.
#[derive(Clone, Copy)]
pub(crate) enum Reference {
    /// The steps of the day before.
    LastDay(usize),
    /// This time of day, give or take a step, on the seven days before.
    SameTime(usize),
}

/// A normal distribution's deviation over its median absolute deviation.
const NORMAL_PER_MAD: f64 = 1.4826;
/// Least deviation as a share of the median, as the detector has it.
const FLOOR_OF_MEDIAN: f64 = 0.02;
/// The detector's blocks, as length, least and most of them: four hours, and days once there is a week.
const BLOCKS: [(i64, usize, usize); 2] = [(4 * 3600, 12, 168), (86_400, 7, 56)];
/// The detector's return period, seconds.
const RETURN_S: f64 = 364.0 * 86_400.0;

/// Steps at which the score exceeds the return level of its own peaks so far.
pub(crate) fn alarms(labelled: &Labelled, reference: Reference) -> Vec<bool> {
    let series = &labelled.series;
    let values = series.values();
    let mut peaks = [VecDeque::new(), VecDeque::new()];
    let mut open = [None; 2];
    let mut level = f64::INFINITY;
    let mut alarms = vec![false; values.len()];
    for (index, &value) in values.iter().enumerate() {
        let Some(score) = score(values, index, reference).filter(|_| !value.is_nan()) else { continue };
        for ((&(block_s, _, most), peaks), open) in BLOCKS.iter().zip(&mut peaks).zip(&mut open) {
            let block = series.at_s(index).div_euclid(block_s);
            *open = match *open {
                Some((same, peak)) if same == block => Some((block, score.max(peak))),
                earlier => {
                    peaks.extend(earlier.map(|(_, peak): (i64, f64)| peak));
                    if peaks.len() > most {
                        peaks.pop_front();
                    }
                    Some((block, score))
                }
            };
        }
        let [short, long] = [0, 1].map(|which| return_level(&peaks[which], BLOCKS[which]));
        if let Some(short) = short {
            level = long.map_or(2.0 * short, |long: f64| long.max(short));
        }
        alarms[index] = score > level;
    }
    alarms
}

fn score(values: &[f64], index: usize, reference: Reference) -> Option<f64> {
    let compared: Vec<usize> = match reference {
        Reference::LastDay(day) => (index.checked_sub(day)?..index).collect(),
        Reference::SameTime(day) => (1..=7)
            .map_while(|days| index.checked_sub(days * day))
            .flat_map(|at| [at.saturating_sub(1), at, at + 1])
            .filter(|&at| at < index)
            .collect(),
    };
    let known: Vec<f64> = compared.iter().map(|&at| values[at]).filter(|value| !value.is_nan()).collect();
    let median = median(known.clone())?;
    let spread = self::median(known.iter().map(|value| (value - median).abs()).collect())? * NORMAL_PER_MAD;
    Some((values[index] - median).abs() / spread.max(FLOOR_OF_MEDIAN * median).max(f64::MIN_POSITIVE))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn return_level(peaks: &VecDeque<f64>, (block_s, least, _): (i64, usize, usize)) -> Option<f64> {
    if peaks.len() < least {
        return None;
    }
    let mut ascending: Vec<f64> = peaks.iter().copied().collect();
    ascending.sort_by(f64::total_cmp);
    let rank = |p: f64| ascending[(p * (ascending.len() - 1) as f64).ceil() as usize];
    let gumbel = |p: f64| -(-f64::ln(p)).ln();
    let scale = (rank(0.9) - rank(0.5)) / (gumbel(0.9) - gumbel(0.5));
    Some(rank(0.5) + scale * (gumbel(1.0 - block_s as f64 / RETURN_S) - gumbel(0.5)))
}
