//! The policy document: which requests are charged to whom, for what, how much, and what happens then.
//!
//! One document, in YAML or JSON, read by the filter and the daemon alike. Everything has a default but the limit of
//! those without contract, so this is a whole policy:
//!
//! ```yaml
//! resources:
//!   - name: requests
//!     others: { rate_per_s: 10, burst: 20 }
//! ```
//!
//! **Inheritance.** What a rule does not say, the document says (the fields of the same name); what neither says, the
//! default. What a contract does not say, its resource's `contract` says, and of `pool` and `shadow` the resource itself;
//! these two are inherited whole.
//!
//! **Which rule.** Exactly one, the most specific: first by host (exact, then the longest `*.suffix`, then any), then by
//! path, segment by segment (literal, then `{name}` or `*`, then `**`), then by the number of further conditions
//! (methods, source networks, each header), then by the order in the document. Its charges are taken all or none. A
//! request that no rule matches is not limited.
//!
//! A wrong document is refused whole ([`Policy::check`]): every [`Finding`] has a code, a path, a reason and a remedy.
//! The filter carries all of it out, except that what the forecast may pre-allocate ([`Shadow`]) is the controller's work.
//!
//! It holds no behaviour: matching is the engine's.

mod check;
mod cost;
mod finding;
mod identity;
mod matching;
pub mod network;
pub mod path;
mod rule;
mod settings;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use check::{MAX_ENTRIES, MAX_TABLE_ROWS};
pub use cost::{
    ContentLengthCost, Cost, HeaderCost, MAX_USAGE_FIELDS, MAX_USAGE_SEGMENTS, Settled, Table, TableRow, TrueCost,
    Usage, UsageFormat,
};
pub use finding::{Code, Finding, MAX_FINDINGS};
pub use identity::{ApiKey, Certificate, JwtClaim, Source, Unidentified};
pub use matching::{Grpc, HeaderMatch, Match};
pub use rule::{Charge, EnforceAt, OnFailure, Rule, Settings};
pub use settings::{
    Answer, Attribute, Debug, Exempt, Guard, GuardMode, Pool, Provenance, Queue, RateLimitHeaders, Shadow, Tags,
    Waiting,
};

/// The version of the document that this build reads.
pub const VERSION: u32 = 1;

/// Most resources in a document. With 10,000 contracted tenants the table of keys takes 64 x 4 bytes per tenant, 2.5 MiB.
pub const MAX_RESOURCES: usize = 64;

/// Most rules in a document: at about 300 bytes each, 1.2 MiB per VM.
pub const MAX_RULES: usize = 4_096;

/// Most contracts in a document; larger sets come from the controller.
pub const MAX_CONTRACTS: usize = 10_000;

/// Longest tenant or resource name in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// A policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of this document's format: 1.
    #[serde(default = "version")]
    pub version: u32,
    /// A name for people.
    pub name: Option<String>,
    /// What is limited.
    pub resources: Vec<Resource>,
    /// Which requests are charged to what. Without any, every request is charged one unit of the only resource.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Tenants with limits of their own.
    #[serde(default)]
    pub contracts: Vec<Contract>,
    /// Where the tenant is read from, the most trusted source first. Default: the header `x-tenant`.
    pub identity: Option<Vec<Source>>,
    /// What becomes of a request that names no tenant. Default: `others`.
    pub unidentified: Option<Unidentified>,
    /// At which of several proxies a request is charged. Default: `first`.
    pub enforce_at: Option<EnforceAt>,
    /// What becomes of a request that cannot be decided. Default: `closed`.
    pub on_failure: Option<OnFailure>,
    /// Order in queues between classes, 0 (first) to 7.
    pub priority_class: Option<u8>,
    /// Whether and how long requests wait for tokens.
    pub queue: Option<Queue>,
    /// What a refused client is told.
    pub answer: Option<Answer>,
    /// `true` counts and tags, but refuses nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Requests that are not limited.
    #[serde(default)]
    pub exempt: Exempt,
    /// What admitted requests are marked with.
    #[serde(default)]
    pub tags: Tags,
    /// What of each request is counted beside tenant and resource.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// Who may see a decision's provenance.
    pub debug: Option<Debug>,
    /// What access logs are told of decisions.
    #[serde(default)]
    pub provenance: Provenance,
    /// The guard of upstream concurrency.
    #[serde(default)]
    pub guard: Guard,
}

