//! What the tasks of the daemon share, and how they tell each other that something happened.
//!
//! Reports and watches come in on async tasks; the planning loop is one plain thread, because it computes and waits for
//! disk. Between them lie only: the observer (behind a lock held for one report), the published table (a value that is
//! replaced as a whole), the epoch floor (raised when a filter knows a newer table than this planner), and a bell.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_plan::{Finding, Plan};
use forebay_protocol::Generation;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::observe::{Moment, Observer};
use crate::planning::demand::KeyRecord;

/// A plan that is in force, with the proxies that it was dealt to.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) generation: Generation,
    /// The calendar step in which it was made.
    pub(crate) step: i64,
    pub(crate) plan: Plan,
    pub(crate) findings: Vec<Finding>,
    /// Sorted; a proxy's index is its place in the split.
    pub(crate) proxies: Vec<String>,
    /// Wall time of publication, unix milliseconds.
    pub(crate) published_unix_ms: u64,
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
    observer: Mutex<Observer>,
    epoch_floor: AtomicU64,
    stopping: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>, observer: Observer) -> Self {
        Self {
            config,
            clock,
            metrics: Metrics::new(),
            bell: Bell::default(),
            table: watch::Sender::new(None),
            records: Mutex::default(),
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
