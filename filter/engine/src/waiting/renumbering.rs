//! Those that wait when another table comes into force: keys and tenants have other numbers then.

use alloc::vec::Vec;

use forebay_admission::queue::{Bounds, Room, Settings};
use forebay_admission::{Entry, Nanos, Queue};

use super::{Awaited, Need, Waiter, Waiting};
use crate::keys::Keys;

impl Waiting {
    /// Another table is in force: everything is tried again, under the new numbers of keys and tenants.
    pub(crate) fn renumber(&mut self, old: &Keys, new: &Keys, now: Nanos) {
        let same = old.keys.len() == new.keys.len()
            && old.keys.iter().zip(&new.keys).all(|(old, new)| old.state_key == new.state_key);
        if same {
            self.queue.wake_all();
            return;
        }
        let mut waiters: Vec<Waiter> = core::mem::take(&mut self.waiters).into_values().collect();
        waiters.sort_by_key(|waiter| (waiter.entry.arrival, waiter.entry.stream));
        self.queue = Queue::new(Settings { patience: self.patience, ..unbounded() });
        self.awaited.clear();
        for mut waiter in waiters {
            let row = match &*waiter.tenant {
                [] => new.row(old.tenant(waiter.row).as_bytes()),
                name => new.row(name),
            };
            // Slots stay behind the keys, and go by the number of their resource.
            let slot = |key: usize| key.checked_sub(old.keys.len()).map(|slot| new.keys.len() + slot);
            let need = match waiter.need {
                Need::Slot { .. } => waiter.need,
                Need::Key(key) => {
                    let is_for = |resource: usize| match slot(key) {
                        Some(slot) => new.named(slot) == resource,
                        None => old.key(waiter.row, resource) == key,
                    };
                    let waits_for = waiter.costs.iter().find(|(resource, _)| is_for(*resource));
                    Need::Key(waits_for.map_or(0, |(resource, _)| new.key(row, *resource)))
                }
            };
            let tenant = waiter.entry.tenant;
            let tenant = slot(tenant).filter(|_| row == 0).unwrap_or(row);
            waiter.row = row;
            waiter.need = need;
            waiter.entry = Entry { tenant, key: need.line(), ..waiter.entry };
            if self.queue.push(waiter.entry, now).is_err() {
                // Its deadline has come meanwhile.
                self.displaced.push(waiter);
                continue;
            }
            self.awaited.entry(need).or_insert(Awaited { streams: 0, until: now }).streams += 1;
            self.waiters.insert(waiter.entry.stream, waiter);
        }
    }
}

/// For streams that have met their bounds before.
fn unbounded() -> Settings {
    let room = Room { streams: u64::MAX, bytes: u64::MAX };
    Settings { bounds: Bounds { vm: room, tenant: room, connection: room }, ..Settings::default() }
}
