//! The contracts, out of two places: `contracts` of `forebay.yaml`, and the policy document that its `policy` names.
//!
//! The policy comes first, because proxies go by the same document where there is no controller. A contract that stands in
//! both places is one contract: `forebay.yaml` may add what the policy leaves out, and what both say must be the same. A
//! contract that only `forebay.yaml` has inherits from the policy's resource, as one of the policy would. Which quantile
//! of the forecast shadow is bought for, only the policy says.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use forebay_plan::{Contract, Key, ReadyCapacity};
use forebay_protocol::policy::{self, Policy};

use super::ConfigError;
use super::file::{ContractPart, Problem, check_name, milli, problem};

/// Most contracts: at about 300 bytes of table per contract and proxy, 30 MB per proxy and push.
const MAX_CONTRACTS: usize = 100_000;

/// What came of both places.
#[derive(Debug, Default)]
pub(super) struct Contracts {
    /// With distinct keys.
    pub(super) contracts: Vec<Contract>,
    /// The quantile that shadow is bought for, of keys that have one of their own.
    pub(super) quantiles: BTreeMap<Key, f64>,
}

/// The policy document that the configuration names, checked.
#[derive(Debug)]
pub(super) struct Document {
    file: PathBuf,
    policy: Policy,
    /// Resources by name, as places in the document.
    resources: BTreeMap<String, usize>,
    /// Contracts by tenant and resource, likewise.
    contracts: BTreeMap<Key, usize>,
}

impl Document {
    /// Reads what `config` names; a relative path begins at the folder of `config`.
    pub(super) fn read(config: &Path, named: &Path) -> Result<Self, ConfigError> {
        let file = config.parent().unwrap_or(Path::new("")).join(named);
        let text = std::fs::read_to_string(&file).map_err(|source| ConfigError::ReadPolicy {
            file: config.to_owned(),
            policy: file.clone(),
            source,
        })?;
        let policy = crate::policy::read(&file, &text).map_err(|findings| ConfigError::Policy {
            file: config.to_owned(),
            policy: file.clone(),
            findings: crate::policy::lines(&file, &findings).trim_end().to_owned(),
        })?;
        let resources = policy.resources.iter().enumerate().map(|(place, one)| (one.name.clone(), place)).collect();
        let key = |one: &policy::Contract| Key::new(one.tenant.clone(), one.resource.clone());
        let contracts = policy.contracts.iter().enumerate().map(|(place, one)| (key(one), place)).collect();
        Ok(Self { file, policy, resources, contracts })
    }

    fn resource(&self, name: &str) -> Option<&policy::Resource> {
        self.policy.resources.get(*self.resources.get(name)?)
    }

    /// The contract of a key with what it inherits, and where it stands.
    fn contract(&self, key: &Key) -> Option<(Terms, String)> {
        let place = *self.contracts.get(key)?;
        let terms = Terms::of(self.policy.contracts.get(place)?, self.resource(&key.resource)?);
        Some((terms, self.at("contracts", place)))
    }

    fn at(&self, list: &str, place: usize) -> String {
        format!("{}: {list}[{place}]", self.file.display())
    }

    /// Whether the controller knows every pool that the document names.
    fn check_pools(&self, pools: &[ReadyCapacity]) -> Result<(), Problem> {
        let of_resources = self.policy.resources.iter().map(|one| one.pool.as_ref());
        for (place, pool) in of_resources.enumerate() {
            check_pool(&self.at("resources", place), pool.map(|pool| pool.name.as_str()), pools)?;
        }
        for (place, one) in self.policy.contracts.iter().enumerate() {
            check_pool(&self.at("contracts", place), one.pool.as_ref().map(|pool| pool.name.as_str()), pools)?;
        }
        Ok(())
    }
}

/// What is said of a contract; `None` is not said.
#[derive(Debug)]
struct Terms {
    rate_per_s: Option<f64>,
    burst: Option<u64>,
    shadow_max_per_s: Option<f64>,
    quantile: Option<f64>,
    pool: Option<String>,
    weight: Option<u32>,
}

impl Terms {
    /// Of a contract of the policy, with what it inherits.
    fn of(contract: &policy::Contract, resource: &policy::Resource) -> Self {
        let limit = contract.limit(resource);
        let shadow = contract.shadow(resource);
        Self {
            rate_per_s: limit.as_ref().map(|limit| limit.rate_per_s),
            burst: limit.map(|limit| limit.units().burst),
            shadow_max_per_s: shadow.and_then(|shadow| if shadow.enabled { shadow.max_per_s } else { Some(0.0) }),
            quantile: shadow.and_then(|shadow| shadow.quantile),
            pool: contract.pool(resource).map(|pool| pool.name.clone()),
            weight: contract.weight(resource),
        }
    }

    /// Of a contract that only `forebay.yaml` has, with what a resource of the policy lets it inherit.
    fn inheriting(self, key: &Key, resource: &policy::Resource) -> Self {
        let as_in_a_policy = policy::Contract {
            tenant: key.tenant.clone(),
            resource: key.resource.clone(),
            rate_per_s: self.rate_per_s,
            burst: self.burst,
            weight: self.weight,
            priority_class: None,
            pool: None,
            shadow: None,
        };
        let inherited = Self::of(&as_in_a_policy, resource);
        Self {
            shadow_max_per_s: self.shadow_max_per_s.or(inherited.shadow_max_per_s),
            pool: self.pool.or(inherited.pool),
            ..inherited
        }
    }

