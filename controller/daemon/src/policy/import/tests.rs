//! Realistic samples of each source, and what becomes of them.

use forebay_protocol::policy::{Policy, Source};

use super::draft::Import;

fn import(files: &[(&str, &str)]) -> (Policy, Import) {
    let files: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let (policy, import) = super::import(&files).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(policy.check(), Ok(()));
    (policy, import)
}

fn noted(import: &Import, place: &str, why: &str) -> bool {
    import.notes.iter().any(|note| note.place.contains(place) && note.why.contains(why))
}

const ROUTES: &str = r#"
virtual_hosts:
  - name: shop
    domains: ["shop.example.com", "shop.example.com:443"]
    rate_limits:
      - actions: [{ request_headers: { header_name: X-Tenant, descriptor_key: tenant } }]
    routes:
      - match: { prefix: /search }
        route:
          cluster: search
          rate_limits:
            - actions:
                - generic_key: { descriptor_value: search }
                - remote_address: {}
      - match: { safe_regex: { regex: "/v[0-9]+/.*" } }
        route:
          cluster: old
          rate_limits:
            - actions: [{ generic_key: { descriptor_value: old } }]
      - match: { prefix: / }
        route: { cluster: web }
"#;

const DESCRIPTORS: &str = r#"
domain: shop
descriptors:
  - key: tenant
    value: acme
    rate_limit: { unit: minute, requests_per_unit: 600 }
  - key: tenant
    value: umbrella
    rate_limit: { unlimited: true }
  - key: tenant
    value: initech
    shadow_mode: true
    rate_limit: { unit: second, requests_per_unit: 1 }
  - key: generic_key
    value: search
    descriptors:
      - key: remote_address
        value: 192.0.2.7
        rate_limit: { unit: second, requests_per_unit: 5 }
  - key: user
    value: "ab*"
    rate_limit: { unit: hour, requests_per_unit: 5 }
  - key: plan
    rate_limit: { unit: fortnight, requests_per_unit: 5 }
"#;

#[test]
fn descriptors_get_their_meaning_from_the_routes() {
    let (policy, import) = import(&[("limits.yaml", DESCRIPTORS), ("routes.yaml", ROUTES)]);
    let rules: Vec<_> = policy
        .rules
        .iter()
        .map(|rule| (rule.matches.hosts.clone(), rule.matches.path.clone(), rule.identity.clone().unwrap_or_default()))
        .collect();
    assert_eq!(
        rules,
        [
            (vec!["shop.example.com".into()], None, vec![Source::Header("x-tenant".into())]),
            (vec!["shop.example.com".into()], Some("/search/**".into()), vec![Source::SourceAddress]),
        ]
    );
    let contracts: Vec<_> = policy
        .contracts
        .iter()
        .map(|contract| (contract.tenant.as_str(), contract.rate_per_s.unwrap(), contract.burst.unwrap()))
        .collect();
    assert_eq!(contracts, [("acme", 10.0, 600), ("umbrella", 18e6, 18_000_000), ("192.0.2.7", 5.0, 5)]);
    assert!(noted(&import, "limits.yaml: descriptors[2]", "a dry run beside limits that are enforced"));
    assert!(noted(&import, "limits.yaml: descriptors[4]", "wildcard"));
    assert!(noted(&import, "limits.yaml: descriptors[5]", "fortnight"));
    assert!(noted(&import, "routes.yaml: virtual_hosts[0].routes[1].rate_limits[0]", "safe_regex"));
}

#[test]
fn a_key_that_no_route_explains_is_taken_for_a_header_and_said_so() {
    let text = "
domain: api
descriptors:
  - key: Account
    value: 42
    rate_limit: { unit: Hour, requests_per_unit: 36 }
  - key: a
    descriptors: [{ key: b, rate_limit: { unit: second, requests_per_unit: 1 } }]
";
    let (policy, import) = import(&[("limits.yaml", text)]);
    assert_eq!(policy.rules[0].identity, Some(vec![Source::Header("account".into())]));
    assert_eq!((policy.contracts[0].tenant.as_str(), policy.contracts[0].rate_per_s), ("42", Some(0.01)));
    assert!(noted(&import, "descriptors[0]", "taken for the request header"));
    assert!(noted(&import, "descriptors[1].descriptors[0]", "a bucket for each pair of values"));
}

const LOCAL: &str = r#"
static_resources:
  listeners:
    - name: main
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                http_filters:
                  - name: envoy.filters.http.local_ratelimit
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                      stat_prefix: everybody
                      token_bucket: { max_tokens: 100, tokens_per_fill: 50, fill_interval: 0.5s }
                      filter_enabled: { default_value: { numerator: 100 } }
                      filter_enforced: { default_value: { numerator: 100 } }
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match:
                            path: /login
                            headers: [{ name: ":method", string_match: { exact: POST } }]
                          route: { cluster: web }
                          typed_per_filter_config:
                            envoy.filters.http.local_ratelimit:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                              stat_prefix: login
                              token_bucket: { max_tokens: 5, fill_interval: 60s }
                              filter_enabled: { default_value: { numerator: 100 } }
                              filter_enforced: { default_value: { numerator: 100 } }
                              rate_limits:
                                - actions:
                                    - request_headers: { header_name: x-user, descriptor_key: user }
                              descriptors:
                                - entries: [{ key: user, value: robot }]
                                  token_bucket: { max_tokens: 50, tokens_per_fill: 50, fill_interval: 1s }
                              always_consume_default_token_bucket: false
