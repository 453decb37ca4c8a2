//! Settling afterwards: a request that was admitted with an estimate is accounted with what it really used.
//!
//! The caller keeps the [`Receipt`] and says how much was used *in all*: as often as it likes while a stream runs
//! ([`Account::settle_so_far`](crate::Account::settle_so_far), which only ever charges more), and once at its end ([`Account::settle`](crate::Account::settle), which also
//! refunds). Receipts make repeating harmless: what is accounted for is in them.
//!
//! | from | refund | charge |
//! |---|---|---|
//! | shadow | to the slot while it runs, else void: nothing carries over | to the slot while it runs and has an amount left, the rest as standard |
//! | standard | to the bucket, never above its burst | to the bucket, which may owe up to [`MAX_OWED_BURSTS`] bursts; the rest is forgiven |
//! | pool, overcommit | to where it was borrowed | to where it was borrowed, down to zero and no further (lending stays within its debt); the rest as standard |
//!
//! A bucket that owes admits nothing until it has repaid, beyond the leases that workers hold. So over any window, in
//! units used, `used <= rate x time + burst + leases + MAX_OWED_BURSTS x burst`; and over a long time the debt term is
//! paid once, since repaying it is taken from what arrives. Forgiven units are the only ones outside, and are counted.

use crate::account::{Books, pool_of};
use crate::claims::Claimed;
use crate::decision::{Receipt, Source};
use crate::key_state::KeyState;
use crate::lease::{EXACT_BELOW_UNITS, Lease, lease_cap};
use crate::ledger::{Clock, Conditions, Contended, Ledger};
use crate::units::Nanos;

/// The most that a standard bucket may owe, in bursts: repaid after at most so many times `burst / rate`.
pub const MAX_OWED_BURSTS: u64 = 4;

impl Books {
    /// See [`Account::settle_so_far`](crate::Account::settle_so_far).
    pub(crate) fn settle_so_far(
        &mut self,
        receipt: &mut Receipt,
        used: u64,
        conditions: &Conditions,
        clock: &mut Clock,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        if used <= receipt.units {
            return Ok(());
        }
        let now = clock.read(ledger);
        let before = receipt.units;
        let charged = match receipt.source {
            Source::Shadow => self.charge_shadow(receipt, used, conditions, now, ledger),
            Source::Standard => Ok(()),
            Source::Pool | Source::Overcommit => self.charge_pool(receipt, used, conditions, now, ledger),
        };
        self.counts.settled.charged = self.counts.settled.charged.saturating_add(receipt.units.saturating_sub(before));
        charged?;
        self.charge_standard(receipt, used, conditions, now, ledger)
    }

    /// See [`Account::settle`](crate::Account::settle).
    pub(crate) fn settle(
        &mut self,
        receipt: &mut Receipt,
        used: u64,
        conditions: &Conditions,
        clock: &mut Clock,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        let unused = receipt.units.saturating_sub(used);
        if unused == 0 {
            return self.settle_so_far(receipt, used, conditions, clock, ledger);
        }
        let now = clock.read(ledger);
        match receipt.source {
            Source::Shadow => self.refund_shadow(receipt, unused, conditions, now, ledger),
            Source::Standard => self.refund_standard(receipt, unused, conditions, now, ledger),
            Source::Pool | Source::Overcommit => self.refund_pool(receipt.source, unused, conditions, now, ledger),
        }?;
        receipt.units = used;
        self.counts.settled.refunded = self.counts.settled.refunded.saturating_add(unused);
        // What was found empty may no longer be.
        self.look_again();
        Ok(())
    }

    fn charge_shadow(
        &mut self,
        receipt: &mut Receipt,
        used: u64,
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        let Some(slot) = self.terms_at(now, conditions).slot.filter(|slot| slot.id == receipt.slot_id) else {
            return Ok(());
        };
        let held = self.shadow_held(&slot);
        let more = charge_lease(&mut self.shadow, held, receipt, used);
        if more == 0 {
            return Ok(());
        }
        let mut taken = 0;
        ledger.replace(receipt.key, &mut |state| {
            let mut state = state?;
            taken = state.shadow.charge(&slot, more, now);
            Some(state)
        })?;
        receipt.units = receipt.units.saturating_add(taken);
        if let (Some(pool), Some(borrower)) = (pool_of(&self.grant, conditions), &mut self.borrower) {
            borrower.owner_drew(taken);
            let _ = borrower.flush(pool, conditions, now, ledger);
        }
        Ok(())
    }

