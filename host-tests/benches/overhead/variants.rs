//! What is compared: five HTTP filter chains, and the one policy that both rate limiters carry out.
//!
//! The policy is the committed `forebay.json`, a plugin configuration like any user's. `local_ratelimit` gets the same
//! bucket per tenant from it. The buckets are those of a busy tenant, not infinite: Forebay leases 2 % of a burst at a
//! time, so an absurdly deep bucket would hide what drawing leases costs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use forebay_host_tests::artefacts::Artefacts;
use forebay_host_tests::filters::{self, TokenBucket};
use serde::Deserialize;
use serde_json::{Value, json};

/// The committed plugin configuration.
const FOREBAY_CONFIG: &str = include_str!("forebay.json");

/// What entering a VM costs and nothing more: the two callbacks that Forebay has per request, without any SDK.
const RAW_MODULE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    ;; Envoy copies nothing into this module, which asks for nothing; the export must be there all the same.
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 1)
    (func (export "proxy_on_configure") (param i32 i32) (result i32) i32.const 1)
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) i32.const 0)
)"#;

/// What stands in the filter chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Only the router.
    None,
    /// The empty filter made with the proxy-wasm SDK.
    EmptyWasm,
    /// The empty module without SDK.
    EmptyWasmRaw,
    /// Envoy's `local_ratelimit`, one bucket per tenant by a wildcard descriptor.
    LocalRatelimit,
    /// Forebay.
    Forebay,
}

impl Variant {
    /// All of them; the figures of a round are in this order.
    pub(crate) const ALL: [Self; 5] =
        [Self::None, Self::EmptyWasm, Self::EmptyWasmRaw, Self::LocalRatelimit, Self::Forebay];

    /// Name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "no filter",
            Self::EmptyWasm => "empty wasm, SDK",
            Self::EmptyWasmRaw => "empty wasm, raw",
            Self::LocalRatelimit => "local_ratelimit",
            Self::Forebay => "forebay",
        }
    }

    /// The filter chain without the router.
    pub(crate) fn filters(self, artefacts: &Artefacts, policy: &Policy, raw_module: &Path) -> Vec<Value> {
        match self {
            Self::None => vec![],
            Self::EmptyWasm => vec![filters::empty(artefacts)],
            Self::EmptyWasmRaw => vec![filters::wasm("raw", "raw", "1", raw_module, &json!({}))],
            Self::LocalRatelimit => {
                // Twice the tenants, so that the least-recently-used list never evicts one.
                let tenants_max = 2 * policy.tenants.len() as u32;
                vec![filters::local_ratelimit_wildcard(policy.bucket, tenants_max, policy.bucket)]
            }
            Self::Forebay => vec![filters::forebay(artefacts, filters::FOREBAY_VM_ID, &policy.plugin_config)],
        }
    }
}

/// The committed policy.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Forebay's plugin configuration.
    pub(crate) plugin_config: Value,
    /// The tenants that have a contract; requests come from each in turn.
    pub(crate) tenants: Vec<String>,
    /// Every tenant's bucket.
    pub(crate) bucket: TokenBucket,
}

#[derive(Deserialize)]
struct Contract {
    tenant: String,
    rate_per_s: u32,
    burst: u32,
}

impl Policy {
    /// Reads the committed file; contracts that differ could not be one wildcard descriptor.
    pub(crate) fn committed() -> Result<Self> {
        let plugin_config: Value = serde_json::from_str(FOREBAY_CONFIG).context("forebay.json is no JSON")?;
        let contracts: Vec<Contract> =
            serde_json::from_value(plugin_config["policy"]["contracts"].clone()).context("forebay.json: contracts")?;
        let buckets: BTreeSet<(u32, u32)> = contracts.iter().map(|c| (c.rate_per_s, c.burst)).collect();
        let [(rate_per_s, burst)] = buckets.iter().copied().collect::<Vec<_>>()[..] else {
            bail!("forebay.json: the contracts must all be the same, these are {buckets:?}");
        };
        let tenants = contracts.into_iter().map(|contract| contract.tenant).collect();
        Ok(Self { plugin_config, tenants, bucket: TokenBucket { rate_per_s, burst } })
    }

    /// The same policy with `count` tenants.
    pub(crate) fn with_tenants(mut self, count: usize) -> Self {
        let contract = |tenant: &String| {
            let mut contract = self.plugin_config["policy"]["contracts"][0].clone();
            contract["tenant"] = json!(tenant);
            contract
        };
        let tenants: Vec<String> = (1..=count).map(|number| format!("tenant-{number:05}")).collect();
        let contracts: Vec<Value> = tenants.iter().map(contract).collect();
        self.plugin_config["policy"]["contracts"] = json!(contracts);
        Self { tenants, ..self }
    }
}

/// Writes the raw module as a wasm file into `folder`.
pub(crate) fn raw_module(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("raw.wasm");
    let module = wat::parse_str(RAW_MODULE).context("the raw module")?;
    std::fs::write(&path, module).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
