//! Shared data as the admission crate's ledger: a key's bucket is a value under compare-and-set.

use forebay_admission::{Contended, KeyState, Ledger, Nanos};

use crate::host::{Host, replace};
use crate::keys::Key;

/// Shared data as the admission crate's ledger.
pub(crate) struct SharedLedger<'a, H> {
    host: &'a mut H,
    keys: &'a [Key],
    /// Whether an access has failed or lost every race: then the decision is not about the limit.
    failed: bool,
}

impl<'a, H> SharedLedger<'a, H> {
    pub(crate) fn new(host: &'a mut H, keys: &'a [Key]) -> Self {
        Self { host, keys, failed: false }
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
        key: usize,
        change: &mut dyn FnMut(Option<KeyState>) -> Option<KeyState>,
    ) -> Result<(), Contended> {
        let Some(key) = self.keys.get(key) else { return Err(Contended) };
        replace(self.host, &key.state_key, |bytes| {
            change(bytes.and_then(KeyState::decode)).map(|state| state.encode().to_vec())
        })
        .map_err(|_| {
            self.failed = true;
            Contended
        })
    }
}
