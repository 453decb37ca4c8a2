//! The concurrency guard against a naive oracle: several workers of a proxy, random operations, VMs that crash or sleep.

use std::collections::BTreeMap;

use forebay_admission::Contended;
use forebay_admission::Nanos;
use forebay_admission::concurrency::{
    ClusterState, Ending, Guard, GuardLedger, GuardSettings, HOLDER_EXPIRY, LANE_PERCENT, MIN_SAMPLES, Strategy as By,
};
use proptest::prelude::*;

const MS: u64 = Nanos::MILLI;

/// One cluster's record, encoded as in shared data; counts accesses, and loses a race when told to.
#[derive(Default)]
struct Shared {
    bytes: Option<Vec<u8>>,
    accesses: u64,
    contended: bool,
}

impl Shared {
    fn state(&self) -> Option<ClusterState> {
        self.bytes.as_deref().map(|bytes| ClusterState::decode(bytes).unwrap())
    }
}

impl GuardLedger for Shared {
    fn replace(
        &mut self,
        _: usize,
        change: &mut dyn FnMut(Option<ClusterState>) -> Option<ClusterState>,
    ) -> Result<(), Contended> {
        self.accesses += 1;
        // A lost race: the change is computed, thrown away, and computed again.
        change(self.state());
        if self.contended {
            return Err(Contended);
        }
        if let Some(new) = change(self.state()) {
            self.bytes = Some(new.encode().to_vec());
        }
        Ok(())
    }
}

fn settings(limit: u64) -> GuardSettings {
    GuardSettings { start: limit, least: 1, most: limit, max_flight_ns: 60_000 * MS, ..GuardSettings::default() }
}

#[derive(Clone, Debug)]
enum Op {
    Begin { worker: usize, rank: usize },
    End { pick: usize },
    Sync { worker: usize },
    Pass { ms: u64 },
    Race { lost: bool },
    Crash { worker: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0usize..3, prop_oneof![1 => Just(0usize), 1 => Just(1), 6 => Just(2)]).prop_map(|(worker, rank)| Op::Begin { worker, rank }),
        4 => any::<usize>().prop_map(|pick| Op::End { pick }),
        2 => (0usize..3).prop_map(|worker| Op::Sync { worker }),
        2 => (0u64..50).prop_map(|ms| Op::Pass { ms }),
        1 => prop::bool::weighted(0.3).prop_map(|lost| Op::Race { lost }),
        1 => (0usize..3).prop_map(|worker| Op::Crash { worker }),
    ]
}

