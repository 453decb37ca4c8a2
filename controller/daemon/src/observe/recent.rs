//! What was lately offered of a key at a proxy: the demand that shares follow.
//!
//! Up at once, down after [`HOLD`]: offered demand is the highest rate of the last reports, so that a pause of a second
//! costs nobody its share, and demand that has gone elsewhere is believed soon. What the standard bucket admitted is
//! averaged, because after a restart of the controller it stands for what the proxy had.

use std::time::Duration;

use forebay_plan::Seen;

use super::counted::Counted;

/// How long the highest rate counts, and how long a key that is in no report counts as before: three reports of a second.
const HOLD: Duration = Duration::from_secs(3);

/// Half-life of the mean that capacity is kept for: a report or two. A peak would keep an instance for every jitter.
const MEAN_HALF_LIFE_S: f64 = 1.0;

/// Shortest time that a report is taken to tell of; a change of leader sends two in a row.
const SHORTEST_S: f64 = 0.25;

/// Recent demand of one key at one proxy, in units per real second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    peak_per_s: f64,
    peak_at: Duration,
    last_per_s: f64,
    mean_per_s: f64,
    standard_per_s: f64,
    cost: u64,
    at: Duration,
}

impl Level {
    /// The level after a report that tells of `real_s` seconds.
    pub(super) fn after(before: Option<Self>, news: &Counted, real_s: f64, now: Duration) -> Self {
        let real_s = real_s.max(SHORTEST_S);
        let (offered, requests) = (news.demand().units, news.demand().requests);
        let last_per_s = offered as f64 / real_s;
        let standard_per_s = news.counters.standard_units as f64 / real_s;
        let cost = offered.div_ceil(requests.max(1)).max(1);
        let mean_per_s = last_per_s;
        let first =
            Self { peak_per_s: last_per_s, peak_at: now, last_per_s, mean_per_s, standard_per_s, cost, at: now };
        let Some(before) = before else { return first };
        let mean_kept = 0.5_f64.powf(real_s / MEAN_HALF_LIFE_S);
        let mean_per_s = last_per_s + (before.mean_per_s - last_per_s) * mean_kept;
        let (peak_per_s, peak_at) = if before.peak_per_s > last_per_s && now.saturating_sub(before.peak_at) <= HOLD {
            (before.peak_per_s, before.peak_at)
        } else {
            (last_per_s, now)
        };
        let kept = 0.5_f64.powf(real_s / HOLD.as_secs_f64());
        let standard_per_s = standard_per_s + (before.standard_per_s - standard_per_s) * kept;
        let cost = if requests == 0 { before.cost } else { cost };
        Self { peak_per_s, peak_at, mean_per_s, standard_per_s, cost, ..first }
    }

    /// What is offered on average, in units per second; nothing once it has not been heard of for a while.
    pub(super) fn mean_per_s(&self, now: Duration) -> f64 {
        if now.saturating_sub(self.at) > HOLD { 0.0 } else { self.mean_per_s }
    }

    /// The level as of `now`; `None` when nothing was offered lately.
    pub(super) fn seen(&self, key: usize, now: Duration) -> Option<Seen> {
        if now.saturating_sub(self.at) > HOLD {
            return None;
        }
        let held = now.saturating_sub(self.peak_at) <= HOLD;
        let offered_per_s = if held { self.peak_per_s } else { self.last_per_s };
        let milli = |per_s: f64| (per_s * 1_000.0) as u64;
        let (offered_milli_per_s, standard_milli_per_s) = (milli(offered_per_s), milli(self.standard_per_s));
        (offered_milli_per_s > 0).then_some(Seen { key, offered_milli_per_s, standard_milli_per_s, cost: self.cost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_protocol::Counters;

    #[test]
    fn up_at_once_and_down_after_a_while() {
        let units = |n| {
            let counters = Counters { standard_requests: n / 10, standard_units: n, ..Counters::default() };
            Counted { counters, ..Counted::default() }
        };
        let at = Duration::from_secs;
        let level = Level::after(None, &units(100), 1.0, at(1));
        let level = Level::after(Some(level), &units(800), 1.0, at(2));
        let seen = level.seen(3, at(2)).unwrap();
        assert_eq!((seen.key, seen.offered_milli_per_s, seen.cost), (3, 800_000, 10));
        assert!((200_000..400_000).contains(&seen.standard_milli_per_s), "averaged: {seen:?}");
        assert_eq!((level.mean_per_s(at(2)), level.mean_per_s(at(6))), (450.0, 0.0));
        let level = Level::after(Some(level), &units(50), 1.0, at(3));
        assert_eq!(level.seen(3, at(5)).unwrap().offered_milli_per_s, 800_000);
        let level = Level::after(Some(level), &units(50), 1.0, at(6));
        assert_eq!(level.seen(3, at(6)).unwrap().offered_milli_per_s, 50_000);
        assert_eq!(level.seen(3, at(10)), None);
    }
}
