//! Settlement: what was used is what is accounted for, in every lane.

use forebay_admission::settlement::MAX_OWED_BURSTS;
use forebay_admission::units::NANO;
use forebay_admission::{Charge, Clock, Grant, Limit, Membership, Nanos, Pool, Receipt, Slot, Source, Verdict};
use proptest::prelude::*;

use crate::support::{Proxy, limit, one};

const S: u64 = Nanos::SECOND;

/// Key 0 has a slot of 100 units in its first ten seconds, key 1 may borrow them; both have a standard bucket.
fn proxy(standard: Limit) -> Proxy {
    let slot = Slot { id: 5, start: Nanos(0), end: Nanos(10 * S), amount: 100, pace: limit(10, 100) };
    let pool = Some(Membership { pool: 0, may_borrow: true });
    let grant = Grant { standard, safe: standard, slots: vec![], pool };
    let mut proxy = Proxy::new(1, &[Grant { slots: vec![slot], ..grant.clone() }, grant]);
    proxy.pools = vec![Pool::new(&[slot], 40, Limit::default())];
    proxy
}

fn admit(proxy: &mut Proxy, key: usize, cost: u64, now: Nanos) -> Receipt {
    let (verdict, receipts) = proxy.request_at(0, &[Charge { key, cost }], &mut Clock::exact(now));
    assert!(matches!(verdict, Verdict::Admit(_)), "{verdict:?}");
    receipts.iter().next().unwrap()
}

#[test]
fn a_standard_request_is_refunded_or_owes_and_repays_before_the_next() {
    let standard = limit(10, 50);
    let mut proxy = Proxy::new(1, &[Grant::fixed(standard)]);
    let now = Nanos(100 * S);
    let mut receipt = admit(&mut proxy, 0, 30, now);
    proxy.settle(0, &mut receipt, 20, false, now);
    assert_eq!(receipt.units, 30, "a running stream is not refunded");
    proxy.settle(0, &mut receipt, 10, true, now);
    proxy.settle(0, &mut receipt, 10, true, now);
    assert_eq!(proxy.shared.states[0].unwrap().standard.available(standard, now), 40);
    let mut receipt = admit(&mut proxy, 0, 10, now);
    for used in [25, 25, 60] {
        proxy.settle(0, &mut receipt, used, false, now);
    }
    assert_eq!(proxy.shared.states[0].unwrap().standard.owed_nano(), 20 * NANO, "30 there, 50 more used");
    let Verdict::Refuse { wait, .. } = proxy.request(0, &one(1), now) else { panic!("it owes") };
    assert_eq!(wait, forebay_admission::Wait::Until(now.plus(2 * S + S / 10)));
    proxy.settle(0, &mut receipt, 1_000_000, true, now);
    let settled = proxy.workers[0][0].counts().settled;
    assert_eq!(proxy.shared.states[0].unwrap().standard.owed_nano(), MAX_OWED_BURSTS * 50 * NANO);
    assert_eq!((settled.refunded, settled.charged), (20, 50 + 180));
    assert_eq!(settled.charged + settled.forgiven, 1_000_000 - 10);
}

#[test]
fn a_reserved_request_settles_on_its_slot_while_it_runs() {
    let mut proxy = proxy(limit(10, 50));
    let now = Nanos(S);
    let mut receipt = admit(&mut proxy, 0, 20, now);
    assert_eq!((receipt.source, receipt.slot_id), (Source::Shadow, 5));
    proxy.settle(0, &mut receipt, 5, true, now);
    assert_eq!(proxy.shared.states[0].unwrap().shadow.spent, 5);
    let idle = proxy.shared.pools[0].unwrap().available(&proxy.pools[0], now);
    assert_eq!(idle, 5, "ten were idle after a second, five were used: what is refunded can be lent");
    let mut receipt = admit(&mut proxy, 0, 10, now);
    let mut late = admit(&mut proxy, 0, 10, now);
    proxy.settle(0, &mut receipt, 100, true, now);
    let state = proxy.shared.states[0].unwrap();
    assert_eq!(state.shadow.spent, 100, "never above the amount");
    assert_eq!(state.standard.owed_nano() + 20 * NANO - state.standard.level_nano(), 15 * NANO, "the rest as standard");
    let over = Nanos(11 * S);
    proxy.settle(0, &mut late, 4, true, over);
    assert_eq!(proxy.shared.states[0].unwrap().shadow.spent, 100, "nothing is given back to a slot that is over");
    let settled = proxy.workers[0][0].counts().settled;
    assert_eq!((settled.refunded, settled.charged, settled.forgiven), (15 + 6, 90, 0));
}

