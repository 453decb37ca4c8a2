//! Capacity as declared in the configuration: a fixed fleet that somebody else runs.

use std::collections::BTreeMap;

use forebay_plan::ReadyCapacity;

use crate::ProvisionError;

/// Capacity that is always ready and never changes.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    ready_milli_per_s: BTreeMap<String, u64>,
}

impl Declared {
    /// These pools of contracts; of two with one name, the later counts.
    pub fn new(pools: impl IntoIterator<Item = ReadyCapacity>) -> Self {
        Self { ready_milli_per_s: pools.into_iter().map(|pool| (pool.name, pool.ready_milli_per_s)).collect() }
    }

    /// What is ready in `pool`.
    ///
    /// # Errors
    /// [`ProvisionError::UnknownPool`]; the pool then lends nothing.
    pub fn ready_capacity(&self, pool: &str) -> Result<ReadyCapacity, ProvisionError> {
        match self.ready_milli_per_s.get(pool) {
            Some(&ready_milli_per_s) => Ok(ReadyCapacity { name: pool.to_owned(), ready_milli_per_s }),
            None => Err(ProvisionError::UnknownPool { pool: pool.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_capacity_is_ready_and_unknown_pools_are_errors() {
        let declared = Declared::new([ReadyCapacity { name: "default".to_owned(), ready_milli_per_s: 5 }]);
        assert_eq!(declared.ready_capacity("default").map(|pool| pool.ready_milli_per_s), Ok(5));
        let unknown = ProvisionError::UnknownPool { pool: "gpu".to_owned() };
        assert_eq!(declared.ready_capacity("gpu"), Err(unknown));
    }
}
