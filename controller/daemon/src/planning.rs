//! The planning loop: observe -> forecast -> plan -> check -> publish. Level-triggered: each turn looks at what is, not
//! at what happened, so a turn too many changes nothing and a turn missed is made up by the next.
//!
//! **When.** One plan per calendar step, soon after its boundary: as soon as every live proxy has reported beyond it, at
//! the latest after a quarter of the step's real length or [`REPORTS_DUE`], whichever is shorter. In between when a fit is
//! finished, but of many fits at most one in [`PLANS_APART`]. Between plans the shares of the plan in force move to where they are asked for: when the live proxies
//! change, when a filter knows a newer table than this planner made, and each [`DEAL_INTERVAL`].
//!
//! **What.** In step k the newest complete observation is step k-1, and the plan covers k and the following slots up to
//! the horizon; so a slot is in every filter's table a whole step before it begins, and its amount is made precise once
//! when it does. If the reports of step k-1 are late: covered by half or more, it is estimated from that part; else the
//! forecast is made from k-2 with longer leads, for which every fit has two to spare.
//!
//! **Generations.** (epoch, sequence). The epoch at start is above the stored one and at least the wall clock's unix
//! milliseconds, so that also a planner on a restored or empty store is newer than all before it; a filter that still knows a
//! newer table raises it further. A plan with a violation is logged and not published; the last good table stays.
//!
//! [`lifecycle`] says when a key is fitted again and which of its forecasters counts, [`refits`] has it done;
//! [`network`] has trained what all keys' fits may draw on, [`searches`] says whose parameters are
//! searched.
//!
//! [`demand`] holds what is believed of each key's demand, with the flood guard. A changed configuration is read at the
//! next start only.

pub(crate) mod anomalies;
pub(crate) mod capacity;
pub(crate) mod demand;
mod events;
mod filling;
mod fitting;
mod forecasting;
mod lifecycle;
mod network;
mod publishing;
mod refits;
mod searches;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use forebay_plan::{Dealer, Finding, Inputs};
use forebay_provision::Declared;

use crate::clock::wall_now_ms;
use crate::metrics::KeyLabels;
use crate::state::{Shared, lock};
use crate::store::{HistoryStore, StoreError};
use capacity::Drawn;
use demand::KeyDemand;
use events::Feeds;
use filling::Filling;
use fitting::Fitting;
use network::Network;
use refits::Donors;
use searches::Searches;

/// Longest wait for reports after a boundary: a report each second, and half of one to arrive.
const REPORTS_DUE: Duration = Duration::from_millis(1500);
/// Real time between two writes of what was observed; so much is redone from the filters' counters after a crash.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Real time between two looks at the shares: a quarter of a report interval, so that a share that was given up moves on
/// before it is missed.
const DEAL_INTERVAL: Duration = Duration::from_millis(250);
/// Real time from one plan to the next that only newly fitted keys are the reason for: as long as proxies take to report. The
/// first comes at once; what is fitted meanwhile waits for the next, so that 1,000 keys that are fitted in a minute wake the mesh
/// 60 times and not for each batch of them.
const PLANS_APART: Duration = Duration::from_secs(1);
/// Steps between two times that old history is forgotten and detectors are stored: an hour of five-minute steps, which is
/// what a detector may lose in a crash.
const HOUSEKEEPING_STEPS: i64 = 12;
const WEEK_S: i64 = 7 * 86_400;

/// Why the loop cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanningError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("start the fitting thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// The planner: everything that only the loop touches.
pub(crate) struct Planner {
    shared: Arc<Shared>,
    store: Box<dyn HistoryStore>,
    instances: Declared,
    feeds: Feeds,
    fitting: Fitting,
    keys: Vec<KeyDemand>,
    epoch: u64,
    /// The version of what provisioned pools have ready that the last plan was made of.
    ready_version: u64,
    /// When shares were last looked at.
    dealt_at: Option<Duration>,
    /// The step of the last plan; `None` before the first.
    planned_step: Option<i64>,
    /// When the last plan was made, steady time.
    planned_at: Option<Duration>,
    /// Whether keys were fitted that the last plan knows nothing of.
    has_fitted: bool,
    /// First step whose points may still change.
    open_step: i64,
    /// When history was last forgotten.
    forgot_step: i64,
    /// Where to look first for a fit that is due.
    next_key: usize,
    donors: Donors,
    network: Network,
    searches: Searches,
    flushed_at: Duration,
    drawn: Drawn,
    filling: Filling,
    /// What stands against the plan in force and was not expected.
    warned: Vec<Finding>,
}

