//! What the planner does with anomalies: it tells people, stores what is to be left out of training, and takes in what
//! people say.
//!
//! A ledger is written whenever it changes, detectors each hour of five-minute steps and at a stop: after a crash a detector
//! goes on from an hour ago, as after a gap in the reports. Words of people are asked for from the HTTP side and noted by
//! the planner's thread, stored before they count and answered after: who was told that a label is noted finds it after any
//! crash. A word counts from the key's next fit on.

use std::sync::Mutex;

use forebay_forecast::{Applied, Direction, Entry, HostileTraffic};
use forebay_plan::Key;
use tokio::sync::oneshot;

use super::Planner;
use super::demand::watch::{Noted, Word};
use crate::metrics::{DirectionLabels, KeyLabels};
use crate::state::lock;

/// Words that wait for the planner's next turn, each up to 2 KB. A turn is a quarter of a second away at most.
const MAX_WAITING: usize = 64;

/// Stretches of hostile demand that are shown of a key: one for each quarter of an hour of a day.
const MAX_STRETCHES: usize = 96;

/// A key's ledger, as the HTTP side reads it.
#[derive(Clone, Debug)]
pub(crate) struct KeyLedger {
    pub(crate) key: Key,
    /// On which side of its forecast demand is too far off at present.
    pub(crate) now: Option<Direction>,
    pub(crate) entries: Vec<Entry>,
    /// What filters recognised as hostile: the newest stretches.
    pub(crate) hostile: Vec<HostileTraffic>,
    /// What the last fit did not learn as measured.
    pub(crate) left_out: Vec<Applied>,
}

/// Why a word was not noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotNoted {
    #[error("nobody contracted this key")]
    UnknownKey,
    #[error("too many words wait to be noted; say it again")]
    Busy,
    #[error("it could not be stored; the controller's log says why, say it again")]
    NotStored,
    #[error("what is hostile is a number of units per second above 0")]
    Nothing,
}

struct Asked {
    key: Key,
    word: Word,
    answer: oneshot::Sender<Result<u64, NotNoted>>,
}

/// What the planner shows of its ledgers, and what it is asked to note.
#[derive(Default)]
pub(crate) struct Ledgers {
    /// In the order of the contracts.
    pub(crate) keys: Mutex<Vec<KeyLedger>>,
    asked: Mutex<Vec<Asked>>,
}

impl Ledgers {
    /// Asks for a word to be noted; the answer is its number in the ledger. The bell is the caller's to ring.
    pub(crate) fn ask(&self, key: Key, word: Word) -> Result<oneshot::Receiver<Result<u64, NotNoted>>, NotNoted> {
        let mut asked = lock(&self.asked);
        if asked.len() >= MAX_WAITING {
            return Err(NotNoted::Busy);
        }
        let (answer, noted) = oneshot::channel();
        asked.push(Asked { key, word, answer });
        Ok(noted)
    }
}

impl Planner {
    /// Goes on with the ledgers and detectors that were stored.
    pub(super) fn restore_watches(&mut self) -> Result<(), crate::store::StoreError> {
        for demand in &mut self.keys {
            demand.watch.restore(self.store.ledger(&demand.key)?, self.store.detector(&demand.key)?);
        }
        let ledger = |demand: &super::KeyDemand| KeyLedger {
            key: demand.key.clone(),
            now: None,
            entries: demand.watch.entries().to_vec(),
            hostile: demand.hostile_stretches(MAX_STRETCHES),
            left_out: Vec::new(),
        };
        *lock(&self.shared.ledgers.keys) = self.keys.iter().map(ledger).collect();
        Ok(())
    }

