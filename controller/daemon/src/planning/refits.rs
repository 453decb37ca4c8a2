//! Which keys are fitted now: what is due goes to the fitting thread, and what comes back takes its place.
//!
//! Fits are asked for key by key ([`super::lifecycle`]) and wait here for room: at most [`MAX_SCHEDULED_WAITING`] by the
//! schedule and [`MAX_TRIGGERED_WAITING`] for another reason lie before the thread, so neither kind can starve the other.
//! Keys are taken in turn, from where the last ones were taken.
//!
//! Who is like a key is known by its resource only: other tenants' demand for the same thing.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_forecast::{
    Choice, Chosen, Globals, LineupEvent, MAX_DONORS, RefitTrigger, Series, Settings, needed_steps,
};
use forebay_plan::Key;

use super::demand::{Fitted, KeyDemand, SPARE_LEADS};
use super::fitting::Job;
use super::lifecycle::Borrowed;
use super::{Planner, WEEK_S, step_at};
use crate::calendar;
use crate::metrics::{KeyLabels, OutcomeLabel};

/// Scheduled fits before the thread. A job holds its history: 64 x 129 KB (eight weeks of 5-minute steps) are 8 MB, and
/// some seconds of work, so that it never waits for the loop.
pub(super) const MAX_SCHEDULED_WAITING: usize = 64;
/// Fits for another reason before the thread: a fifth of what it does when everything is in trouble.
pub(super) const MAX_TRIGGERED_WAITING: usize = 16;

/// Histories to borrow from by resource, as they were in one step: at most [`MAX_DONORS`] of 129 KB each.
#[derive(Default)]
pub(super) struct Donors {
    step: i64,
    by_resource: HashMap<String, Arc<[Series]>>,
}

impl Donors {
    /// The first keys of this resource that have a week of history since `from`.
    fn of(&mut self, keys: &[KeyDemand], resource: &str, step: i64, from: i64) -> Arc<[Series]> {
        if self.step != step {
            *self = Self { step, by_resource: HashMap::new() };
        }
        if let Some(known) = self.by_resource.get(resource) {
            return Arc::clone(known);
        }
        let histories = keys.iter().filter(|demand| demand.key.resource == resource);
        let histories = histories.filter_map(|demand| demand.training(from).ok());
        let with_week =
            histories.filter(|history| history.known_steps() as i64 * i64::from(history.step_s()) >= WEEK_S);
        let donors: Arc<[Series]> = with_week.take(MAX_DONORS).collect();
        self.by_resource.insert(resource.to_owned(), Arc::clone(&donors));
        donors
    }
}

impl Planner {
    /// Hands over what is due, as far as there is room.
    pub(super) fn submit_due(&mut self) {
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let step_s = i64::from(config.step_s);
        let step = step_at(self.shared.now().calendar_s, step_s);
        let from = step - i64::from(config.forecast.history_weeks) * WEEK_S / step_s;
        let horizon_steps = config.forecast.horizon_steps + SPARE_LEADS;
        let count = self.keys.len();
        let first = self.next_key;
        for index in (first..first + count).map(|index| index % count) {
            let demand = &mut self.keys[index];
            let Some(refit) = demand.life.due().filter(|refit| self.fitting.has_room(refit.why)) else { continue };
            let Some(order) = demand.life.order(demand.fitted.as_ref(), step * step_s) else { continue };
            self.next_key = index + 1;
            let own_from = order.since_s.map_or(from, |since_s| from.max(since_s.div_euclid(step_s)));
            match demand.training(own_from) {
                Ok(history) => {
                    let why = refit.why.as_str();
                    self.shared.metrics.lifecycle.count_refit(why);
                    if !matches!(refit.why, RefitTrigger::First | RefitTrigger::Scheduled) {
                        tracing::info!(key = %demand.key, ?order, "fitted again");
                    }
                    // A plan covers the running slot, so that every lead is still acted on: there is no gap.
                    let objective = config.forecast.objective_of(&demand.key);
                    let upper_quantile = demand.quantiles().upper;
                    let settings = Settings { horizon_steps, upper_quantile, objective, ..Settings::default() };
                    let borrows = demand.fitted.is_none() && history.known_steps() < needed_steps(history.day_steps());
                    let resource = demand.key.resource.clone();
                    let donors = match borrows {
                        true => self.donors.of(&self.keys, &resource, step, from),
                        false => Arc::default(),
                    };
                    let version = step.unsigned_abs();
                    let calendar = self.keys[index].events.calendar().clone();
                    let globals = Globals { tuning: self.searches.tuning(index), ..self.network.globals() };
                    let search = self.search_before(index, &order);
                    self.fitting.submit(Job {
                        index,
                        version,
                        order,
                        history,
                        calendar,
                        settings,
                        globals,
                        search,
                        donors,
                    });
                }
                Err(error) => {
                    tracing::error!(key = %demand.key, %error, "history cannot be fitted");
                    demand.life.tried(&order);
                }
            }
        }
    }

