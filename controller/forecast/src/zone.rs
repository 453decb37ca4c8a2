//! What the clocks on the wall show: offsets from UTC and when they change.
//!
//! People's days follow local time, so a pattern of the day moves by an hour in UTC twice a year. A zone here is plain
//! data, a list of moments and the offset from each on, so that nothing depends on a database that differs from machine
//! to machine or is not there; [`Zone::of`] takes the list from a time zone that the caller has found.
//!
//! A local time that exists twice (the clock is set back) or never (it is set forward) is told as such: [`Zone::unix_s`].

use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

use crate::calendar::DAY_S;

/// Most changes in one zone: two a year over the 292 years that stamps reach.
pub const MAX_ZONE_CHANGES: usize = 584;

/// Offsets from UTC over time; see the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// Before the first change.
    first_offset_s: i32,
    /// When the offset changes, unix seconds, and to what.
    changes: Vec<(i64, i32)>,
}

/// Why a list of changes is no zone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// An offset of a day or more.
    #[error("making a zone: an offset of {offset_s} s is not less than a day; offsets are seconds east of UTC")]
    Offset {
        /// The refused offset.
        offset_s: i32,
    },
    /// Changes that do not follow each other in time.
    #[error("making a zone: the change at {at_s} is not after the one before; sort them")]
    Order {
        /// The refused change.
        at_s: i64,
    },
    /// More changes than a zone has.
    #[error("making a zone: {changes} changes, at most {MAX_ZONE_CHANGES} are possible; give a shorter part of time")]
    TooMany {
        /// How many there are.
        changes: usize,
    },
}

/// When a local time was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalTime {
    /// Once.
    Once(i64),
    /// Twice: the clock was set back. First the earlier moment.
    Twice(i64, i64),
    /// Never: the clock was set forward over it. The moment is where the old offset would have it.
    Never(i64),
}

impl Zone {
    /// Universal time, everywhere the default.
    #[must_use]
    pub fn utc() -> Self {
        Self::default()
    }

    /// A zone of `first_offset_s` seconds east of UTC that changes at unix seconds to other offsets.
    ///
    /// # Errors
    /// The changes are not ascending or too many, or an offset is a day or more.
    pub fn new(first_offset_s: i32, changes: Vec<(i64, i32)>) -> Result<Self, ZoneError> {
        if changes.len() > MAX_ZONE_CHANGES {
            return Err(ZoneError::TooMany { changes: changes.len() });
        }
        let mut offsets = changes.iter().map(|change| change.1).chain([first_offset_s]);
        if let Some(offset_s) = offsets.find(|offset_s| i64::from(offset_s.unsigned_abs()) >= DAY_S) {
            return Err(ZoneError::Offset { offset_s });
        }
        if let Some(two) = changes.windows(2).find(|two| two[1].0 <= two[0].0) {
            return Err(ZoneError::Order { at_s: two[1].0 });
        }
        Ok(Self { first_offset_s, changes })
    }

    /// The part of a time zone from `from_s` to `to_s`, unix seconds; before and after it the nearest offset holds.
    ///
    /// # Errors
    /// The zone changes more often than [`MAX_ZONE_CHANGES`] times.
    pub fn of(time_zone: &TimeZone, from_s: i64, to_s: i64) -> Result<Self, ZoneError> {
        let at = |unix_s: i64| {
            let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
            Timestamp::from_second(unix_s.clamp(first, last)).unwrap_or_default()
        };
        let mut offset_s = time_zone.to_offset(at(from_s)).seconds();
        let first_offset_s = offset_s;
        let mut changes = Vec::new();
        for change in time_zone.following(at(from_s)) {
            if change.timestamp().as_second() > to_s || changes.len() > MAX_ZONE_CHANGES {
                break;
            }
            // A zone may change its name without its offset.
            if change.offset().seconds() != offset_s {
                offset_s = change.offset().seconds();
                changes.push((change.timestamp().as_second(), offset_s));
            }
        }
        Self::new(first_offset_s, changes)
    }

    /// Seconds east of UTC at a moment.
    #[must_use]
    pub fn offset_at(&self, unix_s: i64) -> i64 {
        let past = self.changes.partition_point(|change| change.0 <= unix_s);
        i64::from(past.checked_sub(1).map_or(self.first_offset_s, |last| self.changes[last].1))
    }

    /// What the clock shows at a moment, as seconds since 1970 began there.
    #[must_use]
    pub fn local_s(&self, unix_s: i64) -> i64 {
        unix_s.saturating_add(self.offset_at(unix_s))
    }

    /// When the clock shows `local_s`.
    #[must_use]
    pub fn unix_s(&self, local_s: i64) -> LocalTime {
        // Offsets are less than a day, so the moment is within a day of this one; so are the offsets that it can have.
        let from = self.changes.partition_point(|change| change.0 <= local_s.saturating_sub(2 * DAY_S));
        let to = self.changes.partition_point(|change| change.0 <= local_s.saturating_add(2 * DAY_S));
        let before = from.checked_sub(1).map_or(self.first_offset_s, |last| self.changes[last].1);
        let offsets = std::iter::once(before).chain(self.changes[from..to].iter().map(|change| change.1));
        let mut found = offsets
            .clone()
            .map(|offset_s| local_s.saturating_sub(i64::from(offset_s)))
            .filter(|&unix_s| self.local_s(unix_s) == local_s);
        let Some(one) = found.next() else {
            let moments = offsets.map(|offset_s| local_s.saturating_sub(i64::from(offset_s)));
            // The old offset is the smaller one, so its moment is the later.
            return LocalTime::Never(moments.max().unwrap_or(local_s));
        };
        match found.find(|other| *other != one) {
            Some(other) => LocalTime::Twice(one.min(other), one.max(other)),
            None => LocalTime::Once(one),
        }
    }

    /// Whether it is UTC at all times.
    #[must_use]
    pub fn is_utc(&self) -> bool {
        self.first_offset_s == 0 && self.changes.is_empty()
    }
}
