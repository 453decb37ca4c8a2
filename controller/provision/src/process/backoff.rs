//! How fast what fails is started again: at once after the first failure of a ready instance, then ever more slowly.
//!
//! Failures seen in one look count as one: when everything is taken away at once, everything may come back at once.

use std::fmt;

/// Waits between starts of a group whose instances fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure, in milliseconds; doubled with each further.
    pub first_ms: u64,
    /// Longest, in milliseconds.
    pub most_ms: u64,
    /// Time without failures after which the next counts as the first, in milliseconds.
    pub forgotten_after_ms: u64,
}

/// A group that fails.
#[derive(Clone, Debug, Default)]
pub(super) struct Failing {
    times: u32,
    last_ms: u64,
    again_ms: u64,
    detail: String,
}

impl Failing {
    /// Counts a failure.
    pub(super) fn note(&mut self, detail: &str, backoff: &Backoff, now_ms: u64) {
        detail.clone_into(&mut self.detail);
        if self.times > 0 && self.last_ms == now_ms {
            return;
        }
        let is_forgotten = now_ms.saturating_sub(self.last_ms) > backoff.forgotten_after_ms;
        self.times = if is_forgotten { 1 } else { self.times.saturating_add(1) };
        let doubled = backoff.first_ms.saturating_mul(1 << (self.times - 1).min(32));
        self.last_ms = now_ms;
        self.again_ms = now_ms.saturating_add(doubled.min(backoff.most_ms));
    }

    /// Whether nothing is to be started yet.
    pub(super) fn waits(&self, now_ms: u64) -> bool {
        now_ms < self.again_ms
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { times, detail, .. } = self;
        write!(f, "failed {times} times in a row and is tried again later; last: {detail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_forgotten() {
        let backoff = Backoff { first_ms: 100, most_ms: 350, forgotten_after_ms: 10_000 };
        let mut failing = Failing::default();
        let mut now_ms = 1_000_000;
        for wait_ms in [100, 200, 350, 350] {
            failing.note("it ended", &backoff, now_ms);
            // In the same look: the same failure.
            failing.note("it ended", &backoff, now_ms);
            assert!(failing.waits(now_ms + wait_ms - 1) && !failing.waits(now_ms + wait_ms), "{wait_ms}");
            now_ms += wait_ms;
        }
        assert_eq!(failing.to_string(), "failed 4 times in a row and is tried again later; last: it ended");
        now_ms += 10_001;
        failing.note("it ended", &backoff, now_ms);
        assert!(!failing.waits(now_ms + 100));
    }
}
