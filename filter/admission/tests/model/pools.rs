//! Pools: owners first, borrowers only what is idle, within the debt.

use forebay_admission::units::NANO;
use forebay_admission::{Charge, Clock, Grant, Lane, Limit, Membership, Nanos, Pool, Slot, Source, Verdict, Wait};
use proptest::prelude::*;

use crate::support::{Proxy, limit, one};

const MS: u64 = Nanos::MILLI;
const MEMBER: Option<Membership> = Some(Membership { pool: 0, may_borrow: true });

/// Slots of 100 ms at `rate` units per second, one after the other from the start.
fn slots(rate: u64, burst: u64, count: u64) -> Vec<Slot> {
    let slot = |id| Slot {
        id,
        start: Nanos(id * 100 * MS),
        end: Nanos((id + 1) * 100 * MS),
        amount: rate / 10,
        pace: limit(rate, burst),
    };
    (0..count).map(slot).collect()
}

/// Owners with `rates` and, as the last key, one that reserved nothing.
fn proxy(workers: usize, rates: &[u64], debt: u64, overcommit: Limit) -> Proxy {
    let mut grants: Vec<_> = rates
        .iter()
        .map(|rate| Grant { slots: slots(*rate, (rate / 20).max(1), 100), pool: MEMBER, ..Grant::default() })
        .collect();
    grants.push(Grant { pool: MEMBER, ..Grant::default() });
    let mut proxy = Proxy::new(workers, &grants);
    proxy.pools = vec![Pool::new(grants.iter().flat_map(|grant| &grant.slots), debt, overcommit)];
    proxy
}

fn lane(verdict: Verdict) -> Option<Lane> {
    match verdict {
        Verdict::Admit(lane) => Some(lane),
        Verdict::Refuse { .. } => None,
    }
}

#[test]
fn borrowers_live_on_what_is_idle_and_owners_never_notice() {
    let mut proxy = proxy(2, &[1_000], 50, Limit::default());
    let mut counts = [[0u64; 3]; 2];
    for micros in (0..4_000_000u64).step_by(500) {
        let now = Nanos(micros * 1_000);
        // The owner is idle for two seconds; then it uses all of its 1,000 per second, on another worker.
        let second_half = usize::from(micros >= 2_000_000);
        if second_half == 1 && micros % 1_000 == 0 {
            match lane(proxy.request(1, &one(1), now)) {
                Some(Lane::Reserved) => counts[1][0] += 1,
                other => assert!(other.is_none(), "the owner is at most its pace apart: {other:?}"),
            }
        }
        let borrowed = lane(proxy.request(0, &[Charge { key: 1, cost: 1 }], now));
        counts[second_half][2] += u64::from(borrowed == Some(Lane::Borrowed));
        if micros % 50_000 == 0 {
            proxy.tick(now);
        }
    }
    assert!((1_950..=2_050).contains(&counts[0][2]), "idle capacity is used: {counts:?}");
    assert!(counts[1][0] >= 1_990, "the owner gets what is reserved: {counts:?}");
    assert!(counts[1][2] <= 60, "then the borrowers are the ones refused: {counts:?}");
    assert_eq!(proxy.workers[0][1].counts().overcommitted.requests, 0);
    assert_eq!(proxy.workers[0][1].counts().borrowed.requests, counts[0][2] + counts[1][2]);
}

#[test]
fn best_effort_is_counted_apart_and_comes_after_what_is_reserved() {
    let mut proxy = proxy(1, &[100], 10, limit(10, 5));
    let later = Nanos(1_000 * MS);
    let borrower = [Charge { key: 1, cost: 1 }];
    let sources: Vec<_> = (0..16)
        .filter_map(|_| proxy.request_at(0, &borrower, &mut Clock::exact(later)).1.iter().next())
        .map(|receipt| receipt.source)
        .collect();
    assert_eq!(sources[..10], [Source::Pool; 10], "the debt");
    assert_eq!(sources[10..], [Source::Overcommit; 5], "then the best effort, then nothing");
    let counts = proxy.workers[0][1].counts();
    assert_eq!((counts.borrowed.units, counts.overcommitted.units, counts.refused.units), (15, 5, 1));
    assert_eq!(proxy.shared.pools[0].unwrap().level.owed_nano(), 0, "best effort owes the pool nothing");
}

#[test]
fn nobody_borrows_without_permission_reservation_or_validity() {
    let later = Nanos(1_000 * MS);
    let mut forbidden = proxy(1, &[100], 10, limit(10, 5));
    forbidden.workers[0][1]
        .set_grant(Grant { pool: Some(Membership { pool: 0, may_borrow: false }), ..Grant::default() });
    let mut expired = proxy(1, &[100], 10, limit(10, 5));
    expired.valid_until = later;
    let mut unreserved = proxy(1, &[], 10, Limit::default());
    for proxy in [&mut forbidden, &mut expired] {
        assert_eq!(lane(proxy.request(0, &[Charge { key: 1, cost: 1 }], later)), None);
    }
    assert_eq!(lane(unreserved.request(0, &one(1), later)), None, "a debt without reservations lends nothing");
}

