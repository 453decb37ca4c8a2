//! Lending idle reservations: the work-conserving pool.
//!
//! What a forecast reserves for its owners lies idle while they do not come. A pool lends it to others without ever
//! telling an owner "not now". The intuition: a bucket into which the reserved capacity flows as fast as it was
//! reserved, and out of which *everybody* who uses that capacity draws. An owner draws without asking, also below zero:
//! its shadow bucket has decided already. A borrower draws only what is there. So borrowing stops as soon as owners
//! use what is theirs, and what was lent in vain is repaid by later borrowers who wait until the level is above zero.
//!
//! The level is never above `debt`, the one number an operator declares: the most that is lent at one moment of what
//! owners may ask for at the next. Over any window of length t
//!
//! ```text
//! owners + borrowers <= rate x t + debt + sum of the owners' slot bursts + leases
//! ```
//!
//! because out of the level come at most `rate x t + debt` until it last touches zero, and from then on only owners draw,
//! at most their rates and bursts. Without any lending the owners alone reach `rate x t + sum of bursts`: lending adds
//! `debt` (and the leases, see [`lease`](crate::lease)), not more.
//!
//! `overcommit` is a bucket of its own beside the level: best effort, no reservation behind it, counted apart. It can
//! neither use up nor be confused with what was guaranteed.
//!
//! Not here: whether all reservations together fit the capacity. The planner sees to that.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::bucket::{Bucket, Wait};
use crate::shadow::Slot;
use crate::units::{Limit, NANO, Nanos, Rate};

/// Size of an encoded [`PoolState`] in bytes.
pub const POOL_STATE_BYTES: usize = 56;

const LAYOUT: u64 = 1;

/// How a key takes part in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The pool's number in [`Conditions::pools`](crate::Conditions::pools).
    pub pool: usize,
    /// Whether the key may borrow. Its own slots belong to the pool either way.
    pub may_borrow: bool,
}

/// A pool's terms: what its owners reserved, over time, and how much of it may be lent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Ascending; a rate holds from its instant to the next.
    steps: Vec<(Nanos, Rate)>,
    debt: u64,
    overcommit: Limit,
}

impl Pool {
    /// The pool of all `slots` that its member keys were granted on this proxy. At most `debt` units are lent at one
    /// moment; `overcommit` is lent on top without a reservation.
    pub fn new<'a>(slots: impl IntoIterator<Item = &'a Slot>, debt: u64, overcommit: Limit) -> Self {
        let mut changes: BTreeMap<Nanos, (u64, u64)> = BTreeMap::new();
        for slot in slots.into_iter().filter(|slot| slot.start < slot.end) {
            let rate = slot.reserved_rate().milli_per_s();
            let starting = changes.entry(slot.start).or_default();
            starting.0 = starting.0.saturating_add(rate);
            let ending = changes.entry(slot.end).or_default();
            ending.1 = ending.1.saturating_add(rate);
        }
        let mut milli_per_s = 0u64;
        let steps = changes.into_iter().map(|(at, (more, less))| {
            milli_per_s = milli_per_s.saturating_add(more).saturating_sub(less);
            (at, Rate::from_milli_per_s(milli_per_s))
        });
        let steps = steps.collect();
        let depth = Limit::new(Rate::default(), debt).burst;
        Self { steps, debt: depth, overcommit }
    }

    /// The most units lent at one moment.
    pub fn debt(&self) -> u64 {
        self.debt
    }

    /// The highest sum that is ever reserved.
    pub fn peak_rate(&self) -> Rate {
        self.steps.iter().map(|(_, rate)| *rate).max().unwrap_or_default()
    }

    /// The same with another debt.
    pub fn with_debt(self, debt: u64) -> Self {
        Self { debt: Limit::new(Rate::default(), debt).burst, ..self }
    }

    /// What may be lent without a reservation.
    pub fn overcommit(&self) -> Limit {
        self.overcommit
    }

    /// The sum of what is reserved at `now`.
    pub fn rate(&self, now: Nanos) -> Rate {
        let next = self.steps.partition_point(|(at, _)| *at <= now);
        next.checked_sub(1).and_then(|index| self.steps.get(index)).map_or(Rate::default(), |(_, rate)| *rate)
    }

    /// Nano-units reserved between two instants.
    fn arrived_nano(&self, from: Nanos, to: Nanos) -> u64 {
        let stretches = self.stretches(from).take_while(|(start, ..)| *start < to);
        stretches.fold(0u64, |sum, (start, end, rate)| sum.saturating_add(rate.nano_units_in(end.min(to).since(start))))
    }

    /// The first instant from `from` on by which `nano` nano-units have arrived and something is reserved.
    fn instant_of(&self, mut nano: u64, from: Nanos) -> Option<Nanos> {
        for (start, end, rate) in self.stretches(from) {
            let length = end.since(start);
            match rate.nanos_for(nano) {
                Some(nanos) if nanos < length => return Some(start.plus(nanos)),
                _ => nano = nano.saturating_sub(rate.nano_units_in(length)),
            }
        }
        None
    }

    /// Start, end and rate of every stretch after `from`; the first begins there.
    fn stretches(&self, from: Nanos) -> impl Iterator<Item = (Nanos, Nanos, Rate)> + '_ {
        let first = self.steps.partition_point(|(at, _)| *at <= from).saturating_sub(1);
        let steps = self.steps.get(first..).unwrap_or_default();
        let ends = steps.iter().skip(1).map(|(at, _)| *at).chain([Nanos(u64::MAX)]);
        steps.iter().zip(ends).map(move |((start, rate), end)| ((*start).max(from), end, *rate))
    }
}

