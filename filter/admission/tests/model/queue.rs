//! The queue against a naive oracle: random operations, a plain list beside it that recomputes everything.

use std::collections::BTreeMap;
use std::time::Instant;

use forebay_admission::Nanos;
use forebay_admission::queue::{
    Bound, Bounds, Class, Entry, LANE_ROOM_PERCENT, NoWait, Patience, Queue, Room, Settings,
};
use proptest::prelude::*;

const MS: u64 = Nanos::MILLI;

fn settings() -> Settings {
    Settings {
        bounds: Bounds {
            vm: Room { streams: 24, bytes: 400 },
            tenant: Room { streams: 9, bytes: 150 },
            connection: Room { streams: 5, bytes: 100 },
        },
        patience: Patience { target_ns: 5 * MS, interval_ns: 50 * MS },
        age_after_ns: 10 * MS,
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push { tenant: usize, key: usize, connection: u64, rank: u8, priority: u8, cost: u64, bytes: u64, wait_ms: u64 },
    Release,
    Defer { key: usize, wait_ms: u64 },
    Wake { tenant: usize, key: usize },
    WakeAll,
    Reset { pick: usize },
    Expire,
    Shed,
    Pass { ms: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0usize..4, 0usize..2, 0u64..5, 0u8..3, 0u8..3, 0u64..9, 0u64..40, 0u64..80).prop_map(
            |(tenant, key, connection, rank, priority, cost, bytes, wait_ms)| {
                Op::Push { tenant, key: tenant * 2 + key, connection, rank, priority, cost, bytes, wait_ms }
            }
        ),
        3 => Just(Op::Release),
        2 => (0usize..3, 0u64..30).prop_map(|(key, wait_ms)| Op::Defer { key, wait_ms }),
        1 => (0usize..4, 0usize..9).prop_map(|(tenant, key)| Op::Wake { tenant, key }),
        1 => Just(Op::WakeAll),
        1 => any::<usize>().prop_map(|pick| Op::Reset { pick }),
        1 => Just(Op::Expire),
        1 => Just(Op::Shed),
        2 => (0u64..12).prop_map(|ms| Op::Pass { ms }),
    ]
}

/// What the oracle knows: the list of who waits, and until when each key is parked.
#[derive(Default)]
struct Oracle {
    waiting: Vec<Entry>,
    parked: BTreeMap<(usize, usize), Nanos>,
}

impl Oracle {
    fn sum(&self, of: impl Fn(&Entry) -> bool) -> Room {
        let chosen = self.waiting.iter().filter(|entry| of(entry));
        chosen.fold(Room { streams: 0, bytes: 0 }, |room, entry| Room {
            streams: room.streams + 1,
            bytes: room.bytes + entry.body_bytes,
        })
    }

    /// The first bound that one more stream would break, recomputed from the list.
    fn full(&self, entry: &Entry) -> Option<Bound> {
        let bounds = settings().bounds;
        let part = LANE_ROOM_PERCENT[entry.class.lane_rank()];
        let vm = Room { streams: bounds.vm.streams * part / 100, bytes: bounds.vm.bytes * part / 100 };
        let rows = [
            (self.sum(|_| true), vm, Bound::VmStreams, Bound::VmBytes),
            (self.sum(|e| e.tenant == entry.tenant), bounds.tenant, Bound::TenantStreams, Bound::TenantBytes),
            (
                self.sum(|e| e.connection == entry.connection),
                bounds.connection,
                Bound::ConnectionStreams,
                Bound::ConnectionBytes,
            ),
        ];
        rows.into_iter().find_map(|(held, room, streams, bytes)| {
            if held.streams >= room.streams {
                Some(streams)
            } else if entry.body_bytes > 0 && held.bytes + entry.body_bytes > room.bytes {
                Some(bytes)
            } else {
                None
            }
        })
    }

    fn ready(&self, entry: &Entry, now: Nanos) -> bool {
        now < entry.deadline && self.parked.get(&(entry.tenant, entry.key)).is_none_or(|until| *until <= now)
    }

