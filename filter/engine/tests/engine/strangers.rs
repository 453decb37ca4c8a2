//! Slots for names without contract, over a host's shared data: several workers, one bucket each name.

use forebay_admission::{
    Account, Charge, Clock, Conditions, Contended, Grant, KeyState, Ledger, Limit, Nanos, Rate, Verdict, admit,
};
use forebay_engine::memory::{Memory, MemoryHost};
use forebay_engine::strangers::{OwnBuckets, Strangers, join_seed};

const S: u64 = Nanos::SECOND;

struct Worker {
    strangers: Strangers,
    accounts: Vec<Account>,
}

/// The ledger of a worker that has no contracts: slots only, the overflow account is always empty.
struct Slots<'a, 'b> {
    strangers: &'a mut Strangers,
    host: &'a mut MemoryHost<'b>,
    now: Nanos,
}

impl Ledger for Slots<'_, '_> {
    fn now(&mut self) -> Nanos {
        self.now
    }

    fn replace(
        &mut self,
        key: usize,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended> {
        self.strangers.replace(key, self.now, self.host, change)
    }
}

impl Worker {
    fn new(memory: &mut Memory, random: [u64; 2], limit: Limit) -> Self {
        let seed = join_seed(&mut memory.host(), random).unwrap();
        let rules = vec![OwnBuckets { rule: 0, resource: "requests".into(), limit }];
        let strangers = Strangers::new(seed, rules, 1, memory.now).unwrap();
        let overflow = Account::new(Grant::fixed(Limit::default()));
        Self { accounts: std::iter::once(overflow).chain(strangers.accounts()).collect(), strangers }
    }

    /// The key charged, and whether the request passed.
    fn request(&mut self, memory: &mut Memory, tenant: &str) -> (usize, bool) {
        let (conditions, now) = (conditions(), memory.now);
        let mut host = memory.host();
        let key = self.strangers.key(0, tenant.as_bytes(), &conditions, now, &mut self.accounts, &mut host);
        let mut ledger = Slots { strangers: &mut self.strangers, host: &mut host, now };
        let verdict =
            admit(&mut self.accounts, &[Charge { key, cost: 1 }], &conditions, &mut Clock::exact(now), &mut ledger);
        (key, matches!(verdict, Verdict::Admit(_)))
    }

    fn tick(&mut self, memory: &mut Memory) {
        self.strangers.on_tick(&conditions(), memory.now, &mut self.accounts, &mut memory.host());
    }
}

/// A proxy 100 s after its boot.
fn started() -> Memory {
    let mut memory = Memory::default();
    memory.advance_nanos(100 * S);
    memory
}

fn conditions() -> Conditions<'static> {
    Conditions { born: Nanos(0), valid_until: Nanos(u64::MAX), workers: 2, pools: &[] }
}

fn limit(rate: u64, burst: u64) -> Limit {
    Limit::new(Rate::per_s(rate), burst)
}

fn pair(memory: &mut Memory, limit: Limit) -> [Worker; 2] {
    // Each comes with its own random numbers; the first one's are taken.
    [Worker::new(memory, [1, 2], limit), Worker::new(memory, [3, 4], limit)]
}

#[test]
fn workers_share_one_bucket_per_name_and_a_first_sighting_goes_to_overflow() {
    let mut memory = started();
    let mut workers = pair(&mut memory, limit(1, 10));
    let mut admitted = 0;
    let mut keys = Vec::new();
    for n in 0..40 {
        let (key, passed) = workers[n % 2].request(&mut memory, "someone");
        admitted += u32::from(passed);
        keys.push(key);
    }
    assert_eq!(keys[..2], [0, 0], "each worker's first sighting");
    assert!(keys[2..].iter().all(|key| *key == keys[2] && *key > 0), "one slot in both workers: {keys:?}");
    assert_eq!(workers[0].strangers.rule_of(keys[2]), Some(0));
    assert_eq!(workers[0].strangers.rule_of(0), None);
    assert_eq!(admitted, 10, "one burst for both");
    let counts = workers.each_mut().map(|worker| worker.strangers.take_counts(&mut worker.accounts));
    let units = |n: usize| (counts[n][0].1.standard.units, counts[n][0].1.refused.units);
    assert_eq!(units(0).0 + units(1).0, 10);
    assert_eq!(units(0).1 + units(1).1, 28, "the two at the overflow account are counted there");
    assert!(workers[0].strangers.take_counts(&mut workers[0].accounts).is_empty());
}

#[test]
fn invented_names_leave_a_bounded_number_of_keys_in_shared_data() {
    let mut memory = started();
    let mut workers = pair(&mut memory, limit(1, 10));
    for n in 0..100_000 {
        for _ in 0..2 {
            workers[n % 2].request(&mut memory, &format!("name-{n}"));
        }
    }
    assert!(memory.shared.len() <= 4_096 + 1, "{} keys", memory.shared.len());
    assert!(memory.shared.len() > 4_000, "every set is used: {}", memory.shared.len());
    let bytes: usize = memory.shared.iter().map(|(key, (value, _))| key.len() + value.len()).sum();
    assert!(bytes < 4 << 20, "{bytes} bytes of keys and values");
    let worker = &workers[0];
    let heap = worker.strangers.heap_bytes() + worker.accounts.len() * size_of::<Account>();
    println!("{heap} bytes in each worker, {bytes} in shared data");
    assert!(heap <= 32 << 20, "{heap}");
}

#[test]
fn idle_leases_return_and_lost_shared_data_refuses_rather_than_refills() {
    let mut memory = started();
    let mut workers = pair(&mut memory, limit(1, 1_000));
    for _ in 0..5 {
        workers[0].request(&mut memory, "someone");
    }
    let leased = |worker: &Worker| worker.accounts.iter().map(Account::leased_units).sum::<u64>();
    assert_eq!(leased(&workers[0]), 3, "the first was the overflow's; then leases of 1, 2 and 4");
    memory.advance_nanos(S);
    workers[0].tick(&mut memory);
    assert_eq!(leased(&workers[0]), 0);

    memory.shared.clear();
    let (key, passed) = workers[0].request(&mut memory, "someone");
    assert!(key > 0 && !passed, "its slot is gone, and it learns so by a refusal");
    assert_eq!(workers[0].request(&mut memory, "someone").0, key, "the sketch still knows the name");
}
