//! Event feeds as files, and beliefs about events as people and programs read them.
//!
//! A feed is an iCalendar file. Days and times in it that name no zone are of the zone that the configuration gives; named
//! zones are looked up in the machine's time zone database. What the properties of a feed mean stands in the forecast
//! crate. Both the controller's feeds (`forecast.events`) and those of `forebay forecast --events` are read here.

use std::path::{Path, PathBuf};

use forebay_forecast::{Event, EventCalendar, EventError, EventModel, Evidence, FeedZone, KindReport, Series};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error("{}: {source}; check the path and that the file is readable", .file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{}: {source}", .file.display())]
    Events { file: PathBuf, source: EventError },
}

/// The events of a feed that touch the moments from `from_s` to `to_s`.
///
/// # Errors
/// The file cannot be read, or is not understood: then the error names the event.
pub(crate) fn read(file: &Path, zone: &TimeZone, range_s: (i64, i64)) -> Result<EventCalendar, FeedError> {
    let text = std::fs::read_to_string(file).map_err(|source| FeedError::Read { file: file.to_owned(), source })?;
    let table = |named: Option<&str>, local_s: i64| unix_s(zone, named, local_s);
    EventCalendar::from_ical(&text, FeedZone::Table(&table), range_s)
        .map_err(|source| FeedError::Events { file: file.to_owned(), source })
}

/// Unix seconds of a local time, given as if it were UTC. A time that was skipped is taken an hour later, one that was
/// there twice is the first.
fn unix_s(own: &TimeZone, named: Option<&str>, local_s: i64) -> Option<i64> {
    let local = TimeZone::UTC.to_datetime(Timestamp::from_second(local_s).ok()?);
    let zone = match named {
        None => own.clone(),
        Some(name) => TimeZone::get(name).ok()?,
    };
    zone.to_timestamp(local).ok().map(Timestamp::as_second)
}

/// Whether an event is expected to do something to demand. One that lowers capacity and says nothing of demand is not: who
/// plans maintenance does not mean that nobody knows how many will come.
pub(crate) fn changes_demand(event: &Event) -> bool {
    event.effect.demand.is_some() || event.effect.capacity_factor == 1.0
}

/// What events did in a series, and the series as it would have been without them; nothing for a calendar without events.
pub(crate) fn learned(series: Series, calendar: &EventCalendar) -> (Option<EventModel>, Series) {
    if calendar.events().is_empty() {
        return (None, series);
    }
    let model = EventModel::learn(&series, calendar);
    match model.cleared(&series) {
        Ok(cleared) => (Some(model), cleared),
        // What was a series is one without its events, too.
        Err(_) => (None, series),
    }
}

/// Beliefs about kinds of events as lines of text.
pub(crate) fn in_words(kinds: &[KindReport]) -> String {
    let line = |kind: &KindReport| {
        let (low, high) = within(kind);
        format!(
            "    {:<22}{}: x {:.2}, likely {low:.2} to {high:.2}\n",
            kind.kind,
            why(kind.evidence),
            kind.uplift.factor()
        )
    };
    let lines: String = kinds.iter().map(line).collect();
    if lines.is_empty() { lines } else { format!("  what events are expected to do:\n{lines}") }
}

/// The same for programs.
pub(crate) fn as_json(kinds: &[KindReport]) -> Value {
    let row = |kind: &KindReport| {
        let (low, high) = within(kind);
        json!({
            "kind": kind.kind, "evidence": name(kind.evidence), "factor": kind.uplift.factor(), "low": low, "high": high,
            "seen": if let Evidence::Seen { events } = kind.evidence { events } else { 0 },
        })
    };
    kinds.iter().map(row).collect()
}

/// One standard deviation either way.
fn within(kind: &KindReport) -> (f64, f64) {
    let factor = |side: f64| (kind.uplift.log_mean + side * kind.uplift.log_deviation).exp();
    (factor(-1.0), factor(1.0))
}

fn name(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Seen { .. } => "seen",
        Evidence::Given => "given",
        Evidence::Pooled { .. } => "guessed from other kinds",
        Evidence::Nothing => "guessed",
    }
}

fn why(evidence: Evidence) -> String {
    match evidence {
        Evidence::Seen { events: 1 } => "seen once".to_owned(),
        Evidence::Seen { events } => format!("seen {events} times"),
        Evidence::Given => "never seen, as given in the feed".to_owned(),
        Evidence::Pooled { kinds: 1 } => "never seen, guessed from one other kind".to_owned(),
        Evidence::Pooled { kinds } => format!("never seen, guessed from {kinds} other kinds"),
        Evidence::Nothing => "never seen, and no other kind was: a mere guess".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_forecast::Uplift;

    const RANGE_S: (i64, i64) = (0, 4_102_444_800);

    fn feed(event: &str) -> String {
        format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nSUMMARY:sale\r\n{event}END:VEVENT\r\nEND:VCALENDAR\r\n"
        )
    }

    #[test]
    fn local_days_and_named_zones_are_of_the_machines_time_zones() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events.ics");
        std::fs::write(&file, feed("DTSTART;VALUE=DATE:20260704\r\n")).unwrap();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let utc = read(&file, &TimeZone::UTC, RANGE_S).unwrap().events()[0].from_s;
        assert_eq!(read(&file, &berlin, RANGE_S).unwrap().events()[0].from_s, utc - 7200, "in summer");
        std::fs::write(&file, feed("DTSTART;TZID=America/New_York:20260704T000000\r\nDURATION:PT1H\r\n")).unwrap();
        assert_eq!(read(&file, &berlin, RANGE_S).unwrap().events()[0].from_s, utc + 4 * 3600);
        std::fs::write(&file, feed("DTSTART;TZID=Nowhere/City:20260704T000000\r\nDURATION:PT1H\r\n")).unwrap();
        let refused = read(&file, &berlin, RANGE_S).unwrap_err().to_string();
        assert!(["events.ics", "`sale`", "Nowhere/City"].iter().all(|part| refused.contains(part)), "{refused}");
        let missing = read(&folder.path().join("no.ics"), &berlin, RANGE_S).unwrap_err().to_string();
        assert!(missing.contains("no.ics") && missing.contains("check the path"), "{missing}");
    }

    #[test]
    fn beliefs_are_told_with_what_they_rest_on() {
        let report = |kind: &str, evidence| {
            let uplift = Uplift { log_mean: 2.0_f64.ln(), log_deviation: 0.5 };
            KindReport { kind: kind.to_owned(), evidence, uplift }
        };
        let text = in_words(&[report("sale", Evidence::Seen { events: 3 }), report("launch", Evidence::Nothing)]);
        assert!(text.contains("sale                  seen 3 times: x 2.00, likely 1.21 to 3.30"), "{text}");
        assert!(text.contains("launch                never seen, and no other kind was"), "{text}");
        assert_eq!(in_words(&[]), "");
        let json = as_json(&[report("sale", Evidence::Given)]);
        assert_eq!((&json[0]["evidence"], &json[0]["seen"]), (&"given".into(), &0.into()));
    }
}
