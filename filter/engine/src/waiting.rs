//! Requests that wait for tokens, or for a slot of an overloaded upstream ([`guard`](crate::guard)): from a refusal with
//! an instant to the tick that lets them go on or answers them. Here is who waits; [`serving`] is the tick.
//!
//! [`Queue`] of the admission crate knows who is next; here is what it does not know: a request's keys, its client's
//! patience, and the tick. A request of a key for which others wait already does not try to get ahead of them.
//!
//! One queue for all rules, because rules share keys. The bounds that a request meets are those of its own rule; when a
//! queue counts as standing is common to all, the largest `codel_target_ms` of any rule.
//!
//! Invariants: what waits in [`Queue`] and what is known of it here are the same streams; a stream is answered from the
//! tick only; a request is counted once, when it is admitted or finally refused, and not at all when its client goes away.

mod need;
mod refusing;
mod renumbering;
mod serving;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use forebay_admission::queue::{Bounds, Patience, Room, Settings};
use forebay_admission::{Charge, Class, Conditions, Entry, Lane, Nanos, NoWait, Queue, client_timeout};
use forebay_protocol::policy::{OnFailure, Queue as Allowed};

use crate::answer::Dialect;
use crate::effect::Metric;
use crate::host::Host;
use crate::keys::Keys;
use crate::policy::{CompiledPolicy, Rule};
use crate::streams::Stream;

pub(crate) use need::Need;
pub(crate) use serving::{End, Ended};

/// Tick period in milliseconds while something waits: with the 15 ms that a due stream may be late, three ticks.
pub const WAITING_TICK_MS: u32 = 4;

/// Bytes that the proxy may hold of a body of unknown length: the initial window of an HTTP/2 stream.
const WINDOW_BYTES: u64 = 65_535;

/// One tenant, and one connection, may hold a quarter of the bytes of bodies that may wait.
const PART_OF_BYTES: u64 = 4;

/// Of a client's own timeout a tenth, at most this, is kept for the answer's way back.
const ANSWER_TIME: u64 = 50 * Nanos::MILLI;

/// The id of its connection, 8 bytes.
const CONNECTION_ID: &str = "connection\0id";

/// A request that was refused for now.
pub(crate) struct Ask<'a> {
    pub(crate) stream: Stream,
    pub(crate) rule: &'a Rule,
    /// Of the tenant, in the keys.
    pub(crate) row: usize,
    /// Its name, where it may have buckets of its own without a contract; else empty.
    pub(crate) tenant: &'a [u8],
    pub(crate) charges: &'a [Charge],
    /// What it waits for.
    pub(crate) need: Need,
    /// Of a request that has its tokens and waits for a slot.
    pub(crate) lane: Option<Lane>,
    /// The guarded cluster that it goes to.
    pub(crate) cluster: Option<usize>,
    /// When there is something again.
    pub(crate) until: Nanos,
    pub(crate) now: Nanos,
}

/// What is known of a waiting stream beside its place.
#[derive(Clone, Debug)]
struct Waiter {
    entry: Entry,
    need: Need,
    row: usize,
    /// As in [`Ask`].
    tenant: Box<[u8]>,
    rule: usize,
    cluster: Option<usize>,
    dialect: Dialect,
    /// Resource and units.
    costs: Vec<(usize, u64)>,
    open_on_failure: bool,
}

/// Something for which somebody waits.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    streams: usize,
    until: Nanos,
}

/// What a worker lets wait.
#[derive(Debug)]
pub(crate) struct Waiting {
    queue: Queue,
    patience: Patience,
    waiters: BTreeMap<u32, Waiter>,
    awaited: BTreeMap<Need, Awaited>,
    /// Streams that lost their place when keys were renumbered: answered by the next tick.
    displaced: Vec<Waiter>,
    /// When something last waited, while the tick is short.
    short_since: Option<Nanos>,
    counts: [(Metric, u64); 4],
}