#[test]
fn idle_borrowed_leases_go_back_and_lost_owner_draws_are_caught_up() {
    let mut proxy = proxy(1, &[1_000_000], 10_000, Limit::default());
    let mut now = Nanos(1_000 * MS + 1);
    for _ in 0..200 {
        proxy.request(0, &[Charge { key: 1, cost: 1 }], now);
        now = now.plus(100_000);
    }
    assert!(proxy.workers[0][1].leased_units() > 10, "a hot borrower leases too");
    now = now.plus(200 * MS);
    proxy.tick(now);
    assert_eq!(proxy.workers[0][1].leased_units(), 0);
    assert_eq!(proxy.shared.pools[0].unwrap().available(&proxy.pools[0], now), 10_000);
    // The owner's shadow lease succeeds, its draw on the pool loses every race.
    proxy.request(0, &one(1), now);
    let before = proxy.shared.pools[0].unwrap().available(&proxy.pools[0], now);
    proxy.shared.contended_pool = 1;
    assert_eq!(lane(proxy.request(0, &one(40), now)), Some(Lane::Reserved));
    assert_eq!(proxy.shared.pools[0].unwrap().available(&proxy.pools[0], now), before);
    proxy.request(0, &one(60), now);
    let after = proxy.shared.pools[0].unwrap().available(&proxy.pools[0], now);
    assert!(before - after >= 100, "{before} - {after}");
}

#[test]
fn several_resources_from_several_lanes_are_all_or_nothing() {
    let mut proxy = proxy(1, &[1_000], 50, Limit::default());
    proxy.workers[0].push(forebay_admission::Account::new(Grant::fixed(limit(1, 2))));
    let now = Nanos(900 * MS);
    let all = [Charge { key: 0, cost: 1 }, Charge { key: 1, cost: 2 }, Charge { key: 2, cost: 1 }];
    let (verdict, receipts) = proxy.request_at(0, &all, &mut Clock::exact(now));
    assert_eq!(verdict, Verdict::Admit(Lane::Borrowed), "the worst lane counts");
    let sources: Vec<_> = receipts.iter().map(|receipt| receipt.source).collect();
    assert_eq!(sources, [Source::Shadow, Source::Pool, Source::Standard]);
    let (verdict, receipts) = proxy.request_at(0, &all, &mut Clock::exact(now));
    assert!(matches!(verdict, Verdict::Refuse { key: 2, wait: Wait::Until(_) }));
    assert_eq!(receipts.iter().count(), 0);
    proxy.tick(now.plus(99 * MS));
    proxy.tick(now.plus(200 * MS));
    let held: u64 = proxy.workers[0].iter().map(|account| account.leased_units()).sum();
    assert_eq!(held, 0, "what the refused request had secured is back");
    assert_eq!(proxy.shared.pools[0].unwrap().available(&proxy.pools[0], now.plus(200 * MS)), 50);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever owners and borrowers do, in every window: an oracle that knows only arithmetic.
    #[test]
    fn owners_get_theirs_and_no_window_lends_more_than_the_debt(
        rates in proptest::collection::vec(20u64..2_000, 1..4), debt in 0u64..300, workers in 1usize..5,
        seed in proptest::collection::vec((0u64..4_000, 0usize..5, 0usize..4, 1u64..4, any::<bool>()), 1..500),
    ) {
        let mut proxy = proxy(workers, &rates, debt, Limit::default());
        let rate: u64 = rates.iter().map(|rate| rate / 10 * 10).sum();
        let bursts: u64 = rates.iter().map(|rate| (rate / 20).max(1)).sum();
        // The owners alone, on a proxy where nobody may borrow, get the same.
        let mut alone = self::proxy(workers, &rates, 0, Limit::default());
        for account in alone.workers.iter_mut().flatten() {
            let pool = Some(Membership { pool: 0, may_borrow: false });
            account.set_grant(Grant { pool, ..account.grant().clone() });
        }
        let (mut now, mut taken) = (Nanos(0), Vec::new());
        for (gap_micros, worker, key, cost, tick) in seed {
            now = now.plus(gap_micros * 1_000);
            let (worker, charge) = (worker % workers, [Charge { key: key.min(rates.len()), cost }]);
            let verdict = lane(proxy.request(worker, &charge, now));
            let owners = lane(alone.request(worker, &charge, now));
            prop_assert_eq!(verdict == Some(Lane::Reserved), owners == Some(Lane::Reserved));
            if verdict.is_some() {
                taken.push((now, cost));
            }
            if tick {
                proxy.tick(now);
                alone.tick(now);
            }
        }
        // Leases: of each owner's slots and of each key's borrowing, as documented at `lease_cap`.
        let keys = rates.len() as u64 + 1;
        let leases = (workers as u64 * 3).max(debt * 2 / 100) * keys + workers as u64 * 3 * keys;
        for (i, (start, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for (end, units) in &taken[i..] {
                sum += units;
                let allowed = rate * end.since(*start) / NANO + 1 + debt + bursts + leases;
                prop_assert!(sum <= allowed, "{} between {:?} and {:?}, {} allowed", sum, start, end, allowed);
            }
        }
    }
}
