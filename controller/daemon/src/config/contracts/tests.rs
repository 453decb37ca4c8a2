//! What a policy document adds to `forebay.yaml`, and how the two must agree.

use forebay_plan::Key;

use crate::config::{Config, Quantiles};

const POLICY: &str = "
resources:
  - name: requests
    others: { rate_per_s: 5 }
    contract: { rate_per_s: 40, burst: 80, weight: 3 }
    pool: { name: web }
    shadow: { max_per_s: 25, quantile: 0.8 }
  - { name: tokens, others: { rate_per_s: 5 } }
rules: [ { charges: [ { resource: requests } ] } ]
contracts:
  - { tenant: a, resource: requests }
  - { tenant: b, resource: requests, rate_per_s: 2.5, pool: { name: own }, shadow: { enabled: false } }
  - { tenant: c, resource: tokens, rate_per_s: 100, burst: 7, shadow: { quantile: 0.99 } }
  - { tenant: d, resource: tokens, rate_per_s: 100 }
";
const POOLS: &str = "pools:
  - { name: web, capacity_per_s: 900 }
  - { name: own, capacity_per_s: 9 }
  - { name: small, capacity_per_s: 90000 }";
const EXAMPLE: &str = include_str!("../../../../../envoy/policy.example.yaml");

/// What becomes of this configuration beside `policy`, in a folder of their own.
fn load(policy: &str, more: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forebay.yaml");
    std::fs::write(folder.path().join("shop.yaml"), policy).unwrap();
    std::fs::write(&file, format!("policy: shop.yaml\n{POOLS}\n{more}")).unwrap();
    Config::load(Some(&file)).map_err(|error| error.to_string())
}

/// Rate, burst and most shadow in milli-units and units, pool and weight.
fn terms(config: &Config, tenant: &str) -> (u64, u64, u64, Option<String>, u32) {
    let one = config.contracts.iter().find(|contract| contract.key.tenant == tenant).expect("a contract");
    (one.rate_milli_per_s, one.burst, one.shadow_max_milli_per_s, one.pool.clone(), one.weight)
}

fn quantiles(config: &Config, tenant: &str, resource: &str) -> Quantiles {
    config.forecast.quantiles_of(&Key::new(tenant, resource))
}