impl Waiting {
    pub(crate) fn new(policy: &CompiledPolicy) -> Self {
        let target = |queue: &Allowed| match queue.codel_target_ms {
            0 => u64::MAX,
            ms => u64::from(ms) * Nanos::MILLI,
        };
        let patience = Patience::default();
        let target_ns = policy.queues().map(target).max().unwrap_or(patience.target_ns);
        let names = [Metric::QueueWaited, Metric::QueueExpired, Metric::QueueShed, Metric::QueueFull];
        Self {
            queue: Queue::default(),
            patience: Patience { target_ns, ..patience },
            waiters: BTreeMap::new(),
            awaited: BTreeMap::new(),
            displaced: Vec::new(),
            short_since: None,
            counts: names.map(|name| (name, 0)),
        }
    }

    /// Whether the tick is the short one.
    pub(crate) fn ticks_short(&self) -> bool {
        self.short_since.is_some()
    }

    /// Whether this stream waits.
    pub(crate) fn knows(&self, stream: u32) -> bool {
        self.waiters.contains_key(&stream)
    }

    /// The key among `charges` for which others wait already, and until when.
    pub(crate) fn awaited(&self, charges: &[Charge]) -> Option<(usize, Nanos)> {
        if self.awaited.is_empty() {
            return None;
        }
        charges.iter().find_map(|charge| self.awaited_until(Need::Key(charge.key)).map(|until| (charge.key, until)))
    }

    /// Until when those that wait for this do so; `None` when nobody does.
    pub(crate) fn awaited_until(&self, need: Need) -> Option<Nanos> {
        self.awaited.get(&need).map(|found| found.until)
    }

    /// Lets a request wait; from now on the tick is short. `None` when it must be refused at once: the rule lets nobody wait
    /// (with a body), it would be too late, or there is no room.
    pub(crate) fn enter(
        &mut self,
        ask: &Ask<'_>,
        keys: &Keys,
        policy: &CompiledPolicy,
        conditions: &Conditions<'_>,
        host: &mut impl Host,
    ) -> Option<()> {
        let allowed = ask.rule.queue.as_ref()?;
        if !ask.stream.end_of_stream && !allowed.bodies {
            return None;
        }
        let client = [
            host.header("grpc-timeout").and_then(|value| client_timeout::grpc_timeout_ns(&value)),
            host.header("x-envoy-expected-rq-timeout-ms")
                .and_then(|value| client_timeout::expected_rq_timeout_ns(&value)),
        ];
        let in_time = |client_ns: u64| client_ns.saturating_sub((client_ns / 10).min(ANSWER_TIME));
        let max_wait_ns = u64::from(allowed.max_wait_ms).saturating_mul(Nanos::MILLI);
        let deadline = client_timeout::deadline(ask.now, max_wait_ns, client.map(|one| one.map(in_time)));
        if ask.until >= deadline {
            return None;
        }
        let charged = match ask.need {
            Need::Key(key) => key,
            Need::Slot { .. } => ask.charges.first()?.key,
        };
        let key = keys.keys.get(keys.named(charged))?;
        let term = policy.terms.of(&key.tenant, &key.resource);
        let slot = keys.accounts.get(charged).and_then(|account| account.grant().terms(ask.now).slot);
        let reserved = slot.is_some() && ask.now < conditions.valid_until;
        let lane = ask.lane.unwrap_or(if reserved { Lane::Reserved } else { Lane::Standard });
        let body_bytes = if ask.stream.end_of_stream { 0 } else { body_bytes(host) };
        let entry = Entry {
            stream: ask.stream.id,
            connection: connection(ask.stream.id, host),
            tenant: tenant(ask.row, ask.charges, keys),
            key: ask.need.line(),
            weight: term.weight,
            class: Class::new(lane, term.priority_class.unwrap_or(ask.rule.priority_class)),
            cost: ask.charges.iter().find(|charge| Need::Key(charge.key) == ask.need).map_or(1, |charge| charge.cost),
            body_bytes,
            arrival: ask.now,
            deadline,
        };
        self.queue.set_settings(Settings { bounds: bounds(allowed), patience: self.patience, ..Settings::default() });
        if let Err(why) = self.queue.push(entry, ask.now) {
            if matches!(why, NoWait::Full(_)) {
                self.count(Metric::QueueFull);
            }
            return None;
        }
        let costs = ask.rule.charges.iter().zip(ask.charges).map(|(named, charge)| (named.resource, charge.cost));
        let open_on_failure = ask.rule.on_failure == OnFailure::Open;
        let dialect = Dialect::of_content_type(host.header("content-type").as_deref());
        let (row, rule) = (ask.row, ask.rule.number);
        let waiter = Waiter {
            entry,
            need: ask.need,
            row,
            tenant: ask.tenant.into(),
            rule,
            cluster: ask.cluster,
            dialect,
            costs: costs.collect(),
            open_on_failure,
        };
        self.awaited.entry(ask.need).or_insert(Awaited { streams: 0, until: ask.until }).streams += 1;
        self.waiters.insert(ask.stream.id, waiter);
        self.defer(ask.stream.id, ask.need, ask.until, ask.now);
        self.count(Metric::QueueWaited);
        self.short_since = Some(ask.now);
        Some(())
    }

