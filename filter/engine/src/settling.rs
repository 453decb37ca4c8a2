//! Settling: admitted requests whose true cost is known only after the answer, or while it runs.
//!
//! An admitted request took its estimate. Here every such stream is followed until its answer is over: what the answer's
//! headers say, how many bytes passed, what its body counts, how long it took ([`Source`]). What it used in all then
//! replaces the estimate: the rest is refunded, or becomes a debt. Streams that go on are charged for what they have
//! used so far every `settle_every_s`, so that an hour of tokens is not a surprise at its end.
//!
//! | the answer | settled by |
//! |---|---|
//! | came whole | what was found; nothing found: the estimate stays |
//! | broke off, or the client went away | what was found, but never below the estimate: otherwise expensive answers could be started and abandoned for nothing. Header and duration are known exactly and refund too |
//! | is encoded, or of another kind | the estimate stays; the request lost its `accept-encoding` so that this is rare |
//!
//! Invariants: at most [`MAX_TRACKED`] streams are followed, of at most eight charges with [`MAX_METER_BYTES`] each;
//! requests beyond keep their estimate and are counted, so that a flood of streams costs accuracy and not memory. Each
//! unit is settled once, however often it is tried ([`Receipt`](forebay_admission::Receipt)). A new table renumbers the
//! accounts and so the receipts; a key that is no longer there keeps the estimate, as do streams whose VM is replaced, and
//! those of a tenant without contract who has lost its slot.
//!
//! [`MAX_METER_BYTES`]: crate::usage::MAX_METER_BYTES

mod running;
mod source;

use alloc::vec::Vec;

use forebay_admission::{Account, Conditions, Ledger, Nanos, Receipts};
use hashbrown::HashMap;

use crate::keys::Key;
use crate::policy::{Cost, Rule};
use running::{Done, Open, Running, Stage};
pub use source::Source;

/// Most streams that one worker follows at a time: with one body source each, about 3 MiB.
pub const MAX_TRACKED: usize = 4_096;

/// Settlements of an ended stream that may lose every race, one per tick: a second.
const MAX_TRIES: u32 = 20;

/// The streams that are to be settled.
#[derive(Debug)]
pub struct Settling {
    streams: HashMap<u32, Running>,
    /// When the next of them is due.
    next: Nanos,
    counts: SettlingCounts,
}

/// What became of charges since the last [`Settling::take_counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettlingCounts {
    /// Settled with their true cost.
    pub settled: u64,
    /// Left at their estimate: nothing was found, there were too many streams, or every race was lost.
    pub estimated: u64,
}

/// The worker's accounts, and what they need.
pub struct Books<'a, L> {
    /// All accounts.
    pub accounts: &'a mut [Account],
    /// The conditions now.
    pub conditions: &'a Conditions<'a>,
    /// The shared state.
    pub ledger: &'a mut L,
}

impl Default for Settling {
    fn default() -> Self {
        Self { streams: HashMap::new(), next: Nanos(u64::MAX), counts: SettlingCounts::default() }
    }
}

impl Settling {
    /// Whether charges of the rule are settled later.
    pub fn concerns(rule: &Rule) -> bool {
        rule.charges.iter().any(|charge| matches!(charge.cost, Cost::Settled { .. }))
    }

    /// Follows a request that was admitted under `rule` with these receipts; it came at `began`.
    pub fn begin(&mut self, stream: u32, began: Nanos, rule: &Rule, receipts: &Receipts) {
        let open = |(charge, receipt): (&crate::policy::Charge, _)| match &charge.cost {
            Cost::Settled { source, .. } => Some(Open::new(receipt, source)),
            Cost::Constant(_) | Cost::Header { .. } | Cost::Table(_) => None,
        };
        let charges: Vec<Open> = rule.charges.iter().zip(receipts.iter()).filter_map(open).collect();
        let Some(every) = charges.iter().map(Open::every).min() else { return };
        if self.streams.len() >= MAX_TRACKED && !self.streams.contains_key(&stream) {
            self.counts.estimated = self.counts.estimated.saturating_add(charges.len() as u64);
            return;
        }
        let next = began.plus(every);
        self.next = self.next.min(next);
        self.streams.insert(stream, Running { began, next, every, stage: Stage::Open, tries: 0, charges });
    }

    /// How many streams are followed.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether the stream is followed.
    pub fn follows(&self, stream: u32) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Whether a charge of the stream reads the answer's body, which must not be encoded then.
    pub fn reads_body(&self, stream: u32) -> bool {
        self.streams.get(&stream).is_some_and(|running| running.charges.iter().any(Open::reads_body))
    }

