//! Calendar feeds: iCalendar (RFC 5545) text to events.
//!
//! Read are the VEVENTs of one VCALENDAR: `DTSTART` with `DTEND` or `DURATION` (days, UTC, floating and zoned times),
//! `RRULE` as far as [`recurrence`](super::recurrence) goes, `EXDATE`, `STATUS:CANCELLED`. The kind is the first of the
//! `CATEGORIES`, else the `SUMMARY`, in lower case. What iCalendar has no word for stands in properties of our own:
//! `X-FOREBAY-KEY`, `X-FOREBAY-UPLIFT` (a factor) with `X-FOREBAY-UPLIFT-DEVIATION`, `X-FOREBAY-CAPACITY` (a share).
//!
//! All or nothing: an event that cannot be understood refuses the feed and names itself; leaving it out would be a silent
//! guess. The content lines are the crate `icalendar`'s to read; lines are unfolded before, with one kind of line end, for
//! on mixed ones its reader takes several lines for one.

use std::collections::BTreeSet;

use icalendar::parser::{Component, Property, read_calendar};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};

use super::recurrence::Rule;
use super::{Effect, Event, EventCalendar, EventError, ExpectedUplift, MAX_EVENTS};

/// Largest feed, in bytes: ten thousand events of 400 bytes each.
const MAX_FEED_BYTES: usize = 4 << 20;
/// Deepest nesting of components; VCALENDAR, VTIMEZONE, STANDARD is three. The reader descends once per level.
const MAX_DEPTH: usize = 8;
/// Deviation of a given uplift when the feed does not say: about a third up or down.
const GIVEN_DEVIATION: f64 = 0.3;

/// What local times mean. This crate has no table of time zones; who has one gives it.
#[derive(Clone, Copy)]
pub enum FeedZone<'a> {
    /// Days and times without a zone are this many seconds east of UTC; named zones other than UTC are refused.
    Offset(i32),
    /// Unix seconds of a local time (given as if it were UTC) in a named zone, or for `None` in the operator's own;
    /// nothing if it does not know the zone.
    Table(&'a dyn Fn(Option<&str>, i64) -> Option<i64>),
}

impl FeedZone<'_> {
    fn unix_s(&self, zone: Option<&str>, local: DateTime) -> Result<i64, String> {
        let as_utc = TimeZone::UTC.to_timestamp(local).map_err(|error| error.to_string())?.as_second();
        if zone.is_some_and(|zone| ["UTC", "ETC/UTC", "GMT", "ETC/GMT"].contains(&zone.to_ascii_uppercase().as_str())) {
            return Ok(as_utc);
        }
        let known = match (self, zone) {
            (Self::Offset(east_s), None) => Some(as_utc - i64::from(*east_s)),
            (Self::Offset(_), Some(_)) => None,
            (Self::Table(table), zone) => table(zone, as_utc),
        };
        known.ok_or_else(|| format!("the time zone `{}` is not known", zone.unwrap_or("of local times")))
    }
}

/// A point of time as it is written.
#[derive(Debug, Clone, PartialEq)]
struct Moment {
    local: DateTime,
    zone: Option<String>,
    is_day: bool,
}

impl Moment {
    fn parse(text: &str, zone: Option<&str>) -> Result<Self, String> {
        let text = text.trim();
        let refused = || format!("`{text}` is no date or time");
        if text.len() == 8 {
            let date: Date = digits(text).then(|| text.parse().ok()).flatten().ok_or_else(refused)?;
            return Ok(Self { local: date.to_datetime(Time::midnight()), zone: None, is_day: true });
        }
        let (local, zone) = match text.strip_suffix(['Z', 'z']) {
            Some(local) => (local, Some("UTC")),
            None => (text, zone),
        };
        let (date, time) = local.split_once(['T', 't']).ok_or_else(refused)?;
        if !(date.len() == 8 && time.len() == 6 && digits(date) && digits(time)) {
            return Err(refused());
        }
        let local = format!("{date}T{time}").parse().map_err(|_| refused())?;
        Ok(Self { local, zone: zone.map(str::to_owned), is_day: false })
    }

    fn of(property: &Property<'_>) -> Result<Self, String> {
        Self::parse(property.val.as_str(), parameter(property, "TZID").as_deref())
    }

