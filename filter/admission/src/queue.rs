//! The queue of one VM: streams that wait for tokens, or for a slot of an upstream.
//!
//! The intuition: waiting is worth it only for a short while and for few. So everything here is bounded (`bounds`:
//! streams and bytes per VM, tenant and connection), everybody has a deadline and is never released after it, a queue
//! that no longer absorbs a burst but merely stands is shortened (`standing`), better classes go first without starving
//! the others (`class`), and tenants of one class share by weight (`order`).
//!
//! The queue decides *who is next*, never whether there is something to be had: the caller looks at [`Queue::next`], tries
//! to charge it, and then says [`Queue::release`] or, when admission refused with an instant, [`Queue::defer`], which
//! parks only the key that was empty. So a tick that resumes in bounded batches is a loop of its caller's making:
//!
//! 1. at most so many of [`Queue::expired`] and [`Queue::shed`], each answered with a refusal;
//! 2. at most so many of [`Queue::next`] then `release` or `defer`;
//! 3. [`Queue::next_event`] says when there will be something to do again.
//!
//! Invariants: every stream that was pushed leaves exactly once (released, expired, shed or removed); a stream that left
//! has left no trace in any bound, line or virtual time; nothing is offered at or after its deadline.
//!
//! What it does not do: it knows no buckets, no lanes beyond their rank, no host, and refuses nobody itself. Streams of
//! one guarded upstream go into a queue of their own: when the guard refuses the offered stream, all behind it would be
//! refused too, and the caller simply stops.

use alloc::collections::{BTreeMap, BTreeSet};

mod bounds;
mod class;
mod order;
mod standing;
#[cfg(test)]
mod tests;

pub use bounds::{Bound, Bounds, LANE_ROOM_PERCENT, Room};
pub use class::{AGED_PART, CLASSES, Class, LANES, PRIORITIES};
pub use standing::{INTERVAL, Patience, TARGET};

use crate::units::Nanos;
use bounds::{Load, Usage};
use order::{LineId, Order, Place, Ticket};
use standing::Standing;

/// After how many nanoseconds of waiting a class is overdue: twice what a queue may keep up, so that ordinary bursts are
/// over before ageing disturbs the priorities.
pub const AGE_AFTER: u64 = 2 * TARGET;

/// How a queue behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much may wait.
    pub bounds: Bounds,
    /// When a line counts as standing.
    pub patience: Patience,
    /// Wait in nanoseconds after which a class is overdue.
    pub age_after_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bounds: Bounds::default(), patience: Patience::default(), age_after_ns: AGE_AFTER }
    }
}

/// A waiting stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stream's id in its VM.
    pub stream: u32,
    /// The connection it came on.
    pub connection: u64,
    /// Who is charged: the unit of fairness and of a bound.
    pub tenant: usize,
    /// The key it waits for: the unit of head-of-line blocking.
    pub key: usize,
    /// The tenant's weight inside the class, at least 1.
    pub weight: u32,
    /// Its class.
    pub class: Class,
    /// What it costs, in units of the key's resource.
    pub cost: u64,
    /// Bytes of body that it may hold while it waits.
    pub body_bytes: u64,
    /// When it came.
    pub arrival: Nanos,
    /// The first instant at which it is no longer worth releasing.
    pub deadline: Nanos,
}

/// Why a stream cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWait {
    /// This bound is reached.
    Full(Bound),
    /// Its deadline has passed.
    Late,
    /// A stream of this id waits already.
    Known,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    entry: Entry,
    seq: u64,
    /// False once its deadline was seen to have passed: it only waits to be handed out by [`Queue::expired`].
    listed: bool,
}

impl Waiting {
    fn place(&self) -> Place {
        Place { tenant: self.entry.tenant, key: self.entry.key, class: self.entry.class, seq: self.seq }
    }

