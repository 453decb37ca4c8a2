//! How what was seen counts less and less: by half with every so many newer observations, and with every so much time.

use serde::{Deserialize, Serialize};

/// Half-lives of what was seen. Nothing fades by one that is not positive; 0 rather than infinite, which JSON does not have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HalfLife {
    /// Newer observations after which one counts half.
    pub observations: f64,
    /// Seconds after which one counts half.
    pub seconds: f64,
}

impl HalfLife {
    /// What is left of an observation's weight, 0 to 1. Time that runs backwards does not bring any back.
    #[must_use]
    pub fn keeps(self, newer: f64, passed_s: f64) -> f64 {
        let half = |value: f64, half_life: f64| match half_life > 0.0 {
            true => 0.5_f64.powf(value.max(0.0) / half_life),
            false => 1.0,
        };
        half(newer, self.observations) * half(passed_s, self.seconds)
    }
}

/// Seconds from one unix time to a later one, 0 if it is not later.
pub(super) fn passed_s(from_s: i64, to_s: i64) -> f64 {
    to_s.saturating_sub(from_s).max(0) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_halves_with_each_half_life_of_either_kind() {
        let half_life = HalfLife { observations: 10.0, seconds: 3600.0 };
        assert_eq!(half_life.keeps(0.0, 0.0), 1.0);
        assert_eq!(half_life.keeps(10.0, 3600.0), 0.25);
        assert_eq!(half_life.keeps(0.0, -9.0), 1.0);
        assert_eq!(HalfLife { observations: f64::INFINITY, seconds: 0.0 }.keeps(1e9, 1e9), 1.0);
        assert_eq!(passed_s(i64::MIN, i64::MAX), i64::MAX as f64);
    }
}