    fn unix_s(&self, zone: FeedZone<'_>) -> Result<i64, String> {
        zone.unix_s(self.zone.as_deref(), self.local)
    }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parameter(property: &Property<'_>, name: &str) -> Option<String> {
    let found = property.params.iter().find(|parameter| parameter.key.as_str().eq_ignore_ascii_case(name))?;
    found.val.as_ref().map(|value| value.as_str().trim_matches('"').to_owned())
}

impl EventCalendar {
    /// Reads a feed; of its events those that touch the moments from `from_s` to `to_s`, so that recurrences end.
    ///
    /// # Errors
    /// The text is no iCalendar, too large, or holds an event that cannot be understood.
    pub fn from_ical(text: &str, zone: FeedZone<'_>, (from_s, to_s): (i64, i64)) -> Result<Self, EventError> {
        let feed = |message: String| EventError::Feed { message };
        if text.len() > MAX_FEED_BYTES {
            return Err(feed(format!("{} bytes, at most {MAX_FEED_BYTES} are read", text.len())));
        }
        let lines = unfolded(text).map_err(feed)?;
        let calendar =
            read_calendar(&lines).map_err(|error| feed(error.lines().take(4).collect::<Vec<_>>().join(" ")))?;
        let mut events = Vec::new();
        for component in
            calendar.components.iter().filter(|component| component.name.as_str().eq_ignore_ascii_case("VEVENT"))
        {
            let entry = Entry { component };
            entry.read(zone, (from_s, to_s), &mut events).map_err(|message| {
                let event =
                    entry.text("SUMMARY").or_else(|| entry.text("UID")).unwrap_or_else(|| "without name".to_owned());
                EventError::FeedEvent { event, message }
            })?;
            if events.len() > MAX_EVENTS {
                return Err(EventError::TooMany);
            }
        }
        Self::new(events)
    }
}

/// One line per property, all with the same line end.
fn unfolded(text: &str) -> Result<String, String> {
    let mut lines = String::with_capacity(text.len() + 2);
    let mut depth = 0_usize;
    for line in text.trim_start_matches('\u{feff}').lines() {
        if let Some(continued) = line.strip_prefix([' ', '\t']) {
            lines.truncate(lines.trim_end_matches("\r\n").len());
            lines.push_str(continued.trim_end_matches('\r'));
        } else if line.trim().is_empty() {
            continue;
        } else {
            let name = line.get(..6).unwrap_or_default().to_ascii_uppercase();
            if name == "BEGIN:" {
                depth += 1;
            } else if name.starts_with("END:") {
                depth = depth.saturating_sub(1);
            }
            if depth > MAX_DEPTH {
                return Err(format!("components are nested deeper than {MAX_DEPTH}"));
            }
            lines.push_str(line.trim_end_matches('\r'));
        }
        lines.push_str("\r\n");
    }
    if lines.get(..15).is_none_or(|begin| !begin.eq_ignore_ascii_case("BEGIN:VCALENDAR")) {
        return Err("it does not begin with BEGIN:VCALENDAR".to_owned());
    }
    Ok(lines)
}

/// A VEVENT.
struct Entry<'a> {
    component: &'a Component<'a>,
}

