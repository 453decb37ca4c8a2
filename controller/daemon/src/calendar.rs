//! Calendar time as people write it: one reader and one writer for every file and option.

use forebay_forecast::{Zone, parse_stamp};
use jiff::Timestamp;
use jiff::tz::TimeZone;

const SECOND_NS: i64 = 1_000_000_000;

/// Whole unix seconds of a time as files may write it (see [`parse_stamp`]), taken as UTC where it has no offset.
pub(crate) fn parse(text: &str) -> Option<i64> {
    parse_stamp(text, &Zone::utc(), None).ok().map(second)
}

/// The unix second that holds a nanosecond.
pub(crate) fn second(at_ns: i64) -> i64 {
    at_ns.div_euclid(SECOND_NS)
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
    fn the_ways_to_write_a_time_agree() {
        let wanted = Some(1_767_571_200);
        for text in [
            "2026-01-05T00:00:00Z",
            "2026-01-05T01:00:00+01:00",
            "2026-01-05 00:00:00",
            "1767571200",
            "1767571200000",
            "1767571200.9",
        ] {
            assert_eq!(parse(text), wanted, "{text}");
        }
        assert_eq!((parse("yesterday"), parse("-0.5")), (None, Some(-1)));
        assert_eq!(print(1_767_571_200), "2026-01-05 00:00:00");
    }
}
