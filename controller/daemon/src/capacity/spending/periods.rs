//! When the periods of budgets begin and end: hours, days, weeks and months of the calendar, which is UTC.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::config::capacity::Period;

impl Period {
    /// When the period that holds a moment began, unix seconds.
    pub(super) fn begin_s(self, at_s: i64) -> i64 {
        match self {
            Self::Hour => at_s - at_s.rem_euclid(3600),
            Self::Day => at_s - at_s.rem_euclid(86_400),
            // The first of January 1970 was a Thursday.
            Self::Week => at_s - (at_s + 3 * 86_400).rem_euclid(7 * 86_400),
            Self::Month => first_of_month(at_s, 0).unwrap_or(at_s - at_s.rem_euclid(30 * 86_400)),
        }
    }

    /// When it ends.
    pub(super) fn end_s(self, at_s: i64) -> i64 {
        match self {
            Self::Hour => self.begin_s(at_s) + 3600,
            Self::Day => self.begin_s(at_s) + 86_400,
            Self::Week => self.begin_s(at_s) + 7 * 86_400,
            Self::Month => first_of_month(at_s, 1).unwrap_or(self.begin_s(at_s) + 30 * 86_400),
        }
    }
}

/// When the month of a moment, or one so many later, begins; `None` beyond the calendar's end.
fn first_of_month(at_s: i64, later: i32) -> Option<i64> {
    let at: Zoned = Timestamp::from_second(at_s).ok()?.to_zoned(TimeZone::UTC);
    let first: Date = at.date().first_of_month();
    let first = first.checked_add(jiff::Span::new().months(later)).ok()?;
    Some(first.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_of_the_utc_calendar() {
        // Wednesday, 2025-12-31 12:00.
        let at_s = 1_767_182_400;
        let span = |period: Period| (at_s - period.begin_s(at_s), period.end_s(at_s) - at_s);
        assert_eq!(span(Period::Hour), (0, 3600));
        assert_eq!(span(Period::Day), (12 * 3600, 12 * 3600));
        assert_eq!(span(Period::Week), (60 * 3600, 108 * 3600));
        assert_eq!(span(Period::Month), (30 * 86_400 + 12 * 3600, 12 * 3600));
    }
}
