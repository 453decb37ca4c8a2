//! Claims: what is admitted is conserved whatever workers do, crash or miss, and nothing stays claimed.

use forebay_admission::claims::CLAIM_LASTS;
use forebay_admission::lease::IDLE;
use forebay_admission::{Clock, Grant, Nanos, Verdict, Wait, claim_cap};
use proptest::prelude::*;

use crate::support::{Proxy, bound, check_every_window, limit, one};

const MS: u64 = Nanos::MILLI;
const COST_MAX: u64 = 3;

#[derive(Clone, Debug)]
struct Step {
    gap_micros: u64,
    worker: usize,
    cost: u64,
    /// Requests in a row, so that leases grow.
    repeats: u64,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Tick,
    TickAll,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gap_micros = prop_oneof![20 => 0u64..3_000, 4 => 20_000u64..400_000, 1 => 900_000u64..3_000_000];
    let then =
        prop_oneof![8 => Just(Then::Nothing), 6 => Just(Then::Tick), 2 => Just(Then::TickAll), 1 => Just(Then::Crash)];
    let step = (gap_micros, 0usize..5, 1..=COST_MAX, 1u64..40, then)
        .prop_map(|(gap_micros, worker, cost, repeats, then)| Step { gap_micros, worker, cost, repeats, then });
    proptest::collection::vec(step, 1..120)
}

/// Lets the steps happen; `clock` makes a worker's clock out of the exact instant. Returns what was admitted and when.
fn run(
    proxy: &mut Proxy,
    steps: &[Step],
    mut clock: impl FnMut(usize, Nanos, bool) -> Clock,
    mut check: impl FnMut(&Proxy) -> Result<(), TestCaseError>,
) -> Result<(Vec<(Nanos, u64)>, Nanos), TestCaseError> {
    let (mut now, mut admitted) = (Nanos(0), Vec::new());
    for step in steps {
        now = now.plus(step.gap_micros * 1_000);
        proxy.shared.now = now;
        let worker = step.worker % proxy.workers.len();
        for _ in 0..step.repeats {
            let verdict = proxy.request_at(worker, &one(step.cost), &mut clock(worker, now, false)).0;
            if matches!(verdict, Verdict::Admit(_)) {
                admitted.push((now, step.cost));
            }
            check(proxy)?;
        }
        match step.then {
            Then::Nothing => {}
            Then::Tick => {
                clock(worker, now, true);
                proxy.tick_one(worker, now);
            }
            Then::TickAll => {
                for worker in 0..proxy.workers.len() {
                    clock(worker, now, true);
                }
                proxy.tick(now);
            }
            Then::Crash => proxy.crash(worker),
        }
        check(proxy)?;
    }
    Ok((admitted, now))
}

