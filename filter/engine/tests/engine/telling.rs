//! What clients, access logs and metrics are told about decisions.

use std::collections::BTreeMap;

use forebay_admission::{Lane, Nanos};
use forebay_engine::answer::{Answer, Header};
use forebay_engine::memory::Memory;
use forebay_engine::provenance::debug;
use forebay_engine::{Effect, Metric, Module, Outcome, Stream, Worker};

const MS: u64 = Nanos::MILLI;

struct Proxy {
    memory: Memory,
    worker: Worker,
    named: BTreeMap<String, u64>,
    totals: Vec<(Metric, u64)>,
}

/// A proxy with a policy of two resources, and `more` of its fields.
fn proxy(more: &str) -> Proxy {
    let json = format!(
        r#"{{"proxy_id":"p1","policy":{{
            "resources":[{{"name":"requests","others":{{"rate_per_s":1,"burst":2}}}},
                         {{"name":"tokens","unit":"token","others":{{"rate_per_s":100,"burst":100}}}}],
            "contracts":[{{"tenant":"acme","resource":"requests","rate_per_s":10,"burst":5}}],
            {more}}}}}"#
    );
    let mut memory = Memory::default();
    (memory.now, memory.wall_nanos) = (Nanos(10_000 * MS), 1_700_000_000 * Nanos::SECOND);
    let worker = Worker::configure_in(Module::Streams, json.as_bytes()).unwrap();
    Proxy { memory, worker, named: BTreeMap::new(), totals: vec![] }
}

impl Proxy {
    fn stream(&mut self, id: u32, headers: &[(&str, &[u8])]) -> Outcome {
        self.worker.on_stream(Stream { id, end_of_stream: true }, &mut self.memory.request(headers))
    }

    fn request(&mut self, headers: &[(&str, &[u8])]) -> Outcome {
        self.worker.on_request(&mut self.memory.request(headers))
    }

