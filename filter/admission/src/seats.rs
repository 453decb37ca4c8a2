//! One worker's view of a rule's slots: which name has which, and who may ask for one.
//!
//! A slot is a number, `set x 8 + way`, the same in all workers; so the worker keeps an
//! [`Account`](crate::account::Account) per slot, and [`SlotLedger`] is the [`Ledger`] under which a slot number is an
//! account's key. The way of a name:
//! 1. It sits here: its slot, without looking anywhere.
//! 2. Else the [`Sketch`] counts it. At its first sighting ([`DOORKEEPER`]) it goes to the rule's overflow bucket and
//!    shared data is not touched: a flood of names that are used once costs four counters each, and takes nobody's slot.
//! 3. Else it asks its [`SlotSet`]: it may sit there already through another worker, or win a slot. What a full set
//!    answered is remembered for [`ASK_AGAIN`], so that losers do not ask at every request.
//!
//! A worker learns that a name has lost its slot when it next touches the set: to draw, to return a lease or in
//! [`Seats::refresh`]. Until then the name can spend what this worker had leased, which has long left the bucket.
//!
//! Memory is fixed when the seats are made: 10 bytes a slot and 16 a set, beside the accounts.

use alloc::vec;
use alloc::vec::Vec;

use crate::fingerprint::Fingerprint;
use crate::key_state::KeyState;
use crate::ledger::{Contended, Ledger};
use crate::shadow::ShadowState;
use crate::sketch::Sketch;
use crate::slot_set::{Claim, SlotSet, WAYS};
use crate::units::{Limit, Nanos};

/// Most slots of a proxy, all rules together: with an account of 576 bytes each 18 MiB in every VM, and 2.3 MB of
/// shared data.
pub const MAX_SLOTS: usize = 1 << 15;

/// Sightings from which on a name may ask for a slot.
pub const DOORKEEPER: u16 = 2;

/// How long the answer of a full set holds.
pub const ASK_AGAIN: u64 = 100 * Nanos::MILLI;

/// Where the [`SlotSet`]s are; shaped like compare-and-set, as [`Ledger`] is.
pub trait SlotStore {
    /// Replaces set `set` by what `change` makes of it; `None` from `change` leaves it as it is. `change` sees `None`
    /// when there is no such set yet, and runs again after every lost race.
    ///
    /// # Errors
    /// [`Contended`] when every one of a bounded number of tries lost.
    fn replace_set(
        &mut self,
        set: usize,
        change: &mut dyn FnMut(Option<SlotSet>) -> Option<SlotSet>,
    ) -> Result<(), Contended>;
}

/// Where a name is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this slot, where it sat before.
    Slot(usize),
    /// At this slot, from now on: whatever account this worker has there belongs to somebody else and must be replaced by
    /// a new one before it is charged.
    NewSlot(usize),
    /// At the rule's overflow bucket.
    Overflow,
}

/// What a newcomer's bucket depends on.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The limit that each name has.
    pub limit: Limit,
    /// When the proxy's shared state came into being.
    pub born: Nanos,
    /// The steady clock.
    pub now: Nanos,
}

/// The memory of a full set.
#[derive(Clone, Copy, Debug, Default)]
struct Bar {
    until: Nanos,
    estimate: u16,
}

/// Who sits in a rule's slots, as this worker knows.
#[derive(Clone, Debug)]
pub struct Seats {
    /// By slot; `None` is free, or unknown here.
    names: Vec<Option<Fingerprint>>,
    /// By slot: requests that have not gone into the set's heat yet.
    hits: Vec<u16>,
    /// By set.
    bars: Vec<Bar>,
    cursor: usize,
}

impl Seats {
    /// Seats for `slots` slots, rounded up to a power of two between one set and [`MAX_SLOTS`].
    pub fn new(slots: usize) -> Self {
        let slots = slots.clamp(WAYS, MAX_SLOTS).next_power_of_two();
        Self { names: vec![None; slots], hits: vec![0; slots], bars: vec![Bar::default(); slots / WAYS], cursor: 0 }
    }

    /// Slots.
    pub fn slots(&self) -> usize {
        self.names.len()
    }

    /// Sets, each one value in shared data.
    pub fn sets(&self) -> usize {
        self.bars.len()
    }

    /// Who sits at `slot`, as far as this worker knows.
    pub fn name_at(&self, slot: usize) -> Option<Fingerprint> {
        self.names.get(slot).copied().flatten()
    }

