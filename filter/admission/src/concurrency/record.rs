//! What a proxy knows of one guarded cluster, as it lies in shared data: 1,600 bytes, fixed, with its own version word.
//!
//! Slots are leased like tokens: a worker draws a few and counts its requests against them locally. The record names
//! every holder and how many slots it has, so that the slots of a VM that crashed come back when its holder has not been
//! seen for [`HOLDER_EXPIRY`]: its requests may never report their end.
//!
//! Slots belong to a band, the lane for which they were drawn; a band's slots serve that lane and the better ones. Of the
//! limit all may go to the reserved lane, and only [`LANE_PERCENT`] of it to each worse lane and those below it together.
//! So when the limit is short the borrowed lane is refused first, then the standard lane, and what pre-allocation covers
//! last. At limits so small that a part rounds to nothing, one slot remains for every lane.

use super::limit::{GuardSettings, Limiter, MIN_SAMPLES, WINDOW, Window};
use crate::queue::LANES;
use crate::units::Nanos;

/// Workers that can hold slots of a cluster at a time. Envoy has one per core; a worker beyond is refused every slot.
pub const MAX_HOLDERS: usize = 64;

/// Largest limit, in slots: what a holder has must fit 16 bits in any band.
pub const MAX_SLOTS: u16 = 10_000;

/// After how many nanoseconds unseen a holder has lost its slots: three times the second after which a busy worker must
/// have synchronised, as the leader's lease.
pub const HOLDER_EXPIRY: u64 = 3 * Nanos::SECOND;

/// Part of the limit that a lane and the worse ones may have together, in percent: reserved, standard, borrowed.
pub const LANE_PERCENT: [u64; LANES] = [100, 90, 75];

/// Size of an encoded record in bytes.
pub const CLUSTER_STATE_BYTES: usize = 8 * (HEAD_WORDS + HOLDER_WORDS * MAX_HOLDERS);

const HEAD_WORDS: usize = 8;
const HOLDER_WORDS: usize = 3;
const LAYOUT: u64 = 1;

/// A worker's slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Who; 0 for nobody.
    pub id: u64,
    /// Slots by band.
    pub slots: [u16; LANES],
    /// Most requests in flight at a time in this window.
    pub peak: u16,
    /// When it last came.
    pub seen: Nanos,
}

impl Holder {
    fn total(&self) -> u64 {
        self.slots.iter().map(|slots| u64::from(*slots)).sum()
    }
}

/// The record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterState {
    /// The limit.
    pub limiter: Limiter,
    /// The running window.
    pub window: Window,
    /// Its earliest end.
    pub window_end: Nanos,
    /// Who has slots.
    pub holders: [Holder; MAX_HOLDERS],
}

impl ClusterState {
    /// A cluster that nobody has used yet.
    pub fn new(settings: &GuardSettings, now: Nanos) -> Self {
        Self {
            limiter: Limiter::new(settings),
            window: Window::default(),
            window_end: now.plus(WINDOW),
            holders: [Holder::default(); MAX_HOLDERS],
        }
    }

    /// Slots that are held.
    pub fn leased(&self) -> u64 {
        self.leased_from(0)
    }

    /// Workers that hold slots or are known, at least 1.
    pub fn workers(&self) -> u64 {
        (self.holders.iter().filter(|holder| holder.id != 0).count() as u64).max(1)
    }

    /// Slots that may still be drawn for the lane of this rank.
    pub fn free(&self, rank: usize) -> u64 {
        let limit = self.limiter.slots();
        let rooms = LANE_PERCENT
            .iter()
            .enumerate()
            .take(rank.saturating_add(1))
            .map(|(band, percent)| part(limit, *percent).saturating_sub(self.leased_from(band)));
        rooms.min().unwrap_or(0)
    }

    /// Slots of a band that are held.
    pub fn held_in(&self, band: usize) -> u64 {
        let slots = self.holders.iter().filter_map(|holder| holder.slots.get(band));
        slots.map(|slots| u64::from(*slots)).sum()
    }

    /// By band, how many of the slots that are held must go before every lane is within its part of the limit again, the
    /// worst bands first.
    pub fn excess(&self) -> [u64; LANES] {
        let limit = self.limiter.slots();
        let (mut excess, mut gone) = ([0; LANES], 0u64);
        for (band, (much, percent)) in excess.iter_mut().zip(LANE_PERCENT).enumerate().rev() {
            let stays = self.leased_from(band).saturating_sub(gone);
            *much = stays.saturating_sub(part(limit, percent)).min(self.held_in(band));
            gone = gone.saturating_add(*much);
        }
        excess
    }

    /// Takes back the slots of holders that have not been seen for [`HOLDER_EXPIRY`].
    pub fn reap(&mut self, now: Nanos) {
        for holder in &mut self.holders {
            if holder.id != 0 && now.since(holder.seen) >= HOLDER_EXPIRY {
                *holder = Holder::default();
            }
        }
    }

    /// The row of `id`, a free one if it has none; `None` when all are taken.
    pub fn holder(&mut self, id: u64) -> Option<&mut Holder> {
        let known = self.holders.iter().position(|holder| holder.id == id);
        let row = known.or_else(|| self.holders.iter().position(|holder| holder.id == 0))?;
        let holder = self.holders.get_mut(row)?;
        holder.id = id;
        Some(holder)
    }