    /// Tells and stores what the watch of a key has noted in the steps that were settled.
    pub(super) fn note_anomalies(&mut self, index: usize) {
        let demand = &mut self.keys[index];
        let (noted, is_changed) = demand.watch.take_noted();
        let (key, metrics) = (&demand.key, &self.shared.metrics);
        for news in noted {
            match news {
                Noted::Begun(anomaly) => {
                    metrics.anomalies.get_or_create(&DirectionLabels::of(key, anomaly.direction)).inc();
                    tracing::info!(
                        %key, from_s = anomaly.from_s, direction = anomaly.direction.as_str(), score = anomaly.score,
                        actual = anomaly.why.actual, expected = anomaly.why.expected, "anomaly; not learned from"
                    );
                }
                Noted::Changed(change) => tracing::info!(
                    %key, from_s = change.from_s, direction = change.direction.as_str(), steady = change.steady,
                    "what was an anomaly has lasted and is the normal state; learned from"
                ),
            }
        }
        let now = demand.watch.now();
        for direction in [Direction::Above, Direction::Below] {
            let labels = DirectionLabels::of(key, direction);
            metrics.anomalous.get_or_create(&labels).set(i64::from(now == Some(direction)));
        }
        if is_changed && let Err(error) = self.store.set_ledger(key, demand.watch.entries()) {
            self.note_store_error(&error);
        }
        if let Some(shown) = lock(&self.shared.ledgers.keys).get_mut(index) {
            shown.now = now;
            shown.hostile = self.keys[index].hostile_stretches(MAX_STRETCHES);
            if is_changed {
                shown.entries = self.keys[index].watch.entries().to_vec();
            }
        }
    }

    /// Notes what people said since the last turn.
    pub(super) fn take_words(&mut self) {
        let asked = std::mem::take(&mut *lock(&self.shared.ledgers.asked));
        for Asked { key, word, answer } in asked {
            // Who asked may be gone; the word counts all the same.
            let _ = answer.send(self.note_word(&key, word));
        }
    }

    fn note_word(&mut self, key: &Key, word: Word) -> Result<u64, NotNoted> {
        let index = self.keys.iter().position(|demand| demand.key == *key).ok_or(NotNoted::UnknownKey)?;
        let said = format!("{word:?}");
        let (id, watch) = self.keys[index].watch.with(word).ok_or(NotNoted::Nothing)?;
        if let Err(error) = self.store.set_ledger(key, watch.entries()) {
            self.note_store_error(&error);
            return Err(NotNoted::NotStored);
        }
        tracing::info!(%key, id, said, "noted in the ledger");
        if let Some(shown) = lock(&self.shared.ledgers.keys).get_mut(index) {
            shown.entries = watch.entries().to_vec();
        }
        self.keys[index].watch = watch;
        Ok(id)
    }

    /// After keys were sent to be fitted on the steps from `from` on: shows what was left out, forgets with the history.
    pub(super) fn keep_ledgers(&mut self, from: i64, before_s: i64) {
        for (index, demand) in self.keys.iter_mut().enumerate() {
            demand.watch.forget_before(before_s);
            let left_out = demand.left_out(from).unwrap_or_else(|error| {
                tracing::error!(key = %demand.key, %error, "history makes no series; what is left out of it is not shown");
                Vec::new()
            });
            let steps: i64 = left_out.iter().filter(is_left_out).map(|one| one.to_s - one.from_s).sum();
            let steps = steps / i64::from(self.shared.config.step_s);
            self.shared.metrics.left_out_steps.get_or_create(&KeyLabels::from(&demand.key)).set(steps);
            if let Some(shown) = lock(&self.shared.ledgers.keys).get_mut(index) {
                (shown.entries, shown.left_out) = (demand.watch.entries().to_vec(), left_out);
            }
        }
        self.store_detectors();
    }

    pub(super) fn store_detectors(&mut self) {
        let detectors: Vec<_> = self.keys.iter().map(|demand| (&demand.key, demand.watch.detector())).collect();
        if let Err(error) = self.store.set_detectors(&detectors) {
            self.note_store_error(&error);
        }
    }
}

fn is_left_out(stretch: &&Applied) -> bool {
    stretch.treatment == forebay_forecast::Treatment::Excluded
}
