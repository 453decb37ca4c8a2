//! Shares of every proxy, over time: they follow demand, and together they stay within the contract.
//!
//! **Following.** [`fill`] says what each proxy should have. A key is dealt anew when it is worth it: when some proxy
//! uses [`HUNGRY_PERCENT`] of its share and would gain [`GAIN_PERCENT`] of it, when proxies come and go, when the plan
//! changes, and where there are fewer whole requests than proxies each [`ROTATION`]. Noise alone moves nothing.
//!
//! **Staying within.** What is dealt is not what is in force: a table may be late, lost, or outlive the contact. So for
//! each proxy the most that it may be using is known ([`holder`]), and a share grows only by what is surely free
//! ([`advance`]): first the others say that they have less, then one gets more. A proxy that is cut off keeps its share
//! until its validity has ended for sure, then its safe share (an equal share, or its own if that is less), and is
//! forgotten after [`FORGET`]. Hence at every instant, over all proxies, rates and bursts in force sum to no more than
//! the contract; forgotten ones that live on are the stated exception.
//!
//! **Learning.** After a restart nobody knows who has which share; only that all of them together are within the
//! contract. So nothing is dealt at first, and what proxies hold is renewed as it is (Doorman's learning mode), for one
//! validity, or until every proxy that was known has called and some demand was seen ([`LEARN_MIN`]). Then each is
//! dealt what it was seen to be admitted, which is no more than it had, and grows from there by the rule above.
//!
//! **Slots.** Shadow amounts are dealt like rates until their slot begins. In a running slot amounts only grow, by what
//! was dealt to nobody, because what was spent is spent.
//!
//! Source: youtube/doorman, doc/design.md (leases, learning mode, safe capacity).

mod advance;
pub(crate) mod holder;
mod key;

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::planning::{Limit, Plan};
use holder::{FOLLOW_GRACE, Hand, Holder, Mark, Share};
use key::KeyShares;

/// A proxy that offers less than this of its share needs no more.
pub const HUNGRY_PERCENT: u64 = 90;

/// A proxy must gain this much of its share, or nothing is moved.
pub const GAIN_PERCENT: u64 = 10;

/// Shortest time between two looks at the demand for one key: a report interval.
pub const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// Where whole requests are scarcer than proxies, who holds one changes this often.
pub const ROTATION: Duration = Duration::from_secs(30);

/// A proxy that was not heard of for so long has no safe share any more.
pub const FORGET: Duration = Duration::from_secs(600);

/// Shortest time of learning: three reports of a second.
pub const LEARN_MIN: Duration = Duration::from_secs(3);

/// Workers that a proxy is taken to have, for the bound of what they lease; filters export their own.
pub const WORKERS_ASSUMED: u64 = 8;

/// Most shares (keys x proxies) that are dealt by demand, at about 200 bytes with two hands each: 400 MB. Beyond,
/// proxies get equal shares.
pub const MAX_SHARES: usize = 2_000_000;

/// What was lately seen of one key at one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The key's place in the plan's grants.
    pub key: usize,
    /// Offered demand, in milli-units per second.
    pub offered_milli_per_s: u64,
    /// What of it the standard bucket admitted.
    pub standard_milli_per_s: u64,
    /// Mean cost of a request, in units, rounded up.
    pub cost: u64,
}

/// What was lately seen, by proxy; keys without demand are left out.
pub type Recent = BTreeMap<String, Vec<Seen>>;

/// Deals a plan's totals to proxies.
#[derive(Debug)]
pub struct Dealer {
    validity: Duration,
    holders: BTreeMap<String, Holder>,
    keys: Vec<KeyShares>,
    plan: Arc<Plan>,
    /// The last epochs under which this controller dealt, ascending.
    epochs: Vec<u64>,
    sequence: u64,
    learning: Option<Learning>,
    /// What the shares of all keys depend on beside demand.
    standing: Vec<(String, bool, bool, bool, bool)>,
    dealt_epoch: u64,
    /// How often what is told beside the shares has changed.
    told: u64,
}

#[derive(Clone, Copy, Debug)]
struct Learning {
    since: Duration,
    /// Whether all proxies that may hold a table are known by name, so that it can end early.
    complete: bool,
}

impl Dealer {
    /// A dealer whose tables are valid for `validity` without contact.
    pub fn new(validity: Duration, epoch: u64) -> Self {
        Self {
            validity,
            holders: BTreeMap::new(),
            keys: Vec::new(),
            plan: Arc::default(),
            epochs: vec![epoch],
            sequence: 0,
            learning: None,
            standing: Vec::new(),
            dealt_epoch: epoch,
            told: 0,
        }
    }

