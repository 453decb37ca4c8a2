//! Since when each group has its number, over restarts: without it a controller that is restarted often never scales down.
//!
//! The memory is the planner's ([`DwellMemory`]); here it is written and read, and held against what there is at a start. Of a
//! group that nothing is stored of, or that somebody else was in charge of, it is not known: its dwell begins anew.
//!
//! The times of groups that are still wanted move with every turn. They are stored as *still wanted at the last turn*, whose time
//! the account of money is stored with anyway; so what is written changes only when a group begins or ends to be wanted.

use std::collections::{BTreeMap, BTreeSet};

use forebay_plan::capacity::{CapacityPlan, DwellMemory, Group, Instance};

use super::remembered::remembered;

/// Service, pool, shape, and when the group was last wanted at its number or above, calendar seconds; `None`: at the last turn.
type Row = (String, String, String, Option<u64>);

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Dwell {
    memory: DwellMemory,
    /// As it was stored, until the first look at instances says what of it still is.
    read: BTreeMap<Group, Option<u64>>,
    /// Calendar time of the last turn, seconds.
    turn_s: u64,
    /// What the store has.
    written: Option<String>,
}

/// When a controller looks at what there is, before it has ordered anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resuming {
    pub(super) now_s: u64,
    /// The last turn before, as the store knows it; both are calendar seconds.
    pub(super) last_turn_s: u64,
    /// Whether this controller's orders count.
    pub(super) is_own: bool,
}

impl Dwell {
    /// As it was stored; nothing of what cannot be read.
    pub(super) fn of(stored: Option<&str>) -> Self {
        let rows: Vec<Row> = remembered("dwell", stored);
        let row = |(service, pool, shape, at_s): Row| (Group { service, pool, shape }, at_s);
        Self { read: rows.into_iter().map(row).collect(), written: stored.map(str::to_owned), ..Self::default() }
    }

    /// The planner's memory.
    pub(super) fn memory(&self) -> &DwellMemory {
        &self.memory
    }

    /// What is known of the groups that there are, before this controller has ordered anything; nothing where its orders do
    /// not count. A time that is yet to come was written before the calendar was set back.
    pub(super) fn resume(&mut self, instances: &[Instance], resuming: Resuming) {
        let Resuming { now_s, last_turn_s, is_own } = resuming;
        let read = std::mem::take(&mut self.read);
        let known_s = |group: &Group| match read.get(group) {
            Some(at_s) => Some(at_s.unwrap_or(last_turn_s)),
            None => self.memory.last_wanted_s(group),
        };
        let mut resumed = DwellMemory::default();
        for group in instances.iter().map(|one| &one.group).collect::<BTreeSet<_>>() {
            let known_s = known_s(group).filter(|_| is_own);
            resumed.note(group.clone(), known_s.map_or(now_s, |at_s| at_s.min(now_s)));
        }
        self.memory = resumed;
    }

    /// A turn, with the plan that is being carried out in it, if one is.
    pub(super) fn turn(&mut self, plan: Option<&CapacityPlan>, now_s: u64) {
        self.turn_s = now_s;
        if let Some(plan) = plan {
            self.memory.remember(plan, now_s);
        }
    }

    /// To be stored, if it has changed since the last time.
    pub(super) fn take_changed(&mut self) -> Option<String> {
        if !self.read.is_empty() {
            // Nothing was seen yet: what is stored stands.
            return None;
        }
        let row = |(group, at_s): (&Group, u64)| {
            let ended_s = (at_s < self.turn_s).then_some(at_s);
            (group.service.clone(), group.pool.clone(), group.shape.clone(), ended_s)
        };
        let text = serde_json::to_string(&self.memory.iter().map(row).collect::<Vec<Row>>()).ok()?;
        if self.written.as_ref() == Some(&text) {
            return None;
        }
        self.written = Some(text.clone());
        Some(text)
    }

    /// What could not be stored is stored later.
    pub(super) fn all_changed(&mut self) {
        self.written = None;
    }
}