    /// Where a request of `name` is charged.
    pub fn place(
        &mut self,
        name: Fingerprint,
        entry: &Entry,
        sketch: &mut Sketch,
        store: &mut impl SlotStore,
    ) -> Place {
        let set = self.set_of(name);
        let first = set * WAYS;
        let seated = self.names.get(first..first + WAYS).unwrap_or_default();
        if let Some(way) = seated.iter().position(|seat| *seat == Some(name)) {
            self.hit(first + way);
            return Place::Slot(first + way);
        }
        let estimate = sketch.record(name);
        let bar = self.bars.get(set).copied().unwrap_or_default();
        if estimate < DOORKEEPER || (entry.now < bar.until && estimate <= bar.estimate) {
            return Place::Overflow;
        }
        let mut claim = Claim::Full { bar: estimate };
        let asked = store.replace_set(set, &mut |known| {
            let mut changed = known.unwrap_or_else(|| SlotSet::at_boot(entry.limit, entry.born));
            claim = changed.claim(name, estimate, entry.limit, entry.now);
            matches!(claim, Claim::Entered(_)).then_some(changed)
        });
        match (asked, claim) {
            (Ok(()), Claim::Held(way) | Claim::Entered(way)) => {
                self.sit(first + way, Some(name));
                self.hit(first + way);
                Place::NewSlot(first + way)
            }
            (_, Claim::Full { bar }) => {
                self.raise_bar(set, bar, entry.now);
                Place::Overflow
            }
            (Err(Contended), _) => {
                self.raise_bar(set, estimate, entry.now);
                Place::Overflow
            }
        }
    }

    /// Carries the heat of the next `sets` sets to shared data and finds out who has lost its slot. To be called on
    /// ticks, so that every set has its turn a few times in a [`HALF_LIFE`](crate::sketch::HALF_LIFE): that keeps the
    /// slots of names that are seldom drawn for, because their lease is large or their bucket empty. Sets without
    /// requests since the last turn cost nothing.
    pub fn refresh(&mut self, sets: usize, now: Nanos, store: &mut impl SlotStore) {
        for _ in 0..sets.min(self.sets()) {
            let set = self.cursor;
            self.cursor = (self.cursor + 1) % self.sets().max(1);
            let slots = set * WAYS..(set + 1) * WAYS;
            if self.hits.get(slots.clone()).unwrap_or_default().iter().all(|hits| *hits == 0) {
                continue;
            }
            let mut lost = [false; WAYS];
            let done = store.replace_set(set, &mut |known| {
                let mut changed = known;
                for ((way, slot), lost) in slots.clone().enumerate().zip(&mut lost) {
                    let Some(name) = self.name_at(slot) else { continue };
                    let hits = self.hits.get(slot).copied().unwrap_or(0);
                    *lost = !changed.as_mut().is_some_and(|set| {
                        let bucket = set.bucket(way, name);
                        bucket.is_some_and(|bucket| set.update(way, name, bucket, hits, now))
                    });
                }
                changed
            });
            if done.is_ok() {
                for (slot, lost) in slots.zip(lost) {
                    if lost {
                        self.sit(slot, None);
                    } else if let Some(hits) = self.hits.get_mut(slot) {
                        *hits = 0;
                    }
                }
            }
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.names.capacity() * size_of::<Option<Fingerprint>>()
            + self.hits.capacity() * size_of::<u16>()
            + self.bars.capacity() * size_of::<Bar>()
    }

    /// The set that a name belongs to: the high bits of its fingerprint.
    pub fn set_of(&self, name: Fingerprint) -> usize {
        // At most MAX_SLOTS / WAYS, so it fits.
        ((u128::from(name.bits()) * self.sets() as u128) >> 64) as usize
    }

    fn sit(&mut self, slot: usize, name: Option<Fingerprint>) {
        if let (Some(seat), Some(hits)) = (self.names.get_mut(slot), self.hits.get_mut(slot)) {
            *seat = name;
            *hits = 0;
        }
    }

    fn hit(&mut self, slot: usize) {
        if let Some(hits) = self.hits.get_mut(slot) {
            *hits = hits.saturating_add(1);
        }
    }

    fn raise_bar(&mut self, set: usize, estimate: u16, now: Nanos) {
        if let Some(bar) = self.bars.get_mut(set) {
            *bar = Bar { until: now.plus(ASK_AGAIN), estimate };
        }
    }
}

/// The slots as a [`Ledger`]: key numbers are slot numbers.
///
/// A slot that somebody else holds by now answers [`Contended`]: the request is refused, and the name's next one begins
/// at the sketch.
#[derive(Debug)]
pub struct SlotLedger<'a, S> {
    /// Who sits where.
    pub seats: &'a mut Seats,
    /// Where the sets are.
    pub store: &'a mut S,
    /// The steady clock.
    pub now: Nanos,
}

impl<S: SlotStore> Ledger for SlotLedger<'_, S> {
    fn now(&mut self) -> Nanos {
        self.now
    }

    fn replace(
        &mut self,
        slot: usize,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended> {
        let name = self.seats.name_at(slot).ok_or(Contended)?;
        let hits = self.seats.hits.get(slot).copied().unwrap_or(0);
        let (way, now) = (slot % WAYS, self.now);
        let (mut held, mut written) = (false, false);
        self.store.replace_set(slot / WAYS, &mut |known| {
            (held, written) = (false, false);
            let mut set = known?;
            let bucket = set.bucket(way, name);
            held = bucket.is_some();
            // A slot has no place for claims: leases of it are small.
            let state = change(Some(KeyState { standard: bucket?, shadow: ShadowState::default(), claims: None }));
            written = state.is_some();
            set.update(way, name, state?.standard, hits, now).then_some(set)
        })?;
        if !held {
            self.seats.sit(slot, None);
            return Err(Contended);
        }
        if let (true, Some(hits)) = (written, self.seats.hits.get_mut(slot)) {
            *hits = 0;
        }
        Ok(())
    }
}
