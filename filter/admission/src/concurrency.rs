//! The concurrency guard of an upstream cluster: a limit of requests in flight that follows the measured latency.
//!
//! The intuition: a token bucket protects the contract, not the upstream, which may be slower today than yesterday. What
//! an upstream can bear shows in its latency, and what it is bearing is the number of requests in flight. `limit` says how
//! the limit moves, `record` what the workers of a proxy share; this file is one worker's side.
//!
//! Requests count against *slots* that the worker draws from the shared record in small batches ([`batch`]) and returns
//! when idle, so that on a busy cluster shared data is touched once per batch and once per tick, not per request. A band
//! of slots is idle when nothing began in it for [`IDLE`], whatever goes on in the others.
//!
//! **Few slots** ([`FEW_SLOTS`]) go one by one, as small buckets do: one that a worker kept for its next request would be
//! one that another worker must refuse a better lane. There [`Guard::hands_back`] says when a request has ended, and a
//! lane is refused only while its part of the limit is in flight.
//!
//! **The bound.** In a proxy: requests in flight <= slots held, and no slot is drawn that would take the slots held above
//! the limit. Therefore, while the limit does not fall, in flight <= limit. When it falls, a worker notices at its next
//! [`Guard::sync`], gives all its free slots back, owes its part of what is still too much, worst band first, and gives
//! that back as its requests end, before a slot is used again; nobody draws before the sum is below the new limit. So
//! until every worker has ticked in flight is at most the old limit, from then on it falls as fast as requests end. A VM
//! that crashed frees its slots after [`HOLDER_EXPIRY`], though the upstream may still be busy with them; a VM that was
//! only asleep so long claims the slots of its requests again at its next sync, above the limit if need be. Those two are
//! the only slack, each as large as one worker's requests.
//!
//! A shortage is remembered for [`RECHECK`], so that a flood of refusals does not touch shared data.

use alloc::collections::{BTreeMap, BTreeSet};

mod limit;
mod record;

pub use limit::{GROWTH_PERCENT, GuardSettings, Limiter, MILLI_SLOTS, MIN_SAMPLES, Strategy, WINDOW, Window, growth};
pub use record::{CLUSTER_STATE_BYTES, ClusterState, HOLDER_EXPIRY, Holder, LANE_PERCENT, MAX_HOLDERS, MAX_SLOTS};

use crate::dry::RECHECK;
use crate::lease::{IDLE, LEASED_PERCENT};
use crate::ledger::Contended;
use crate::queue::LANES;
use crate::units::Nanos;

/// Most requests given up in one [`Guard::sync`].
pub const REAP_BATCH: usize = 64;

/// Longest time in nanoseconds between two looks at the record of a worker that holds slots: a third of
/// [`HOLDER_EXPIRY`].
pub const RENEW: u64 = HOLDER_EXPIRY / 3;

/// A limit below so many slots for each worker is too small to keep any. With 4 a slot is more than a quarter of what a
/// worker has on average; above, the two writes per request would cost more than what is kept.
pub const FEW_SLOTS: u64 = 4;

/// Where the [`ClusterState`]s are; the same contract as [`crate::Ledger`].
pub trait GuardLedger {
    /// Replaces the state of `cluster` by what `change` makes of it; see [`crate::Ledger::replace`].
    ///
    /// # Errors
    /// [`Contended`] when every one of a bounded number of tries lost.
    fn replace(
        &mut self,
        cluster: usize,
        change: &mut dyn FnMut(Option<ClusterState>) -> Option<ClusterState>,
    ) -> Result<(), Contended>;
}

/// No slot for this lane: refuse, or wait at least until `retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// When it is worth asking again.
    pub retry: Nanos,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The upstream answered (or timed out): its latency counts.
    Measured,
    /// It says nothing about the upstream: a client reset, a local answer.
    Ignored,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    band: usize,
    start: Nanos,
    /// Its latency is in the window already.
    measured: bool,
}

/// One worker's side of the guard of one cluster.
#[derive(Clone, Debug)]
pub struct Guard {
    settings: GuardSettings,
    id: u64,
    held: [u16; LANES],
    used: [u16; LANES],
    /// Slots that are not used again when their requests end.
    owed: [u16; LANES],
    flights: BTreeMap<u32, Flight>,
    by_start: BTreeSet<(Nanos, u32)>,
    window: Window,
    peak: u16,
    dry_until: [Nanos; LANES],
    last_begin: [Nanos; LANES],
    synced: Nanos,
    proxy: Proxy,
    /// Whether the record has slots that this worker no longer holds.
    unsaid: bool,
}

/// What the record last said.
#[derive(Clone, Copy, Debug)]
struct Proxy {
    limit_slots: u64,
    workers: u64,
}

impl Proxy {
    fn of(state: &ClusterState) -> Self {
        Self { limit_slots: state.limiter.slots(), workers: state.workers() }
    }

