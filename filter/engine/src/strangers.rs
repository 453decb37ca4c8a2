//! Tenants without contract, where a rule gives each a bucket of its own: from a name to the account that is charged.
//!
//! Which name has a slot is decided in `forebay_admission::seats`; this is its way into a worker. The slots of all such
//! rules are numbered behind the contracted keys ([`Strangers::first_key`]), so that one slice of accounts and one ledger
//! serve both. A name without slot is charged to its rule's overflow account, the `others` key.
//!
//! | key in shared data | value | how many |
//! |---|---|---|
//! | `fb1/s/<resource>\0<set>` | eight slots, 288 bytes | an eighth of the slots, at most 4,096 in all |
//! | `fb1/seed` | the proxy's secret, 16 bytes | 1 |
//!
//! What names of this kind used is counted for `others`: reports do not grow with what clients invent.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use forebay_admission::seats::{Entry, MAX_SLOTS, Place, Seats, SlotLedger, SlotStore};
use forebay_admission::shadow::ShadowState;
use forebay_admission::sketch::DEFAULT_COLUMNS;
use forebay_admission::slot_set::WAYS;
use forebay_admission::{
    Account, Conditions, Contended, Counts, Fingerprint, Grant, KeyState, Ledger, Limit, Nanos, Seed, Sketch, SlotSet,
};

use crate::host::{Expected, Host, replace};
use crate::shared;

const SEED: &str = "fb1/seed";

/// In so many calls of [`Strangers::on_tick`] every set has its heat refreshed: 15 s at a tick of 50 ms, a quarter of
/// heat's half-life.
const REFRESH_TICKS: usize = 300;

/// A rule that gives each tenant without contract a bucket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnBuckets {
    /// The rule's number, which is also the key of its overflow account.
    pub rule: usize,
    /// The rule's resource.
    pub resource: String,
    /// What each has.
    pub limit: Limit,
}

/// All slots of a worker.
#[derive(Debug)]
pub struct Strangers {
    seed: Seed,
    sketch: Sketch,
    first_key: usize,
    slots_per_rule: usize,
    rules: Vec<RuleSlots>,
    /// The last number of a holder of an account; begins anywhere, so that receipts from before a loss of shared data
    /// name nobody.
    holder: u32,
}

#[derive(Debug)]
struct RuleSlots {
    own: OwnBuckets,
    seats: Seats,
    /// Slots whose account may hold leases or counts, each at most once; and by slot, whether it is among them.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    /// Counts of names that lost their slot before they were handed over.
    departed: Counts,
}

/// Shared data as the sets' store.
struct Sets<'a, H> {
    host: &'a mut H,
    resource: &'a str,
}

impl<H: Host> SlotStore for Sets<'_, H> {
    fn replace_set(
        &mut self,
        set: usize,
        change: &mut dyn FnMut(Option<SlotSet>) -> Option<SlotSet>,
    ) -> Result<(), Contended> {
        replace(self.host, &set_key(self.resource, set), |bytes| {
            change(bytes.and_then(SlotSet::decode)).map(|set| set.encode().to_vec())
        })
        .map_err(|_| Contended)
    }
}

fn set_key(resource: &str, set: usize) -> String {
    format!("fb1/s/{resource}\0{set}")
}

/// The secret that the proxy's workers share: what is in shared data, else `random`, put there. `None` when shared data
/// does not answer; then there are no slots until it does.
pub fn join_seed(host: &mut impl Host, random: [u64; 2]) -> Option<Seed> {
    let read = |host: &mut _| {
        let (bytes, _) = Host::shared_get(host, SEED)?;
        let mut words = shared::words(&bytes);
        Some(Seed([words.next()?, words.next()?]))
    };
    read(host).or_else(|| {
        // Whoever is first wins; the loser takes what is there.
        let _ = host.shared_set(SEED, &shared::encode_words(&random), Expected::Absent);
        read(host)
    })
}