/// One admission per instant, so that windows are few.
fn by_instant(admitted: Vec<(Nanos, u64)>) -> Vec<(Nanos, u64)> {
    let mut sums: Vec<(Nanos, u64)> = Vec::new();
    for (at, units) in admitted {
        match sums.last_mut() {
            Some((last, sum)) if *last == at => *sum += units,
            _ => sums.push((at, units)),
        }
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Draws, give-backs, crashes and pauses in any order: every window stays within rate and burst, up to a request per
    /// worker; and the books agree at every moment.
    #[test]
    fn no_window_exceeds_rate_and_burst(
        rate in 1u64..20_000, burst in 50u64..4_000, workers in 1usize..6, steps in steps(),
    ) {
        let standard = limit(rate, burst);
        let mut proxy = Proxy::new(workers, &[Grant::fixed(standard)]);
        let (admitted, _) = run(&mut proxy, &steps, |_, now, _| Clock::exact(now), |proxy| {
            let Some(state) = proxy.shared.states.first().copied().flatten() else { return Ok(()) };
            let claims = state.claims.unwrap();
            let accounts = || proxy.workers.iter().flatten();
            let live = accounts().map(|account| account.claimed()).filter(|mine| mine.window + 1 >= claims.window);
            prop_assert!(live.map(|mine| mine.units).sum::<u64>() <= claims.units(), "{:?}", claims);
            prop_assert!(state.standard.level_nano() + claims.units() * 1_000_000_000 <= standard.burst_nano());
            for account in accounts() {
                prop_assert!(account.standard_leased_units() <= account.claimed().units + COST_MAX);
                prop_assert!(account.claimed().units < claim_cap(burst, workers as u64, COST_MAX));
            }
            Ok(())
        })?;
        check_every_window(&by_instant(admitted), standard, bound(workers as u64, COST_MAX))?;
    }

    /// Ticks that are late by seconds, so that workers spend leases whose claims have ended without knowing it: above the
    /// limit by what they can hold, and no more.
    #[test]
    fn late_workers_exceed_it_by_their_leases_at_most(
        rate in 1u64..20_000, burst in 50u64..4_000, workers in 1usize..6, steps in steps(),
    ) {
        let standard = limit(rate, burst);
        let mut proxy = Proxy::new(workers, &[Grant::fixed(standard)]);
        let mut ticks = vec![Nanos(0); workers];
        let (admitted, _) = run(&mut proxy, &steps, |worker, now, ticked| {
            if ticked {
                ticks[worker] = now;
            }
            Clock::coarse(ticks[worker])
        }, |_| Ok(()))?;
        let leases = workers as u64 * claim_cap(burst, workers as u64, COST_MAX);
        check_every_window(&by_instant(admitted), standard, bound(workers as u64, COST_MAX) + leases)?;
    }

    /// Whatever happened: once the last workers have crashed, two windows later nothing is claimed; once they have given
    /// back, at once. Then the whole burst fills up.
    #[test]
    fn nothing_stays_claimed(
        rate in 1u64..20_000, burst in 50u64..4_000, workers in 1usize..6, steps in steps(), crash in any::<bool>(),
    ) {
        let standard = limit(rate, burst);
        let mut proxy = Proxy::new(workers, &[Grant::fixed(standard)]);
        let (_, mut now) = run(&mut proxy, &steps, |_, now, _| Clock::exact(now), |_| Ok(()))?;
        let crashed = steps.iter().any(|step| matches!(step.then, Then::Crash));
        if crash {
            (0..workers).for_each(|worker| proxy.crash(worker));
        }
        now = now.plus(IDLE);
        proxy.tick(now);
        let Some(mut state) = proxy.shared.states[0] else { return Ok(()) };
        state.refill(standard, now);
        if !crash && !crashed {
            prop_assert_eq!(state.claims.unwrap().units(), 0);
        }
        now = now.plus(2 * CLAIM_LASTS);
        state.refill(standard, now);
        prop_assert_eq!(state.claims.unwrap().units(), 0);
        state.refill(standard, now.plus(burst * Nanos::SECOND / rate + 1));
        prop_assert_eq!(state.standard.level_nano(), standard.burst_nano());
    }

    /// The instant that a refusal promises is the first at which the same request succeeds on the same worker, when nobody
    /// else comes; also where workers lease and share out what is scarce.
    #[test]
    fn the_promised_instant_is_the_first_that_succeeds(
        rate in 1u64..20_000, burst in 50u64..4_000, workers in 1usize..6, steps in steps(), last in 0usize..5,
    ) {
        let standard = limit(rate, burst);
        let mut proxy = Proxy::new(workers, &[Grant::fixed(standard)]);
        let steps: Vec<_> = steps.into_iter().map(|step| Step { cost: 1, ..step }).collect();
        let (_, now) = run(&mut proxy, &steps, |_, now, _| Clock::exact(now), |_| Ok(()))?;
        let worker = last % workers;
        let refused = (0..2 * burst).find_map(|_| match proxy.request(worker, &one(1), now) {
            Verdict::Refuse { wait, .. } => Some(wait),
            Verdict::Admit(_) => None,
        });
        let Some(Wait::Until(at)) = refused else { panic!("refused with {refused:?}") };
        prop_assert!(at > now && at.since(now) <= (20 * MS).max(Nanos::SECOND / rate + 1), "{:?} at {:?}", at, now);
        let mut early = proxy.clone();
        let passes = |proxy: &mut Proxy, at| matches!(proxy.request(worker, &one(1), at), Verdict::Admit(_));
        prop_assert!(!passes(&mut early, at.minus(1)));
        prop_assert!(passes(&mut proxy, at));
    }
}

/// 10,000 per second and as many at once, eight workers, twice as many requests as that for ten seconds. `pick` says
/// which worker gets a request. Returns admitted requests by worker and the accesses per request, two each.
fn overloaded(pick: impl Fn(u64) -> usize) -> ([u64; 8], f64) {
    let mut proxy = Proxy::new(8, &[Grant::fixed(limit(10_000, 10_000))]);
    let mut admitted = [0; 8];
    let requests = 200_000;
    for request in 0..requests {
        let now = Nanos(request * 50_000);
        let worker = pick(request);
        admitted[worker] += u64::from(matches!(proxy.request(worker, &one(1), now), Verdict::Admit(_)));
        if request % 4_000 == 0 {
            proxy.tick(now);
        }
    }
    (admitted, 2.0 * proxy.shared.accesses as f64 / requests as f64)
}

const ALLOWED: std::ops::RangeInclusive<u64> = 109_000..=110_008;

#[test]
fn a_scarce_bucket_goes_round_evenly_and_is_seldom_looked_at() {
    let (admitted, operations) = overloaded(|request| (request.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61) as usize);
    let (least, most) = (admitted.iter().min().unwrap(), admitted.iter().max().unwrap());
    println!("{admitted:?}, {operations:.4} operations per request");
    assert!(least * 100 >= most * 90, "{admitted:?}");
    assert!(operations < 0.05, "{operations}");
    assert!(ALLOWED.contains(&admitted.iter().sum()), "{admitted:?}");
}

#[test]
fn a_worker_that_has_most_of_the_load_gets_what_the_others_leave() {
    for others in [0, 50] {
        // Of a thousand requests so many go to the others: what they ask for is less than their part.
        let (admitted, operations) =
            overloaded(|request| if request % 1_000 < others { 1 + (request % 7) as usize } else { 3 });
        println!("{admitted:?}, {operations:.4} operations per request");
        assert!(ALLOWED.contains(&admitted.iter().sum()), "{admitted:?}");
        assert!(operations < 0.05, "{operations}");
    }
}
