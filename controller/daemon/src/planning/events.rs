//! The planner's event feeds: read when they change, and handed to what they concern.
//!
//! Once a step the files are looked at. One whose modification time or length has changed is read, and so is every one
//! each day, because of recurrences only those that touch the history and the next [`AHEAD_S`] are laid out. A feed that
//! cannot be read, or of which one event is not understood, keeps its last good events: the error is logged with its place
//! and counted, and the gauge of the feed is 0 until it is read again. A controller starts with a broken feed, too.
//!
//! Demand: a key's calendar holds the events of all feeds that concern it; its own [`demand`](super::demand) learns from
//! it. Capacity: a pool has in each slot the least share that is there at any moment of it; what instances are in has fewer
//! of them, which is for the planning of capacity to know.

use std::time::SystemTime;

use forebay_forecast::{Event, EventCalendar, EventError};
use forebay_plan::capacity::{Maintenance, Off};
use forebay_plan::{Contract, Inputs};

use super::Planner;
use crate::config::FeedSettings;
use crate::events::{self, FeedError};
use crate::metrics::{FeedLabel, Metrics};
use crate::state::lock;

/// How far ahead events are laid out: the longest plan, of a day, and the day until they are laid out again, twice.
const AHEAD_S: i64 = 4 * DAY_S;
const DAY_S: i64 = 86_400;

/// What a file looked like when it was read.
type Seen = (SystemTime, u64);

struct Feed {
    settings: FeedSettings,
    /// For metrics.
    label: FeedLabel,
    /// `None`: to be read.
    seen: Option<Seen>,
    calendar: EventCalendar,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Feeds {
    feeds: Vec<Feed>,
    /// When events were laid out, unix seconds.
    laid_out_s: i64,
    /// By pool: the events that lower its capacity.
    pools: Vec<(String, EventCalendar)>,
}

impl Feeds {
    pub(super) fn new(settings: &[FeedSettings]) -> Self {
        let feed = |settings: &FeedSettings| Feed {
            label: FeedLabel { feed: settings.file.display().to_string() },
            settings: settings.clone(),
            seen: None,
            calendar: EventCalendar::default(),
        };
        Self { feeds: settings.iter().map(feed).collect(), ..Self::default() }
    }

    /// Reads what has changed; whether anything has. `history_s` is how far back events are of use.
    pub(super) fn refresh(&mut self, now_s: i64, history_s: i64, metrics: &Metrics) -> bool {
        let is_due = self.laid_out_s == 0 || now_s - self.laid_out_s >= DAY_S;
        if is_due {
            self.laid_out_s = now_s;
        }
        let range_s = (self.laid_out_s - history_s, self.laid_out_s + AHEAD_S);
        let mut is_changed = false;
        for feed in &mut self.feeds {
            let read = match feed.look() {
                Ok(seen) if feed.seen == Some(seen) && !is_due => continue,
                Ok(seen) => {
                    // One that is broken is not read again before it changes.
                    feed.seen = Some(seen);
                    events::read(&feed.settings.file, &feed.settings.zone, range_s)
                }
                Err(error) => Err(error),
            };
            metrics.event_feed_up.get_or_create(&feed.label).set(i64::from(read.is_ok()));
            match read {
                Ok(calendar) if calendar != feed.calendar => {
                    tracing::info!(feed = feed.label.feed, events = calendar.events().len(), "event feed read");
                    feed.calendar = calendar;
                    is_changed = true;
                }
                Ok(_) => {}
                Err(error) => {
                    metrics.event_feed_errors.get_or_create(&feed.label).inc();
                    tracing::error!(%error, kept = feed.calendar.events().len(), "event feed; its last good events stay");
                }
            }
        }
        is_changed
    }

    /// The events that concern the demand of a contract's key.
    fn of_key(&self, contract: &Contract) -> Result<EventCalendar, EventError> {
        let feeds = self.feeds.iter().filter(|feed| feed.settings.concerns(&contract.key));
        let name = contract.key.to_string();
        let events = feeds.flat_map(|feed| feed.calendar.events());
        let concerns =
            |event: &&Event| event.key.as_ref().is_none_or(|key| *key == name) && events::changes_demand(event);
        EventCalendar::new(events.filter(concerns).cloned().collect())
    }

