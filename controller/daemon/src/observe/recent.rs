//! What was lately offered of a key at a proxy: the demand that shares follow.
//!
//! Fast up and slow down: offered demand is the rate of the last report or, if that is more, the former value halved
//! each [`HALF_LIFE`], so that a pause of a second costs nobody its share. What the standard bucket admitted is averaged
//! over the same time, because after a restart it stands for what the proxy had.

use std::time::Duration;

use forebay_plan::Seen;
use forebay_protocol::Counters;

/// Time in which demand that is gone counts half.
const HALF_LIFE: Duration = Duration::from_secs(4);

/// Shortest time that a report is taken to tell of; a change of leader sends two in a row.
const SHORTEST_S: f64 = 0.25;

/// Recent demand of one key at one proxy, in units per real second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    offered_per_s: f64,
    standard_per_s: f64,
    cost: u64,
    at: Duration,
}

impl Level {
    /// The level after a report that tells of `real_s` seconds.
    pub(super) fn after(before: Option<Self>, news: &Counters, real_s: f64, now: Duration) -> Self {
        let real_s = real_s.max(SHORTEST_S);
        let offered = super::offered_units(news);
        let requests =
            news.reserved_requests.saturating_add(news.standard_requests).saturating_add(news.refused_requests);
        let offered_per_s = offered as f64 / real_s;
        let standard_per_s = news.standard_units as f64 / real_s;
        let cost = offered.div_ceil(requests.max(1)).max(1);
        let Some(before) = before else { return Self { offered_per_s, standard_per_s, cost, at: now } };
        let kept = halved(now.saturating_sub(before.at));
        Self {
            offered_per_s: offered_per_s.max(before.offered_per_s * kept),
            standard_per_s: standard_per_s + (before.standard_per_s - standard_per_s) * kept,
            cost: if requests == 0 { before.cost } else { cost },
            at: now,
        }
    }

    /// The level as of `now`; `None` when next to nothing is left of it.
    pub(super) fn seen(&self, key: usize, now: Duration) -> Option<Seen> {
        let kept = halved(now.saturating_sub(self.at)) * 1_000.0;
        let offered_milli_per_s = (self.offered_per_s * kept) as u64;
        let standard_milli_per_s = (self.standard_per_s * kept) as u64;
        (offered_milli_per_s >= 10).then_some(Seen { key, offered_milli_per_s, standard_milli_per_s, cost: self.cost })
    }
}

/// What is left of a value after a pause.
fn halved(pause: Duration) -> f64 {
    0.5_f64.powf(pause.as_secs_f64() / HALF_LIFE.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_at_once_and_down_by_half_lives() {
        let units = |n| Counters { standard_requests: n / 10, standard_units: n, ..Counters::default() };
        let at = Duration::from_secs;
        let level = Level::after(None, &units(100), 1.0, at(1));
        let level = Level::after(Some(level), &units(800), 1.0, at(2));
        let seen = level.seen(3, at(2)).unwrap();
        assert_eq!((seen.key, seen.offered_milli_per_s, seen.cost), (3, 800_000, 10));
        assert!(seen.standard_milli_per_s < 300_000, "averaged: {seen:?}");
        let level = Level::after(Some(level), &Counters::default(), 4.0, at(6));
        assert_eq!(level.seen(3, at(6)).unwrap().offered_milli_per_s, 400_000);
        assert_eq!(level.seen(3, at(6)).unwrap().cost, 10);
        assert_eq!(level.seen(3, at(200)), None);
    }
}
