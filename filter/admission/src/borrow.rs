//! A pool member's dealings with its pool: what it has borrowed, and what its own shadow leases drew.
//!
//! An owner draws on the pool once per shadow lease and after the fact: its right does not depend on the answer. A draw
//! that lost every race stays in the account and goes with the next one.

use crate::bucket::Wait;
use crate::decision::Source;
use crate::dry::{Dry, pile};
use crate::lease::{Lease, lease_cap};
use crate::ledger::{Conditions, Contended, Ledger};
use crate::pool::{Pool, PoolState};
use crate::units::{Limit, Nanos};

/// What a pool member holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Borrower {
    pub(crate) pooled: Lease,
    pub(crate) overcommit: Lease,
    dry: Dry,
    /// Of its own slots: leased, and not yet drawn on the pool.
    owner_drawn: u64,
    /// Of its own slots: given back, and not yet given back to the pool.
    owner_unused: u64,
}

/// Why nothing was borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Short {
    /// There is too little.
    Dry(Wait),
    /// Every compare-and-set was lost.
    Contended,
}

impl Borrower {
    /// Units held outside the pool.
    pub(crate) fn held(&self) -> u64 {
        self.pooled.units.saturating_add(self.overcommit.units)
    }

    /// Forgets a drought, because the terms have changed.
    pub(crate) fn look_again(&mut self) {
        self.dry = Dry::default();
    }

    /// Gets `cost` units into this account's hands, out of the pool or else of its best effort.
    pub(crate) fn secure(
        &mut self,
        (number, pool): (usize, &Pool),
        cost: u64,
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<Source, Short> {
        if self.pooled.units >= cost {
            return Ok(Source::Pool);
        }
        if self.overcommit.units >= cost {
            return Ok(Source::Overcommit);
        }
        if self.dry.covers(cost, now) {
            return Err(Short::Dry(self.dry.ready.map_or(Wait::Never, Wait::Until)));
        }
        let workers = conditions.workers;
        let size = self.pooled.size_for(cost, lease_cap(pool.debt(), workers, cost), now);
        let extra_size = self.overcommit.size_for(cost, lease_cap(pool.overcommit().burst, workers, cost), now);
        let (mut drawn, mut dry) = (Err(Wait::Never), Dry::default());
        self.with_pool((number, pool), conditions, now, ledger, &mut |state, this| {
            (drawn, dry) = this.draw_from(state, pool, cost, (size, extra_size), workers, now);
            drawn.is_ok()
        })
        .map_err(|Contended| Short::Contended)?;
        self.dry = dry;
        match drawn {
            Ok((Source::Overcommit, units)) => {
                self.overcommit.draw(units, extra_size, now);
                Ok(Source::Overcommit)
            }
            Ok((source, units)) => {
                self.pooled.draw(units, size, now);
                Ok(source)
            }
            Err(wait) => Err(Short::Dry(wait)),
        }
    }

    fn draw_from(
        &self,
        state: &mut PoolState,
        pool: &Pool,
        cost: u64,
        (size, extra_size): (u64, u64),
        workers: u64,
        now: Nanos,
    ) -> (Result<(Source, u64), Wait>, Dry) {
        let need = cost.saturating_sub(self.pooled.units);
        let want = size.saturating_sub(self.pooled.units);
        let lent = state.lend(pool, need, want, now);
        if let Ok(units) = lent {
            if units == want || pool.overcommit().burst > 0 {
                return (Ok((Source::Pool, units)), Dry::default());
            }
        }
        let piled = pile(need, want, workers, Limit::new(pool.rate(now), pool.debt()));
        let recheck = PoolState::lend(&mut state.clone(), pool, piled, piled, now).err();
        let wait = match lent {
            Ok(units) => {
                let ready = PoolState::lend(&mut state.clone(), pool, cost, cost, now).err();
                let dry = recheck.map_or(Dry::default(), |recheck| Dry::new(cost, ready.unwrap_or(recheck), recheck));
                return (Ok((Source::Pool, units)), dry);
            }
            Err(wait) => wait,
        };
        let limit = pool.overcommit();
        let need_extra = cost.saturating_sub(self.overcommit.units);
        let want_extra = extra_size.saturating_sub(self.overcommit.units);
        let units = state.overcommit.available(limit, now).min(want_extra).max(need_extra);
        match state.overcommit.take(limit, units, now) {
            Ok(()) => (Ok((Source::Overcommit, units)), Dry::default()),
            Err(_) => {
                let extra_wait = state.overcommit.wait_for(limit, need_extra);
                let recheck = if wait == Wait::Never { wait } else { recheck.unwrap_or(wait) };
                (Err(wait.min(extra_wait)), Dry::new(cost, wait.min(extra_wait), recheck.min(extra_wait)))
            }
        }
    }

    /// This member leased `units` of its own slot.
    pub(crate) fn owner_drew(&mut self, units: u64) {
        self.owner_drawn = self.owner_drawn.saturating_add(units);
    }

    /// This member gave `units` of its own slot back.
    pub(crate) fn owner_returned(&mut self, units: u64) {
        self.owner_unused = self.owner_unused.saturating_add(units);
    }

    /// Tells the pool what this member's own slots drew, if there is anything to tell.
    pub(crate) fn flush(
        &mut self,
        pool: (usize, &Pool),
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        if self.owner_drawn == 0 && self.owner_unused == 0 {
            return Ok(());
        }
        self.with_pool(pool, conditions, now, ledger, &mut |_, _| false)
    }

    /// Returns everything that is borrowed.
    pub(crate) fn give_back(
        &mut self,
        (number, pool): (usize, &Pool),
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        if self.held() == 0 {
            return self.flush((number, pool), conditions, now, ledger);
        }
        self.with_pool((number, pool), conditions, now, ledger, &mut |state, this| {
            state.give_back(pool, this.pooled.units, now);
            state.overcommit.give_back(pool.overcommit(), this.overcommit.units, now);
            true
        })?;
        (self.pooled, self.overcommit) = (Lease::default(), Lease::default());
        Ok(())
    }

    /// Changes the pool's state, after what is due from this member's own slots. `change` says whether it changed any.
    pub(crate) fn with_pool(
        &mut self,
        (number, pool): (usize, &Pool),
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
        change: &mut dyn FnMut(&mut PoolState, &Self) -> bool,
    ) -> Result<(), Contended> {
        let due = self.owner_drawn > 0 || self.owner_unused > 0;
        ledger.replace_pool(number, &mut |state| {
            let mut state = state.unwrap_or_else(|| PoolState::at_boot(pool, conditions.born));
            if due {
                state.draw(pool, self.owner_drawn, now);
                state.give_back(pool, self.owner_unused, now);
            }
            let changed = change(&mut state, self);
            (changed || due).then_some(state)
        })?;
        (self.owner_drawn, self.owner_unused) = (0, 0);
        Ok(())
    }
}
