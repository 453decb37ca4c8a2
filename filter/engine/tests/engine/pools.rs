//! Two tenants of one pool: what the owner leaves idle is borrowed, and when it comes it gets its reservation and the
//! borrower is refused.

use forebay_admission::{Lane, Nanos};
use forebay_engine::memory::Memory;
use forebay_engine::{CallKind, Effect, Metric, Outcome, Worker};
use forebay_protocol::Message;
use forebay_protocol::v1::{Limit, Slot};
use proptest::prelude::*;

use crate::support::{MS, grant, received, table};

const RESERVED_PER_S: u64 = 40;
const DEBT: u64 = 20;

struct Proxy {
    memory: Memory,
    workers: Vec<Worker>,
    effects: Vec<Effect>,
}

fn config(borrow: bool, more: &str) -> String {
    format!(
        r#"{{"controller": {{"cluster": "ctl", "report_interval_ms": 200}}, "policy": {{
            "resources": [{{"name": "requests", "others": {{"rate_per_s": 0, "burst": 0}},
                            "pool": {{"name": "main", "borrow": {borrow}, "debt": {DEBT}{more}}}}}],
            "contracts": [{{"tenant": "owner", "resource": "requests", "rate_per_s": 0}},
                          {{"tenant": "guest", "resource": "requests", "rate_per_s": 0}}]}}}}"#
    )
}

impl Proxy {
    /// The owner has a reservation from now on, nobody has anything else.
    fn new(workers: usize, config: &str) -> Self {
        let worker = || Worker::configure(config.as_bytes()).unwrap();
        let workers = (0..workers).map(|_| worker()).collect();
        let mut proxy = Self { memory: Memory::default(), workers, effects: Vec::new() };
        proxy.advance_ms(1_000);
        let pace = Limit { rate_milli_per_s: RESERVED_PER_S * 1_000, burst: 4 };
        let slot = Slot { id: 1, starts_in_ms: 0, length_ms: 600_000, amount: RESERVED_PER_S * 600, pace };
        let grants = vec![grant("owner", "requests", 0, 0, vec![slot])];
        let answer = received(&Message::GrantTable(table(1, 600_000, grants)));
        proxy.workers[0].on_answer(CallKind::Watch, answer, &mut proxy.memory.host());
        proxy.advance_ms(100);
        proxy
    }

    fn advance_ms(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.memory.advance_nanos(50 * MS);
            for worker in &mut self.workers {
                self.effects.extend(worker.on_tick(&mut self.memory.host()));
            }
        }
    }

    /// Requests admitted from `lane`, of `tries` by turns in all workers.
    fn admitted(&mut self, tenant: &str, tries: usize, lane: Lane) -> usize {
        let workers = self.workers.len();
        let headers: &[(&str, &[u8])] = &[("x-tenant", tenant.as_bytes())];
        let mut request = |n: usize| self.workers[n % workers].on_request(&mut self.memory.request(headers));
        (0..tries).filter(|n| request(*n) == Outcome::Admit(lane)).count()
    }
}

#[test]
fn an_idle_reservation_is_borrowed_and_the_owner_gets_it_back() {
    for workers in [1, 3] {
        let mut proxy = Proxy::new(workers, &config(true, ""));
        proxy.advance_ms(2_000);
        assert_eq!(proxy.admitted("guest", 100, Lane::Borrowed), DEBT as usize, "the debt, at one moment");
        let (mut borrowed, mut owned) = (0, 0);
        for _ in 0..40 {
            proxy.advance_ms(50);
            borrowed += proxy.admitted("guest", 20, Lane::Borrowed);
        }
        assert!((76..=80).contains(&borrowed), "{borrowed} of 80 that were reserved in two seconds and idle");
        // The owner comes: it has all of its rate, and its guest nothing any more.
        borrowed = 0;
        for _ in 0..40 {
            proxy.advance_ms(50);
            owned += proxy.admitted("owner", 2, Lane::Reserved);
            borrowed += proxy.admitted("guest", 20, Lane::Borrowed);
        }
        assert_eq!(owned, 80, "never told not now");
        assert!(borrowed <= 4, "{borrowed} were left");
    }
}

#[test]
fn who_may_not_borrow_does_not_and_best_effort_needs_no_reservation() {
    let mut proxy = Proxy::new(1, &config(false, ""));
    proxy.advance_ms(2_000);
    assert_eq!(proxy.admitted("guest", 50, Lane::Borrowed), 0);
    let mut proxy = Proxy::new(1, &config(true, r#","overcommit":{"rate_per_s":10,"burst":30}"#));
    proxy.advance_ms(10_000);
    assert_eq!(proxy.admitted("guest", 200, Lane::Borrowed), DEBT as usize + 30);
}

#[test]
fn what_is_borrowed_is_counted() {
    let mut proxy = Proxy::new(1, &config(true, ""));
    proxy.advance_ms(1_000);
    let borrowed = proxy.admitted("guest", 30, Lane::Borrowed);
    proxy.effects.clear();
    proxy.advance_ms(2_000);
    let count = |wanted: Metric| {
        let count = |effect: &Effect| match effect {
            Effect::Count(metric, n) if *metric == wanted => *n,
            _ => 0,
        };
        proxy.effects.iter().map(count).sum::<u64>()
    };
    assert_eq!((count(Metric::Borrowed), count(Metric::Refused)), (borrowed as u64, 30 - borrowed as u64));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Owners and borrowers together stay within rate x time + debt + the slot's burst + a request per worker, over any
    /// time since the reservation began.
    #[test]
    fn nothing_is_given_twice(
        workers in 1usize..4,
        steps in proptest::collection::vec((0u64..8, 0usize..12, 0usize..12), 1..120),
    ) {
        let mut proxy = Proxy::new(workers, &config(true, ""));
        let began = proxy.memory.now.minus(100 * MS);
        let mut admitted = 0;
        for (ticks, owner, guest) in steps {
            proxy.advance_ms(ticks * 50);
            admitted += proxy.admitted("owner", owner, Lane::Reserved) as u64;
            admitted += proxy.admitted("guest", guest, Lane::Borrowed) as u64;
            let arrived = RESERVED_PER_S * proxy.memory.now.since(began) / Nanos::SECOND + 1;
            prop_assert!(admitted <= arrived + DEBT + 4 + workers as u64, "{} after {}", admitted, arrived);
        }
    }
}
