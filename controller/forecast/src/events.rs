//! Events that people know of and a series cannot: holidays, campaigns, launches, storms, maintenance windows.
//!
//! The intuition: a model of seasons and lags sees a holiday once it is half over, and takes it for the pattern of next
//! week. A calendar tells beforehand *when*; *how much* is learned from earlier events of the same kind, held towards what
//! events do in general while there are few ([`EventModel`]). The history is cleared of events before a model learns from
//! it, and the forecast multiplied by what the event is expected to do, with its uncertainty. Nothing is extrapolated in
//! silence: [`EventModel::report`] says for each kind whether it was seen, given or guessed.
//!
//! A calendar is a value: where the feed comes from ([`EventCalendar::from_ical`] reads its text) and how often it is
//! fetched is the caller's work. Effects on capacity are given, never learned, and only handed on
//! ([`EventCalendar::capacity_factor`]): the plan reads them.
//!
//! Invariants: events end after they begin; factors are positive and finite; a calendar holds at most [`MAX_EVENTS`].

mod baseline;
mod course;
mod feed;
mod forecast;
pub(crate) mod normal;
mod recurrence;
mod uplift;

use thiserror::Error;

pub use feed::FeedZone;
pub use forecast::{EventForecast, EventStep};
pub use uplift::{EventModel, Evidence, KindReport, Uplift};

/// Most events in a calendar, those of recurrences counted one by one: thirty years of an event a day. At 100 bytes each
/// that is 1 MB.
pub const MAX_EVENTS: usize = 10_000;
/// Longest event: a quarter. What lasts longer is a new level, which the models learn by themselves.
const MAX_EVENT_S: i64 = 92 * 86_400;
/// Largest factor either way that anything is expected to do to demand; the reach of all that is learned, too.
pub(crate) const MAX_FACTOR: f64 = 20.0;
/// Widest deviation of a given uplift, on a logarithmic scale: one deviation is a factor of 2.7.
const MAX_DEVIATION: f64 = 1.0;

/// What an operator expects of an event before any of its kind was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpectedUplift {
    /// Demand during the event as a multiple of what it would be without, 1/20 to 20.
    pub factor: f64,
    /// How unsure that is: the standard deviation of the factor's natural logarithm, over 0 and up to 1.
    pub log_deviation: f64,
}

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// What is expected of it until events of its kind have been seen; `None`: what other kinds do, unsure.
    pub demand: Option<ExpectedUplift>,
    /// Share of the capacity that is there during the event; below 1 in a maintenance window.
    pub capacity_factor: f64,
}

impl Default for Effect {
    fn default() -> Self {
        Self { demand: None, capacity_factor: 1.0 }
    }
}

/// Something that happens from a moment to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What it is alike: events of one kind learn from each other.
    pub kind: String,
    /// When it begins, unix seconds.
    pub from_s: i64,
    /// When it is over, unix seconds; after `from_s`.
    pub to_s: i64,
    /// The key that it concerns; `None` for every key.
    pub key: Option<String>,
    /// What it does.
    pub effect: Effect,
}

impl Event {
    pub(crate) fn is_on(&self, at_s: i64) -> bool {
        (self.from_s..self.to_s).contains(&at_s)
    }
}

