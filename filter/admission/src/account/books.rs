//! The books of an account: the leases it holds, what it remembers of an empty bucket, what it counted.
//!
//! [`Books::secure`] is the order of admission: shadow, else standard, else borrow. It answers from the worker's own
//! leases as long as they cover the request, at every instant that the coarse clock allows; else it reads the clock and
//! draws on the shared state ([`lease`](crate::lease) says how much). What is leased has left the shared bucket; what
//! lies idle goes back ([`Books::give_back`]). While the [`till`](super::till) serves, nothing here is looked at.

use alloc::boxed::Box;

use crate::borrow::{Borrower, Short};
use crate::bucket::Wait;
use crate::claims::{Claimed, RENEW_AFTER};
use crate::counts::{Counts, Tally};
use crate::decision::Source;
use crate::dry::Dry;
use crate::grant::{Grant, Terms};
use crate::lease::Lease;
use crate::ledger::{Clock, Conditions, Ledger};
use crate::pool::Pool;
use crate::score::PlainScore;
use crate::shadow::Slot;
use crate::units::Nanos;

use super::till::Float;

/// How long a request waits after losing every compare-and-set race: refuse, never allow.
const CONTENDED_WAIT: u64 = Nanos::MILLI;

/// All of an account that is not in its till. A plain draw touches what stands first, five cache lines of ten.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Books {
    /// The grant's terms as of the last look; empty before the first.
    terms: Terms,
    pub(crate) standard: Lease,
    /// For the standard lease, in the shared state.
    pub(crate) claimed: Claimed,
    pub(crate) standard_dry: Dry,
    score: PlainScore,
    pub(crate) counts: Counts,
    pub(crate) grant: Grant,
    pub(crate) shadow: Lease,
    pub(crate) shadow_slot_id: u64,
    pub(crate) shadow_dry: Dry,
    pub(crate) borrower: Option<Box<Borrower>>,
}

impl Books {
    /// Under `grant`, with nothing leased.
    pub(crate) fn new(grant: Grant) -> Self {
        let borrower = grant.pool.map(|_| Box::default());
        Self { grant, borrower, ..Self::default() }
    }

    /// See [`Account::set_grant`](super::Account::set_grant).
    pub(crate) fn set_grant(&mut self, grant: Grant) {
        if self.grant == grant {
            return;
        }
        let same_pool = self.grant.pool.map(|member| member.pool) == grant.pool.map(|member| member.pool);
        if !same_pool {
            self.borrower = grant.pool.map(|_| Box::default());
        }
        self.grant = grant;
        self.look_again();
    }

    /// Units held outside the shared state, all buckets together.
    pub(crate) fn leased_units(&self) -> u64 {
        let borrowed = self.borrower.as_ref().map_or(0, |borrower| borrower.held());
        self.standard.units.saturating_add(self.shadow.units).saturating_add(borrowed)
    }

    /// What may be spent from now on without a look in here; `None` when every request has to look.
    pub(crate) fn float(&mut self, conditions: &Conditions, clock: &Clock) -> Option<Float> {
        let (terms, now) = (&self.terms, clock.earliest());
        let renewal = if self.claimed.units > 0 { self.standard.drawn_at.plus(RENEW_AFTER) } else { Nanos(u64::MAX) };
        let (from, until) = (terms.from, terms.until.min(renewal));
        if terms.slot.is_some() || now < from || clock.latest() >= until.min(conditions.valid_until) {
            return None;
        }
        let plain = self.score.surely(terms.standard, conditions.workers, now);
        Some(Float { units: self.standard.units.min(plain), from, until })
    }

