//! The audit trail of training: which steps a model did not learn from as they were measured, why, and who said so.
//!
//! Nothing in a history is changed. The ledger is a list of entries beside it, and [`Ledger::apply`] makes the series that
//! a model is trained on: anomalous steps are missing (NaN: neither trained on nor scored), hostile demand is subtracted.
//! Entries are only ever added or marked as lifted, so a label takes a decision back without losing that it was made.
//!
//! Which word counts, for each step: the newest label over it; else what was detected, unless lifted. Hostile demand is
//! subtracted either way, unless the label says that the step is normal as measured.
//!
//! Detection must not starve training: where detected steps are more than [`MAX_DETECTED_SHARE`] of what is known, they
//! are what the series is like, and all are kept. A label is not bound by that.

use serde::{Deserialize, Serialize};

use super::{Anomaly, Change, Direction};
use crate::error::SeriesError;
use crate::series::Series;

/// Most of a history that detection may keep out of training, as a share of its known steps.
const MAX_DETECTED_SHARE: f64 = 0.2;
/// Entries kept per series: one alarm in two weeks, hourly hostile reports for eight weeks and some labels are 1,400;
/// 4,096 x 64 bytes is 256 KiB. The oldest leave.
const MAX_ENTRIES: usize = 4096;

/// Demand that was recognised as hostile where it arrived, as a mean rate over a time. It is part of what was measured
/// and no part of demand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HostileTraffic {
    /// Begin, unix seconds.
    pub from_s: i64,
    /// End, unix seconds.
    pub to_s: i64,
    /// Units per second, in the unit of the series.
    pub rate_per_s: f64,
}

/// What somebody who knows says about a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Begin, unix seconds.
    pub from_s: i64,
    /// End, unix seconds.
    pub to_s: i64,
    /// What it was.
    pub kind: LabelKind,
    /// Who said so, when and why.
    pub said: Said,
}

/// Who brought an entry into the ledger, for its reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who.
    pub by: String,
    /// When, unix seconds.
    pub at_s: i64,
    /// Why, in words; may be empty.
    pub note: String,
}

/// What a labelled time was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelKind {
    /// Demand as it should be learned, whatever was detected.
    Normal,
    /// Not to be learned, though nothing was detected.
    Anomalous,
}

/// Why steps are not learned as measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reason {
    /// The detector said so.
    Detected {
        /// Side of the forecast.
        direction: Direction,
        /// Highest score of the episode.
        score: f64,
    },
    /// Somebody who knows said so.
    Labelled {
        /// What it was.
        kind: LabelKind,
        /// Who, when and why.
        said: Said,
    },
    /// Hostile demand was reported.
    Hostile {
        /// Units per second.
        rate_per_s: f64,
        /// Who, when and why.
        said: Said,
    },
}

/// What was done with steps before training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Treatment {
    /// Missing: neither trained on nor scored.
    Excluded,
    /// Less this rate, not below zero.
    Reduced {
        /// Units per second.
        by_per_s: f64,
    },
    /// As measured, because a label says so.
    Kept,
    /// As measured, because so much was detected that it is what the series is like.
    KeptAsCommon,
}

/// One decision about a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Number within the ledger, rising.
    pub id: u64,
    /// Begin, unix seconds.
    pub from_s: i64,
    /// End, unix seconds.
    pub to_s: i64,
    /// Why.
    pub reason: Reason,
    /// When a change made the entry void, from that time on: the new level became the normal state.
    pub lifted_from_s: Option<i64>,
}

impl Entry {
    fn covers(&self, begin_s: i64, end_s: i64) -> bool {
        let to_s = self.lifted_from_s.map_or(self.to_s, |lifted| self.to_s.min(lifted));
        self.from_s < end_s && begin_s < to_s
    }
}

/// What training did with a stretch of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// Begin, unix seconds.
    pub from_s: i64,
    /// End, unix seconds.
    pub to_s: i64,
    /// The entry it rests on.
    pub entry: u64,
    /// What was done.
    pub treatment: Treatment,
}

/// All decisions about one series, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    entries: Vec<Entry>,
    next_id: u64,
}

impl Ledger {
    /// A ledger as it was stored, from its [`entries`](Ledger::entries). Numbers go on from the last one.
    #[must_use]
    pub fn restored(entries: Vec<Entry>) -> Self {
        let next_id = entries.last().map_or(0, |last| last.id + 1);
        Self { entries, next_id }
    }

    /// The entries, oldest first, lifted ones too.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Notes an anomalous step that ends at `until_s`. Steps of one episode extend one entry; the answer is its number.
    pub fn detected(&mut self, anomaly: &Anomaly, until_s: i64) -> u64 {
        let same =
            |entry: &&mut Entry| entry.from_s == anomaly.from_s && matches!(entry.reason, Reason::Detected { .. });
        if let Some(entry) = self.entries.iter_mut().rev().find(same) {
            entry.to_s = entry.to_s.max(until_s);
            if let Reason::Detected { score, .. } = &mut entry.reason {
                *score = score.max(anomaly.score);
            }
            return entry.id;
        }
        let reason = Reason::Detected { direction: anomaly.direction, score: anomaly.score };
        self.add(anomaly.from_s, until_s, reason)
    }

    /// Notes a change: what was detected since it began is the normal state and is trained on.
    pub fn changed(&mut self, change: &Change) {
        for entry in &mut self.entries {
            if matches!(entry.reason, Reason::Detected { .. }) && entry.to_s > change.from_s {
                let lifted = entry.lifted_from_s.map_or(change.from_s, |earlier| earlier.min(change.from_s));
                entry.lifted_from_s = Some(lifted);
            }
        }
    }

