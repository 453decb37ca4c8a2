//! The events that a question is about: those of its `--events`, and for a key those of the configured feeds, too.

use anyhow::Context;
use forebay_forecast::{Event, EventCalendar};
use forebay_plan::Key;
use jiff::tz::TimeZone;

use super::Question;
use crate::config::Config;
use crate::events;

impl Question {
    /// The events of `--events` that change demand between `from_s` and the last step that is forecast from `to_s`.
    pub(super) fn events(&self, (from_s, to_s): (i64, i64)) -> anyhow::Result<Vec<Event>> {
        let zone = TimeZone::get(&self.zone).with_context(|| {
            format!("--zone {}: write a name such as Europe/Berlin, as the machine knows it", self.zone)
        })?;
        let mut all = Vec::new();
        for file in &self.events {
            let calendar = events::read(file, &zone, (from_s, to_s + self.ahead_s()))?;
            all.extend(calendar.events().iter().filter(|event| events::changes_demand(event)).cloned());
        }
        Ok(all)
    }

    /// The same with those that the configuration says concern a key.
    pub(super) fn events_of_key(
        &self,
        config: &Config,
        key: &Key,
        range_s: (i64, i64),
    ) -> anyhow::Result<EventCalendar> {
        let mut all = self.events(range_s)?;
        for feed in config.forecast.events.iter().filter(|feed| feed.concerns(key)) {
            let calendar = events::read(&feed.file, &feed.zone, (range_s.0, range_s.1 + self.ahead_s()))?;
            all.extend(calendar.events().iter().filter(|event| events::changes_demand(event)).cloned());
        }
        Ok(EventCalendar::new(all).context("event feeds and --events together")?.of_key(&key.to_string()))
    }

    fn ahead_s(&self) -> i64 {
        self.horizon.iter().map(|horizon| i64::from(horizon.seconds)).max().unwrap_or(0)
    }
}
