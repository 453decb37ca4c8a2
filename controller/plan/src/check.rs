//! Judges a plan against its inputs, without trusting how it was made.
//!
//! Two kinds of finding: *violations*, which no plan may have and which keep it from being published, and remarks about
//! the inputs, which an operator should read. `check` recomputes every sum from the grants themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::inputs::{Inputs, Key};
use crate::planning::Plan;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Remark: the standard rates of a pool's contracts exceed its capacity before any shadow.
    StandardsExceedPool {
        /// The pool.
        pool: String,
        /// Sum of the standard rates, milli-units per second.
        standards_milli_per_s: u64,
        /// Its ready capacity in the slot that has least, milli-units per second.
        ready_milli_per_s: u64,
    },
    /// Violation: shadow was granted beyond what the pool has.
    PoolExceeded {
        /// The pool.
        pool: String,
        /// The slot.
        slot_id: u64,
        /// Standard and shadow rates together, milli-units per second.
        sold_milli_per_s: u64,
        /// Its ready capacity, milli-units per second.
        ready_milli_per_s: u64,
    },
    /// Violation: more shadow than the contract allows.
    ShadowMaxExceeded {
        /// The key.
        key: Key,
        /// The slot.
        slot_id: u64,
    },
    /// Violation: amount, pace or order of a slot does not fit together.
    BadSlot {
        /// The key.
        key: Key,
        /// The slot.
        slot_id: u64,
        /// What.
        what: &'static str,
    },
    /// Violation: a grant without a contract, a contract without its grant, or a changed standard rate.
    ContractNotKept {
        /// The key.
        key: Key,
    },
}

impl Finding {
    /// Whether a plan with this finding must not be published.
    pub fn is_violation(&self) -> bool {
        !matches!(self, Self::StandardsExceedPool { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardsExceedPool { pool, standards_milli_per_s, ready_milli_per_s } => write!(
                f,
                "pool {pool}: the contracts' standard rates sum to {:.3}/s, its capacity is {:.3}/s; it gives no shadow \
                 until contracts shrink or capacity grows",
                *standards_milli_per_s as f64 / 1000.0,
                *ready_milli_per_s as f64 / 1000.0
            ),
            Self::PoolExceeded { pool, slot_id, sold_milli_per_s, ready_milli_per_s } => write!(
                f,
                "pool {pool}, slot {slot_id}: {sold_milli_per_s} milli/s sold, {ready_milli_per_s} milli/s ready"
            ),
            Self::ShadowMaxExceeded { key, slot_id } => write!(f, "{key}, slot {slot_id}: shadow above shadow_max"),
            Self::BadSlot { key, slot_id, what } => write!(f, "{key}, slot {slot_id}: {what}"),
            Self::ContractNotKept { key } => write!(f, "{key}: grant and contract differ"),
        }
    }
}

/// All findings, in a fixed order.
pub fn check(inputs: &Inputs, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    contracts_kept(inputs, plan, &mut findings);
    slots_sound(inputs, plan, &mut findings);
    pools_kept(inputs, plan, &mut findings);
    findings
}

fn contracts_kept(inputs: &Inputs, plan: &Plan, findings: &mut Vec<Finding>) {
    let grants: BTreeMap<&Key, _> = plan.grants.iter().map(|grant| (&grant.key, grant.standard)).collect();
    for contract in &inputs.contracts {
        let kept = grants.get(&contract.key).is_some_and(|standard| {
            standard.rate_milli_per_s == contract.rate_milli_per_s && standard.burst == contract.burst
        });
        if !kept {
            findings.push(Finding::ContractNotKept { key: contract.key.clone() });
        }
    }
    let contracted: BTreeSet<&Key> = inputs.contracts.iter().map(|contract| &contract.key).collect();
    for grant in plan.grants.iter().filter(|grant| !contracted.contains(&grant.key)) {
        findings.push(Finding::ContractNotKept { key: grant.key.clone() });
    }
}

fn slots_sound(inputs: &Inputs, plan: &Plan, findings: &mut Vec<Finding>) {
    let shadow_max: BTreeMap<&Key, u64> =
        inputs.contracts.iter().map(|contract| (&contract.key, contract.shadow_max_milli_per_s)).collect();
    for grant in &plan.grants {
        let mut previous = None;
        for slot in &grant.slots {
            let bad = |what| Finding::BadSlot { key: grant.key.clone(), slot_id: slot.id, what };
            if previous.is_some_and(|id| id >= slot.id) {
                findings.push(bad("slots are not ascending"));
            }
            previous = Some(slot.id);
            let most = u128::from(slot.pace.rate_milli_per_s) * u128::from(slot.length_ms) / 1_000_000;
            if slot.amount == 0 || u128::from(slot.amount) > most {
                findings.push(bad("the amount is not what its pace yields over its length"));
            }
            if slot.pace.burst == 0 || slot.pace.burst > slot.amount {
                findings.push(bad("the burst is not between one unit and the amount"));
            }
            if slot.pace.rate_milli_per_s > shadow_max.get(&grant.key).copied().unwrap_or(0) {
                findings.push(Finding::ShadowMaxExceeded { key: grant.key.clone(), slot_id: slot.id });
            }
        }
    }
}

fn pools_kept(inputs: &Inputs, plan: &Plan, findings: &mut Vec<Finding>) {
    let pool_of: BTreeMap<&Key, &str> =
        inputs.contracts.iter().filter_map(|c| c.pool.as_deref().map(|pool| (&c.key, pool))).collect();
    for pool in &inputs.pools {
        let members = || plan.grants.iter().filter(|grant| pool_of.get(&grant.key) == Some(&pool.name.as_str()));
        let standards = members().fold(0_u64, |sum, grant| sum.saturating_add(grant.standard.rate_milli_per_s));
        let ready = |slot| inputs.ready_milli_per_s(pool, slot);
        let lowest = (0..inputs.slots.len()).map(ready).fold(pool.ready_milli_per_s, u64::min);
        if standards > lowest {
            findings.push(Finding::StandardsExceedPool {
                pool: pool.name.clone(),
                standards_milli_per_s: standards,
                ready_milli_per_s: lowest,
            });
        }
        let mut shadow: BTreeMap<u64, u64> = BTreeMap::new();
        for slot in members().flat_map(|grant| &grant.slots) {
            let sum = shadow.entry(slot.id).or_insert(0);
            *sum = sum.saturating_add(slot.pace.rate_milli_per_s);
        }
        for (slot_id, shadow) in shadow {
            let sold = standards.saturating_add(shadow);
            // A slot that was not asked for has nothing.
            let ready = inputs.slots.iter().position(|slot| slot.id == slot_id).map_or(0, ready);
            if sold > ready {
                findings.push(Finding::PoolExceeded {
                    pool: pool.name.clone(),
                    slot_id,
                    sold_milli_per_s: sold,
                    ready_milli_per_s: ready,
                });
            }
        }
    }
}