impl Planner {
    /// Reads history and takes a new epoch.
    pub(crate) fn new(shared: Arc<Shared>, mut store: Box<dyn HistoryStore>) -> Result<Self, PlanningError> {
        let config = &shared.config;
        let epoch = (store.epoch()? + 1).max(wall_now_ms());
        store.set_epoch(epoch)?;
        let step_s = i64::from(config.step_s);
        let now_step = step_at(shared.now().calendar_s, step_s);
        let first_step = now_step - i64::from(config.forecast.history_weeks) * WEEK_S / step_s;
        let mut keys = Vec::with_capacity(config.contracts.len());
        for contract in &config.contracts {
            let mut demand = KeyDemand::remembered(&*store, &contract.key, config, first_step..now_step)?;
            if let Some(contest) = store.contest(&contract.key)? {
                demand.life.resume(contest);
            }
            keys.push(demand);
        }
        let fitting = Fitting::start(&shared)?;
        let instances = Declared::new(config.pools.iter().cloned());
        let mut planner = Self {
            store,
            instances,
            feeds: Feeds::new(&shared.config.forecast.events),
            fitting,
            keys,
            epoch,
            ready_version: 0,
            dealt_at: None,
            planned_step: None,
            planned_at: None,
            has_fitted: false,
            open_step: now_step,
            forgot_step: now_step,
            next_key: 0,
            donors: Donors::default(),
            network: Network::default(),
            searches: Searches::default(),
            flushed_at: Duration::ZERO,
            drawn: Drawn::default(),
            filling: Filling::of(&shared.config),
            warned: Vec::new(),
            shared,
        };
        {
            let now = planner.shared.now();
            let remembered = planner.shared.observer().remembered(now);
            let mut dealer = planner.shared.dealer();
            *dealer = Dealer::new(planner.shared.config.sync.grant_validity, epoch);
            dealer.remember(remembered, now.steady);
        }
        planner.restore_watches()?;
        planner.refresh_events(now_step);
        planner.submit_due();
        planner.tend_network();
        planner.forget(now_step);
        Ok(planner)
    }

    /// Runs until the daemon stops; then writes what was observed last.
    pub(crate) fn run(mut self) {
        while !self.shared.is_stopping() {
            let wait = self.turn();
            self.shared.bell.wait(wait);
        }
        self.flush();
        self.store_detectors();
    }

    /// Waits until nothing is being fitted or trained, so that a rehearsal goes the same way every time.
    pub(crate) fn wait_for_fits(&mut self) {
        while !self.fitting.is_idle() || self.network.is_training() {
            self.take_fits();
            self.submit_due();
            self.tend_network();
            self.shared.bell.wait(Duration::from_millis(1));
        }
    }

    /// Does what is due; returns how long nothing will be, unless the bell rings.
    pub(crate) fn turn(&mut self) -> Duration {
        let step_s = i64::from(self.shared.config.step_s);
        let now = self.shared.now();
        let step = step_at(now.calendar_s, step_s);
        let refitted = self.take_fits();
        self.take_words();
        let raised = self.take_epoch();
        let (live, reported_until_s) = {
            let observer = self.shared.observer();
            (observer.live(now.steady), observer.reported_until_s(now.steady))
        };
        self.shared.metrics.proxies_live.set(live.len() as i64);

        let boundary_s = (step * step_s) as f64;
        let overdue = self.shared.clock.to_real(now.calendar_s - boundary_s);
        let patience = REPORTS_DUE.min(self.shared.clock.to_real(step_s as f64 / 4.0));
        let complete = reported_until_s.is_none_or(|until_s| until_s >= boundary_s);
        let is_new_step = self.planned_step != Some(step);
        let mut wait = self.shared.clock.to_real(boundary_s + step_s as f64 - now.calendar_s);
        if self.planned_step.is_none() || (is_new_step && (complete || overdue >= patience)) {
            self.flush();
            let (known_to, estimate_part) = self.ingest(step, reported_until_s);
            self.refresh_events(step);
            self.forecast(step, known_to, estimate_part);
            self.publish(step, live, raised);
            self.planned_step = Some(step);
            if step - self.forgot_step >= HOUSEKEEPING_STEPS {
                self.forget(step);
            }
        } else {
            if is_new_step {
                wait = patience.saturating_sub(overdue);
            }
            let planned = self.planned_step.unwrap_or(step);
            if !refitted.is_empty() {
                for index in refitted {
                    self.forecast_key(index, planned, self.open_step, None);
                }
                self.look_out(planned);
                self.drawn.is_stale = true;
                self.has_fitted = true;
            }
            let rests = self.planned_at.is_some_and(|at| now.steady.saturating_sub(at) < PLANS_APART);
            if (self.has_fitted && !rests) || self.ready_has_changed() {
                self.publish(planned, live, raised);
            } else if raised || self.deal_is_due(&live, now.steady) {
                self.redeal(live, now.steady);
            }
            self.redraw_capacity(planned, now.steady);
        }
        self.submit_due();
        self.tend_network();
        if now.steady.saturating_sub(self.flushed_at) >= FLUSH_INTERVAL {
            self.flush();
        }
        wait.min(DEAL_INTERVAL).max(Duration::from_millis(1))
    }

