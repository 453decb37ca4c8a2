//! Workers under a policy that gives each tenant without contract a bucket of its own.

use forebay_engine::memory::Memory;
use forebay_engine::{CallKind, Effect, Metric, Outcome, Worker};
use forebay_protocol::Message;

use crate::support::{MS, grant, received, table};

const CONFIG: &str = r#"{
    "controller": {"cluster": "ctl"},
    "policy": {
        "resources": [{"name": "requests", "others": {"rate_per_s": 1, "burst": 10}, "uncontracted": "each"},
                      {"name": "bytes", "others": {"rate_per_s": 1000, "burst": 1000}}],
        "rules": [{"charges": [{"resource": "requests"}, {"resource": "bytes"}]}],
        "contracts": [{"tenant": "a", "resource": "requests", "rate_per_s": 100, "burst": 50}]
    }
}"#;

fn started(workers: usize, config: &str) -> (Memory, Vec<Worker>) {
    let mut memory = Memory::default();
    memory.random = [7, 8];
    memory.advance_nanos(1_000 * MS);
    let mut workers: Vec<_> = (0..workers).map(|_| Worker::configure(config.as_bytes()).unwrap()).collect();
    tick(&mut memory, &mut workers, 30_000);
    (memory, workers)
}

fn tick(memory: &mut Memory, workers: &mut [Worker], ms: u64) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..ms / 50 {
        memory.advance_nanos(50 * MS);
        for worker in workers.iter_mut() {
            effects.extend(worker.on_tick(&mut memory.host()));
        }
    }
    effects
}

fn request(memory: &mut Memory, worker: &mut Worker, tenant: &str) -> Outcome {
    worker.on_request(&mut memory.request(&[("x-tenant", tenant.as_bytes())]))
}

fn admitted(memory: &mut Memory, worker: &mut Worker, tenant: &str, tries: usize) -> usize {
    (0..tries).filter(|_| matches!(request(memory, worker, tenant), Outcome::Admit(_))).count()
}

#[test]
fn each_name_has_a_bucket_that_all_workers_share() {
    let (mut memory, mut workers) = started(2, CONFIG);
    let [first, second] = &mut workers[..] else { panic!("two workers") };
    // The first sighting in a worker goes to the bucket that all share.
    assert_eq!(admitted(&mut memory, first, "one", 30), 1 + 10);
    assert_eq!(admitted(&mut memory, second, "one", 30), 1, "the same bucket, seen from the other worker");
    assert_eq!(admitted(&mut memory, second, "two", 30), 1 + 10, "another name, another bucket");
    assert_eq!(admitted(&mut memory, first, "a", 60), 50, "a contract is not touched by it");
    let Outcome::Refuse(refusal) = request(&mut memory, second, "two") else { panic!("used up") };
    assert!(refusal.body.contains("\"requests\""), "{}", refusal.body);
    let effects = tick(&mut memory, &mut workers, 500);
    let count = |metric| {
        let counted = |effect: &Effect| match effect {
            Effect::Count(known, n) if *known == metric => *n,
            _ => 0,
        };
        effects.iter().map(counted).sum::<u64>()
    };
    // Two resources are charged for each request.
    assert_eq!(count(Metric::Standard), 2 * (11 + 1 + 11 + 50));
    assert!(count(Metric::Refused) > 0);
    assert!(!memory.shared.keys().any(|key| key.contains("one")), "names do not reach shared data");
}

#[test]
fn a_new_table_moves_the_slots_and_refills_nothing() {
    let (mut memory, mut workers) = started(1, CONFIG);
    assert_eq!(admitted(&mut memory, &mut workers[0], "one", 30), 1 + 10);
    let mut sequence = 0;
    for tenants in [3, 9, 1] {
        sequence += 1;
        let grants = (0..tenants).map(|number| grant(&format!("granted-{number}"), "requests", 20, 20, vec![]));
        let answer = received(&Message::GrantTable(table(sequence, 60_000, grants.collect())));
        workers[0].on_answer(CallKind::Watch, answer, &mut memory.host());
        assert_eq!(workers[0].generation().sequence, sequence);
        assert_eq!(admitted(&mut memory, &mut workers[0], "one", 30), 0, "its slot is still its own, and empty");
        let granted = format!("granted-{}", tenants - 1);
        assert!(admitted(&mut memory, &mut workers[0], &granted, 30) > 0, "a key behind which the slots moved");
    }
    tick(&mut memory, &mut workers, 5_000);
    assert_eq!(admitted(&mut memory, &mut workers[0], "one", 30), 5, "what five seconds gave it");
}

#[test]
fn lost_shared_data_starts_over_with_another_seed() {
    let (mut memory, mut workers) = started(1, CONFIG);
    assert_eq!(admitted(&mut memory, &mut workers[0], "one", 30), 1 + 10);
    memory.shared.clear();
    memory.random = [9, 10];
    tick(&mut memory, &mut workers, 1_000);
    assert!(admitted(&mut memory, &mut workers[0], "one", 30) <= 1 + 2, "a second of rate, not the burst");
}

#[test]
fn a_policy_without_it_asks_for_no_seed_and_holds_no_slots() {
    let config = CONFIG.replace(r#", "uncontracted": "each""#, "");
    let (mut memory, mut workers) = started(1, &config);
    admitted(&mut memory, &mut workers[0], "one", 3);
    assert!(!memory.shared.contains_key("fb1/seed"));
}
