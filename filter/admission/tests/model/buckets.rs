//! Standard and shadow buckets under several workers.

use forebay_admission::lease::IDLE;

use forebay_admission::{Charge, Grant, Lane, Nanos, Slot, Verdict, Wait};
use proptest::prelude::*;

use crate::support::{Proxy, bound, check_every_window, limit, one};

const MS: u64 = Nanos::MILLI;

#[test]
fn skewed_load_uses_the_limit_and_exceeds_it_by_no_more_than_the_bound() {
    for (rate, burst) in [(1_000, 1_000), (500, 2_000), (50, 20), (200, 150)] {
        let limit = limit(rate, burst);
        let mut proxy = Proxy::new(2, &[Grant::fixed(limit)]);
        // Both workers serve once, then everything goes to the first.
        proxy.request(1, &one(1), Nanos(0));
        let mut admitted = 0u64;
        let seconds = 20;
        for micros in (0..seconds * 1_000_000u64).step_by(400) {
            let now = Nanos(micros * 1_000);
            if matches!(proxy.request(0, &one(1), now), Verdict::Admit(_)) {
                admitted += 1;
            }
            if micros % 50_000 == 0 {
                proxy.tick(now);
            }
        }
        let at_boot = rate.min(burst);
        let limit_units = rate * seconds + at_boot;
        assert!(admitted * 100 >= limit_units * 99, "{rate}/{burst}: {admitted} of {limit_units}");
        assert!(admitted <= limit_units + bound(2, 1), "{rate}/{burst}: {admitted} of {limit_units}");
    }
}

#[test]
fn a_hot_key_rarely_touches_shared_state_and_a_flood_of_refusals_never_does() {
    let mut proxy = Proxy::new(2, &[Grant::fixed(limit(10_000, 10_000))]);
    for micros in 0..900_000u64 {
        if micros % 100 == 0 {
            proxy.request(0, &one(1), Nanos(micros * 1_000));
        }
    }
    assert!(proxy.shared.accesses <= 9_000 / 90, "{} accesses for 9,000 requests", proxy.shared.accesses);

    let mut proxy = Proxy::new(2, &[Grant::fixed(limit(1, 10))]);
    proxy.request(0, &one(1), Nanos(0));
    let before = proxy.shared.accesses;
    for micros in 1..900_000u64 {
        assert!(matches!(proxy.request(0, &one(1), Nanos(micros * 1_000)), Verdict::Refuse { .. }));
    }
    assert!(proxy.shared.accesses <= before + 1, "{} accesses for a flood", proxy.shared.accesses - before);
}

#[test]
fn several_resources_are_all_or_nothing() {
    let grants = [Grant::fixed(limit(1, 99)), Grant::fixed(limit(1, 5))];
    let mut proxy = Proxy::new(1, &grants);
    let full = Nanos(200 * Nanos::SECOND);
    let both = [Charge { key: 0, cost: 1 }, Charge { key: 1, cost: 2 }];
    let verdicts: Vec<_> = (0..4).map(|_| proxy.request(0, &both, full)).collect();
    assert_eq!(verdicts[..2], [Verdict::Admit(Lane::Standard); 2]);
    assert!(matches!(verdicts[2], Verdict::Refuse { key: 1, wait: Wait::Until(_) }));
    let later = full.plus(2 * IDLE);
    proxy.tick(later);
    let left = proxy.shared.states[0].unwrap().standard.available(limit(1, 99), later);
    assert_eq!(left, 97, "what the refused requests had secured of the first resource is back");
    let dear = [Charge { key: 1, cost: 6 }];
    assert!(matches!(proxy.request(0, &dear, later), Verdict::Refuse { wait: Wait::Never, .. }));
}

#[test]
fn the_shadow_goes_first_and_leaves_the_standard_bucket_alone() {
    let slot = Slot { id: 7, start: Nanos(0), end: Nanos(1_000 * MS), amount: 3, pace: limit(3, 3) };
    let grant = Grant { standard: limit(2, 2), safe: limit(1, 1), slots: vec![slot], pool: None };
    let mut proxy = Proxy::new(1, &[grant]);
    let lanes: Vec<_> = (0..6)
        .map(|_| match proxy.request(0, &one(1), Nanos(1)) {
            Verdict::Admit(lane) => lane.name(),
            Verdict::Refuse { .. } => "refused",
        })
        .collect();
    assert_eq!(lanes, ["reserved", "reserved", "reserved", "standard", "standard", "refused"]);
    let counts = proxy.workers[0][0].counts();
    assert_eq!((counts.reserved.units, counts.standard.units, counts.refused.units), (3, 2, 1));
}

#[derive(Clone, Debug)]
struct Step {
    gap_micros: u64,
    worker: usize,
    cost: u64,
    tick: bool,
}

fn steps(workers: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (0u64..3_000, 0..workers, 1u64..4, any::<bool>()).prop_map(|(gap_micros, worker, cost, tick)| Step {
        gap_micros,
        worker,
        cost,
        tick,
    });
    proptest::collection::vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the workers do: every window of the standard lane is within rate, burst and the stated bound, and no
    /// slot is ever overspent.
    #[test]
    fn no_window_exceeds_the_bound_and_no_slot_its_amount(
        rate in 1u64..3_000, burst in 4u64..2_000, amount in 1u64..200, workers in 1usize..6, seed in steps(6),
    ) {
        let standard = limit(rate, burst);
        let slots: Vec<_> = (0..200)
            .map(|id| Slot { id, start: Nanos(id * 50 * MS), end: Nanos((id + 1) * 50 * MS), amount, pace: limit(amount * 20, amount) })
            .collect();
        let mut proxy = Proxy::new(workers, &[Grant { standard, safe: standard, slots, pool: None }]);
        let (mut now, mut admitted, mut spent) = (Nanos(0), Vec::new(), vec![0; 200]);
        for step in seed {
            now = now.plus(step.gap_micros * 1_000);
            match proxy.request(step.worker % workers, &one(step.cost), now) {
                Verdict::Admit(Lane::Standard) => admitted.push((now, step.cost)),
                Verdict::Admit(Lane::Reserved) => spent[(now.0 / (50 * MS)) as usize] += step.cost,
                Verdict::Admit(Lane::Borrowed) => unreachable!("no pool"),
                Verdict::Refuse { .. } => {}
            }
            if step.tick {
                proxy.tick(now);
            }
        }
        prop_assert!(spent.iter().all(|units| *units <= amount), "{:?} of {}", spent, amount);
        check_every_window(&admitted, standard, bound(workers as u64, 3))?;
    }

    /// A single worker is exactly a plain token bucket: the lease is invisible.
    #[test]
    fn one_worker_decides_like_the_plain_bucket(rate in 1u64..3_000, burst in 1u64..100, seed in steps(1)) {
        let standard = limit(rate, burst);
        let mut proxy = Proxy::new(1, &[Grant::fixed(standard)]);
        let mut plain = forebay_admission::Bucket::at_boot(standard, Nanos(0));
        let mut now = Nanos(0);
        for step in seed {
            now = now.plus(step.gap_micros * 1_000);
            let plain_says = plain.take(standard, 1, now).is_ok();
            let ours = matches!(proxy.request(0, &one(1), now), Verdict::Admit(_));
            prop_assert_eq!(ours, plain_says);
        }
    }
}