    /// At once when proxies come or go, else each [`DEAL_INTERVAL`].
    fn deal_is_due(&self, live: &[String], now: Duration) -> bool {
        let others = self.shared.table.borrow().as_ref().is_some_and(|table| table.proxies != live);
        others || self.dealt_at.is_none_or(|at| now.saturating_sub(at) >= DEAL_INTERVAL)
    }

    /// Writes what was observed since the last time; on an error it is kept and tried again.
    fn flush(&mut self) {
        self.flushed_at = self.shared.clock.steady_now();
        let flush = self.shared.observer().take_flush();
        if flush.is_empty() {
            return;
        }
        let step_s = i64::from(self.shared.config.step_s);
        if let Some(first) = flush.points.iter().map(|point| point.start_s.div_euclid(step_s)).min() {
            self.open_step = self.open_step.min(first);
        }
        if let Err(error) = self.store.add(&flush) {
            self.note_store_error(&error);
            self.shared.observer().put_back(flush);
        }
    }

    /// Reads the open steps back, and settles those that are complete. Returns the first step that is not known, and
    /// which part of it is covered.
    fn ingest(&mut self, step: i64, reported_until_s: Option<f64>) -> (i64, f64) {
        let step_s = i64::from(self.shared.config.step_s);
        let known_to = reported_until_s.map_or(step, |until_s| step_at(until_s, step_s)).min(step);
        let part = reported_until_s.map_or(0.0, |until_s| (until_s / step_s as f64 - known_to as f64).clamp(0.0, 1.0));
        for index in 0..self.keys.len() {
            let key = self.keys[index].key.clone();
            match self.store.range(&key, self.open_step * step_s, step * step_s) {
                Ok(points) => self.keys[index].absorb(&points, self.open_step, step),
                Err(error) => {
                    self.note_store_error(&error);
                    return (self.open_step, 0.0);
                }
            }
            let bursts = self.keys[index].settle(known_to);
            self.note_anomalies(index);
            if let Some(ratio) = self.keys[index].ratio() {
                self.shared.metrics.demand_ratio.get_or_create(&KeyLabels::from(&key)).set(ratio);
            }
            for burst in bursts {
                self.shared.metrics.bursts.get_or_create(&KeyLabels::from(&key)).inc();
                tracing::debug!(%key, step = burst.step, actual = burst.actual, upper = burst.upper, "burst");
                if let Err(error) = self.store.set_cap(&key, burst.step * step_s, burst.cap) {
                    self.note_store_error(&error);
                }
            }
        }
        self.open_step = known_to;
        self.note_choices();
        self.store_contests();
        *lock(&self.shared.records) = self.keys.iter().map(KeyDemand::record).collect();
        (known_to, part)
    }

    /// Rises above a table that a filter knows; whether it did.
    fn take_epoch(&mut self) -> bool {
        let floor = self.shared.epoch_floor();
        if floor <= self.epoch {
            return false;
        }
        if let Err(error) = self.store.set_epoch(floor) {
            // Published all the same: a filter would refuse everything else.
            self.note_store_error(&error);
        }
        tracing::warn!(from = self.epoch, to = floor, "a filter knows a newer table than this planner; epoch raised");
        self.epoch = floor;
        self.shared.dealer().raise_epoch(floor);
        true
    }

    fn inputs(&mut self, step: i64) -> Inputs {
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let horizon = config.forecast.horizon_steps as i64;
        let length_ms =
            self.shared.clock.to_real(f64::from(config.step_s)).as_millis().clamp(1, u32::MAX.into()) as u32;
        let (pools, reduced) = self.ready_pools(step, config.forecast.horizon_steps);
        let slots = step..step + horizon;
        let mut inputs = publishing::inputs(&self.keys, config.contracts.clone(), pools, slots, length_ms);
        inputs.reduced = reduced;
        self.feeds.lower(&mut inputs, i64::from(config.step_s));
        inputs
    }

    fn note_store_error(&self, error: &StoreError) {
        self.shared.metrics.store_errors.inc();
        tracing::error!(%error, "history");
    }
}

/// The calendar step in which a moment lies.
pub(crate) fn step_at(calendar_s: f64, step_s: i64) -> i64 {
    (calendar_s / step_s as f64).floor() as i64
}
