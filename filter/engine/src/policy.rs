//! The policy, compiled once: from a checked document to a table that a request is looked up in.
//!
//! A request costs the facts that its rule needs and nothing else: a policy whose only rule has no condition reads the
//! tenant's header. Neither the number of tenants nor that of rules changes the cost of a lookup ([`matching`], [`paths`]);
//! [`Work`] counts it, for tests.
//!
//! The order in which a request is looked at: exempt paths; its rule; whether it is charged at this proxy ([`place`]);
//! who it is ([`Identity`]); what it costs. What the document says about queues, answers and settlement is carried here
//! for those that do it.

mod cost;
mod exempt;
pub mod facts;
mod identity;
mod matching;
pub mod paths;
pub mod place;
mod pools;
pub mod telling;
pub mod terms;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

use forebay_admission::{Limit, Membership};
use forebay_protocol::policy::{
    Code, EnforceAt, Finding, Match, OnFailure, Policy, Queue, Settings, Uncontracted, Unidentified,
};
use hashbrown::HashMap;

pub use cost::Cost;
use exempt::Exempt;
use facts::{Facts, Origins, Store};
pub use forebay_protocol::policy::Tags;
use identity::Reader;
use matching::Matcher;
pub use pools::PoolTerms;
use pools::Pools;
use telling::{Attribute, Provenance};
use terms::Terms;

use crate::answer;
use crate::guard;
use crate::host::Host;
use crate::provenance::Label;

/// Most different headers and properties that a policy may name.
pub const MAX_FACTS: usize = 1_024;

/// How much a lookup looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Hosts and suffixes looked up.
    pub hosts: u32,
    /// Nodes of path trees visited.
    pub nodes: u32,
    /// Rules whose further conditions were tried.
    pub candidates: u32,
}

/// A policy in force.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    /// What is limited.
    pub resources: Vec<Resource>,
    /// Limits of tenants with contracts, until the controller's grants arrive.
    pub contracts: Vec<Contract>,
    /// Capacities whose idle reservations are lent.
    pub pools: Vec<PoolTerms>,
    /// What admitted requests are marked with.
    pub tags: Tags,
    /// What contracts say beside limits.
    pub terms: Terms,
    /// To whom decisions are explained; `None`: to nobody.
    pub provenance: Option<Provenance>,
    /// What requests are counted by.
    pub attributes: Vec<Attribute>,
    /// How upstreams are guarded; `None`: they are not.
    pub guard: Option<guard::Settings>,
    rules: Vec<Rule>,
    matcher: Matcher,
    exempt: Exempt,
    origins: Origins,
}

/// A resource and the limit of everybody without contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// What one unit is, for people.
    pub unit: Option<String>,
    /// The bucket of everybody without contract.
    pub others: Limit,
    /// Whether each tenant without contract has such a bucket of its own.
    pub each: bool,
    /// The pool of its keys, where a contract names no other.
    pub pool: Option<Membership>,
}

/// A tenant's standard limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// The tenant.
    pub tenant: String,
    /// Number of the resource.
    pub resource: usize,
    /// Rate and burst.
    pub limit: Limit,
    /// The pool that it belongs to.
    pub pool: Option<Membership>,
}

/// What holds for the requests of one rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its number in the policy.
    pub number: usize,
    /// Its name in metrics and logs.
    pub name: String,
    /// The same, as it is written into provenance.
    pub label: Label,
    /// What is taken, all or nothing; at most [`forebay_admission::MAX_CHARGES`], each of another resource.
    pub charges: Vec<Charge>,
    /// What becomes of a request without tenant.
    pub unidentified: Unidentified,
    /// Which of several proxies charges.
    pub enforce_at: EnforceAt,
    /// What becomes of a request that cannot be decided.
    pub on_failure: OnFailure,
    /// Refuses nothing.
    pub dry_run: bool,
    /// Its requests are no demand.
    pub hostile: bool,
    /// Order in queues, 0 (first) to 7.
    pub priority_class: u8,
    /// How requests wait; `None`: they do not.
    pub queue: Option<Queue>,
    /// What clients are told.
    pub answer: answer::Settings,
    readers: Vec<Reader>,
}