    /// Takes over what was fitted; returns the keys whose plan may change: they have a new forecaster, or a new reason for
    /// having none.
    pub(super) fn take_fits(&mut self) -> Vec<usize> {
        let mut changed = Vec::new();
        let finished = self.fitting.finished();
        if finished.is_empty() {
            return changed;
        }
        for mut done in finished {
            if let Some(searched) = done.searched.take() {
                self.take_search(done.index, done.order.at_s, searched);
            }
            let demand = &mut self.keys[done.index];
            // Of a history that was cut, earlier events are not known.
            if done.order.since_s.is_none() {
                demand.events.learned(done.events, done.order.at_s);
            }
            let outcome = if done.outcome.is_ok() { "fitted" } else { "refused" };
            self.shared.metrics.fits.get_or_create(&OutcomeLabel { outcome }).inc();
            match done.outcome {
                Ok(forecaster) => {
                    let report = forecaster.report();
                    let why = format!("{:?}", report.reason);
                    tracing::debug!(key = %demand.key, chosen = ?report.chosen, reason = ?report.reason, "fitted");
                    let fitted = Fitted { version: done.version, forecaster, since_s: done.order.since_s };
                    if demand.life.fitted(&mut demand.fitted, &done.order, fitted) {
                        demand.why = why;
                        demand.watch.refitted();
                        changed.push(done.index);
                    }
                }
                // A forecaster that exists goes on: it is judged by its live score.
                Err(why) => {
                    demand.life.tried(&done.order);
                    demand.why = why;
                    if let Some((start, horizon_steps)) = done.borrowed.filter(|_| demand.fitted.is_none()) {
                        let (donors, own_weight) = (start.donors(), start.own_weight());
                        demand.why += "; ";
                        demand.why += &Chosen::ColdStart { donors, own_weight }.in_words(calendar::print);
                        demand.life.borrow(Borrowed { version: done.version, start, horizon_steps }, done.order.at_s);
                    }
                    changed.push(done.index);
                }
            }
            let borrowed = i64::from(demand.life.borrowed().is_some());
            self.shared.metrics.lifecycle.borrowed.get_or_create(&KeyLabels::from(&demand.key)).set(borrowed);
        }
        self.note_choices();
        changed
    }

    /// Writes down what was decided, and counts it.
    pub(super) fn note_choices(&mut self) {
        let mut choices: Vec<(Key, Choice)> = Vec::new();
        for demand in &mut self.keys {
            for choice in demand.life.take_choices() {
                if let Chosen::Lineup { event, .. } = &choice.chosen {
                    let why = choice.chosen.in_words(calendar::print);
                    tracing::info!(key = %demand.key, why, "contest of models");
                    let outcome = match event {
                        LineupEvent::Promoted { .. } => "promoted",
                        LineupEvent::Dropped { .. } => "dropped",
                        LineupEvent::RolledBack { .. } => "rolled_back",
                        LineupEvent::Confirmed { .. } => "confirmed",
                    };
                    self.shared.metrics.lifecycle.count_contest(outcome);
                    if matches!(event, LineupEvent::Promoted { .. } | LineupEvent::RolledBack { .. }) {
                        demand.why = why;
                    }
                }
                choices.push((demand.key.clone(), choice));
            }
        }
        if !choices.is_empty()
            && let Err(error) = self.store.note_choices(&choices)
        {
            self.note_store_error(&error);
        }
    }

    /// Stores the contests that are under way, which have new evidence, and that others are over.
    pub(super) fn store_contests(&mut self) {
        let news = self.keys.iter_mut().filter_map(|demand| {
            let contest = demand.life.contest_to_store(demand.fitted.as_ref())?;
            Some((&demand.key, contest))
        });
        let news: Vec<_> = news.collect();
        if !news.is_empty()
            && let Err(error) = self.store.set_contests(&news)
        {
            self.note_store_error(&error);
        }
    }

    /// Forgets history that is too old: one week more is kept than is learned from, for the guard's look back.
    pub(super) fn forget(&mut self, step: i64) {
        self.forgot_step = step;
        let config = &self.shared.config;
        let weeks_s = i64::from(config.forecast.history_weeks) * WEEK_S;
        let before_s = step * i64::from(config.step_s) - weeks_s - WEEK_S;
        self.keep_ledgers(step - weeks_s / i64::from(config.step_s), before_s);
        if let Err(error) = self.store.forget(before_s) {
            self.note_store_error(&error);
        }
    }
}