    /// Takes in what went through the till, the last of it at `last`.
    pub(crate) fn take_in(&mut self, spent: Tally, last: Nanos) {
        self.standard.spend(spent.units);
        self.counts.standard.absorb(&spent);
        self.score.charge(spent.units, last);
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
        if let Some(source) = self.covered(cost, conditions, clock) {
            return Ok(source);
        }
        let now = clock.read(ledger);
        let terms = self.terms_at(now, conditions);
        if terms.slot.is_some_and(|slot| self.shadow_held(&slot) >= cost) {
            return Ok(Source::Shadow);
        }
        let slot = terms.slot.filter(|_| !self.shadow_dry.covers(cost, now));
        let leased = self.standard_held(now) >= cost;
        // A lease that is to be renewed is, whatever is known of the bucket.
        let empty = self.standard.units < cost && self.standard_dry.covers(cost, now);
        let own = if slot.is_some() || (!leased && !empty) {
            self.draw(key, cost, &Terms { slot, ..terms }, conditions, now, ledger)
        } else if leased {
            Ok(Source::Standard)
        } else {
            Err(Short::Dry(self.standard_dry.wait_for_look(terms.standard, cost)))
        };
        let borrowed = match own {
            Err(Short::Dry(_)) if now < conditions.valid_until => self.borrow(cost, conditions, now, ledger),
            other => other,
        };
        match (own, borrowed) {
            (Ok(source), _) | (_, Ok(source)) => Ok(source),
            (Err(Short::Contended), _) | (_, Err(Short::Contended)) => Err(Wait::Until(now.plus(CONTENDED_WAIT))),
            (Err(Short::Dry(own)), Err(Short::Dry(borrowed))) => {
                Err(own.min(borrowed).min(self.shadow_wait(&terms, cost, conditions, now)))
            }
        }
    }

    /// Spends what [`Books::secure`] got.
    pub(crate) fn spend(&mut self, source: Source, cost: u64) {
        match (source, &mut self.borrower) {
            (Source::Shadow, _) => {
                self.shadow.spend(cost);
                self.counts.reserved.add(cost);
            }
            (Source::Pool, Some(borrower)) => {
                borrower.pooled.spend(cost);
                self.counts.borrowed.add(cost);
            }
            (Source::Overcommit, Some(borrower)) => {
                borrower.overcommit.spend(cost);
                self.counts.borrowed.add(cost);
                self.counts.overcommitted.add(cost);
            }
            // Without membership nothing is ever borrowed.
            (Source::Standard | Source::Pool | Source::Overcommit, _) => {
                self.standard.spend(cost);
                self.counts.standard.add(cost);
            }
        }
    }

    /// Counts a request, once it is decided: what came, and what a plain bucket would have made of it.
    pub(crate) fn observe(&mut self, cost: u64, admitted: bool, conditions: &Conditions, clock: &Clock) {
        if !admitted {
            self.counts.refused.add(cost);
        }
        let valid = clock.earliest() < conditions.valid_until;
        let limit = if valid { self.grant.standard } else { self.grant.safe };
        match (self.score.admits(limit, conditions.workers, cost, clock), admitted) {
            (false, true) => {
                self.counts.would_have_refused_plain.add(cost);
                self.counts.rescued.add(cost);
            }
            (false, false) => self.counts.would_have_refused_plain.add(cost),
            (true, false) => self.counts.worse_than_plain.add(cost),
            (true, true) => {}
        }
        self.note_demand(cost, valid, clock);
    }

    /// Counts a request that is refused though its charge could be had.
    pub(crate) fn turn_away(&mut self, cost: u64, conditions: &Conditions, clock: &Clock) {
        self.counts.refused.add(cost);
        self.note_demand(cost, clock.earliest() < conditions.valid_until, clock);
    }

    fn note_demand(&mut self, cost: u64, valid: bool, clock: &Clock) {
        let (slot, at) = (&self.terms.slot, clock.earliest());
        if valid && slot.is_some_and(|slot| slot.start <= at && at < slot.end) {
            self.counts.in_slot.add(cost);
        }
    }