    fn leave(&mut self, stream: u32) -> Option<Entry> {
        let at = self.waiting.iter().position(|entry| entry.stream == stream)?;
        let entry = self.waiting.remove(at);
        // A key that nobody waits for is not parked any more.
        let row = (entry.tenant, entry.key);
        if !self.waiting.iter().any(|entry| (entry.tenant, entry.key) == row) {
            self.parked.remove(&row);
        }
        Some(entry)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Conservation, bounds, deadlines, heads of lines and emptiness, after every operation.
    #[test]
    fn agrees_with_a_plain_list(ops in proptest::collection::vec(op(), 1..250)) {
        let mut queue = Queue::new(settings());
        let mut oracle = Oracle::default();
        let (mut now, mut pushed, mut left) = (Nanos(MS), 0u32, 0u32);
        for op in ops {
            match op {
                Op::Push { tenant, key, connection, rank, priority, cost, bytes, wait_ms } => {
                    let (stream, deadline) = (pushed, now.plus(wait_ms * MS));
                    let entry = Entry {
                        stream, connection, tenant, key, weight: 1 + tenant as u32, class: Class::at(rank, priority),
                        cost, body_bytes: bytes, arrival: now, deadline,
                    };
                    let expected = match oracle.full(&entry) {
                        _ if wait_ms == 0 => Err(NoWait::Late),
                        Some(bound) => Err(NoWait::Full(bound)),
                        None => Ok(()),
                    };
                    prop_assert_eq!(queue.push(entry, now), expected);
                    if expected.is_ok() {
                        pushed += 1;
                        oracle.waiting.push(entry);
                    }
                }
                Op::Release => {
                    let Some(next) = queue.next(now) else {
                        prop_assert!(oracle.waiting.iter().all(|entry| !oracle.ready(entry, now)));
                        continue;
                    };
                    prop_assert!(oracle.ready(&next, now), "{:?} at {:?}", next, now);
                    // Nobody of its own line came before it, and no better class of its own key is passed over unless overdue.
                    for other in oracle.waiting.iter().filter(|e| oracle.ready(e, now)) {
                        let line = (other.tenant, other.key, other.class) == (next.tenant, next.key, next.class);
                        prop_assert!(!line || other.stream >= next.stream, "{:?} before {:?}", next, other);
                        let overdue = |class| oracle.waiting.iter().any(|e| e.class == class && now.since(e.arrival) >= 10 * MS);
                        prop_assert!(other.class >= next.class || overdue(next.class));
                    }
                    prop_assert_eq!(queue.release(next.stream, now), Some(next));
                    prop_assert_eq!(oracle.leave(next.stream), Some(next));
                    left += 1;
                }
                Op::Defer { key, wait_ms } => {
                    if let Some(next) = queue.next(now) {
                        // Key 2 stands for "the one it waits for", else a key of the same tenant.
                        let key = if key == 2 { next.key } else { next.tenant * 2 + key };
                        let until = now.plus(wait_ms * MS);
                        queue.defer(next.stream, key, until, now);
                        oracle.leave(next.stream);
                        oracle.waiting.push(Entry { key, ..next });
                        oracle.waiting.sort_by_key(|entry| entry.stream);
                        oracle.parked.insert((next.tenant, key), until.max(now.plus(1)));
                    }
                }
                Op::Wake { tenant, key } => {
                    queue.wake(tenant, key);
                    oracle.parked.remove(&(tenant, key));
                }
                Op::WakeAll => {
                    queue.wake_all();
                    oracle.parked.clear();
                }
                Op::Reset { pick } => {
                    if let Some(entry) = oracle.waiting.get(pick % oracle.waiting.len().max(1)).copied() {
                        prop_assert_eq!(queue.remove(entry.stream), oracle.leave(entry.stream));
                        left += 1;
                    }
                    prop_assert_eq!(queue.remove(u32::MAX), None);
                }
                Op::Expire => {
                    let earliest = oracle.waiting.iter().map(|e| e.deadline).min().filter(|at| *at <= now);
                    let expired = queue.expired(now);
                    prop_assert_eq!(expired.map(|entry| entry.deadline), earliest);
                    if let Some(entry) = expired {
                        prop_assert_eq!(oracle.leave(entry.stream), Some(entry));
                        left += 1;
                    }
                }
                Op::Shed => {
                    if let Some(entry) = queue.shed(now) {
                        let line = |e: &&Entry| (e.tenant, e.key, e.class) == (entry.tenant, entry.key, entry.class);
                        let oldest = oracle.waiting.iter().filter(|e| e.deadline > now).find(line).map(|e| e.arrival);
                        prop_assert!(oldest.is_none_or(|at| at >= entry.arrival));
                        prop_assert!(oracle.waiting.iter().filter(line).count() > 1);
                        prop_assert_eq!(oracle.leave(entry.stream), Some(entry));
                        left += 1;
                    }
                }
                Op::Pass { ms } => now = now.plus(ms * MS),
            }
            prop_assert_eq!(queue.len(), oracle.waiting.len());
            prop_assert_eq!(queue.len() as u32 + left, pushed);
            prop_assert_eq!(queue.held(), oracle.sum(|_| true));
            let event = queue.next_event(now);
            prop_assert_eq!(event.is_some(), !oracle.waiting.is_empty());
            if let Some(at) = event {
                // It never sleeps past a deadline or past the end of a parking.
                for entry in &oracle.waiting {
                    prop_assert!(at <= entry.deadline.max(now));
                    let wake = oracle.parked.get(&(entry.tenant, entry.key)).copied().unwrap_or(now);
                    prop_assert!(at <= wake.max(now) || entry.deadline <= now);
                }
            }
        }
        while let Some(entry) = queue.expired(Nanos(u64::MAX)) {
            prop_assert_eq!(oracle.leave(entry.stream), Some(entry));
        }
        prop_assert!(oracle.waiting.is_empty());
        prop_assert_eq!(queue.rows(), 0, "nothing waits, nothing is kept");
    }

    /// Two backlogged tenants of one class share by weight within Golestani's bound at every moment.
    #[test]
    fn backlogged_tenants_share_by_weight(
        weights in (1u32..20, 1u32..20),
        costs in (1u64..50, 1u64..50),
        resets in proptest::collection::vec(any::<bool>(), 50..300),
    ) {
        let room = Room { streams: 10_000, bytes: 0 };
        let bounds = Bounds { vm: room, tenant: room, connection: room };
        let mut queue = Queue::new(Settings { bounds, ..Settings::default() });
        let now = Nanos(MS);
        let mut stream = 0;
        let mut push = |queue: &mut Queue, tenant: usize| {
            stream += 1;
            let (weight, cost) = if tenant == 0 { (weights.0, costs.0) } else { (weights.1, costs.1) };
            let entry = Entry {
                stream, connection: 0, tenant, key: tenant, weight, class: Class::at(1, 1), cost, body_bytes: 0,
                arrival: now, deadline: Nanos(u64::MAX),
            };
            queue.push(entry, now).map(|()| stream)
        };
        for _ in 0..3 {
            prop_assert!(push(&mut queue, 0).is_ok() && push(&mut queue, 1).is_ok());
        }
        let mut served = [0u64; 2];
        for reset in resets {
            if reset {
                // Streams that come and go change nothing.
                let stream = push(&mut queue, 0).unwrap();
                queue.remove(stream);
            }
            let next = queue.next(now).unwrap();
            queue.release(next.stream, now).unwrap();
            served[next.tenant] += next.cost;
            prop_assert!(push(&mut queue, next.tenant).is_ok());
            let per_weight = |tenant: usize, weight: u32| served[tenant] as f64 / f64::from(weight);
            let gap = (per_weight(0, weights.0) - per_weight(1, weights.1)).abs();
            let bound = costs.0 as f64 / f64::from(weights.0) + costs.1 as f64 / f64::from(weights.1);
            prop_assert!(gap <= bound + 1e-6, "{} > {}", gap, bound);
        }
    }
}

/// Prints what a tick costs natively: `cargo test --release -p forebay-admission --test queue tick -- --nocapture`.
#[test]
fn a_tick_over_a_thousand_waiting_streams() {
    let mut micros = Vec::new();
    let mut steps = 0;
    for _ in 0..200 {
        let mut queue = Queue::default();
        for stream in 0..1_000u32 {
            let tenant = (stream % 250) as usize;
            let entry = Entry {
                stream,
                connection: u64::from(stream / 8),
                tenant,
                key: tenant,
                weight: 1 + stream % 3,
                class: Class::at((stream % 2) as u8, (stream % 4) as u8),
                cost: 1,
                body_bytes: 0,
                arrival: Nanos(MS),
                deadline: Nanos(500 * MS),
            };
            queue.push(entry, Nanos(MS)).unwrap();
        }
        let (before, start, now) = (queue.steps(), Instant::now(), Nanos(200 * MS));
        for _ in 0..64 {
            let next = queue.next(now).unwrap();
            queue.release(next.stream, now).unwrap();
        }
        micros.push(start.elapsed().as_micros());
        steps = queue.steps() - before;
    }
    micros.sort_unstable();
    println!("64 releases of 1,000 waiting: {steps} map steps, {} us (median of 200)", micros[100]);
    assert!(steps < 64 * 60);
}
