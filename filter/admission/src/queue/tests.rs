use super::*;
use core::mem::size_of;

extern crate std;

const MS: u64 = Nanos::MILLI;

fn entry(stream: u32) -> Entry {
    Entry {
        stream,
        connection: u64::from(stream),
        tenant: 0,
        key: 0,
        weight: 1,
        class: Class::at(1, 3),
        cost: 1,
        body_bytes: 0,
        arrival: Nanos(0),
        deadline: Nanos(1_000 * MS),
    }
}

fn queue(entries: &[Entry]) -> Queue {
    let mut queue = Queue::default();
    for entry in entries {
        queue.push(*entry, entry.arrival).unwrap();
    }
    queue
}

/// Releases until nothing is ready.
fn drain(queue: &mut Queue, now: Nanos) -> alloc::vec::Vec<u32> {
    core::iter::from_fn(|| {
        let stream = queue.next(now)?.stream;
        queue.release(stream, now).map(|entry| entry.stream)
    })
    .collect()
}

#[test]
fn classes_then_age_and_nothing_stays_behind() {
    let class = |stream, rank, priority| Entry { class: Class::at(rank, priority), ..entry(stream) };
    let mut queue = queue(&[class(1, 1, 7), class(2, 1, 0), class(3, 0, 7), class(4, 1, 0), class(5, 0, 0)]);
    assert_eq!(drain(&mut queue, Nanos(MS)), [5, 3, 2, 4, 1]);
    assert_eq!((queue.rows(), queue.next_event(Nanos(0))), (0, None));
}

#[test]
fn an_empty_key_blocks_neither_other_tenants_nor_its_tenants_other_keys() {
    let at = |stream, tenant, key| Entry { tenant, key, ..entry(stream) };
    let mut queue = queue(&[at(1, 0, 10), at(2, 0, 10), at(3, 0, 11), at(4, 1, 20)]);
    let now = Nanos(MS);
    assert_eq!(queue.next(now).map(|entry| entry.stream), Some(1));
    queue.defer(1, 10, Nanos(5 * MS), now);
    let mut rest = drain(&mut queue, now);
    rest.sort_unstable();
    assert_eq!(rest, [3, 4]);
    assert_eq!(queue.next_event(now), Some(Nanos(5 * MS)));
    assert_eq!(queue.next(Nanos(5 * MS - 1)), None);
    assert_eq!(drain(&mut queue, Nanos(5 * MS)), [1, 2]);
}

#[test]
fn a_stream_refused_by_another_key_waits_for_that_one() {
    let mut queue = queue(&[entry(1), entry(2)]);
    queue.defer(1, 7, Nanos(9 * MS), Nanos(0));
    assert_eq!(drain(&mut queue, Nanos(0)), [2], "key 0 is not blocked by what key 7 lacks");
    queue.wake(0, 7);
    assert_eq!(drain(&mut queue, Nanos(0)), [1]);
}

#[test]
fn a_deferral_into_the_past_still_ends_the_tick() {
    let mut queue = queue(&[entry(1)]);
    queue.defer(1, 0, Nanos(0), Nanos(MS));
    assert_eq!(queue.next(Nanos(MS)), None);
    assert_eq!(queue.next_event(Nanos(MS)), Some(Nanos(MS + 1)));
}

#[test]
fn deadlines_are_exact_and_client_resets_leave_no_trace() {
    let mut queue = queue(&[entry(1), entry(2), Entry { deadline: Nanos(10 * MS), ..entry(3) }]);
    assert_eq!(queue.push(Entry { deadline: Nanos(5), ..entry(4) }, Nanos(5)), Err(NoWait::Late));
    assert_eq!(queue.push(entry(1), Nanos(0)), Err(NoWait::Known));
    assert_eq!(queue.remove(1).map(|entry| entry.stream), Some(1));
    assert_eq!(queue.remove(1), None);
    assert_eq!(queue.expired(Nanos(10 * MS - 1)), None);
    assert_eq!(queue.release(3, Nanos(10 * MS)), None, "too late, it is refused");
    assert_eq!(drain(&mut queue, Nanos(10 * MS)), [2]);
    assert_eq!(queue.expired(Nanos(10 * MS)).map(|entry| entry.stream), Some(3));
    assert_eq!((queue.expired(Nanos(u64::MAX)), queue.rows()), (None, 0));
}

#[test]
fn a_reset_does_not_cost_the_tenant_its_turn() {
    let of = |stream, tenant, cost| Entry { tenant, key: tenant, cost, ..entry(stream) };
    let mut queue = queue(&[of(1, 1, 2), of(2, 1, 2), of(3, 2, 3), of(4, 2, 3)]);
    for stream in 100..140 {
        queue.push(of(stream, 1, 50), Nanos(0)).unwrap();
    }
    for stream in 100..140 {
        queue.remove(stream);
    }
    assert_eq!(drain(&mut queue, Nanos(MS)), [1, 3, 2, 4]);
}

