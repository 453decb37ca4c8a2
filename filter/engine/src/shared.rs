//! What lies in shared data, under which name, in which bytes.
//!
//! | key | value | who writes |
//! |---|---|---|
//! | `fb1/boot` | born (steady ns), boot id | the first VM of a process |
//! | `fb1/member` | last member number given out | every VM once |
//! | `fb1/members` | serving VMs and when each was last seen | serving VMs, each second |
//! | `fb1/leader` | member, until (steady ns) | the leader |
//! | `fb1/version` | generation, expiry, bank and parts of the table in force | the leader |
//! | `fb1/table/<bank>/<part>` | arrival (steady ns) and the answer's bytes as they came | the leader |
//! | `fb1/k/<tenant>\0<resource>` | a key's buckets | every VM that draws a lease |
//! | `fb1/c/<tenant>\0<resource>` | a key's cumulative counts | every VM, when it hands over its counts |
//! | `fb1/h/<tenant>\0<resource>` | the part of its demand that is hostile, cumulative | the same, where a rule is marked |
//! | `fb1/slots` | id, start and end (steady ns) of the slots around now | the leader |
//! | `fb1/p/<pool>` | what a pool has lent | every VM that borrows from it or draws a reservation of it |
//! | `fb1/seed` | 16 random bytes | the first VM that gives strangers slots |
//! | `fb1/s/<resource>\0<set>` | eight slots of tenants without contract | every VM that seats or draws for one |
//! | `fb1/guarded` | the names of guarded clusters, each with a NUL behind | every VM that sees a new one |
//! | `fb1/g/<number>` | a guarded cluster's limit and slots, by place in that list | every VM with requests in flight there |
//! | `fb1/sync` | cumulative counters of the sync path | the leader |
//!
//! The prefix holds the layout's version. Keys cannot be deleted on Envoy, so their number is bounded by what the
//! operator contracted and by the slots of [`strangers`](crate::strangers) and of [`guard`](crate::guard), never by what clients send. Records are rows
//! of 64-bit little-endian words.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::Nanos;
use forebay_protocol::{Count, Generation, SyncStats};

pub(crate) const BOOT: &str = "fb1/boot";
pub(crate) const MEMBER: &str = "fb1/member";
pub(crate) const MEMBERS: &str = "fb1/members";
pub(crate) const LEADER: &str = "fb1/leader";
pub(crate) const VERSION: &str = "fb1/version";
pub(crate) const SYNC: &str = "fb1/sync";
pub(crate) const GUARDED: &str = "fb1/guarded";
pub(crate) const SLOTS: &str = "fb1/slots";

/// Name of a key's bucket state.
pub fn state_key(tenant: &str, resource: &str) -> String {
    format!("fb1/k/{tenant}\0{resource}")
}

/// Name of a key's counters.
pub fn count_key(tenant: &str, resource: &str) -> String {
    format!("fb1/c/{tenant}\0{resource}")
}

/// Name of a key's hostile counts. They have a record of their own because the end of [`count_key`]'s is its attributes',
/// however many a policy has, and workers of builds without this one write that too.
pub(crate) fn hostile_key(tenant: &str, resource: &str) -> String {
    format!("fb1/h/{tenant}\0{resource}")
}

pub(crate) fn guard_key(cluster: usize) -> String {
    format!("fb1/g/{cluster}")
}

/// Name of a pool's state.
pub fn pool_key(pool: &str) -> String {
    format!("fb1/p/{pool}")
}

pub(crate) fn table_key(bank: u64, part: u64) -> String {
    format!("fb1/table/{bank}/{part}")
}

/// The record of what is hostile, read; nothing where there is none.
pub(crate) fn hostile_of(bytes: &[u8]) -> Count {
    let mut words = words(bytes);
    let mut next = || words.next().unwrap_or(0);
    Count { requests: next(), units: next() }
}

/// The same record with `more`.
pub(crate) fn hostile_after(bytes: Option<&[u8]>, more: Count) -> Vec<u8> {
    let before = hostile_of(bytes.unwrap_or_default());
    encode_words(&[before.requests.saturating_add(more.requests), before.units.saturating_add(more.units)])
}

