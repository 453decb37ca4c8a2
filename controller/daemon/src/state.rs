//! What the tasks of the daemon share, and how they tell each other that something happened.
//!
//! Reports and watches come in on async tasks; the planning loop is one plain thread, because it computes and waits for
//! disk. Between them lie only: the observer (behind a lock held for one report), the published table (a value that is
//! replaced as a whole), the epoch floor (raised when a filter knows a newer table than this planner), and a bell.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use std::collections::HashMap;

use forebay_plan::{Dealer, Finding, Hand, Mark, Plan};
use forebay_protocol::Generation;
use tokio::sync::watch;

use crate::capacity::board::Board;
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::observe::{Moment, Observer};
use crate::planning::anomalies::Ledgers;
use crate::planning::demand::KeyRecord;
use crate::sync::expectations::Outlook;

/// A plan that is in force, with the proxies that it was dealt to.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) generation: Generation,
    /// The calendar step in which it was made.
    pub(crate) step: i64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) findings: Vec<Finding>,
    /// Parallel to the plan's grants: steady time of when the pool of a key that is short has more ready. Says nothing once
    /// it has passed.
    pub(crate) more_at: Arc<[Option<Duration>]>,
    /// Sorted.
    pub(crate) proxies: Vec<String>,
    /// What each proxy is dealt, each under a generation of its own; `None`: equal shares under this table's.
    pub(crate) hands: Option<HashMap<String, Arc<Hand>>>,
    /// Wall time of publication, unix milliseconds.
    pub(crate) published_unix_ms: u64,
}

/// A generation's place among the marks of hands. One process is shard 0.
pub(crate) fn mark(generation: Generation) -> Mark {
    Mark { epoch: generation.epoch, sequence: generation.sequence }
}

/// The generation of a hand.
pub(crate) fn generation(mark: Mark) -> Generation {
    Generation { shard: 0, epoch: mark.epoch, sequence: mark.sequence }
}

/// What the tasks share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) bell: Bell,
    /// The newest table; `None` before the first plan.
    pub(crate) table: watch::Sender<Option<Arc<Table>>>,
    /// Forecasts against what came, by key.
    pub(crate) records: Mutex<Vec<KeyRecord>>,
    /// What training leaves out, by key.
    pub(crate) ledgers: Ledgers,
    /// The newest forecasts of the steps around now. Taken before the observer, never after it.
    pub(crate) outlook: Mutex<Outlook>,
    /// What the planning of capacity and the rest tell each other.
    pub(crate) capacity: Board,
    observer: Mutex<Observer>,
    dealer: Mutex<Dealer>,
    epoch_floor: AtomicU64,
    stopping: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>, observer: Observer) -> Self {
        Self {
            dealer: Mutex::new(Dealer::new(config.sync.grant_validity, 0)),
            config,
            clock,
            metrics: Metrics::new(),
            bell: Bell::default(),
            table: watch::Sender::new(None),
            records: Mutex::default(),
            ledgers: Ledgers::default(),
            outlook: Mutex::default(),
            capacity: Board::default(),
            observer: Mutex::new(observer),
            epoch_floor: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    /// Now, in both times.
    pub(crate) fn now(&self) -> Moment {
        Moment { calendar_s: self.clock.calendar_now_s(), steady: self.clock.steady_now() }
    }

    pub(crate) fn observer(&self) -> MutexGuard<'_, Observer> {
        lock(&self.observer)
    }

    /// Who has which share. Never taken while the observer is.
    pub(crate) fn dealer(&self) -> MutexGuard<'_, Dealer> {
        lock(&self.dealer)
    }

    /// Asks the planner to publish under at least this epoch.
    pub(crate) fn raise_epoch(&self, epoch: u64) {
        if self.epoch_floor.fetch_max(epoch, Ordering::AcqRel) < epoch {
            self.bell.ring();
        }
    }

    pub(crate) fn epoch_floor(&self) -> u64 {
        self.epoch_floor.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.bell.ring();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Locks, also after a panic elsewhere: what these locks guard is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the planning loop. A ring while it works is heard when it next waits.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *lock(&self.rung) = true;
        self.heard.notify_one();
    }

    /// Waits for a ring, at most this long.
    pub(crate) fn wait(&self, at_most: Duration) {
        let waited = self.heard.wait_timeout_while(lock(&self.rung), at_most, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_heard() {
        let bell = Bell::default();
        bell.ring();
        bell.wait(Duration::from_secs(3600));
        let begun = std::time::Instant::now();
        bell.wait(Duration::from_millis(1));
        assert!(begun.elapsed() >= Duration::from_millis(1), "it is heard once");
    }
}