    fn has_few_slots(self) -> bool {
        self.limit_slots < FEW_SLOTS.saturating_mul(self.workers)
    }
}

impl Guard {
    /// A worker without slots. `id` names this incarnation of this VM among all of the proxy, and is not 0.
    pub fn new(settings: GuardSettings, id: u64) -> Self {
        Self {
            settings,
            id: id.max(1),
            held: [0; LANES],
            used: [0; LANES],
            owed: [0; LANES],
            flights: BTreeMap::new(),
            by_start: BTreeSet::new(),
            window: Window::default(),
            peak: 0,
            dry_until: [Nanos(0); LANES],
            last_begin: [Nanos(0); LANES],
            synced: Nanos(0),
            proxy: Proxy { limit_slots: Limiter::new(&settings).slots(), workers: 1 },
            unsaid: false,
        }
    }

    /// Requests of this worker in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Slots that this worker holds.
    pub fn held(&self) -> u64 {
        self.held.iter().map(|slots| u64::from(*slots)).sum()
    }

    /// The limit of the whole proxy, as last seen.
    pub fn limit(&self) -> u64 {
        self.proxy.limit_slots
    }

    /// A request of the lane with this rank (0 reserved, 1 standard, 2 borrowed) wants to go upstream. A stream that is in
    /// flight already keeps its slot.
    ///
    /// # Errors
    /// [`Short`] when this lane's part of the limit is used up, or every compare-and-set race was lost.
    pub fn begin(
        &mut self,
        cluster: usize,
        stream: u32,
        rank: usize,
        now: Nanos,
        ledger: &mut impl GuardLedger,
    ) -> Result<(), Short> {
        if self.flights.contains_key(&stream) {
            return Ok(());
        }
        let rank = rank.min(LANES - 1);
        let band = match self.free_band(rank) {
            Some(band) => band,
            None => self.draw(cluster, rank, now, ledger)?,
        };
        if let Some(used) = self.used.get_mut(band) {
            *used = used.saturating_add(1);
        }
        self.flights.insert(stream, Flight { band, start: now, measured: false });
        self.by_start.insert((now, stream));
        self.peak = self.peak.max(u16::try_from(self.flights.len()).unwrap_or(u16::MAX));
        if let Some(last_begin) = self.last_begin.get_mut(band) {
            *last_begin = now;
        }
        Ok(())
    }

    /// The upstream's answer to a request begins: the time until now is its latency. It stays in flight until
    /// [`Guard::end`]; saying it again changes nothing.
    pub fn answered(&mut self, stream: u32, now: Nanos) {
        if let Some(flight) = self.flights.get_mut(&stream).filter(|flight| !flight.measured) {
            flight.measured = true;
            self.window.add(now.since(flight.start));
        }
    }

    /// Whether a request of the lane with this rank would be refused without a look at the record, and until when.
    pub fn short(&self, rank: usize, now: Nanos) -> Option<Nanos> {
        let dry_until = self.dry_until.get(rank.min(LANES - 1)).copied().filter(|until| now < *until)?;
        self.free_band(rank).is_none().then_some(dry_until)
    }

    /// A request is over. Unknown streams (given up before, never begun) are ignored.
    pub fn end(&mut self, stream: u32, ending: Ending, now: Nanos) {
        let Some(flight) = self.flights.remove(&stream) else { return };
        self.by_start.remove(&(flight.start, stream));
        if let Some(used) = self.used.get_mut(flight.band) {
            *used = used.saturating_sub(1);
        }
        if let (Some(owed @ 1..), Some(held)) = (self.owed.get_mut(flight.band), self.held.get_mut(flight.band)) {
            *owed -= 1;
            *held = held.saturating_sub(1);
            self.unsaid = true;
        }
        if ending == Ending::Measured && !flight.measured {
            self.window.add(now.since(flight.start));
        }
    }

    /// Whether there are so few slots that those of requests that have ended go back at once: then [`Guard::sync`] shall
    /// not wait for the tick.
    pub fn hands_back(&self) -> bool {
        self.proxy.has_few_slots() && (self.unsaid || self.used != self.held)
    }

