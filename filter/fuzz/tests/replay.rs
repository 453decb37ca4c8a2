//! The corpus and bounded mutations of it, on any compiler: the same inputs in every run.
//!
//! `FOREBAY_FUZZ_CASES=1000000 cargo test -p forebay-fuzz` looks further. A failure prints the shrunk bytes.

use std::path::Path;

use forebay_protocol::extension::{DETAILS, EXPECTATIONS, PROVISIONING, find};
use forebay_protocol::{Details, Expectations, Provisioning};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Mutations of each target's corpus; all targets together take a few seconds.
const CASES: u32 = 40_000;

/// Where a sync message begins in an input, so that mutations can repair its length.
type Header = Option<usize>;

type Target = (&'static str, fn(&[u8]), Header);

const TARGETS: [Target; 7] = [
    ("protocol", forebay_fuzz::protocol, Some(0)),
    ("grants", forebay_fuzz::grants, Some(8)),
    ("config", forebay_fuzz::config, None),
    ("states", forebay_fuzz::states, None),
    ("policy", forebay_fuzz::policy, None),
    ("usage", forebay_fuzz::usage, None),
    ("table", forebay_fuzz::table, None),
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One edit; positions are taken modulo the length.
#[derive(Clone, Debug)]
enum Edit {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
    Truncate(usize),
    /// The rest becomes that of another input.
    Splice(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || 0usize..4_096;
    // The bytes at which varints, lengths, signs and JSON change their meaning.
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\x00\x01\x7f\x80\xff{}[]\",:-e0".to_vec())];
    prop_oneof![
        4 => (at(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        4 => (at(), 0u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        2 => (at(), prop::collection::vec(byte, 1..12)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => (at(), 1usize..16).prop_map(|(at, n)| Edit::Remove(at, n)),
        1 => (at(), 1usize..64).prop_map(|(at, n)| Edit::Repeat(at, n)),
        1 => at().prop_map(Edit::Truncate),
        1 => (at(), at()).prop_map(|(at, other)| Edit::Splice(at, other)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit, corpus: &[Vec<u8>]) {
    let len = bytes.len();
    let within = |at: &usize| at % len.max(1);
    match edit {
        _ if len == 0 => bytes.push(0),
        Edit::Set(at, byte) => bytes[within(at)] = *byte,
        Edit::Flip(at, bit) => bytes[within(at)] ^= 1 << bit,
        Edit::Insert(at, new) => drop(bytes.splice(within(at)..within(at), new.iter().copied())),
        Edit::Remove(at, n) => drop(bytes.drain(within(at)..(within(at) + n).min(len))),
        Edit::Repeat(at, n) => bytes.extend_from_within(within(at)..(within(at) + n).min(len)),
        Edit::Truncate(at) => bytes.truncate(within(at)),
        Edit::Splice(at, other) => {
            let other = &corpus[other % corpus.len()];
            let from = within(at).min(other.len());
            bytes.truncate(from);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

/// Makes the declared length right again, else most mutations would end at the envelope.
fn repair(bytes: &mut [u8], header: Header) {
    let Some(message) = header.and_then(|at| bytes.get_mut(at..)) else { return };
    if let Some((head, body)) = message.split_at_mut_checked(12) {
        head[8..].copy_from_slice(&(body.len() as u32).to_le_bytes());
    }
}

#[test]
fn the_corpus_and_its_mutations_break_no_promise() {
    let cases = std::env::var("FOREBAY_FUZZ_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    for (target, run, header) in TARGETS {
        let corpus = corpus(target);
        assert!(corpus.len() >= 3, "{target} has {} inputs", corpus.len());
        corpus.iter().for_each(|bytes| run(bytes));
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let strategy = (0..corpus.len(), prop::collection::vec(edit(), 1..6), prop::bool::weighted(0.9));
        let result = runner.run(&strategy, |(input, edits, repaired)| {
            let mut bytes = corpus[input].clone();
            edits.iter().for_each(|edit| apply(&mut bytes, edit, &corpus));
            if repaired {
                repair(&mut bytes, header);
            }
            run(&bytes);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{target}: {error}");
        }
    }
}

#[test]
fn the_corpus_reaches_what_it_is_for() {
    let kinds: std::collections::BTreeSet<_> = corpus("protocol")
        .iter()
        .filter_map(|bytes| forebay_protocol::decode(bytes).ok())
        .map(|message| message.kind() as u16)
        .collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4], "a message of each kind");
    let extensions = |bytes: &Vec<u8>| match forebay_protocol::decode(bytes) {
        Ok(forebay_protocol::Message::Report(report)) => report.extensions,
        Ok(forebay_protocol::Message::ReportAck(ack)) => ack.extensions,
        Ok(forebay_protocol::Message::GrantTable(part)) => part.extensions,
        _ => Vec::new(),
    };
    let details: Vec<_> =
        corpus("protocol").iter().filter_map(|bytes| find::<Details>(&extensions(bytes), DETAILS)).collect();
    assert!(details.iter().any(|details| !details.rows.is_empty()), "a report with details");
    let mut expected =
        corpus("protocol").into_iter().filter_map(|bytes| find::<Expectations>(&extensions(&bytes), EXPECTATIONS));
    assert!(expected.any(|expected| !expected.slots.is_empty()), "an acknowledgement with expectations");
    let mut provisioned =
        corpus("protocol").into_iter().filter_map(|bytes| find::<Provisioning>(&extensions(&bytes), PROVISIONING));
    assert!(provisioned.any(|provisioned| !provisioned.rows.is_empty()), "a table with provisioning");
    let tables = corpus("grants").into_iter().filter_map(|bytes| match forebay_protocol::decode(&bytes[8..]) {
        Ok(forebay_protocol::Message::GrantTable(part)) => {
            forebay_engine::table::grants(&part, forebay_admission::Nanos(0))
        }
        _ => None,
    });
    let keys: Vec<_> = tables.flatten().collect();
    assert!(keys.iter().any(|key| key.grant.slots.len() > 1), "a table with several slots is accepted");
    assert!(keys.iter().any(|key| key.more_at.0 > 0), "a table that says when more is ready");
    assert!(corpus("config").iter().any(|json| forebay_engine::Config::parse(json).is_ok()), "a configuration");
    let policies = corpus("policy").into_iter().filter_map(|bytes| {
        let document = serde_json::from_slice(bytes.split(|byte| *byte == 0).next()?).ok()?;
        forebay_engine::policy::CompiledPolicy::compile(&document).ok()
    });
    assert!(policies.map(|policy| policy.rules().len()).max() > Some(1), "a policy with rules");
    let states = corpus("states");
    assert!(states.iter().any(|bytes| forebay_admission::KeyState::decode(bytes).is_some()));
    assert!(states.iter().any(|bytes| forebay_admission::SlotSet::decode(bytes).is_some()));
    let regular = corpus("table").into_iter().filter(|bytes| forebay_fuzz::table_is_series(bytes)).count();
    assert!(regular >= 4, "tables that become series");
}
