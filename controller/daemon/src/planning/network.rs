//! The network of many keys: trained beside the planning loop, and given to every fit once there is one.
//!
//! The intuition: what keys have in common (how much of a departure from yesterday is still there an hour later) changes
//! slowly, and learning it costs seconds. So one network is trained on all keys' believed histories at most once a week,
//! on a thread of its own and within the CPU time that the configuration grants, and until a newer one is there the old
//! one serves. The selection of each key says whether it is worth anything there.
//!
//! It is trained on what lies before the parts that fits hold out; who asked a network about what it was trained on would
//! praise it for its memory. So it never knows the last days, and a key whose history is short is held to its own.
//!
//! Nothing of it is stored: after a restart it is trained afresh, and fits do without until then.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use forebay_forecast::{Choice, Chosen, GlobalNetwork, Globals, ModelError, NetworkSettings, Series};
use forebay_plan::Key;

use super::demand::{KeyDemand, SPARE_LEADS};
use super::{Planner, WEEK_S, step_at};
use crate::state::Shared;

/// Calendar time between two trainings, seconds.
const RETRAIN_S: i64 = WEEK_S;
/// Calendar time after which it is tried again where there was too little to learn from, seconds.
const RETRY_S: i64 = 86_400;
/// Known history that a key needs to be learned from, seconds: of two weeks, the last is held out.
const LEAST_KNOWN_S: i64 = 2 * WEEK_S;
/// Fewest keys: one alone has nothing in common with others.
const MIN_KEYS: usize = 2;
/// Most keys: 128 x 129 KB (eight weeks of 5-minute steps), held three times while it is trained, are 50 MB.
const MAX_KEYS: usize = 128;

/// The newest network, and the one that is being trained.
#[derive(Default)]
pub(super) struct Network {
    newest: Option<Arc<GlobalNetwork>>,
    training: Option<Training>,
    /// Calendar time before which nothing is trained.
    next_s: i64,
}

struct Training {
    done: Receiver<Result<GlobalNetwork, ModelError>>,
    /// What it learns from.
    keys: Vec<Key>,
    steps: usize,
}

impl Network {
    /// What fits may draw on.
    pub(super) fn globals(&self) -> Globals {
        Globals { network: self.newest.clone(), ..Globals::default() }
    }

    pub(super) fn is_training(&self) -> bool {
        self.training.is_some()
    }

    fn start(&mut self, shared: &Arc<Shared>, settings: NetworkSettings, keys: Vec<(Key, Series)>) {
        let (finished, done) = channel();
        let (keys, histories): (Vec<Key>, Vec<Series>) = keys.into_iter().unzip();
        let bell = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("network".to_owned()).spawn(move || {
            if finished.send(GlobalNetwork::train_before_held_out(&histories, &settings)).is_ok() {
                bell.bell.ring();
            }
        });
        match thread {
            Ok(_) => self.training = Some(Training { done, keys, steps: settings.steps }),
            Err(error) => tracing::error!(%error, "the network cannot be trained: no thread"),
        }
    }
}

impl Planner {
    /// Takes over a network that was trained, and has one trained where it is time.
    pub(super) fn tend_network(&mut self) {
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let Some(cpu_s) = config.forecast.network_cpu_s else { return };
        let step_s = i64::from(config.step_s);
        let step = step_at(self.shared.now().calendar_s, step_s);
        let now_s = step * step_s;
        self.take_network(now_s);
        if self.network.is_training() || now_s < self.network.next_s {
            return;
        }
        let horizon_steps = config.forecast.horizon_steps + SPARE_LEADS;
        let from = step - i64::from(config.forecast.history_weeks) * WEEK_S / step_s;
        let long_enough: Vec<&KeyDemand> = self.keys.iter().filter(|demand| is_long_and_live(demand, from)).collect();
        // Keys are evenly left out where there are too many.
        let every = long_enough.len().div_ceil(MAX_KEYS).max(1);
        let keys = long_enough.into_iter().step_by(every);
        let keys: Vec<_> = keys.filter_map(|demand| Some((demand.key.clone(), demand.training(from).ok()?))).collect();
        if keys.len() < MIN_KEYS {
            self.network.next_s = now_s + RETRY_S;
            return;
        }
        self.network.next_s = now_s + RETRAIN_S;
        let settings = NetworkSettings { horizon_steps, ..NetworkSettings::default() }.within(f64::from(cpu_s));
        tracing::info!(keys = keys.len(), steps = settings.steps, "a network of many keys is trained");
        self.network.start(&shared, settings, keys);
    }

    fn take_network(&mut self, now_s: i64) {
        let Some(training) = &self.network.training else { return };
        let outcome = match training.done.try_recv() {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err("its thread is gone".to_owned()),
        };
        let Some(Training { keys, steps, .. }) = self.network.training.take() else { return };
        let metrics = &self.shared.metrics.lifecycle;
        match outcome {
            Ok(network) => {
                let until_s = network.trained_until_s();
                metrics.count_network("trained");
                metrics.network_trained_until.set(until_s);
                self.network.newest = Some(Arc::new(network));
                let chosen = Chosen::NetworkTrained { keys: keys.len(), steps, until_s };
                let choices: Vec<_> =
                    keys.into_iter().map(|key| (key, Choice { at_s: now_s, chosen: chosen.clone() })).collect();
                if let Err(error) = self.store.note_choices(&choices) {
                    self.note_store_error(&error);
                }
            }
            Err(why) => {
                metrics.count_network("refused");
                tracing::warn!(why, "no network of many keys could be trained");
                self.network.next_s = now_s + RETRY_S;
            }
        }
    }
}

/// Whether a key's history since `from` teaches anything and goes on until now: one that ended long ago is held out from
/// then on, and the others would have to be cut there too.
fn is_long_and_live(demand: &KeyDemand, from: i64) -> bool {
    let Ok(history) = demand.training(from) else { return false };
    let newest = &history.values()[history.len().saturating_sub(history.day_steps())..];
    let is_live = newest.iter().any(|value| !value.is_nan());
    is_live && history.known_steps() as i64 * i64::from(history.step_s()) >= LEAST_KNOWN_S
}