/// A resource that is taken from.
#[derive(Clone, Debug)]
pub struct Charge {
    /// Number of the resource.
    pub resource: usize,
    /// How much.
    pub cost: Cost,
}

/// Who a request is charged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity<R> {
    /// What the caller made of the tenant's name.
    Tenant(R),
    /// Nobody: the limit of those without contract.
    Others,
    /// Exempt, or admitted uncounted.
    Free,
    /// Refused for want of a tenant.
    Missing,
    /// The host does not say; the rule's `on_failure` decides.
    Undecided,
}

impl CompiledPolicy {
    /// Compiles a document.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(policy: &Policy) -> Result<Self, Vec<Finding>> {
        policy.check()?;
        let numbers: HashMap<&str, usize> =
            policy.resources.iter().enumerate().map(|(number, one)| (one.name.as_str(), number)).collect();
        let pools = Pools::collect(policy);
        let resource = |one: &forebay_protocol::policy::Resource| Resource {
            name: one.name.clone(),
            unit: one.unit.clone(),
            others: one.others.units(),
            each: one.uncontracted == Uncontracted::Each,
            pool: pools.membership(one.pool.as_ref()),
        };
        let contracts = policy.contracts.iter().filter_map(|contract| {
            let number = *numbers.get(contract.resource.as_str())?;
            let resource = policy.resources.get(number)?;
            let limit = contract.limit(resource)?.units();
            let pool = pools.membership(contract.pool(resource));
            Some(Contract { tenant: contract.tenant.clone(), resource: number, limit, pool })
        });
        let mut origins = Origins::default();
        let documents = policy.rules_in_force();
        let mut rules = Vec::with_capacity(documents.len());
        for (number, rule) in documents.iter().enumerate() {
            // The document has been checked, so that this names a gap between the check and the compiler.
            let broken = |reason: &str| broken(&format!("rules[{number}]"), reason);
            let settings = policy.settings(rule);
            let template = matching::template(&rule.matches).map_err(broken)?.unwrap_or_default();
            let readers: Option<Vec<_>> =
                settings.identity.iter().map(|source| Reader::compile(source, &template, &mut origins)).collect();
            let charges = policy.charges(rule);
            let charges = charges.iter().map(|charge| {
                let resource = *numbers.get(charge.resource.as_str()).ok_or("there is no such resource")?;
                Ok(Charge { resource, cost: Cost::compile(&charge.cost, &mut origins)? })
            });
            let charges = charges.collect::<Result<_, _>>().map_err(broken)?;
            let readers = readers.ok_or_else(|| broken("its path has no such parameter"))?;
            let name = rule.name.clone().unwrap_or_else(|| format!("rule-{number}"));
            rules.push(Rule::new(number, name, charges, readers, settings));
            if origins.len() > MAX_FACTS {
                return Err(too_many_facts());
            }
        }
        let matches: Vec<&Match> = documents.iter().map(|rule| &rule.matches).collect();
        let matcher = Matcher::compile(&matches, &mut origins).map_err(|reason| broken("rules", reason))?;
        let exempt = Exempt::compile(&policy.exempt, &mut origins).map_err(|reason| broken("exempt", reason))?;
        let attributes = policy.attributes.iter().map(|one| Attribute::compile(one, &mut origins)).collect();
        if origins.len() > MAX_FACTS {
            return Err(too_many_facts());
        }
        Ok(Self {
            resources: policy.resources.iter().map(resource).collect(),
            contracts: contracts.collect(),
            pools: pools.terms,
            tags: policy.tags,
            terms: Terms::compile(policy),
            provenance: Provenance::compile(policy),
            attributes,
            guard: guard::Settings::compile(&policy.guard),
            rules,
            matcher,
            exempt,
            origins,
        })
    }

    /// A request's facts; `store` is the worker's.
    pub fn facts<'a, H: Host>(&'a self, store: &'a mut Store, host: &'a mut H) -> Facts<'a, H> {
        Facts::new(&self.origins, store, host)
    }

    /// The same request's facts once more: what was read stays read.
    pub fn facts_again<'a, H: Host>(&'a self, store: &'a mut Store, host: &'a mut H) -> Facts<'a, H> {
        Facts::resumed(&self.origins, store, host)
    }

    /// All rules, by number.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether the request's path is exempt whoever sends it.
    pub fn exempt_path<H: Host>(&self, facts: &mut Facts<'_, H>) -> bool {
        self.exempt.is_path(facts)
    }

    /// The request's rule; `None` when it is not limited.
    pub fn rule<H: Host>(&self, facts: &mut Facts<'_, H>, work: &mut Work) -> Option<&Rule> {
        self.rules.get(self.matcher.find(facts, work)?)
    }

    /// The rule with this [`Rule::number`].
    pub fn rule_of_number(&self, number: usize) -> Option<&Rule> {
        self.rules.get(number)
    }

    /// Who the request is charged to. The first source that names somebody counts; a source that cannot be read ends the
    /// search, because a less trusted one must not stand in for it.
    pub fn identify<H: Host, R>(
        &self,
        rule: &Rule,
        facts: &mut Facts<'_, H>,
        mut use_name: impl FnMut(&[u8]) -> R,
    ) -> Identity<R> {
        for reader in &rule.readers {
            match reader.read(facts, &mut use_name) {
                Ok(Some(tenant)) => return Identity::Tenant(tenant),
                Ok(None) => {}
                Err(crate::host::Unreadable) => return Identity::Undecided,
            }
        }
        if self.exempt.is_probe_or_preflight(facts) {
            return Identity::Free;
        }
        match rule.unidentified {
            Unidentified::Others => Identity::Others,
            Unidentified::Admit => Identity::Free,
            Unidentified::Refuse => Identity::Missing,
        }
    }

    /// How requests wait, of each rule that lets them.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.rules.iter().filter_map(|rule| rule.queue.as_ref())
    }

    /// The first setting that needs streams to be followed to their end: its path in the policy, and what it is.
    pub fn needs_streams(&self) -> Option<(String, &'static str)> {
        let waits = |rule: &Rule| rule.queue.as_ref().is_some_and(|queue| queue.max_wait_ms > 0);
        let settled = |charge: &Charge| matches!(charge.cost, Cost::Settled { .. });
        for (number, rule) in self.rules.iter().enumerate() {
            if waits(rule) {
                return Some((format!("rules[{number}].queue"), "waiting in a queue"));
            }
            if rule.answer.on_admitted {
                return Some((format!("rules[{number}].answer.headers"), "rate limit fields on every response"));
            }
            if let Some(charge) = rule.charges.iter().position(settled) {
                let path = format!("rules[{number}].charges[{charge}].cost.settled");
                return Some((path, "settling a cost after the response"));
            }
        }
        if self.guard.is_some() {
            return Some(("guard".to_string(), "the guard of upstream concurrency"));
        }
        let debugs = self.provenance.as_ref().is_some_and(|told| !told.gate.is_closed());
        debugs.then(|| ("debug".to_string(), "the debug header"))
    }

    /// Where a rule looks for the tenant first, for people.
    pub fn first_source(&self, rule: &Rule) -> &str {
        rule.readers.first().map_or("", |reader| reader.name(&self.origins))
    }
}

impl Rule {
    fn new(number: usize, name: String, charges: Vec<Charge>, readers: Vec<Reader>, settings: Settings) -> Self {
        Self {
            number,
            label: Label::plain(&name),
            name,
            charges,
            readers,
            unidentified: settings.unidentified,
            enforce_at: settings.enforce_at,
            on_failure: settings.on_failure,
            dry_run: settings.dry_run,
            hostile: settings.hostile,
            priority_class: settings.priority_class,
            queue: settings.queue,
            answer: telling::answers(&settings.answer),
        }
    }
}

fn broken(path: &str, reason: &str) -> Vec<Finding> {
    let remedy = "report this: the check should have found it".to_string();
    vec![Finding { code: Code::SHAPE, path: path.to_string(), reason: reason.to_string(), remedy }]
}

fn too_many_facts() -> Vec<Finding> {
    let reason = format!("the rules name more than {MAX_FACTS} different headers and claims");
    vec![Finding { code: Code::COUNT, path: "rules".to_string(), reason, remedy: "name fewer".to_string() }]
}