    /// The events that lower a pool's capacity. One that names a key concerns the pool behind that key.
    fn of_pool(&self, pool: &str, contracts: &[Contract]) -> Result<EventCalendar, EventError> {
        let feeds = self.feeds.iter().filter(|feed| feed.settings.pools.iter().any(|name| name == pool));
        let serves =
            |key: &str| contracts.iter().any(|one| one.pool.as_deref() == Some(pool) && one.key.to_string() == key);
        let concerns = |event: &&Event| event.effect.capacity_factor < 1.0 && event.key.as_deref().is_none_or(serves);
        EventCalendar::new(feeds.flat_map(|feed| feed.calendar.events()).filter(concerns).cloned().collect())
    }

    /// The windows in which a pool that instances are in has less.
    fn maintenance(&self, pool: &str) -> Result<Vec<Maintenance>, EventError> {
        let window = |event: &Event| Maintenance {
            pool: pool.to_owned(),
            from_s: event.from_s.max(0).unsigned_abs(),
            to_s: event.to_s.max(0).unsigned_abs(),
            off: Off::Share(1.0 - event.effect.capacity_factor),
        };
        Ok(self.of_pool(pool, &[])?.events().iter().map(window).collect())
    }

    /// Lowers what the pools have ready in the slots that are maintained.
    pub(super) fn lower(&self, inputs: &mut Inputs, step_s: i64) {
        for (name, calendar) in &self.pools {
            let Some(pool) = inputs.pools.iter().find(|pool| pool.name == *name) else { continue };
            let share = |slot: &forebay_plan::SlotTime| {
                let from_s = slot.id as i64 * step_s;
                calendar.lowest_capacity(from_s, from_s + step_s)
            };
            let shares: Vec<f64> = inputs.slots.iter().map(share).collect();
            if shares.iter().any(|share| *share < 1.0) {
                let reduced = inputs.reduced.remove(name).unwrap_or_default();
                let ready = |slot: usize| reduced.get(slot).map_or(pool.ready_milli_per_s, |ready| *ready) as f64;
                let lowered = shares.iter().enumerate().map(|(slot, share)| (ready(slot) * share) as u64).collect();
                inputs.reduced.insert(name.clone(), lowered);
            }
        }
    }
}

impl Feed {
    fn look(&self) -> Result<Seen, FeedError> {
        let file = &self.settings.file;
        let seen = std::fs::metadata(file).and_then(|found| Ok((found.modified()?, found.len())));
        seen.map_err(|source| FeedError::Read { file: file.clone(), source })
    }
}

impl Planner {
    /// Looks at the feeds, and hands what is new to the keys and pools.
    pub(super) fn refresh_events(&mut self, step: i64) {
        let config = &self.shared.config;
        let now_s = step * i64::from(config.step_s);
        let history_s = (i64::from(config.forecast.history_weeks) + 1) * 7 * DAY_S;
        if !self.feeds.refresh(now_s, history_s, &self.shared.metrics) {
            return;
        }
        let too_many = |error: EventError| {
            tracing::error!(%error, "event feeds together; the last good events stay");
            for feed in &self.feeds.feeds {
                self.shared.metrics.event_feed_errors.get_or_create(&feed.label).inc();
            }
        };
        for (contract, demand) in config.contracts.iter().zip(&mut self.keys) {
            match self.feeds.of_key(contract) {
                Ok(calendar) => demand.events.concerning(calendar),
                Err(error) => return too_many(error),
            }
        }
        let pool = |name: &String| Ok((name.clone(), self.feeds.of_pool(name, &config.contracts)?));
        match config.pools.iter().map(|pool| &pool.name).map(pool).collect::<Result<Vec<_>, EventError>>() {
            Ok(pools) => self.feeds.pools = pools,
            Err(error) => return too_many(error),
        }
        let physical = config.capacity.iter().flat_map(|capacity| &capacity.pools).map(|offer| &offer.pool.name);
        match physical.map(|name| self.feeds.maintenance(name)).collect::<Result<Vec<_>, EventError>>() {
            Ok(windows) => *lock(&self.shared.capacity.maintenance) = windows.concat(),
            Err(error) => too_many(error),
        }
    }
}

#[cfg(test)]
mod tests;
