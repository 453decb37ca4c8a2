//! What contracts say beside limits: weights and priority classes, by tenant and resource.

use alloc::boxed::Box;
use alloc::vec::Vec;

use forebay_protocol::OTHERS;
use forebay_protocol::policy::Policy;
use hashbrown::HashMap;

/// What a tenant has of a resource beside its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Share against other tenants of the same class, at least 1.
    pub weight: u32,
    /// Order in queues, 0 (first) to 7; `None`: the rule's.
    pub priority_class: Option<u8>,
}

impl Term {
    /// Of everybody without contract.
    pub const OTHERS: Self = Self { weight: 1, priority_class: None };
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Terms(Vec<OfResource>);

#[derive(Clone, Debug)]
struct OfResource {
    name: Box<str>,
    /// Of contracts that say nothing, those that only the controller knows included.
    default: Term,
    own: HashMap<Box<str>, Term>,
}

impl Terms {
    pub(super) fn compile(policy: &Policy) -> Self {
        let resources = policy.resources.iter().map(|resource| {
            let inherited = &resource.contract;
            let default =
                Term { weight: inherited.weight.unwrap_or(1).max(1), priority_class: inherited.priority_class };
            let of_this = policy.contracts.iter().filter(|contract| contract.resource == resource.name);
            let says = of_this.filter(|contract| contract.weight.is_some() || contract.priority_class.is_some());
            let own = says.map(|contract| {
                let weight = contract.weight(resource).unwrap_or(1).max(1);
                let priority_class = contract.priority_class.or(default.priority_class);
                (contract.tenant.as_str().into(), Term { weight, priority_class })
            });
            OfResource { name: resource.name.as_str().into(), default, own: own.collect() }
        });
        Self(resources.collect())
    }

    /// Of a key's tenant (or [`OTHERS`]) and resource.
    pub fn of(&self, tenant: &str, resource: &str) -> Term {
        match self.0.iter().find(|one| &*one.name == resource) {
            Some(found) if tenant != OTHERS => found.own.get(tenant).copied().unwrap_or(found.default),
            _ => Term::OTHERS,
        }
    }
}
