//! The answers, read back the way a client reads them.

use super::*;
use alloc::collections::BTreeMap;
use alloc::{format, vec};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use forebay_admission::Rate;
use forebay_admission::units::NANO;
use proptest::prelude::*;

const NOW: Nanos = Nanos(5 * Nanos::SECOND);

fn quota(name: &str, rate_per_s: u64, burst: u64, left: u64) -> Quota<'_> {
    let limit = Limit::new(Rate::per_s(rate_per_s), burst);
    Quota { name, unit: QuotaUnit::Requests, limit, left_nano: left * NANO, partition: None, violated: false }
}

fn refusal<'a>(reason: Reason<'a>, quotas: &'a [Quota<'a>], wait_ms: Option<u64>) -> Refused<'a> {
    let wait = wait_ms.map_or(Wait::Never, |ms| Wait::Until(NOW.plus(ms * Nanos::MILLI)));
    Refused { reason, quotas, wait, more_at: Nanos::default(), now: NOW, seed: 42 }
}

fn plain() -> Settings {
    Settings { jitter: Jitter::Percent(0), ..Settings::default() }
}

fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

type Items = Vec<(String, BTreeMap<String, String>)>;

/// A structured field List of Strings with parameters, per RFC 9651; `None` when it is not one.
fn parse_list(text: &str) -> Option<Items> {
    let mut rest = text;
    let mut items = Vec::new();
    loop {
        let (name, after) = parse_string(rest)?;
        rest = after;
        let mut parameters = BTreeMap::new();
        while let Some(after) = rest.strip_prefix(';') {
            let (key, after) = after.split_once('=')?;
            let (value, after) = if after.starts_with('"') {
                parse_string(after)?
            } else if let Some(after) = after.strip_prefix(':') {
                let (value, after) = after.split_once(':')?;
                STANDARD.decode(value).ok()?;
                (value.into(), after)
            } else {
                let end = after.find(|char: char| !char.is_ascii_digit()).unwrap_or(after.len());
                if !(1..=15).contains(&end) {
                    return None;
                }
                (after[..end].into(), &after[end..])
            };
            parameters.insert(key.into(), value);
            rest = after;
        }
        items.push((name, parameters));
        if rest.is_empty() {
            return Some(items);
        }
        rest = rest.strip_prefix(", ")?;
    }
}

fn parse_string(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((place, char)) = chars.next() {
        match char {
            '"' => return Some((out, &text[place + 2..])),
            '\\' => out.push(chars.next().map(|(_, char)| char).filter(|char| matches!(char, '"' | '\\'))?),
            ' '..='~' => out.push(char),
            _ => return None,
        }
    }
    None
}

#[test]
fn fields_of_an_admitted_request() {
    let bytes = Quota { unit: QuotaUnit::ContentBytes, partition: Some(b"acme"), ..quota("bytes", 100, 1_000, 1_000) };
    let tokens = Quota { unit: QuotaUnit::Named("tokens"), ..quota("tokens", 0, 50, 20) };
    let headers = admitted(&[quota("requests", 10, 5, 3), bytes, tokens], &plain());
    let expected = [
        (
            "ratelimit-policy",
            "\"requests\";q=10;w=1, \"bytes\";q=1000;qu=\"content-bytes\";w=10;pk=:YWNtZQ==:, \"tokens\";q=50;qu=\"tokens\"",
        ),
        ("ratelimit", "\"requests\";r=3;t=1, \"bytes\";r=1000;pk=:YWNtZQ==:, \"tokens\";r=20"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name, value.to_string())));
}

#[test]
fn the_switch_turns_fields_off_or_back_in_time() {
    let quotas = [quota("a", 10, 100, 70), quota("b", 1, 60, 20)];
    let with = |fields| admitted(&quotas, &Settings { fields, ..plain() });
    assert_eq!(with(Fields::Off), vec![]);
    assert_eq!(admitted(&[], &plain()), vec![]);
    let legacy = with(Fields::Legacy);
    assert_eq!(
        legacy,
        [("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", "20"), ("x-ratelimit-reset", "1")]
            .map(|(name, value)| (name, value.to_string()))
    );
}

#[test]
fn over_the_limit_says_when_and_why() {
    let quotas = [quota("fine", 9, 9, 9), Quota { violated: true, ..quota("a \"b\" \\", 1, 10, 2) }];
    let answer = refused(&refusal(Reason::OverLimit, &quotas, Some(2_001)), Dialect::Http, &plain());
    assert_eq!((answer.status, answer.details), (429, "forebay_over_limit"));
    assert_eq!(header(&answer.headers, "content-type"), Some("application/problem+json"));
    assert_eq!(header(&answer.headers, "x-envoy-ratelimited"), Some("true"));
    assert_eq!(header(&answer.headers, "retry-after"), Some("3"));
    assert_eq!(header(&answer.headers, "ratelimit"), Some("\"fine\";r=9, \"a \\\"b\\\" \\\\\";r=0;t=3"));
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Request cannot be satisfied as assigned quota has been exceeded",
            "status": 429,
            "detail": "The limit for this resource is used up; try again in 3 s.",
            "violated-policies": ["a \"b\" \\"],
        })
    );
}