#[track_caller]
fn refused(policy: &str, more: &str, parts: &[&str]) {
    let error = load(policy, more).expect_err("this is wrong");
    for part in parts.iter().chain(&["forebay.yaml: ", "shop.yaml"]) {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn contracts_of_the_policy_are_the_controllers() {
    let config = load(POLICY, "").unwrap();
    let web = Some("web".to_owned());
    assert_eq!(config.contracts.len(), 4);
    assert_eq!(terms(&config, "a"), (40_000, 80, 25_000, web, 3));
    assert_eq!(terms(&config, "b"), (2_500, 3, 0, Some("own".to_owned()), 3), "disabled, and inherited whole or not");
    assert_eq!(terms(&config, "c"), (100_000, 7, 100_000, None, 1));
    assert_eq!(terms(&config, "d"), (100_000, 100, 100_000, None, 1));
    assert_eq!(quantiles(&config, "a", "requests"), Quantiles { shadow: 0.8, upper: 0.95 });
    assert_eq!(quantiles(&config, "b", "requests"), Quantiles { shadow: 0.95, upper: 0.95 });
    assert_eq!(quantiles(&config, "c", "tokens"), Quantiles { shadow: 0.99, upper: 0.99 });
    let other = load(POLICY, "forecast: { quantile: 0.7 }").unwrap();
    assert_eq!(quantiles(&other, "a", "requests"), Quantiles { shadow: 0.8, upper: 0.8 });
    assert_eq!(quantiles(&other, "d", "tokens"), Quantiles { shadow: 0.7, upper: 0.7 }, "the controller's default");
}

#[test]
fn the_published_example_is_a_policy_for_the_controller_too() {
    let config = load(EXAMPLE, "").unwrap();
    let of = |tenant: &str, resource: &str| {
        let key = Key::new(tenant, resource);
        let one = config.contracts.iter().find(|contract| contract.key == key).expect("a contract");
        (one.rate_milli_per_s, one.shadow_max_milli_per_s, config.forecast.quantiles_of(&key).shadow)
    };
    assert_eq!(of("acme", "requests"), (200_000, 600_000, 0.9));
    assert_eq!(of("acme", "tokens"), (20_000_000, 20_000_000, 0.95));
    assert_eq!(of("spiffe://example.com/ns/shop/sa/cart", "requests"), (500_000, 0, 0.95));
}

#[test]
fn a_contract_of_both_files_is_one_that_both_describe() {
    let added = "contracts:
      - { tenant: d, resource: tokens, pool: own, shadow_max_per_s: 60, weight: 2 }
      - { tenant: a, resource: requests, rate_per_s: 40, burst: 80, pool: web, weight: 3 }";
    let config = load(POLICY, added).unwrap();
    assert_eq!(terms(&config, "d"), (100_000, 100, 60_000, Some("own".to_owned()), 2));
    let tenants: Vec<_> = config.contracts.iter().map(|contract| contract.key.tenant.as_str()).collect();
    assert_eq!(tenants, ["d", "a", "b", "c"], "each once");
    for (contract, parts) in [
        (
            "a, resource: requests, rate_per_s: 41",
            ["contracts[0].rate_per_s: 41 here, but 40 by", "contracts[0]; leave"],
        ),
        ("c, resource: tokens, burst: 8", ["contracts[0].burst: 8 here, but 7 by", "contracts[2]; leave"]),
        ("d, resource: tokens, burst: 8", ["contracts[0].burst: 8 here, but 100 by", "contracts[3]; leave"]),
        (
            "b, resource: requests, shadow_max_per_s: 1",
            ["contracts[0].shadow_max_per_s: 1 here, but 0 by", "contracts[1]"],
        ),
        ("a, resource: requests, pool: own", ["contracts[0].pool: own here, but web by", "contracts[0]"]),
        ("a, resource: requests, weight: 1", ["contracts[0].weight: 1 here, but 3 by", "contracts[0]"]),
    ] {
        refused(POLICY, &format!("contracts: [ {{ tenant: {contract} }} ]"), &parts);
    }
}

#[test]
fn a_contract_of_forebay_yaml_alone_inherits_from_the_policys_resource() {
    let more = "contracts:
      - { tenant: x, resource: requests }
      - { tenant: y, resource: requests, rate_per_s: 9, shadow_max_per_s: 4, pool: own, weight: 1 }
      - { tenant: z, resource: elsewhere, rate_per_s: 9 }";
    let config = load(POLICY, more).unwrap();
    assert_eq!(terms(&config, "x"), (40_000, 80, 25_000, Some("web".to_owned()), 3));
    assert_eq!(terms(&config, "y"), (9_000, 9, 4_000, Some("own".to_owned()), 1));
    assert_eq!(terms(&config, "z"), (9_000, 9, 9_000, None, 1));
    assert_eq!(quantiles(&config, "y", "requests").shadow, 0.8);
    assert_eq!(quantiles(&config, "z", "elsewhere").shadow, 0.95);
    let rateless = load(POLICY, "contracts: [ { tenant: z, resource: tokens } ]").unwrap_err();
    assert!(rateless.contains("forebay.yaml: contracts[0].rate_per_s: z/tokens has no rate; give"), "{rateless}");
}

#[test]
fn a_wrong_policy_is_refused_with_the_findings_of_its_check() {
    let wrong = POLICY.replace("quantile: 0.8", "quantile: 8").replace("rate_per_s: 2.5", "rate_per_s: -1");
    let contract = ["FB0102 ", "contracts[1].rate_per_s: the rate is out of range; choose 0 to"];
    refused(&wrong, "", &contract);
    refused(&wrong, "", &["FB0607 ", "resources[0].shadow.quantile: the value is not a quantile; choose one between"]);
    refused("resourcez: []", "", &["FB0001 ", "line 1 column 1"]);
    refused(&POLICY.replace("name: web", "name: wep"), "", &["resources[0].pool: no pool is called \"wep\"; declare"]);
    refused(
        &POLICY.replace("name: tokens", "name: t/s").replace("resource: tokens", "resource: t/s"),
        "",
        &["contracts[2].resource", "slash"],
    );
    let gone = Config::parse(std::path::Path::new("/nowhere/forebay.yaml"), "policy: shop.yaml").unwrap_err();
    assert!(gone.to_string().starts_with("/nowhere/forebay.yaml: policy: read /nowhere/shop.yaml: "), "{gone}");
}