    fn load(&self) -> Load {
        let Entry { tenant, connection, body_bytes: bytes, class, .. } = self.entry;
        Load { tenant, connection, lane_rank: class.lane_rank(), bytes }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    waiting: u64,
    standing: Standing,
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    settings: Settings,
    usage: Usage,
    order: Order,
    waiting: BTreeMap<u32, Waiting>,
    deadlines: BTreeSet<(Nanos, u32)>,
    lines: BTreeMap<LineId, Line>,
    drops: BTreeSet<(Nanos, LineId)>,
    next_seq: u64,
}

impl Queue {
    /// An empty queue.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Other settings from now on. Streams that already wait stay, even above a lowered bound.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Lets a stream wait. Its key may be parked by an earlier [`Queue::defer`]; a caller whose admission has just refused
    /// it says so by deferring it next.
    ///
    /// # Errors
    /// [`NoWait`]; the queue is unchanged.
    pub fn push(&mut self, entry: Entry, now: Nanos) -> Result<(), NoWait> {
        if self.waiting.contains_key(&entry.stream) {
            return Err(NoWait::Known);
        }
        if entry.deadline <= now {
            return Err(NoWait::Late);
        }
        let waiting = Waiting { entry, seq: self.next_seq, listed: true };
        self.usage.take(&self.settings.bounds, &waiting.load()).map_err(NoWait::Full)?;
        self.next_seq = self.next_seq.saturating_add(1);
        self.waiting.insert(entry.stream, waiting);
        self.deadlines.insert((entry.deadline, entry.stream));
        self.enter_line(waiting.place().line());
        self.order.list(waiting.place(), ticket(&entry));
        Ok(())
    }

    /// Whose turn it is; the stream stays in the queue. `None` when nothing is ready at `now`.
    pub fn next(&mut self, now: Nanos) -> Option<Entry> {
        while let Some(stream) = self.order.next(self.settings.age_after_ns, now) {
            let waiting = self.waiting.get_mut(&stream)?;
            if now < waiting.entry.deadline {
                return Some(waiting.entry);
            }
            waiting.listed = false;
            let place = waiting.place();
            self.order.unlist(place);
        }
        None
    }

    /// Takes out a stream that was charged and goes on. `None`, and nothing happens, when it does not wait or its deadline
    /// has passed: then it is [`Queue::expired`]'s.
    pub fn release(&mut self, stream: u32, now: Nanos) -> Option<Entry> {
        let waiting = *self.waiting.get(&stream)?;
        if now >= waiting.entry.deadline {
            return None;
        }
        self.observe(&waiting, now);
        self.order.serve(waiting.place());
        self.forget(&waiting);
        Some(waiting.entry)
    }

    /// Admission refused the stream for want of `key` until `until`: it waits for that key from now on, and nothing that
    /// waits for that key is offered before then (at the earliest one nanosecond from now, so that a tick ends).
    pub fn defer(&mut self, stream: u32, key: usize, until: Nanos, now: Nanos) {
        let Some(mut waiting) = self.waiting.get(&stream).copied() else { return };
        if key != waiting.entry.key {
            if waiting.listed {
                self.order.unlist(waiting.place());
            }
            self.leave_line(waiting.place().line());
            waiting.entry.key = key;
            self.waiting.insert(stream, waiting);
            self.enter_line(waiting.place().line());
            if waiting.listed {
                self.order.list(waiting.place(), ticket(&waiting.entry));
            }
        }
        self.observe(&waiting, now);
        self.order.park(waiting.entry.tenant, key, until.max(now.plus(1)));
    }

    /// Something came in for this key: it is offered again before its instant.
    pub fn wake(&mut self, tenant: usize, key: usize) {
        self.order.unpark(tenant, key);
    }

    /// New grants or a new policy: everything is offered again.
    pub fn wake_all(&mut self) {
        self.order.unpark_all();
    }

    /// Takes out a stream because its client is gone (or for any other reason of the caller's), without a trace.
    pub fn remove(&mut self, stream: u32) -> Option<Entry> {
        let waiting = *self.waiting.get(&stream)?;
        if waiting.listed {
            self.order.unlist(waiting.place());
        }
        self.forget(&waiting);
        Some(waiting.entry)
    }

