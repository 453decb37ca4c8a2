//! The order in which waiting streams are offered: by class, in a class fairly between tenants, for a tenant by age.
//!
//! Inside a class tenants share by self-clocked fair queueing (Golestani, INFOCOM 1994): the class has a virtual time,
//! the tag of a tenant's head is `start + cost / weight`, the smallest tag goes first and becomes the virtual time. `start`
//! is the virtual time at which the head became the head. Chosen over deficit round robin because costs are in units of
//! any resource, and a quantum that suits requests does not suit bytes; over tags given at arrival because a tag that
//! belongs to the tenant and not to the stream leaves no trace when a stream is reset. A tenant with nothing waiting needs
//! no memory: its last tag is never above the virtual time.
//!
//! Fairness: while two tenants both have something ready, `|served_1 / weight_1 - served_2 / weight_2|` is at most
//! `largest cost_1 / weight_1 + largest cost_2 / weight_2` (Golestani's bound).
//!
//! Head of line only within a key: each (tenant, key, class) is a line of its own, and a key that was found empty is
//! parked until an instant, in all its classes, so that cheap requests of a worse class do not overtake a dear one of a
//! better class for ever.
//!
//! Everything is an ordered map, so each operation costs O(log n) steps; `steps` counts them.

use alloc::collections::{BTreeMap, BTreeSet};

use super::class::{Class, Turns};
use crate::units::Nanos;

/// Virtual time per unit of cost at weight 1: with weights up to a million, a tag is exact to a part in a million.
const SCALE: u128 = 1 << 40;

/// Where a stream stands: in which line, and behind whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tenant: usize,
    pub(super) key: usize,
    pub(super) class: Class,
    pub(super) seq: u64,
}

impl Place {
    pub(super) fn line(&self) -> LineId {
        (self.tenant, self.key, self.class)
    }
}

/// A line: tenant, key, class.
pub(super) type LineId = (usize, usize, Class);

/// What the order needs to know of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) stream: u32,
    pub(super) cost: u64,
    pub(super) weight: u32,
    pub(super) arrival: Nanos,
}

type Listed = (Place, Ticket);

/// A tenant in a class.
#[derive(Clone, Copy, Debug)]
struct Party {
    start: u128,
    /// The tag under which it stands in `tags`, when it has something ready.
    tag: Option<u128>,
    listed: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    lines: BTreeMap<Place, Ticket>,
    parked: BTreeMap<(usize, usize), Nanos>,
    wakes: BTreeSet<(Nanos, usize, usize)>,
    /// The ready heads, by party and age, with their key.
    heads: BTreeMap<(Class, usize, u64), usize>,
    /// The ready heads, by class and age.
    oldest: BTreeSet<(Class, Nanos, u64)>,
    parties: BTreeMap<(Class, usize), Party>,
    tags: BTreeSet<(Class, u128, usize)>,
    virtual_time: BTreeMap<Class, u128>,
    turns: Turns,
    steps: u64,
}

impl Order {
    /// Map operations so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Rows in all maps that grow with what waits.
    pub(super) fn rows(&self) -> usize {
        self.lines.len()
            + self.parked.len()
            + self.wakes.len()
            + self.heads.len()
            + self.oldest.len()
            + self.parties.len()
            + self.tags.len()
    }

    /// Puts a stream into its line.
    pub(super) fn list(&mut self, place: Place, ticket: Ticket) {
        let start = self.virtual_time.get(&place.class).copied().unwrap_or(0);
        let party = self.parties.entry((place.class, place.tenant)).or_insert(Party { start, tag: None, listed: 0 });
        party.listed = party.listed.saturating_add(1);
        let before = self.ready_head(place);
        self.lines.insert(place, ticket);
        self.steps = self.steps.saturating_add(3);
        self.replace_head(before, self.ready_head(place));
    }

    /// Takes a stream out of its line, as if it had never been there.
    pub(super) fn unlist(&mut self, place: Place) {
        let before = self.ready_head(place);
        self.steps = self.steps.saturating_add(3);
        if self.lines.remove(&place).is_none() {
            return;
        }
        self.replace_head(before, self.ready_head(place));
        if let Some(party) = self.parties.get_mut(&(place.class, place.tenant)) {
            party.listed = party.listed.saturating_sub(1);
            if party.listed == 0 {
                self.parties.remove(&(place.class, place.tenant));
            }
        }
    }

    /// A stream is released: its tenant has had its turn.
    pub(super) fn serve(&mut self, place: Place) {
        let Some(ticket) = self.lines.get(&place).copied() else { return };
        let best = self.tags.first().map_or(place.class, |(class, ..)| *class);
        self.turns.released(place.class, best, ticket.cost);
        let now = self.virtual_time.entry(place.class).or_insert(0);
        if let Some(party) = self.parties.get_mut(&(place.class, place.tenant)) {
            *now = party.start.saturating_add(share(&ticket)).max(*now);
            party.start = *now;
        }
        self.steps = self.steps.saturating_add(4);
        self.unlist(place);
    }

    /// The stream whose turn it is. Keys whose instant has come are ready again.
    pub(super) fn next(&mut self, age_after_ns: u64, now: Nanos) -> Option<u32> {
        while let Some((_, tenant, key)) = self.wakes.first().copied().filter(|(at, ..)| *at <= now) {
            self.unpark(tenant, key);
        }
        let (best, ..) = self.tags.first().copied()?;
        let mut steps = 4u64;
        let class = if self.turns.open() {
            let overdue = self.classes_after(best).filter(|class| {
                steps = steps.saturating_add(2);
                self.oldest_in(*class).is_some_and(|arrival| now.since(arrival) >= age_after_ns)
            });
            self.turns.choose(best, overdue)
        } else {
            best
        };
        self.steps = self.steps.saturating_add(steps);
        let (_, _, tenant) = self.tags.range((class, 0, 0)..).next()?;
        let (_, ticket) = self.party_head(class, *tenant)?;
        Some(ticket.stream)
    }

