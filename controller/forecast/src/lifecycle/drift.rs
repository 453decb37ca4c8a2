//! Page-Hinkley: notices that the mean of a stream has risen, without being told from what to what.
//!
//! The sum of (value - mean so far - tolerance) falls while nothing happens and rises after the mean has. Its height above
//! its lowest point is compared with a threshold. Values are divided by the deviation seen while it learns, so that
//! tolerance and threshold mean the same on every stream. Of the two one-sided tests only the one upwards is here: losses
//! that fall are no reason to act.
//!
//! Source: Page, Continuous inspection schemes, 1954; Hinkley, Inference about the change-point, 1970.

use serde::{Deserialize, Serialize};

/// Rise of the mean that is put up with, in deviations of the stream.
const TOLERANCE: f64 = 0.25;
/// Accumulated rise that is drift, in deviations. With independent normal values and this tolerance the chance of a false
/// drift is about `exp(-2 x 0.25 x 25)`, one in 270,000, at any value; a rise by one deviation is seen after 34.
const THRESHOLD: f64 = 25.0;
/// Values that teach mean and deviation before any is judged, at least.
pub(super) const LEARNING: u64 = 48;
/// Furthest that one value counts, in deviations: one outlier is no drift.
const CAP: f64 = 5.0;

/// The test and what it has learned; see the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    learning: u64,
    count: u64,
    mean: f64,
    /// Sum of squared distances from the mean (Welford, 1962).
    squares: f64,
    sum: f64,
    lowest: f64,
}

impl Default for PageHinkley {
    fn default() -> Self {
        Self::learning_from(LEARNING)
    }
}

impl PageHinkley {
    /// A test that learns from so many values, or 48: as many as it takes to see all hours of a day, where they differ.
    #[must_use]
    pub fn learning_from(values: u64) -> Self {
        let learning = values.max(LEARNING);
        Self { learning, count: 0, mean: 0.0, squares: 0.0, sum: 0.0, lowest: 0.0 }
    }

    /// Takes in a value; whether the mean has risen by now. It goes on saying so until [`PageHinkley::reset`]. A value
    /// that is not finite is passed over.
    pub fn observe(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return self.has_drifted();
        }
        if self.count >= self.learning {
            let deviation = (self.squares / self.count as f64).sqrt();
            // A stream that has never moved drifts as soon as it does: by one capped value after the other.
            let off = value - self.mean;
            let scaled = if off == 0.0 { 0.0 } else { (off / deviation).clamp(-CAP, CAP) };
            self.sum += scaled - TOLERANCE;
            self.lowest = self.lowest.min(self.sum);
        }
        // Mean and deviation are those of the learning part: they must not follow the drift that they are to show.
        if self.count < self.learning {
            self.count += 1;
            let before = value - self.mean;
            self.mean += before / self.count as f64;
            self.squares += before * (value - self.mean);
        }
        self.has_drifted()
    }

    /// How high the sum stands above its lowest point, as a share of what is drift.
    #[must_use]
    pub fn height(&self) -> f64 {
        (self.sum - self.lowest) / THRESHOLD
    }

    /// Whether the mean has risen.
    #[must_use]
    pub fn has_drifted(&self) -> bool {
        self.height() > 1.0
    }

    /// Learns anew, as after a fit.
    pub fn reset(&mut self) {
        *self = Self::learning_from(self.learning);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_textbook_sum_over_its_lowest_point(values in prop::collection::vec(0.0_f64..100.0, 60..200)) {
            let mut test = PageHinkley::default();
            for &value in &values {
                test.observe(value);
            }
            let (learning, judged) = values.split_at(LEARNING as usize);
            let mean = learning.iter().sum::<f64>() / learning.len() as f64;
            let variance = learning.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / learning.len() as f64;
            let sums: Vec<f64> = (0..=judged.len())
                .map(|end| judged[..end].iter().map(|value| ((value - mean) / variance.sqrt()).clamp(-CAP, CAP) - TOLERANCE).sum())
                .collect();
            let lowest = sums.iter().copied().fold(f64::INFINITY, f64::min);
            prop_assert!((test.height() - (sums[judged.len()] - lowest) / THRESHOLD).abs() < 1e-9);
        }
    }

    #[test]
    fn a_rise_is_seen_and_an_outlier_and_a_fall_are_not() {
        let noise = |index: u64| ((index * 7919) % 100) as f64 / 100.0;
        let mut test = PageHinkley::default();
        assert!(!(0..2000).any(|index| test.observe(noise(index))), "calm: {}", test.height());
        assert!(!test.observe(1e9));
        assert!(!(0..200).any(|index| test.observe(noise(index) - 0.5)));
        let seen = (0..200).position(|index| test.observe(noise(index) + 0.5));
        assert!(seen.is_some_and(|steps| steps < 40), "{seen:?}");
        test.reset();
        assert!(!test.has_drifted());
    }

    #[test]
    fn a_stream_that_never_moved_drifts_by_capped_values() {
        let mut test = PageHinkley::default();
        for _ in 0..LEARNING {
            test.observe(3.0);
        }
        assert_eq!((0..10).position(|_| test.observe(4.0)), Some(5));
    }
}