"#;

#[test]
fn local_limits_come_over_with_their_route_and_the_general_one_holds_everywhere() {
    let (policy, import) = import(&[("envoy.yaml", LOCAL)]);
    let [everybody, login] = policy.rules.as_slice() else { panic!("{:?}", policy.rules) };
    let charges = |rule: &forebay_protocol::policy::Rule| -> Vec<String> {
        rule.charges.iter().flatten().map(|charge| charge.resource.clone()).collect()
    };
    assert_eq!(charges(everybody), ["everybody"]);
    assert_eq!(charges(login), ["login", "everybody"], "only the most specific rule counts, so it has both");
    assert_eq!(
        (login.matches.path.as_deref(), login.matches.methods.as_slice()),
        (Some("/login"), &["POST".into()][..])
    );
    let limit = |name: &str| {
        let resource = policy.resources.iter().find(|resource| resource.name == name).unwrap();
        (resource.others.rate_per_s, resource.others.burst)
    };
    assert_eq!(limit("everybody"), (100.0, Some(100)));
    assert_eq!(limit("login"), (0.017, Some(5)), "one per minute, to the nearest thousandth");
    assert_eq!((policy.contracts[0].tenant.as_str(), policy.contracts[0].burst), ("robot", Some(50)));
    assert!(noted(&import, "http_filters[0]", "per proxy"));
}

#[test]
fn a_local_limit_that_is_not_enforced_becomes_a_dry_run() {
    let text = LOCAL.replace("filter_enforced", "filter_ignored");
    let (policy, import) = import(&[("envoy.yaml", &text)]);
    assert!(policy.rules.iter().all(|rule| rule.dry_run), "{:?}", policy.rules);
    assert!(noted(&import, "http_filters[0]", "dry run"));
}

const GATEWAY: &str = r#"
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: { name: limits }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop }]
  rateLimit:
    type: Global
    global:
      rules:
        - clientSelectors: [{ headers: [{ name: X-User-Id, value: one }] }]
          limit: { requests: 3, unit: Hour }
        - clientSelectors: [{ headers: [{ name: x-user-id, type: Distinct }] }]
          limit: { requests: 10, unit: Second }
        - clientSelectors: [{ headers: [{ name: x-org, type: RegularExpression, value: "a.*" }] }]
          limit: { requests: 1, unit: Second }
        - clientSelectors: [{ sourceCIDR: { value: 10.0.0.0/8, type: Exact } }]
          limit: { requests: 1000, unit: Second }
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: { name: per-proxy }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: eg }]
  rateLimit:
    local:
      rules:
        - limit: { requests: 500, unit: Second }
"#;

#[test]
fn a_backend_traffic_policy_comes_over() {
    let (policy, import) = import(&[("policy.yaml", GATEWAY)]);
    assert_eq!((policy.contracts[0].tenant.as_str(), policy.contracts[0].burst), ("one", Some(3)));
    assert!(noted(&import, "global.rules[0]", "0.000833 per second became 0.001"));
    let internal = policy.rules.iter().find(|rule| !rule.matches.source.is_empty()).expect("the rule for a network");
    assert_eq!(internal.matches.source, ["10.0.0.0/8"]);
    let charged: Vec<_> = internal.charges.iter().flatten().map(|charge| charge.resource.as_str()).collect();
    assert!(charged.contains(&"limits-global-3") && charged.contains(&"per-proxy-local-0"), "{charged:?}");
    assert!(noted(&import, "BackendTrafficPolicy limits", "HTTPRoute shop"));
    assert!(!noted(&import, "BackendTrafficPolicy per-proxy", "HTTPRoute"));
    assert!(noted(&import, "global.rules[2]", "RegularExpression on x-org"));
    assert!(noted(&import, "local.rules[0]", "per proxy"));
}

#[test]
fn what_is_printed_is_the_policy_again() {
    for text in [LOCAL, GATEWAY] {
        let (policy, _) = import(&[("source.yaml", text)]);
        let printed = serde_saphyr::to_string(&super::compact(serde_json::to_value(&policy).unwrap())).unwrap();
        let read: Policy = serde_saphyr::from_str(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(read, policy, "{printed}");
    }
}

#[test]
fn files_without_limits_are_an_error_that_names_them() {
    let sources = [("a.yaml".to_owned(), "listeners: []".to_owned())];
    let error = super::import(&sources).expect_err("nothing to import");
    assert!(error.to_string().contains("a.yaml: there is no rate limit in it"), "{error}");
}