    /// Of a contract that stands `at` this place of `forebay.yaml` and `there` in the policy.
    fn agreeing(self, policy: Self, at: &str, there: &str) -> Result<Self, Problem> {
        let both = Both { at, there };
        Ok(Self {
            rate_per_s: both.agree("rate_per_s", self.rate_per_s, policy.rate_per_s)?,
            burst: both.agree("burst", self.burst, policy.burst)?,
            shadow_max_per_s: both.agree("shadow_max_per_s", self.shadow_max_per_s, policy.shadow_max_per_s)?,
            quantile: policy.quantile,
            pool: both.agree("pool", self.pool, policy.pool)?,
            weight: both.agree("weight", self.weight, policy.weight)?,
        })
    }

    fn contract(self, key: Key, at: &str) -> Result<Contract, Problem> {
        let rate_per_s = self.rate_per_s.ok_or_else(|| {
            let remedy = "give units per second here, or a contract in the policy";
            problem(format!("{at}.rate_per_s"), format!("{key} has no rate"), remedy)
        })?;
        let rate_milli_per_s = milli(format!("{at}.rate_per_s"), rate_per_s)?;
        let shadow_max = self.shadow_max_per_s.map(|rate| milli(format!("{at}.shadow_max_per_s"), rate));
        let weight = self.weight.unwrap_or(1);
        if weight == 0 {
            return Err(problem(format!("{at}.weight"), "0 is no weight", "choose 1 or more"));
        }
        Ok(Contract {
            key,
            rate_milli_per_s,
            // One second of the rate, and at least one whole unit.
            burst: self.burst.unwrap_or_else(|| rate_milli_per_s.div_ceil(1000).max(1)),
            shadow_max_milli_per_s: shadow_max.transpose()?.unwrap_or(rate_milli_per_s),
            pool: self.pool,
            weight,
        })
    }
}

/// The two places of one contract.
struct Both<'a> {
    at: &'a str,
    there: &'a str,
}

impl Both<'_> {
    fn agree<T: PartialEq + Display>(
        &self,
        field: &str,
        here: Option<T>,
        policy: Option<T>,
    ) -> Result<Option<T>, Problem> {
        match (here, policy) {
            (Some(here), Some(policy)) if here != policy => {
                let reason = format!("{here} here, but {policy} by {}", self.there);
                let remedy = "leave it out here, or say the same in both";
                Err(problem(format!("{}.{field}", self.at), reason, remedy))
            }
            (here, policy) => Ok(here.or(policy)),
        }
    }
}

impl Contracts {
    /// Those of `forebay.yaml`, then those that only the policy has, each in the order of its file.
    pub(super) fn of(
        parts: Vec<ContractPart>,
        document: Option<&Document>,
        pools: &[ReadyCapacity],
    ) -> Result<Self, Problem> {
        let mut all = Self::default();
        let mut seen = BTreeMap::new();
        for (i, part) in parts.into_iter().enumerate() {
            let at = format!("contracts[{i}]");
            check_pool(&at, part.pool.as_deref(), pools)?;
            let key = Key::new(part.tenant, part.resource);
            if let Some(first) = seen.insert(key.clone(), i) {
                let reason = format!("{key} has a contract in contracts[{first}] already");
                return Err(problem(at, reason, "leave one of the two out"));
            }
            let own = Terms {
                rate_per_s: part.rate_per_s,
                burst: part.burst,
                shadow_max_per_s: part.shadow_max_per_s,
                quantile: None,
                pool: part.pool,
                weight: part.weight,
            };
            let inherited = document.and_then(|document| document.resource(&key.resource));
            let terms = match (document.and_then(|document| document.contract(&key)), inherited) {
                (Some((theirs, there)), _) => own.agreeing(theirs, &at, &there)?,
                (None, Some(resource)) => own.inheriting(&key, resource),
                (None, None) => own,
            };
            all.add(key, terms, &at)?;
        }
        if let Some(document) = document {
            document.check_pools(pools)?;
            for one in &document.policy.contracts {
                let key = Key::new(one.tenant.clone(), one.resource.clone());
                if let Some((terms, at)) = document.contract(&key).filter(|_| !seen.contains_key(&key)) {
                    all.add(key, terms, &at)?;
                }
            }
        }
        let count = all.contracts.len();
        if count > MAX_CONTRACTS {
            let reason = format!("{count} contracts, at most {MAX_CONTRACTS} are possible");
            return Err(problem("contracts", reason, "run several controllers, each with part of them"));
        }
        Ok(all)
    }

    fn add(&mut self, key: Key, terms: Terms, at: &str) -> Result<(), Problem> {
        check_name(format!("{at}.tenant"), &key.tenant)?;
        check_name(format!("{at}.resource"), &key.resource)?;
        if key.resource.contains('/') {
            let reason = format!("{:?} holds a slash", key.resource);
            let remedy = "keys are written TENANT/RESOURCE; leave the slash out";
            return Err(problem(format!("{at}.resource"), reason, remedy));
        }
        if let Some(quantile) = terms.quantile {
            self.quantiles.insert(key.clone(), quantile);
        }
        self.contracts.push(terms.contract(key, at)?);
        Ok(())
    }
}

fn check_pool(at: &str, pool: Option<&str>, pools: &[ReadyCapacity]) -> Result<(), Problem> {
    match pool.filter(|pool| !pools.iter().any(|known| known.name == *pool)) {
        Some(pool) => {
            let reason = format!("no pool is called {pool:?}");
            Err(problem(format!("{at}.pool"), reason, "declare it under pools, or leave the field out"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
