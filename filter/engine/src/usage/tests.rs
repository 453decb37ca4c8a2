//! Meters against whole documents, read by serde_json, and against garbage.

use super::*;
use alloc::format;
use alloc::string::ToString;
use proptest::prelude::*;
use serde_json::{Value, json};

fn source(paths: &[&str], combine: Combine) -> BodySource {
    let field = |path: &&str| Field { path: Path::parse(path).unwrap(), scale: Scale::ONE };
    BodySource { fields: paths.iter().map(field).collect(), combine }
}

fn units(source: &BodySource, format: Format, body: &[u8]) -> Option<u64> {
    let mut meter = Meter::new(source, format);
    meter.read(source, body);
    meter.units(source)
}

fn in_chunks(source: &BodySource, format: Format, mut body: &[u8], sizes: &[usize]) -> Option<u64> {
    let mut meter = Meter::new(source, format);
    let mut sizes = sizes.iter().cycle();
    while !body.is_empty() {
        let (chunk, rest) = body.split_at(body.len().min(*sizes.next().unwrap()));
        meter.read(source, chunk);
        body = rest;
    }
    meter.units(source)
}

#[test]
fn a_meter_is_as_small_as_it_says() {
    assert!(size_of::<Meter>() <= MAX_METER_BYTES, "{}", size_of::<Meter>());
}

#[test]
fn numbers_at_their_paths() {
    let body = br#" {"id":"x\"}{","usage":{"total_tokens":12,"deep":{"total_tokens":99}},
        "choices":[{"cost":1},{"cost":2.5}],"a.b":7,"t\u00e9\ud83d\ude00\n":5,"total_tokens":-3} "#;
    for (path, expected) in [
        ("usage.total_tokens", Some(12)),
        ("usage.deep.total_tokens", Some(99)),
        ("choices.0.cost", Some(1)),
        ("choices.1.cost", Some(3)),
        ("choices.2.cost", None),
        ("choices.cost", None),
        ("té😀\n", Some(5)),
        ("total_tokens", None),
        ("usage", None),
        ("id", None),
        ("a.b", None),
    ] {
        assert_eq!(units(&source(&[path], Combine::Last), Format::Json, body), expected, "{path}");
    }
    let both = source(&["usage.total_tokens", "choices.1.cost", "none"], Combine::Last);
    assert_eq!(units(&both, Format::Json, body), Some(15));
}

