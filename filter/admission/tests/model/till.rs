//! The till in front of an account's books: it changes no decision, and what it costs the counterfactual.

use forebay_admission::{Clock, Counts, Grant, Lane, Nanos, Slot, Tally, Verdict, claim_cap};
use proptest::prelude::*;

use crate::support::{Proxy, limit, one};

/// A proxy whose accounts look into their books for every request, since what was counted is asked for before each.
struct Unfilled {
    proxy: Proxy,
    counts: Vec<Counts>,
}

impl Unfilled {
    fn new(workers: usize, grant: &Grant) -> Self {
        Self { proxy: Proxy::new(workers, std::slice::from_ref(grant)), counts: vec![Counts::default(); workers] }
    }

    fn request_at(&mut self, worker: usize, cost: u64, clock: &mut Clock) -> Verdict {
        let account = &mut self.proxy.workers[worker][0];
        self.counts[worker].absorb(&account.counts());
        account.clear_counts();
        self.proxy.request_at(worker, &one(cost), clock).0
    }

    fn counts(&self, worker: usize) -> Counts {
        let mut counts = self.counts[worker];
        counts.absorb(&self.proxy.workers[worker][0].counts());
        counts
    }
}

/// Without the counterfactual.
fn decided(counts: Counts) -> Counts {
    let (would_have_refused_plain, rescued, worse_than_plain) = Default::default();
    Counts { would_have_refused_plain, rescued, worse_than_plain, ..counts }
}

proptest! {
    /// The same verdicts, the same shared state, the same leases and counts after every step, whatever the clock, the
    /// slots and the end of the grants' validity.
    #[test]
    fn changes_no_decision(
        rate in 100u64..20_000, burst in 50u64..5_000, slots in 0u64..4, valid_ms in 200u64..4_000, is_coarse: bool,
        steps in proptest::collection::vec((0usize..2, 1u64..4, 0u64..3_000_000, 0u8..64), 1..600),
    ) {
        let slot = |id| Slot {
            id,
            start: Nanos(id * 300 * Nanos::MILLI),
            end: Nanos((id * 300 + 150) * Nanos::MILLI),
            amount: 20,
            pace: limit(200, 10),
        };
        let grant =
            Grant { standard: limit(rate, burst), safe: limit(50, 10), slots: (1..=slots).map(slot).collect(), pool: None };
        let (mut filled, mut unfilled) = (Proxy::new(2, std::slice::from_ref(&grant)), Unfilled::new(2, &grant));
        filled.valid_until = Nanos(valid_ms * Nanos::MILLI);
        unfilled.proxy.valid_until = filled.valid_until;
        let mut now = Nanos(Nanos::MILLI);
        for (worker, cost, gap, luck) in steps {
            // Now and then a pause, in which leases go back and claims come to their end.
            now = now.plus(if luck == 0 { 400 * Nanos::MILLI } else { gap });
            for proxy in [&mut filled, &mut unfilled.proxy] {
                proxy.shared.now = now;
                if luck < 4 {
                    proxy.tick(now);
                }
            }
            let tick = Nanos(now.0 / (50 * Nanos::MILLI) * (50 * Nanos::MILLI));
            let clock = if is_coarse { Clock::coarse(tick) } else { Clock::exact(now) };
            let verdict = filled.request_at(worker, &one(cost), &mut clock.clone()).0;
            prop_assert_eq!(unfilled.request_at(worker, cost, &mut clock.clone()), verdict);
            prop_assert_eq!(&filled.shared.states, &unfilled.proxy.shared.states);
            let [one, other] = [&filled, &unfilled.proxy].map(|proxy| &proxy.workers[worker][0]);
            prop_assert_eq!(one.leased_units(), other.leased_units());
            prop_assert_eq!(one.claimed(), other.claimed());
            prop_assert_eq!(decided(one.counts()), decided(unfilled.counts(worker)));
        }
    }
}

/// A bucket that was full before an overload: what the till spends comes out of the plain bucket only when the books are
/// opened, so what arrived meanwhile at its brim is lost to it, at most a lease's worth.
#[test]
fn costs_the_counterfactual_at_most_a_lease() {
    let limit = limit(10_000, 2_000);
    let grant = Grant::fixed(limit);
    let (mut filled, mut unfilled) = (Proxy::new(1, std::slice::from_ref(&grant)), Unfilled::new(1, &grant));
    let (mut now, mut lanes) = (Nanos(Nanos::SECOND), Tally::default());
    for request in 0..40_000u64 {
        // A second at half the rate, then three at four times of it.
        now = now.plus(if request < 5_000 { 200_000 } else { 25_000 });
        let verdict = filled.request(0, &one(1), now);
        assert_eq!(unfilled.request_at(0, 1, &mut Clock::exact(now)), verdict);
        lanes.requests += u64::from(verdict == Verdict::Admit(Lane::Standard));
    }
    let [lazy, exact] =
        [filled.workers[0][0].counts(), unfilled.counts(0)].map(|counts| counts.would_have_refused_plain);
    println!(
        "of {} admitted: plain would have refused {} as settled late, {} exactly",
        lanes.requests, lazy.requests, exact.requests
    );
    assert!(exact.requests > 20_000, "an overload: {exact:?}");
    assert!(lazy.requests.abs_diff(exact.requests) <= claim_cap(limit.burst, 1, 1), "{lazy:?}, exactly {exact:?}");
}

#[test]
fn a_first_request_above_a_workers_part_is_put_to_the_plain_bucket() {
    let mut proxy = Proxy::new(8, &[Grant::fixed(limit(800, 800))]);
    assert_eq!(proxy.request(0, &one(150), Nanos(Nanos::SECOND)), Verdict::Admit(Lane::Standard));
    assert_eq!(
        proxy.workers[0][0].counts().would_have_refused_plain,
        Tally::default(),
        "an eighth of the burst is 100"
    );
}
