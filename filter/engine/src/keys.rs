//! The keys that a worker knows, and the way from a tenant's name to its accounts.
//!
//! Built from the fallback policy overlaid by the controller's table; clients never add one. A tenant without contract
//! for a resource uses the resource's `others` account, and so does any name that is not known: 100,000 invented tenants
//! cost nothing. Where the policy gives each such name a bucket of its own, the accounts of their slots come behind those
//! of the keys ([`strangers`](crate::strangers)).

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use forebay_admission::{Account, Charge, Conditions, Grant, KeyState, Nanos, Pool, Slot};
use forebay_protocol::{Count, OTHERS};
use hashbrown::HashMap;

use crate::cells::{self, Cells};
use crate::config::Config;
use crate::host::Host;
use crate::ledger::SharedLedger;
use crate::policy::telling::Provenance;
use crate::provenance::Label;
use crate::shared;
use crate::strangers::Strangers;
use crate::table::KeyGrant;

/// One tenant x resource.
#[derive(Clone, Debug)]
pub struct Key {
    /// The tenant, or [`OTHERS`].
    pub tenant: String,
    /// The resource.
    pub resource: String,
    /// Where its buckets are in shared data.
    pub state_key: String,
    /// Where its counts are in shared data.
    pub count_key: String,
    /// The part of its demand since the last hand-over that is hostile.
    pub hostile: Count,
    /// The mark of the counts that the controller has acknowledged, as the leader knows; 0 for none.
    pub reported: u32,
    /// The forecast behind its grant; 0 without one.
    pub forecast_version: u64,
    /// When its pool has more capacity ready, as in [`KeyGrant`]: clients that are refused are told to wait for it.
    pub more_at: Nanos,
    /// What it is called in provenance; `None` when nobody asks for that.
    pub label: Option<Label>,
}

/// What a key is granted and told beside it.
#[derive(Debug)]
struct Granted {
    grant: Grant,
    forecast_version: u64,
    more_at: Nanos,
}

impl Granted {
    /// By the fallback policy, which knows of no forecast and of nothing that is provisioned.
    fn fixed(grant: Grant) -> Self {
        Self { grant, forecast_version: 0, more_at: Nanos::default() }
    }
}

/// All keys, with this worker's account of each.
#[derive(Debug, Default)]
pub struct Keys {
    /// Parallel to `accounts`. The first `resources` of them are the `others` keys.
    pub keys: Vec<Key>,
    /// Parallel to `keys`; behind them come the slots of `strangers`.
    pub accounts: Vec<Account>,
    /// Parallel to `keys`: requests by attribute since the last hand-over, numbered by `numbering`; empty where there are
    /// none.
    pub cells: Vec<Vec<u64>>,
    /// Of the attributes' values.
    pub numbering: Cells,
    /// Slots of tenants without contract, once shared data has a seed and where the policy wants any.
    pub strangers: Option<Strangers>,
    /// Whether the policy wants any.
    pub own_buckets: bool,
    /// Whether the policy marks any rule as hostile.
    pub has_hostile: bool,
    /// Where the states of the policy's pools are in shared data, by number.
    pool_keys: Vec<String>,
    resources: usize,
    rows: HashMap<Box<[u8]>, usize>,
    /// Key number by row x resource; row 0 is everybody without contract.
    grid: Vec<usize>,
    /// Rises when key numbers change their meaning.
    pub revision: u64,
}

impl Keys {
    /// The keys of `config`, overlaid by the controller's `table`.
    pub fn new(config: &Config, table: &[KeyGrant]) -> Self {
        let resources = &config.policy.resources;
        let told = config.policy.provenance.as_ref();
        let mut keys = Self {
            numbering: Cells::of(&config.policy.attributes),
            resources: resources.len(),
            grid: vec![usize::MAX; resources.len()],
            own_buckets: resources.iter().any(|resource| resource.each),
            has_hostile: config.policy.rules().iter().any(|rule| rule.hostile),
            pool_keys: config.policy.pools.iter().map(|terms| shared::pool_key(&terms.name)).collect(),
            ..Self::default()
        };
        for (number, resource) in resources.iter().enumerate() {
            // Of those without contract who have buckets of their own, nobody borrows.
            let pool = resource.pool.filter(|_| !resource.each);
            let granted = Granted::fixed(Grant { pool, ..Grant::fixed(resource.others) });
            keys.put(told, OTHERS, &resource.name, number, granted);
        }
        for contract in &config.policy.contracts {
            if let Some(resource) = resources.get(contract.resource) {
                let granted = Granted::fixed(Grant { pool: contract.pool, ..Grant::fixed(contract.limit) });
                keys.put(told, &contract.tenant, &resource.name, contract.resource, granted);
            }
        }
        let number_of = |name: &str| resources.iter().position(|resource| resource.name == name);
        for entry in table {
            if let Some(number) = number_of(&entry.resource) {
                let pool = resources.get(number).and_then(|resource| resource.pool);
                let grant = Grant { pool, ..entry.grant.clone() };
                let granted = Granted { grant, forecast_version: entry.forecast_version, more_at: entry.more_at };
                keys.put(told, &entry.tenant, &entry.resource, number, granted);
            }
        }
        keys
    }