#[test]
fn scales_differ_by_field() {
    let mut source = source(&["in", "out"], Combine::Last);
    source.fields[1].scale = Scale { milli: 3_500 };
    assert_eq!(units(&source, Format::Json, br#"{"in":10,"out":3}"#), Some(21));
}

#[test]
fn documents_in_a_row_are_combined() {
    let body = b"{\"n\":1}\n{\"n\":2,\"n\":3}\n{\"m\":1}\n{\"n\":";
    assert_eq!(units(&source(&["n"], Combine::Last), Format::Json, body), Some(3));
    assert_eq!(units(&source(&["n"], Combine::Sum), Format::Json, body), Some(4));
}

#[test]
fn what_no_document_has_ends_the_reading() {
    let n = source(&["n"], Combine::Last);
    for (body, expected) in [
        ("{\"n\":12", None),
        ("{\"n\":12}", Some(12)),
        ("{\"n\":12,", Some(12)),
        ("{\"n\":12 garbage \"n\":13}", Some(12)),
        ("{\"n\":012}", None),
        ("{\"n\":\"12\"}", None),
        ("{\"n\":[12]}", None),
        ("[{\"n\":12}]", None),
        ("}{\"n\":12}", None),
        ("{\"n\" 12}", None),
        ("{\"x\":\"\n\",\"n\":12}", None),
        ("{\"\\ud800n\":12}", None),
        ("{\"\\ud800\\u006e\":12}", None),
        ("{\"\\u006e\":12}", Some(12)),
        ("", None),
    ] {
        assert_eq!(units(&n, Format::Json, body.as_bytes()), expected, "{body}");
    }
}

#[test]
fn nesting_of_any_depth_is_passed() {
    for depth in [1, 63, 64, 65, 100, 5_000] {
        let body = format!("{{\"a\":{}\"]\\\"\"{},\"n\":3}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(units(&source(&["n"], Combine::Last), Format::Json, body.as_bytes()), Some(3), "{depth}");
    }
}

#[test]
fn events_of_a_stream() {
    let body = concat!(
        "\u{feff}data: {\"usage\":null}\n\n",
        ": comment {\"usage\":{\"n\":90}}\n",
        "event: x\r\ndata:{\"usage\":\r\ndata: {\"n\":7}}\r\n\r\n",
        "database: {\"usage\":{\"n\":91}}\n\n",
        "data\rid: 4\rdata: {\"usage\":{\"n\":9}}\r\r",
        "data: {\"usage\":{\"n\n\n",
        "data: [DONE]\n\n",
        "data: {\"usage\":{\"n\":2}}\n",
    );
    for sizes in [&[1_000][..], &[1], &[2], &[3, 5]] {
        let total = |combine| in_chunks(&source(&["usage.n"], combine), Format::Sse, body.as_bytes(), sizes);
        assert_eq!(total(Combine::Sum), Some(18), "{sizes:?}");
        assert_eq!(total(Combine::Last), Some(2), "{sizes:?}");
    }
}

#[test]
fn other_sources() {
    assert_eq!(TrueCost::of_header(b"12.5", Scale::ONE), Some(13));
    assert_eq!(TrueCost::of_header(b"many", Scale::ONE), None);
    assert_eq!(TrueCost::of_bytes(1_001, 100), 11);
    assert_eq!(TrueCost::of_duration(Nanos(0), Nanos(1_000_001), 1), 2);
    for (content_type, format) in [
        ("text/event-stream; charset=utf-8", Some(Format::Sse)),
        ("Application/JSON", Some(Format::Json)),
        ("application/problem+json", Some(Format::Json)),
        ("text/html", None),
        ("", None),
    ] {
        assert_eq!(Format::of_content_type(content_type.as_bytes()), format);
    }
}

/// Documents whose names are often those of the paths below.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(|number| json!(number)),
        (0u32..10_000_000).prop_map(|number| json!(f64::from(number) / 1_000.0)),
        (-5i64..0).prop_map(|number| json!(number)),
        any::<bool>().prop_map(|value| json!(value)),
        Just(Value::Null),
        "[\\PC\"\\\\\n]{0,12}".prop_map(|text| json!(text)),
    ];
    let name = prop_oneof![3 => "[abé0]", 1 => "\\PC{0,4}", 1 => "[\"\\\\\n/]{1,3}"];
    leaf.prop_recursive(5, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::hash_map(name.clone(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

const PATHS: [&str; 4] = ["a", "a.b", "é.0.a", "0.b"];

/// What a meter should find in a whole document.
fn oracle(document: &Value, path: &str) -> Option<Quantity> {
    let found = path.split('.').try_fold(document, |value, segment| match value {
        Value::Object(members) => members.get(segment),
        Value::Array(elements) => elements.get(segment.parse::<usize>().ok()?),
        _ => None,
    });
    match found {
        Some(Value::Number(number)) => Quantity::parse(number.to_string().as_bytes()),
        _ => None,
    }
}

fn oracle_units(documents: &[Value], combine: Combine) -> Option<u64> {
    let per_path = PATHS.iter().filter_map(|path| {
        let mut found = documents.iter().filter_map(|document| oracle(document, path));
        match combine {
            Combine::Last => found.next_back(),
            Combine::Sum => found.reduce(Quantity::plus),
        }
    });
    per_path.map(|quantity| Scale::ONE.units(quantity)).reduce(u64::saturating_add)
}

fn combine() -> impl Strategy<Value = Combine> {
    prop_oneof![Just(Combine::Last), Just(Combine::Sum)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_json_body_is_read_as_serde_reads_it(
        documents in prop::collection::vec(document(), 1..4),
        combine in combine(),
        pretty: bool,
        sizes in prop::collection::vec(1usize..20, 1..8),
    ) {
        let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
        let body: String = documents.iter().map(|document| write(document).unwrap() + "\n").collect();
        let source = source(&PATHS, combine);
        let expected = oracle_units(&documents, combine);
        prop_assert_eq!(units(&source, Format::Json, body.as_bytes()), expected, "{}", body);
        prop_assert_eq!(in_chunks(&source, Format::Json, body.as_bytes(), &sizes), expected, "{}", body);
    }

    #[test]
    fn an_event_stream_is_read_as_serde_reads_its_events(
        documents in prop::collection::vec(document(), 1..4),
        combine in combine(),
        end in prop_oneof![Just("\n"), Just("\r"), Just("\r\n")],
        sizes in prop::collection::vec(1usize..20, 1..8),
    ) {
        let mut body = String::new();
        for document in &documents {
            for line in serde_json::to_string_pretty(document).unwrap().lines() {
                body += &format!("data: {line}{end}");
            }
            body += end;
        }
        body += &format!("data: [DONE]{end}{end}");
        let source = source(&PATHS, combine);
        let expected = oracle_units(&documents, combine);
        prop_assert_eq!(units(&source, Format::Sse, body.as_bytes()), expected, "{}", body);
        prop_assert_eq!(in_chunks(&source, Format::Sse, body.as_bytes(), &sizes), expected, "{}", body);
    }

    #[test]
    fn garbage_is_survived_and_cut_anywhere_it_is_the_same(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(prop::sample::select(b"{}[]\",:\\u0dab1.e-\n\r tfn".to_vec()), 0..300),
        ],
        sizes in prop::collection::vec(1usize..20, 1..8),
        combine in combine(),
        sse: bool,
    ) {
        let source = source(&PATHS, combine);
        let format = if sse { Format::Sse } else { Format::Json };
        let body = [if sse { &b"data: {\"a\":7,"[..] } else { b"{\"a\":7," }, &bytes].concat();
        let whole = units(&source, format, &body);
        prop_assert_eq!(whole, in_chunks(&source, format, &body, &sizes));
        prop_assert!(whole.is_some(), "what came before stays");
    }
}
