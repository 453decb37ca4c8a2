//! Which rule a request falls under, who it is charged to, where and for how much; and what a lookup costs.

use std::time::Instant;

use forebay_admission::Lane;
use forebay_engine::memory::Memory;
use forebay_engine::policy::facts::Store;
use forebay_engine::policy::{CompiledPolicy, Identity, Work};
use forebay_engine::{Effect, Metric, Outcome, Unreadable, Worker};

type Headers<'a> = &'a [(&'a str, &'a [u8])];

const RESOURCES: &str = r#""resources":[{"name":"requests","others":{"rate_per_s":100,"burst":100}}]"#;

fn compile(rules: &str) -> CompiledPolicy {
    let json = format!(r#"{{{RESOURCES},"rules":[{rules}]}}"#);
    CompiledPolicy::compile(&serde_json::from_str(&json).unwrap()).unwrap_or_else(|found| panic!("{found:?}"))
}

fn rule(policy: &CompiledPolicy, memory: &mut Memory, headers: Headers<'_>) -> (String, Work) {
    let (mut store, mut work, mut host) = (Store::default(), Work::default(), memory.request(headers));
    let mut facts = policy.facts(&mut store, &mut host);
    let name = policy.rule(&mut facts, &mut work).map_or("none", |rule| &rule.name).to_string();
    (name, work)
}

/// The name of the rule for host, path and method.
fn found(policy: &CompiledPolicy, host: &str, path: &str, method: &str) -> String {
    let headers: Headers<'_> =
        &[(":authority", host.as_bytes()), (":path", path.as_bytes()), (":method", method.as_bytes())];
    rule(policy, &mut Memory::default(), headers).0
}

fn worker(bootstrap: &str, policy: &str) -> Worker {
    let json = format!(r#"{{{bootstrap}"policy":{{{RESOURCES}{policy}}}}}"#);
    Worker::configure(json.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn counted(worker: &mut Worker, memory: &mut Memory, metric: Metric) -> u64 {
    memory.advance_nanos(1_000_000_000);
    let effects = worker.on_tick(&mut memory.host());
    effects.iter().map(|one| if let Effect::Count(known, n) = one { u64::from(*known == metric) * n } else { 0 }).sum()
}

#[test]
fn the_most_specific_rule_counts() {
    let policy = compile(
        r#"{"name":"all"},
           {"name":"any-host-path","match":{"path":"/v1/exact"}},
           {"name":"wild","match":{"hosts":["*.example.com"]}},
           {"name":"wilder","match":{"hosts":["*.com"],"path":"/v1/exact"}},
           {"name":"host","match":{"hosts":["Shop.Example.com"],"path":"/v1/**"}},
           {"name":"user","match":{"hosts":["shop.example.com"],"path":"/v1/users/{user}"}},
           {"name":"me","match":{"hosts":["shop.example.com"],"path":"/v1/users/me"}},
           {"name":"orders","match":{"hosts":["shop.example.com"],"path":"/v1/users/*/orders/**"}},
           {"name":"first-post","match":{"hosts":["shop.example.com"],"path":"/v1/users/me","methods":["POST"]}},
           {"name":"second-post","match":{"hosts":["shop.example.com"],"path":"/v1/users/me","methods":["POST","PUT"]}}"#,
    );
    let shop = |path: &str, method: &str| found(&policy, "shop.example.com:8443", path, method);
    for (path, method, name) in [
        ("/v1/users/me", "GET", "me"),
        ("/v1/users/me?x=/1", "GET", "me"),
        ("/v1/users/me", "POST", "first-post"),
        ("/v1/users/me", "PUT", "second-post"),
        ("/v1/users/7", "GET", "user"),
        ("/v1/users/me/orders", "GET", "orders"),
        ("/v1/users/me/orders/1/2", "GET", "orders"),
        ("/v1/users/", "GET", "host"),
        ("/v1", "GET", "host"),
        ("/v1x", "GET", "wild"),
        ("/V1/users/me", "GET", "wild"),
        ("*", "OPTIONS", "wild"),
    ] {
        assert_eq!(shop(path, method), name, "{method} {path}");
    }
    for (host, path, name) in [
        ("SHOP.example.COM.", "/v1/users/me", "me"),
        ("a.b.example.com", "/v1/exact", "wild"),
        ("example.com", "/v1/exact", "wilder"),
        ("example.com", "/", "all"),
        ("example.org", "/v1/exact", "any-host-path"),
        ("", "", "all"),
    ] {
        assert_eq!(found(&policy, host, path, "GET"), name, "{host}{path}");
    }
}

#[test]
fn headers_networks_and_grpc_are_conditions_too() {
    let policy = compile(
        r#"{"name":"beta","match":{"headers":[{"name":"X-Beta","exact":"1"}]}},
           {"name":"no-agent","match":{"headers":[{"name":"user-agent","present":false},{"name":"x-a","prefix":"b"}]}},
           {"name":"inside","match":{"source":["10.0.0.0/8","2001:db8::/32"]}},
           {"name":"list","match":{"grpc":{"service":"shop.Orders","method":"List"}}},
           {"name":"orders","match":{"grpc":{"service":"shop.Orders"}}}"#,
    );
    let mut memory = Memory::default();
    let grpc: &[u8] = b"application/grpc+proto";
    assert_eq!(rule(&policy, &mut memory, &[("x-beta", b"1"), ("user-agent", b"x")]).0, "beta");
    assert_eq!(rule(&policy, &mut memory, &[("x-a", b"bc"), ("x-beta", b"1")]).0, "no-agent", "two conditions");
    assert_eq!(rule(&policy, &mut memory, &[(":path", b"/shop.Orders/List"), ("content-type", grpc)]).0, "list");
    assert_eq!(rule(&policy, &mut memory, &[(":path", b"/shop.Orders/Get"), ("content-type", grpc)]).0, "orders");
    assert_eq!(rule(&policy, &mut memory, &[(":path", b"/shop.Orders/Get")]).0, "none", "not gRPC");
    for (address, name) in [("10.1.2.3:55", "inside"), ("[2001:db8::1]:55", "inside"), ("11.1.2.3:55", "none")] {
        memory.properties.insert("source\0address".into(), Ok(address.into()));
        assert_eq!(rule(&policy, &mut memory, &[]).0, name, "{address}");
    }
}

/// A thousand rules: 10 hosts, each with 100 paths of five segments.
fn thousand() -> String {
    let one = |n: usize| {
        let (host, path) = (n / 100, n % 100);
        format!(
            r#"{{"name":"r{n}","match":{{"hosts":["h{host}.example.com"],"path":"/api/v{}/s{path}/{{id}}/x"}}}}"#,
            path % 5
        )
    };
    (0..1_000).map(one).collect::<Vec<_>>().join(",")
}

#[test]
fn a_lookup_among_a_thousand_rules_touches_few_nodes() {
    let policy = compile(&thousand());
    let mut memory = Memory::default();
    for n in [0, 123, 555, 999] {
        let path = format!("/api/v{}/s{}/77/x", n % 5, n % 100);
        let host = format!("h{}.example.com", n / 100);
        let (name, work) = rule(&policy, &mut memory, &[(":authority", host.as_bytes()), (":path", path.as_bytes())]);
        assert_eq!((name, work), (format!("r{n}"), Work { hosts: 1, nodes: 6, candidates: 1 }));
    }
    let miss: Headers<'_> = &[(":authority", b"h1.example.com"), (":path", b"/api/v1/none/77/x")];
    let (name, work) = rule(&policy, &mut memory, miss);
    assert_eq!((name.as_str(), work.candidates), ("none", 0));
    assert!(work.nodes <= 4, "{work:?}");
}

#[test]
fn a_thousand_rules_are_compiled_quickly() {
    let json = format!(r#"{{{RESOURCES},"rules":[{}]}}"#, thousand());
    let best = (0..5).map(|_| {
        let began = Instant::now();
        let policy = CompiledPolicy::compile(&serde_json::from_str(&json).unwrap());
        assert!(policy.is_ok());
        began.elapsed()
    });
    let best = best.min().unwrap();
    println!("1,000 rules, {} bytes of JSON: read, checked and compiled in {best:?}", json.len());
    assert!(best.as_millis() < 50, "{best:?}");
}

#[test]
fn only_the_facts_that_are_needed_are_read_and_each_once() {
    let mut memory = Memory::default();
    let mut plain = worker("", "");
    plain.on_request(&mut memory.request(&[("x-tenant", b"a")]));
    assert_eq!(memory.fact_reads, 1, "the tenant's header");
    let mut rich = worker(
        "",
        r#","rules":[{"match":{"path":"/{t}/**","methods":["GET"]},"identity":[{"path_parameter":"t"}],
            "charges":[{"resource":"requests","cost":{"table":{"rows":[{"path":"/a/b","methods":["GET"],"cost":2}]}}}]}]"#,
    );
    memory.fact_reads = 0;
    let outcome = rich.on_request(&mut memory.request(&[(":path", b"/a/b"), (":method", b"GET")]));
    assert_eq!((outcome, memory.fact_reads), (Outcome::Admit(Lane::Standard), 2), "path and method, once each");
}

/// Who a request is, by a policy with these sources.
fn identity(sources: &str, memory: &mut Memory, headers: Headers<'_>) -> Identity<String> {
    let policy =
        compile(&format!(r#"{{"match":{{"path":"/{{t}}/x"}},"identity":[{sources}],"unidentified":"refuse"}}"#));
    let (mut store, mut host) = (Store::default(), memory.request(headers));
    let mut facts = policy.facts(&mut store, &mut host);
    let rule = policy.rule(&mut facts, &mut Work::default()).unwrap();
    policy.identify(rule, &mut facts, |name| String::from_utf8_lossy(name).into_owned())
}

#[test]
fn the_first_source_that_names_somebody_counts() {
    let mut memory = Memory::default();
    let tenant = |name: &str| Identity::Tenant(name.to_string());
    let sources = r#"{"jwt_claim":{"payload":"p","claim":"https://x.org/t","within":["realm"]}},"spiffe_id",
        {"api_key":{"header":"x-api-key"}},{"header":"X-Tenant"}"#;
    let path: (&str, &[u8]) = (":path", b"/seg/x?q");
    assert_eq!(identity(sources, &mut memory, &[path]), Identity::Missing);
    assert_eq!(identity(sources, &mut memory, &[path, ("x-tenant", b"h")]), tenant("h"));
    // printf %s secret | sha256sum | cut -c1-32
    let key = identity(sources, &mut memory, &[path, ("x-tenant", b"h"), ("x-api-key", b"secret")]);
    assert_eq!(key, tenant("key:2bb80d537b1da3e38bd30361aa855686"));
    let san = "connection\0uri_san_peer_certificate";
    memory.properties.insert(san.into(), Ok(b"https://not-spiffe".to_vec()));
    assert_eq!(identity(sources, &mut memory, &[path, ("x-tenant", b"h")]), tenant("h"), "not a SPIFFE id");
    memory.properties.insert(san.into(), Ok(b"spiffe://td/ns/a".to_vec()));
    assert_eq!(identity(sources, &mut memory, &[path, ("x-tenant", b"h")]), tenant("spiffe://td/ns/a"));
    let claim = "metadata\0filter_metadata\0envoy.filters.http.jwt_authn\0p\0realm\0https://x.org/t";
    memory.properties.insert(claim.into(), Ok(b"claimed".to_vec()));
    assert_eq!(identity(sources, &mut memory, &[path, ("x-tenant", b"h")]), tenant("claimed"));
    memory.properties.insert(claim.into(), Err(Unreadable));
    let undecided = identity(sources, &mut memory, &[path, ("x-tenant", b"h")]);
    assert_eq!(undecided, Identity::Undecided, "a less trusted source does not stand in");
    assert_eq!(identity(r#"{"path_parameter":"t"}"#, &mut memory, &[path]), tenant("seg"));
    memory.properties.insert("source\0address".into(), Ok(b"[::ffff:10.0.0.1]:55".to_vec()));
    assert_eq!(identity(r#""source_address""#, &mut memory, &[path]), tenant("10.0.0.1"));
}

#[test]
fn costs_by_content_length_and_by_table() {
    let mut memory = Memory::default();
    let mut by_length = worker(
        "",
        r#","rules":[{"charges":[{"resource":"requests","cost":{"content_length":{"unit_bytes":1024,"max":60}}}]}]"#,
    );
    let mut left = |worker: &mut Worker, headers: Headers<'_>| {
        matches!(worker.on_request(&mut memory.request(headers)), Outcome::Admit(_))
    };
    assert!(left(&mut by_length, &[("content-length", b"1025")]), "2");
    assert!(left(&mut by_length, &[("content-length", b"999999999")]), "60");
    assert!(left(&mut by_length, &[("content-length", b"38912")]), "38");
    assert!(!left(&mut by_length, &[]), "100 are taken");
    let mut memory = Memory::default();
    let mut by_table = worker(
        "",
        r#","rules":[{"charges":[{"resource":"requests","cost":{"table":{"default":3,"rows":[
            {"cost":10},{"methods":["GET"],"cost":1},{"path":"/big/*","methods":["POST"],"cost":90}]}}}]}]"#,
    );
    let mut admitted = |method: &[u8], path: &[u8], tries: usize| {
        let headers: Headers<'_> = &[(":method", method), (":path", path)];
        (0..tries).filter(|_| matches!(by_table.on_request(&mut memory.request(headers)), Outcome::Admit(_))).count()
    };
    assert_eq!(admitted(b"POST", b"/big/1", 2), 1, "90");
    assert_eq!(admitted(b"GET", b"/big/1", 5), 5, "1 each");
    assert_eq!(admitted(b"PUT", b"/", 1), 0, "10");
    assert_eq!(admitted(b"GET", b"/", 9), 5);
}

#[test]
fn several_charges_are_taken_all_or_none() {
    let json = r#"{"policy":{
        "resources":[{"name":"requests","others":{"rate_per_s":10}},{"name":"tokens","others":{"rate_per_s":5}}],
        "rules":[{"match":{"path":"/both"},"charges":[{"resource":"requests"},{"resource":"tokens"}]},
                 {"match":{"path":"/free"},"charges":[]},
                 {"match":{"path":"/requests"},"charges":[{"resource":"requests"}]}]}}"#;
    let (mut memory, mut worker) = (Memory::default(), Worker::configure(json.as_bytes()).unwrap());
    let mut count = |path: &[u8], tries: usize, wanted: fn(&Outcome) -> bool| {
        (0..tries).filter(|_| wanted(&worker.on_request(&mut memory.request(&[(":path", path)])))).count()
    };
    let admitted = |outcome: &Outcome| matches!(outcome, Outcome::Admit(_));
    assert_eq!(count(b"/both", 20, admitted), 5, "as many as there are tokens");
    assert_eq!(count(b"/requests", 20, admitted), 5, "the refused ones took no requests");
    assert_eq!(count(b"/free", 20, |outcome| *outcome == Outcome::Pass), 20);
    assert_eq!(count(b"/elsewhere", 3, |outcome| *outcome == Outcome::Pass), 3, "no rule, no limit");
}

