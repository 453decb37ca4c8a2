//! What demand arrives for: what a service takes, what it is worth, and what its demand may be.
//!
//! The intuition: capacity is bought for *units per second* of demand (requests, tokens: whatever the service counts), so a
//! service says what one unit per second takes of each resource, and what an hour short of one unit per second costs. From
//! that cost and the price of capacity follows how careful the plan is (a newsvendor), so nobody sets a headroom.
//!
//! Latency is a limit, not a preference: each origin's share of the demand is served from locations within it.

use std::collections::BTreeMap;

use super::price::units_per_s;
use super::{Amounts, Micros, PoolOffer, Shape, Tier};

/// What demand arrives for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Unique; the pool that contracts name.
    pub name: String,
    /// Whose budget it is on, beside the whole one; `None` for nobody's.
    pub tenant: Option<String>,
    /// What one unit per second of demand takes at the standard's performance.
    pub need_per_unit: Amounts,
    /// Instances that it has at least, whatever the demand.
    pub min_instances: u32,
    /// Where it may run; empty for everywhere.
    pub locations: Vec<String>,
    /// How far from its users it may run; `None` for anywhere.
    pub latency: Option<LatencyLimit>,
    /// Lowest performance of a tier, of CPU and of memory, that will do; 0 for any.
    pub min_performance: f64,
    /// Largest share of its need that may be covered by spot pools, 0 to 1: what may be gone at once.
    pub spot_max_share: f64,
    /// Cost of an hour short of one unit per second, beyond the price of the capacity. A plan never gives up such an hour
    /// to save less, so 0 means that nothing is worth buying beyond the floor.
    pub shortage_micros_per_unit_h: Micros,
    /// How long a group that was wanted keeps its number, in seconds. Delays scaling down only.
    pub min_dwell_s: f64,
    /// How long an instance that is told to drain is paid for at most, in seconds.
    pub drain_s: f64,
}

impl Service {
    /// Whether instances of a shape may be bought for it in a pool of a tier: where it may run, of what performs well enough,
    /// and what there is and serves it at all. Latency is another matter: that is by origin.
    #[must_use]
    pub fn may_buy(&self, shape: &Shape, tier: &Tier, offer: &PoolOffer) -> bool {
        let may_run = self.locations.is_empty() || self.locations.contains(&offer.pool.location);
        let is_fast = tier.cpu_performance.min(tier.memory_performance) >= self.min_performance;
        may_run && is_fast && offer.has(shape) && units_per_s(self, shape, tier, offer) > 0.0
    }
}

/// How far from its users a service may run.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyLimit {
    /// From an origin to the location that serves it, in milliseconds.
    pub max_ms: f64,
    /// Where the demand comes from. Shares are taken relative to their sum.
    pub origins: Vec<Origin>,
}

/// A place that demand comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// As in [`Latencies`].
    pub name: String,
    /// Share of the demand.
    pub share: f64,
}

/// Milliseconds from origins to locations of pools.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies(BTreeMap<(String, String), f64>);

impl Latencies {
    /// Notes one, replacing what was noted before.
    pub fn set(&mut self, origin: impl Into<String>, location: impl Into<String>, ms: f64) {
        self.0.insert((origin.into(), location.into()), ms);
    }

    /// From `origin` to `location`: 0 where both are one place, infinite where nothing was noted.
    #[must_use]
    pub fn ms(&self, origin: &str, location: &str) -> f64 {
        let noted = self.0.get(&(origin.to_owned(), location.to_owned())).copied();
        noted.unwrap_or(if origin == location { 0.0 } else { f64::INFINITY })
    }
}

/// What the demand of a service is and may become: a distribution per step, not a point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    /// Offered demand now, in units per second, with what was refused.
    pub observed_per_s: f64,
    /// Unix seconds at which the first of [`steps`](Self::steps) begins; whole steps of the inputs apart from each other.
    pub first_step_s: u64,
    /// Levels of the quantiles, ascending, within 0 to 1.
    pub levels: Vec<f64>,
    /// By step, the quantiles in units per second, in the order of the levels.
    pub steps: Vec<Vec<f64>>,
}

impl Outlook {
    /// The quantile at `level` for the step that begins at `at_s`, in units per second: between the levels linearly, beyond
    /// them the outermost. `None` where the outlook says nothing usable of that step: values that are missing, negative or
    /// not finite never become a plan, and a forecast is never of the past.
    #[must_use]
    pub fn quantile_per_s(&self, at_s: u64, step_s: u32, level: f64) -> Option<f64> {
        let row = at_s.checked_sub(self.first_step_s)? / u64::from(step_s.max(1));
        let row = self.steps.get(usize::try_from(row).ok()?)?;
        let is_sound = row.len() == self.levels.len() && row.iter().all(|value| value.is_finite() && *value >= 0.0);
        if !is_sound || self.levels.is_empty() || !self.levels.is_sorted() {
            return None;
        }
        let above = self.levels.partition_point(|known| *known < level);
        if above == 0 || above == row.len() {
            return Some(row[above.min(row.len() - 1)]);
        }
        let share = (level - self.levels[above - 1]) / (self.levels[above] - self.levels[above - 1]);
        Some(row[above - 1] + share * (row[above] - row[above - 1]))
    }

    /// Demand now, in units per second; 0 for a measurement that makes no sense.
    #[must_use]
    pub fn floor_per_s(&self) -> f64 {
        if self.observed_per_s.is_finite() { self.observed_per_s.max(0.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook() -> Outlook {
        let steps = vec![vec![10.0, 20.0, 40.0], vec![1.0, 2.0, 3.0]];
        Outlook { observed_per_s: 9.0, first_step_s: 600, levels: vec![0.5, 0.9, 0.98], steps }
    }

    #[test]
    fn quantiles_are_read_between_the_levels_and_capped_by_them() {
        let at = |at_s, level| outlook().quantile_per_s(at_s, 300, level);
        assert_eq!(at(600, 0.9), Some(20.0));
        assert_eq!(at(899, 0.7), Some(15.0));
        assert_eq!(at(600, 0.1), Some(10.0));
        assert_eq!(at(600, 0.999), Some(40.0));
        assert_eq!(at(900, 0.999), Some(3.0));
    }

    #[test]
    fn steps_that_the_outlook_does_not_know_have_no_quantile() {
        assert_eq!(outlook().quantile_per_s(599, 300, 0.9), None);
        assert_eq!(outlook().quantile_per_s(1200, 300, 0.9), None);
    }

    #[test]
    fn places_are_next_to_themselves_and_far_from_what_nobody_measured() {
        let mut latencies = Latencies::default();
        latencies.set("eu", "us", 90.0);
        assert_eq!(latencies.ms("eu", "us"), 90.0);
        assert_eq!(latencies.ms("eu", "eu"), 0.0);
        assert_eq!(latencies.ms("us", "eu"), f64::INFINITY);
    }
}
