//! One worker's account with one key: the leases it holds, what it remembers of an empty bucket, what it counted.
//!
//! Shared state costs a lock and two copies per access, so a worker draws a *lease* of several units at once and spends
//! it from its own memory. What is leased has left the shared bucket; what lies idle goes back ([`Account::give_back_idle`]).
//!
//! How large a lease? Leases are what workers may still spend after the bucket has refilled behind them, so their sum
//! is the over-admission: [`lease_units`] gives every worker an equal part of 2 % of the burst. Below
//! [`EXACT_BELOW_UNITS`] that part is too small to be worth it, and a lease is exactly the request's cost: such buckets
//! are exact. 2 % and not more, because it also bounds what an idle worker can withhold from a busy one; not less,
//! because a hot key then pays for shared state on every few requests.
//!
//! A bucket that was found empty is remembered as empty until it has something again, locally, so that a flood of
//! refusals never touches shared state. When it is time to look again, [`RECHECK`] lets a little pile up first, so that a
//! key under constant overload draws in batches too; the promised wait stays the exact one.

use crate::bucket::Wait;
use crate::decision::Lane;
use crate::grant::{Grant, Terms};
use crate::key_state::KeyState;
use crate::shadow::Slot;
use crate::units::{Limit, Nanos};

/// Buckets of fewer units are leased request by request.
pub const EXACT_BELOW_UNITS: u64 = 100;

/// All workers' leases of a key together, as a part of its burst.
pub const LEASED_PERCENT: u64 = 2;

/// How much of the rate may pile up before an empty bucket is looked at again.
pub const RECHECK: u64 = 10 * Nanos::MILLI;

/// How long a lease may lie unused before it goes back.
pub const IDLE: u64 = 100 * Nanos::MILLI;

/// How long a request waits after losing every compare-and-set race: refuse, never allow.
const CONTENDED_WAIT: u64 = Nanos::MILLI;

/// Where the [`KeyState`]s are. One method, shaped like compare-and-set.
pub trait Ledger {
    /// Replaces key `key`'s state by what `change` makes of it; `None` from `change` leaves it as it is. `change` sees
    /// `None` when the proxy has no state for the key yet, and runs again after every lost race.
    ///
    /// # Errors
    /// [`Contended`] when every one of a bounded number of tries lost.
    fn replace(
        &mut self,
        key: usize,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended>;
}

/// Others changed the state at every try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended;

/// What a decision depends on beside the key.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// The steady clock.
    pub now: Nanos,
    /// When the proxy's shared state came into being.
    pub born: Nanos,
    /// Whether the grants in force are still valid.
    pub valid: bool,
    /// Workers that share the key's state, at least 1.
    pub workers: u64,
}

/// Requests and units by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Their cost.
    pub units: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, units: u64) {
        self.requests = self.requests.saturating_add(1);
        self.units = self.units.saturating_add(units);
    }
}

/// What a worker counted for a key since it last handed its counts over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Admitted from the shadow bucket.
    pub reserved: Tally,
    /// Admitted from the standard bucket.
    pub standard: Tally,
    /// Refused.
    pub refused: Tally,
}

/// A worker's account with one key.
#[derive(Clone, Debug, Default)]
pub struct Account {
    grant: Grant,
    standard_units: u64,
    shadow_units: u64,
    shadow_slot_id: u64,
    standard_dry: Dry,
    shadow_dry: Dry,
    last_spent: Nanos,
    counts: Counts,
}

/// The memory of an empty bucket: requests of at least `cost` need not look before `until`.
#[derive(Clone, Copy, Debug, Default)]
struct Dry {
    cost: u64,
    until: Nanos,
    ready: Option<Nanos>,
}

impl Dry {
    fn covers(&self, cost: u64, now: Nanos) -> bool {
        now < self.until && cost >= self.cost
    }
}

impl Account {
    /// An account under `grant`, with nothing leased.
    pub fn new(grant: Grant) -> Self {
        Self { grant, ..Self::default() }
    }

    /// Takes a new grant into force. Leases stay: they are paid for.
    pub fn set_grant(&mut self, grant: Grant) {
        if self.grant != grant {
            self.grant = grant;
            self.standard_dry = Dry::default();
            self.shadow_dry = Dry::default();
        }
    }

