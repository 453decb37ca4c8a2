//! Settings beside limits: what is exempt, how requests wait, what is told and tagged, what else is watched.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Limit;

/// The capacity behind a resource or a contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The pool's name, as the controller knows it.
    pub name: String,
    /// Whether requests may use what others reserved and do not use now. Tenants without contract with a bucket each
    /// never do.
    #[serde(default)]
    pub borrow: bool,
    /// Units that each proxy lends at most at one moment of what owners may ask for at the next. Default: one second of
    /// what is reserved on the proxy, at its highest. A pool that is named in several places says it once.
    pub debt: Option<u64>,
    /// What each proxy lends on top, without any reservation behind it: best effort. Default: nothing.
    pub overcommit: Option<Limit>,
}

/// What the forecast may pre-allocate for a contract, in all proxies together. The controller carries it out, when its
/// `policy` names this document: proxies take the slots that they are granted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Shadow {
    /// `false`: nothing is pre-allocated; no slot is granted, so proxies have none to look at.
    pub enabled: bool,
    /// Units per second at most. Default: the standard rate.
    pub max_per_s: Option<f64>,
    /// The quantile of the forecast that is covered. Default: the controller's `forecast.quantile`.
    pub quantile: Option<f64>,
}

impl Default for Shadow {
    fn default() -> Self {
        Self { enabled: true, max_per_s: None, quantile: None }
    }
}

/// Waiting for tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Milliseconds that a request waits at most; a client's own deadline only shortens it. 0: it does not wait.
    pub max_wait_ms: u32,
    /// Requests that wait at most.
    pub max_waiting: Waiting,
    /// Bytes of bodies of all waiting requests of a VM.
    pub max_bytes: u64,
    /// Whether requests with bodies may wait too. Two paused uploads can stall a whole HTTP/2 connection.
    pub bodies: bool,
    /// When the shortest wait stays above so many milliseconds, requests are dropped (CoDel). 0 switches it off.
    pub codel_target_ms: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            max_wait_ms: 1_000,
            max_waiting: Waiting::default(),
            max_bytes: 4 << 20,
            bodies: false,
            codel_target_ms: 50,
        }
    }
}

/// Bounds of a queue, in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Waiting {
    /// In one VM, that is one worker of a proxy.
    pub per_vm: u32,
    /// Of one tenant, in one VM.
    pub per_tenant: u32,
    /// Of one connection.
    pub per_connection: u32,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { per_vm: 1_000, per_tenant: 100, per_connection: 20 }
    }
}

/// What a refused client is told. A setting that is left out is the filter's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// Rate limit fields. Left out: those of `draft-10` on refusals. When named: on every response to a limited request,
    /// at one look at shared data per charge.
    pub headers: Option<RateLimitHeaders>,
    /// Up to so many seconds are added to `retry-after`, at random, against retry storms. Left out: up to a quarter of the
    /// wait, at least 1 and at most 60 seconds.
    pub retry_jitter_s: Option<u32>,
    /// Whether there is a body of `application/problem+json`.
    pub problem_details: Option<bool>,
    /// The HTTP status, 400 to 599. 503 makes meshes retry. A request that names no tenant where it must gets 400 whatever
    /// stands here: that is no matter of quota.
    pub status: Option<u16>,
}

/// Syntax of rate limit fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RateLimitHeaders {
    /// None.
    #[serde(rename = "off")]
    Off,
    /// `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10.
    #[serde(rename = "draft-10")]
    Draft10,
    /// `x-ratelimit-limit`, `-remaining`, `-reset`.
    #[serde(rename = "legacy")]
    Legacy,
}

/// Requests that are not limited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Exempt {
    /// Health probes of Kubernetes, Google and AWS load balancers and Envoy, by user agent, that name no tenant.
    pub probes: bool,
    /// CORS preflights that name no tenant.
    pub preflights: bool,
    /// Path templates, whatever tenant is named; at most 64.
    pub paths: Vec<String>,
    /// User agents that begin so and name no tenant; at most 64.
    pub user_agents: Vec<String>,
}

impl Default for Exempt {
    fn default() -> Self {
        Self { probes: true, preflights: true, paths: Vec::new(), user_agents: Vec::new() }
    }
}

/// What admitted requests are marked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Tags {
    /// `x-forebay-lane`. Without it, a client's own copy of the header passes too.
    pub lane: bool,
    /// `priority` (RFC 9218) of the reserved lane, unless the client sent its own.
    pub priority: bool,
}

impl Default for Tags {
    fn default() -> Self {
        Self { lane: true, priority: true }
    }
}

/// Something that requests are counted by, beside tenant and resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Its name in reports: `region`, `client_version`, `account_type`.
    pub name: String,
    /// The request header with the value.
    pub header: String,
    /// The values that are told apart, at most 64; every other one counts as `other`.
    pub values: Vec<String>,
}

/// Who may see a decision's provenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Debug {
    /// Whoever sends this in `x-forebay-debug` gets the decision's provenance in the response header of that name. At least
    /// 16 bytes.
    pub token: Option<String>,
    /// Whoever sends a token that was signed with this, and has not expired, gets it too. At least 16 bytes.
    pub signing_secret: Option<String>,
}

/// Why requests were treated as they were, for access logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    /// Whether each decision is written into filter state, which access logs read as
    /// `%FILTER_STATE(wasm.forebay:PLAIN)%`.
    pub filter_state: bool,
    /// Names tenants by a hash with this key, here and in the debug header. At least 16 bytes.
    pub hash_keys_with: Option<String>,
}

/// A guard of upstream concurrency, which refuses the lowest lane first: a limit of requests in flight for each upstream
/// cluster, found by the latency of its answers, from the request to the answer's headers. It holds for requests that a
/// rule limits and admits; a refusal takes nothing from any bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// How the limit is found.
    pub mode: GuardMode,
    /// Requests at once and per upstream cluster, which the limit never falls below; where `max_concurrency` is smaller,
    /// that.
    pub min_concurrency: u32,
    /// Requests at once and per upstream cluster, which the limit never exceeds; at most 10000.
    pub max_concurrency: u32,
    /// `codel`: milliseconds within which the fastest answer of each second must come.
    pub target_ms: Option<u32>,
    /// `true` counts what would be refused, and refuses nothing.
    pub dry_run: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Self { mode: GuardMode::Off, min_concurrency: 20, max_concurrency: 1_000, target_ms: None, dry_run: false }
    }
}

/// How a concurrency limit is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum GuardMode {
    /// There is none.
    #[default]
    Off,
    /// By the gradient of latency: the mean of a second against its own slow average.
    Gradient,
    /// By the standing queue: the fastest answer of a second against `target_ms`.
    Codel,
}