#[test]
fn a_standing_line_loses_its_oldest() {
    let mut queue = Queue::default();
    let mut shed = alloc::vec![];
    // Key 0 gets a token each 20 ms and a request each 10 ms; key 1 has a burst that is over at once.
    for step in 0..200u64 {
        let now = Nanos(step * 10 * MS);
        let class = Class::at(if step % 4 == 0 { 0 } else { 1 }, 0);
        let deadline = now.plus(5_000 * MS);
        queue.push(Entry { class, arrival: now, deadline, ..entry(step as u32) }, now).unwrap();
        while let Some(entry) = queue.shed(now) {
            assert_eq!(entry.class.lane_rank(), 1, "reserved requests go last");
            shed.push(now.since(entry.arrival) / MS);
        }
        if let Some(next) = queue.next(now) {
            if step % 2 == 0 {
                queue.release(next.stream, now).unwrap();
            }
            if let Some(next) = queue.next(now) {
                queue.defer(next.stream, 0, now.plus(5 * MS), now);
            }
        }
    }
    assert!(shed.len() > 5, "{shed:?}");
    assert!(shed.iter().all(|waited_ms| *waited_ms >= TARGET / MS), "{shed:?}");
    // A lone stream is never shed, however long it waits.
    let mut lone = self::queue(&[Entry { deadline: Nanos(u64::MAX), ..entry(1) }]);
    for step in 1..100 {
        let now = Nanos(step * 100 * MS);
        lone.defer(1, 0, now, now);
        assert_eq!(lone.shed(now), None);
    }
}

#[test]
fn an_overdue_class_is_passed_over_by_a_bounded_number_of_units() {
    for cost in [1u64, 5] {
        let mut queue = Queue::default();
        let mut stream = 0;
        let mut push = |queue: &mut Queue, rank, cost, now: Nanos| {
            stream += 1;
            let (arrival, deadline) = (now, now.plus(1 << 50));
            let tenant = usize::from(rank);
            let class = Class::at(rank, 0);
            queue.push(Entry { class, tenant, key: tenant, cost, arrival, deadline, ..entry(stream) }, now).unwrap();
        };
        for _ in 0..20 {
            push(&mut queue, 2, cost, Nanos(0));
            push(&mut queue, 1, cost, Nanos(0));
        }
        // The best class is flooded without end.
        let (mut passed, mut most, mut aged) = (0, 0, 0);
        for step in 0..200u64 {
            let now = Nanos(AGE_AFTER + step * MS);
            push(&mut queue, 0, 1, now);
            let next = queue.next(now).unwrap();
            if next.class.lane_rank() == 0 {
                passed += 1;
            } else {
                most = most.max(passed);
                (passed, aged) = (0, aged + 1);
            }
            queue.release(next.stream, now).unwrap();
        }
        assert!(most <= (AGED_PART - 1) * cost + 1, "passed over by {most} units");
        assert!(aged >= 200 / (1 + (AGED_PART - 1) * cost), "{aged}");
    }
}

#[test]
fn a_tick_over_a_thousand_streams_is_cheap() {
    let mut queue = Queue::default();
    let now = Nanos(MS);
    // The worst shape for the tick: as many tenants, keys and classes as streams allow.
    for stream in 0..1_000u32 {
        let tenant = (stream % 500) as usize;
        let class = Class::at((stream % 2) as u8, (stream % 7) as u8);
        queue.push(Entry { tenant, key: tenant, class, weight: 1 + stream % 3, ..entry(stream) }, now).unwrap();
    }
    let before = queue.steps();
    for _ in 0..64 {
        let next = queue.next(now).unwrap();
        queue.release(next.stream, now).unwrap();
    }
    let released = queue.steps() - before;
    for _ in 0..64 {
        let next = queue.next(now).unwrap();
        queue.defer(next.stream, next.key, Nanos(2 * MS), now);
    }
    let deferred = queue.steps() - before - released;
    // About twenty map operations a stream (with up to 13 overdue classes to look at), each some ten comparisons.
    assert!(released <= 64 * 60, "{released} steps for 64 releases");
    assert!(deferred <= 64 * 60, "{deferred} steps for 64 deferrals");
    let before = queue.steps();
    assert!(queue.next_event(now).is_some());
    assert_eq!(queue.expired(now), None);
    assert_eq!(queue.shed(now), None);
    assert_eq!(queue.steps() - before, 0, "an idle tick does nothing");
}

#[test]
fn the_queues_own_memory_is_small() {
    // One stream has at most one row in each map, and a B-tree node is at least five elevenths full.
    let row = size_of::<(Place, Ticket)>()
        + size_of::<((usize, usize), Nanos)>()
        + size_of::<(Nanos, usize, usize)>()
        + size_of::<(Nanos, LineId)>()
        + size_of::<((Class, usize, u64), usize)>()
        + size_of::<(Class, Nanos, u64)>()
        + size_of::<((Class, usize), [u128; 4])>()
        + size_of::<(Class, u128, usize)>()
        + size_of::<(u32, Waiting)>()
        + size_of::<(Nanos, u32)>()
        + size_of::<(LineId, Line)>()
        + size_of::<(usize, [u64; 2])>() * 2;
    let bytes = row as u64 * 11 / 5 * Bounds::default().vm.streams;
    assert!(bytes <= 16 << 17, "{row} bytes a stream, {bytes} in all");
}
