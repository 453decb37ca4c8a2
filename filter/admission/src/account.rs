//! One worker's account with one key: what the next request needs of it in one cache line, all else in its books.
//!
//! The [`till`] says what a plain decision touches and why; [`books`] are the leases, what is remembered of an empty
//! bucket, and what was counted. Whoever wants more than the till has opens the books, which closes the till.

mod books;
mod till;

use alloc::boxed::Box;

use crate::bucket::Wait;
use crate::claims::Claimed;
use crate::counts::Counts;
use crate::decision::{Receipt, Source};
use crate::grant::Grant;
use crate::lease::IDLE;
use crate::ledger::{Clock, Conditions, Contended, Ledger};
use crate::units::Nanos;

pub(crate) use books::{Books, pool_of};
use till::Till;

/// A worker's account with one key. Aligned, so that none lies across two cache lines.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
pub struct Account {
    till: Till,
    books: Box<Books>,
    /// Who holds it, where accounts pass from one holder to the next.
    holder: u32,
}

impl Account {
    /// An account under `grant`, with nothing leased.
    pub fn new(grant: Grant) -> Self {
        Self::held_by(0, grant)
    }

    /// A new account, for the holder of this number, where accounts pass from one to the next.
    pub fn held_by(holder: u32, grant: Grant) -> Self {
        Self { till: Till::default(), books: Box::new(Books::new(grant)), holder }
    }

    /// Whether a receipt is of this account's holder, and not of one before.
    pub fn issued(&self, receipt: &Receipt) -> bool {
        self.holder == receipt.holder
    }

    /// Takes a new grant into force. Leases stay: they are paid for. Only what was borrowed from a pool that is no
    /// longer this key's is void.
    pub fn set_grant(&mut self, grant: Grant) {
        self.open_books().set_grant(grant);
    }

    /// The grant in force.
    pub fn grant(&self) -> &Grant {
        &self.books.grant
    }

    /// Units held outside the shared state, all buckets together.
    pub fn leased_units(&self) -> u64 {
        self.books.leased_units().saturating_sub(self.till.spent().units)
    }

    /// Whether the shared state has to hear of this account when it lies idle.
    pub fn holds_lease(&self) -> bool {
        self.leased_units() > 0 || self.books.claimed.units > 0
    }

    /// What the shared state keeps room for, until this account settles or the claim ends.
    pub fn claimed(&self) -> Claimed {
        self.books.claimed
    }

    /// Units held of the standard bucket alone.
    pub fn standard_leased_units(&self) -> u64 {
        self.books.standard.units.saturating_sub(self.till.spent().units)
    }

    /// Counts since [`Account::clear_counts`].
    pub fn counts(&self) -> Counts {
        let mut counts = self.books.counts;
        counts.standard.absorb(&self.till.spent());
        counts
    }

    /// Adds what was counted elsewhere.
    pub fn add_counts(&mut self, more: &Counts) {
        self.books.counts.absorb(more);
    }

    /// Starts counting from zero.
    pub fn clear_counts(&mut self) {
        self.open_books().counts = Counts::default();
    }

    /// Gets `cost` units into this account's hands and says where from, without spending them.
    ///
    /// # Errors
    /// When the request may come again.
    pub(crate) fn secure(
        &mut self,
        key: usize,
        cost: u64,
        conditions: &Conditions,
        clock: &mut Clock,
        ledger: &mut impl Ledger,
    ) -> Result<Source, Wait> {
        if self.till.covers(cost, conditions.valid_until, clock) {
            return Ok(Source::Standard);
        }
        let books = self.open_books();
        let source = books.secure(key, cost, conditions, clock, ledger)?;
        if let Some(float) = books.float(conditions, clock) {
            self.till.open(float);
        }
        Ok(source)
    }

    /// Spends what [`Account::secure`] got under the same `clock`, and counts the request.
    pub(crate) fn spend(&mut self, source: Source, cost: u64, conditions: &Conditions, clock: &Clock) {
        let now = clock.earliest();
        if source == Source::Standard && self.till.spend(cost, now) {
            return;
        }
        self.till.used_at(now);
        let books = self.open_books();
        books.spend(source, cost);
        books.observe(cost, true, conditions, clock);
    }

    /// What a charge took that has just been spent.
    pub(crate) fn receipt(&self, key: usize, source: Source, units: u64) -> Receipt {
        let slot_id = if source == Source::Shadow { self.books.shadow_slot_id } else { 0 };
        Receipt { key, source, slot_id, units, holder: self.holder }
    }

    /// Counts a request that is refused for want of this charge.
    pub(crate) fn refuse(&mut self, cost: u64, conditions: &Conditions, clock: &Clock) {
        self.open_books().observe(cost, false, conditions, clock);
    }

    /// Counts a request that is refused though its charge could be had.
    pub(crate) fn turn_away(&mut self, cost: u64, conditions: &Conditions, clock: &Clock) {
        self.open_books().turn_away(cost, conditions, clock);
    }

    /// Returns leases that were not used for [`IDLE`], and tells the pool what is still to be told. For the tick.
    pub fn give_back_idle(&mut self, key: usize, conditions: &Conditions, now: Nanos, ledger: &mut impl Ledger) {
        if now.since(self.till.last_spent()) >= IDLE {
            self.open_books().give_back(key, conditions, now, ledger);
        }
    }

    /// Charges what a request has used so far (`used` units in all) beyond what is accounted for. Never refunds.
    ///
    /// # Errors
    /// [`Contended`]: some or all of it is still to be charged; `receipt` says how much is.
    pub fn settle_so_far(
        &mut self,
        receipt: &mut Receipt,
        used: u64,
        conditions: &Conditions,
        clock: &mut Clock,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        self.open_books().settle_so_far(receipt, used, conditions, clock, ledger)
    }

    /// Settles a request that has ended: `used` units in all. The difference to what is accounted for is charged or
    /// refunded.
    ///
    /// # Errors
    /// [`Contended`]: some or all of it is still to be done; `receipt` says what is accounted for.
    pub fn settle(
        &mut self,
        receipt: &mut Receipt,
        used: u64,
        conditions: &Conditions,
        clock: &mut Clock,
        ledger: &mut impl Ledger,
    ) -> Result<(), Contended> {
        self.open_books().settle(receipt, used, conditions, clock, ledger)
    }

    /// Forgets every drought and the terms, because they may have changed, or those of the pool.
    pub fn look_again(&mut self) {
        self.open_books().look_again();
    }

    /// The books, with all that went through the till.
    fn open_books(&mut self) -> &mut Books {
        let spent = self.till.close();
        if spent.requests > 0 {
            self.books.take_in(spent, self.till.last_spent());
        }
        &mut self.books
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_one_cache_line() {
        assert_eq!(size_of::<Account>(), 64);
    }
}
