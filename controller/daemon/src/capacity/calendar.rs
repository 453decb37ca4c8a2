//! The calendar as far as it is believed: what ends for good does not end because a clock was wrong for a while.
//!
//! A wall clock that jumps an hour ahead and is put right again makes a few plans poor; the next are good again. But what ends
//! by the calendar and never begins again, like an allocation, must not end by such a jump. So a calendar that is further ahead
//! than steady time allows is believed only once it has stayed so for [`BELIEVED_AFTER_MS`]; until then steady time tells how
//! late it is. What ends meanwhile ends by steady time, in the minute that it should.
//!
//! A calendar that goes back is believed at once: nothing ends by it. A machine that was suspended looks like a jump, since
//! steady time did not go on; what ended meanwhile is then said to be open for as long, and nothing is kept for it.

use super::spending::Instant;

/// Clocks that are wrong are put right by the next look at a time server, minutes later, or by people.
const BELIEVED_AFTER_MS: u64 = 3_600_000;
/// Real seconds that a calendar may be put ahead by in a turn; leap seconds and steps of time servers are less.
const MOST_STEP_S: f64 = 60.0;

/// See the module's text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calendar {
    /// When the calendar was believed last.
    believed: Option<Instant>,
}

impl Calendar {
    /// What the calendar shows at least, unix seconds. Wall milliseconds of `now` go by steady time.
    pub(super) fn believed_s(&mut self, now: Instant) -> f64 {
        let believed = *self.believed.get_or_insert(now);
        let passed_ms = now.wall_ms.saturating_sub(believed.wall_ms);
        let expected_s = believed.calendar_s + passed_ms as f64 / 1000.0 * now.speed;
        let is_ahead = now.calendar_s > expected_s + MOST_STEP_S * now.speed;
        if is_ahead && passed_ms < BELIEVED_AFTER_MS {
            return expected_s;
        }
        self.believed = Some(now);
        now.calendar_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(passed_s: u64, ahead_s: f64) -> Instant {
        Instant { wall_ms: 1000 * passed_s, calendar_s: passed_s as f64 + ahead_s, speed: 1.0 }
    }

    #[test]
    fn a_calendar_that_jumps_ahead_is_believed_after_an_hour_and_one_that_goes_back_at_once() {
        let mut calendar = Calendar::default();
        assert_eq!(calendar.believed_s(at(100, 0.0)), 100.0);
        assert_eq!(calendar.believed_s(at(110, 60.0)), 170.0, "a small step");
        assert_eq!(calendar.believed_s(at(120, 3600.0)), 180.0, "goes on as before");
        assert_eq!(calendar.believed_s(at(3709, 3600.0)), 3769.0);
        assert_eq!(calendar.believed_s(at(3710, 3600.0)), 7310.0);
        assert_eq!(calendar.believed_s(at(3720, 0.0)), 3720.0);
        assert_eq!(calendar.believed_s(at(9000, 0.0)), 9000.0, "a long turn is no jump");
    }
}
