//! Envoy's HTTP filters as JSON: Forebay, the empty wasm filter, and Envoy's own `local_ratelimit` in the two forms that
//! it is compared in.
//!
//! Each function returns one entry of `http_filters`. What is fixed here is what holds for every stack: V8, a VM id, the
//! build hash as VM configuration, FAIL_RELOAD. Field meanings: Envoy's API reference, `extensions.filters.http.*.v3`.

use std::path::Path;

use serde_json::{Value, json};

use crate::artefacts::Artefacts;

/// The VM id of the Forebay filter where a stack has only one; it is also the namespace of its shared data.
pub const FOREBAY_VM_ID: &str = "forebay";
/// Name of the Forebay filter in a filter chain.
pub const FOREBAY_FILTER: &str = "forebay";
/// Name of `local_ratelimit` in a filter chain.
pub const LOCAL_RATELIMIT_FILTER: &str = "envoy.filters.http.local_ratelimit";
/// The header that says whose request it is, in every stack here.
pub const TENANT_HEADER: &str = "x-tenant";

/// The Forebay filter with its plugin configuration. Filters with the same `vm_id` share their buckets.
pub fn forebay(artefacts: &Artefacts, vm_id: &str, plugin_config: &Value) -> Value {
    wasm(FOREBAY_FILTER, vm_id, &artefacts.build_hash, &artefacts.forebay_filter, plugin_config)
}

/// The same, as the module that follows streams to their end.
pub fn forebay_streams(artefacts: &Artefacts, vm_id: &str, plugin_config: &Value) -> Value {
    wasm(FOREBAY_FILTER, vm_id, &artefacts.build_hash, &artefacts.forebay_filter_streams, plugin_config)
}

/// The filter that does nothing.
pub fn empty(artefacts: &Artefacts) -> Value {
    wasm("empty", "empty", &artefacts.build_hash, &artefacts.empty_filter, &json!({}))
}

/// Any wasm module. `vm_configuration` is part of what Envoy tells VMs apart by: a new one means a new VM, in the same
/// shared-data namespace if the `vm_id` is the same.
pub fn wasm(name: &str, vm_id: &str, vm_configuration: &str, module: &Path, plugin_config: &Value) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "failure_policy": "FAIL_RELOAD",
                // The shortest outage after a trap that still is no busy loop; Envoy's default is 1 s.
                "reload_config": { "backoff": { "base_interval": "0.1s" } },
                "configuration": string_value(&plugin_config.to_string()),
                "vm_config": {
                    "vm_id": vm_id,
                    "runtime": "envoy.wasm.runtime.v8",
                    "configuration": string_value(vm_configuration),
                    "code": { "local": { "filename": module } },
                },
            },
        },
    })
}

/// A token bucket of `local_ratelimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Tokens added per second.
    pub rate_per_s: u32,
    /// The most tokens that it holds.
    pub burst: u32,
}

/// `local_ratelimit` with one bucket per named tenant; everybody else shares `others`.
///
/// Its decision is the same whichever worker asks: without `local_cluster_rate_limit` or per-connection buckets all
/// workers of a process share each bucket.
pub fn local_ratelimit(tenants: &[(String, TokenBucket)], others: TokenBucket) -> Value {
    let descriptors = tenants
        .iter()
        .map(|(tenant, bucket)| {
            json!({ "entries": [{ "key": "tenant", "value": tenant }], "token_bucket": token_bucket(*bucket) })
        })
        .collect();
    local_ratelimit_filter(descriptors, others, None)
}

/// `local_ratelimit` with a wildcard descriptor: each tenant that shows up gets a bucket like `each`, up to `tenants_max`
/// of them (least recently used out first; Envoy's own default of 20 would thrash). Requests without tenant share
/// `others`.
pub fn local_ratelimit_wildcard(each: TokenBucket, tenants_max: u32, others: TokenBucket) -> Value {
    let descriptor = json!({ "entries": [{ "key": "tenant" }], "token_bucket": token_bucket(each) });
    local_ratelimit_filter(vec![descriptor], others, Some(tenants_max))
}

fn local_ratelimit_filter(descriptors: Vec<Value>, others: TokenBucket, dynamic_max: Option<u32>) -> Value {
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "local_ratelimit",
        "token_bucket": token_bucket(others),
        // Else a tenant with a bucket of its own would be charged to the others' bucket as well.
        "always_consume_default_token_bucket": false,
        "filter_enabled": always,
        "filter_enforced": always,
        "rate_limits": [{
            "actions": [{ "request_headers": { "header_name": TENANT_HEADER, "descriptor_key": "tenant" } }],
        }],
        "descriptors": descriptors,
    });
    if let Some(dynamic_max) = dynamic_max {
        config["max_dynamic_descriptors"] = json!(dynamic_max);
    }
    json!({ "name": LOCAL_RATELIMIT_FILTER, "typed_config": config })
}

/// Envoy takes a whole number of tokens per interval and fills continuously since 1.33, so one second as interval gives
/// every whole rate exactly.
fn token_bucket(bucket: TokenBucket) -> Value {
    json!({ "max_tokens": bucket.burst, "tokens_per_fill": bucket.rate_per_s, "fill_interval": "1s" })
}

fn string_value(text: &str) -> Value {
    json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text })
}
