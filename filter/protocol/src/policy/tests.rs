//! What a document may leave out, and how a wrong one is refused.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

use super::*;

const RESOURCES: &str = r#""resources":[{"name":"requests","others":{"rate_per_s":1.5}}]"#;

fn findings(json: &str) -> Vec<String> {
    let policy: Policy = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let found = policy.check().err().unwrap_or_default();
    found.iter().map(|finding| format!("{} {}", finding.code, finding.path)).collect()
}

fn with(more: &str) -> String {
    format!("{{{RESOURCES},{more}}}")
}

#[test]
fn one_resource_is_a_policy() {
    let policy: Policy = serde_json::from_str(&format!("{{{RESOURCES}}}")).unwrap();
    assert_eq!(policy.check(), Ok(()));
    let rule = &policy.rules_in_force()[0];
    assert_eq!(policy.charges(rule), [Charge { resource: "requests".into(), cost: Cost::Constant(1) }]);
    let settings = policy.settings(rule);
    assert_eq!(settings.identity, [Source::Header("x-tenant".into())]);
    assert_eq!((settings.unidentified, settings.enforce_at), (Unidentified::Others, EnforceAt::First));
    assert_eq!((settings.on_failure, settings.dry_run, settings.queue), (OnFailure::Closed, false, None));
    let limit = policy.resources[0].others.units();
    assert_eq!((limit.rate.milli_per_s(), limit.burst), (1_500, 2));
}

#[test]
fn rules_inherit_from_the_document_and_contracts_from_their_resource() {
    let policy: Policy = serde_json::from_str(
        r#"{"resources":[{"name":"r","others":{"rate_per_s":1},"contract":{"rate_per_s":7,"burst":70}}],
            "unidentified":"refuse","dry_run":false,
            "rules":[{"match":{"path":"/a"}},{"match":{"path":"/b"},"unidentified":"admit","dry_run":true}],
            "contracts":[{"tenant":"a","resource":"r"},{"tenant":"b","resource":"r","rate_per_s":2.5},
                         {"tenant":"c","resource":"r","burst":9}]}"#,
    )
    .unwrap();
    assert_eq!(policy.check(), Ok(()));
    let settings: Vec<_> = policy.rules.iter().map(|rule| policy.settings(rule)).collect();
    assert_eq!([settings[0].unidentified, settings[1].unidentified], [Unidentified::Refuse, Unidentified::Admit]);
    assert_eq!([settings[0].dry_run, settings[1].dry_run], [false, true]);
    let units = |index: usize| policy.contracts[index].limit(&policy.resources[0]).unwrap().units();
    assert_eq!(
        [units(0), units(1), units(2)].map(|limit| (limit.rate.milli_per_s(), limit.burst)),
        [(7_000, 70), (2_500, 3), (7_000, 9)]
    );
}

#[test]
fn every_finding_of_a_document_is_told_at_once() {
    let found = findings(
        r#"{"version":2,"resources":[{"name":"r","others":{"rate_per_s":-1}},{"name":"r","others":{"rate_per_s":1}}],
            "rules":[{"match":{"path":"v1"},"charges":[{"resource":"x","cost":0}]}],
            "contracts":[{"tenant":"*","resource":"r","rate_per_s":1}]}"#,
    );
    assert_eq!(
        found,
        [
            "FB0002 version",
            "FB0102 resources[0].others.rate_per_s",
            "FB0101 resources[1].name",
            "FB0202 rules[0].match.path",
            "FB0401 rules[0].charges[0].resource",
            "FB0404 rules[0].charges[0].cost",
            "FB0501 contracts[0].tenant",
        ]
    );
}