/// Words to bytes.
pub(crate) fn encode_words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Bytes to words; a rest of less than a word is ignored.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes)
}

fn record<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    if bytes.len() != N * 8 {
        return None;
    }
    let mut record = [0; N];
    for (slot, word) in record.iter_mut().zip(words(bytes)) {
        *slot = word;
    }
    Some(record)
}

/// When this process's shared data came into being, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) born: Nanos,
    pub(crate) id: u64,
}

impl Boot {
    pub(crate) fn encode(self) -> Vec<u8> {
        encode_words(&[self.born.0, self.id])
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [born, id] = record(bytes)?;
        Some(Self { born: Nanos(born), id })
    }
}

/// Which table is in force and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) generation: Generation,
    pub(crate) expires_at: Nanos,
    pub(crate) bank: u64,
    pub(crate) parts: u64,
}

impl Version {
    /// The generation of the table in force; `None` on the fallback policy.
    pub(crate) fn in_force(&self) -> Option<Generation> {
        (self.parts > 0).then_some(self.generation)
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let Generation { shard, epoch, sequence } = self.generation;
        encode_words(&[u64::from(shard), epoch, sequence, self.expires_at.0, self.bank, self.parts])
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [shard, epoch, sequence, expires_at, bank, parts] = record(bytes)?;
        let generation = Generation { shard: u32::try_from(shard).ok()?, epoch, sequence };
        Some(Self { generation, expires_at: Nanos(expires_at), bank, parts })
    }
}

/// Who leads, until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) member: u64,
    pub(crate) until: Nanos,
}

impl Leadership {
    pub(crate) fn encode(self) -> Vec<u8> {
        encode_words(&[self.member, self.until.0])
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [member, until] = record(bytes)?;
        Some(Self { member, until: Nanos(until) })
    }
}

/// The id of the slot that `now` lies in, of the record at [`SLOTS`]; 0 when none is known.
pub(crate) fn slot_at(slots: &[u8], now: Nanos) -> u64 {
    let mut words = words(slots);
    while let (Some(id), Some(start), Some(end)) = (words.next(), words.next(), words.next()) {
        if (start..end).contains(&now.0) {
            return id;
        }
    }
    0
}

pub(crate) fn encode_sync_stats(stats: &SyncStats) -> Vec<u8> {
    encode_words(&[
        stats.undecodable_answers,
        stats.oversized_answers,
        stats.stale_tables,
        stats.failed_calls,
        stats.tables_applied,
    ])
}

pub(crate) fn decode_sync_stats(bytes: &[u8]) -> Option<SyncStats> {
    let [undecodable_answers, oversized_answers, stale_tables, failed_calls, tables_applied] = record(bytes)?;
    Some(SyncStats { undecodable_answers, oversized_answers, stale_tables, failed_calls, tables_applied })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_round_trip_and_refuse_other_lengths() {
        let version = Version {
            generation: Generation { shard: 1, epoch: 2, sequence: 3 },
            expires_at: Nanos(4),
            bank: 1,
            parts: 5,
        };
        assert_eq!(Version::decode(&version.encode()), Some(version));
        assert_eq!(Version::decode(&version.encode()[1..]), None);
        let leadership = Leadership { member: 1, until: Nanos(2) };
        assert_eq!(Leadership::decode(&leadership.encode()), Some(leadership));
        let boot = Boot { born: Nanos(1), id: 2 };
        assert_eq!(Boot::decode(&boot.encode()), Some(boot));
        let slots = encode_words(&[7, 100, 200, 8, 200, 300]);
        let ids: Vec<_> = [99, 100, 199, 200, 299, 300].iter().map(|at| slot_at(&slots, Nanos(*at))).collect();
        assert_eq!(ids, [0, 7, 7, 8, 8, 0]);
        let stats = SyncStats { stale_tables: 3, ..SyncStats::default() };
        assert_eq!(decode_sync_stats(&encode_sync_stats(&stats)), Some(stats));
    }
}
