//! What a worker takes over from shared data: the boot, its number, and the table in force.

use alloc::sync::Arc;
use alloc::vec::Vec;

use forebay_admission::{Account, Grant, KeyState, Ledger, Nanos, Pool, PoolState, lease_cap};

use super::{Worker, conditions};
use crate::effect::Effect;
use crate::host::{Expected, Host, replace};
use crate::leader::Leader;
use crate::shared::{self, Boot, Version};
use crate::strangers::{OwnBuckets, Strangers, join_seed};
use crate::table::{self, KeyGrant};

impl Worker {
    /// Finds the process's shared data, or starts it; takes a member number the first time.
    pub(super) fn join(&mut self, host: &mut impl Host) {
        let found = host.shared_get(shared::BOOT).and_then(|(bytes, _)| Boot::decode(&bytes));
        let boot = found.or_else(|| {
            let mine = Boot { born: host.now(), id: host.wall_nanos() };
            // Whoever is first wins; the loser takes what is there.
            let _ = host.shared_set(shared::BOOT, &mine.encode(), Expected::Absent);
            host.shared_get(shared::BOOT).and_then(|(bytes, _)| Boot::decode(&bytes))
        });
        if boot.is_some() && boot != self.boot {
            self.boot = boot;
            self.member = None;
            self.leader = Leader::default();
            for key in &mut self.keys.keys {
                key.reported = 0;
            }
            self.keys.set_slots(None);
        }
        if self.keys.own_buckets && self.keys.strangers.is_none() {
            self.give_slots(host);
        }
        if self.member.is_none() {
            let mut number = None;
            let taken = replace(host, shared::MEMBER, |last| {
                let next = last.and_then(|bytes| shared::words(bytes).next()).unwrap_or(0).saturating_add(1);
                number = Some(next);
                Some(shared::encode_words(&[next]))
            });
            self.member = number.filter(|_| taken.is_ok());
        }
    }

    /// Makes the slots of tenants without contract, when shared data has or takes a seed.
    fn give_slots(&mut self, host: &mut impl Host) {
        let resources = self.config.policy.resources.iter().enumerate().filter(|(_, resource)| resource.each);
        let own = resources.map(|(rule, resource)| OwnBuckets {
            rule,
            resource: resource.name.clone(),
            limit: resource.others,
        });
        let random = host.random();
        let seed = join_seed(host, random);
        let strangers = seed.and_then(|seed| Strangers::new(seed, own.collect(), self.keys.keys.len(), host.now()));
        self.keys.set_slots(strangers);
    }

    /// Takes the table into force that shared data names, when it is another one.
    pub(super) fn follow_version(&mut self, host: &mut impl Host, effects: &mut Vec<Effect>) {
        let Some(version) = host.shared_get(shared::VERSION).and_then(|(bytes, _)| Version::decode(&bytes)) else {
            return;
        };
        if version.generation == self.version.generation {
            self.version = version;
            return;
        }
        // A part that is being overwritten by a newer table does not carry this generation: next tick.
        let Some(grants) = read_table(&version, host) else { return };
        self.hand_over_counts(host, effects);
        let (new, relimited) = self.keys.rebuilt(&self.config, &grants);
        self.settle_levels(&relimited, host);
        if let Some(settling) = self.settling.get_mut() {
            settling.renumber(&self.keys.keys, &new.keys);
        }
        let old = core::mem::replace(&mut self.keys, new);
        self.settle_pools(host);
        if let Some(waiting) = self.streams.waiting.get_mut() {
            waiting.renumber(&old, &self.keys, host.now());
        }
        self.version = version;
        effects.extend(self.over_admission_bound());
    }

    /// Brings the buckets of keys whose limit changes up to date under the old one. A bucket is refilled when it is looked
    /// at, so without this a raised share would be credited for the time before it was granted.
    fn settle_levels(&self, relimited: &[(usize, Grant)], host: &mut impl Host) {
        let now = host.now();
        let conditions = conditions(self.boot, &self.version, self.workers, &self.pools, now);
        for (index, before) in relimited {
            let Some(key) = self.keys.keys.get(*index) else { continue };
            let before = if now < conditions.valid_until { before.standard } else { before.safe };
            // After a lost race somebody else has just brought it up to date.
            let _ = replace(host, &key.state_key, |bytes| {
                let known = bytes.and_then(KeyState::decode);
                let mut state = known.unwrap_or_else(|| KeyState::at_boot(before, conditions.born));
                state.refill(before, now);
                Some(state.encode().to_vec())
            });
        }
    }

    /// The most that all workers together can hold of one key, or of one pool, that its bucket leaves no room for, as a
    /// metric: a request each, or what settlement may put back into leases. A worker that does not serve does not know how
    /// many do, and says nothing.
    pub(super) fn over_admission_bound(&self) -> Option<Effect> {
        if self.workers == u64::MAX {
            return None;
        }
        let bound = |limit: u64| lease_cap(limit, self.workers, 1).saturating_mul(self.workers);
        let contracted = self.keys.accounts.iter().take(self.keys.keys.len());
        let keys = contracted.map(|account| bound(account.grant().standard.burst));
        let pools = self.pools.iter().map(|pool| bound(pool.debt()).saturating_add(bound(pool.overcommit().burst)));
        Some(Effect::OverAdmissionBound(keys.chain(pools).max().unwrap_or(0)))
    }

    /// Takes the reservations of the keys into the pools. What a pool has left is brought up to date under the old ones
    /// first, because it is refilled when it is looked at.
    fn settle_pools(&mut self, host: &mut impl Host) {
        let (now, born) = (host.now(), self.boot.map(|boot| boot.born));
        let new: Arc<[Pool]> = self.keys.pools(&self.config).into();
        let old = core::mem::replace(&mut self.pools, new);
        let changed = old.iter().zip(&*self.pools).enumerate().filter(|(_, (old, new))| old != new);
        for (number, (old, _)) in changed {
            // After a lost race somebody else has just brought it up to date.
            let _ = self.keys.open(host).1.replace_pool(number, &mut |state| {
                let mut state = state.unwrap_or_else(|| PoolState::at_boot(old, born.unwrap_or(now)));
                state.give_back(old, 0, now);
                Some(state)
            });
        }
        if old != self.pools {
            // A member whose own grant is the same may remember that there is nothing to borrow.
            let accounts = self.keys.accounts.iter_mut();
            accounts.filter(|account| account.grant().pool.is_some()).for_each(Account::look_again);
        }
    }
}

/// The whole table that `version` names; `None` while any part is missing or belongs to another one.
fn read_table(version: &Version, host: &mut impl Host) -> Option<Vec<KeyGrant>> {
    let mut all = Vec::new();
    for part in 0..version.parts {
        let (bytes, _) = host.shared_get(&shared::table_key(version.bank, part))?;
        let (arrived, message) = bytes.split_first_chunk::<8>()?;
        let forebay_protocol::Message::GrantTable(read) = forebay_protocol::decode(message).ok()? else { return None };
        if read.generation != version.generation || u64::from(read.part) != part {
            return None;
        }
        all.extend(table::grants(&read, Nanos(u64::from_le_bytes(*arrived)))?);
        if all.len() > table::MAX_KEYS {
            return None;
        }
    }
    Some(all)
}
