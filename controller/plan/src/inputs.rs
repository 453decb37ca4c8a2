//! Everything that a plan depends on, as plain values.
//!
//! Rates are milli-units per real second, bursts and amounts whole units, lengths real milliseconds; the calendar lives
//! only in slot ids. What is not here cannot influence a plan.

use std::collections::BTreeMap;
use std::fmt;

/// Who is charged for what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The tenant.
    pub tenant: String,
    /// The resource.
    pub resource: String,
}

impl Key {
    /// The key of `tenant` for `resource`.
    pub fn new(tenant: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), resource: resource.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.resource)
    }
}

/// What one tenant was promised for one resource, mesh-wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Whom and what it is about.
    pub key: Key,
    /// Standard rate in milli-units per second.
    pub rate_milli_per_s: u64,
    /// Depth of the standard bucket, in units.
    pub burst: u64,
    /// Most shadow rate that a forecast may bring, in milli-units per second. No flood can buy more.
    pub shadow_max_milli_per_s: u64,
    /// The pool that serves it; `None`: only `shadow_max` limits the shadow.
    pub pool: Option<String>,
    /// Its weight when the pool is short; 0 counts as 1.
    pub weight: u32,
}

/// Capacity that is ready to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyCapacity {
    /// The name that contracts use.
    pub name: String,
    /// Ready capacity in milli-units per second.
    pub ready_milli_per_s: u64,
}

/// A stretch of time to plan for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotTime {
    /// The calendar step: floor(unix seconds / step length). The same stretch has the same id in every plan.
    pub id: u64,
    /// Real length in milliseconds.
    pub length_ms: u32,
}

/// What is known about a key's coming demand.
#[derive(Clone, Debug, PartialEq)]
pub enum Demand {
    /// No forecast, and why.
    Unknown {
        /// For the report.
        why: String,
    },
    /// The quality gate is shut: forecasts of this key are worse than a naive one at present.
    WorseThanNaive,
    /// A forecast that may be acted on.
    Forecast {
        /// Which forecast; rises with every fit.
        version: u64,
        /// The quantile that shadow is bought for, per slot of [`Inputs::slots`], in units per second. Missing, not finite
        /// or negative: nothing is known about that slot.
        upper_per_s: Vec<f64>,
    },
}

/// All that a plan is made of.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Contracts with distinct keys.
    pub contracts: Vec<Contract>,
    /// Pools with distinct names.
    pub pools: Vec<ReadyCapacity>,
    /// What is ready of pools that have less than usual in some slot, per slot of `slots`, in milli-units per second: a
    /// maintenance window. Missing slots have what the pool has; nothing here adds to a pool.
    pub reduced: BTreeMap<String, Vec<u64>>,
    /// The slots to plan, ascending.
    pub slots: Vec<SlotTime>,
    /// Demand per key; a key that is absent has no forecast.
    pub demand: BTreeMap<Key, Demand>,
}

impl Inputs {
    /// What is ready of a pool in a slot, by its place in `slots`; milli-units per second.
    pub(crate) fn ready_milli_per_s(&self, pool: &ReadyCapacity, slot: usize) -> u64 {
        let reduced = self.reduced.get(&pool.name).and_then(|by_slot| by_slot.get(slot));
        reduced.map_or(pool.ready_milli_per_s, |reduced| pool.ready_milli_per_s.min(*reduced))
    }
}
