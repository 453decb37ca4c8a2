//! Time as files write it: unix seconds, milliseconds and finer, RFC 3339, or a date with a time of day.
//!
//! Numbers are told apart by their size: a unix second of today has ten digits, a millisecond thirteen, a microsecond
//! sixteen, a nanosecond nineteen. (Milliseconds of 1970 to 1973 would be taken for seconds.) What has no offset is local
//! time of a zone, UTC unless another is given.
//!
//! Where a clock is set back, one local hour is there twice. Rows in order tell which is meant: the first pass is taken
//! until time would stand still or run backwards, from then on the second. What cannot be told is refused, as is a local
//! time that the clock skipped.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use thiserror::Error;

use crate::observation::{MAX_STAMP_NS, SECOND_NS};
use crate::zone::{LocalTime, Zone};

/// From these sizes on a number is of the next finer unit: a hundred times the current second count, the year 5138.
const UNITS: [(i64, i64); 4] = [
    (100_000_000_000, SECOND_NS),
    (100_000_000_000_000, SECOND_NS / 1_000),
    (100_000_000_000_000_000, SECOND_NS / 1_000_000),
    (i64::MAX, 1),
];

/// Why text is no time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum StampError {
    #[error("{text:?} is no time; write unix seconds, RFC 3339 or YYYY-MM-DD HH:MM:SS")]
    Unreadable { text: String },
    #[error("{text:?} is more than 146 years from 1970; look whether its unit is right")]
    Far { text: String },
    #[error("{text:?} does not exist in this time zone, the clock was set forward over it; write UTC or an offset")]
    Skipped { text: String },
    #[error("{text:?} is there twice in this time zone and rows are not in order; write UTC or an offset")]
    Ambiguous { text: String },
}

/// Reads a stamp as unix nanoseconds. `before_ns` is the stamp of the row above, if there is one.
///
/// # Errors
/// The text is no time, or none that can be told in this zone.
pub fn parse_stamp(text: &str, zone: &Zone, before_ns: Option<i64>) -> Result<i64, StampError> {
    let text = text.trim();
    let far = || StampError::Far { text: text.to_owned() };
    let within = |ns: i128| i64::try_from(ns).ok().filter(|ns| ns.abs() <= MAX_STAMP_NS).ok_or_else(far);
    if let Some(ns) = number(text) {
        return within(ns);
    }
    if let Ok(stamp) = text.parse::<Timestamp>() {
        return within(stamp.as_nanosecond());
    }
    let unreadable = || StampError::Unreadable { text: text.to_owned() };
    // A zone in brackets without an offset would be dropped in silence.
    if text.contains('[') {
        return Err(unreadable());
    }
    let civil: DateTime = text.parse().map_err(|_| unreadable())?;
    let local = TimeZone::UTC.to_timestamp(civil).map_err(|_| far())?;
    let local_ns = within(local.as_nanosecond())?;
    let (local_s, fraction_ns) = (local_ns.div_euclid(SECOND_NS), local_ns.rem_euclid(SECOND_NS));
    let at = |unix_s: i64| within(i128::from(unix_s) * i128::from(SECOND_NS) + i128::from(fraction_ns));
    match zone.unix_s(local_s) {
        LocalTime::Once(unix_s) => at(unix_s),
        LocalTime::Never(_) => Err(StampError::Skipped { text: text.to_owned() }),
        LocalTime::Twice(earlier, later) => {
            let (earlier, later) = (at(earlier)?, at(later)?);
            match before_ns {
                None => Ok(earlier),
                Some(before_ns) if before_ns < earlier => Ok(earlier),
                Some(before_ns) if before_ns <= later => Ok(later),
                Some(_) => Err(StampError::Ambiguous { text: text.to_owned() }),
            }
        }
    }
}

/// A plain number with or without a fraction as nanoseconds.
fn number(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: i64 = whole.parse().ok()?;
    let size = count.checked_abs()?;
    let unit_ns = UNITS.iter().find(|(below, _)| size < *below).map_or(1, |(_, unit_ns)| *unit_ns);
    // Nine digits of the fraction at most, since no unit is longer than a second.
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let billionths = digits.fold(0, |sum, digit| 10 * sum + i64::from(digit - b'0'));
    let part_ns = i128::from(billionths) * i128::from(unit_ns) / i128::from(SECOND_NS);
    let whole_ns = i128::from(count) * i128::from(unit_ns);
    Some(if whole.starts_with('-') { whole_ns - part_ns } else { whole_ns + part_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Result<i64, StampError> {
        parse_stamp(text, &Zone::utc(), None)
    }

    #[test]
    fn every_way_to_write_a_time_agrees() {
        let wanted = Ok(1_767_571_200 * SECOND_NS);
        for text in [
            "1767571200",
            "1767571200000",
            "1767571200000000",
            "1767571200000000000",
            "1767571200.0",
            "2026-01-05T00:00:00Z",
            "2026-01-05T01:00:00+01:00",
            "2026-01-05T00:00:00.000Z",
            "2026-01-05 00:00:00",
            "2026-01-05 00:00",
            "2026-01-05T00:00",
            "2026-01-05",
            " 2026-01-05 00:00:00 ",
        ] {
            assert_eq!(utc(text), wanted, "{text}");
        }
        assert_eq!(utc("1767571200.25"), Ok(1_767_571_200_250_000_000));
        assert_eq!(utc("2026-01-05 00:00:00.123456789"), Ok(1_767_571_200_123_456_789));
        assert_eq!(utc("-1.5"), Ok(-1_500_000_000));
        assert_eq!(utc("1767571200000.5"), Ok(1_767_571_200_000_500_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "1.2.3",
            "1e9",
            "2026-02-30 00:00:00",
            "12:00",
            "nan",
            ".",
            "2026-01-05 00:00[Europe/Berlin]",
        ] {
            assert!(matches!(utc(text), Err(StampError::Unreadable { .. })), "{text}: {:?}", utc(text));
        }
        for text in ["1400-01-01 00:00:00", "9000-12-31T00:00:00Z", "99999999999", "-99999999999999"] {
            assert!(matches!(utc(text), Err(StampError::Far { .. })), "{text}: {:?}", utc(text));
        }
    }
}
