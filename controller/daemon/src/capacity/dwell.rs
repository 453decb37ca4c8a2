//! Since when each group has its number, over restarts: without it a controller that is restarted often never scales down.
//!
//! The memory is the planner's ([`DwellMemory`]); here it is written and read, and held against what there is at a start. Of a
//! group that nothing is stored of, or that somebody else was in charge of, it is not known: its dwell begins anew.

use std::collections::BTreeSet;

use forebay_plan::capacity::{DwellMemory, Group, Instance};

use super::remembered::remembered;

/// Service, pool, shape, and when the group was last wanted at its number or above, calendar seconds.
type Row = (String, String, String, u64);

/// To be stored.
pub(super) fn written(memory: &DwellMemory) -> Option<String> {
    let row = |(group, at_s): (&Group, u64)| (group.service.clone(), group.pool.clone(), group.shape.clone(), at_s);
    serde_json::to_string(&memory.iter().map(row).collect::<Vec<Row>>()).ok()
}

/// As it was stored; nothing of what cannot be read.
pub(super) fn read(stored: Option<&str>) -> DwellMemory {
    let mut memory = DwellMemory::default();
    for (service, pool, shape, at_s) in remembered::<Vec<Row>>("dwell", stored) {
        memory.note(Group { service, pool, shape }, at_s);
    }
    memory
}

/// What is known of the groups that there are at `now_s`, before this controller has ordered anything; nothing where its
/// orders do not count (`is_own`). A time that is yet to come was written before the calendar was set back.
pub(super) fn resumed(memory: &DwellMemory, instances: &[Instance], (now_s, is_own): (u64, bool)) -> DwellMemory {
    let mut resumed = DwellMemory::default();
    for group in instances.iter().map(|one| &one.group).collect::<BTreeSet<_>>() {
        let known_s = memory.last_wanted_s(group).filter(|_| is_own);
        resumed.note(group.clone(), known_s.map_or(now_s, |at_s| at_s.min(now_s)));
    }
    resumed
}
