//! What other choices would have cost, from logged decisions: inverse propensity, self-normalised and doubly robust.
//!
//! The learner that is judged at each decision is the one of that moment, which had not seen the outcome; so the scores
//! are differences of a martingale, nothing is fitted on what it is judged by, and what comes out is the worth of learning
//! as it went. Each score is (learner's loss) - (baseline's loss). Where the baseline's loss is known of every epoch (lived
//! or replayed) it is subtracted from the drawn arm's, which takes the common noise of the demand out; else it is estimated
//! by its own propensity.
//!
//! Two intervals: one for reading once, by the normal distribution, and a wider one that holds at all times at once, so
//! that looking after every decision does not make a chance of many (an asymptotic confidence sequence).
//!
//! Sources: Horvitz and Thompson, 1952; Swaminathan and Joachims, The self-normalized estimator for counterfactual learning,
//! 2015; Dudik et al., 2011; Waudby-Smith et al., 2024, equation 2.

use statrs::distribution::{ContinuousCDF, Normal};

use super::journal::Entry;
use super::settings::TunerSettings;
use super::state::KilledBy;

/// Decisions for which the interval that always holds is made tightest.
const TIGHTEST_AT: f64 = 500.0;
/// Probability with which acting is not ended by chance in any one window.
const KILL_CONFIDENCE: f64 = 0.999;

/// A difference to the baseline, as a share of what the planner expected an epoch to cost; negative is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Mean.
    pub difference: f64,
    /// Its interval, at the confidence that is set.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What the learner's choices are worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Decisions whose draw has an outcome.
    pub settled: usize,
    /// Decisions that the learner's weights amount to.
    pub effective: f64,
    /// Those whose baseline is known of the same epoch.
    pub paired: usize,
    /// By inverse propensity.
    pub weighted: Estimate,
    /// The same, divided by the sum of the weights.
    pub self_normalised: Estimate,
    /// By what was expected, corrected by inverse propensity.
    pub doubly_robust: Estimate,
    /// Upper end of an interval around the last one that holds at all times at once.
    pub always_below: f64,
}

impl Evaluation {
    /// Whether the learner is better than the baseline beyond doubt.
    #[must_use]
    pub fn is_better(&self) -> bool {
        self.settled > 1 && self.always_below < 0.0 && self.self_normalised.difference < 0.0
    }
}

/// One decision, as estimators see it.
struct Row {
    /// Learner's chance over the propensity.
    weight: f64,
    /// The same of the baseline, were it drawn.
    base_weight: f64,
    loss: f64,
    paired: Option<f64>,
    expected: f64,
    expected_target: f64,
    expected_base: f64,
}

impl Row {
    fn of(entry: &Entry, baseline: usize, pairs: bool) -> Option<Self> {
        let losses = entry.losses?;
        Some(Self {
            weight: entry.chances.target / entry.chances.drawn,
            base_weight: f64::from(u8::from(entry.drawn == baseline)) / entry.chances.drawn,
            loss: losses.drawn?,
            paired: losses.baseline.filter(|_| pairs),
            expected: entry.expected.drawn,
            expected_target: entry.expected.target,
            expected_base: entry.expected.baseline,
        })
    }

    fn all(entries: &[&Entry], baseline: usize) -> Vec<Self> {
        // The baseline is known wherever it was drawn; used as it is only there, it would count by the chance of being drawn.
        let pairs = entries.iter().all(|entry| entry.losses.is_some_and(|losses| losses.baseline.is_some()));
        entries.iter().filter_map(|entry| Self::of(entry, baseline, pairs)).collect()
    }

    /// Difference between learner and baseline by inverse propensity.
    fn weighted(&self) -> f64 {
        match self.paired {
            Some(base) => self.weight * (self.loss - base),
            None => (self.weight - self.base_weight) * self.loss,
        }
    }

    /// The same, doubly robust.
    fn robust(&self) -> f64 {
        let believed = self.expected_target - self.expected_base;
        let away = self.weight * (self.loss - self.expected);
        match self.paired {
            Some(base) => believed + away - self.weight * (base - self.expected_base),
            None => believed + away - self.base_weight * (self.loss - self.expected_base),
        }
    }
}

