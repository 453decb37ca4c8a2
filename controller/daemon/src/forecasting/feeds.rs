//! The events that a question is about: those of its `--events`, and for a key those of the configured feeds, too.

use std::path::Path;

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
        let files = self.events.iter().map(|file| self.changing_demand(file, &zone, (from_s, to_s)));
        Ok(files.collect::<anyhow::Result<Vec<_>>>()?.concat())
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
            all.extend(self.changing_demand(&feed.file, &feed.zone, range_s)?);
        }
        Ok(EventCalendar::new(all).context("event feeds and --events together")?.of_key(&key.to_string()))
    }

    fn changing_demand(&self, file: &Path, zone: &TimeZone, (from_s, to_s): (i64, i64)) -> anyhow::Result<Vec<Event>> {
        let ahead_s = self.horizon.iter().map(|horizon| i64::from(horizon.seconds)).max().unwrap_or(0);
        let calendar = events::read(file, zone, (from_s, to_s + ahead_s))?;
        Ok(calendar.events().iter().filter(|event| events::changes_demand(event)).cloned().collect())
    }
}