fn version() -> u32 {
    VERSION
}

/// A named kind of capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The name, unique in the document.
    pub name: String,
    /// What one unit is, for people: `request`, `byte`, `token`.
    pub unit: Option<String>,
    /// The limit of tenants without contract.
    pub others: Limit,
    /// Whether tenants without contract share that limit or have it each. Default: `shared`.
    #[serde(default)]
    pub uncontracted: Uncontracted,
    /// What contracts of this resource inherit.
    #[serde(default)]
    pub contract: ContractDefaults,
    /// The capacity behind it.
    pub pool: Option<Pool>,
    /// What the forecast may pre-allocate.
    pub shadow: Option<Shadow>,
}

/// Whose the limit `others` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Uncontracted {
    /// One bucket for all of them.
    #[default]
    Shared,
    /// A bucket for each of them.
    Each,
}

/// A token bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Units per second.
    pub rate_per_s: f64,
    /// Units that may come at once. Default: one second of the rate, rounded up.
    pub burst: Option<u64>,
}

impl Limit {
    /// The same for buckets, to the nearest thousandth of a unit per second; of a checked document nothing is cut.
    pub fn units(&self) -> forebay_admission::Limit {
        // Values out of range saturate; `check` refuses them.
        let rate = forebay_admission::Rate::from_milli_per_s((self.rate_per_s * 1_000.0 + 0.5) as u64);
        let burst = self.burst.unwrap_or_else(|| rate.milli_per_s().div_ceil(1_000));
        forebay_admission::Limit::new(rate, burst)
    }
}

/// A tenant's own terms for a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The tenant, as its source of identity names it.
    pub tenant: String,
    /// The resource.
    pub resource: String,
    /// Units per second.
    pub rate_per_s: Option<f64>,
    /// Units that may come at once. Default: one second of the rate, rounded up.
    pub burst: Option<u64>,
    /// Share against other tenants of the same class when something is short.
    pub weight: Option<u32>,
    /// Order in queues, instead of the rule's.
    pub priority_class: Option<u8>,
    /// The capacity behind it, instead of the resource's.
    pub pool: Option<Pool>,
    /// What the forecast may pre-allocate, instead of the resource's.
    pub shadow: Option<Shadow>,
}

/// What contracts inherit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ContractDefaults {
    /// Units per second.
    pub rate_per_s: Option<f64>,
    /// Units that may come at once.
    pub burst: Option<u64>,
    /// Share against other tenants of the same class when something is short.
    pub weight: Option<u32>,
    /// Order in queues, instead of the rule's.
    pub priority_class: Option<u8>,
}

impl Contract {
    /// The limit, with what `resource` lets it inherit; `None` when neither names a rate.
    pub fn limit(&self, resource: &Resource) -> Option<Limit> {
        let own = self.rate_per_s.is_some();
        let rate_per_s = self.rate_per_s.or(resource.contract.rate_per_s)?;
        // A burst belongs to its rate: a contract with a rate of its own does not inherit the burst of another one.
        let inherited = if own { None } else { resource.contract.burst };
        Some(Limit { rate_per_s, burst: self.burst.or(inherited) })
    }

    /// The capacity behind it, its own or that of `resource`.
    pub fn pool<'a>(&'a self, resource: &'a Resource) -> Option<&'a Pool> {
        self.pool.as_ref().or(resource.pool.as_ref())
    }

    /// What the forecast may pre-allocate, by itself or by `resource`; `None` when neither says anything.
    pub fn shadow<'a>(&'a self, resource: &'a Resource) -> Option<&'a Shadow> {
        self.shadow.as_ref().or(resource.shadow.as_ref())
    }

    /// Its share when something is short, its own or what `resource` lets it inherit; `None` when neither says.
    pub fn weight(&self, resource: &Resource) -> Option<u32> {
        self.weight.or(resource.contract.weight)
    }
}