/// What one proxy has lent, as it lies in shared data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    /// What can be lent, or what is to be repaid.
    pub level: Bucket,
    /// The best effort's bucket.
    pub overcommit: Bucket,
}

impl PoolState {
    /// A pool that nobody has used since the proxy booted at `born`: nothing has been left idle yet.
    pub fn at_boot(pool: &Pool, born: Nanos) -> Self {
        Self { level: Bucket::new(0, born), overcommit: Bucket::at_boot(pool.overcommit, born) }
    }

    /// Whole units that can be lent.
    pub fn available(&self, pool: &Pool, now: Nanos) -> u64 {
        let idle = self.refilled(pool, now).level_nano() / NANO;
        if pool.rate(now) == Rate::default() { 0 } else { idle }
    }

    /// Lends as many units as there are, at least `need` and at most `want`.
    ///
    /// # Errors
    /// The [`Wait`] until `need` units can be had.
    pub fn lend(&mut self, pool: &Pool, need: u64, want: u64, now: Nanos) -> Result<u64, Wait> {
        let available = self.available(pool, now);
        if need > available {
            let missing = self.level.missing_nano(need, pool.debt.saturating_mul(NANO));
            let ready = if need > pool.debt { None } else { pool.instant_of(missing, self.level.at()) };
            // What is there already can be lent as soon as anything is reserved again.
            let open = ready.and_then(|ready| pool.instant_of(0, ready.max(now)));
            return Err(open.map_or(Wait::Never, Wait::Until));
        }
        let units = want.min(available).max(need);
        self.charge(pool, units, 0, now);
        Ok(units)
    }

    /// An owner uses `units` of what is reserved for it, whatever the level.
    pub fn draw(&mut self, pool: &Pool, units: u64, now: Nanos) {
        self.charge(pool, units, u64::MAX, now);
    }

    /// Takes `units` that a borrower has used already, down to zero and not further, so that lending stays within the
    /// debt. Returns the units taken.
    pub fn charge_borrower(&mut self, pool: &Pool, units: u64, now: Nanos) -> u64 {
        self.charge(pool, units, 0, now)
    }

    /// Puts back units that were not used, by whomever.
    pub fn give_back(&mut self, pool: &Pool, units: u64, now: Nanos) {
        self.level = self.refilled(pool, now).refilled(units.saturating_mul(NANO), pool.debt.saturating_mul(NANO), now);
    }

    fn charge(&mut self, pool: &Pool, units: u64, max_owed: u64, now: Nanos) -> u64 {
        self.level = self.refilled(pool, now);
        self.level.charge_stored(units, max_owed)
    }

    fn refilled(&self, pool: &Pool, now: Nanos) -> Bucket {
        self.level.refilled(pool.arrived_nano(self.level.at(), now), pool.debt.saturating_mul(NANO), now)
    }