    /// The tick: gives up requests that never ended, hands over what was measured, renews the slots in use and returns the
    /// others. Touches shared data only when this worker has slots or measurements.
    pub fn sync(&mut self, cluster: usize, now: Nanos, ledger: &mut impl GuardLedger) {
        for _ in 0..REAP_BATCH {
            let oldest = self.by_start.first().copied();
            let Some((_, stream)) = oldest.filter(|(start, _)| now.since(*start) >= self.settings.max_flight_ns) else {
                break;
            };
            self.end(stream, Ending::Ignored, now);
        }
        if self.next_event().is_none() {
            return;
        }
        let mut after = (self.held, self.proxy, self.owed);
        let replaced = ledger.replace(cluster, &mut |state| {
            let mut state = state.unwrap_or_else(|| ClusterState::new(&self.settings, now));
            state.reap(now);
            self.enter(&mut state, self.held, now);
            state.measure(&self.settings, &self.window, now);
            let proxy = Proxy::of(&state);
            let short = state.excess() != [0; LANES] || proxy.has_few_slots();
            let keep = if short { 0 } else { batch(proxy.limit_slots, proxy.workers) };
            let kept = core::array::from_fn(|band| self.kept(band, keep, now));
            self.enter(&mut state, kept, now);
            let excess = state.excess();
            let part = |band: usize| {
                let own = u64::from(kept.get(band).copied().unwrap_or(0));
                let much = excess.get(band).copied().unwrap_or(0).saturating_mul(own);
                let part = much.div_ceil(state.held_in(band).max(1)).min(own);
                u16::try_from(part).unwrap_or(u16::MAX)
            };
            after = (kept, proxy, core::array::from_fn(part));
            Some(state)
        });
        if replaced.is_ok() {
            if after.0 != self.held {
                // What has just gone back can be drawn again.
                self.dry_until = [Nanos(0); LANES];
            }
            (self.held, self.proxy, self.owed) = after;
            self.unsaid = false;
            self.window = Window::default();
            self.peak = u16::try_from(self.flights.len()).unwrap_or(u16::MAX);
            self.synced = now;
        }
    }

    /// When [`Guard::sync`] must come at the latest; `None` while this worker holds nothing and has nothing to say.
    pub fn next_event(&self) -> Option<Nanos> {
        (self.held() > 0 || self.window.count > 0 || self.unsaid).then(|| self.synced.plus(RENEW))
    }

    /// A free slot for this lane, of the worst band first: better bands stay free for better lanes.
    fn free_band(&self, rank: usize) -> Option<usize> {
        let bands = self.held.iter().zip(&self.used).enumerate().skip(rank).rev();
        bands.filter(|(_, (held, used))| used < held).map(|(band, _)| band).next()
    }

    fn draw(&mut self, cluster: usize, rank: usize, now: Nanos, ledger: &mut impl GuardLedger) -> Result<usize, Short> {
        let dry_until = self.dry_until.get(rank).copied().unwrap_or_default();
        if now < dry_until {
            return Err(Short { retry: dry_until });
        }
        let mut after = (self.held, self.proxy, 0);
        let replaced = ledger.replace(cluster, &mut |state| {
            let mut state = state.unwrap_or_else(|| ClusterState::new(&self.settings, now));
            state.reap(now);
            // The record may be older than the settings.
            state.limiter.confine(&self.settings);
            after = (self.held, Proxy::of(&state), 0);
            // Entered first, so that slots of a worker that was asleep for too long count again.
            if !self.enter(&mut state, self.held, now) {
                return None;
            }
            let proxy = Proxy::of(&state);
            let drawn = state.free(rank).min(batch(proxy.limit_slots, proxy.workers));
            let drawn = u16::try_from(drawn).unwrap_or(0);
            let mut held = self.held;
            if let Some(slots) = held.get_mut(rank) {
                *slots = slots.saturating_add(drawn);
            }
            self.enter(&mut state, held, now);
            after = (held, proxy, drawn);
            (drawn > 0).then_some(state)
        });
        if replaced.is_err() {
            return Err(Short { retry: now.plus(Nanos::MILLI) });
        }
        let drawn;
        (self.held, self.proxy, drawn) = after;
        if drawn == 0 {
            let retry = now.plus(RECHECK);
            if let Some(dry_until) = self.dry_until.get_mut(rank) {
                *dry_until = retry;
            }
            return Err(Short { retry });
        }
        (self.synced, self.unsaid) = (now, false);
        Ok(rank)
    }

    /// Writes this worker's row; false when there is none for it.
    fn enter(&self, state: &mut ClusterState, slots: [u16; LANES], now: Nanos) -> bool {
        let Some(holder) = state.holder(self.id) else { return false };
        holder.slots = slots;
        holder.peak = holder.peak.max(self.peak);
        holder.seen = now;
        true
    }

    /// What is kept of a band: the slots in use and, while it is not idle, at most `keep` free ones.
    fn kept(&self, band: usize, keep: u64, now: Nanos) -> u16 {
        let idle = self.last_begin.get(band).is_none_or(|last| now.since(*last) >= IDLE);
        let keep = if idle { 0 } else { keep };
        let held = self.held.get(band).copied().unwrap_or(0);
        let used = self.used.get(band).copied().unwrap_or(0);
        held.min(used.saturating_add(u16::try_from(keep).unwrap_or(u16::MAX)))
    }
}

/// Slots drawn at once: the worker's part of [`LEASED_PERCENT`] of the limit, as with tokens, at least one. So what
/// workers withhold from each other beyond the tick is at most 2 % of the limit, or one slot a worker, in each band; none
/// when there are few.
pub fn batch(limit_slots: u64, workers: u64) -> u64 {
    (limit_slots.saturating_mul(LEASED_PERCENT) / 100).checked_div(workers.max(1)).unwrap_or(0).max(1)
}
