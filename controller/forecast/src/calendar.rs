//! Where a moment lies in the day and in the week, in UTC.
//!
//! Plain arithmetic on unix seconds: no leap seconds, no time zones, no daylight saving. A pattern that follows local
//! time shifts by an hour twice a year; the recent lags and the next days' history absorb it.

/// Seconds in a day.
pub const DAY_S: i64 = 86_400;

/// Seconds in a week.
pub const WEEK_S: i64 = 7 * DAY_S;

/// 1970-01-01 was a Thursday, the fourth day of a week that begins on Monday.
const EPOCH_DAY_OF_WEEK: i64 = 3;

/// Seconds since the last midnight, 0..86400; also right before 1970.
#[must_use]
pub fn second_of_day(unix_s: i64) -> u32 {
    // In range by construction: the remainder is in 0..86400.
    unix_s.rem_euclid(DAY_S) as u32
}

/// Day of the week: Monday is 0, Sunday is 6.
#[must_use]
pub fn day_of_week(unix_s: i64) -> u32 {
    (unix_s.div_euclid(DAY_S) + EPOCH_DAY_OF_WEEK).rem_euclid(7) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_fall_on_their_days() {
        assert_eq!(day_of_week(0), 3, "1970-01-01 was a Thursday");
        assert_eq!(day_of_week(-1), 2, "the second before was a Wednesday");
        // 1998-07-12 19:00:00 UTC, the World Cup final, was a Sunday.
        assert_eq!(day_of_week(900_270_000), 6);
        assert_eq!(second_of_day(900_270_000), 19 * 3600);
        assert_eq!(second_of_day(-1), 86_399);
    }
}
