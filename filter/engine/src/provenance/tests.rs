//! The line keeps its grammar, whatever names there are; tokens open only while and as they should.

use super::debug::{Gate, MAX_LIFETIME_S, sign};
use super::*;
use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use proptest::prelude::*;

const NOW_S: u64 = 1_800_000_000;

fn generation() -> Generation {
    Generation { shard: 1, epoch: 17, sequence: 42 }
}

#[test]
fn the_line_is_as_the_grammar_says() {
    let [rule, other, key] = ["requests", "a;b", "acme corp"].map(Label::plain);
    let provenance =
        Provenance { lane: "reserved", generation: Some(generation()), forecast_version: Some(7), waited_ms: Some(12) };
    let charges = [Charged { rule: &rule, key: &key }, Charged { rule: &other, key: &key }];
    assert_eq!(
        provenance.line(charges),
        "lane=reserved;gen=1.17.42;fc=7;charge=requests@acme%20corp;charge=a%3Bb@acme%20corp;wait_ms=12"
    );
    let exempt = Provenance { lane: "exempt", generation: None, forecast_version: None, waited_ms: None };
    assert_eq!(exempt.line([]), "lane=exempt;gen=-;fc=-");
}

#[test]
fn hashed_keys_depend_on_name_and_secret() {
    let label = |secret: &[u8], tenant| KeyHasher::new(secret).label(tenant).as_str().to_owned();
    // printf 'forebay key acme' | openssl dgst -sha256 -hmac secret -r | cut -c1-16
    assert_eq!(label(b"secret", "acme"), "~1524dca33118eedc");
    assert_ne!(label(b"secret", "acme"), label(b"secret", "acmf"));
    assert_ne!(label(b"secret", "acme"), label(b"other", "acme"));
    assert_ne!(label(b"", "acme"), label(&[7; 200], "acme"), "secrets of any length");
}

#[test]
fn a_closed_gate_opens_for_nobody() {
    for gate in [Gate::default(), Gate::new(Some(b""), Some(b""))] {
        assert!(gate.is_closed());
        assert!(!gate.opens(b"", NOW_S));
        assert!(!gate.opens(sign(b"", NOW_S + 60).as_bytes(), NOW_S));
    }
}

#[test]
fn the_configured_token_opens_and_nothing_like_it() {
    let gate = Gate::new(Some(b"letmein"), None);
    assert!(gate.opens(b"letmein", NOW_S));
    for token in [&b"letmei"[..], b"letmein ", b"LETMEIN", b"", &[b'l'; 300]] {
        assert!(!gate.opens(token, NOW_S), "{token:?}");
    }
    assert!(!gate.opens(sign(b"letmein", NOW_S + 60).as_bytes(), NOW_S), "the token is no signing secret");
}

#[test]
fn signed_tokens_open_until_they_end() {
    let gate = Gate::new(Some(b"letmein"), Some(b"secret"));
    let token = sign(b"secret", NOW_S + 60);
    // printf 'forebay debug v1.1800000060' | openssl dgst -sha256 -hmac secret -r
    assert_eq!(token, "v1.1800000060.5857ed26133d6b449eca5557e3f7601514a2d4563611741e50e3f6be9d325163");
    for (at, opens) in [(NOW_S, true), (NOW_S + 59, true), (NOW_S + 60, false), (NOW_S + 61, false)] {
        assert_eq!(gate.opens(token.as_bytes(), at), opens, "{at}");
    }
    assert!(gate.opens(b"letmein", NOW_S));
    assert!(gate.opens(sign(b"secret", NOW_S + MAX_LIFETIME_S).as_bytes(), NOW_S));
    assert!(!gate.opens(sign(b"secret", NOW_S + MAX_LIFETIME_S + 1).as_bytes(), NOW_S), "too long a life");
    assert!(!gate.opens(sign(b"other", NOW_S + 60).as_bytes(), NOW_S));
    assert!(!gate.opens(token.replace("0060", "0061").as_bytes(), NOW_S), "another expiry");
    assert!(!gate.opens(token.to_uppercase().as_bytes(), NOW_S));
    assert!(!gate.opens(&token.as_bytes()[..token.len() - 1], NOW_S));
}

proptest! {
    #[test]
    fn lines_are_bounded_and_parse(
        lane in "\\PC{0,40}",
        names in prop::collection::vec(("\\PC{0,80}|[ -~]{0,300}", "\\PC{0,80}"), 0..12),
        numbers: (u32, u64, u64, u64, u64),
    ) {
        let labels: Vec<(Label, Label)> =
            names.iter().map(|(rule, key)| (Label::plain(rule), Label::plain(key))).collect();
        let (shard, epoch, sequence, version, waited) = numbers;
        let provenance = Provenance {
            lane: &lane,
            generation: Some(Generation { shard, epoch, sequence }),
            forecast_version: Some(version),
            waited_ms: Some(waited),
        };
        let line = provenance.line(labels.iter().map(|(rule, key)| Charged { rule, key }));
        prop_assert!(line.len() <= MAX_BYTES, "{}", line.len());
        prop_assert!(line.bytes().all(|byte| byte.is_ascii_graphic()));
        let mut charges = labels.iter().take(MAX_CHARGES);
        for (member, name) in line.split(';').zip(["lane", "gen", "fc"].into_iter().chain(core::iter::repeat("charge"))) {
            let (found, value) = member.split_once('=').unwrap();
            if found == "wait_ms" {
                prop_assert_eq!(value.parse::<u64>().unwrap(), waited);
                continue;
            }
            prop_assert_eq!(found, name);
            if name == "charge" {
                let (rule, key) = value.split_once('@').unwrap();
                let (known_rule, known_key) = charges.next().unwrap();
                prop_assert_eq!((rule, key), (known_rule.as_str(), known_key.as_str()));
            }
        }
        prop_assert!(charges.next().is_none());
    }

    #[test]
    fn uncut_labels_of_different_names_differ(one in "\\PC{0,12}", other in "\\PC{0,12}") {
        let (a, b) = (Label::plain(&one), Label::plain(&other));
        prop_assume!(!a.as_str().ends_with('!') && !b.as_str().ends_with('!'));
        prop_assert_eq!(one == other, a == b);
    }

    #[test]
    fn no_invented_token_opens(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "v1\\.[0-9]{0,22}\\.[0-9a-f]{0,66}") {
        let gate = Gate::new(Some(b"a configured token"), Some(b"secret"));
        prop_assert!(!gate.opens(&bytes, NOW_S));
        prop_assert!(!gate.opens(text.as_bytes(), NOW_S));
    }
}