    /// Nothing of this key is offered before `until`.
    pub(super) fn park(&mut self, tenant: usize, key: usize, until: Nanos) {
        match self.parked.get(&(tenant, key)).copied() {
            Some(old) => {
                self.wakes.remove(&(old, tenant, key));
            }
            None => self.each_head(tenant, key, |order, head| order.replace_head(Some(head), None)),
        }
        self.parked.insert((tenant, key), until);
        self.wakes.insert((until, tenant, key));
        self.steps = self.steps.saturating_add(4);
    }

    /// This key is offered again.
    pub(super) fn unpark(&mut self, tenant: usize, key: usize) {
        self.steps = self.steps.saturating_add(1);
        if let Some(until) = self.parked.remove(&(tenant, key)) {
            self.wakes.remove(&(until, tenant, key));
            self.steps = self.steps.saturating_add(1);
            self.each_head(tenant, key, |order, head| order.replace_head(None, Some(head)));
        }
    }

    /// All keys are offered again.
    pub(super) fn unpark_all(&mut self) {
        while let Some((_, tenant, key)) = self.wakes.first().copied() {
            self.unpark(tenant, key);
        }
    }

    /// The instant at which the next parked key is ready.
    pub(super) fn next_wake(&self) -> Option<Nanos> {
        self.wakes.first().map(|(at, ..)| *at)
    }

    /// Whether a stream is ready.
    pub(super) fn has_ready(&self) -> bool {
        !self.tags.is_empty()
    }

    /// The oldest stream of a line, unless it is the line's only one.
    pub(super) fn oldest_of_several(&mut self, line: LineId) -> Option<u32> {
        self.steps = self.steps.saturating_add(2);
        let (tenant, key, class) = line;
        let place = |seq| Place { tenant, key, class, seq };
        let mut tickets = self.lines.range(place(0)..=place(u64::MAX)).map(|(_, ticket)| ticket.stream);
        let oldest = tickets.next()?;
        tickets.next().map(|_| oldest)
    }

    /// The first line entry of this key at or after `from`.
    fn head(&self, from: Place) -> Option<Listed> {
        let (place, ticket) = self.lines.range(from..).next()?;
        (place.tenant == from.tenant && place.key == from.key).then_some((*place, *ticket))
    }

    /// The head of this place's line, if its key is not parked.
    fn ready_head(&self, place: Place) -> Option<Listed> {
        if self.parked.contains_key(&(place.tenant, place.key)) {
            return None;
        }
        self.head(Place { seq: 0, ..place }).filter(|(head, _)| head.class == place.class)
    }

    /// Does something with the head of each class in which this key waits.
    fn each_head(&mut self, tenant: usize, key: usize, mut act: impl FnMut(&mut Self, Listed)) {
        let mut class = Some(Class::at(0, 0));
        while let Some(from) = class {
            let Some(head) = self.head(Place { tenant, key, class: from, seq: 0 }) else { return };
            act(self, head);
            class = head.0.class.next();
        }
    }

    /// The oldest ready head of a tenant in a class.
    fn party_head(&self, class: Class, tenant: usize) -> Option<Listed> {
        let ((_, _, seq), key) = self.heads.range((class, tenant, 0)..=(class, tenant, u64::MAX)).next()?;
        let place = Place { tenant, key: *key, class, seq: *seq };
        self.lines.get(&place).map(|ticket| (place, *ticket))
    }

    fn oldest_in(&self, class: Class) -> Option<Nanos> {
        let (_, arrival, _) = self.oldest.range((class, Nanos(0), 0)..=(class, Nanos(u64::MAX), u64::MAX)).next()?;
        Some(*arrival)
    }

    /// The classes worse than `class` that have something ready, ascending.
    fn classes_after(&self, class: Class) -> impl Iterator<Item = Class> + '_ {
        let after = |class: Class| {
            let (next, ..) = self.tags.range((class.next()?, 0, 0)..).next()?;
            Some(*next)
        };
        core::iter::successors(after(class), move |class| after(*class))
    }

    /// A line's ready head is another one: takes the old out, puts the new in, and tags the party anew.
    fn replace_head(&mut self, before: Option<Listed>, after: Option<Listed>) {
        if before == after {
            return;
        }
        if let Some((place, ticket)) = before {
            self.heads.remove(&(place.class, place.tenant, place.seq));
            self.oldest.remove(&(place.class, ticket.arrival, place.seq));
        }
        if let Some((place, ticket)) = after {
            self.heads.insert((place.class, place.tenant, place.seq), place.key);
            self.oldest.insert((place.class, ticket.arrival, place.seq));
        }
        self.steps = self.steps.saturating_add(8);
        let Some((Place { class, tenant, .. }, _)) = after.or(before) else { return };
        let head = self.party_head(class, tenant);
        let Some(party) = self.parties.get_mut(&(class, tenant)) else { return };
        if let Some(tag) = party.tag.take() {
            self.tags.remove(&(class, tag, tenant));
        }
        if let Some((_, ticket)) = head {
            let tag = party.start.saturating_add(share(&ticket));
            party.tag = Some(tag);
            self.tags.insert((class, tag, tenant));
        }
    }
}

/// How far a release moves its tenant in virtual time.
fn share(ticket: &Ticket) -> u128 {
    u128::from(ticket.cost.max(1)) * SCALE / u128::from(ticket.weight.max(1))
}