    /// Takes out one stream whose deadline has passed, the earliest first. The caller answers it with a refusal and asks
    /// again, as often as its batch allows.
    pub fn expired(&mut self, now: Nanos) -> Option<Entry> {
        let (_, stream) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(stream)
    }

    /// Takes out one stream to shorten a standing queue: the oldest of the line (tenant, key, class) that stands. Lines
    /// stand one by one, so a class that gets through does not hide that the one behind it does not, and reserved requests
    /// are dropped last. The oldest, because it is the one nearest to its deadline and to its client's patience, and
    /// because everything behind it gets faster, while dropping the youngest would help nobody who waits.
    pub fn shed(&mut self, now: Nanos) -> Option<Entry> {
        while let Some((_, line)) = self.drops.first().copied().filter(|(at, _)| *at <= now) {
            let victim = self.order.oldest_of_several(line);
            self.change_standing(line, |standing, patience| match victim {
                Some(_) => standing.dropped(patience, now),
                None => standing.spared(patience, now),
            });
            if let Some(stream) = victim {
                return self.remove(stream);
            }
        }
        None
    }

    /// The earliest instant at which a call of `expired`, `shed` or `next` finds something: `now` when there is something
    /// already, `None` when nothing waits.
    pub fn next_event(&self, now: Nanos) -> Option<Nanos> {
        let ready = self.order.has_ready().then_some(now);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let drop = self.drops.first().map(|(at, _)| *at);
        [ready, deadline, drop, self.order.next_wake()].into_iter().flatten().min().map(|at| at.max(now))
    }

    /// Streams that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Streams and body bytes that wait.
    pub fn held(&self) -> Room {
        self.usage.total()
    }

    /// Steps in ordered maps so far, each O(log n): what a tick costs, independent of the machine.
    pub fn steps(&self) -> u64 {
        self.order.steps()
    }

    /// Rows in all internal maps; 0 when nothing waits.
    pub fn rows(&self) -> usize {
        self.usage.rows()
            + self.order.rows()
            + self.waiting.len()
            + self.deadlines.len()
            + self.lines.len()
            + self.drops.len()
    }

    fn forget(&mut self, waiting: &Waiting) {
        let entry = &waiting.entry;
        self.waiting.remove(&entry.stream);
        self.deadlines.remove(&(entry.deadline, entry.stream));
        self.usage.give_back(&waiting.load());
        self.leave_line(waiting.place().line());
    }

    fn enter_line(&mut self, id: LineId) {
        let line = self.lines.entry(id).or_default();
        line.waiting = line.waiting.saturating_add(1);
    }

    fn leave_line(&mut self, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.waiting = line.waiting.saturating_sub(1);
        if line.waiting == 0 {
            if let Some(at) = line.standing.next_drop() {
                self.drops.remove(&(at, id));
            }
            self.lines.remove(&id);
            let (tenant, key, _) = id;
            let worst = Class::at(u8::MAX, u8::MAX);
            if self.lines.range((tenant, key, Class::at(0, 0))..=(tenant, key, worst)).next().is_none() {
                self.order.unpark(tenant, key);
            }
        }
    }

    /// The stream was looked at: how long has the head of its line waited?
    fn observe(&mut self, waiting: &Waiting, now: Nanos) {
        let waited_ns = now.since(waiting.entry.arrival);
        self.change_standing(waiting.place().line(), |standing, patience| {
            standing.observe(patience, waited_ns, now);
        });
    }

    fn change_standing(&mut self, id: LineId, change: impl FnOnce(&mut Standing, &Patience)) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let before = line.standing.next_drop();
        change(&mut line.standing, &self.settings.patience);
        let after = line.standing.next_drop();
        if before != after {
            if let Some(at) = before {
                self.drops.remove(&(at, id));
            }
            if let Some(at) = after {
                self.drops.insert((at, id));
            }
        }
    }
}

fn ticket(entry: &Entry) -> Ticket {
    Ticket { stream: entry.stream, cost: entry.cost, weight: entry.weight, arrival: entry.arrival }
}
