//! One key's shares: when they are dealt anew, and what each proxy gets next.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::advance::{Step, advance};
use super::holder::{Hand, Holder, Share};
use super::{ASK_INTERVAL, GAIN_PERCENT, HUNGRY_PERCENT, ROTATION, Seen};
use crate::filling::{Asked, fill};
use crate::inputs::Key;
use crate::planning::{Grant, Limit, Slot};

/// The proxies, as all keys see them in one deal.
pub(super) struct Table<'a> {
    live: Vec<Option<&'a Holder>>,
    lost: Vec<&'a Holder>,
    /// Some proxy may use a table of an earlier controller; then nothing is surely free.
    unknown: bool,
    foreign_lapsed: u64,
    known: u64,
    now: Duration,
}

impl<'a> Table<'a> {
    pub(super) fn new(holders: &'a BTreeMap<String, Holder>, live: &[String], now: Duration) -> Self {
        let lost = holders.iter().filter(|(name, _)| live.binary_search(name).is_err()).map(|(_, holder)| holder);
        Self {
            live: live.iter().map(|name| holders.get(name)).collect(),
            lost: lost.collect(),
            unknown: holders.values().any(|holder| holder.is_foreign(now)),
            foreign_lapsed: holders.values().filter(|holder| holder.is_foreign_lapsed(now)).count() as u64,
            known: holders.len().max(1) as u64,
            now,
        }
    }

    pub(super) fn newest(&self, at: usize) -> Option<&'a Arc<Hand>> {
        self.live.get(at).copied().flatten().and_then(Holder::newest)
    }

    /// What a new hand begins with: the newest one, as long as the plan's keys.
    pub(super) fn start_of_hand(&self, at: usize, keys: usize) -> Vec<Share> {
        let mut shares = self.newest(at).map(|hand| hand.shares.clone()).unwrap_or_default();
        shares.resize_with(keys, Share::default);
        shares
    }

    fn takes_hands(&self, at: usize) -> bool {
        self.live.get(at).copied().flatten().is_some_and(Holder::takes_hands)
    }

    fn held(&self, at: usize, key: usize) -> Limit {
        self.live.get(at).copied().flatten().map_or(Limit::default(), |holder| holder.held(key))
    }

    /// Whether a live proxy's first hand takes the place of one that nobody knows.
    fn replaces_unknown(&self, at: usize) -> bool {
        self.live
            .get(at)
            .copied()
            .flatten()
            .is_some_and(|holder| holder.is_foreign(self.now) && holder.newest().is_none())
    }

    /// What proxies that are not live may still use.
    fn lost(&self, key: usize, total: Limit) -> Limit {
        let mut sum = Limit {
            rate_milli_per_s: total.rate_milli_per_s / self.known * self.foreign_lapsed,
            burst: total.burst / self.known * self.foreign_lapsed,
        };
        for holder in &self.lost {
            let held = holder.held(key);
            sum.rate_milli_per_s = sum.rate_milli_per_s.saturating_add(held.rate_milli_per_s);
            sum.burst = sum.burst.saturating_add(held.burst);
        }
        sum
    }

    fn held_amounts(&self, key: usize, slot: u64) -> (Vec<u64>, u64) {
        let amount = |holder: &Holder| holder.held_amount(key, slot);
        let live: Vec<u64> = self.live.iter().map(|holder| holder.map_or(0, amount)).collect();
        (live, self.lost.iter().map(|holder| amount(holder)).sum())
    }
}

/// What is remembered of a key between deals.
#[derive(Debug, Default)]
pub(super) struct KeyShares {
    /// The demand that the present shares were made for.
    asked: Asked,
    /// When that was.
    asked_at: Option<Duration>,
    /// Everybody has been dealt what it should have.
    settled: bool,
    /// Proxies whose share is not yet what a first hand should have.
    withheld: Vec<bool>,
}

impl KeyShares {
    pub(super) fn cost(&self) -> u64 {
        self.asked.cost.max(1)
    }

    pub(super) fn withholds(&self, at: usize) -> bool {
        self.withheld.get(at).copied().unwrap_or(false)
    }

    /// Whether this key should be looked at in this deal: it is not settled, its turn has come, or somebody is hungry.
    pub(super) fn is_due(&mut self, number: usize, grant: &Grant, seen: &[(usize, Seen)], table: &Table<'_>) -> bool {
        if !self.settled || self.turn_has_come(grant, table) {
            return true;
        }
        self.may_ask_again(table) && seen.iter().any(|(at, row)| is_hungry(row, newest(table, *at, number)))
    }

    fn may_ask_again(&self, table: &Table<'_>) -> bool {
        self.asked_at.is_none_or(|at| table.now.saturating_sub(at) >= ASK_INTERVAL)
    }

