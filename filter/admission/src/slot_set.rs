//! Eight slots for names without contract, as they lie in shared data: 288 bytes, fixed.
//!
//! A fingerprint belongs to exactly one set, and all workers of the proxy change a set by compare-and-set. So finding a
//! name, choosing who gives way, and the level that the newcomer starts with are one atomic step, whatever the number of
//! workers; and the number of keys in shared data is fixed by configuration.
//!
//! **What a newcomer starts with.** Nobody remembers the level of a name that lost its slot. But the set remembers the
//! *ghost*: the poorest that any name which lost a slot here can be by now, a bucket that refills like theirs. A newcomer
//! starts at the ghost's level, because it may be that poorest one. Two bounds follow, and tests hold them:
//! - A name never takes more than a bucket of its own would have given it, however often it loses its slot and comes
//!   back: its level in a slot is never above the level which that bucket would have at the same instant. The instant is
//!   the latest that any worker has written to the set: a worker whose clock lags finds what arrived until then, and the
//!   refill goes on from there, so that lag is never granted twice.
//! - A slot gives never more than one bucket, however many names pass through it: the ghost is at most the level of
//!   whoever gives way, so a replacement never raises a level. All slots together admit at most
//!   `slots x (level at boot + rate x time)`, the level at boot being one second of the rate, at most the burst.
//!
//! In calm times nothing is taken from the honest: a name that gives way after it has refilled leaves the ghost full,
//! and newcomers start with a full bucket. Under churn the ghost is near empty and newcomers start near zero.
//!
//! **Who gives way.** The coolest. Heat counts requests and is halved at every multiple of [`HALF_LIFE`]; a newcomer must
//! have been seen more than twice as often as the coolest ([`Sketch`](crate::sketch::Sketch)), so that names of equal
//! weight do not push each other out in turn.
//!
//! A rule's sets hold names of that rule only, because the ghost is in its units. When the limit changes, levels follow
//! as every bucket's do: the new rate counts from the instant at which they were last written.

use crate::bucket::Bucket;
use crate::fingerprint::Fingerprint;
use crate::sketch::HALF_LIFE;
use crate::units::{Limit, Nanos};

/// Slots in a set. Eight, because with half of all slots in use less than 0.3 % of the names find their set full.
pub const WAYS: usize = 8;

/// Size of an encoded set in bytes.
pub const SLOT_SET_BYTES: usize = (HEAD_WORDS + WAYS * HOLDER_WORDS) * 8;

/// Heat stops here, so that a newcomer whose estimate is at its own limit still beats it.
pub const MAX_HEAT: u16 = u16::MAX / 2;

const LAYOUT: u64 = 0x5331;
const HEAD_WORDS: usize = 4;
const HOLDER_WORDS: usize = 4;

/// Who holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    name: Fingerprint,
    bucket: Bucket,
    heat: u16,
}

/// The slots of one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSet {
    ghost: Bucket,
    /// Multiples of [`HALF_LIFE`] up to which heat is halved.
    cooled: u64,
    holders: [Option<Holder>; WAYS],
}

/// What became of the wish for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The name holds this way already.
    Held(usize),
    /// It holds this way now; the set has changed.
    Entered(usize),
    /// All holders are too hot; an estimate above this would have done.
    Full {
        /// Twice the coolest holder's heat.
        bar: u16,
    },
}

impl SlotSet {
    /// A set that nobody has used since the proxy booted at `born`.
    pub fn at_boot(limit: Limit, born: Nanos) -> Self {
        Self { ghost: Bucket::at_boot(limit, born), cooled: born.0 / HALF_LIFE, holders: [None; WAYS] }
    }

    /// The way that `name` holds.
    pub fn way_of(&self, name: Fingerprint) -> Option<usize> {
        self.holders.iter().position(|holder| holder.is_some_and(|holder| holder.name == name))
    }

    /// Whether `name` holds `way`, and with which bucket.
    pub fn bucket(&self, way: usize, name: Fingerprint) -> Option<Bucket> {
        let holder = (*self.holders.get(way)?)?;
        (holder.name == name).then_some(holder.bucket)
    }