    /// The stream is over: it leaves no trace. Nothing happens when it does not wait.
    pub(crate) fn remove(&mut self, stream: u32) {
        self.queue.remove(stream);
        self.forget(stream);
        self.displaced.retain(|waiter| waiter.entry.stream != stream);
    }

    /// It waits for this until then.
    fn defer(&mut self, stream: u32, need: Need, until: Nanos, now: Nanos) {
        self.queue.defer(stream, need.line(), until, now);
        let Some(waiter) = self.waiters.get_mut(&stream) else { return };
        let before = core::mem::replace(&mut waiter.need, need);
        if before != need {
            self.awaited.entry(need).or_insert(Awaited { streams: 0, until }).streams += 1;
            self.leave(before);
        }
        if let Some(awaited) = self.awaited.get_mut(&need) {
            awaited.until = until;
        }
    }

    fn leave(&mut self, need: Need) {
        if let Some(awaited) = self.awaited.get_mut(&need) {
            awaited.streams = awaited.streams.saturating_sub(1);
            if awaited.streams == 0 {
                self.awaited.remove(&need);
            }
        }
    }

    fn forget(&mut self, stream: u32) -> Option<Waiter> {
        let waiter = self.waiters.remove(&stream)?;
        self.leave(waiter.need);
        Some(waiter)
    }

    fn count(&mut self, metric: Metric) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == metric) {
            *count = count.saturating_add(1);
        }
    }
}

impl Waiter {
    /// What it takes now: keys may have been renumbered, and slots may have passed to other names since it came.
    fn charges(&self, keys: &mut Keys, when: (&Conditions<'_>, Nanos), host: &mut impl Host) -> Vec<Charge> {
        let charge = |(resource, cost): &(usize, u64)| Charge { key: keys.key(self.row, *resource), cost: *cost };
        let mut charges: Vec<Charge> = self.costs.iter().map(charge).collect();
        if !self.tenant.is_empty() {
            keys.place(&mut charges, &self.tenant, when.0, when.1, host);
        }
        charges
    }
}

/// Who shares with others of a class: the tenant by its row, which is below the number of keys, or by its slot behind
/// them.
fn tenant(row: usize, charges: &[Charge], keys: &Keys) -> usize {
    charges.iter().map(|charge| charge.key).find(|key| *key >= keys.keys.len()).unwrap_or(row)
}

fn bounds(allowed: &Allowed) -> Bounds {
    let part = Room { streams: 0, bytes: allowed.max_bytes / PART_OF_BYTES };
    let waiting = allowed.max_waiting;
    Bounds {
        vm: Room { streams: u64::from(waiting.per_vm), bytes: allowed.max_bytes },
        tenant: Room { streams: u64::from(waiting.per_tenant), ..part },
        connection: Room { streams: u64::from(waiting.per_connection), ..part },
    }
}

/// Its own connection where the host does not say which.
fn connection(stream: u32, host: &mut impl Host) -> u64 {
    let id = host.property(CONNECTION_ID).ok().flatten();
    let id = id.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_slice().try_into().ok()?)));
    id.unwrap_or(u64::MAX - u64::from(stream))
}

/// What the proxy may hold of the request's body.
fn body_bytes(host: &mut impl Host) -> u64 {
    let length = host.header("content-length");
    let length = length.and_then(|value| core::str::from_utf8(&value).ok()?.parse::<u64>().ok());
    length.unwrap_or(WINDOW_BYTES)
}