/// Judges the learner on settled decisions that were not its own.
pub(super) fn evaluate(entries: &[&Entry], baseline: usize, confidence: f64) -> Evaluation {
    let rows = Row::all(entries, baseline);
    let sum = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).sum::<f64>();
    let (weights, squares) = (sum(&|row| row.weight), sum(&|row| row.weight * row.weight));
    let weighted: Vec<f64> = rows.iter().map(Row::weighted).collect();
    let robust: Vec<f64> = rows.iter().map(Row::robust).collect();
    let doubly_robust = estimate(&robust, confidence);
    Evaluation {
        settled: rows.len(),
        effective: if squares > 0.0 { weights * weights / squares } else { 0.0 },
        paired: rows.iter().filter(|row| row.paired.is_some()).count(),
        weighted: estimate(&weighted, confidence),
        self_normalised: self_normalised(&rows, confidence),
        doubly_robust,
        always_below: doubly_robust.difference + always(&robust, confidence),
    }
}

fn self_normalised(rows: &[Row], confidence: f64) -> Estimate {
    let n = rows.len() as f64;
    let mean = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() / n;
    let are_paired = rows.iter().all(|row| row.paired.is_some());
    let (weight, base_weight) = (mean(&|row| row.weight), mean(&|row| row.base_weight));
    // Without any of a kind there is nothing to divide by, and nothing is known.
    if rows.is_empty() || weight <= 0.0 || (!are_paired && base_weight <= 0.0) {
        return Estimate { difference: 0.0, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let loss = |row: &Row| row.loss - row.paired.unwrap_or(0.0);
    let learner = mean(&|row| row.weight * loss(row)) / weight;
    let base = if are_paired { 0.0 } else { mean(&|row| row.base_weight * row.loss) / base_weight };
    // By the delta method: how much each decision moves the ratios; the mean of these moves is 0.
    let moves = rows.iter().map(|row| {
        let of_base = if are_paired { 0.0 } else { row.base_weight * (row.loss - base) / base_weight };
        row.weight * (loss(row) - learner) / weight - of_base
    });
    let interval = estimate(&moves.collect::<Vec<f64>>(), confidence);
    let difference = learner - base;
    Estimate { difference, low: difference + interval.low, high: difference + interval.high }
}

fn mean_and_deviation(scores: &[f64]) -> (f64, f64) {
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}

/// Mean of the scores, with the two-sided normal interval; nothing is known of less than two.
fn estimate(scores: &[f64], confidence: f64) -> Estimate {
    if scores.len() < 2 {
        return Estimate { difference: 0.0, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let (mean, deviation) = mean_and_deviation(scores);
    let width = Normal::standard().inverse_cdf(0.5 + 0.5 * confidence) * deviation / (scores.len() as f64).sqrt();
    Estimate { difference: mean, low: mean - width, high: mean + width }
}

/// Half the width of the interval that holds at all times at once.
fn always(scores: &[f64], confidence: f64) -> f64 {
    if scores.len() < 2 {
        return f64::INFINITY;
    }
    let (n, miss) = (scores.len() as f64, 1.0 - confidence);
    let squared = (-2.0 * miss.ln() + (-2.0 * miss.ln()).ln() + 1.0) / TIGHTEST_AT;
    let grown = n * squared + 1.0;
    mean_and_deviation(scores).1 * (2.0 * grown / (n * n * squared) * (grown.sqrt() / miss).ln()).sqrt()
}

/// Whether the last decisions of a learner that acts were too bad, and in which way.
pub(super) fn breach(recent: &[&Entry], settings: &TunerSettings) -> Option<KilledBy> {
    if recent.len() < settings.kill_window {
        return None;
    }
    let lived = |entry: &&Entry| entry.losses.map_or(0.0, |losses| losses.lived);
    let worse: Vec<f64> = Row::all(recent, settings.band.baseline()).iter().map(Row::robust).collect();
    let beyond: Vec<f64> =
        recent.iter().map(|entry| lived(entry) - (1.0 + settings.alpha) * entry.expected.baseline).collect();
    if estimate(&worse, KILL_CONFIDENCE).low > 0.0 {
        Some(KilledBy::WorseThanBaseline)
    } else if estimate(&beyond, KILL_CONFIDENCE).low > 0.0 {
        Some(KilledBy::BeyondExpectation)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