    fn refused(&mut self, headers: &[(&str, &[u8])]) -> Answer {
        match self.request(headers) {
            Outcome::Refuse(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn response(&mut self, id: u32) -> Vec<Header> {
        self.worker.on_response_headers(id, false, &mut self.memory.host())
    }

    fn tick(&mut self) {
        self.memory.advance_nanos(250 * MS);
        for effect in self.worker.on_tick(&mut self.memory.host()) {
            match effect {
                Effect::CountNamed(number, n) => {
                    let name = self.worker.counter_name(number).expect("every number has a name");
                    *self.named.entry(name).or_default() += n;
                }
                Effect::Count(metric, n) => self.totals.push((metric, n)),
                _ => {}
            }
        }
    }

    fn named(&self, name: &str) -> u64 {
        self.named.get(name).copied().unwrap_or(0)
    }
}

fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

const ACME: (&str, &[u8]) = ("x-tenant", b"acme");
const GRPC: (&str, &[u8]) = ("content-type", b"application/grpc");

#[test]
fn a_refusal_speaks_the_clients_dialect_and_the_policys_words() {
    let mut proxy = proxy(
        r#""answer":{"headers":"legacy","status":420,"problem_details":false,"retry_jitter_s":0},
           "rules":[{"charges":[{"resource":"requests"}]},
                    {"match":{"path":"/usual"},"answer":{},"charges":[{"resource":"requests"}]}]"#,
    );
    for _ in 0..5 {
        assert_eq!(proxy.request(&[ACME]), Outcome::Admit(Lane::Standard));
    }
    let answer = proxy.refused(&[ACME]);
    assert_eq!((answer.status, answer.body.as_str()), (420, ""));
    assert_eq!(header(&answer.headers, "retry-after"), Some("1"), "0.1 s and no spread");
    assert_eq!(header(&answer.headers, "x-ratelimit-remaining"), Some("0"));
    assert_eq!(header(&answer.headers, "ratelimit"), None);

    let usual = proxy.refused(&[ACME, (":path", b"/usual")]);
    assert_eq!(usual.status, 429);
    assert_eq!(header(&usual.headers, "ratelimit-policy"), Some("\"requests\";q=10;w=1"));
    assert!(header(&usual.headers, "ratelimit").unwrap().starts_with("\"requests\";r=0;t=1"));
    assert_eq!(header(&usual.headers, "content-type"), Some("application/problem+json"));

    let grpc = proxy.refused(&[ACME, GRPC, (":path", b"/usual")]);
    assert_eq!((grpc.grpc_status, header(&grpc.headers, "content-type")), (8, None));
    assert!(header(&grpc.headers, "grpc-status-details-bin").is_some());
    assert!(grpc.body.starts_with("The limit for this resource is used up"), "grpc-message: {}", grpc.body);
}

#[test]
fn the_promised_instant_is_the_first_at_which_the_request_succeeds() {
    let mut proxy = proxy(r#""answer":{"retry_jitter_s":0}, "rules":[{"charges":[{"resource":"requests"}]}]"#);
    while proxy.request(&[("x-tenant", b"stranger")]) == Outcome::Admit(Lane::Standard) {}
    let answer = proxy.refused(&[("x-tenant", b"stranger")]);
    let seconds: u64 = header(&answer.headers, "retry-after").unwrap().parse().unwrap();
    assert_eq!(seconds, 1);
    proxy.memory.advance_nanos(seconds * Nanos::SECOND);
    assert_eq!(proxy.request(&[("x-tenant", b"stranger")]), Outcome::Admit(Lane::Standard));
}

#[test]
fn refusals_in_one_instant_are_told_to_come_back_apart() {
    let mut proxy = proxy(r#""answer":{"retry_jitter_s":9}, "rules":[{"charges":[{"resource":"requests"}]}]"#);
    while proxy.request(&[ACME]) == Outcome::Admit(Lane::Standard) {}
    let mut seen: Vec<u64> =
        (0..100).map(|_| header(&proxy.refused(&[ACME]).headers, "retry-after").unwrap().parse().unwrap()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
}

#[test]
fn an_admitted_response_says_what_is_left_where_the_policy_wants_it() {
    let rules = r#""rules":[{"charges":[{"resource":"requests"},{"resource":"tokens","cost":30}]}]"#;
    let mut proxy = proxy(&format!(r#""answer":{{"headers":"draft-10"}},{rules}"#));
    assert_eq!(proxy.stream(7, &[ACME]), Outcome::Admit(Lane::Standard));
    assert_eq!(proxy.stream(8, &[ACME]), Outcome::Admit(Lane::Standard));
    assert!(proxy.worker.follows(7) && proxy.worker.follows(8) && !proxy.worker.follows(9));
    let headers = proxy.response(7);
    assert_eq!(header(&headers, "ratelimit-policy"), Some("\"requests\";q=10;w=1, \"tokens\";q=100;qu=\"token\";w=1"));
    assert_eq!(header(&headers, "ratelimit"), Some("\"requests\";r=4;t=1, \"tokens\";r=70;t=1"));
    assert_eq!(proxy.response(7), [], "said once");
    // The other stream is reset before its response.
    proxy.worker.on_stream_end(8, &mut proxy.memory.host());
    assert!(!proxy.worker.follows(8));

    let mut quiet = self::proxy(rules);
    assert_eq!(quiet.stream(7, &[ACME]), Outcome::Admit(Lane::Standard));
    assert!(!quiet.worker.follows(7), "nobody asked");
}

#[test]
fn what_needs_the_response_is_refused_in_the_lean_module() {
    for (more, path) in [
        (r#""answer":{"headers":"draft-10"}"#, "policy.rules[0].answer.headers"),
        (r#""debug":{"token":"0123456789abcdef"}"#, "policy.debug"),
    ] {
        let json = format!(r#"{{"policy":{{"resources":[{{"name":"r","others":{{"rate_per_s":1}}}}],{more}}}}}"#);
        let error = Worker::configure(json.as_bytes()).unwrap_err();
        assert_eq!(error.findings[0].path, path);
        assert!(Worker::configure_in(Module::Streams, json.as_bytes()).is_ok());
    }
}

#[test]
fn each_decision_is_written_once_into_filter_state() {
    let mut proxy = proxy(
        r#""provenance":{"filter_state":true},"unidentified":"refuse",
           "rules":[{"name":"all","charges":[{"resource":"requests"}]},
                    {"name":"dry","dry_run":true,"match":{"path":"/dry"},"charges":[{"resource":"requests"}]}]"#,
    );
    for _ in 0..6 {
        let _ = proxy.request(&[ACME]);
    }
    let _ = proxy.request(&[ACME, (":path", b"/dry")]);
    let _ = proxy.request(&[]);
    let _ = proxy.request(&[("user-agent", b"kube-probe/1")]);
    let mut lines: Vec<_> = proxy.memory.filter_state.iter().map(|(key, line)| (key.as_str(), line.as_str())).collect();
    assert_eq!(lines.len(), 9, "{lines:?}");
    lines.drain(..4);
    let expected = [
        "lane=standard;gen=-;fc=-;charge=all@acme",
        "lane=refused;gen=-;fc=-;charge=all@acme",
        "lane=dry_run;gen=-;fc=-;charge=dry@acme",
        "lane=no_tenant;gen=-;fc=-",
        "lane=exempt;gen=-;fc=-",
    ];
    assert_eq!(lines, expected.map(|line| ("forebay", line)));
}

#[test]
fn a_token_opens_provenance_and_nothing_else_does() {
    let secret = "another secret of mine";
    let mut proxy = proxy(&format!(
        r#""debug":{{"token":"0123456789abcdef","signing_secret":"{secret}"}},
           "provenance":{{"hash_keys_with":"0123456789abcdef"}},"rules":[{{"charges":[{{"resource":"requests"}}]}}]"#
    ));
    assert!(proxy.worker.strips_debug_header());
    let now_s = proxy.memory.wall_nanos / Nanos::SECOND;
    let signed = debug::sign(secret.as_bytes(), now_s + 60);
    let expired = debug::sign(secret.as_bytes(), now_s);
    for (token, shown) in
        [("0123456789abcdef", true), (&signed, true), ("0123456789abcdeg", false), (&expired, false), ("", false)]
    {
        assert_eq!(proxy.stream(1, &[ACME, (debug::HEADER, token.as_bytes())]), Outcome::Admit(Lane::Standard));
        let headers = proxy.response(1);
        let line = header(&headers, debug::HEADER);
        assert_eq!(line.is_some(), shown, "{token}");
        let hashed =
            |line: &str| line.starts_with("lane=standard;gen=-;fc=-;charge=rule-0@~") && !line.contains("acme");
        assert!(line.is_none_or(hashed), "{line:?}");
    }
    let refused = proxy.refused(&[ACME, (debug::HEADER, signed.as_bytes())]);
    assert!(header(&refused.headers, debug::HEADER).unwrap().starts_with("lane=refused;"));
    assert_eq!(header(&proxy.refused(&[ACME]).headers, debug::HEADER), None);
    assert!(proxy.memory.filter_state.is_empty());
}

#[test]
fn counters_by_rule_and_lane_sum_up_to_the_totals() {
    let mut proxy = proxy(
        r#""rules":[{"name":"Chat","charges":[{"resource":"tokens","cost":30}]},
                    {"name":"rest","match":{"path":"/rest"},"charges":[{"resource":"requests"}]}]"#,
    );
    for _ in 0..5 {
        let _ = proxy.request(&[]);
    }
    for _ in 0..7 {
        let _ = proxy.request(&[ACME, (":path", b"/rest")]);
    }
    let _ = proxy.request(&[("user-agent", b"kube-probe/1")]);
    proxy.tick();
    let names = [
        ("chat.lane.standard.requests", 3),
        ("chat.lane.standard.units", 90),
        ("chat.lane.refused.requests", 2),
        ("chat.lane.refused.units", 60),
        ("rest.lane.standard.requests", 5),
        ("rest.lane.refused.requests", 2),
        ("chat.lane.exempt.requests", 1),
    ];
    for (name, count) in names {
        assert_eq!(proxy.named(&format!("forebay.rule.{name}")), count, "{name}: {:?}", proxy.named);
    }
    let total = |metric| proxy.totals.iter().filter(|(known, _)| *known == metric).map(|(_, n)| n).sum::<u64>();
    assert_eq!([total(Metric::Standard), total(Metric::Refused), total(Metric::Exempt)], [8, 4, 1]);
    let before = proxy.named.clone();
    proxy.tick();
    assert_eq!(proxy.named, before, "counted once");
}

#[test]
fn rules_beyond_the_bound_share_their_counters() {
    let rules: Vec<_> =
        (0..300).map(|n| format!(r#"{{"match":{{"path":"/{n}"}},"charges":[{{"resource":"tokens"}}]}}"#)).collect();
    let mut proxy = proxy(&format!(r#""rules":[{}]"#, rules.join(",")));
    for path in ["/127", "/128", "/299"] {
        let _ = proxy.request(&[(":path", path.as_bytes())]);
    }
    proxy.tick();
    assert_eq!(proxy.named("forebay.rule.rule-127.lane.standard.requests"), 1);
    assert_eq!(proxy.named("forebay.rule.other-rules.lane.standard.requests"), 2);
}

#[test]
fn attributes_are_counted_by_the_values_that_are_told_apart() {
    let mut proxy = proxy(
        r#""attributes":[{"name":"region","header":"X-Region","values":["eu","us"]},
                         {"name":"client_version","header":"x-version","values":["1.0"]}],
           "rules":[{"charges":[{"resource":"requests"}]}]"#,
    );
    for region in [&b"eu"[..], b"eu", b"us", b"mars", b"\xff\xfe", b"EU"] {
        let _ = proxy.request(&[ACME, ("x-region", region), ("x-version", b"1.0")]);
    }
    let _ = proxy.request(&[ACME]);
    proxy.tick();
    let value =
        |attribute: &str, value: &str| proxy.named(&format!("forebay.attribute.{attribute}.value.{value}.requests"));
    assert_eq!([value("region", "eu"), value("region", "us"), value("region", "other")], [2, 1, 4], "refused ones too");
    assert_eq!([value("client_version", "1_0"), value("client_version", "other")], [6, 1]);
    let names = proxy.named.keys().filter(|name| name.contains("attribute")).count();
    assert_eq!(names, 5, "clients name no metrics");
}