    /// Writes back the bucket of `name`, which holds `way`, with `hits` more requests to its heat. False when it does not
    /// hold it any more; then nothing has changed.
    pub fn update(&mut self, way: usize, name: Fingerprint, bucket: Bucket, hits: u16, now: Nanos) -> bool {
        self.cool(now);
        match self.holders.get_mut(way) {
            Some(Some(holder)) if holder.name == name => {
                holder.bucket = bucket;
                holder.heat = holder.heat.saturating_add(hits).min(MAX_HEAT);
                true
            }
            _ => false,
        }
    }

    /// Finds `name`, or gives it an empty way or the coolest holder's when `estimate` says that it is more than twice as
    /// frequent.
    pub fn claim(&mut self, name: Fingerprint, estimate: u16, limit: Limit, now: Nanos) -> Claim {
        if let Some(way) = self.way_of(name) {
            return Claim::Held(way);
        }
        self.cool(now);
        let heat = |holder: &Option<Holder>| holder.map(|holder| holder.heat);
        let coolest = self.holders.iter_mut().enumerate().min_by_key(|(_, holder)| heat(holder));
        let Some((way, place)) = coolest else { return Claim::Full { bar: u16::MAX } };
        let mut level = self.ghost.level_nano_at(limit, now);
        if let Some(holder) = place {
            let bar = holder.heat.saturating_mul(2);
            if estimate <= bar {
                return Claim::Full { bar };
            }
            level = level.min(holder.bucket.level_nano_at(limit, now));
        }
        // Never earlier than what is stored: a clock that steps back must not refill twice.
        let at = place.map_or(self.ghost.at(), |holder| self.ghost.at().max(holder.bucket.at())).max(now);
        self.ghost = Bucket::new(level, at);
        *place = Some(Holder { name, bucket: self.ghost, heat: estimate.min(MAX_HEAT) });
        Claim::Entered(way)
    }

    fn cool(&mut self, now: Nanos) {
        let epoch = now.0 / HALF_LIFE;
        let halvings = u32::try_from(epoch.saturating_sub(self.cooled)).unwrap_or(u32::MAX);
        for holder in self.holders.iter_mut().flatten() {
            holder.heat = holder.heat.checked_shr(halvings).unwrap_or(0);
        }
        self.cooled = self.cooled.max(epoch);
    }

