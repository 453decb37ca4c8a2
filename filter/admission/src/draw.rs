//! One look of an account at its key's shared state: shadow first, else standard, and what is remembered of it.

use crate::account::{Books, pool_of};
use crate::borrow::Short;
use crate::bucket::Wait;
use crate::claims::Claimed;
use crate::decision::Source;
use crate::dry::{Dry, Round, pile};
use crate::grant::Terms;
use crate::key_state::KeyState;
use crate::lease::{Lease, claim_cap, lease_cap};
use crate::ledger::{Conditions, Ledger};
use crate::units::{NANO, Nanos};

/// What one look at the shared state gave.
#[derive(Clone, Copy, Debug, Default)]
struct Draw {
    shadow_units: u64,
    standard: Option<Drawn>,
    /// The standard lease in hand counts no more.
    is_void: bool,
    /// Of the lease that was drawn.
    size: u64,
    /// Of the bucket that was drawn, when it gave less than wanted.
    dry: Dry,
    /// When the shadow gave nothing.
    shadow_dry: Option<Dry>,
    /// When the standard bucket gave nothing.
    standard_wait: Option<Wait>,
}

/// What the standard bucket gave; a renewed claim may have needed nothing.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    units: u64,
    claimed: Claimed,
}

impl Books {
    /// Draws what `cost` needs and a lease on top, out of the shadow slot of `terms` or else the standard bucket.
    pub(crate) fn draw(
        &mut self,
        key: usize,
        cost: u64,
        terms: &Terms,
        conditions: &Conditions,
        now: Nanos,
        ledger: &mut impl Ledger,
    ) -> Result<Source, Short> {
        let mut drawn = Draw::default();
        let replaced = ledger.replace(key, &mut |state| {
            let mut state = state.unwrap_or_else(|| KeyState::at_boot(terms.standard, conditions.born));
            drawn = self.draw_from(&mut state, cost, terms, conditions, now);
            (drawn.shadow_units > 0 || drawn.standard.is_some()).then_some(state)
        });
        if replaced.is_err() {
            // A lease that was only to be renewed is good until its claim ends.
            let is_good = self.standard.units >= cost && self.standard_held(now) < cost && self.claimed.holds(now);
            return if is_good { Ok(Source::Standard) } else { Err(Short::Contended) };
        }
        if let (Some(slot), true) = (&terms.slot, drawn.shadow_units > 0) {
            if self.shadow_slot_id != slot.id {
                (self.shadow, self.shadow_slot_id) = (Lease::default(), slot.id);
            }
            self.shadow.draw(drawn.shadow_units, drawn.size, now);
            self.shadow_dry = drawn.dry.until(slot.end);
            if let (Some(pool), Some(borrower)) = (pool_of(&self.grant, conditions), &mut self.borrower) {
                borrower.owner_drew(drawn.shadow_units);
                // An owner's right does not depend on the pool; what could not be told goes with the next draw.
                let _ = borrower.flush(pool, conditions, now, ledger);
            }
            return Ok(Source::Shadow);
        }
        if let (Some(slot), Some(dry)) = (&terms.slot, drawn.shadow_dry) {
            self.shadow_dry = dry.until(slot.end);
        }
        if drawn.is_void {
            self.standard.units = 0;
            self.claimed = Claimed::default();
        }
        if let Some(Drawn { units, claimed }) = drawn.standard {
            self.standard.draw(units, drawn.size, now);
            (self.claimed, self.standard_dry) = (claimed, drawn.dry);
        }
        let Some(wait) = drawn.standard_wait else {
            return Ok(Source::Standard);
        };
        self.standard_dry = drawn.dry;
        Err(Short::Dry(wait))
    }

    /// What there is to draw, shadow first; `state` is changed by exactly that.
    fn draw_from(&self, state: &mut KeyState, cost: u64, terms: &Terms, conditions: &Conditions, now: Nanos) -> Draw {
        let mut draw = Draw::default();
        if let Some(slot) = &terms.slot {
            let held = self.shadow_held(slot);
            let cap = lease_cap(slot.amount.min(slot.pace.burst), conditions.workers, cost);
            draw.size = self.shadow.size_for(cost, cap, now);
            let (need, want) = (cost.saturating_sub(held), draw.size.saturating_sub(held));
            let taken = state.shadow.take(slot, need, want, now);
            let recheck = state.shadow.pace.wait_for(slot.pace, pile(need, want, conditions.workers, slot.pace));
            match taken {
                Ok(units) => {
                    draw.shadow_units = units;
                    if units < want {
                        draw.dry = Dry::new(cost, state.shadow.pace.wait_for(slot.pace, cost), recheck);
                    }
                    return draw;
                }
                Err(Wait::Never) => draw.shadow_dry = Some(Dry::new(cost, Wait::Never, Wait::Never)),
                Err(wait) => draw.shadow_dry = Some(Dry::new(cost, wait, recheck)),
            }
        }
        if self.standard_held(now) < cost {
            self.draw_standard(&mut draw, state, cost, terms, conditions, now);
        }
        draw
    }

    /// The part of [`Books::draw_from`] that is about the standard bucket: settles the former claim, draws, claims anew.
    fn draw_standard(
        &self,
        draw: &mut Draw,
        state: &mut KeyState,
        cost: u64,
        terms: &Terms,
        conditions: &Conditions,
        now: Nanos,
    ) {
        let (limit, workers) = (terms.standard, conditions.workers);
        state.refill(limit, now);
        // A lease whose claim has ended is void: the bucket has refilled in its place.
        draw.is_void = state.claims.as_mut().is_some_and(|claims| !claims.settle(self.claimed));
        let held = if draw.is_void { 0 } else { self.standard.units };
        let cap = if state.claims.is_some() { claim_cap } else { lease_cap };
        draw.size = self.standard.size_for(cost, cap(limit.burst, workers, cost), now);
        let (need, want) = (cost.saturating_sub(held), draw.size.saturating_sub(held));
        let available = state.standard.level_nano() / NANO;
        // Where everybody's lease is there, nobody asks whose part it is.
        let round = (available < want.saturating_mul(workers)).then(|| Round::new(need, want, workers, limit));
        let units = round.map_or(want, |round| round.units(available, need, want));
        // A cost above the burst never fits, even when a part of it is already held.
        let fits = cost <= limit.burst && state.standard.take(limit, units, now).is_ok();
        if fits {
            // The request at hand is spent at once; it needs no room.
            let rest = held.saturating_add(units).saturating_sub(cost);
            let claimed = state.claims.as_mut().map_or(Claimed::default(), |claims| claims.claim(rest));
            draw.standard = Some(Drawn { units, claimed });
            if units >= want {
                return;
            }
        }
        let next = match round {
            Some(round) if cost <= limit.burst => round.next_look(state, need, limit, now),
            _ => Wait::Never,
        };
        if fits {
            draw.dry = Dry::new(cost, state.wait_for(limit, cost), next);
        } else {
            let wait = state.wait_for(limit, if cost > limit.burst { cost } else { need }).max(Wait::Until(now));
            draw.dry = Dry::new(cost, wait, if wait == Wait::Never { wait } else { next });
            draw.standard_wait = Some(draw.dry.wait_for_look(limit, cost));
        }
    }
}
