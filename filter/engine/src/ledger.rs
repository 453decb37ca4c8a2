//! Shared data as the admission crate's ledger: the buckets of a key, and what a pool has lent, are values under
//! compare-and-set; behind the contracted keys come the slots of tenants without contract.

use alloc::string::String;

use forebay_admission::{Contended, KeyState, Ledger, Nanos, PoolState};

use crate::host::{Host, replace};
use crate::keys::Key;
use crate::strangers::Strangers;

/// The ledger for one decision or one round of the tick.
pub(crate) struct SharedLedger<'a, H> {
    host: &'a mut H,
    keys: &'a [Key],
    strangers: Option<&'a mut Strangers>,
    pool_keys: &'a [String],
    /// Whether an access has failed or lost every race: then the decision is not about the limit.
    failed: bool,
}

impl<'a, H> SharedLedger<'a, H> {
    /// `pool_keys` are the names of the pools' states, by number.
    pub(crate) fn new(
        host: &'a mut H,
        keys: &'a [Key],
        strangers: Option<&'a mut Strangers>,
        pool_keys: &'a [String],
    ) -> Self {
        Self { host, keys, strangers, pool_keys, failed: false }
    }

    /// Whether an access has failed.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }
}

impl<H: Host> Ledger for SharedLedger<'_, H> {
    fn now(&mut self) -> Nanos {
        self.host.now()
    }

    fn replace(
        &mut self,
        number: usize,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended> {
        let Some(key) = self.keys.get(number) else {
            let strangers = self.strangers.as_mut().ok_or(Contended)?;
            let now = self.host.now();
            let replaced = strangers.replace(number, now, self.host, change);
            // Who has lost a slot to another name is refused, which is no failure.
            self.failed |= replaced.is_err() && strangers.is_seated(number);
            return replaced;
        };
        replace(self.host, &key.state_key, |bytes| {
            change(bytes.and_then(KeyState::decode)).map(|state| state.encode().to_vec())
        })
        .map_err(|_| {
            self.failed = true;
            Contended
        })
    }

    fn replace_pool(
        &mut self,
        pool: usize,
        change: &mut dyn FnMut(Option<PoolState>) -> Option<PoolState>,
    ) -> Result<(), Contended> {
        let Some(pool_key) = self.pool_keys.get(pool) else { return Err(Contended) };
        replace(self.host, pool_key, |bytes| {
            change(bytes.and_then(PoolState::decode)).map(|state| state.encode().to_vec())
        })
        .map_err(|_| {
            self.failed = true;
            Contended
        })
    }
}
