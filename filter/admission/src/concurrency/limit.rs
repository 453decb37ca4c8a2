//! How the limit of requests in flight follows the measured latency, window by window.
//!
//! [`Strategy::Gradient`] is Gradient2 of Netflix's concurrency-limits: a window's mean latency against a slow average of
//! itself. Above `1.5 x` the slow average the limit shrinks in proportion, by at most a tenth a window; else it grows by
//! `(4 queued) x 0.2`. It needs no target; its weak side is that an overload of many minutes becomes the new normal (the
//! slow average follows over 600 windows).
//!
//! [`Strategy::Delay`] is CoDel's criterion on latency: overloaded when even the *fastest* request of a window took
//! longer than a target; then the limit shrinks by 10 % x sqrt(windows in a row), at most by half, else it grows.
//!
//! Both: no growth while less than half of the limit is used (its size was not tested then); growth in one window is
//! capped by [`GROWTH_PERCENT`]; the limit stays between the declared least and most.

use crate::units::Nanos;

/// Thousandths of a slot in a slot.
pub const MILLI_SLOTS: u64 = 1_000;

/// Shortest window in nanoseconds (concurrency-limits' `minWindowTime`).
pub const WINDOW: u64 = Nanos::SECOND;

/// Least measured requests in a window (concurrency-limits' `windowSize`); with fewer the window goes on.
pub const MIN_SAMPLES: u64 = 10;

/// Most growth in one window, in percent of the limit, at least one slot. 10: doubling takes eight windows, so that the
/// upstream's latency is seen seven times before twice the load reaches it.
pub const GROWTH_PERCENT: u64 = 10;

/// Gradient2's defaults: slow average over 600 windows, tolerance 1.5, smoothing 0.2, 4 requests may queue upstream.
const LONG_WINDOWS: u64 = 600;
const TOLERANCE_MILLI: u64 = 1_500;
const SMOOTHING_PERCENT: u64 = 20;
const QUEUED: u64 = 4;

/// How the limit is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Latency against its own slow average.
    Gradient,
    /// The fastest request of a window against a target.
    Delay {
        /// Nanoseconds that the fastest request may take.
        target_ns: u64,
    },
}

/// The guard of one upstream cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardSettings {
    /// How the limit is found.
    pub strategy: Strategy,
    /// Slots at the start.
    pub start: u64,
    /// Least slots, at least 1.
    pub least: u64,
    /// Most slots, at most [`super::MAX_SLOTS`].
    pub most: u64,
    /// Nanoseconds after which a request in flight is given up: it will not tell any more that it ended.
    pub max_flight_ns: u64,
}

impl Default for GuardSettings {
    /// Gradient2's defaults (20, at least 20, at most 200), and Envoy's default `stream_idle_timeout` of five minutes.
    fn default() -> Self {
        Self { strategy: Strategy::Gradient, start: 20, least: 20, most: 200, max_flight_ns: 300 * Nanos::SECOND }
    }
}

impl GuardSettings {
    /// The range of the limit in milli-slots.
    fn range(&self) -> (u64, u64) {
        let most = self.most.clamp(1, u64::from(super::MAX_SLOTS));
        (self.least.clamp(1, most) * MILLI_SLOTS, most * MILLI_SLOTS)
    }
}

/// Latencies of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Requests.
    pub count: u64,
    /// Their latencies together, in nanoseconds.
    pub sum_ns: u64,
    /// The smallest; meaningless while `count` is 0.
    pub min_ns: u64,
}

impl Window {
    /// One more request.
    pub fn add(&mut self, latency_ns: u64) {
        self.merge(&Self { count: 1, sum_ns: latency_ns, min_ns: latency_ns });
    }

    /// Another worker's part of the same window.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min_ns = if self.count == 0 { other.min_ns } else { self.min_ns.min(other.min_ns) };
        self.count = self.count.saturating_add(other.count);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }
}

/// The limit and what its strategy remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limiter {
    /// The limit in milli-slots.
    pub limit_milli: u64,
    /// Gradient: the slow average in nanoseconds, 0 before the first window.
    pub long_ns: u64,
    /// Delay: windows in a row above the target.
    pub above: u64,
}

impl Limiter {
    /// At the start.
    pub fn new(settings: &GuardSettings) -> Self {
        let (least, most) = settings.range();
        let start = settings.start.saturating_mul(MILLI_SLOTS).clamp(least, most);
        Self { limit_milli: start, long_ns: 0, above: 0 }
    }

    /// Whole slots.
    pub fn slots(&self) -> u64 {
        self.limit_milli / MILLI_SLOTS
    }

    /// Keeps the limit between the least and the most.
    pub fn confine(&mut self, settings: &GuardSettings) {
        let (least, most) = settings.range();
        self.limit_milli = self.limit_milli.clamp(least, most);
    }

