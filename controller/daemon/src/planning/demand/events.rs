//! What is known beforehand of one key's demand: its events, and what they do.
//!
//! The forecaster lives in a world without events: it is fitted on history cleared of them and forecasts from such history,
//! and what events are expected to do is put into its forecasts afterwards. What they do is learned with every fit from the
//! same history, and again at each step while one is on, once it is over, and after the calendar has changed.
//!
//! **What the calendar explains** needs no other explanation: steps of an event that is over are believed as measured, past
//! the flood guard's caps and past what was detected before the calendar named them; else a kind could never be learned
//! whose first event came as a surprise. While an event is on the guard holds, so that a flood on a day of sale buys no
//! more than on another day. A label of a person overrules that too.
//!
//! Steps in an event teach the calibration nothing: their miss is the event's.

use forebay_forecast::{EventCalendar, EventForecast, EventModel, Forecast, KindReport, Series, SeriesError};

use super::KeyDemand;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct KeyEvents {
    calendar: EventCalendar,
    model: Option<EventModel>,
    /// Up to when the model has seen demand, unix seconds.
    learned_s: i64,
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

    /// What a fit has learned of them from demand until then. One of an older calendar stays stale.
    pub(crate) fn learned(&mut self, model: Option<EventModel>, until_s: i64) {
        (self.model, self.learned_s) = (model, until_s);
    }

    /// What is believed of each kind of event, and why.
    pub(crate) fn report(&self) -> Vec<KindReport> {
        self.model.as_ref().map(EventModel::report).unwrap_or_default()
    }

    /// Whether a step is of an event that is over.
    pub(super) fn explain(&self, at_s: i64, now_s: i64) -> bool {
        self.calendar.is_past(at_s, now_s)
    }

    /// Whether what events do is to be learned anew, for a forecast made at `now_s`: an event is on, or has ended unseen.
    pub(super) fn must_learn(&self, now_s: i64) -> bool {
        let mut begun = self.calendar.events().iter().take_while(|event| event.from_s < now_s);
        self.is_stale || begun.any(|event| event.to_s > self.learned_s)
    }

    /// Learns from the history until then, which holds the events.
    pub(super) fn learn(&mut self, history: &Series, until_s: i64) {
        let has_events = !self.calendar.events().is_empty();
        self.learned(has_events.then(|| EventModel::learn(history, &self.calendar)), until_s);
        self.is_stale = false;
    }

    /// Demand as it would have been without events.
    pub(super) fn cleared(&self, demand: Series) -> Series {
        // What was a series is one without its events, too.
        self.model.as_ref().and_then(|model| model.cleared(&demand).ok()).unwrap_or(demand)
    }

    /// A forecast of cleared demand with what events are expected to do.
    pub(super) fn applied(&self, plain: Forecast) -> EventForecast {
        match &self.model {
            Some(model) => model.apply(plain),
            None => EventForecast::without_events(plain),
        }
    }
}

impl KeyDemand {
    /// Learns what events do where a fit's knowledge of them is not the newest.
    pub(super) fn learn_events(&mut self, now_step: i64) -> Result<(), SeriesError> {
        let now_s = now_step * i64::from(self.step_s);
        if self.events.must_learn(now_s) {
            let history = self.training(self.first_step)?;
            self.events.learn(&history, now_s);
        }
        Ok(())
    }
}