    /// Returns all leases, and tells the pool what is still to be told.
    pub(crate) fn give_back(&mut self, key: usize, conditions: &Conditions, now: Nanos, ledger: &mut impl Ledger) {
        let terms = self.terms_at(now, conditions);
        if self.standard.units > 0 || self.claimed.units > 0 || self.shadow.units > 0 {
            let shadow = terms.slot.map(|slot| (slot, self.shadow_held(&slot)));
            let returned = ledger.replace(key, &mut |state| {
                let mut state = state?;
                state.give_back(terms.standard, self.standard.units, self.claimed, now);
                if let Some((slot, units)) = shadow {
                    state.shadow.give_back(&slot, units, now);
                }
                Some(state)
            });
            // After a lost race the lease simply stays until the next try.
            if returned.is_ok() {
                (self.standard, self.claimed) = (Lease::default(), Claimed::default());
                self.shadow = Lease::default();
                if let (Some(borrower), Some((_, units))) = (&mut self.borrower, shadow) {
                    borrower.owner_returned(units);
                }
            }
        }
        if let (Some(pool), Some(borrower)) = (pool_of(&self.grant, conditions), &mut self.borrower) {
            // The same here.
            let _ = borrower.give_back(pool, conditions, now, ledger);
        }
    }

    /// What surely covers the request at every instant that `clock` allows, without a look at it.
    fn covered(&self, cost: u64, conditions: &Conditions, clock: &Clock) -> Option<Source> {
        let (terms, latest) = (&self.terms, clock.latest());
        if clock.earliest() < terms.from || latest >= terms.until.min(conditions.valid_until) {
            return None;
        }
        if let Some(slot) = &terms.slot {
            if self.shadow_held(slot) >= cost {
                return Some(Source::Shadow);
            }
            if !self.shadow_dry.covers(cost, latest) {
                return None;
            }
        }
        (self.standard_held(latest) >= cost).then_some(Source::Standard)
    }

    /// Units held of the standard bucket; none when their claim is due, so that the next request renews it.
    pub(crate) fn standard_held(&self, now: Nanos) -> u64 {
        let is_due = self.claimed.units > 0 && now.since(self.standard.drawn_at) >= RENEW_AFTER;
        if is_due { 0 } else { self.standard.units }
    }

    /// The terms at an exact instant, kept for the next requests.
    pub(crate) fn terms_at(&mut self, now: Nanos, conditions: &Conditions) -> Terms {
        if now >= conditions.valid_until {
            return self.grant.safe_terms();
        }
        if now < self.terms.from || now >= self.terms.until {
            self.terms = self.grant.terms(now);
        }
        self.terms
    }

    /// Units held of exactly this slot; what was leased from an earlier one is void.
    pub(crate) fn shadow_held(&self, slot: &Slot) -> u64 {
        if self.shadow_slot_id == slot.id { self.shadow.units } else { 0 }
    }

    /// Forgets every drought and the terms, because they may have changed, or those of the pool.
    pub(crate) fn look_again(&mut self) {
        self.terms = Terms::default();
        (self.standard_dry, self.shadow_dry) = (Dry::default(), Dry::default());
        if let Some(borrower) = &mut self.borrower {
            borrower.look_again();
        }
    }

    fn borrow(
        &mut self,
        cost: u64,
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<Source, Short> {
        let may_borrow = self.grant.pool.is_some_and(|member| member.may_borrow);
        match (pool_of(&self.grant, conditions), &mut self.borrower) {
            (Some(pool), Some(borrower)) if may_borrow => borrower.secure(pool, cost, conditions, now, ledger),
            _ => Err(Short::Dry(Wait::Never)),
        }
    }

    /// When a shadow slot could cover `cost`: the running one by its pace, or one that is still to come.
    fn shadow_wait(&self, terms: &Terms, cost: u64, conditions: &Conditions, now: Nanos) -> Wait {
        if now >= conditions.valid_until {
            return Wait::Never;
        }
        let running = terms.slot.filter(|_| self.shadow_dry.covers(cost, now));
        let paced = running.map_or(Wait::Never, |slot| match self.shadow_dry.wait(slot.pace, cost) {
            Wait::Until(at) if at < slot.end => Wait::Until(at),
            _ => Wait::Never,
        });
        let coming = self.grant.next_slot(cost, now).filter(|start| *start < conditions.valid_until);
        paced.min(coming.map_or(Wait::Never, Wait::Until))
    }
}

/// The pool that a grant belongs to, with its number.
pub(crate) fn pool_of<'a>(grant: &Grant, conditions: &Conditions<'a>) -> Option<(usize, &'a Pool)> {
    let number = grant.pool?.pool;
    conditions.pools.get(number).map(|pool| (number, pool))
}
