//! One look of an account at its key's shared state: shadow first, else standard, and what is remembered of it.

use crate::account::{Account, pool_of};
use crate::borrow::Short;
use crate::bucket::Wait;
use crate::decision::Source;
use crate::dry::{Dry, pile};
use crate::grant::Terms;
use crate::key_state::KeyState;
use crate::lease::{Lease, lease_cap};
use crate::ledger::{Conditions, Ledger};
use crate::units::Nanos;

/// What one look at the shared state gave.
#[derive(Clone, Copy, Debug, Default)]
struct Draw {
    shadow_units: u64,
    standard_units: u64,
    /// Of the lease that was drawn.
    size: u64,
    /// Of the bucket that was drawn, when it gave less than wanted.
    dry: Dry,
    /// When the shadow gave nothing.
    shadow_dry: Option<Dry>,
    /// When the standard bucket gave nothing.
    standard_wait: Option<Wait>,
}

impl Account {
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
            (drawn.shadow_units > 0 || drawn.standard_units > 0).then_some(state)
        });
        if replaced.is_err() {
            return Err(Short::Contended);
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
        if drawn.standard_units > 0 {
            self.standard.draw(drawn.standard_units, drawn.size, now);
            self.standard_dry = drawn.dry;
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
        if self.standard.units >= cost {
            return draw;
        }
        let need = cost.saturating_sub(self.standard.units);
        let limit = terms.standard;
        draw.size = self.standard.size_for(cost, lease_cap(limit.burst, conditions.workers, cost), now);
        let want = draw.size.saturating_sub(self.standard.units);
        let units = state.standard.available(limit, now).min(want).max(need);
        let taken = if cost > limit.burst { Err(Wait::Never) } else { state.standard.take(limit, units, now) };
        let recheck = state.standard.wait_for(limit, pile(need, want, conditions.workers, limit));
        match taken {
            Ok(()) => {
                draw.standard_units = units;
                if units < want {
                    draw.dry = Dry::new(cost, state.standard.wait_for(limit, cost), recheck);
                }
            }
            Err(_) => {
                // A cost above the burst never fits, even when a part of it is already held.
                let whole = if cost > limit.burst { cost } else { need };
                let wait = state.standard.wait_for(limit, whole).max(Wait::Until(now));
                draw.standard_wait = Some(wait);
                draw.dry = Dry::new(cost, wait, if wait == Wait::Never { wait } else { recheck });
            }
        }
        draw
    }
}