#[test]
fn every_reason_answers_in_both_dialects() {
    let quotas = [Quota { violated: true, ..quota("requests", 1, 10, 0) }];
    let reasons = [
        (Reason::OverLimit, Some(1_500), 429, 8, "quota-exceeded", Some("2")),
        (Reason::OverBurst, None, 429, 8, "quota-exceeded", None),
        (Reason::QueueFull, Some(500), 429, 8, "quota-exceeded", Some("1")),
        (Reason::QueueExpired, Some(500), 429, 8, "quota-exceeded", Some("1")),
        (Reason::Overloaded, Some(500), 429, 8, "temporary-reduced-capacity", Some("1")),
        (Reason::Undecided, Some(500), 429, 8, "temporary-reduced-capacity", Some("1")),
        (Reason::MissingTenant("x-tenant"), Some(500), 400, 3, "about:blank", None),
    ];
    for (reason, wait_ms, status, grpc_status, kind, retry_after) in reasons {
        let refusal = refusal(reason, &quotas, wait_ms);
        let missing = matches!(reason, Reason::MissingTenant(_));
        let http = refused(&refusal, Dialect::Http, &plain());
        assert_eq!(http.status, status, "{reason:?}");
        let body: serde_json::Value = serde_json::from_str(&http.body).unwrap();
        assert!(body["type"].as_str().unwrap().ends_with(kind), "{reason:?}");
        let grpc = refused(&refusal, Dialect::Grpc, &plain());
        assert_eq!(grpc.grpc_status, grpc_status, "{reason:?}");
        assert_eq!(header(&grpc.headers, "content-type"), None, "Envoy sets application/grpc");
        assert_eq!(grpc.body, body["detail"].as_str().unwrap());
        for answer in [&http, &grpc] {
            assert_eq!(header(&answer.headers, "retry-after"), retry_after, "{reason:?}");
            assert_eq!(header(&answer.headers, "x-envoy-ratelimited").is_some(), !missing, "{reason:?}");
            assert_eq!(header(&answer.headers, "ratelimit").is_some(), !missing, "{reason:?}");
        }
        let bare = Settings { problem_details: false, status: 420, ..plain() };
        let bare = refused(&refusal, Dialect::Http, &bare);
        assert_eq!((bare.status, bare.body.as_str()), (if missing { 400 } else { 420 }, ""));
        assert_eq!(header(&bare.headers, "content-type"), None);
        let quiet = Settings { envoy_ratelimited: false, fields: Fields::Off, ..plain() };
        let quiet = refused(&refusal, Dialect::Http, &quiet);
        assert_eq!(header(&quiet.headers, "x-envoy-ratelimited"), None);
        assert_eq!(header(&quiet.headers, "ratelimit"), None);
    }
}

