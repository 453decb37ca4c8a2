//! Shared data with Envoy's exact compare-and-set semantics.
//!
//! One process-wide u32 counter hands every stored value its `cas`; it starts at 1 and skips 0. A set with
//! `cas == 0` overwrites; with another `cas` it stores only if the key still has that one. The trap that a
//! client must know: **an absent key ignores `cas` and inserts**, so "get nothing, then set" by two VMs is last
//! writer wins and both are told Ok. (Put-if-absent therefore is a set with a `cas` that no key has.)
//!
//! Nothing is ever deleted or evicted. Scope is the raw `vm_id` string: different code and different VMs meet
//! in one namespace. Contents outlive VMs and end with the process.
//!
//! Source: cpp-host `shared_data.cc`.

use std::collections::BTreeMap;

use crate::Status;

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Vec<u8>,
    /// Its compare-and-set number, never 0.
    pub cas: u32,
}

/// All shared data of a process: `vm_id` -> key -> entry.
#[derive(Debug)]
pub struct SharedData {
    namespaces: BTreeMap<String, BTreeMap<Vec<u8>, Entry>>,
    next_cas: u32,
}

impl Default for SharedData {
    fn default() -> Self {
        Self::starting_at(1)
    }
}

impl SharedData {
    /// Empty, with the counter at `next_cas` (0 is skipped): lets a test reach the wrap-around.
    pub fn starting_at(next_cas: u32) -> Self {
        Self { namespaces: BTreeMap::new(), next_cas: next_cas.max(1) }
    }

    /// The entry of `key`, if the key was ever set.
    pub fn get(&self, vm_id: &str, key: &[u8]) -> Option<&Entry> {
        self.namespaces.get(vm_id)?.get(key)
    }

    /// Stores `value` under the rules above: `Ok` or `CasMismatch`.
    pub fn set(&mut self, vm_id: &str, key: &[u8], value: &[u8], cas: u32) -> Status {
        let current = self.get(vm_id, key).map(|entry| entry.cas);
        if current.is_some_and(|current| cas != 0 && cas != current) {
            return Status::CasMismatch;
        }
        let entry = Entry { value: value.to_vec(), cas: self.next_cas };
        self.next_cas = self.next_cas.checked_add(1).unwrap_or(1);
        self.namespaces.entry(vm_id.to_owned()).or_default().insert(key.to_vec(), entry);
        Status::Ok
    }

    /// All keys of a namespace, sorted.
    pub fn keys(&self, vm_id: &str) -> Vec<&[u8]> {
        self.namespaces.get(vm_id).into_iter().flat_map(BTreeMap::keys).map(Vec::as_slice).collect()
    }
}

/// One access of a VM to shared data, as a fault-injection hook sees it before it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedDataCall<'a> {
    /// `proxy_get_shared_data`.
    Get {
        /// Namespace.
        vm_id: &'a str,
        /// Key.
        key: &'a [u8],
    },
    /// `proxy_set_shared_data`.
    Set {
        /// Namespace.
        vm_id: &'a str,
        /// Key.
        key: &'a [u8],
        /// New value.
        value: &'a [u8],
        /// The compare-and-set number given; 0 overwrites.
        cas: u32,
    },
}

/// Sees every access, may write as another worker would between two calls, and may answer in the host's place
/// (`Some(status)`: the access itself does not happen).
pub(crate) type Hook = Box<dyn FnMut(SharedDataCall<'_>, &mut SharedData) -> Option<Status> + Send>;

/// A hook that answers the first `count` sets carrying a `cas` with `CasMismatch` without storing.
pub fn cas_mismatches(mut count: u32) -> impl FnMut(SharedDataCall<'_>, &mut SharedData) -> Option<Status> + Send {
    move |call, _| match call {
        SharedDataCall::Set { cas: 1.., .. } if count > 0 => {
            count -= 1;
            Some(Status::CasMismatch)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "forebay";

    fn cas(data: &SharedData, key: &[u8]) -> Option<u32> {
        data.get(ID, key).map(|entry| entry.cas)
    }

    #[test]
    fn an_absent_key_ignores_cas_and_inserts() {
        let mut data = SharedData::default();
        assert_eq!(data.set(ID, b"k", b"first", u32::MAX), Status::Ok);
        assert_eq!(cas(&data, b"k"), Some(1));
    }

    #[test]
    fn put_if_absent_needs_an_impossible_cas() {
        let mut data = SharedData::default();
        assert_eq!(data.set(ID, b"k", b"first", u32::MAX), Status::Ok);
        assert_eq!(data.set(ID, b"k", b"second", u32::MAX), Status::CasMismatch);
        assert_eq!(data.set(ID, b"k", b"third", 0), Status::Ok, "0 overwrites whatever is there");
        assert_eq!(data.get(ID, b"k").map(|entry| entry.value.as_slice()), Some(b"third".as_slice()));
    }

    #[test]
    fn a_stale_cas_is_refused_and_costs_no_number() {
        let mut data = SharedData::default();
        assert_eq!(data.set(ID, b"k", b"a", 0), Status::Ok);
        assert_eq!(data.set(ID, b"k", b"b", 1), Status::Ok);
        assert_eq!(data.set(ID, b"k", b"c", 1), Status::CasMismatch);
        assert_eq!(data.set(ID, b"other", b"d", 0), Status::Ok);
        assert_eq!((cas(&data, b"k"), cas(&data, b"other")), (Some(2), Some(3)), "one counter for all keys");
    }

    #[test]
    fn the_counter_is_shared_by_namespaces_and_skips_zero() {
        let mut data = SharedData::starting_at(u32::MAX);
        assert_eq!(data.set(ID, b"k", b"", 0), Status::Ok);
        assert_eq!(data.set("elsewhere", b"k", b"", 0), Status::Ok);
        assert_eq!(cas(&data, b"k"), Some(u32::MAX));
        assert_eq!(data.get("elsewhere", b"k").map(|entry| entry.cas), Some(1));
        assert_eq!(data.get("third", b"k"), None);
    }

    #[test]
    fn the_mismatch_hook_leaves_plain_sets_alone() {
        let mut data = SharedData::default();
        let mut hook = cas_mismatches(1);
        let set = |cas| SharedDataCall::Set { vm_id: ID, key: b"k", value: b"v", cas };
        assert_eq!(hook(set(0), &mut data), None);
        assert_eq!(hook(set(7), &mut data), Some(Status::CasMismatch));
        assert_eq!(hook(set(7), &mut data), None);
    }
}