    /// The bytes, little endian.
    pub fn encode(&self) -> [u8; SLOT_SET_BYTES] {
        let head = [LAYOUT, self.cooled, self.ghost.level_nano(), self.ghost.at().0];
        let holders = self.holders.iter().flat_map(|holder| match holder {
            Some(Holder { name, bucket, heat }) => [name.bits(), bucket.level_nano(), bucket.at().0, u64::from(*heat)],
            None => [0; HOLDER_WORDS],
        });
        let mut bytes = [0; SLOT_SET_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(head.into_iter().chain(holders)) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads a set; `None` for anything that [`SlotSet::encode`] of this layout did not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != SLOT_SET_BYTES {
            return None;
        }
        let mut words = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes);
        let mut next = || words.next();
        if next()? != LAYOUT {
            return None;
        }
        let cooled = next()?;
        let ghost = Bucket::new(next()?, Nanos(next()?));
        let mut holders = [None; WAYS];
        for holder in &mut holders {
            let name = Fingerprint::new(next()?);
            let bucket = Bucket::new(next()?, Nanos(next()?));
            let heat = u16::try_from(next()?).ok()?;
            *holder = name.map(|name| Holder { name, bucket, heat });
        }
        Some(Self { ghost, cooled, holders })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Wait;
    use crate::units::Rate;

    const S: u64 = Nanos::SECOND;

    fn limit() -> Limit {
        Limit::new(Rate::per_s(1), 5)
    }

    fn name(n: u64) -> Fingerprint {
        Fingerprint::new(n).unwrap()
    }

    fn full_set(now: Nanos) -> SlotSet {
        let mut set = SlotSet::at_boot(limit(), Nanos(0));
        for n in 1..=8 {
            assert!(matches!(set.claim(name(n), 2 + n as u16, limit(), now), Claim::Entered(_)));
        }
        set
    }

    #[test]
    fn encodes_and_refuses_what_it_did_not_write() {
        let mut set = full_set(Nanos(3 * S));
        set.holders[3] = None;
        let bytes = set.encode();
        assert_eq!(bytes.len(), 288);
        assert_eq!(SlotSet::decode(&bytes), Some(set));
        assert_eq!(SlotSet::decode(&bytes[..287]), None);
        let mut other = bytes;
        other[1] ^= 1;
        assert_eq!(SlotSet::decode(&other), None, "another layout");
        let mut hot = bytes;
        hot[(HEAD_WORDS + 3) * 8 + 3] = 1;
        assert_eq!(SlotSet::decode(&hot), None, "heat out of range");
    }

    #[test]
    fn the_coolest_gives_way_to_twice_its_heat() {
        let now = Nanos(10 * S);
        let mut set = full_set(now);
        assert_eq!(set.claim(name(5), 1, limit(), now), Claim::Held(4));
        assert_eq!(set.claim(name(9), 6, limit(), now), Claim::Full { bar: 6 });
        assert_eq!(set.claim(name(9), 7, limit(), now), Claim::Entered(0));
        assert_eq!(set.way_of(name(1)), None);
        let later = Nanos(HALF_LIFE);
        assert_eq!(set.claim(name(10), 5, limit(), later), Claim::Entered(1), "heat 4 is 2 by now");
    }

    #[test]
    fn a_newcomer_starts_full_in_calm_times_and_poor_after_a_poor_one_went() {
        let now = Nanos(10 * S);
        let mut set = full_set(now);
        let level = |set: &SlotSet, n, at| {
            let way = set.way_of(name(n)).unwrap();
            set.bucket(way, name(n)).unwrap().available(limit(), at)
        };
        assert_eq!(level(&set, 1, now), 5, "ten seconds after boot the ghost is full");
        set.claim(name(9), 100, limit(), now);
        assert_eq!(level(&set, 9, now), 5, "the one who went was full");
        let mut spent = set.bucket(1, name(2)).unwrap();
        spent.take(limit(), 5, now).unwrap();
        assert!(set.update(1, name(2), spent, 0, now));
        set.claim(name(10), 100, limit(), now);
        assert_eq!(level(&set, 10, now), 0);
        set.claim(name(11), 100, limit(), now.plus(2 * S));
        assert_eq!(level(&set, 11, now.plus(2 * S)), 2, "the ghost refills like a bucket");
        assert!(!set.update(1, name(2), spent, 0, now), "name 2 has lost its way");
    }

    #[test]
    fn a_newcomer_by_a_lagging_clock_stands_at_the_latest_instant_and_gets_nothing_twice() {
        const MS: u64 = Nanos::MILLI;
        let limit = Limit::new(Rate::from_milli_per_s(1_950), 2);
        let mut set = SlotSet::at_boot(limit, Nanos(0));
        // 1.95 at boot, so the ghost is full at 25.64 ms: not yet by the clock of the second name's worker.
        assert_eq!(set.claim(name(1), 2, limit, Nanos(26 * MS)), Claim::Entered(0));
        let lagging = Nanos(25 * MS);
        assert_eq!(set.claim(name(2), 2, limit, lagging), Claim::Entered(1));
        let mut bucket = set.bucket(1, name(2)).unwrap();
        assert_eq!((bucket.at(), bucket.level_nano()), (Nanos(26 * MS), limit.burst_nano()));
        assert_eq!(bucket.take(limit, 2, lagging), Ok(()));
        // One unit takes 512.8 ms, from 26 ms on.
        assert_eq!(bucket.take(limit, 1, lagging), Err(Wait::Until(Nanos(538_820_513))));

        let mut own = Bucket::at_boot(limit, Nanos(0));
        assert_eq!(own.take(limit, 2, lagging), Err(Wait::Until(Nanos(25_641_026))));
        assert_eq!(own.take(limit, 2, Nanos(26 * MS)), Ok(()));
        assert_eq!(own, bucket, "its own bucket, asked at the same instant, is the same from then on");
    }
}