impl<'a> Entry<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a Property<'a>> {
        self.component.properties.iter().filter(move |property| property.name.as_str().eq_ignore_ascii_case(name))
    }

    fn text(&self, name: &'static str) -> Option<String> {
        self.all(name).next().map(|property| property.val.as_str().trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn number(&self, name: &'static str) -> Result<Option<f64>, String> {
        let number = |text: String| text.parse().map_err(|_| format!("{name} `{text}` is no number"));
        self.text(name).map(number).transpose()
    }

    fn kind(&self) -> Result<String, String> {
        let first = self.text("CATEGORIES").and_then(|list| list.split(',').next().map(str::to_owned));
        let kind = first.filter(|kind| !kind.trim().is_empty()).or_else(|| self.text("SUMMARY"));
        kind.map(|kind| kind.trim().to_lowercase()).ok_or_else(|| "neither CATEGORIES nor SUMMARY".to_owned())
    }

    fn effect(&self) -> Result<Effect, String> {
        let log_deviation = self.number("X-FOREBAY-UPLIFT-DEVIATION")?.unwrap_or(GIVEN_DEVIATION);
        let demand = self.number("X-FOREBAY-UPLIFT")?.map(|factor| ExpectedUplift { factor, log_deviation });
        Ok(Effect { demand, capacity_factor: self.number("X-FOREBAY-CAPACITY")?.unwrap_or(1.0) })
    }

    /// The local end of an occurrence that begins at `start`'s local time.
    fn end(&self, start: &Moment) -> Result<Moment, String> {
        let after = |span: Span| start.local.checked_add(span).map_err(|error| error.to_string());
        if let Some(end) = self.all("DTEND").next() {
            return Moment::of(end);
        }
        let local = match self.text("DURATION") {
            Some(text) => after(text.parse().map_err(|_| format!("`{text}` is no duration"))?)?,
            None if start.is_day => after(1.day())?,
            None => return Err("neither DTEND nor DURATION".to_owned()),
        };
        Ok(Moment { local, ..start.clone() })
    }

    fn read(&self, zone: FeedZone<'_>, (from_s, to_s): (i64, i64), events: &mut Vec<Event>) -> Result<(), String> {
        if self.text("STATUS").is_some_and(|status| status.eq_ignore_ascii_case("CANCELLED")) {
            return Ok(());
        }
        for name in ["RECURRENCE-ID", "RDATE", "EXRULE"] {
            if self.all(name).next().is_some() {
                return Err(format!("{name} is not supported"));
            }
        }
        let start = Moment::of(self.all("DTSTART").next().ok_or("no DTSTART")?)?;
        let end = self.end(&start)?;
        let (first_s, first_end_s) = (start.unix_s(zone)?, end.unix_s(zone)?);
        if first_end_s <= first_s {
            return Err("it ends before it begins".to_owned());
        }
        // In one zone, an occurrence lasts as long by the clock on the wall; a day may then have 23 hours.
        let lasts = end.local.since(start.local).map_err(|error| error.to_string())?;
        let end_of = |begin: DateTime, begin_s: i64| {
            if start.zone == end.zone {
                let local = begin.checked_add(lasts).map_err(|error| error.to_string())?;
                zone.unix_s(end.zone.as_deref(), local)
            } else {
                Ok(begin_s + (first_end_s - first_s))
            }
        };
        let (kind, key, effect) = (self.kind()?, self.text("X-FOREBAY-KEY"), self.effect()?);
        let left_out = self.left_out(zone)?;
        let mut push = |begin: DateTime| -> Result<bool, String> {
            let begin_s = zone.unix_s(start.zone.as_deref(), begin)?;
            if begin_s >= to_s || events.len() > MAX_EVENTS {
                return Ok(false);
            }
            let end_s = end_of(begin, begin_s)?;
            if end_s > from_s && !left_out.contains(&begin_s) {
                events.push(Event { kind: kind.clone(), from_s: begin_s, to_s: end_s, key: key.clone(), effect });
            }
            Ok(true)
        };
        let rules: Vec<_> = self.all("RRULE").collect();
        match rules[..] {
            [] => push(start.local).map(|_| ()),
            [rule] => {
                let rule = Rule::parse(rule.val.as_str())?;
                let until = rule.until.as_deref().map(|text| Moment::parse(text, start.zone.as_deref())).transpose()?;
                let until_s = until.as_ref().map(|until| until.unix_s(zone)).transpose()?;
                let is_late = |begin: DateTime| match (&until, until_s) {
                    (Some(until), _) if until.is_day => begin.date() > until.local.date(),
                    (_, Some(until_s)) => {
                        zone.unix_s(start.zone.as_deref(), begin).is_ok_and(|begin_s| begin_s > until_s)
                    }
                    _ => false,
                };
                let mut failed = None;
                rule.each(start.local, |begin| {
                    !is_late(begin)
                        && push(begin).unwrap_or_else(|message| {
                            failed = Some(message);
                            false
                        })
                })?;
                failed.map_or(Ok(()), Err)
            }
            _ => Err("more than one RRULE".to_owned()),
        }
    }

    /// When occurrences that are left out would begin.
    fn left_out(&self, zone: FeedZone<'_>) -> Result<BTreeSet<i64>, String> {
        let mut left_out = BTreeSet::new();
        for property in self.all("EXDATE") {
            for text in property.val.as_str().split(',') {
                left_out.insert(Moment::parse(text, parameter(property, "TZID").as_deref())?.unix_s(zone)?);
            }
        }
        Ok(left_out)
    }
}
