//! What of capacity must survive a restart: money spent, allocations, what was learned, and a trail of decisions.

use std::collections::BTreeMap;

use forebay_plan::Key;

use super::StoreError;
use crate::capacity::allocations::Allocation;
#[cfg(doc)]
use crate::capacity::foreseeing::SEEN_KEPT_S;
use crate::capacity::foreseeing::Seen;
use crate::capacity::ledger::Supply;
use crate::capacity::spending::Spending;

/// Where it lives.
pub(crate) trait CapacityStore: Send {
    /// What was spent; `None` before anything was.
    fn spending(&self) -> Result<Option<Spending>, StoreError>;
    /// Replaces it.
    fn set_spending(&mut self, spending: &Spending) -> Result<(), StoreError>;
    /// All allocations, oldest first.
    fn allocations(&self) -> Result<Vec<Allocation>, StoreError>;
    /// Adds allocations or replaces those of the same ids; all of them or none.
    fn set_allocations(&mut self, allocations: &[Allocation]) -> Result<(), StoreError>;
    /// Adds a decision to the trail; of too many the oldest leave.
    fn note_decision(&mut self, at_ms: u64, decision: &str) -> Result<(), StoreError>;
    /// The newest decisions, newest first.
    fn decisions(&self, most: u32) -> Result<Vec<String>, StoreError>;
    /// Adds what was supplied in steps, or replaces it; what is older than the ledger reaches back leaves.
    fn add_supply(&mut self, supply: &[Supply]) -> Result<(), StoreError>;
    /// What was supplied of a service in the steps from `from_s` on and before `to_s`, ascending.
    fn supply(&self, service: &str, from_s: i64, to_s: i64) -> Result<Vec<Supply>, StoreError>;
    /// Adds what was seen when steps began, or replaces it; what is older than [`SEEN_KEPT_S`] leaves. All of it or nothing.
    fn add_seen(&mut self, seen: &[Seen]) -> Result<(), StoreError>;
    /// What was seen of a service in the steps from `from_s` on and before `to_s`, ascending.
    fn seen(&self, service: &str, from_s: i64, to_s: i64) -> Result<Vec<Seen>, StoreError>;
    /// Offered demand of keys together by step, from `from_s` on and before `to_s`; steps of which nothing is known are absent.
    fn offered(&self, keys: &[Key], from_s: i64, to_s: i64) -> Result<BTreeMap<i64, f64>, StoreError>;
    /// What was learned under a name, as it was stored.
    fn learned(&self, name: &str) -> Result<Option<String>, StoreError>;
    /// Replaces it.
    fn set_learned(&mut self, name: &str, learned: &str) -> Result<(), StoreError>;
}
