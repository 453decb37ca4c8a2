//! Which keys are fitted now: what is due goes to the fitting thread, and what comes back takes its place.
//!
//! Fits are asked for key by key ([`super::lifecycle`]) and wait here for room: at most [`MAX_SCHEDULED_WAITING`] by the
//! schedule and [`MAX_TRIGGERED_WAITING`] for another reason lie before the thread, so neither kind can starve the other.
//! Keys are taken in turn, from where the last ones were taken.

use forebay_forecast::{Choice, Chosen, LineupEvent, RefitTrigger, Settings};
use forebay_plan::Key;

use super::demand::{Fitted, SPARE_LEADS};
use super::fitting::Job;
use super::{Planner, WEEK_S, step_at};
use crate::calendar;
use crate::metrics::OutcomeLabel;

/// Scheduled fits before the thread. A job holds its history: 64 x 129 KB (eight weeks of 5-minute steps) are 8 MB, and
/// some seconds of work, so that it never waits for the loop.
pub(super) const MAX_SCHEDULED_WAITING: usize = 64;
/// Fits for another reason before the thread: a fifth of what it does when everything is in trouble.
pub(super) const MAX_TRIGGERED_WAITING: usize = 16;

impl Planner {
    /// Hands over what is due, as far as there is room.
    pub(super) fn submit_due(&mut self) {
        let config = &self.shared.config;
        let step_s = i64::from(config.step_s);
        let step = step_at(self.shared.now().calendar_s, step_s);
        let from = step - i64::from(config.forecast.history_weeks) * WEEK_S / step_s;
        let horizon_steps = config.forecast.horizon_steps + SPARE_LEADS;
        let count = self.keys.len();
        let first = self.next_key;
        for index in (first..first + count).map(|index| index % count) {
            let demand = &mut self.keys[index];
            let Some(refit) = demand.life.due().filter(|refit| self.fitting.has_room(refit.why)) else { continue };
            let Some(order) = demand.life.order(demand.fitted.as_ref()) else { continue };
            self.next_key = index + 1;
            let from = order.since_s.map_or(from, |since_s| from.max(since_s.div_euclid(step_s)));
            match demand.training(from) {
                Ok(history) => {
                    let why = refit.why.as_str();
                    self.shared.metrics.lifecycle.count_refit(why);
                    if !matches!(refit.why, RefitTrigger::First | RefitTrigger::Scheduled) {
                        tracing::info!(key = %demand.key, ?order, "fitted again");
                    }
                    let settings = Settings { horizon_steps, upper_quantile: demand.quantiles().upper };
                    self.fitting.submit(Job { index, version: step.unsigned_abs(), order, history, settings });
                }
                Err(error) => {
                    tracing::error!(key = %demand.key, %error, "history cannot be fitted");
                    demand.life.tried(&order, step * step_s);
                }
            }
        }
    }

    /// Takes over what was fitted; returns the keys whose plan may change: they have a new forecaster, or a new reason for
    /// having none.
    pub(super) fn take_fits(&mut self) -> Vec<usize> {
        let at_s = self.shared.now().calendar_s.floor() as i64;
        let mut changed = Vec::new();
        for done in self.fitting.finished() {
            let demand = &mut self.keys[done.index];
            let outcome = if done.outcome.is_ok() { "fitted" } else { "refused" };
            self.shared.metrics.fits.get_or_create(&OutcomeLabel { outcome }).inc();
            match done.outcome {
                Ok(forecaster) => {
                    let report = forecaster.report();
                    let why = format!("{:?}", report.reason);
                    tracing::debug!(key = %demand.key, chosen = ?report.chosen, reason = ?report.reason, "fitted");
                    let fitted = Fitted { version: done.version, forecaster, since_s: done.order.since_s };
                    if demand.life.fitted(&mut demand.fitted, &done.order, fitted, at_s) {
                        demand.why = why;
                        changed.push(done.index);
                    }
                }
                // A forecaster that exists goes on: it is judged by its live score.
                Err(why) => {
                    demand.life.tried(&done.order, at_s);
                    demand.why = why;
                    changed.push(done.index);
                }
            }
        }
        if !changed.is_empty() {
            self.note_choices();
        }
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

    /// Forgets history that is too old: one week more is kept than is learned from, for the guard's look back.
    pub(super) fn forget(&mut self, step: i64) {
        self.forgot_step = step;
        let config = &self.shared.config;
        let before_s = step * i64::from(config.step_s) - (i64::from(config.forecast.history_weeks) + 1) * WEEK_S;
        if let Err(error) = self.store.forget(before_s) {
            self.note_store_error(&error);
        }
    }
}