/// Requests end and begin in the same instant, so that no slot is ever free at a tick.
#[test]
fn a_falling_limit_is_reached_though_every_slot_is_wanted_again_at_once() {
    let delay = By::Delay { target_ns: MS };
    let settings = GuardSettings { strategy: delay, start: 40, least: 4, most: 40, ..GuardSettings::default() };
    let mut shared = Shared::default();
    let mut workers = [Guard::new(settings, 1), Guard::new(settings, 2)];
    let (mut now, mut stream) = (Nanos(MS), 0u32);
    let mut flying: Vec<(usize, u32)> = Vec::new();
    for step in 0..40_000u32 {
        now = now.plus(MS);
        if step % 5 == 0 && !flying.is_empty() {
            let (worker, ended) = flying.remove(0);
            workers[worker].end(ended, Ending::Measured, now);
        }
        for (worker, guard) in workers.iter_mut().enumerate() {
            for rank in [0, 1] {
                stream += 1;
                // Few reserved requests, and as many others as there is room for.
                if (rank == 1 || step % 50 == 0) && guard.begin(0, stream, rank, now, &mut shared).is_ok() {
                    flying.push((worker, stream));
                }
            }
            if step % 50 == 0 {
                guard.sync(0, now, &mut shared);
            }
        }
        assert_eq!(flying.len(), workers.iter().map(Guard::in_flight).sum::<usize>());
    }
    assert_eq!(shared.state().unwrap().limiter.slots(), 4, "everything was slow");
    assert!(flying.len() <= 4, "{} in flight of 4", flying.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// With a limit that stays: in flight of the live workers <= slots held <= limit, worse lanes within their parts.
    #[test]
    fn never_more_in_flight_than_the_limit(limit in 1u64..30, ops in proptest::collection::vec(op(), 1..400)) {
        // A target that no request misses holds the limit where it is, at its most.
        let settings = GuardSettings { strategy: By::Delay { target_ns: u64::MAX }, ..settings(limit) };
        let mut shared = Shared::default();
        let mut ids = 0;
        let mut boot = || { ids += 1; Guard::new(settings, ids) };
        let mut workers = [boot(), boot(), boot()];
        let mut flying: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        let (mut now, mut stream) = (Nanos(0), 0);
        for op in ops {
            match op {
                Op::Begin { worker, rank } => {
                    stream += 1;
                    if workers[worker].begin(0, stream, rank, now, &mut shared).is_ok() {
                        flying.insert(stream, (worker, rank));
                    }
                }
                Op::End { pick } => {
                    if let Some(stream) = flying.keys().nth(pick % flying.len().max(1)).copied() {
                        let (worker, _) = flying.remove(&stream).unwrap();
                        workers[worker].end(stream, Ending::Measured, now);
                    }
                }
                Op::Sync { worker } => workers[worker].sync(0, now, &mut shared),
                Op::Pass { ms } => {
                    now = now.plus(ms * MS);
                    // The tick comes to every live worker.
                    shared.contended = false;
                    for worker in &mut workers {
                        worker.sync(0, now, &mut shared);
                    }
                }
                Op::Race { lost } => shared.contended = lost,
                Op::Crash { worker } => {
                    workers[worker] = boot();
                    flying.retain(|_, (of, _)| *of != worker);
                }
            }
            let held: u64 = workers.iter().map(Guard::held).sum();
            prop_assert_eq!(workers.iter().map(Guard::in_flight).sum::<usize>(), flying.len());
            prop_assert!(flying.len() as u64 <= held, "{} in flight on {} slots", flying.len(), held);
            prop_assert!(held <= limit, "{} slots of {}", held, limit);
            prop_assert!(shared.state().is_none_or(|state| state.leased() <= limit && state.leased() >= held));
            for (rank, percent) in LANE_PERCENT.iter().enumerate() {
                let part = (limit * percent / 100).max(1);
                let worse = flying.values().filter(|(_, lane)| *lane >= rank).count() as u64;
                prop_assert!(worse <= part, "{} of rank {} and worse, {} allowed", worse, rank, part);
            }
        }
        // Nothing leaks: when all has ended and crashed VMs have expired, the whole limit can be had again.
        for (stream, (worker, _)) in flying {
            workers[worker].end(stream, Ending::Ignored, now);
        }
        shared.contended = false;
        now = now.plus(HOLDER_EXPIRY);
        for worker in &mut workers {
            worker.sync(0, now, &mut shared);
            prop_assert_eq!(worker.held(), 0);
        }
        for extra in 0..limit {
            prop_assert!(workers[0].begin(0, u32::MAX - extra as u32, 0, now, &mut shared).is_ok());
        }
        prop_assert!(workers[0].begin(0, 0, 0, now, &mut shared).is_err());
    }
}

#[test]
fn reserved_goes_first_when_slots_are_short() {
    let mut shared = Shared::default();
    let mut guard = Guard::new(settings(40), 1);
    let mut begin = |streams: std::ops::Range<u32>, rank| {
        streams.filter(|stream| guard.begin(0, *stream, rank, Nanos(0), &mut shared).is_ok()).count()
    };
    assert_eq!(begin(0..100, 2), 30, "borrowed gets three quarters");
    assert_eq!(begin(100..200, 1), 6, "standard up to nine tenths");
    assert_eq!(begin(200..300, 0), 4, "reserved all of it");
    for stream in 0..30 {
        guard.end(stream, Ending::Ignored, Nanos(1));
    }
    let mut begin = |streams: std::ops::Range<u32>, rank| {
        streams.filter(|stream| guard.begin(0, *stream, rank, Nanos(1), &mut shared).is_ok()).count()
    };
    assert_eq!(begin(300..400, 0), 30, "and the slots of the worse lanes when they are free");
}

#[test]
fn a_vm_that_slept_too_long_claims_its_requests_again() {
    let mut shared = Shared::default();
    let (mut sleeper, mut other) = (Guard::new(settings(10), 1), Guard::new(settings(10), 2));
    for stream in 0..10 {
        sleeper.begin(0, stream, 0, Nanos(0), &mut shared).unwrap();
    }
    let later = Nanos(HOLDER_EXPIRY);
    assert_eq!((0..10).filter(|stream| other.begin(0, *stream, 0, later, &mut shared).is_ok()).count(), 10);
    sleeper.sync(0, later, &mut shared);
    assert_eq!(shared.state().unwrap().leased(), 20, "above the limit by the sleeper's requests, and it is known");
    other.end(0, Ending::Ignored, later);
    other.sync(0, later, &mut shared);
    assert!(other.begin(0, 99, 0, later, &mut shared).is_err(), "nobody draws before the sum is below the limit");
}

#[test]
fn a_request_that_never_ends_is_given_up() {
    let mut shared = Shared::default();
    let mut guard = Guard::new(settings(5), 1);
    guard.begin(0, 1, 0, Nanos(0), &mut shared).unwrap();
    guard.sync(0, Nanos(60_000 * MS - 1), &mut shared);
    assert_eq!(guard.in_flight(), 1);
    guard.sync(0, Nanos(60_000 * MS), &mut shared);
    assert_eq!((guard.in_flight(), guard.held()), (0, 0));
    guard.end(1, Ending::Measured, Nanos(60_001 * MS));
    guard.sync(0, Nanos(60_001 * MS), &mut shared);
    assert_eq!(shared.state().unwrap().window.count, 0, "and its late end does not count");
}

#[test]
fn steady_load_and_floods_of_refusals_rarely_touch_shared_data() {
    let mut shared = Shared::default();
    let settings = GuardSettings { most: 1_000, ..settings(1_000) };
    let mut guard = Guard::new(settings, 1);
    // 200 in flight at a time, 10,000 requests, a tick each 100 of them.
    for stream in 0..10_000u32 {
        let now = Nanos(u64::from(stream) * MS / 10);
        if stream >= 200 {
            guard.end(stream - 200, Ending::Measured, now);
        }
        guard.begin(0, stream, 1, now, &mut shared).unwrap();
        if stream % 100 == 0 {
            guard.sync(0, now, &mut shared);
        }
    }
    assert!(shared.accesses < 300, "{} accesses", shared.accesses);
    let mut refused = 0;
    let (now, before) = (Nanos(1_000 * MS), shared.accesses);
    for stream in 20_000..30_000 {
        refused += u32::from(guard.begin(0, stream, 2, now, &mut shared).is_err());
    }
    assert!(refused > 9_000 && shared.accesses - before < 100, "{refused}, {}", shared.accesses - before);
}

/// An upstream whose latency grows with what is in flight above its capacity: through all layers, two workers.
#[test]
fn follows_an_upstream_that_gets_slow_and_recovers() {
    for strategy in [By::Gradient, By::Delay { target_ns: 40 * MS }] {
        let settings = GuardSettings { strategy, ..GuardSettings::default() };
        let mut shared = Shared::default();
        let mut workers = [Guard::new(settings, 1), Guard::new(settings, 2)];
        let mut flying: Vec<(Nanos, usize, u32)> = Vec::new();
        let (mut stream, mut limits) = (0, Vec::new());
        for tick in 0..12_000u64 {
            let now = Nanos(tick * 20 * MS);
            let slow = if (100_000..120_000).contains(&(tick * 20)) { 8 } else { 1 };
            flying.retain(|(ends, worker, stream)| {
                if *ends <= now {
                    workers[*worker].end(*stream, Ending::Measured, now);
                }
                *ends > now
            });
            for (index, worker) in workers.iter_mut().enumerate() {
                worker.sync(0, now, &mut shared);
                loop {
                    stream += 1;
                    if worker.begin(0, stream, 0, now, &mut shared).is_err() {
                        break;
                    }
                    let latency_ns = 20 * MS * slow * (flying.len() as u64).max(80) / 80;
                    flying.push((now.plus(latency_ns), index, stream));
                }
            }
            let limit = workers[0].limit().max(workers[1].limit());
            limits.push(limit);
        }
        let at = |second: usize| limits[second * 50 - 1];
        let (normal, slow, recovered) = (at(100), at(120), at(240));
        assert!(normal >= 60, "{strategy:?}: {normal}");
        assert!(slow * 2 <= normal, "{strategy:?}: {normal} -> {slow}");
        assert!(recovered * 10 >= normal * 8, "{strategy:?}: {normal} -> {slow} -> {recovered}");
        // A window's growth is capped, and a window is a second at least.
        for second in limits.chunks(50) {
            let (first, last) = (second[0], second[49]);
            assert!(last <= first + (first / 10).max(1) * 2 + 2, "{first} -> {last} in a second");
        }
        println!(
            "{strategy:?}: {normal} slots, {slow} while slow, {recovered} after; windows of {MIN_SAMPLES} or more"
        );
    }
}
