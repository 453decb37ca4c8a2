//! What the engine needs from whoever runs it. One port, small on purpose.

use alloc::vec::Vec;

use forebay_admission::Nanos;

/// What a write to shared data expects to find. The dialects of the hosts (Envoy inserts an absent key whatever the
/// compare value, ngx does not) are the shell's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The key must not exist.
    Absent,
    /// The key must not have changed since it was read with this mark.
    Unchanged(u32),
    /// Whatever.
    Anything,
}

/// Why a write did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The key is not as expected: somebody else was faster.
    Conflict,
    /// The host refused.
    Failed,
}

/// The host does not say whether a property exists: it failed, or does not know such properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// The host of a worker.
pub trait Host {
    /// The steady clock, common to all workers of the proxy.
    fn now(&mut self) -> Nanos;
    /// The wall clock in nanoseconds since 1970; used only to tell one boot of a proxy from another.
    fn wall_nanos(&mut self) -> u64;
    /// The first value of a request header, by lower-case name; bytes, because clients send what they like.
    fn header(&mut self, name: &str) -> Option<Vec<u8>>;
    /// The same, behind what `to` already holds, for those who read on every request and keep their memory; `false` when
    /// the request does not have it.
    fn read_header(&mut self, name: &str, to: &mut Vec<u8>) -> bool {
        let value = self.header(name);
        to.extend_from_slice(value.as_deref().unwrap_or_default());
        value.is_some()
    }
    /// The first value of a response header, by lower-case name, in a callback about a response. Hosts that follow no
    /// stream that far have none.
    fn response_header(&mut self, _name: &str) -> Option<Vec<u8>> {
        None
    }
    /// A property of the request, its connection or the proxy; the segments of `path` are separated by NUL. `None` when
    /// there is no such value.
    ///
    /// # Errors
    /// [`Unreadable`].
    fn property(&mut self, path: &str) -> Result<Option<Vec<u8>>, Unreadable>;
    /// A shared-data value and its compare mark; `None` when the key does not exist.
    fn shared_get(&mut self, key: &str) -> Option<(Vec<u8>, u32)>;
    /// Writes a shared-data value.
    ///
    /// # Errors
    /// [`StoreError`].
    fn shared_set(&mut self, key: &str, value: &[u8], expected: Expected) -> Result<(), StoreError>;
    /// Writes into the request's filter state, for access logs. A host without filter state loses it.
    fn set_filter_state(&mut self, key: &str, value: &str);
    /// Random bits that clients cannot guess, as 16 bytes.
    fn random(&mut self) -> [u64; 2];
    /// The proxy's own name, where the configuration gives none.
    fn proxy_name(&mut self) -> Option<Vec<u8>>;
}

/// Tries of a read-modify-write before it is given up.
pub const MAX_TRIES: u32 = 4;

/// Replaces a shared value by what `change` makes of it, with a bounded number of tries. `None` from `change` leaves it.
///
/// # Errors
/// [`StoreError::Conflict`] when every try lost, [`StoreError::Failed`] when the host refused.
pub fn replace(
    host: &mut (impl Host + ?Sized),
    key: &str,
    mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
) -> Result<(), StoreError> {
    replace_by(host, key, &mut change)
}

/// What makes a new shared value of the old one.
type Change<'a> = dyn FnMut(Option<&[u8]>) -> Option<Vec<u8>> + 'a;

/// The same, compiled once for all changes: the module stays small.
fn replace_by(host: &mut (impl Host + ?Sized), key: &str, change: &mut Change<'_>) -> Result<(), StoreError> {
    for _ in 0..MAX_TRIES {
        let found = host.shared_get(key);
        let (old, expected) = match &found {
            Some((value, mark)) => (Some(value.as_slice()), Expected::Unchanged(*mark)),
            None => (None, Expected::Absent),
        };
        let Some(new) = change(old) else { return Ok(()) };
        match host.shared_set(key, &new, expected) {
            Err(StoreError::Conflict) => {}
            done => return done,
        }
    }
    Err(StoreError::Conflict)
}