    /// A window of at least [`MIN_SAMPLES`] is over, in which at most `in_flight` requests were in flight at a time.
    pub fn adapt(&mut self, settings: &GuardSettings, window: &Window, in_flight: u64) {
        if window.count == 0 {
            return;
        }
        let limit = self.limit_milli;
        let wanted = match settings.strategy {
            Strategy::Gradient => self.gradient(window),
            Strategy::Delay { target_ns } => self.delay(window, target_ns),
        };
        let tested = in_flight.saturating_mul(2 * MILLI_SLOTS) >= limit;
        let cap = if tested { limit.saturating_add(growth(limit)) } else { limit };
        self.limit_milli = wanted.min(cap);
        self.confine(settings);
    }

    fn gradient(&mut self, window: &Window) -> u64 {
        let short = (window.sum_ns / window.count.max(1)).max(1);
        self.long_ns = match self.long_ns {
            0 => short,
            long if short >= long => long.saturating_add((short - long).saturating_mul(2) / (LONG_WINDOWS + 1)),
            long => long - (long - short).saturating_mul(2) / (LONG_WINDOWS + 1),
        };
        // After an overload the slow average has to come down faster than it went up.
        if self.long_ns / 2 > short {
            self.long_ns = self.long_ns / 100 * 95;
        }
        let gradient_milli = u128::from(self.long_ns) * u128::from(TOLERANCE_MILLI) / u128::from(short);
        let gradient_milli = u64::try_from(gradient_milli).unwrap_or(u64::MAX).clamp(500, 1_000);
        let raw = self.limit_milli.saturating_mul(gradient_milli) / 1_000 + QUEUED * MILLI_SLOTS;
        (self.limit_milli * (100 - SMOOTHING_PERCENT)).saturating_add(raw * SMOOTHING_PERCENT) / 100
    }

    fn delay(&mut self, window: &Window, target_ns: u64) -> u64 {
        if window.min_ns <= target_ns {
            self.above = 0;
            return u64::MAX;
        }
        self.above = self.above.saturating_add(1);
        let permille = self.above.saturating_mul(10_000).isqrt().min(500);
        self.limit_milli.saturating_sub(self.limit_milli * permille / 1_000)
    }
}

/// The most by which a limit grows in one window, in milli-slots.
pub fn growth(limit_milli: u64) -> u64 {
    (limit_milli / 100).saturating_mul(GROWTH_PERCENT).max(MILLI_SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    const MS: u64 = Nanos::MILLI;
    const DELAY: Strategy = Strategy::Delay { target_ns: 30 * MS };

    /// An upstream that serves 60 at a time in 10 ms (times `slow`); more of them queue. Load fills the limit.
    fn run(limiter: &mut Limiter, settings: &GuardSettings, windows: usize, slow: u64) {
        for _ in 0..windows {
            let in_flight = limiter.slots();
            let latency_ns = 10 * MS * slow * in_flight.max(60) / 60;
            let window = Window { count: 100, sum_ns: 100 * latency_ns, min_ns: latency_ns };
            let before = limiter.limit_milli;
            limiter.adapt(settings, &window, in_flight);
            assert!(limiter.limit_milli <= before + growth(before), "growth is capped");
        }
    }

    #[test]
    fn shrinks_under_overload_and_recovers_after_it() {
        for (strategy, windows) in [(Strategy::Gradient, 300), (DELAY, 60)] {
            let settings = GuardSettings { strategy, ..GuardSettings::default() };
            let mut limiter = Limiter::new(&settings);
            run(&mut limiter, &settings, windows, 1);
            let normal = limiter.slots();
            assert!((60..=200).contains(&normal), "{strategy:?} settles at {normal}");
            run(&mut limiter, &settings, 15, 6);
            let overloaded = limiter.slots();
            assert!(overloaded * 2 <= normal, "{strategy:?}: {normal} -> {overloaded}");
            run(&mut limiter, &settings, windows, 1);
            let recovered = limiter.slots();
            assert!(recovered * 10 >= normal * 8, "{strategy:?}: {normal} -> {overloaded} -> {recovered}");
        }
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        for strategy in [Strategy::Gradient, DELAY] {
            let settings = GuardSettings { strategy, ..GuardSettings::default() };
            let mut limiter = Limiter::new(&settings);
            let window = Window { count: 100, sum_ns: 100 * MS, min_ns: MS };
            for _ in 0..50 {
                limiter.adapt(&settings, &window, 9);
            }
            assert_eq!(limiter.slots(), 20);
            limiter.adapt(&settings, &window, 10);
            assert!(limiter.limit_milli > 20 * MILLI_SLOTS);
        }
    }

    proptest! {
        #[test]
        fn stays_in_range_whatever_is_measured(
            gradient in any::<bool>(), least in any::<u64>(), most in any::<u64>(), start in any::<u64>(),
            windows in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 1..50),
        ) {
            let strategy = if gradient { Strategy::Gradient } else { DELAY };
            let settings = GuardSettings { strategy, start, least, most, ..GuardSettings::default() };
            let mut limiter = Limiter::new(&settings);
            for (count, sum_ns, min_ns, in_flight) in windows {
                let before = limiter.limit_milli;
                limiter.adapt(&settings, &Window { count, sum_ns, min_ns }, in_flight);
                let (low, high) = settings.range();
                prop_assert!((low..=high).contains(&limiter.limit_milli));
                prop_assert!(limiter.limit_milli <= before + growth(before));
            }
        }
    }
}