impl Strangers {
    /// Slots for `rules`, whose accounts come behind `first_key` others. The rules share [`MAX_SLOTS`] evenly. `None`
    /// without any such rule: then nothing is allocated.
    pub fn new(seed: Seed, rules: Vec<OwnBuckets>, first_key: usize, now: Nanos) -> Option<Self> {
        if rules.is_empty() {
            return None;
        }
        let slots_per_rule = (MAX_SLOTS / rules.len().next_power_of_two()).max(WAYS);
        let rules = rules.into_iter().map(|own| RuleSlots {
            own,
            seats: Seats::new(slots_per_rule),
            touched: Vec::with_capacity(slots_per_rule),
            is_touched: vec![false; slots_per_rule],
            departed: Counts::default(),
        });
        let sketch = Sketch::new(DEFAULT_COLUMNS, now);
        Some(Self { seed, sketch, first_key, slots_per_rule, rules: rules.collect(), holder: seed.0[0] as u32 })
    }

    /// The accounts of all slots, to be put behind the contracted keys'.
    pub fn accounts(&self) -> impl Iterator<Item = Account> + '_ {
        let of_rule =
            |rule: &RuleSlots| core::iter::repeat_n(Account::new(Grant::fixed(rule.own.limit)), self.slots_per_rule);
        self.rules.iter().flat_map(of_rule)
    }

    /// The slots of all rules.
    pub fn slots(&self) -> usize {
        self.rules.len() * self.slots_per_rule
    }

    /// Another number of contracted keys comes before the slots from now on.
    pub fn set_first_key(&mut self, first_key: usize) {
        self.first_key = first_key;
    }

    /// Whether any slot may hold a lease or a count.
    pub fn is_busy(&self) -> bool {
        self.rules.iter().any(|slots| !slots.touched.is_empty() || slots.departed != Counts::default())
    }

    /// The number of the first slot's account.
    pub fn first_key(&self) -> usize {
        self.first_key
    }

    /// The key that a request of `tenant`, who has no contract, is charged to by `rule`: a slot's, or `rule` itself, the
    /// overflow account.
    pub fn key(
        &mut self,
        rule: usize,
        tenant: &[u8],
        conditions: &Conditions,
        now: Nanos,
        accounts: &mut [Account],
        host: &mut impl Host,
    ) -> usize {
        let Some((index, slots)) = self.rules.iter_mut().enumerate().find(|(_, slots)| slots.own.rule == rule) else {
            return rule;
        };
        let RuleSlots { own, seats, touched, is_touched, departed } = slots;
        let name = self.seed.fingerprint(own.resource.as_bytes(), tenant);
        let entry = Entry { limit: own.limit, born: conditions.born, now };
        let mut sets = Sets { host, resource: &own.resource };
        let place = seats.place(name, &entry, &mut self.sketch, &mut sets);
        let (Place::Slot(slot) | Place::NewSlot(slot)) = place else { return rule };
        let key = self.first_key + index * self.slots_per_rule + slot;
        if let (Place::NewSlot(_), Some(account)) = (place, accounts.get_mut(key)) {
            departed.absorb(&account.counts());
            self.holder = self.holder.wrapping_add(1);
            *account = Account::held_by(self.holder, Grant::fixed(own.limit));
        }
        if let Some(known @ false) = is_touched.get_mut(slot) {
            *known = true;
            touched.push(slot);
        }
        key
    }

    /// Whether `key` is the overflow account of a rule with slots.
    pub fn serves(&self, key: usize) -> bool {
        self.rules.iter().any(|slots| slots.own.rule == key)
    }

    /// The rule whose slot `key` is; `None` for keys before the first slot.
    pub fn rule_of(&self, key: usize) -> Option<usize> {
        let index = key.checked_sub(self.first_key)? / self.slots_per_rule;
        self.rules.get(index).map(|slots| slots.own.rule)
    }

    /// Whether somebody sits at the slot `key`, as far as this worker knows.
    pub fn is_seated(&self, key: usize) -> bool {
        self.seat(key).is_some()
    }

    /// What shared data holds of the slot `key`; `None` when somebody else sits there by now.
    pub fn stored(&self, key: usize, host: &mut impl Host) -> Option<KeyState> {
        let (slots, slot, name) = self.seat(key)?;
        let (bytes, _) = host.shared_get(&set_key(&slots.own.resource, slot / WAYS))?;
        let standard = SlotSet::decode(&bytes)?.bucket(slot % WAYS, name)?;
        Some(KeyState { standard, shadow: ShadowState::default(), claims: None })
    }

    /// The rule, slot and name of a key at which somebody sits.
    fn seat(&self, key: usize) -> Option<(&RuleSlots, usize, Fingerprint)> {
        let number = key.checked_sub(self.first_key)?;
        let (slots, slot) = (self.rules.get(number / self.slots_per_rule)?, number % self.slots_per_rule);
        Some((slots, slot, slots.seats.name_at(slot)?))
    }

    /// The ledger's answer for slots; see [`Ledger::replace`].
    ///
    /// # Errors
    /// [`Contended`] also for a slot that somebody else holds by now.
    pub fn replace(
        &mut self,
        key: usize,
        now: Nanos,
        host: &mut impl Host,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended> {
        let number = key.checked_sub(self.first_key).ok_or(Contended)?;
        let slots = self.rules.get_mut(number / self.slots_per_rule).ok_or(Contended)?;
        let mut store = Sets { host, resource: &slots.own.resource };
        let mut ledger = SlotLedger { seats: &mut slots.seats, store: &mut store, now };
        ledger.replace(number % self.slots_per_rule, change)
    }

    /// Forgets, keeps the heat of live names, and returns leases that lie idle.
    pub fn on_tick(&mut self, conditions: &Conditions, now: Nanos, accounts: &mut [Account], host: &mut impl Host) {
        self.sketch.age(now);
        for (index, slots) in self.rules.iter_mut().enumerate() {
            let first = self.first_key + index * self.slots_per_rule;
            let mut store = Sets { host, resource: &slots.own.resource };
            slots.seats.refresh(slots.seats.sets().div_ceil(REFRESH_TICKS), now, &mut store);
            for &slot in &slots.touched {
                let Some(account) = accounts.get_mut(first + slot) else { continue };
                let mut ledger = SlotLedger { seats: &mut slots.seats, store: &mut store, now };
                account.give_back_idle(slot, conditions, now, &mut ledger);
            }
        }
    }

    /// What slots counted since the last time, by rule, to be added to the rule's `others` counters. Accounts start again
    /// at zero; the caller keeps what it cannot hand over.
    pub fn take_counts(&mut self, accounts: &mut [Account]) -> Vec<(usize, Counts)> {
        let (first_key, slots_per_rule) = (self.first_key, self.slots_per_rule);
        let of_rule = |(index, slots): (usize, &mut RuleSlots)| {
            let RuleSlots { own, seats, touched, is_touched, departed } = slots;
            let mut total = core::mem::take(departed);
            touched.retain(|&slot| {
                let Some(account) = accounts.get_mut(first_key + index * slots_per_rule + slot) else { return false };
                total.absorb(&account.counts());
                account.clear_counts();
                // A lease whose name has lost the slot has nobody to go back to.
                let keep = account.leased_units() > 0 && seats.name_at(slot).is_some();
                if let (false, Some(known)) = (keep, is_touched.get_mut(slot)) {
                    *known = false;
                }
                keep
            });
            (own.rule, total)
        };
        let counts = self.rules.iter_mut().enumerate().map(of_rule);
        counts.filter(|(_, total)| *total != Counts::default()).collect()
    }

    /// Bytes on the heap, without the accounts.
    pub fn heap_bytes(&self) -> usize {
        let of_rule = |slots: &RuleSlots| {
            slots.seats.heap_bytes() + slots.touched.capacity() * size_of::<usize>() + slots.is_touched.capacity()
        };
        self.sketch.heap_bytes() + self.rules.iter().map(of_rule).sum::<usize>()
    }
}
