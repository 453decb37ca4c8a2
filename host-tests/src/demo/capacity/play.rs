//! What is played: weeks of a past with a burst every day, and some hours of today.
//!
//! No day is like the other: the burst's height varies by a tenth, each step by a twentieth, by the seed. Today is drawn as
//! all days are.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Calendar seconds per step.
pub const STEP_S: i64 = 900;
/// Calendar seconds per real second: a step lasts one and a half.
pub const SPEED: f64 = 600.0;
/// The service, which is also the pool that the contract names.
pub const SERVICE: &str = "shop";
/// Whose requests they are.
pub const TENANT: &str = "shop";

const DAY_STEPS: usize = 86_400 / STEP_S as usize;
/// Days of the past.
const PAST_DAYS: usize = 21;
/// 2026-03-02 00:00:00 UTC, a Monday.
const FIRST_S: i64 = 1_772_409_600;
/// When the live part begins: 16:00.
const LIVE_FROM: usize = 64;
/// Steps of the live part: 6 and a half hours.
const LIVE_STEPS: usize = 26;
/// Steps of the day within the burst: 18:00 to 21:00.
const BURST: Range<usize> = 72..84;
/// Requests per second outside of the burst, and within.
const QUIET_PER_S: f64 = 12.0;
const BURST_PER_S: f64 = 80.0;
/// How much a day's burst, and each step, vary around these.
const DAY_VARIES: f64 = 0.1;
const STEP_VARIES: f64 = 0.05;

/// The past and the live part.
#[derive(Debug, Clone)]
pub struct Play {
    /// Rates of the past in requests per second, one per step.
    pub past: Vec<f64>,
    /// Rates of the live part.
    pub live: Vec<f64>,
}

impl Play {
    /// The play of a seed.
    pub fn new(seed: u64) -> Self {
        let mut draws = Draws(seed);
        let mut past = Vec::new();
        for _ in 0..=PAST_DAYS {
            let height = BURST_PER_S * (1.0 + DAY_VARIES * draws.around_zero());
            for step in 0..DAY_STEPS {
                let rate = if BURST.contains(&step) { height } else { QUIET_PER_S };
                past.push(rate * (1.0 + STEP_VARIES * draws.around_zero()));
            }
        }
        let live_from = PAST_DAYS * DAY_STEPS + LIVE_FROM;
        past.truncate(live_from + LIVE_STEPS);
        let live = past.split_off(live_from);
        Self { past, live }
    }

    /// Calendar second at which the live part begins.
    pub fn live_start_s(&self) -> i64 {
        FIRST_S + self.past.len() as i64 * STEP_S
    }

    /// Steps of the live part within the burst.
    pub fn burst(&self) -> Range<usize> {
        BURST.start - LIVE_FROM..BURST.end - LIVE_FROM
    }

    /// How long a step really lasts.
    pub fn real_step(&self) -> Duration {
        Duration::from_secs_f64(STEP_S as f64 / SPEED)
    }

    /// When each request of the live part is due from its begin on, and whether it is of the burst: evenly within each step.
    pub fn due(&self) -> Vec<(Duration, bool)> {
        let step = self.real_step();
        let mut due = Vec::new();
        for (place, rate) in self.live.iter().enumerate() {
            let count = (rate * step.as_secs_f64()).round().max(1.0) as u32;
            let is_burst = self.burst().contains(&place);
            due.extend((0..count).map(|request| (step * place as u32 + step * request / count, is_burst)));
        }
        due
    }

    /// Writes the past in the shape of `forebay import`.
    pub fn write_past(&self, file: &Path) -> Result<()> {
        let mut csv = csv::Writer::from_path(file).context("writing the past")?;
        csv.write_record(["timestamp", "key", "value"])?;
        for (step, rate) in self.past.iter().enumerate() {
            let at_s = FIRST_S + step as i64 * STEP_S;
            csv.write_record([at_s.to_string(), format!("{TENANT}/requests"), rate.to_string()])?;
        }
        Ok(csv.flush()?)
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): enough for noise, and the same everywhere.
struct Draws(u64);

impl Draws {
    /// Evenly from -1 to 1.
    fn around_zero(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_burst_and_every_request_its_instant() {
        let play = Play::new(1);
        assert_eq!((play.past.len(), play.live.len()), (21 * 96 + 64, 26));
        assert_eq!(play.past, Play::new(1).past, "the same seed is the same play");
        assert_ne!(play.past, Play::new(2).past);
        for (step, rate) in play.live.iter().enumerate() {
            let range = if play.burst().contains(&step) { 68.0..93.0 } else { 11.0..13.0 };
            assert!(range.contains(rate), "{step}: {rate}");
        }
        let due = play.due();
        assert!(due.is_sorted_by(|a, b| a.0 < b.0));
        let of_burst = due.iter().filter(|(_, is_burst)| *is_burst).count();
        let expected: f64 = play.live[play.burst()].iter().map(|rate| rate * 1.5).sum();
        assert!((of_burst as f64 - expected).abs() < 12.0, "{of_burst} of {expected}");
    }
}