    /// The same with another `table`. Accounts keep their leases and counts, and slots stay behind the keys; the caller
    /// has handed over the counts of keys that go. Beside it the keys, by their number here, whose standard limit is another one now, and what they were
    /// granted before.
    pub fn rebuilt(&mut self, config: &Config, table: &[KeyGrant]) -> (Self, Vec<(usize, Grant)>) {
        let mut new = Self::new(config, table);
        new.revision = self.revision + 1;
        let old: HashMap<&str, usize> =
            self.keys.iter().enumerate().map(|(i, key)| (key.state_key.as_str(), i)).collect();
        let mut relimited = Vec::new();
        for (number, (key, account)) in new.keys.iter_mut().zip(&mut new.accounts).enumerate() {
            let Some(&index) = old.get(key.state_key.as_str()) else { continue };
            if let (Some(old_key), Some(old_account)) = (self.keys.get(index), self.accounts.get_mut(index)) {
                key.reported = old_key.reported;
                key.hostile = old_key.hostile;
                let grant = account.grant().clone();
                core::mem::swap(account, old_account);
                if account.grant().standard != grant.standard {
                    relimited.push((index, account.grant().clone()));
                }
                account.set_grant(grant);
            }
            if let (Some(cells), Some(old)) = (new.cells.get_mut(number), self.cells.get_mut(index)) {
                core::mem::swap(cells, old);
            }
        }
        // The slots' accounts are many megabytes: they move within their vector, which grows by no more than it must.
        let contracted = core::mem::take(&mut new.accounts);
        new.accounts = core::mem::take(&mut self.accounts);
        new.accounts.reserve_exact(contracted.len().saturating_sub(self.keys.len()));
        new.accounts.splice(..self.keys.len(), contracted);
        new.strangers = self.strangers.take();
        if let Some(strangers) = &mut new.strangers {
            strangers.set_first_key(new.keys.len());
        }
        (new, relimited)
    }

    /// The policy's pools, with the reservations that their members have, by number.
    pub fn pools(&self, config: &Config) -> Vec<Pool> {
        let terms = &config.policy.pools;
        let mut slots: Vec<Vec<&Slot>> = vec![Vec::new(); terms.len()];
        for grant in self.accounts.iter().take(self.keys.len()).map(Account::grant) {
            if let Some(slots) = grant.pool.and_then(|member| slots.get_mut(member.pool)) {
                slots.extend(&grant.slots);
            }
        }
        terms.iter().zip(slots).map(|(terms, slots)| terms.pool(slots)).collect()
    }

    /// Puts the slots of `strangers` behind the keys, instead of those that are there.
    pub fn set_slots(&mut self, strangers: Option<Strangers>) {
        self.accounts.truncate(self.keys.len());
        if let Some(strangers) = &strangers {
            self.accounts.reserve_exact(strangers.slots());
            self.accounts.extend(strangers.accounts());
        }
        self.strangers = strangers;
    }

