//! Leases: the cost of a hot key, the coldness of a cold one, and that no token is lost.

use forebay_admission::units::NANO;
use forebay_admission::{Bucket, Grant, KeyState, Nanos, Verdict, claim_cap};

use crate::support::{Proxy, limit, one};

/// Eight workers on one key: requests in turn every 2 us, a fifth more than the rate allows.
fn hot_key(requests: u64) -> (Proxy, [u64; 8], Nanos) {
    let limit = limit(400_000, 100_000);
    let mut proxy = Proxy::new(8, &[Grant::fixed(limit)]);
    // Half full, so that what flows in finds room at any time: the oracle knows no brim.
    let half =
        KeyState { standard: Bucket::new(limit.burst_nano() / 2, Nanos(0)), ..KeyState::at_boot(limit, Nanos(0)) };
    proxy.shared.states.push(Some(half));
    let (mut admitted, mut now) = ([0; 8], Nanos(0));
    for request in 0..requests {
        now = Nanos(request * 2_000);
        // A scrambled order, so that no worker is always the one after another.
        let worker = (request.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61) as usize;
        if matches!(proxy.request(worker, &one(1), now), Verdict::Admit(_)) {
            admitted[worker] += 1;
        }
        if request % 25_000 == 24_999 {
            proxy.tick(now);
        }
    }
    (proxy, admitted, now)
}

/// Ten million operations against plain arithmetic. A draw is two operations on shared data, a read and a write.
#[test]
fn ten_million_requests_on_one_hot_key_lose_no_token_and_rarely_touch_shared_data() {
    let requests = 10_000_000;
    let (proxy, admitted, now) = hot_key(requests);
    let limit = limit(400_000, 100_000);
    let state = proxy.shared.states[0].unwrap();
    let held: u64 = proxy.workers.iter().flatten().map(|account| account.leased_units()).sum();
    let arrived = limit.burst_nano() / 2 + limit.rate.nano_units_in(state.standard.at().0);
    let total: u64 = admitted.iter().sum();
    assert_eq!((total + held) * NANO + state.standard.level_nano(), arrived, "every token is somewhere");
    assert!(state.standard.at().since(Nanos(0)) + 50 * Nanos::MILLI > now.0, "the bucket was looked at lately");
    let per_request = (2 * proxy.shared.accesses) as f64 / requests as f64;
    assert!(per_request < 0.05, "{per_request} operations on shared data per request");
    let (least, most) = (admitted.iter().min().unwrap(), admitted.iter().max().unwrap());
    assert!(most * 100 <= least * 110, "fair between workers: {admitted:?}");
    println!("{per_request:.4} shared-data operations per request, {admitted:?} admitted by worker");
}

#[test]
fn a_cold_key_holds_one_request_and_a_crash_loses_no_more_than_the_stated_share() {
    let limit = limit(10_000, 10_000);
    let mut proxy = Proxy::new(4, &[Grant::fixed(limit)]);
    for second in 1..50 {
        proxy.request(0, &one(1), Nanos(second * Nanos::SECOND));
        assert_eq!(proxy.workers[0][0].leased_units(), 0, "one request in a second");
    }
    let mut most = 0;
    for request in 0..10_000u64 {
        proxy.request(1, &one(1), Nanos(50 * Nanos::SECOND + request * 100_000));
        most = most.max(proxy.workers[1][0].leased_units());
    }
    assert!(most < claim_cap(limit.burst, 4, 1) && most > 100, "{most}: what a crash of a hot worker loses");
}

/// The worst case that claims are made for: hot workers with full leases, a bucket that refills behind them, and then
/// everything at one instant. They get the burst and no unit more, and no less than what is not claimed.
#[test]
fn what_hot_workers_hold_while_the_bucket_refills_is_part_of_the_burst() {
    let limit = limit(200_000, 10_000);
    let mut proxy = Proxy::new(4, &[Grant::fixed(limit)]);
    let mut now = Nanos(Nanos::SECOND);
    for round in 0..5 {
        // Stops anywhere in the leases; the pause is too short for them to go back.
        for request in 0..20_000 + round * 37 {
            now = now.plus(2_500);
            proxy.request(request % 4, &one(1), now);
        }
        now = now.plus(90 * Nanos::MILLI);
        proxy.tick(now);
        let held: u64 = proxy.workers.iter().flatten().map(|account| account.leased_units()).sum();
        let at_once =
            (0..50_000).filter(|request| matches!(proxy.request(request % 4, &one(1), now), Verdict::Admit(_)));
        let admitted = at_once.count() as u64;
        assert!(held > 0 && held <= 500, "{held} leased");
        assert!((9_500..=10_000).contains(&admitted), "{admitted}");
    }
}
