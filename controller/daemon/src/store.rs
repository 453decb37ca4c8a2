//! History and what must survive a restart with it, behind one trait.
//!
//! A *point* is the mean rate of a key over one calendar step. Live demand arrives as additions to points together with
//! the *cursors* (how far each proxy's counters were counted); [`HistoryStore::add`] takes both in one transaction, so
//! that after any crash either both are there or neither is, and nothing is counted twice or lost. Imported points
//! replace what was there.
//!
//! A point may carry a *cap*: the most that the flood guard let the forecaster believe of it when it came (see
//! [`crate::planning`]), and a part that filters recognised as hostile, which is read apart. The raw value always stays.
//!
//! It does not interpret anything. [`sqlite`] is the store for one machine.

pub(crate) mod capacity;
pub(crate) mod sqlite;

use std::path::PathBuf;

use forebay_forecast::{Choice, Detector, Entry, Lineup, ModelKind};
use forebay_plan::Key;
use serde::{Deserialize, Serialize};

use crate::observe::counted::Counted;

/// A key's mean rate over the step that begins at `start_s`, in units per real second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) key: Key,
    pub(crate) start_s: i64,
    pub(crate) value: f64,
}

/// A point as read back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StoredPoint {
    pub(crate) start_s: i64,
    /// Demand: what was measured, less what was hostile.
    pub(crate) value: f64,
    /// The part that filters recognised as hostile.
    pub(crate) hostile: f64,
    pub(crate) cap: Option<f64>,
}

/// How far a proxy's counters have been counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cursor {
    pub(crate) proxy: String,
    pub(crate) boot_id: u64,
    pub(crate) sequence: u64,
    /// Calendar time of the last report that was counted.
    pub(crate) reported_s: f64,
    /// The counters that were counted; in a flush only those that moved.
    pub(crate) counters: Vec<(Key, Counted)>,
}

/// What one flush writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Flush {
    /// Added to the points that exist.
    pub(crate) points: Vec<Point>,
    /// The part of `points` that is hostile, added likewise.
    pub(crate) hostile: Vec<Point>,
    /// Replace the cursors of their proxies.
    pub(crate) cursors: Vec<Cursor>,
}

impl Flush {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.points.is_empty() && self.cursors.is_empty()
    }
}

/// A contest of two models of a key that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Contest {
    pub(crate) champion: Contender,
    pub(crate) rival: Contender,
    /// The evidence so far.
    pub(crate) lineup: Lineup,
}

/// One of the two: enough to fit it again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Contender {
    pub(crate) model: ModelKind,
    /// Where the history begins that it learned from, if that was cut at a change.
    pub(crate) since_s: Option<i64>,
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{operation} in {}: {source}", .file.display())]
    Sqlite { operation: &'static str, file: PathBuf, source: rusqlite::Error },
    #[error("create folder {}: {source}; check data_dir and its permissions", .folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("open {}: its schema is version {found}, this build knows {known}; use the build that wrote it", .file.display())]
    Schema { file: PathBuf, found: i64, known: i64 },
    #[error(
        "open {}: its history has steps of {found} s, the configuration says {wanted} s; set step_s to {found} or use another data_dir",
        .file.display()
    )]
    Step { file: PathBuf, found: i64, wanted: u32 },
}

/// Where history lives. Steps are named by the calendar second at which they begin.
pub(crate) trait HistoryStore: Send {
    /// Adds `flush.points` to what is there and replaces the cursors; all of it or, on an error, nothing.
    fn add(&mut self, flush: &Flush) -> Result<(), StoreError>;
    /// Replaces points; all of them or nothing. A replaced point loses its cap, and nothing of it is hostile.
    fn replace(&mut self, points: &mut dyn Iterator<Item = Point>) -> Result<u64, StoreError>;
    /// Notes the flood guard's cap on a point.
    fn set_cap(&mut self, key: &Key, start_s: i64, cap: f64) -> Result<(), StoreError>;
    /// A key's points from `from_s` on and before `to_s`, ascending.
    fn range(&self, key: &Key, from_s: i64, to_s: i64) -> Result<Vec<StoredPoint>, StoreError>;
    /// A key's ledger of what training leaves out, oldest entry first.
    fn ledger(&self, key: &Key) -> Result<Vec<Entry>, StoreError>;
    /// Replaces it.
    fn set_ledger(&mut self, key: &Key, entries: &[Entry]) -> Result<(), StoreError>;
    /// What a key's detector had seen when it was stored last.
    fn detector(&self, key: &Key) -> Result<Option<Detector>, StoreError>;
    /// Notes what detectors have seen.
    fn set_detectors(&mut self, detectors: &[(&Key, &Detector)]) -> Result<(), StoreError>;
    /// Notes what was decided about keys' forecasts; of too many about one key the oldest leave.
    fn note_choices(&mut self, choices: &[(Key, Choice)]) -> Result<(), StoreError>;
    /// What was decided about a key's forecasts, oldest first.
    fn choices(&self, key: &Key) -> Result<Vec<Choice>, StoreError>;
    /// A key's contest, if one was under way.
    fn contest(&self, key: &Key) -> Result<Option<Contest>, StoreError>;
    /// Replaces contests, or ends them.
    fn set_contests(&mut self, contests: &[(&Key, Option<Contest>)]) -> Result<(), StoreError>;
    /// All cursors, for a start.
    fn cursors(&self) -> Result<Vec<Cursor>, StoreError>;
    /// The last epoch that a planner on this store used; 0 for none.
    fn epoch(&self) -> Result<u64, StoreError>;
    /// Notes the epoch before it is used.
    fn set_epoch(&mut self, epoch: u64) -> Result<(), StoreError>;
    /// Forgets points, choices and ledger entries before `before_s`, and cursors of proxies that have not reported since.
    fn forget(&mut self, before_s: i64) -> Result<u64, StoreError>;
}