    /// Adds a worker's measurements, and adapts the limit when the window is over.
    pub fn measure(&mut self, settings: &GuardSettings, window: &Window, now: Nanos) {
        self.window.merge(window);
        if now >= self.window_end && self.window.count >= MIN_SAMPLES {
            let in_flight = self.holders.iter().map(|holder| u64::from(holder.peak)).sum();
            self.limiter.adapt(settings, &self.window, in_flight);
            self.window = Window::default();
            self.window_end = now.plus(WINDOW);
            for holder in &mut self.holders {
                holder.peak = 0;
            }
        }
    }

    /// The bytes, little endian.
    pub fn encode(&self) -> [u8; CLUSTER_STATE_BYTES] {
        let Limiter { limit_milli, long_ns, above } = self.limiter;
        let Window { count, sum_ns, min_ns } = self.window;
        let head = [LAYOUT, limit_milli, long_ns, above, count, sum_ns, min_ns, self.window_end.0];
        let rows = self.holders.iter().flat_map(|holder| {
            let [reserved, standard, borrowed] = holder.slots.map(u64::from);
            let packed = reserved | standard << 16 | borrowed << 32 | u64::from(holder.peak) << 48;
            [holder.id, packed, holder.seen.0]
        });
        let mut bytes = [0; CLUSTER_STATE_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(head.into_iter().chain(rows)) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads a record; `None` for anything that [`ClusterState::encode`] of this layout did not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != CLUSTER_STATE_BYTES {
            return None;
        }
        let mut words = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes);
        let mut next = || words.next();
        if next()? != LAYOUT {
            return None;
        }
        let limiter = Limiter { limit_milli: next()?, long_ns: next()?, above: next()? };
        let window = Window { count: next()?, sum_ns: next()?, min_ns: next()? };
        let window_end = Nanos(next()?);
        let mut holders = [Holder::default(); MAX_HOLDERS];
        for holder in &mut holders {
            let (id, packed, seen) = (next()?, next()?, Nanos(next()?));
            let part = |shift: u32| (packed >> shift) as u16;
            *holder = Holder { id, slots: [part(0), part(16), part(32)], peak: part(48), seen };
        }
        Some(Self { limiter, window, window_end, holders })
    }

    fn leased_from(&self, band: usize) -> u64 {
        self.holders.iter().map(|holder| holder.total_from(band)).sum()
    }
}

/// At limits so small that a part rounds to nothing, one slot remains.
fn part(limit: u64, percent: u64) -> u64 {
    (limit.saturating_mul(percent) / 100).max(1)
}

impl Holder {
    fn total_from(&self, band: usize) -> u64 {
        if band == 0 {
            return self.total();
        }
        self.slots.iter().skip(band).map(|slots| u64::from(*slots)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_and_refuses_what_it_did_not_write() {
        let mut state = ClusterState::new(&GuardSettings::default(), Nanos(5));
        state.limiter = Limiter { limit_milli: 20_001, long_ns: 2, above: 3 };
        state.window = Window { count: 4, sum_ns: 5, min_ns: 6 };
        for id in 1..=MAX_HOLDERS as u64 {
            let holder = state.holder(id).unwrap();
            (holder.slots, holder.peak, holder.seen) = ([1, 2, 30_000], 65_535, Nanos(id));
        }
        let bytes = state.encode();
        assert_eq!(bytes.len(), 1_600);
        assert_eq!(ClusterState::decode(&bytes), Some(state));
        assert_eq!(ClusterState::decode(&bytes[1..]), None);
        let mut other = bytes;
        other[0] = 9;
        assert_eq!(ClusterState::decode(&other), None);
        assert!(state.holder(99).is_none(), "more workers than rows");
        state.reap(Nanos(HOLDER_EXPIRY + 2));
        assert_eq!(state.workers(), 62, "two were not seen for too long");
    }

    #[test]
    fn the_lowest_lane_is_refused_first() {
        let mut state = ClusterState::new(&GuardSettings { start: 100, ..GuardSettings::default() }, Nanos(0));
        let mut with = |slots| {
            state.holder(1).unwrap().slots = slots;
            [state.free(0), state.free(1), state.free(2)]
        };
        assert_eq!(with([0, 0, 0]), [100, 90, 75]);
        assert_eq!(with([0, 0, 75]), [25, 15, 0]);
        assert_eq!(with([0, 15, 75]), [10, 0, 0]);
        assert_eq!(with([95, 0, 0]), [5, 5, 5]);
        assert_eq!(with([10, 15, 75]), [0, 0, 0]);
    }

    #[test]
    fn what_is_too_much_goes_from_the_worst_band() {
        let mut state = ClusterState::new(&GuardSettings { start: 100, ..GuardSettings::default() }, Nanos(0));
        state.holder(1).unwrap().slots = [6, 10, 40];
        state.holder(2).unwrap().slots = [4, 5, 35];
        assert_eq!(state.excess(), [0, 0, 0]);
        state.limiter.limit_milli = 80_000;
        assert_eq!(state.excess(), [2, 3, 15], "75 % of 80 are 60, 90 % are 72");
        state.limiter.limit_milli = 5_000;
        assert_eq!(state.excess(), [9, 14, 72]);
    }
}
