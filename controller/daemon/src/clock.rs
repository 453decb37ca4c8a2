//! The one place where calendar time and real time differ.
//!
//! *Calendar* time is what forecasts and history are about: unix seconds, the time of day, the day of the week.
//! *Steady* time is real elapsed time: grants, rates and timeouts run on it. In production they run alike. A demo or a
//! replay sets `speed`, so that a day passes in minutes; everything else then runs exactly as in production, because
//! nobody but this port knows.
//!
//! It does not sleep and does not know time zones: the calendar is UTC.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::state::lock;

/// How to read both times.
pub(crate) trait Clock: Send + Sync {
    /// Calendar time, in unix seconds.
    fn calendar_now_s(&self) -> f64;
    /// Real time since the clock was made; never goes back.
    fn steady_now(&self) -> Duration;
    /// Calendar seconds that pass in one real second.
    fn speed(&self) -> f64;
    /// How long a stretch of calendar time really lasts; nothing for a stretch that is over.
    fn to_real(&self, calendar_s: f64) -> Duration {
        Duration::try_from_secs_f64(calendar_s / self.speed()).unwrap_or(Duration::ZERO)
    }
}

/// The machine's clock, with the calendar as the configuration maps it.
pub(crate) struct SystemClock {
    started: Instant,
    calendar_start_s: f64,
    steady_start_s: f64,
    speed: f64,
}

/// The configured mapping: calendar(t) = calendar_start + (wall(t) - steady_start) * speed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClockSettings {
    /// Calendar seconds per real second, above 0.
    pub(crate) speed: f64,
    /// Calendar time at `steady_start`; by default the wall time there.
    pub(crate) calendar_start_s: Option<f64>,
    /// Wall time at which the mapping is anchored, unix seconds; by default the start of the process.
    pub(crate) steady_start_s: Option<f64>,
}

impl SystemClock {
    /// A clock that starts now.
    pub(crate) fn new(settings: &ClockSettings) -> Self {
        let steady_start_s = settings.steady_start_s.unwrap_or_else(wall_now_s);
        let calendar_start_s = settings.calendar_start_s.unwrap_or(steady_start_s);
        Self { started: Instant::now(), calendar_start_s, steady_start_s, speed: settings.speed }
    }
}

impl Clock for SystemClock {
    fn calendar_now_s(&self) -> f64 {
        self.calendar_start_s + (wall_now_s() - self.steady_start_s) * self.speed
    }

    fn steady_now(&self) -> Duration {
        self.started.elapsed()
    }

    fn speed(&self) -> f64 {
        self.speed
    }
}

/// Wall time in unix seconds, whatever the calendar is mapped to.
pub(crate) fn wall_now_s() -> f64 {
    // A machine whose clock stands before 1970 counts as being there.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// The same in whole milliseconds.
pub(crate) fn wall_now_ms() -> u64 {
    (wall_now_s() * 1_000.0) as u64
}

/// A clock that is moved by hand, for tests and rehearsals.
pub(crate) struct ManualClock {
    now: std::sync::Mutex<(f64, Duration)>,
    speed: f64,
}

impl ManualClock {
    pub(crate) fn new(calendar_s: f64, speed: f64) -> Self {
        Self { now: std::sync::Mutex::new((calendar_s, Duration::ZERO)), speed }
    }

    /// Lets real time pass.
    pub(crate) fn advance(&self, real: Duration) {
        let mut now = lock(&self.now);
        now.0 += real.as_secs_f64() * self.speed;
        now.1 += real;
    }

    /// Puts the calendar ahead, or back, while no time passes.
    #[cfg(test)]
    pub(crate) fn put_ahead(&self, calendar_s: f64) {
        lock(&self.now).0 += calendar_s;
    }
}

impl Clock for ManualClock {
    fn calendar_now_s(&self) -> f64 {
        lock(&self.now).0
    }

    fn steady_now(&self) -> Duration {
        lock(&self.now).1
    }

    fn speed(&self) -> f64 {
        self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_runs_at_its_speed_from_its_anchor() {
        let wall = wall_now_s();
        let settings =
            ClockSettings { speed: 600.0, calendar_start_s: Some(1_000_000.0), steady_start_s: Some(wall - 10.0) };
        let clock = SystemClock::new(&settings);
        let calendar = clock.calendar_now_s();
        assert!((1_006_000.0..1_006_000.0 + 600.0 * 30.0).contains(&calendar), "{calendar}");
        assert_eq!(clock.to_real(300.0), Duration::from_millis(500));
        assert_eq!(clock.to_real(-1.0), Duration::ZERO);
    }
}
