//! How long and how often a call is tried: pauses double and are drawn at random, so that controllers that lost one receiver do
//! not come back in step.

use std::time::Duration;

/// How long and how often a call is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries of one call, at least 1.
    pub most_tries: u32,
    /// How long one try may take.
    pub try_within: Duration,
    /// Longest pause after the first try; doubled with each further, and each drawn between nothing and that.
    pub first_pause: Duration,
    /// Longest pause.
    pub most_pause: Duration,
}

impl Default for Retries {
    /// Four tries of 5 s with pauses of at most 0.25, 0.5 and 1 s: 21.75 s of the 30 s that a call may take.
    fn default() -> Self {
        Self {
            most_tries: 4,
            try_within: Duration::from_secs(5),
            first_pause: Duration::from_millis(250),
            most_pause: Duration::from_secs(2),
        }
    }
}

impl Retries {
    /// Longest pause after a try; the first is number 0.
    pub(super) fn pause_max(&self, tried: u32) -> Duration {
        self.first_pause.saturating_mul(1 << tried.min(31)).min(self.most_pause)
    }

    /// Longest that a call takes.
    pub(super) fn longest(&self) -> Duration {
        let pauses = (0..self.most_tries.saturating_sub(1)).map(|tried| self.pause_max(tried));
        pauses.fold(self.try_within.saturating_mul(self.most_tries), Duration::saturating_add)
    }
}