    /// What each live proxy is dealt now, in their order.
    pub(super) fn deal(
        &mut self,
        number: usize,
        grant: &Grant,
        running: u64,
        seen: &[(usize, Seen)],
        table: &Table<'_>,
    ) -> Vec<Share> {
        let proxies = table.live.len();
        let total = grant.standard;
        let lost = table.lost(number, total);
        let budget = Limit {
            rate_milli_per_s: total.rate_milli_per_s.saturating_sub(lost.rate_milli_per_s),
            burst: total.burst.saturating_sub(lost.burst),
        };
        let turn_has_come = self.turn_has_come(grant, table);
        let fresh = self.fresh(grant, proxies, seen, table);
        let due = self.may_ask_again(table) && gains(budget, &self.asked, &fresh, seen);
        if self.asked.milli_per_s.len() != proxies || turn_has_come || due {
            self.asked = fresh;
            self.asked_at = Some(table.now);
        }
        let target = self.banded(fill(budget, &self.asked), budget, number, table);
        let standard = self.next_limits(number, total, &target, lost, seen, table);
        let slots = self.slots(number, grant, running, table);
        let is_short = |(at, (next, target)): (usize, (&Limit, &Limit))| {
            is_too_little(*next, *target) && !table.replaces_unknown(at)
        };
        self.withheld = standard.iter().zip(&target).enumerate().map(is_short).collect();

        let stands = |at: usize| {
            let newest = newest(table, at, number);
            table.takes_hands(at) && newest == standard[at] && newest == table.held(at, number)
        };
        self.settled = (0..proxies).all(stands);
        let equal = |all: u64| all / table.known;
        let cost = self.cost();
        let safe = |standard: Limit| Limit {
            rate_milli_per_s: standard.rate_milli_per_s.min(equal(total.rate_milli_per_s)),
            burst: standard.burst.min(equal(total.burst).max(cost)),
        };
        let forecast_version = grant.forecast_version;
        let share =
            |(standard, slots): (Limit, Vec<Slot>)| Share { standard, safe: safe(standard), forecast_version, slots };
        standard.into_iter().zip(slots).map(share).collect()
    }

    fn turn_has_come(&self, grant: &Grant, table: &Table<'_>) -> bool {
        let whole_requests = grant.standard.burst / self.cost();
        whole_requests < table.live.len() as u64 && self.asked.rotation != rotation(&grant.key, table.now)
    }

    /// Leaves shares as they are that would change by less than [`GAIN_PERCENT`], so that one proxy's noise is not a new
    /// table for all; unless there is less to deal than they hold.
    fn banded(&self, mut target: Vec<Limit>, budget: Limit, number: usize, table: &Table<'_>) -> Vec<Limit> {
        let newest: Vec<Limit> = (0..target.len()).map(|at| newest(table, at, number)).collect();
        let sum = |of: fn(&Limit) -> u64| newest.iter().map(of).fold(0, u64::saturating_add);
        let fits =
            sum(|limit| limit.rate_milli_per_s) <= budget.rate_milli_per_s && sum(|limit| limit.burst) <= budget.burst;
        let near = |now: u64, then: u64| now.abs_diff(then) <= now / 100 * GAIN_PERCENT;
        for (then, now) in target.iter_mut().zip(&newest).filter(|_| fits) {
            // A burst of a few units moves with its rate only.
            let is_near =
                near(now.rate_milli_per_s, then.rate_milli_per_s) && now.burst.abs_diff(then.burst) <= now.burst / 4;
            if is_near && now.burst > 0 {
                *then = *now;
            }
        }
        target
    }

    fn fresh(&self, grant: &Grant, proxies: usize, seen: &[(usize, Seen)], table: &Table<'_>) -> Asked {
        let mut milli_per_s = vec![0; proxies];
        for (at, row) in seen {
            milli_per_s[*at] = row.offered_milli_per_s;
        }
        let cost = seen.iter().map(|(_, row)| row.cost).max().unwrap_or(self.asked.cost);
        Asked { milli_per_s, cost, rotation: rotation(&grant.key, table.now) }
    }

