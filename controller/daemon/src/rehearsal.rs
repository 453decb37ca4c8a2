//! The controller without sockets, threads of its own and real time: what simulations run.
//!
//! It is the same observer, planner, dealer, store and sync code as in the daemon; only the caller moves the clock, gives
//! every message in by hand and holds the watches. Killing it is dropping it; starting another one on the same folder is
//! a restart. One thing runs beside it: the fitting thread, which a rehearsal waits for at its start and which has nothing
//! to do later within the first [`refit_every_steps`](crate::config) steps.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_protocol::{Report, ReportAck, Watch};

use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::observe::{Moment, Observer};
use crate::planning::Planner;
use crate::state::Shared;
use crate::store::HistoryStore;
use crate::store::sqlite::SqliteStore;

/// A controller whose time is moved by hand.
pub struct Rehearsal {
    clock: Arc<ManualClock>,
    shared: Arc<Shared>,
    planner: Planner,
}

impl std::fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rehearsal").finish_non_exhaustive()
    }
}

impl Rehearsal {
    /// Starts with this configuration (the text of a `forebay.yaml`) at `unix_s`, its history in `folder`.
    ///
    /// # Errors
    /// What is wrong with the configuration or the folder.
    pub fn start(yaml: &str, folder: &Path, unix_s: f64) -> anyhow::Result<Self> {
        let config = Config::parse(Path::new("rehearsal"), yaml)?;
        let store = SqliteStore::open(folder, config.step_s)?;
        let speed = config.clock.speed;
        let clock = Arc::new(ManualClock::new(unix_s, speed));
        let now = Moment { calendar_s: clock.calendar_now_s(), steady: clock.steady_now() };
        let keys = config.contracts.iter().map(|contract| contract.key.clone()).collect();
        let stale_after = config.sync.proxy_stale_after;
        let observer = Observer::new(config.step_s, speed, stale_after, keys, store.cursors()?, now);
        let shared = Arc::new(Shared::new(config, Arc::clone(&clock) as Arc<dyn Clock>, observer));
        let mut planner = Planner::new(Arc::clone(&shared), Box::new(store))?;
        planner.wait_for_fits();
        planner.turn();
        Ok(Self { clock, shared, planner })
    }

    /// Lets real time pass and does what is due then.
    pub fn advance(&mut self, real: Duration) {
        self.clock.advance(real);
        self.planner.turn();
    }

    /// Takes a report in; `None` when it is refused.
    pub fn report(&mut self, report: &Report) -> Option<ReportAck> {
        self.shared.take_report(report).ok()
    }

    /// Takes a watch in; `false` when it is refused. [`Rehearsal::news`] answers it.
    pub fn watch(&mut self, watch: &Watch) -> bool {
        self.shared.take_watch(watch).is_ok()
    }

    /// The answer's body for a watch that is held, once there is news for it.
    pub fn news(&mut self, watch: &Watch) -> Option<Vec<u8>> {
        let table = self.shared.table.borrow().clone()?;
        self.shared.news(watch, &table)
    }

    /// The page that Prometheus reads.
    pub fn metrics(&self) -> String {
        self.shared.metrics.text()
    }
}
