//! Calendar time as people write it: one reader and one writer for every file and option.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Whole unix seconds of a time in RFC 3339, `YYYY-MM-DD HH:MM:SS` (taken as UTC) or unix seconds. `None` for anything
/// else; unix milliseconds are refused too, since they would lie beyond the calendar's end.
pub(crate) fn parse(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).ok().map(Timestamp::as_second);
    }
    if let Ok(stamp) = text.parse::<Timestamp>() {
        return Some(stamp.as_second());
    }
    let civil = text.parse::<DateTime>().ok()?;
    TimeZone::UTC.to_timestamp(civil).ok().map(Timestamp::as_second)
}

/// `unix_s` as `YYYY-MM-DD HH:MM:SS` in UTC: the form that traces are written in.
pub(crate) fn print(unix_s: i64) -> String {
    match Timestamp::from_second(unix_s) {
        Ok(stamp) => TimeZone::UTC.to_datetime(stamp).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("unix second {unix_s}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ways_to_write_a_time_agree() {
        let wanted = Some(1_767_571_200);
        for text in ["2026-01-05T00:00:00Z", "2026-01-05T01:00:00+01:00", "2026-01-05 00:00:00", "1767571200"] {
            assert_eq!(parse(text), wanted, "{text}");
        }
        assert_eq!((parse("1767571200000"), parse("yesterday")), (None, None), "milliseconds are no time");
        assert_eq!(print(1_767_571_200), "2026-01-05 00:00:00");
    }
}