    /// From what everybody may be using to the target, as far as it is safe.
    fn next_limits(
        &self,
        number: usize,
        total: Limit,
        target: &[Limit],
        lost: Limit,
        seen: &[(usize, Seen)],
        table: &Table<'_>,
    ) -> Vec<Limit> {
        let held: Vec<Limit> = (0..target.len()).map(|at| table.held(at, number)).collect();
        let quantity = |of: fn(&Limit) -> u64| {
            // Who takes no hand now must not have anything kept for it either.
            let goal =
                |at: usize, target: u64, held: u64| if table.takes_hands(at) { target } else { target.min(held) };
            let steps = target.iter().zip(&held).enumerate();
            let steps =
                steps.map(|(at, (target, held))| Step { target: goal(at, of(target), of(held)), held: of(held) });
            let steps: Vec<Step> = steps.collect();
            let used: u64 = held.iter().map(of).fold(of(&lost), u64::saturating_add);
            let free = if table.unknown { 0 } else { of(&total).saturating_sub(used) };
            advance(&steps, free)
        };
        let rates = quantity(|limit| limit.rate_milli_per_s);
        let bursts = quantity(|limit| limit.burst);
        let mut next: Vec<Limit> =
            rates.into_iter().zip(bursts).map(|(rate_milli_per_s, burst)| Limit { rate_milli_per_s, burst }).collect();
        for (at, limit) in next.iter_mut().enumerate().filter(|(at, _)| table.replaces_unknown(*at)) {
            let used = seen.iter().find(|(of, _)| *of == at).map_or(0, |(_, row)| row.standard_milli_per_s);
            let rate_milli_per_s = used.min(target[at].rate_milli_per_s);
            let part = u128::from(total.burst) * u128::from(rate_milli_per_s);
            let part = part.checked_div(u128::from(total.rate_milli_per_s)).unwrap_or(0) as u64;
            *limit = Limit { rate_milli_per_s, burst: part.max(self.cost()).min(target[at].burst) };
        }
        next
    }

    /// The slots of each proxy. A slot that has not begun is dealt like the rate; a running one keeps what was dealt.
    fn slots(&self, number: usize, grant: &Grant, running: u64, table: &Table<'_>) -> Vec<Vec<Slot>> {
        let mut all: Vec<Vec<Slot>> = vec![Vec::with_capacity(grant.slots.len()); table.live.len()];
        for slot in &grant.slots {
            let asked = Asked { rotation: self.asked.rotation.wrapping_add(slot.id), ..self.asked.clone() };
            let (held, lost) = table.held_amounts(number, slot.id);
            let used = held.iter().copied().fold(lost, u64::saturating_add);
            let free = if table.unknown { 0 } else { slot.amount.saturating_sub(used) };
            let filled = fill(Limit { rate_milli_per_s: slot.amount, burst: slot.pace.burst }, &asked);
            let steps = filled.iter().zip(&held).map(|(filled, &held)| {
                let target = if slot.id > running {
                    filled.rate_milli_per_s
                } else if used < slot.amount {
                    filled.rate_milli_per_s.max(held)
                } else {
                    // The plan lowered it: in proportion for all. `used` is not 0, and the part is at most `held`.
                    (u128::from(held) * u128::from(slot.amount) / u128::from(used.max(1))) as u64
                };
                Step { target, held }
            });
            let amounts = advance(&steps.collect::<Vec<_>>(), free);
            let holders = amounts.iter().filter(|amount| **amount > 0).count().max(1) as u64;
            let whole = self.cost().min(slot.pace.burst / holders).max(1);
            for (slots, amount) in all.iter_mut().zip(amounts).filter(|(_, amount)| *amount > 0) {
                let part = |of: u64| {
                    (u128::from(of) * u128::from(amount)).checked_div(u128::from(slot.amount)).unwrap_or(0) as u64
                };
                let spare = slot.pace.burst.saturating_sub(whole * holders);
                let pace = Limit {
                    rate_milli_per_s: part(slot.pace.rate_milli_per_s),
                    burst: (whole + part(spare)).min(amount),
                };
                slots.push(Slot { amount, pace, ..*slot });
            }
        }
        all
    }
}

fn newest(table: &Table<'_>, at: usize, number: usize) -> Limit {
    table.newest(at).and_then(|hand| hand.shares.get(number)).map_or(Limit::default(), |share| share.standard)
}

fn is_hungry(row: &Seen, share: Limit) -> bool {
    row.offered_milli_per_s > (share.rate_milli_per_s / 100).saturating_mul(HUNGRY_PERCENT)
}

/// Whether a proxy that is hungry by the shares for `asked` would gain enough by those for `fresh`.
fn gains(budget: Limit, asked: &Asked, fresh: &Asked, seen: &[(usize, Seen)]) -> bool {
    if asked.milli_per_s.len() != fresh.milli_per_s.len() {
        return true;
    }
    let (now, then) = (fill(budget, asked), fill(budget, fresh));
    seen.iter().any(|(at, row)| {
        let least = now[*at].rate_milli_per_s.saturating_add(now[*at].rate_milli_per_s / 100 * GAIN_PERCENT);
        is_hungry(row, now[*at]) && then[*at].rate_milli_per_s > least
    })
}

fn is_too_little(next: Limit, target: Limit) -> bool {
    next.burst.saturating_mul(2) < target.burst || next.rate_milli_per_s.saturating_mul(2) < target.rate_milli_per_s
}

/// Differs from key to key and turns with time; the same on every machine (FNV-1a).
fn rotation(key: &Key, now: Duration) -> u64 {
    let bytes = key.tenant.bytes().chain([0xff]).chain(key.resource.bytes());
    let seed =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // The upper half only, so that adding the turn cannot overflow into a jump.
    (seed >> 32).wrapping_add(now.as_secs() / ROTATION.as_secs())
}
