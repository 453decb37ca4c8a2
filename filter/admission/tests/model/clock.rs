//! The coarse clock: the same decisions, seldom a look at the exact one.

use forebay_admission::ledger::COARSE_MAX;
use forebay_admission::{Clock, Grant, Membership, Nanos, Pool, Slot};
use proptest::prelude::*;

use crate::support::{Proxy, limit, one};

const MS: u64 = Nanos::MILLI;

fn proxy(rate: u64, burst: u64, amount: u64, valid_until: Nanos) -> Proxy {
    let slot = |id: u64| Slot {
        id,
        start: Nanos(id * 130 * MS),
        end: Nanos((id + 1) * 130 * MS - id % 3 * 20 * MS),
        amount,
        pace: limit(amount * 8, amount),
    };
    let slots: Vec<_> = (0..50).map(slot).collect();
    let pool = Some(Membership { pool: 0, may_borrow: true });
    let grant = Grant { standard: limit(rate, burst), safe: limit(rate / 2, burst / 2), slots: slots.clone(), pool };
    let mut proxy = Proxy::new(3, &[grant]);
    proxy.pools = vec![Pool::new(&slots, amount / 2, limit(10, 3))];
    proxy.valid_until = valid_until;
    proxy
}

#[test]
fn a_leased_request_does_not_read_the_clock() {
    let mut proxy = Proxy::new(1, &[Grant::fixed(limit(100_000, 100_000))]);
    for micros in (0..2_000_000u64).step_by(20) {
        proxy.shared.now = Nanos(micros * 1_000);
        let tick = Nanos(proxy.shared.now.0 / COARSE_MAX * COARSE_MAX);
        proxy.request_at(0, &one(1), &mut Clock::coarse(tick));
    }
    assert!(proxy.shared.clock_reads <= 100_000 / 100, "{} readings for 100,000 requests", proxy.shared.clock_reads);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// As long as ticks are not late, every decision is the one of an exact clock, lane and promised wait included (only idle leases may go back a tick sooner); and
    /// what is spent of every slot, leases included, is never above its amount.
    #[test]
    fn decisions_do_not_depend_on_the_coarseness(
        rate in 1u64..5_000, burst in 4u64..5_000, amount in 1u64..400, valid_ms in 0u64..3_000,
        seed in proptest::collection::vec((0u64..9_000, 0usize..3, 1u64..4), 1..600),
    ) {
        let valid_until = Nanos(valid_ms * MS);
        let (mut exact, mut coarse) = (proxy(rate, burst, amount, valid_until), proxy(rate, burst, amount, valid_until));
        let (mut now, mut spent) = (Nanos(0), [0u64; 200]);
        for (gap_micros, worker, cost) in seed {
            now = now.plus(gap_micros * 1_000);
            let tick = Nanos(now.0 / COARSE_MAX * COARSE_MAX);
            coarse.shared.now = now;
            let ours = coarse.request_at(worker, &one(cost), &mut Clock::coarse(tick));
            let theirs = exact.request_at(worker, &one(cost), &mut Clock::exact(now));
            prop_assert_eq!(ours, theirs);
            for receipt in ours.1.iter().filter(|receipt| receipt.source == forebay_admission::Source::Shadow) {
                spent[receipt.slot_id as usize] += cost;
            }
        }
        prop_assert!(spent.iter().all(|units| *units <= amount));
    }

    /// Ticks that are late: no slot and no bucket is overspent by it.
    #[test]
    fn a_late_tick_overspends_nothing(
        rate in 1u64..5_000, burst in 100u64..5_000, amount in 1u64..400,
        seed in proptest::collection::vec((0u64..9_000, 0usize..3, 1u64..4, any::<bool>()), 1..600),
    ) {
        let mut proxy = proxy(rate, burst, amount, Nanos(u64::MAX));
        let (mut now, mut tick, mut spent, mut standard) = (Nanos(0), Nanos(0), [0u64; 200], 0);
        for (gap_micros, worker, cost, ticks) in seed {
            now = now.plus(gap_micros * 1_000);
            proxy.shared.now = now;
            if ticks && now.since(tick) > 40 * COARSE_MAX / 10 {
                tick = now;
                proxy.tick(now);
            }
            for receipt in proxy.request_at(worker, &one(cost), &mut Clock::coarse(tick)).1.iter() {
                match receipt.source {
                    forebay_admission::Source::Shadow => spent[receipt.slot_id as usize] += cost,
                    forebay_admission::Source::Standard => standard += cost,
                    _ => {}
                }
            }
        }
        prop_assert!(spent.iter().all(|units| *units <= amount));
        let arrived = limit(rate, burst).rate.nano_units_in(now.0) / forebay_admission::units::NANO;
        prop_assert!(standard <= arrived + burst + 1);
    }
}