    fn charge_pool(
        &mut self,
        receipt: &mut Receipt,
        used: u64,
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        let (Some((number, pool)), Some(borrower)) = (pool_of(&self.grant, conditions), &mut self.borrower) else {
            return Ok(());
        };
        let lease = if receipt.source == Source::Pool { &mut borrower.pooled } else { &mut borrower.overcommit };
        let held = lease.units;
        let more = charge_lease(lease, held, receipt, used);
        if more == 0 {
            return Ok(());
        }
        let mut taken = 0;
        borrower.with_pool((number, pool), conditions, now, ledger, &mut |state, _| {
            taken = if receipt.source == Source::Pool {
                state.charge_borrower(pool, more, now)
            } else {
                state.overcommit.charge(pool.overcommit(), more, 0, now)
            };
            taken > 0
        })?;
        receipt.units = receipt.units.saturating_add(taken);
        Ok(())
    }

    fn charge_standard(
        &mut self,
        receipt: &mut Receipt,
        used: u64,
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        let limit = self.terms_at(now, conditions).standard;
        let (before, held) = (receipt.units, self.standard_held(now));
        let more = charge_lease(&mut self.standard, held, receipt, used);
        self.counts.settled.charged = self.counts.settled.charged.saturating_add(receipt.units.saturating_sub(before));
        if more == 0 {
            return Ok(());
        }
        let mut charged = 0;
        ledger.replace(receipt.key, &mut |state| {
            let mut state = state.unwrap_or_else(|| KeyState::at_boot(limit, conditions.born));
            state.refill(limit, now);
            charged = state.standard.charge(limit, more, limit.burst.saturating_mul(MAX_OWED_BURSTS), now);
            Some(state)
        })?;
        receipt.units = used;
        self.counts.settled.charged = self.counts.settled.charged.saturating_add(charged);
        self.counts.settled.forgiven = self.counts.settled.forgiven.saturating_add(more.saturating_sub(charged));
        // What was promised to waiting requests is no longer true.
        self.look_again();
        Ok(())
    }

    fn refund_shadow(
        &mut self,
        receipt: &Receipt,
        unused: u64,
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        let Some(slot) = self.terms_at(now, conditions).slot.filter(|slot| slot.id == receipt.slot_id) else {
            return Ok(());
        };
        ledger.replace(receipt.key, &mut |state| {
            let mut state = state?;
            state.shadow.give_back(&slot, unused, now);
            Some(state)
        })?;
        if let (Some(pool), Some(borrower)) = (pool_of(&self.grant, conditions), &mut self.borrower) {
            borrower.owner_returned(unused);
            let _ = borrower.flush(pool, conditions, now, ledger);
        }
        Ok(())
    }

    /// Into the worker's lease as far as it may hold more, so that small refunds cost no shared state: as much as is claimed
    /// for it, and on top what a lease without a claim may hold.
    fn refund_standard(
        &mut self,
        receipt: &Receipt,
        unused: u64,
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        let limit = self.terms_at(now, conditions).standard;
        let claimed = if self.standard_held(now) > 0 { self.claimed.units } else { 0 };
        let cap = lease_cap(limit.burst, conditions.workers, 0).saturating_add(claimed);
        if limit.burst >= EXACT_BELOW_UNITS && self.standard.units.saturating_add(unused) <= cap {
            self.standard.units = self.standard.units.saturating_add(unused);
            return Ok(());
        }
        ledger.replace(receipt.key, &mut |state| {
            let mut state = state?;
            state.give_back(limit, unused, Claimed::default(), now);
            Some(state)
        })
    }

    fn refund_pool(
        &mut self,
        source: Source,
        unused: u64,
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        let (Some((number, pool)), Some(borrower)) = (pool_of(&self.grant, conditions), &mut self.borrower) else {
            return Ok(());
        };
        borrower.with_pool((number, pool), conditions, now, ledger, &mut |state, _| {
            if source == Source::Pool {
                state.give_back(pool, unused, now);
            } else {
                state.overcommit.give_back(pool.overcommit(), unused, now);
            }
            true
        })
    }
}

/// Charges what a lease holds (`held` units of it) towards `used` units in all; returns what is still to be charged.
fn charge_lease(lease: &mut Lease, held: u64, receipt: &mut Receipt, used: u64) -> u64 {
    let leased = held.min(used.saturating_sub(receipt.units));
    lease.spend(leased);
    receipt.units = receipt.units.saturating_add(leased);
    used.saturating_sub(receipt.units)
}