    /// The answer's headers are here; `header` gives the first value by lower-case name.
    pub fn headers(&mut self, stream: u32, header: &mut dyn FnMut(&str) -> Option<Vec<u8>>) {
        if let Some(running) = self.streams.get_mut(&stream) {
            running.headers(header);
        }
    }

    /// So many bytes of the answer's body are here; `piece` holds them where [`Settling::reads_body`].
    pub fn body(&mut self, stream: u32, size: u64, piece: &[u8]) {
        if let Some(running) = self.streams.get_mut(&stream) {
            running.body(size, piece);
        }
    }

    /// Settles what is known by now and cannot change.
    pub fn known(&mut self, stream: u32, now: Nanos, books: &mut Books<'_, impl Ledger>) {
        self.settle(stream, now, books);
    }

    /// The answer came whole.
    pub fn whole(&mut self, stream: u32, now: Nanos, books: &mut Books<'_, impl Ledger>) {
        self.end(stream, Stage::Whole(now), now, books);
    }

    /// The stream is gone; one whose answer did not come whole was reset.
    pub fn gone(&mut self, stream: u32, now: Nanos, books: &mut Books<'_, impl Ledger>) {
        self.end(stream, Stage::Reset(now), now, books);
    }

    /// Whether a settlement is due.
    pub fn is_due(&self, now: Nanos) -> bool {
        now >= self.next
    }

    /// Settles what is due. For the tick.
    pub fn tick(&mut self, now: Nanos, books: &mut Books<'_, impl Ledger>) {
        let due: Vec<u32> =
            self.streams.iter().filter(|(_, running)| running.next <= now).map(|(stream, _)| *stream).collect();
        for stream in due {
            self.settle(stream, now, books);
        }
        self.next = self.streams.values().map(|running| running.next).min().unwrap_or(Nanos(u64::MAX));
    }

    /// Follows a renumbering of the accounts.
    pub fn renumber(&mut self, old: &[Key], new: &[Key]) {
        if self.streams.is_empty() {
            return;
        }
        let places: HashMap<&str, usize> =
            new.iter().enumerate().map(|(place, key)| (key.state_key.as_str(), place)).collect();
        let mut lost = 0;
        for running in self.streams.values_mut() {
            running.charges.retain_mut(|open| {
                let place = match old.get(open.receipt.key) {
                    Some(key) => places.get(key.state_key.as_str()).copied(),
                    // Slots of tenants without contract stay behind the keys.
                    None => open.receipt.key.checked_sub(old.len()).map(|slot| new.len() + slot),
                };
                if let Some(place) = place {
                    open.receipt.key = place;
                }
                lost += u64::from(place.is_none());
                place.is_some()
            });
        }
        self.streams.retain(|_, running| !running.charges.is_empty());
        self.counts.estimated = self.counts.estimated.saturating_add(lost);
    }

    /// What was counted since the last time.
    pub fn take_counts(&mut self) -> SettlingCounts {
        core::mem::take(&mut self.counts)
    }

    fn end(&mut self, stream: u32, stage: Stage, now: Nanos, books: &mut Books<'_, impl Ledger>) {
        let Some(running) = self.streams.get_mut(&stream) else { return };
        // Whatever comes after the end says nothing new.
        if running.stage == Stage::Open {
            running.stage = stage;
            self.settle(stream, now, books);
        }
    }

    fn settle(&mut self, stream: u32, now: Nanos, books: &mut Books<'_, impl Ledger>) {
        let Some(running) = self.streams.get_mut(&stream) else { return };
        let (done, result) = running.settle(now, books.accounts, books.conditions, books.ledger);
        self.count(done);
        let Some(running) = self.streams.get_mut(&stream) else { return };
        if running.stage == Stage::Open {
            running.next = now.plus(running.every);
        } else if result.is_err() && running.tries < MAX_TRIES {
            running.tries += 1;
            running.next = now;
        } else {
            self.counts.estimated = self.counts.estimated.saturating_add(running.charges.len() as u64);
            running.charges.clear();
        }
        self.next = self.next.min(running.next);
        if running.charges.is_empty() {
            self.streams.remove(&stream);
        }
    }

    fn count(&mut self, done: Done) {
        self.counts.settled = self.counts.settled.saturating_add(done.settled);
        self.counts.estimated = self.counts.estimated.saturating_add(done.estimated);
    }
}