    /// Notes hostile demand. A rate that is no positive number is none and is not noted.
    pub fn hostile(&mut self, traffic: &HostileTraffic, said: Said) -> Option<u64> {
        let HostileTraffic { from_s, to_s, rate_per_s } = *traffic;
        let is_some = rate_per_s.is_finite() && rate_per_s > 0.0 && from_s < to_s;
        is_some.then(|| self.add(from_s, to_s, Reason::Hostile { rate_per_s, said }))
    }

    /// Notes what somebody who knows says. It overrules every earlier label and all that was or will be detected there.
    pub fn label(&mut self, label: Label) -> u64 {
        let Label { from_s, to_s, kind, said } = label;
        self.add(from_s, to_s, Reason::Labelled { kind, said })
    }

    /// Forgets what ended before `before_s`, when the history has forgotten it too.
    pub fn forget_before(&mut self, before_s: i64) {
        self.entries.retain(|entry| entry.to_s > before_s);
    }

    /// The series to train on, and what was done to make it, in order of time.
    ///
    /// # Errors
    /// None for a series that was checked; the error is that of [`Series::new`].
    pub fn apply(&self, series: &Series) -> Result<(Series, Vec<Applied>), SeriesError> {
        let common = self.detected_share(series) > MAX_DETECTED_SHARE;
        let mut values = series.values().to_vec();
        let mut applied: Vec<Applied> = Vec::new();
        let relevant: Vec<&Entry> =
            self.entries.iter().filter(|entry| entry.covers(series.start_s(), series.end_s())).collect();
        if relevant.is_empty() {
            return Ok((series.clone(), applied));
        }
        for (index, value) in values.iter_mut().enumerate() {
            let (begin_s, end_s) = (series.at_s(index), series.at_s(index + 1));
            let covering = || relevant.iter().rev().filter(|entry| entry.covers(begin_s, end_s));
            for (entry, treatment) in decide(covering, common, end_s - begin_s, begin_s) {
                match treatment {
                    Treatment::Excluded => *value = f64::NAN,
                    Treatment::Reduced { by_per_s } => *value = (*value - by_per_s).max(0.0).min(*value),
                    Treatment::Kept | Treatment::KeptAsCommon => {}
                }
                note(&mut applied, entry, treatment, begin_s, end_s);
            }
        }
        Ok((Series::new(series.start_s(), series.step_s(), values)?, applied))
    }

    fn detected_share(&self, series: &Series) -> f64 {
        let detected: Vec<&Entry> = self.entries.iter().filter(|entry| is_detected(entry)).collect();
        let is_out = |index: usize| {
            let (begin_s, end_s) = (series.at_s(index), series.at_s(index + 1));
            detected.iter().any(|entry| entry.covers(begin_s, end_s))
        };
        let known = series.values().iter().enumerate().filter(|(_, value)| !value.is_nan());
        let out = known.filter(|(index, _)| is_out(*index)).count();
        out as f64 / series.known_steps().max(1) as f64
    }

    fn add(&mut self, from_s: i64, to_s: i64, reason: Reason) -> u64 {
        if self.entries.len() == MAX_ENTRIES {
            self.entries.remove(0);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.entries.push(Entry { id, from_s, to_s, reason, lifted_from_s: None });
        id
    }
}

fn is_detected(entry: &Entry) -> bool {
    matches!(entry.reason, Reason::Detected { .. })
}

/// What is done with one step, from the entries over it, newest first.
fn decide<'a, I>(covering: impl Fn() -> I, common: bool, step_s: i64, begin_s: i64) -> Vec<(u64, Treatment)>
where
    I: Iterator<Item = &'a &'a Entry>,
{
    let label = covering().find_map(|entry| match entry.reason {
        Reason::Labelled { kind, .. } => Some((entry.id, kind)),
        _ => None,
    });
    match label {
        Some((id, LabelKind::Normal)) => return vec![(id, Treatment::Kept)],
        Some((id, LabelKind::Anomalous)) => return vec![(id, Treatment::Excluded)],
        None => {}
    }
    let mut done = Vec::new();
    if let Some(entry) = covering().find(|entry| is_detected(entry)) {
        done.push((entry.id, if common { Treatment::KeptAsCommon } else { Treatment::Excluded }));
    }
    for entry in covering() {
        if let Reason::Hostile { rate_per_s, .. } = entry.reason {
            // A report that covers part of the step is spread over the whole of it.
            let overlap_s = entry.to_s.min(begin_s + step_s) - entry.from_s.max(begin_s);
            let by_per_s = rate_per_s * overlap_s as f64 / step_s as f64;
            done.push((entry.id, Treatment::Reduced { by_per_s }));
        }
    }
    done
}

/// Adds a step to the audit: to the stretch before it, if the same was done there for the same reason.
fn note(applied: &mut Vec<Applied>, entry: u64, treatment: Treatment, from_s: i64, to_s: i64) {
    let same =
        |stretch: &&mut Applied| stretch.entry == entry && stretch.to_s == from_s && stretch.treatment == treatment;
    match applied.iter_mut().rev().take(8).find(same) {
        Some(stretch) => stretch.to_s = to_s,
        None => applied.push(Applied { from_s, to_s, entry, treatment }),
    }
}

#[cfg(test)]
mod tests;