    /// The grant in force.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Units held outside the shared state, both buckets.
    pub fn leased_units(&self) -> u64 {
        self.standard_units.saturating_add(self.shadow_units)
    }

    /// Counts since [`Account::clear_counts`].
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Starts counting from zero.
    pub fn clear_counts(&mut self) {
        self.counts = Counts::default();
    }

    /// Gets `cost` units into this account's hands and says out of which bucket, without spending them.
    ///
    /// # Errors
    /// When the request may come again.
    pub(crate) fn secure(
        &mut self,
        key: usize,
        cost: u64,
        conditions: &Conditions,
        ledger: &mut impl Ledger,
    ) -> Result<Lane, Wait> {
        let now = conditions.now;
        let terms = self.grant.terms(now, conditions.valid);
        let slot = terms.slot.filter(|_| !self.shadow_dry.covers(cost, now));
        if slot.is_some_and(|slot| self.shadow_held(&slot) >= cost) {
            return Ok(Lane::Reserved);
        }
        if slot.is_none() {
            if self.standard_units >= cost {
                return Ok(Lane::Standard);
            }
            if self.standard_dry.covers(cost, now) {
                return Err(self.remembered_wait(terms.standard, cost));
            }
        }
        self.draw(key, cost, &Terms { slot, ..terms }, conditions, ledger)
    }

    /// Spends what [`Account::secure`] got.
    pub(crate) fn spend(&mut self, lane: Lane, cost: u64, now: Nanos) {
        self.last_spent = now;
        match lane {
            Lane::Reserved => {
                self.shadow_units = self.shadow_units.saturating_sub(cost);
                self.counts.reserved.add(cost);
            }
            Lane::Standard => {
                self.standard_units = self.standard_units.saturating_sub(cost);
                self.counts.standard.add(cost);
            }
        }
    }

    pub(crate) fn count_refusal(&mut self, cost: u64) {
        self.counts.refused.add(cost);
    }

    /// Returns leases that were not used for [`IDLE`].
    pub fn give_back_idle(&mut self, key: usize, conditions: &Conditions, ledger: &mut impl Ledger) {
        let now = conditions.now;
        if self.leased_units() == 0 || now.since(self.last_spent) < IDLE {
            return;
        }
        let terms = self.grant.terms(now, conditions.valid);
        let shadow = terms.slot.map(|slot| (slot, self.shadow_held(&slot)));
        let returned = ledger.replace(key, &mut |state| {
            let mut state = state?;
            state.standard.give_back(terms.standard, self.standard_units, now);
            if let Some((slot, units)) = shadow {
                state.shadow.give_back(&slot, units, now);
            }
            Some(state)
        });
        // After a lost race the lease simply stays until the next try.
        if returned.is_ok() {
            self.standard_units = 0;
            self.shadow_units = 0;
        }
    }

    /// Units held of exactly this slot; what was leased from an earlier one is void.
    fn shadow_held(&self, slot: &Slot) -> u64 {
        if self.shadow_slot_id == slot.id { self.shadow_units } else { 0 }
    }

    fn draw(
        &mut self,
        key: usize,
        cost: u64,
        terms: &Terms,
        conditions: &Conditions,
        ledger: &mut impl Ledger,
    ) -> Result<Lane, Wait> {
        let mut drawn = Draw::default();
        let replaced = ledger.replace(key, &mut |state| {
            let mut state = state.unwrap_or_else(|| KeyState::at_boot(terms.standard, conditions.born));
            drawn = self.draw_from(&mut state, cost, terms, conditions);
            drawn.changed().then_some(state)
        });
        if replaced.is_err() {
            return Err(Wait::Until(conditions.now.plus(CONTENDED_WAIT)));
        }
        self.settle(cost, terms, drawn, conditions.now)
    }