#[test]
fn a_borrowed_request_never_lends_more_than_the_debt() {
    let mut proxy = proxy(Limit::new(limit(1, 1).rate, 1));
    let now = Nanos(9 * S);
    let _standard = admit(&mut proxy, 1, 1, now);
    let mut receipt = admit(&mut proxy, 1, 10, now);
    assert_eq!(receipt.source, Source::Pool);
    proxy.settle(0, &mut receipt, 4, true, now);
    assert_eq!(proxy.shared.pools[0].unwrap().available(&proxy.pools[0], now), 36);
    let mut receipt = admit(&mut proxy, 1, 10, now);
    proxy.settle(0, &mut receipt, 38, true, now);
    let pool = proxy.shared.pools[0].unwrap();
    assert_eq!((pool.available(&proxy.pools[0], now), pool.level.owed_nano()), (0, 0), "26 more were there");
    assert_eq!(proxy.shared.states[1].unwrap().standard.owed_nano(), 2 * NANO, "the borrower owes the rest itself");
    let settled = proxy.workers[0][1].counts().settled;
    assert_eq!((settled.refunded, settled.charged, settled.forgiven), (6, 28, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Used units in every window are within rate, burst, leases and what may be owed; and the counts say exactly what
    /// was used.
    #[test]
    fn used_is_admitted_plus_settled_and_bounded(
        rate in 1u64..500, burst in 4u64..400, workers in 1usize..4,
        seed in proptest::collection::vec((0u64..50_000, 0usize..4, 1u64..4, 0u64..30, any::<bool>()), 1..300),
    ) {
        let standard = limit(rate, burst);
        let mut proxy = Proxy::new(workers, &[Grant::fixed(standard)]);
        let (mut now, mut running, mut used_at) = (Nanos(0), Vec::new(), Vec::new());
        for (gap_micros, worker, cost, used, tick) in seed {
            now = now.plus(gap_micros * 1_000);
            let worker = worker % workers;
            let (_, receipts) = proxy.request_at(worker, &one(cost), &mut Clock::exact(now));
            running.extend(receipts.iter().map(|receipt| (worker, receipt, used)));
            if tick {
                proxy.tick(now);
                if let Some((worker, mut receipt, used)) = running.pop() {
                    proxy.settle(worker, &mut receipt, used / 2, false, now);
                    proxy.settle(worker, &mut receipt, used, true, now);
                    prop_assert_eq!(receipt.units, used);
                    used_at.push((now, used));
                }
            }
        }
        let (mut admitted, mut settled) = (0, [0; 3]);
        for account in proxy.workers.iter().flatten() {
            let counts = account.counts();
            admitted += counts.standard.units;
            for (sum, part) in settled.iter_mut().zip([counts.settled.refunded, counts.settled.charged, counts.settled.forgiven]) {
                *sum += part;
            }
        }
        let unsettled: u64 = running.iter().map(|(_, receipt, _)| receipt.units).sum();
        let used: u64 = used_at.iter().map(|(_, used)| used).sum();
        prop_assert_eq!(admitted - settled[0] + settled[1] + settled[2], used + unsettled);
        let leases = (workers as u64 * 3).max(burst * 2 / 100);
        let allowed = rate * now.0 / S + 1 + burst + leases + MAX_OWED_BURSTS * burst;
        prop_assert!(used + unsettled - settled[2] <= allowed, "{} of {}", used, allowed);
    }
}