/// Length-delimited and varint fields by number, per the protobuf encoding.
fn decode(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for place in 0.. {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << (7 * place);
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            2 => {
                let len = usize::try_from(varint(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(len);
                bytes = rest;
                Field::Bytes(value.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Field {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) => panic!("a number"),
        }
    }
}

#[test]
fn grpc_details_decode_to_a_status_with_retry_info_and_quota_failure() {
    let quotas = [Quota { violated: true, ..quota("requests", 1, 10, 0) }];
    let answer = refused(&refusal(Reason::OverLimit, &quotas, Some(301_250)), Dialect::Grpc, &plain());
    let value = header(&answer.headers, "grpc-status-details-bin").unwrap();
    assert!(!value.contains('='), "gRPC wants no padding");
    let status = decode(&STANDARD_NO_PAD.decode(value).unwrap());
    assert_eq!(status[0], (1, Field::Number(8)));
    assert_eq!(status[1], (2, Field::Bytes(answer.body.clone().into_bytes())));
    let any = |index: usize| {
        assert_eq!(status[index].0, 3);
        let any = decode(status[index].1.bytes());
        (any[0].1.bytes().to_vec(), decode(any[1].1.bytes()))
    };
    let (url, info) = any(2);
    assert_eq!(url, b"type.googleapis.com/google.rpc.RetryInfo");
    assert_eq!(decode(info[0].1.bytes()), [(1, Field::Number(301)), (2, Field::Number(250_000_000))]);
    let (url, failure) = any(3);
    assert_eq!(url, b"type.googleapis.com/google.rpc.QuotaFailure");
    let violation = decode(failure[0].1.bytes());
    assert_eq!(violation[0], (1, Field::Bytes(b"requests".to_vec())));
    assert_eq!(status.len(), 4);

    let never = refused(&refusal(Reason::OverBurst, &[], None), Dialect::Grpc, &plain());
    let value = header(&never.headers, "grpc-status-details-bin").unwrap();
    assert_eq!(decode(&STANDARD_NO_PAD.decode(value).unwrap()).len(), 2, "no RetryInfo where retrying does not help");
}

#[test]
fn grpc_requests_are_those_that_envoy_takes_for_such() {
    for (content_type, dialect) in [
        (Some(&b"application/grpc"[..]), Dialect::Grpc),
        (Some(b"application/grpc+proto"), Dialect::Grpc),
        (Some(b"application/grpc-web"), Dialect::Http),
        (Some(b"application/json"), Dialect::Http),
        (None, Dialect::Http),
    ] {
        assert_eq!(Dialect::of_content_type(content_type), dialect, "{content_type:?}");
    }
}

/// The seconds of RetryInfo, which is the first of the details.
fn retry_info_s(answer: &Answer) -> Field {
    let status = decode(&STANDARD_NO_PAD.decode(header(&answer.headers, "grpc-status-details-bin").unwrap()).unwrap());
    let info = decode(decode(status[2].1.bytes())[1].1.bytes());
    decode(info[0].1.bytes()).swap_remove(0).1
}

#[test]
fn who_is_refused_for_want_of_capacity_is_told_when_it_comes_and_the_buckets_promise_stays() {
    let quotas = [Quota { violated: true, ..quota("requests", 1, 10, 0) }];
    let refusal = |more_ms| Refused {
        more_at: NOW.plus(more_ms * Nanos::MILLI),
        ..refusal(Reason::OverLimit, &quotas, Some(2_001))
    };
    // What has passed, and what comes before the bucket has something, changes nothing.
    for (more_ms, after) in [(0, "3"), (2_000, "3"), (90_000, "90"), (90_001, "91")] {
        let http = refused(&refusal(more_ms), Dialect::Http, &plain());
        assert_eq!(header(&http.headers, "retry-after"), Some(after), "{more_ms}");
        assert_eq!(header(&http.headers, "ratelimit"), Some("\"requests\";r=0;t=3"), "{more_ms}");
        assert!(http.body.contains(&format!("; try again in {after} s.")), "{}", http.body);
        let grpc = refused(&refusal(more_ms), Dialect::Grpc, &plain());
        assert_eq!(retry_info_s(&grpc), Field::Number(more_ms.max(2_001) / 1_000), "{more_ms}");
    }
    let passed = Refused { more_at: NOW.minus(1), ..refusal(0) };
    let [known, unknown] = [passed, refusal(0)].map(|one| refused(&one, Dialect::Http, &plain()));
    assert_eq!(known, unknown);
    let never = Refused { wait: Wait::Never, ..refusal(90_000) };
    assert_eq!(header(&refused(&never, Dialect::Http, &plain()).headers, "retry-after"), None, "it helps nobody");
}

proptest! {
    #[test]
    fn whatever_the_names_fields_are_structured_fields(
        names in prop::collection::vec("\\PC{1,20}|[\\x00-\\x7f]{1,20}", 1..12),
        numbers: (u64, u64, u64, u64),
        seed: u64,
    ) {
        let (rate, burst, left_nano, wait) = numbers;
        let quotas: Vec<Quota<'_>> = names.iter().map(|name| Quota {
            unit: QuotaUnit::Named(name),
            left_nano,
            partition: Some(name.as_bytes()),
            violated: seed % 2 == 0,
            ..quota(name, rate, burst, 0)
        }).collect();
        let refusal = Refused { wait: Wait::Until(Nanos(wait)), seed, ..refusal(Reason::OverLimit, &quotas, None) };
        for dialect in [Dialect::Http, Dialect::Grpc] {
            let answer = refused(&refusal, dialect, &Settings::default());
            for (_, value) in &answer.headers {
                prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
            let policy = parse_list(header(&answer.headers, "ratelimit-policy").unwrap());
            let limits = parse_list(header(&answer.headers, "ratelimit").unwrap());
            let (Some(policy), Some(limits)) = (policy, limits) else {
                return Err(TestCaseError::fail(format!("{:?}", answer.headers)));
            };
            prop_assert_eq!(policy.len(), names.len().min(MAX_CHARGES));
            let retry_after: u64 = header(&answer.headers, "retry-after").unwrap().parse().unwrap();
            for ((name, parameters), (limit_name, state)) in policy.iter().zip(&limits) {
                prop_assert_eq!(name, limit_name);
                prop_assert!(parameters.contains_key("q") && state.contains_key("r"));
                if let Some(t) = state.get("t").filter(|_| seed % 2 == 0) {
                    prop_assert!(t.parse::<u64>().unwrap() <= retry_after, "Retry-After is not before t");
                }
                prop_assert!(parameters.get("w").is_none_or(|w| w != "0"));
            }
        }
    }
}
