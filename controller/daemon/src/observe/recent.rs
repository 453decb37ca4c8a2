//! What was lately offered of a key at a proxy: the demand that shares follow.
//!
//! Up at once, down after [`HOLD`]: offered demand is the highest rate of the last reports, so that a pause of a second
//! costs nobody its share, and demand that has gone elsewhere is believed soon. What the standard bucket admitted is
//! averaged, because after a restart of the controller it stands for what the proxy had.
//!
//! Reports are of any length: a second as a rule, a millisecond when a leader changes, longer after a lost connection. Averages
//! take each for as long as it tells of, so cutting the same demand otherwise changes nothing. A rate that is a peak needs
//! a stretch to be a rate at all, so short reports are taken together until they tell of [`SHORTEST_S`] ([`Window`]). A key that a
//! report does not mention was not asked for: such gaps count as time without demand.

use std::f64::consts::LN_2;
use std::time::Duration;

use forebay_plan::Seen;

use super::counted::Counted;

/// How long the highest rate counts, and how long a key that no report mentions is among what was seen: three reports of a
/// second. A proxy that does not report says nothing about its keys either way, until it is no longer live.
const HOLD: Duration = Duration::from_secs(3);

/// Half-life of the mean that capacity is kept for: a report or two. A peak would keep an instance for every jitter.
const MEAN_HALF_LIFE_S: f64 = 1.0;

/// Shortest time that a rate is told of: that of a single request in a millisecond is nobody's demand.
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
    /// Of the last report.
    at: Duration,
    window: Window,
}

/// What reports tell of until they are long enough for a rate.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    units: f64,
    real_s: f64,
}

/// What a report tells of, with the time before it that no report mentions the key for.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    gap_s: f64,
    units: f64,
    real_s: f64,
}

impl Level {
    /// The level after a report that tells of `real_s` seconds.
    pub(super) fn after(before: Option<Self>, news: &Counted, real_s: f64, now: Duration) -> Self {
        let real_s = real_s.max(0.0);
        let (offered, requests) = (news.demand().units, news.demand().requests);
        let cost = offered.div_ceil(requests.max(1)).max(1);
        let (offered, standard) = (offered as f64, news.counters.standard_units as f64);
        let Some(before) = before else {
            // A lower bound while it is short.
            let [last_per_s, standard_per_s] = [offered, standard].map(|units| units / real_s.max(SHORTEST_S));
            let window = Window { units: offered, real_s }.unless_long_enough();
            let (peak_per_s, mean_per_s) = (last_per_s, last_per_s);
            return Self { peak_per_s, peak_at: now, last_per_s, mean_per_s, standard_per_s, cost, at: now, window };
        };
        let gap_s = (now.saturating_sub(before.at).as_secs_f64() - real_s).max(0.0);
        let stretch = Stretch { gap_s, units: offered, real_s };
        let without_gap = Stretch { gap_s: 0.0, units: standard, real_s };
        let cost = if requests == 0 { before.cost } else { cost };
        let mut level = Self {
            mean_per_s: stretch.averaged(before.mean_per_s, MEAN_HALF_LIFE_S),
            standard_per_s: without_gap.averaged(before.standard_per_s, HOLD.as_secs_f64()),
            cost,
            at: now,
            ..before
        };
        if before.window.real_s > 0.0 && before.window.real_s + gap_s >= SHORTEST_S {
            // Nothing more came in it.
            level.close(before.window, now);
            level.window = Window::default();
        }
        let window = level.window.with(stretch);
        level.window = window.unless_long_enough();
        if level.window.real_s == 0.0 {
            level.close(window, now);
        }
        level
    }

    /// Takes the rate of a window that is over.
    fn close(&mut self, window: Window, now: Duration) {
        self.last_per_s = window.units / window.real_s.max(SHORTEST_S);
        if self.peak_per_s <= self.last_per_s || now.saturating_sub(self.peak_at) > HOLD {
            (self.peak_per_s, self.peak_at) = (self.last_per_s, now);
        }
    }

    /// What is offered on average, in units per second, at a proxy that was `heard` of last then.
    pub(super) fn mean_per_s(&self, heard: Duration) -> f64 {
        let gap_s = heard.saturating_sub(self.at).as_secs_f64();
        Stretch { gap_s, units: 0.0, real_s: 0.0 }.averaged(self.mean_per_s, MEAN_HALF_LIFE_S)
    }

    /// The level at a proxy that was `heard` of last then; `None` when nothing was offered lately.
    pub(super) fn seen(&self, key: usize, heard: Duration) -> Option<Seen> {
        if heard.saturating_sub(self.at) > HOLD {
            return None;
        }
        let is_held = heard.saturating_sub(self.peak_at) <= HOLD;
        let offered_per_s = if is_held { self.peak_per_s } else { self.last_per_s };
        let milli = |per_s: f64| (per_s * 1_000.0) as u64;
        let (offered_milli_per_s, standard_milli_per_s) = (milli(offered_per_s), milli(self.standard_per_s));
        (offered_milli_per_s > 0).then_some(Seen { key, offered_milli_per_s, standard_milli_per_s, cost: self.cost })
    }
}

impl Window {
    /// With one more report. The gap before a first one fills it up at most, so that what begins counts at once.
    fn with(self, stretch: Stretch) -> Self {
        let room_s = if self.real_s > 0.0 { f64::INFINITY } else { (SHORTEST_S - stretch.real_s).max(0.0) };
        Self { units: self.units + stretch.units, real_s: self.real_s + stretch.gap_s.min(room_s) + stretch.real_s }
    }

    /// Itself while it is too short for a rate, and a new one then.
    fn unless_long_enough(self) -> Self {
        // A third of a millisecond off is rounding.
        if self.real_s >= SHORTEST_S * 0.999 { Self::default() } else { self }
    }
}

impl Stretch {
    /// The running average after it, of a demand that is constant within the gap and within the report.
    fn averaged(self, before_per_s: f64, half_life_s: f64) -> f64 {
        let decay = |real_s: f64| LN_2 * real_s / half_life_s;
        let exponent = decay(self.real_s);
        // (1 - e^-x) / x, which is 1 for a report of no length.
        let taken = if exponent > 0.0 { -(-exponent).exp_m1() / exponent } else { 1.0 };
        before_per_s * (-decay(self.gap_s) - exponent).exp() + self.units * LN_2 / half_life_s * taken
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
        let means_per_s = [at(2), at(3), at(12)].map(|heard| level.mean_per_s(heard).round());
        assert_eq!(means_per_s, [450.0, 225.0, 0.0]);
        let level = Level::after(Some(level), &units(50), 1.0, at(3));
        assert_eq!(level.seen(3, at(5)).unwrap().offered_milli_per_s, 800_000);
        let level = Level::after(Some(level), &units(50), 1.0, at(6));
        assert_eq!(level.seen(3, at(6)).unwrap().offered_milli_per_s, 50_000);
        assert_eq!(level.seen(3, at(10)), None);
    }
}