    /// A controller before this one dealt to these proxies, each last heard of so long ago.
    pub fn remember(&mut self, proxies: impl IntoIterator<Item = (String, Duration)>, now: Duration) {
        for (name, silence) in proxies {
            if silence < FORGET {
                self.holders.entry(name).or_insert_with(|| Holder::remembered(silence, self.validity, now));
            }
        }
        if !self.holders.is_empty() {
            self.learning = Some(Learning { since: now, complete: true });
        }
    }

    /// Deals under this epoch from now on; every proxy gets a new hand.
    pub fn raise_epoch(&mut self, epoch: u64) {
        if epoch > self.epoch() {
            self.epochs.push(epoch);
            // Tables of an epoch that is this old are over.
            let over = self.epochs.len().saturating_sub(16);
            self.epochs.drain(..over);
        }
    }

    /// What proxies are told beside their shares has changed: each gets a new hand with the next deals, also where its
    /// shares stay as they are.
    pub fn tell_anew(&mut self) {
        self.told += 1;
    }

    /// A proxy said which table is in force.
    pub fn heard(&mut self, proxy: &str, boot: u64, known: Mark, now: Duration) {
        let ours = self.epochs.contains(&known.epoch) && known.sequence <= self.sequence;
        if !self.holders.contains_key(proxy) {
            self.holders.insert(proxy.to_owned(), Holder::new(now));
        }
        let Some(holder) = self.holders.get_mut(proxy) else { return };
        let was_foreign = holder.is_foreign(now);
        holder.heard(boot, known, ours, self.validity, now);
        if holder.is_foreign(now) && !was_foreign && self.learning.is_none() {
            // Somebody dealt whom this controller knows nothing of: its store is new or was restored.
            self.learning = Some(Learning { since: now, complete: false });
        }
    }

    /// The table that the answer to a proxy's report renews.
    pub fn renew(&mut self, proxy: &str, known: Mark, now: Duration) -> Mark {
        self.holders.get_mut(proxy).map_or(Mark::default(), |holder| holder.renew(known, self.validity, now))
    }

    /// Whether hand `mark` may go out to a proxy now; it is then taken to be in force.
    pub fn serve(&mut self, proxy: &str, mark: Mark, now: Duration) -> bool {
        self.holders.get_mut(proxy).is_some_and(|holder| holder.serve(mark, self.validity, now))
    }

    /// The newest hand of each proxy that has one.
    pub fn hands(&self) -> impl Iterator<Item = (&str, &Arc<Hand>)> {
        self.holders.iter().filter_map(|(name, holder)| Some((name.as_str(), holder.newest()?)))
    }

    /// The newest mark that was given out.
    pub fn newest_mark(&self) -> Mark {
        Mark { epoch: self.epoch(), sequence: self.sequence }
    }

    /// A new mark, for a table that is not dealt here.
    pub fn take_mark(&mut self) -> Mark {
        self.sequence += 1;
        self.newest_mark()
    }

    fn epoch(&self) -> u64 {
        self.epochs.last().copied().unwrap_or(0)
    }

    /// Whether it only renews what proxies hold.
    pub fn is_learning(&self) -> bool {
        self.learning.is_some()
    }

    /// Deals `plan` to the `live` proxies (sorted) as far as it is safe by now. Whether any hand is new; what could not
    /// be dealt yet is dealt by the next calls.
    pub fn deal(&mut self, plan: &Arc<Plan>, live: &[String], recent: &Recent, now: Duration) -> bool {
        self.settle(live, now);
        if self.is_still_learning(live, now) {
            return false;
        }
        let plan_is_new = !Arc::ptr_eq(plan, &self.plan);
        self.plan = Arc::clone(plan);
        self.keys.resize_with(plan.grants.len(), KeyShares::default);
        let epoch = self.epoch();
        let forced = std::mem::replace(&mut self.dealt_epoch, epoch) != epoch;
        let all = self.standing_changed(live, now) || plan_is_new || forced;

        let mut seen: Vec<Vec<(usize, Seen)>> = vec![Vec::new(); plan.grants.len()];
        for (at, name) in live.iter().enumerate() {
            for row in recent.get(name).into_iter().flatten() {
                if let Some(rows) = seen.get_mut(row.key) {
                    rows.push((at, *row));
                }
            }
        }
        let table = key::Table::new(&self.holders, live, now);
        let mut next: Vec<Option<Vec<Share>>> = vec![None; live.len()];
        for (number, grant) in plan.grants.iter().enumerate() {
            let shares = &mut self.keys[number];
            if !all && !shares.is_due(number, grant, &seen[number], &table) {
                continue;
            }
            let dealt = shares.deal(number, grant, plan.first_slot_id, &seen[number], &table);
            for (at, share) in dealt.into_iter().enumerate() {
                let newest = table.newest(at).and_then(|hand| hand.shares.get(number));
                if next[at].is_none() && newest == Some(&share) {
                    continue;
                }
                let hand = next[at].get_or_insert_with(|| table.start_of_hand(at, plan.grants.len()));
                hand[number] = share;
            }
        }
        let withheld: Vec<bool> = (0..live.len()).map(|at| self.keys.iter().any(|key| key.withholds(at))).collect();
        let mut changed = false;
        for (at, name) in live.iter().enumerate() {
            let Some(holder) = self.holders.get_mut(name) else { continue };
            let shares = match next[at].take() {
                Some(shares) => shares,
                None if forced || holder.needs_hand() || holder.told != self.told => match holder.newest() {
                    Some(hand) => hand.shares.clone(),
                    None => continue,
                },
                None => continue,
            };
            // A first hand of nothing would be worse than the share that the proxy boots with.
            if !holder.takes_hands() || (holder.newest().is_none() && withheld[at]) {
                continue;
            }
            self.sequence += 1;
            let mark = Mark { epoch, sequence: self.sequence };
            holder.deal(Arc::new(Hand { mark, plan: Arc::clone(plan), shares }));
            holder.told = self.told;
            changed = true;
        }
        changed
    }

