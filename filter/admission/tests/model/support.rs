//! One proxy without concurrency: its shared state, its clock, its workers' accounts.

use forebay_admission::units::NANO;
use forebay_admission::{
    Account, Charge, Clock, Conditions, Contended, Grant, KeyState, Ledger, Limit, Nanos, Pool, PoolState, Rate,
    Receipt, Receipts, Verdict, admit_with_receipts,
};
use proptest::prelude::*;

/// Shared state: one state per key and pool.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(crate) states: Vec<Option<KeyState>>,
    pub(crate) pools: Vec<Option<PoolState>>,
    pub(crate) now: Nanos,
    pub(crate) accesses: u64,
    pub(crate) clock_reads: u64,
    /// How many of the next accesses to a pool lose every race.
    pub(crate) contended_pool: u64,
}

fn replace<T: Copy>(states: &mut Vec<Option<T>>, index: usize, change: &mut dyn FnMut(Option<T>) -> Option<T>) {
    if states.len() <= index {
        states.resize(index + 1, None);
    }
    if let Some(new) = change(states[index]) {
        states[index] = Some(new);
    }
}

impl Ledger for Shared {
    fn now(&mut self) -> Nanos {
        self.clock_reads += 1;
        self.now
    }

    fn replace(
        &mut self,
        key: usize,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended> {
        self.accesses += 1;
        replace(&mut self.states, key, change);
        Ok(())
    }

    fn replace_pool(
        &mut self,
        pool: usize,
        change: &mut dyn FnMut(Option<PoolState>) -> Option<PoolState>,
    ) -> Result<(), Contended> {
        self.accesses += 1;
        if self.contended_pool > 0 {
            self.contended_pool -= 1;
            return Err(Contended);
        }
        replace(&mut self.pools, pool, change);
        Ok(())
    }
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) shared: Shared,
    /// Accounts by worker.
    pub(crate) workers: Vec<Vec<Account>>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) valid_until: Nanos,
}

impl Proxy {
    pub(crate) fn new(workers: usize, grants: &[Grant]) -> Self {
        let accounts = || grants.iter().cloned().map(Account::new).collect();
        Self {
            shared: Shared::default(),
            workers: (0..workers).map(|_| accounts()).collect(),
            pools: Vec::new(),
            valid_until: Nanos(u64::MAX),
        }
    }

    /// Settles on worker `worker`; `end` says whether the request has ended.
    pub(crate) fn settle(&mut self, worker: usize, receipt: &mut Receipt, used: u64, end: bool, now: Nanos) {
        let workers = self.workers.len() as u64;
        let conditions = Conditions { born: Nanos(0), valid_until: self.valid_until, workers, pools: &self.pools };
        let (account, clock) = (&mut self.workers[worker][receipt.key], &mut Clock::exact(now));
        let settle = if end { Account::settle } else { Account::settle_so_far };
        settle(account, receipt, used, &conditions, clock, &mut self.shared).unwrap();
    }

    pub(crate) fn request(&mut self, worker: usize, charges: &[Charge], now: Nanos) -> Verdict {
        self.request_at(worker, charges, &mut Clock::exact(now)).0
    }

    pub(crate) fn request_at(&mut self, worker: usize, charges: &[Charge], clock: &mut Clock) -> (Verdict, Receipts) {
        let workers = self.workers.len() as u64;
        let conditions = Conditions { born: Nanos(0), valid_until: self.valid_until, workers, pools: &self.pools };
        admit_with_receipts(&mut self.workers[worker], charges, &conditions, clock, &mut self.shared)
    }

    pub(crate) fn tick(&mut self, now: Nanos) {
        for worker in 0..self.workers.len() {
            self.tick_one(worker, now);
        }
    }

    pub(crate) fn tick_one(&mut self, worker: usize, now: Nanos) {
        let workers = self.workers.len() as u64;
        let conditions = Conditions { born: Nanos(0), valid_until: self.valid_until, workers, pools: &self.pools };
        for (key, account) in self.workers[worker].iter_mut().enumerate() {
            account.give_back_idle(key, &conditions, now, &mut self.shared);
        }
    }

    /// The worker's memory is lost.
    pub(crate) fn crash(&mut self, worker: usize) {
        for account in &mut self.workers[worker] {
            *account = Account::new(account.grant().clone());
        }
    }
}

pub(crate) fn limit(rate: u64, burst: u64) -> Limit {
    Limit::new(Rate::per_s(rate), burst)
}

pub(crate) fn one(cost: u64) -> [Charge; 1] {
    [Charge { key: 0, cost }]
}

/// What a standard bucket may be overdrawn: a request per worker that was secured and not spent. Leases are claimed.
pub(crate) fn bound(workers: u64, cost: u64) -> u64 {
    workers * cost
}

/// Checks `admitted <= rate x time + burst + bound` over every window that begins and ends with an admission.
pub(crate) fn check_every_window(admitted: &[(Nanos, u64)], limit: Limit, bound: u64) -> Result<(), TestCaseError> {
    for (i, (start, _)) in admitted.iter().enumerate() {
        let mut sum = 0;
        for (end, units) in &admitted[i..] {
            sum += units;
            let allowed = (limit.rate.nano_units_in(end.since(*start)) + limit.burst_nano()) / NANO + 1 + bound;
            prop_assert!(sum <= allowed, "{} admitted between {:?} and {:?}, {} allowed", sum, start, end, allowed);
        }
    }
    Ok(())
}