#[test]
fn each_kind_of_mistake_has_its_code_and_place() {
    let rule = |inner: &str| with(&format!(r#""rules":[{inner}]"#));
    let matches = |inner: &str| rule(&format!(r#"{{"match":{{{inner}}}}}"#));
    let charge = |cost: &str| rule(&format!(r#"{{"charges":[{{"resource":"requests","cost":{cost}}}]}}"#));
    for (json, expected) in [
        (r#"{"resources":[]}"#.to_string(), vec!["FB0003 resources"]),
        (with(r#""name":"""#), vec!["FB0004 name"]),
        (with(r#""contracts":[{"tenant":"a","resource":"requests"}]"#), vec!["FB0503 contracts[0].rate_per_s"]),
        (with(r#""contracts":[{"tenant":"a","resource":"x","rate_per_s":1}]"#), vec!["FB0401 contracts[0].resource"]),
        (matches(r#""hosts":["a b"]"#), vec!["FB0201 rules[0].match.hosts[0]"]),
        (matches(r#""path":"/a/**/b""#), vec!["FB0202 rules[0].match.path"]),
        (matches(r#""path":"/a*""#), vec!["FB0202 rules[0].match.path"]),
        (matches(r#""path":"/{a}/{a}""#), vec!["FB0202 rules[0].match.path"]),
        (matches(r#""methods":["get"]"#), vec!["FB0203 rules[0].match.methods[0]"]),
        (matches(r#""headers":[{"name":"x","exact":"a","prefix":"b"}]"#), vec!["FB0204 rules[0].match.headers[0]"]),
        (matches(r#""grpc":{"service":"a/b"}"#), vec!["FB0205 rules[0].match.grpc"]),
        (matches(r#""source":["10.0.0.1/8"]"#), vec!["FB0206 rules[0].match.source[0]"]),
        (rule("{},{}"), vec!["FB0207 rules[1].match"]),
        (with(r#""identity":[]"#), vec!["FB0301 identity"]),
        (with(r#""identity":[{"path_parameter":"t"}]"#), vec!["FB0302 identity"]),
        (rule(r#"{"identity":[{"path_parameter":"t"}],"match":{"path":"/{x}"}}"#), vec!["FB0302 rules[0].identity"]),
        (charge(r#"{"header":{"name":"x","default":2,"max":1}}"#), vec!["FB0404 rules[0].charges[0].cost"]),
        (
            charge(r#"{"settled":{"by":{"usage":{"fields":["a..b"]}}}}"#),
            vec!["FB0405 rules[0].charges[0].cost.settled.by.usage.fields"],
        ),
        (
            charge(r#"{"settled":{"by":{"usage":{"fields":["a.b.c.d.e.f.g.h.i"]}}}}"#),
            vec!["FB0405 rules[0].charges[0].cost.settled.by.usage.fields"],
        ),
        (
            charge(r#"{"settled":{"by":{"duration":{"unit_ms":0}}}}"#),
            vec!["FB0405 rules[0].charges[0].cost.settled.by"],
        ),
        (with(r#""exempt":{"paths":["healthz"]}"#), vec!["FB0202 exempt.paths[0]"]),
        (with(r#""answer":{"status":200}"#), vec!["FB0603 answer.status"]),
        (with(r#""debug":{"token":"short"}"#), vec!["FB0605 debug.token"]),
        (with(r#""debug":{}"#), vec!["FB0605 debug"]),
        (with(r#""provenance":{"hash_keys_with":""}"#), vec!["FB0605 provenance.hash_keys_with"]),
        (
            with(r#""guard":{"mode":"codel","max_concurrency":0}"#),
            vec!["FB0606 guard.max_concurrency", "FB0606 guard.target_ms"],
        ),
        (
            with(r#""guard":{"max_concurrency":10001,"min_concurrency":0,"target_ms":0}"#),
            vec!["FB0606 guard.max_concurrency", "FB0606 guard.min_concurrency", "FB0606 guard.target_ms"],
        ),
    ] {
        assert_eq!(findings(&json), expected, "{json}");
    }
}

#[test]
fn settings_beside_limits_are_taken() {
    let each = r#"{"resources":[{"name":"r","others":{"rate_per_s":1},"uncontracted":"each"}]}"#;
    assert_eq!(findings(each), [] as [String; 0]);
    let told = r#""answer":{"headers":"legacy","status":420,"retry_jitter_s":5,"problem_details":false},"guard":{"mode":"codel","max_concurrency":8,"target_ms":50},
        "attributes":[{"name":"region","header":"x-region","values":["eu"]}],
        "debug":{"signing_secret":"0123456789abcdef"},"provenance":{"filter_state":true}"#;
    assert_eq!(findings(&with(told)), [] as [String; 0]);
}

#[test]
fn a_pool_has_one_set_of_terms() {
    let two = |first: &str, second: &str| {
        let resource = |name: &str, more: &str| {
            format!(r#"{{"name":"{name}","others":{{"rate_per_s":1}},"pool":{{"name":"p"{more}}}}}"#)
        };
        let resources = [resource("a", first), resource("b", second)].join(",");
        findings(&format!(r#"{{"resources":[{resources}],"rules":[{{"charges":[{{"resource":"a"}}]}}]}}"#))
    };
    assert_eq!(two("", r#","borrow":true"#), [] as [String; 0]);
    assert_eq!(two(r#","debt":5"#, ""), [] as [String; 0]);
    assert_eq!(two(r#","debt":5"#, r#","debt":6"#), ["FB0609 resources[1].pool"]);
    assert_eq!(two(r#"},"unit":"byte","shadow":{"#, ""), ["FB0609 resources[1].pool"]);
    assert_eq!(two(r#","overcommit":{"rate_per_s":-1}"#, ""), ["FB0102 resources[0].pool.overcommit.rate_per_s"]);
    assert_eq!(two(r#","debt":18446744073709551615"#, ""), ["FB0609 resources[0].pool.debt"]);
}

#[test]
fn shadow_pool_and_weight_are_the_contracts_or_else_the_resources() {
    let policy: Policy = serde_json::from_str(
        r#"{"resources":[{"name":"r","others":{"rate_per_s":1},"contract":{"rate_per_s":7,"weight":3},
              "pool":{"name":"p"},"shadow":{"max_per_s":5,"quantile":0.5}}],
            "contracts":[{"tenant":"a","resource":"r"},
              {"tenant":"b","resource":"r","weight":4,"pool":{"name":"q"},"shadow":{"enabled":false}}]}"#,
    )
    .unwrap();
    assert_eq!(policy.check(), Ok(()));
    let of = |index: usize| {
        let (contract, resource) = (&policy.contracts[index], &policy.resources[0]);
        let pool = contract.pool(resource).map(|pool| pool.name.as_str());
        (pool, contract.weight(resource), contract.shadow(resource).cloned().unwrap())
    };
    assert_eq!(of(0), (Some("p"), Some(3), Shadow { enabled: true, max_per_s: Some(5.0), quantile: Some(0.5) }));
    let whole = Shadow { enabled: false, max_per_s: None, quantile: None };
    assert_eq!(of(1), (Some("q"), Some(4), whole), "a section is inherited whole or not at all");
    let shadow = |fields: &str| {
        let contract = r#""tenant":"a","resource":"requests","rate_per_s":1"#;
        findings(&with(&format!(r#""contracts":[{{{contract},"shadow":{{{fields}}}}}]"#)))
    };
    assert_eq!(shadow(""), [] as [String; 0]);
    assert_eq!(shadow(r#""quantile":1"#), ["FB0607 contracts[0].shadow.quantile"]);
    assert_eq!(shadow(r#""quantile":0,"max_per_s":-1"#).len(), 2);
}

#[test]
fn unknown_fields_are_refused_with_their_place() {
    for (more, place) in [
        (r#""rule":[]"#, "unknown field `rule`"),
        (r#""rules":[{"match":{"hots":[]}}]"#, "unknown field `hots`"),
        (r#""rules":[{"charges":[{"resource":"r","cost":{"heder":{}}}]}]"#, "unknown variant `heder`"),
        (r#""rules":[{"charges":[{"resource":"r","cost":-1}]}]"#, "a cost is not negative"),
    ] {
        let error = serde_json::from_str::<Policy>(&with(more)).unwrap_err();
        assert!(error.to_string().contains(place) && error.line() == 1 && error.column() > 60, "{error}");
    }
}

#[test]
fn a_document_survives_the_round_trip() {
    let json = with(
        r#""rules":[{"charges":[{"resource":"requests","cost":{"table":{"rows":[{"path":"/a","cost":3}]}}}]}],
           "identity":["spiffe_id",{"certificate":"dns_san"},{"jwt_claim":{"payload":"p","claim":"sub"}}]"#,
    );
    let policy: Policy = serde_json::from_str(&json).unwrap();
    let again = serde_json::from_str::<Policy>(&serde_json::to_string(&policy).unwrap());
    assert_eq!(again.unwrap(), policy);
}

#[test]
fn networks_and_addresses() {
    let network = |text| network::Network::parse(text).unwrap();
    let address = |text: &str| network::without_port(text.as_bytes());
    assert!(network("10.0.0.0/8").contains(address("10.200.0.1:99").unwrap()));
    assert!(!network("10.0.0.0/8").contains(address("11.0.0.1").unwrap()));
    assert!(network("0.0.0.0/0").contains(address("[::ffff:1.2.3.4]:5").unwrap()), "mapped addresses are IPv4");
    assert!(!network("0.0.0.0/0").contains(address("[2001:db8::1]:5").unwrap()));
    assert!(network("2001:db8::/32").contains(address("2001:db8::1").unwrap()));
    assert!(network("::/0").contains(address("[2001:db8::1]:5").unwrap()));
    assert_eq!(address("pipe"), None);
    for wrong in ["10.0.0.0/33", "10.0.0.1/8", "x", "10.0.0.0/", "::1/129"] {
        assert!(network::Network::parse(wrong).is_err(), "{wrong}");
    }
}
