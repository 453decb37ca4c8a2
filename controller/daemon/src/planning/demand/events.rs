//! What is known beforehand of one key's demand: its events, and what they do.
//!
//! The forecaster lives in a world without events: it is fitted on history cleared of them and forecasts from such history,
//! and what events are expected to do is put into its forecasts afterwards. What they do is learned with every fit from the
//! same history, and at each step while one is on or after the calendar has changed.
//!
//! **What the calendar explains** needs no other explanation: steps of an event that is over are believed as measured, past
//! the flood guard's caps and past what was detected before the calendar named them; else a kind could never be learned
//! whose first event came as a surprise. While an event is on the guard holds, so that a flood on a day of sale buys no
//! more than on another day. A label of a person overrules that too.
//!
//! Steps in an event teach the calibration nothing: their miss is the event's.

use forebay_forecast::{EventCalendar, EventForecast, EventModel, ForecastError, Forecaster, KindReport, Series};

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct KeyEvents {
    calendar: EventCalendar,
    model: Option<EventModel>,
    /// The calendar is another one than the model's.
    is_stale: bool,
}

impl KeyEvents {
    /// The events that concern the key, from now on.
    pub(crate) fn concerning(&mut self, calendar: EventCalendar) {
        if calendar != self.calendar {
            (self.calendar, self.is_stale) = (calendar, true);
        }
    }

    /// For a fit.
    pub(crate) fn calendar(&self) -> &EventCalendar {
        &self.calendar
    }

    /// What a fit has learned of them. One of an older calendar stays stale.
    pub(crate) fn learned(&mut self, model: Option<EventModel>) {
        self.model = model;
    }

    /// What is believed of each kind of event, and why.
    pub(crate) fn report(&self) -> Vec<KindReport> {
        self.model.as_ref().map(EventModel::report).unwrap_or_default()
    }

    /// Whether a step is of an event that is over.
    pub(super) fn explain(&self, at_s: i64, now_s: i64) -> bool {
        self.calendar.is_past(at_s, now_s)
    }

    /// Whether what events do is to be learned anew, for a forecast made at `now_s`.
    pub(super) fn must_learn(&self, now_s: i64) -> bool {
        self.is_stale || self.calendar.is_on(now_s)
    }

    /// Learns from the history, which holds the events.
    pub(super) fn learn(&mut self, history: &Series) {
        let has_events = !self.calendar.events().is_empty();
        self.model = has_events.then(|| EventModel::learn(history, &self.calendar));
        self.is_stale = false;
    }

    /// Forecasts from recent demand, which holds the events.
    pub(super) fn forecast(&self, forecaster: &Forecaster, recent: &Series) -> Result<EventForecast, ForecastError> {
        // What was a series is one without its events, too.
        match self.model.as_ref().and_then(|model| Some((model, model.cleared(recent).ok()?))) {
            Some((model, cleared)) => Ok(model.apply(forecaster.predict(&cleared)?)),
            None => Ok(EventForecast::without_events(forecaster.predict(recent)?)),
        }
    }
}