/// Why something is no event or no calendar.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum EventError {
    /// An event that ends before it begins, or lasts for more than a quarter.
    #[error("checking events: `{kind}` lasts {seconds} s, 1 s to 92 days are possible")]
    Length {
        /// Its kind.
        kind: String,
        /// What it lasts.
        seconds: i64,
    },
    /// A kind without a name.
    #[error("checking events: an event at {from_s} has no kind")]
    NoKind {
        /// When it begins.
        from_s: i64,
    },
    /// A factor or deviation that is out of range.
    #[error("checking events: {what} of `{kind}` is {value}, which is not within its range")]
    Factor {
        /// Its kind.
        kind: String,
        /// Which figure.
        what: &'static str,
        /// The refused figure.
        value: f64,
    },
    /// More events than a calendar holds.
    #[error("checking events: more than {MAX_EVENTS} events")]
    TooMany,
    /// The text is no iCalendar feed.
    #[error("reading a calendar feed: {message}")]
    Feed {
        /// What is wrong with it.
        message: String,
    },
    /// An event of the feed cannot be understood; a part that is left out could be the one that matters.
    #[error("reading a calendar feed: event `{event}`: {message}")]
    FeedEvent {
        /// Its summary or identifier.
        event: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Checked events in order of their beginning.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EventCalendar {
    events: Vec<Event>,
    /// Length of the longest one, seconds: who is on has begun no earlier than that.
    longest_s: i64,
}

impl EventCalendar {
    /// Checks and takes the events.
    ///
    /// # Errors
    /// An event is none; see [`EventError`].
    pub fn new(mut events: Vec<Event>) -> Result<Self, EventError> {
        if events.len() > MAX_EVENTS {
            return Err(EventError::TooMany);
        }
        events.iter().try_for_each(check)?;
        events.sort_by(|a, b| (a.from_s, a.to_s, &a.kind).cmp(&(b.from_s, b.to_s, &b.kind)));
        Ok(Self::of(events))
    }

    /// The events of one key, global ones included.
    #[must_use]
    pub fn of_key(&self, key: &str) -> Self {
        let concerns = |event: &&Event| event.key.as_deref().is_none_or(|own| own == key);
        Self::of(self.events.iter().filter(concerns).cloned().collect())
    }

    /// Events that were checked and sorted.
    fn of(events: Vec<Event>) -> Self {
        let longest_s = events.iter().map(|event| event.to_s - event.from_s).max().unwrap_or(0);
        Self { events, longest_s }
    }

    /// All events, by their beginning.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether any event is on.
    #[must_use]
    pub fn is_on(&self, at_s: i64) -> bool {
        self.on_at(at_s).next().is_some()
    }

    /// The events that are on, by position.
    pub(crate) fn on_at(&self, at_s: i64) -> impl Iterator<Item = (usize, &Event)> {
        let begun = self.events.partition_point(|event| event.from_s <= at_s);
        let first = self.events[..begun].partition_point(|event| at_s - event.from_s > self.longest_s);
        let near = self.events[first..begun].iter().enumerate();
        near.map(move |(at, event)| (first + at, event)).filter(move |(_, event)| event.is_on(at_s))
    }

    /// The share of capacity that is there: the product over the events that are on; 1 without any.
    #[must_use]
    pub fn capacity_factor(&self, at_s: i64) -> f64 {
        self.on_at(at_s).map(|(_, event)| event.effect.capacity_factor).product()
    }

    /// The lowest share of capacity that is there at any time from `from_s` on and before `to_s`.
    #[must_use]
    pub fn lowest_capacity(&self, from_s: i64, to_s: i64) -> f64 {
        // A share falls only where an event begins.
        let begins = self.events.iter().map(|event| event.from_s).filter(|at_s| (from_s + 1..to_s).contains(at_s));
        begins.map(|at_s| self.capacity_factor(at_s)).fold(self.capacity_factor(from_s), f64::min)
    }

    /// Whether an event over this moment has ended by `now_s`.
    #[must_use]
    pub fn is_past(&self, at_s: i64, now_s: i64) -> bool {
        self.on_at(at_s).any(|(_, event)| event.to_s <= now_s)
    }
}

fn check(event: &Event) -> Result<(), EventError> {
    let kind = event.kind.clone();
    if kind.trim().is_empty() {
        return Err(EventError::NoKind { from_s: event.from_s });
    }
    let seconds = event.to_s.saturating_sub(event.from_s);
    if !(1..=MAX_EVENT_S).contains(&seconds) {
        return Err(EventError::Length { kind, seconds });
    }
    let capacity = event.effect.capacity_factor;
    if !(0.0..=1.0).contains(&capacity) {
        return Err(EventError::Factor { kind, what: "the capacity", value: capacity });
    }
    let Some(ExpectedUplift { factor, log_deviation }) = event.effect.demand else { return Ok(()) };
    if !(1.0 / MAX_FACTOR..=MAX_FACTOR).contains(&factor) {
        return Err(EventError::Factor { kind, what: "the uplift", value: factor });
    }
    if !(log_deviation > 0.0 && log_deviation <= MAX_DEVIATION) {
        return Err(EventError::Factor { kind, what: "the uplift's deviation", value: log_deviation });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, from_s: i64, to_s: i64) -> Event {
        Event { kind: kind.to_owned(), from_s, to_s, key: None, effect: Effect::default() }
    }

    #[test]
    fn a_maintenance_window_lowers_capacity_while_it_is_on() {
        let effect = Effect { capacity_factor: 0.5, ..Effect::default() };
        let window = Event { effect, ..event("maintenance", 100, 200) };
        let other = Event { key: Some("b".to_owned()), ..window.clone() };
        let calendar = EventCalendar::new(vec![other, window]).unwrap();
        assert_eq!([99, 100, 199, 200].map(|at_s| calendar.of_key("a").capacity_factor(at_s)), [1.0, 0.5, 0.5, 1.0]);
        assert_eq!(calendar.of_key("b").capacity_factor(150), 0.25, "both are on");
        assert_eq!(calendar.of_key("a").lowest_capacity(50, 100), 1.0);
        assert_eq!(calendar.of_key("a").lowest_capacity(50, 101), 0.5, "it begins within");
        assert_eq!(calendar.of_key("a").lowest_capacity(199, 300), 0.5);
        assert_eq!(
            [(150, 199), (150, 200), (200, 300)].map(|(at, now)| calendar.is_past(at, now)),
            [false, true, false]
        );
    }

    #[test]
    fn a_short_event_is_found_beside_a_long_one() {
        let events = vec![event("long", 0, 1000), event("short", 10, 20), event("short", 900, 910)];
        let calendar = EventCalendar::new(events).unwrap();
        let on = |at_s: i64| calendar.on_at(at_s).map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!((on(-1), on(15), on(20), on(905)), (vec![], vec![0, 1], vec![0], vec![0, 2]));
        assert_eq!((on(999), on(1000)), (vec![0], vec![]));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let refused = |event: Event| EventCalendar::new(vec![event]).unwrap_err();
        assert_eq!(refused(event("a", 5, 5)), EventError::Length { kind: "a".to_owned(), seconds: 0 });
        assert!(matches!(refused(event("a", i64::MIN, i64::MAX)), EventError::Length { .. }));
        assert_eq!(refused(event(" ", 5, 6)), EventError::NoKind { from_s: 5 });
        for (factor, log_deviation) in [(0.0, 0.1), (f64::NAN, 0.1), (21.0, 0.1), (1.0, 0.0), (1.0, f64::NAN)] {
            let demand = Some(ExpectedUplift { factor, log_deviation });
            let effect = Effect { demand, ..Effect::default() };
            assert!(matches!(refused(Event { effect, ..event("a", 0, 9) }), EventError::Factor { .. }));
        }
        let effect = Effect { capacity_factor: f64::NAN, ..Effect::default() };
        assert!(matches!(refused(Event { effect, ..event("a", 0, 9) }), EventError::Factor { .. }));
        assert_eq!(EventCalendar::new(vec![event("a", 0, 9); MAX_EVENTS + 1]), Err(EventError::TooMany));
    }
}