    /// The most that a key may be admitted above `rate x time + burst`, in units, over any stretch in which no proxy
    /// joins: what workers may have leased, and the rate of the time that a worker may follow late. What proxies may
    /// hold above the contract (0 unless it was lowered and not all have followed) counts for one validity, and so does
    /// what cannot be known exactly while a controller takes over from another.
    pub fn over_admission_bound_units(&self, key: usize) -> u64 {
        let Some(grant) = self.plan.grants.get(key) else { return 0 };
        let cost = self.keys.get(key).map_or(1, KeyShares::cost);
        let mut held = Limit::default();
        let mut leased = 0_u64;
        for holder in self.holders.values() {
            let one = holder.held(key);
            held.rate_milli_per_s = held.rate_milli_per_s.saturating_add(one.rate_milli_per_s);
            held.burst = held.burst.saturating_add(one.burst);
            leased = leased.saturating_add((one.burst / 50).max(cost.min(one.burst).saturating_mul(WORKERS_ASSUMED)));
        }
        let late = grant.standard.rate_milli_per_s.saturating_mul(FOLLOW_GRACE.as_millis() as u64).div_ceil(1_000_000);
        let above = held.rate_milli_per_s.saturating_sub(grant.standard.rate_milli_per_s);
        let above = above.saturating_mul(self.validity.as_secs().max(1)).div_ceil(1_000);
        // Shares that are dealt for what was seen to be used may hold a burst in three seconds, and a request each, more.
        let transition = match self.standing.iter().any(|(_, _, _, is_foreign, _)| *is_foreign) {
            true => {
                (grant.standard.burst / 3).saturating_mul(self.validity.as_secs()) + cost * self.holders.len() as u64
            }
            false => 0,
        };
        leased + late + above + transition + held.burst.saturating_sub(grant.standard.burst)
    }

    fn settle(&mut self, live: &[String], now: Duration) {
        for name in live {
            if !self.holders.contains_key(name) {
                self.holders.insert(name.clone(), Holder::new(now));
            }
        }
        self.holders.values_mut().for_each(|holder| holder.lapse(now));
        self.holders.retain(|name, holder| {
            holder.is_valid(now) || now.saturating_sub(holder.heard_at) < FORGET || live.binary_search(name).is_ok()
        });
    }

    fn is_still_learning(&mut self, live: &[String], now: Duration) -> bool {
        let Some(learning) = self.learning else { return false };
        let foreign = || self.holders.values().filter(|holder| holder.is_foreign(now));
        let called = foreign().all(Holder::has_called) && live.iter().all(|name| self.holders[name].has_called());
        let seen_enough = now.saturating_sub(learning.since) >= LEARN_MIN;
        let nothing_held = learning.complete && foreign().next().is_none();
        let over = now.saturating_sub(learning.since) >= self.validity;
        if over || nothing_held || (learning.complete && called && seen_enough) {
            self.learning = None;
        }
        self.learning.is_some()
    }

    fn standing_changed(&mut self, live: &[String], now: Duration) -> bool {
        let standing: Vec<_> = self
            .holders
            .iter()
            .map(|(name, holder)| {
                let is_live = live.binary_search(name).is_ok();
                (name.clone(), is_live, holder.is_valid(now), holder.is_foreign(now), holder.needs_hand())
            })
            .collect();
        let changed = standing != self.standing;
        self.standing = standing;
        changed
    }
}