    /// What there is to draw, shadow first; `state` is changed by exactly that.
    fn draw_from(&self, state: &mut KeyState, cost: u64, terms: &Terms, conditions: &Conditions) -> Draw {
        let mut draw = Draw::default();
        if let Some(slot) = &terms.slot {
            let held = self.shadow_held(slot);
            let hold = lease_units(slot.amount.min(slot.pace.burst), conditions.workers, cost);
            match state.shadow.take(slot, cost.saturating_sub(held), hold.saturating_sub(held), conditions.now) {
                Ok(units) => {
                    draw.shadow_units = units;
                    return draw;
                }
                Err(wait) => draw.shadow_wait = Some(wait),
            }
        }
        if self.standard_units >= cost {
            return draw;
        }
        let need = cost.saturating_sub(self.standard_units);
        let limit = terms.standard;
        let hold = lease_units(limit.burst, conditions.workers, cost);
        let want = hold.saturating_sub(self.standard_units);
        let units = state.standard.available(limit, conditions.now).min(want).max(need);
        let taken =
            if cost > limit.burst { Err(Wait::Never) } else { state.standard.take(limit, units, conditions.now) };
        match taken {
            Ok(()) => draw.standard_units = units,
            Err(_) => {
                let pile = need.max(want.min(limit.rate.nano_units_in(RECHECK) / crate::units::NANO));
                // A cost above the burst never fits, even when a part of it is already held.
                let whole = if cost > limit.burst { cost } else { need };
                draw.standard_wait = Some(state.standard.wait_for(limit, whole));
                draw.recheck = state.standard.wait_for(limit, pile);
            }
        }
        draw
    }

    fn settle(&mut self, cost: u64, terms: &Terms, draw: Draw, now: Nanos) -> Result<Lane, Wait> {
        if let (Some(slot), true) = (&terms.slot, draw.shadow_units > 0) {
            self.shadow_units = self.shadow_held(slot).saturating_add(draw.shadow_units);
            self.shadow_slot_id = slot.id;
            return Ok(Lane::Reserved);
        }
        if let (Some(slot), Some(wait)) = (&terms.slot, draw.shadow_wait) {
            let until = match wait {
                Wait::Until(at) => at,
                Wait::Never => slot.end,
            };
            self.shadow_dry = Dry { cost, until: until.min(slot.end), ready: None };
        }
        self.standard_units = self.standard_units.saturating_add(draw.standard_units);
        let Some(standard_wait) = draw.standard_wait else {
            return Ok(Lane::Standard);
        };
        let until = match draw.recheck {
            Wait::Until(at) => at,
            // Only another grant or a cheaper request can change it.
            Wait::Never => Nanos(u64::MAX),
        };
        let ready = match standard_wait {
            Wait::Until(at) => Some(at.max(now)),
            Wait::Never => None,
        };
        self.standard_dry = Dry { cost, until, ready };
        Err(match (draw.shadow_wait, ready) {
            (Some(Wait::Until(shadow)), Some(standard)) => Wait::Until(shadow.min(standard)),
            (Some(Wait::Until(shadow)), None) => Wait::Until(shadow),
            (_, Some(standard)) => Wait::Until(standard),
            (_, None) => Wait::Never,
        })
    }

    /// The wait that the last look at the bucket promised, a little longer for a dearer request.
    fn remembered_wait(&self, limit: Limit, cost: u64) -> Wait {
        let dearer = cost.saturating_sub(self.standard_dry.cost).saturating_mul(crate::units::NANO);
        match (self.standard_dry.ready, limit.rate.nanos_for(dearer)) {
            (Some(ready), Some(more)) if cost <= limit.burst => Wait::Until(ready.plus(more)),
            _ => Wait::Never,
        }
    }
}

/// What one look at the shared state gave.
#[derive(Clone, Copy, Debug)]
struct Draw {
    shadow_units: u64,
    standard_units: u64,
    shadow_wait: Option<Wait>,
    standard_wait: Option<Wait>,
    recheck: Wait,
}

impl Default for Draw {
    fn default() -> Self {
        Self { shadow_units: 0, standard_units: 0, shadow_wait: None, standard_wait: None, recheck: Wait::Never }
    }
}

impl Draw {
    fn changed(&self) -> bool {
        self.shadow_units > 0 || self.standard_units > 0
    }
}

/// How many units a worker may hold of a bucket of `burst` units when a request costs `cost`: the worker's part of
/// [`LEASED_PERCENT`] of the burst, exactly the cost for buckets below [`EXACT_BELOW_UNITS`], never less than the cost.
pub fn lease_units(burst: u64, workers: u64, cost: u64) -> u64 {
    if burst < EXACT_BELOW_UNITS {
        return cost;
    }
    (burst / 100).saturating_mul(LEASED_PERCENT).checked_div(workers.max(1)).unwrap_or(0).max(cost)
}
