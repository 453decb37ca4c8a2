//! What changed in the store, in order, as far back as it is kept: what a watch tells.
//!
//! After kubernetes `storage/cacher`: events of one kind rise in version; an object that comes into a selector is added, one
//! that leaves it is deleted, at the version of that change; who asks for what is no longer kept is told that it is gone
//! (410), who asks for what is not there yet that it is too large.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::store::is_selected;
use super::{Call, Key};

/// Changes that are kept.
const KEPT_MAX: usize = 20_000;

/// A change of an object; `Null` where it was not there before, or is not after.
#[derive(Clone, Debug)]
struct Change {
    version: u64,
    key: Key,
    before: Value,
    after: Value,
}

/// Changes, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    changes: VecDeque<Change>,
    /// All that came after this version is kept.
    from: u64,
    /// Rings with every change.
    pub(super) bell: Arc<Notify>,
}

impl History {
    pub(super) fn note(&mut self, version: u64, key: &Key, before: Value, after: Value) {
        self.changes.push_back(Change { version, key: key.clone(), before, after });
        if self.changes.len() > KEPT_MAX {
            self.from = self.changes.pop_front().map_or(self.from, |oldest| oldest.version);
        }
        self.bell.notify_waiters();
    }

    /// Keeps nothing that is older than `version`, as after a compaction.
    pub(crate) fn forget(&mut self, version: u64) {
        self.changes.clear();
        self.from = version;
    }

    /// Whether everything after a version is known.
    pub(crate) fn reaches(&self, version: u64) -> bool {
        version >= self.from
    }

    /// Events of what a watch asks for, after a version.
    pub(super) fn events(&self, call: &Call, after: u64) -> Vec<Value> {
        let begin = self.changes.partition_point(|change| change.version <= after);
        self.changes.range(begin..).filter_map(|change| event(change, call)).collect()
    }
}

fn event(change: &Change, call: &Call) -> Option<Value> {
    let (group, resource, namespace, _) = &change.key;
    if *group != call.group || *resource != call.resource || call.namespace.as_ref().is_some_and(|of| of != namespace) {
        return None;
    }
    let is_meant = |object: &Value| !object.is_null() && is_selected(object, call.asks("labelSelector"));
    let (kind, mut object) = match (is_meant(&change.before), is_meant(&change.after)) {
        (false, false) => return None,
        (false, true) => ("ADDED", change.after.clone()),
        (true, true) => ("MODIFIED", change.after.clone()),
        (true, false) => ("DELETED", change.before.clone()),
    };
    object["metadata"]["resourceVersion"] = change.version.to_string().into();
    Some(json!({ "type": kind, "object": object }))
}