#[test]
fn a_request_is_charged_at_one_of_several_proxies() {
    let token = r#""charged_token":"0123456789abcdef","#;
    let mut memory = Memory::default();
    let mut first = worker(token, "");
    let mut ask = |worker: &mut Worker, headers: Headers<'_>| worker.on_request(&mut memory.request(headers));
    assert_eq!(ask(&mut first, &[]), Outcome::Admit(Lane::Standard));
    assert_eq!(first.marks().1, Some("0123456789abcdef"));
    assert_eq!(ask(&mut first, &[("x-forebay-charged", b"0123456789abcdef")]), Outcome::Charged);
    assert_eq!(ask(&mut first, &[("x-forebay-charged", b"spoofed")]), Outcome::Admit(Lane::Standard));
    let mut alone = worker("", "");
    assert_eq!(ask(&mut alone, &[("x-forebay-charged", b"0123456789abcdef")]), Outcome::Admit(Lane::Standard));
    let mut outbound = worker("", r#","enforce_at":"outbound""#);
    for (direction, expected) in [(0u64, Outcome::Pass), (2, Outcome::Admit(Lane::Standard)), (1, Outcome::Charged)] {
        memory.properties.insert("xds\0listener_direction".into(), Ok(direction.to_le_bytes().to_vec()));
        assert_eq!(outbound.on_request(&mut memory.request(&[])), expected, "direction {direction}");
    }
    let mut gateway = worker(r#""role":"gateway","#, r#","enforce_at":"gateway""#);
    assert_eq!(gateway.on_request(&mut memory.request(&[])), Outcome::Admit(Lane::Standard), "the role counts");
}

#[test]
fn what_cannot_be_decided_fails_open_or_closed() {
    let source = "source\0address";
    for (setting, closed) in [("", true), (r#","on_failure":"open""#, false)] {
        let mut memory = Memory::default();
        memory.properties.insert(source.into(), Err(Unreadable));
        let mut unreadable = worker("", &format!(r#"{setting},"identity":["source_address"]"#));
        let outcome = unreadable.on_request(&mut memory.request(&[]));
        assert_eq!(matches!(&outcome, Outcome::Refuse(refusal) if refusal.details == "forebay_undecided"), closed);
        let mut memory = Memory::default();
        let mut contended = worker("", setting);
        contended.on_tick(&mut memory.host());
        memory.broken = true;
        let outcome = contended.on_request(&mut memory.request(&[]));
        assert_eq!(matches!(outcome, Outcome::Refuse(_)), closed, "{setting}: {outcome:?}");
        memory.broken = false;
        assert_eq!(counted(&mut contended, &mut memory, Metric::FailedOpen), u64::from(!closed));
    }
}

#[test]
fn exemptions_and_dry_runs() {
    let policy = r#","unidentified":"refuse","exempt":{"probes":false,"paths":["/healthz","/ready/**"],"user_agents":["mon/"]},
        "rules":[{},{"match":{"path":"/trial"},"dry_run":true}]"#;
    let (mut memory, mut worker) = (Memory::default(), worker("", policy));
    let mut ask = |headers: Headers<'_>| worker.on_request(&mut memory.request(headers));
    assert_eq!(ask(&[(":path", b"/healthz?x"), ("x-tenant", b"a")]), Outcome::Pass, "whoever asks");
    assert_eq!(ask(&[(":path", b"/ready/a/b")]), Outcome::Pass);
    assert_eq!(ask(&[(":path", b"/"), ("user-agent", b"mon/1")]), Outcome::Pass);
    assert!(matches!(ask(&[(":path", b"/"), ("user-agent", b"kube-probe/1")]), Outcome::Refuse(_)), "switched off");
    assert_eq!(ask(&[(":path", b"/trial")]), Outcome::Pass, "a dry run refuses nobody");
    let trial: Headers<'_> = &[(":path", b"/trial"), ("x-tenant", b"a")];
    assert!((0..200).all(|_| !matches!(ask(trial), Outcome::Refuse(_))));
    assert_eq!(counted(&mut worker, &mut memory, Metric::Exempt), 3);
}