    /// The accounts, and the ledger under which they draw.
    pub(crate) fn open<'a, H: Host>(&'a mut self, host: &'a mut H) -> (&'a mut [Account], SharedLedger<'a, H>) {
        (&mut self.accounts, SharedLedger::new(host, &self.keys, self.strangers.as_mut(), &self.pool_keys))
    }

    /// Whether any of `charges` goes to a bucket of its own where its tenant has no contract.
    pub(crate) fn has_slots_for(&self, charges: &[Charge]) -> bool {
        let strangers = self.strangers.as_ref();
        strangers.is_some_and(|strangers| charges.iter().any(|charge| strangers.serves(charge.key)))
    }

    /// Charges the tenant's own slots instead of `others`, as far as it has or gets any.
    pub(crate) fn place(
        &mut self,
        charges: &mut [Charge],
        tenant: &[u8],
        conditions: &Conditions<'_>,
        now: Nanos,
        host: &mut impl Host,
    ) {
        let Some(strangers) = &mut self.strangers else { return };
        for charge in charges {
            charge.key = strangers.key(charge.key, tenant, conditions, now, &mut self.accounts, host);
        }
    }

    /// The key by whose name an account goes: its own, or for a slot the `others` of its resource.
    pub fn named(&self, account: usize) -> usize {
        self.strangers.as_ref().and_then(|strangers| strangers.rule_of(account)).unwrap_or(account)
    }

    /// What shared data holds of an account; `None` when nothing.
    pub(crate) fn stored(&self, account: usize, host: &mut impl Host) -> Option<KeyState> {
        match (self.keys.get(account), &self.strangers) {
            (Some(key), _) => host.shared_get(&key.state_key).and_then(|(bytes, _)| KeyState::decode(&bytes)),
            (None, strangers) => strangers.as_ref()?.stored(account, host),
        }
    }

    /// The row of a tenant's name; 0 for a name without contract.
    pub fn row(&self, tenant: &[u8]) -> usize {
        self.rows.get(tenant).copied().unwrap_or(0)
    }

    /// The key that a tenant's row is charged to for a resource.
    pub fn key(&self, row: usize, resource: usize) -> usize {
        match self.grid.get(row * self.resources + resource) {
            Some(&key) if key != usize::MAX => key,
            _ => resource,
        }
    }

    /// Counts a request by the value that has this cell.
    pub(crate) fn arrived(&mut self, key: usize, resource: usize, cell: usize) {
        let key = self.numbering.counted_for(self.named(key), resource);
        if let Some(cells) = self.cells.get_mut(key) {
            cells::add(cells, cell, self.numbering.per_key);
        }
    }

    /// Counts a request that is hostile.
    #[inline(never)]
    pub(crate) fn harmed(&mut self, charges: &[Charge]) {
        for charge in charges {
            let key = self.named(charge.key);
            if let Some(key) = self.keys.get_mut(key) {
                key.hostile.requests = key.hostile.requests.saturating_add(1);
                key.hostile.units = key.hostile.units.saturating_add(charge.cost);
            }
        }
    }

    /// The tenant that a row is of; [`OTHERS`] for row 0.
    pub fn tenant(&self, row: usize) -> &str {
        let own = (0..self.resources).filter_map(|resource| self.keys.get(self.key(row, resource)));
        own.map(|key| key.tenant.as_str()).find(|tenant| *tenant != OTHERS).unwrap_or(OTHERS)
    }

    /// Sets a grant and what is told beside it.
    fn put(&mut self, told: Option<&Provenance>, tenant: &str, resource: &str, number: usize, granted: Granted) {
        let Granted { grant, forecast_version, more_at } = granted;
        let row = self.row_or_new(tenant);
        let Some(cell) = self.grid.get_mut(row * self.resources + number) else { return };
        if let Some(account) = self.accounts.get_mut(*cell) {
            // Which pool it belongs to is the policy's to say.
            let pool = account.grant().pool;
            account.set_grant(Grant { pool, ..grant });
            if let Some(key) = self.keys.get_mut(*cell) {
                (key.forecast_version, key.more_at) = (forecast_version, more_at);
            }
            return;
        }
        *cell = self.keys.len();
        self.keys.push(Key {
            tenant: tenant.to_string(),
            resource: resource.to_string(),
            state_key: shared::state_key(tenant, resource),
            count_key: shared::count_key(tenant, resource),
            hostile: Count::default(),
            reported: 0,
            forecast_version,
            more_at,
            label: told.map(|told| told.label(tenant)),
        });
        self.accounts.push(Account::new(grant));
        self.cells.push(Vec::new());
    }

    fn row_or_new(&mut self, tenant: &str) -> usize {
        if tenant == OTHERS {
            return 0;
        }
        let next = self.grid.len() / self.resources.max(1);
        if let Some(&row) = self.rows.get(tenant.as_bytes()) {
            return row;
        }
        self.rows.insert(tenant.as_bytes().into(), next);
        self.grid.resize(self.grid.len() + self.resources, usize::MAX);
        next
    }
}

#[cfg(test)]
mod tests;