    /// The bytes, little endian.
    pub fn encode(&self) -> [u8; POOL_STATE_BYTES] {
        let (level, overcommit) = (&self.level, &self.overcommit);
        let words = [
            LAYOUT,
            level.level_nano(),
            level.owed_nano(),
            level.at().0,
            overcommit.level_nano(),
            overcommit.owed_nano(),
            overcommit.at().0,
        ];
        let mut bytes = [0; POOL_STATE_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads a state; `None` for anything that [`PoolState::encode`] of this layout did not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != POOL_STATE_BYTES {
            return None;
        }
        let mut words = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes);
        let mut next = || words.next();
        if next()? != LAYOUT {
            return None;
        }
        let level = Bucket::owing(next()?, next()?, Nanos(next()?));
        let overcommit = Bucket::owing(next()?, next()?, Nanos(next()?));
        Some(Self { level, overcommit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = Nanos::SECOND;

    fn slot(start: u64, end: u64, rate: u64) -> Slot {
        let (start, end) = (Nanos(start * S), Nanos(end * S));
        Slot {
            start,
            end,
            amount: rate * end.since(start) / S,
            pace: Limit::new(Rate::per_s(rate), rate),
            ..Slot::default()
        }
    }

    #[test]
    fn reservations_add_up_over_time() {
        let pool = Pool::new(&[slot(1, 3, 10), slot(2, 4, 5), slot(6, 7, 1)], 100, Limit::default());
        let rates: Vec<_> = (0..8).map(|s| pool.rate(Nanos(s * S)).milli_per_s() / 1_000).collect();
        assert_eq!(rates, [0, 10, 15, 5, 0, 0, 1, 0]);
        assert_eq!(pool.arrived_nano(Nanos(0), Nanos(10 * S)) / NANO, 31);
        assert_eq!(pool.arrived_nano(Nanos(3 * S / 2), Nanos(5 * S / 2)) / NANO, 12);
    }

    #[test]
    fn owners_draw_below_zero_and_borrowers_wait_until_it_is_repaid() {
        let pool = Pool::new(&[slot(0, 100, 10)], 4, Limit::default());
        let mut state = PoolState::at_boot(&pool, Nanos(0));
        assert_eq!(state.lend(&pool, 1, 9, Nanos(0)), Err(Wait::Until(Nanos(S / 10))), "nothing has been idle yet");
        assert_eq!(state.lend(&pool, 1, 9, Nanos(5 * S)), Ok(4), "the debt and no more");
        state.draw(&pool, 10, Nanos(5 * S));
        assert_eq!(state.lend(&pool, 1, 1, Nanos(6 * S)), Err(Wait::Until(Nanos(6 * S + S / 10))));
        assert_eq!(state.lend(&pool, 5, 5, Nanos(6 * S)), Err(Wait::Never), "more than the debt");
        assert_eq!(state.charge_borrower(&pool, 9, Nanos(6 * S + S / 2)), 4, "down to zero");
        state.give_back(&pool, 100, Nanos(7 * S));
        assert_eq!(state.available(&pool, Nanos(7 * S)), 4);
        assert_eq!(state.lend(&pool, 1, 1, Nanos(100 * S)), Err(Wait::Never), "nothing is reserved any more");
        assert_eq!(PoolState::decode(&state.encode()), Some(state));
        assert_eq!(PoolState::decode(&state.encode()[1..]), None);
    }

    proptest! {
        /// The wait that a refusal promises is the first instant at which the same call succeeds, over changing rates.
        #[test]
        fn the_promised_wait_is_exact(
            slots in proptest::collection::vec((0u64..20, 1u64..10, 0u64..50), 0..8),
            debt in 1u64..60, owed in 0u64..200, at in 0u64..20, later in 0u64..3_000_000_000, need in 1u64..60,
        ) {
            let slots: Vec<_> = slots.into_iter().map(|(start, length, rate)| slot(start, start + length, rate)).collect();
            let pool = Pool::new(&slots, debt, Limit::default());
            let mut state = PoolState { level: Bucket::owing(0, owed * NANO / 3, Nanos(at * S)), ..PoolState::default() };
            let now = Nanos(at * S + later);
            match state.lend(&pool, need, need, now) {
                Ok(units) => prop_assert_eq!(units, need),
                Err(Wait::Never) => {
                    for second in at + 4..40 {
                        prop_assert!(state.available(&pool, Nanos(second * S)) < need);
                    }
                }
                Err(Wait::Until(ready)) => {
                    prop_assert!(ready > now);
                    prop_assert!(state.available(&pool, ready.minus(1)) < need);
                    prop_assert_eq!(state.lend(&pool, need, need, ready), Ok(need));
                }
            }
        }
    }
}
