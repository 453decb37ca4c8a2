//! Which key a name is charged to, and what a new table changes.

use super::*;
use alloc::format;
use forebay_admission::{Limit, Rate};

fn config() -> Config {
    let json = br#"{"policy":{"resources":[
        {"name":"requests","others":{"rate_per_s":1,"burst":1}},
        {"name":"bytes","others":{"rate_per_s":2,"burst":2}}],
        "rules":[{"charges":[{"resource":"requests"},{"resource":"bytes"}]}],
        "contracts":[{"tenant":"a","resource":"requests","rate_per_s":3,"burst":3}]}}"#;
    Config::parse(json).unwrap()
}

fn granted(tenant: &str, resource: &str, rate: u64) -> KeyGrant {
    let grant = Grant::fixed(Limit::new(Rate::per_s(rate), rate));
    let more_at = Nanos::default();
    KeyGrant { tenant: tenant.into(), resource: resource.into(), grant, forecast_version: 0, more_at }
}

fn name(keys: &Keys, tenant: &str, rule: usize) -> String {
    let key = &keys.keys[keys.key(keys.row(tenant.as_bytes()), rule)];
    format!("{}/{}", key.tenant, key.resource)
}

#[test]
fn unknown_tenants_and_missing_contracts_share_the_others() {
    let keys = Keys::new(&config(), &[granted("b", "bytes", 9), granted("b", "no-such-resource", 1)]);
    assert_eq!(name(&keys, "a", 0), "a/requests");
    assert_eq!(name(&keys, "a", 1), "*/bytes");
    assert_eq!(name(&keys, "b", 0), "*/requests");
    assert_eq!(name(&keys, "b", 1), "b/bytes");
    assert_eq!(name(&keys, "*", 0), "*/requests");
    assert_eq!(name(&keys, "who", 1), "*/bytes");
    assert_eq!(keys.keys.len(), 4);
}

#[test]
fn a_table_overlays_the_fallback_and_a_new_one_replaces_it() {
    let config = config();
    let mut keys = Keys::new(&config, &[granted("a", "requests", 7), granted("*", "bytes", 8)]);
    let rate = |keys: &Keys, tenant: &str, rule| {
        keys.accounts[keys.key(keys.row(tenant.as_bytes()), rule)].grant().standard.rate
    };
    assert_eq!(rate(&keys, "a", 0), Rate::per_s(7));
    assert_eq!(rate(&keys, "a", 1), Rate::per_s(8), "others can be granted too");
    keys.keys[2].reported = 5;
    let (keys, _) = keys.rebuilt(&config, &[granted("c", "bytes", 1)]);
    assert_eq!(rate(&keys, "a", 0), Rate::per_s(3), "the fallback is back");
    assert_eq!(keys.keys[keys.key(keys.row(b"a"), 0)].reported, 5, "what was reported stays so");
}
