//! Who was seen, kept in the cluster, so that a pod that was deleted while no controller ran is known to be gone.
//!
//! A pod that failed stays and tells of itself; one whose node was drained, or that somebody deleted, leaves nothing behind.
//! ConfigMaps hold the instances that are there, by group: what ended before the first look of a new controller is in them
//! and not among the pods. Only what cannot be asked of a pod that is gone is written: when it was asked for, and ready.
//!
//! The intuition: an object of a cluster is written as a whole and holds a mebibyte, so instances lie in [`SHEETS`] of them
//! and one is written when something on it changed. What is asked for together changes together, as it becomes ready and, the
//! youngest first, as it is given back: instances of the same minute share [`SHEETS_OF_A_MINUTE`]. So a scale-up writes
//! these, and one pod that ends writes the few others of its sheet, whatever else the cluster has.
//!
//! Best effort: what cannot be written, or has no room, costs that knowledge and nothing else, and is said. Nobody counts by it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use forebay_plan::capacity::{Group, Instance, InstanceState};
use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cluster::{CallError, Cluster};
use super::names::{ROSTER, group_name};
use super::objects::ConfigMap;

/// Objects that instances are spread over, named in the manifest of rights.
const SHEETS: u64 = 32;
/// Those that what is asked for within the same minute is spread over, so that a cluster that starts at once has room.
const SHEETS_OF_A_MINUTE: u64 = 8;
const MINUTE_MS: u64 = 60_000;
/// Most that is written on a sheet, of the mebibyte that a ConfigMap holds: 13,000 instances of 69 bytes. Eight of them hold
/// all that is remembered of a cluster.
const SHEET_BYTES_MAX: usize = 900 * 1024;
/// What an instance takes beside its id: two times of 13 digits, and what tells them apart.
const ENTRY_BYTES: usize = 33;
/// What a group takes beside its names.
const GROUP_BYTES: usize = 60;

/// The instances of a group: by id, when each was asked for and when it was ready first, unix milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    service: String,
    pool: String,
    shape: String,
    instances: BTreeMap<String, (u64, Option<u64>)>,
}

/// What one object holds: by the name of the group, entries as text.
type Sheet = BTreeMap<String, String>;

/// What is written: sheets by number; one that is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roster {
    sheets: BTreeMap<u64, Sheet>,
}

/// Of instances that are there; and how many found no room.
pub(super) fn of(instances: &[Instance]) -> (Roster, usize) {
    let mut sheets: BTreeMap<u64, (usize, BTreeMap<String, Entry>)> = BTreeMap::new();
    let mut left_out = 0;
    for one in instances.iter().filter(|one| one.state != InstanceState::Gone) {
        let (bytes, entries) = sheets.entry(sheet_of(one)).or_default();
        let name = group_name(&one.group);
        let Group { service, pool, shape } = &one.group;
        let of_group = GROUP_BYTES + name.len() + service.len() + pool.len() + shape.len();
        let added = one.id.len() + ENTRY_BYTES + if entries.contains_key(&name) { 0 } else { of_group };
        if *bytes + added > SHEET_BYTES_MAX {
            left_out += 1;
            continue;
        }
        *bytes += added;
        let entry = entries.entry(name).or_insert_with(|| {
            let (service, pool, shape) = (service.clone(), pool.clone(), shape.clone());
            Entry { service, pool, shape, instances: BTreeMap::new() }
        });
        entry.instances.insert(one.id.clone(), (one.requested_ms, one.ready_ms));
    }
    let text = |(name, entry)| Some((name, serde_json::to_string(&entry).ok()?));
    let sheet = |(number, (_, entries)): (u64, (usize, BTreeMap<_, _>))| {
        (number, entries.into_iter().filter_map(text).collect::<Sheet>())
    };
    (Roster { sheets: sheets.into_iter().map(sheet).collect() }, left_out)
}

/// The sheet that an instance is written on. Another version of the compiler may spread them otherwise; all sheets are read.
fn sheet_of(instance: &Instance) -> u64 {
    let hash = |of: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        of(&mut hasher);
        hasher.finish()
    };
    let of_minute = hash(&|hasher| (instance.requested_ms / MINUTE_MS).hash(hasher));
    let within = hash(&|hasher| instance.id.hash(hasher)) % SHEETS_OF_A_MINUTE;
    of_minute.wrapping_add(within) % SHEETS
}

impl Roster {
    /// Sheets that differ from those that were written before.
    fn changed(&self, before: &Self) -> Vec<u64> {
        let is_changed = |number: &u64| self.sheet(*number) != before.sheet(*number);
        (0..SHEETS).filter(is_changed).collect()
    }

    fn sheet(&self, number: u64) -> Option<&Sheet> {
        self.sheets.get(&number).filter(|sheet| !sheet.is_empty())
    }
}

fn name_of(number: u64) -> String {
    format!("{ROSTER}-{number}")
}

/// What was written last, and the instances in it. What cannot be read is of another version, and nobody is in it.
pub(super) async fn read(cluster: &Cluster) -> Result<(Roster, Vec<Instance>), CallError> {
    let path = cluster.path("api/v1", "configmaps");
    let read = async |number: u64| -> Result<(u64, Sheet), CallError> {
        let found: Option<ConfigMap> = cluster.get("read who was seen", &path, &name_of(number)).await?;
        Ok((number, found.map(|found| found.data).unwrap_or_default()))
    };
    let sheets: BTreeMap<u64, Sheet> = try_join_all((0..SHEETS).map(read)).await?.into_iter().collect();
    let texts = sheets.values().flat_map(BTreeMap::values);
    let entries = texts.filter_map(|text| serde_json::from_str::<Entry>(text).ok());
    let instances = entries.flat_map(|Entry { service, pool, shape, instances }| {
        let group = Group { service, pool, shape };
        instances.into_iter().map(move |(id, (requested_ms, ready_ms))| Instance {
            id,
            group: group.clone(),
            state: if ready_ms.is_some() { InstanceState::Ready } else { InstanceState::Starting },
            requested_ms,
            ready_ms,
            address: None,
            is_interrupted: false,
        })
    });
    let instances = instances.collect();
    Ok((Roster { sheets }, instances))
}

/// Writes what differs from what was written before, whoever wrote it; what is written now, and why not all of it is.
pub(super) async fn write(cluster: &Cluster, before: &Roster, roster: &Roster) -> (Roster, Result<(), CallError>) {
    let changed = roster.changed(before);
    let nobody = Sheet::new();
    let writes = changed.iter().map(|number| {
        let sheet = roster.sheet(*number).unwrap_or(&nobody);
        write_sheet(cluster, name_of(*number), sheet)
    });
    let mut written = before.clone();
    let mut outcome = Ok(());
    for (number, done) in changed.iter().zip(join_all(writes).await) {
        match done {
            Ok(()) => drop(written.sheets.insert(*number, roster.sheet(*number).cloned().unwrap_or_default())),
            Err(error) => outcome = Err(error),
        }
    }
    (written, outcome)
}

async fn write_sheet(cluster: &Cluster, name: String, sheet: &Sheet) -> Result<(), CallError> {
    let operation = "write who was seen";
    let path = cluster.path("api/v1", "configmaps");
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": sheet });
    match cluster.replace(operation, &path, &name, &object).await {
        Err(CallError::NotFound { .. }) => cluster.create(operation, &path, &object).await,
        written => written,
    }
}

#[cfg(test)]
mod tests;
