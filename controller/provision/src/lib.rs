//! Capacity behind one trait: what is ready to serve, by pool.
//!
//! The planning loop asks an [`InstanceManager`] how much of a pool is ready before it lends any of it. The one manager
//! here, [`Declared`], answers with what the configuration declares: an operator who runs a fixed fleet needs nothing
//! else. Managers that start, warm and stop instances come behind the same trait.
//!
//! Invariant: an answer is capacity that is ready now, never capacity that was only ordered.

use std::collections::BTreeMap;

use forebay_plan::Pool;

/// Why a pool's capacity is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// The manager has no pool of this name.
    #[error("ask for ready capacity: no pool {pool:?} is declared")]
    UnknownPool {
        /// The name that was asked for.
        pool: String,
    },
}

/// Knows what capacity a pool has ready.
pub trait InstanceManager: Send + Sync {
    /// What is ready in `pool` now.
    ///
    /// # Errors
    /// [`ProvisionError`] when the manager cannot say; the pool then lends nothing.
    fn ready_capacity(&self, pool: &str) -> Result<Pool, ProvisionError>;
}

/// Capacity as declared in the configuration: always ready, never changing.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    ready_milli_per_s: BTreeMap<String, u64>,
}

impl Declared {
    /// A manager of these pools; of two with one name, the later counts.
    pub fn new(pools: impl IntoIterator<Item = Pool>) -> Self {
        Self { ready_milli_per_s: pools.into_iter().map(|pool| (pool.name, pool.ready_milli_per_s)).collect() }
    }
}

impl InstanceManager for Declared {
    fn ready_capacity(&self, pool: &str) -> Result<Pool, ProvisionError> {
        match self.ready_milli_per_s.get(pool) {
            Some(&ready_milli_per_s) => Ok(Pool { name: pool.to_owned(), ready_milli_per_s }),
            None => Err(ProvisionError::UnknownPool { pool: pool.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_capacity_is_ready_and_unknown_pools_are_errors() {
        let declared = Declared::new([Pool { name: "default".to_owned(), ready_milli_per_s: 5 }]);
        assert_eq!(declared.ready_capacity("default").map(|pool| pool.ready_milli_per_s), Ok(5));
        let unknown = ProvisionError::UnknownPool { pool: "gpu".to_owned() };
        assert_eq!(declared.ready_capacity("gpu"), Err(unknown));
    }
}
