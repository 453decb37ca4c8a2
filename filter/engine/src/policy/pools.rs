//! The pools that a document names, and the terms on which their idle reservations are lent.

use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::{Limit, Membership, Pool, Slot};
use forebay_protocol::policy::{self, Policy};
use hashbrown::HashMap;

/// A pool's terms; what is reserved in it comes with the grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTerms {
    /// Its name.
    pub name: String,
    /// Units lent at one moment; `None`: one second of what is reserved, at its highest.
    pub debt: Option<u64>,
    /// What is lent without a reservation.
    pub overcommit: Limit,
}

impl PoolTerms {
    /// The pool of `slots`, which its members were granted.
    pub fn pool<'a>(&self, slots: impl IntoIterator<Item = &'a Slot>) -> Pool {
        let pool = Pool::new(slots, 0, self.overcommit);
        let second = pool.peak_rate().milli_per_s().div_ceil(1_000);
        pool.with_debt(self.debt.unwrap_or(second))
    }
}

/// All pools of a document.
#[derive(Default)]
pub(super) struct Pools<'a> {
    pub(super) terms: Vec<PoolTerms>,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Pools<'a> {
    pub(super) fn collect(policy: &'a Policy) -> Self {
        let mut pools = Self::default();
        let of_resources = policy.resources.iter().filter_map(|one| one.pool.as_ref());
        for pool in of_resources.chain(policy.contracts.iter().filter_map(|one| one.pool.as_ref())) {
            let number = *pools.numbers.entry(pool.name.as_str()).or_insert(pools.terms.len());
            if number == pools.terms.len() {
                pools.terms.push(PoolTerms { name: pool.name.clone(), debt: None, overcommit: Limit::default() });
            }
            // The document has been checked: whoever says more says the same.
            if let Some(terms) = pools.terms.get_mut(number) {
                terms.debt = terms.debt.or(pool.debt);
                if let Some(overcommit) = &pool.overcommit {
                    terms.overcommit = overcommit.units();
                }
            }
        }
        pools
    }

    pub(super) fn membership(&self, pool: Option<&policy::Pool>) -> Option<Membership> {
        let pool = pool?;
        Some(Membership { pool: *self.numbers.get(pool.name.as_str())?, may_borrow: pool.borrow })
    }
}
