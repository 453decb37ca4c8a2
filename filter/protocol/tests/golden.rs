//! The bytes of version 1, held for ever, and the promise that no bytes make decoding panic.

use forebay_protocol::extension::{
    AttributeNames, Count, DETAILS, DetailRow, Details, EXPECTATIONS, Expectations, Further, MoreReady, PROVISIONING,
    Provisioning, SlotCount, SlotTime, extension, find, trimmed,
};
use forebay_protocol::v1::{Grant, Limit, Slot};
use forebay_protocol::{
    Counters, DecodeError, Extension, Generation, GrantTable, MAX_BODY_BYTES, Message, Report, ReportAck, Row,
    SyncStats, Watch, decode, encode,
};
use proptest::prelude::*;

fn generation() -> Generation {
    Generation { shard: 1, epoch: 1_800_000_000, sequence: 42 }
}

fn report() -> Message {
    let counters = Counters {
        reserved_requests: 1,
        reserved_units: 2,
        standard_requests: 3,
        standard_units: 4,
        refused_requests: 5,
        refused_units: 600,
    };
    Message::Report(Report {
        proxy: "gateway-1".into(),
        boot_id: 7,
        sequence: 8,
        uptime_ms: 1_500,
        generation: generation(),
        speaks: vec![1],
        rows: vec![Row { tenant: "shop".into(), resource: "requests".into(), counters }],
        stats: SyncStats { stale_tables: 9, ..SyncStats::default() },
        extensions: vec![],
    })
}

fn ack() -> Message {
    Message::ReportAck(ReportAck { generation: generation(), valid_for_ms: 30_000, extensions: vec![] })
}

fn watch() -> Message {
    Message::Watch(Watch {
        proxy: "gateway-1".into(),
        boot_id: 7,
        known: Generation::default(),
        collecting: Some((generation(), 3)),
        speaks: vec![1],
        extensions: vec![Extension { tag: 500, bytes: vec![1, 2] }],
    })
}

fn table() -> Message {
    let limit = |rate_milli_per_s, burst| Limit { rate_milli_per_s, burst };
    let slot = Slot { id: 5_958_720, starts_in_ms: -250, length_ms: 300_000, amount: 9_000, pace: limit(30_000, 30) };
    let grant = Grant {
        tenant: "shop".into(),
        resource: "requests".into(),
        standard: limit(100_000, 200),
        safe: limit(50_000, 100),
        forecast_version: 3,
        slots: vec![slot],
    };
    Message::GrantTable(GrantTable {
        generation: generation(),
        part: 0,
        parts: 1,
        valid_for_ms: 30_000,
        grants: vec![grant],
        extensions: vec![],
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn version_1_keeps_its_bytes() {
    let golden = [
        (
            report(),
            "46424159010001003300000009676174657761792d310708dc0b0180a4a7da062a0101010473686f700872657175657374730102030405d804000009000000",
        ),
        (ack(), "46424159010002000b0000000180a4a7da062ab0ea0100"),
        (watch(), "46424159010003001f00000009676174657761792d3107000000010180a4a7da062a03010101f403020102"),
        (
            table(),
            "4642415901000400360000000180a4a7da062a0001b0ea01010473686f70087265717565737473a08d06c801d08603640301c0d8eb02f303e0a712a846b0ea011e00",
        ),
    ];
    for (message, bytes) in golden {
        assert_eq!(hex(&encode(&message)), bytes, "{message:?}");
        assert_eq!(decode(&encode(&message)), Ok(message));
    }
}

fn details() -> Details {
    let further = Further {
        borrowed: Count { requests: 1, units: 2 },
        refunded_units: 300,
        burst_units: 4,
        running: SlotCount { id: 5_958_720, predicted: 90, upper: 120, offered: Count { requests: 7, units: 8 } },
        ..Further::default()
    };
    let values = vec!["eu".into(), "us".into()];
    Details {
        attributes: vec![AttributeNames { name: "region".into(), values }],
        rows: vec![DetailRow { counts: trimmed(&further.words()).to_vec(), cells: vec![(0, 9), (2, 1)] }],
    }
}

fn expectations() -> Expectations {
    let slots = vec![SlotTime { id: 5_958_720, starts_in_ms: -250, length_ms: 300_000 }];
    Expectations { slots, rows: vec![vec![(90, 120)], vec![]] }
}

fn provisioning() -> Provisioning {
    Provisioning { rows: vec![MoreReady { row: 0, in_ms: 90_000 }, MoreReady { row: 300, in_ms: 7 }] }
}

#[test]
fn extensions_keep_their_bytes() {
    let golden = [
        (
            extension(DETAILS, &details()),
            "0106726567696f6e02026575027573011601020000ac02000000000000000000000004c0d8eb025a7807080200090201",
        ),
        (extension(EXPECTATIONS, &expectations()), "01c0d8eb02f303e0a71202015a7800"),
        (extension(PROVISIONING, &provisioning()), "020090bf05ac0207"),
    ];
    let further = Further { hostile: Count { requests: 300, units: 5 }, ..Further::default() };
    let row = DetailRow { counts: trimmed(&further.words()).to_vec(), cells: vec![] };
    let hostile = extension(DETAILS, &Details { attributes: vec![], rows: vec![row] });
    assert_eq!(hex(&hostile.bytes), format!("00011d{}ac020500", "00".repeat(27)));
    for (extension, bytes) in &golden {
        assert_eq!(hex(&extension.bytes), *bytes, "{}", extension.tag);
    }
    let extensions = golden.map(|(extension, _)| extension);
    assert_eq!(find(&extensions, DETAILS), Some(details()));
    assert_eq!(find(&extensions, EXPECTATIONS), Some(expectations()));
    assert_eq!(find(&extensions, PROVISIONING), Some(provisioning()));
}

/// What version 1 said before it had any extension is what it says now without one, and the other way round: a peer that
/// knows none finds the same report whatever is in them.
#[test]
fn peers_with_and_without_extensions_understand_each_other() {
    let Message::Report(old) = report() else { unreachable!() };
    assert_eq!(find::<Details>(&old.extensions, DETAILS), None);
    let extended = Report { extensions: vec![extension(DETAILS, &details())], ..old.clone() };
    let Ok(Message::Report(read)) = decode(&encode(&Message::Report(extended))) else { panic!("not a report") };
    assert_eq!(Report { extensions: vec![], ..read }, old);

    let Message::GrantTable(old) = table() else { unreachable!() };
    assert_eq!(find::<Provisioning>(&old.extensions, PROVISIONING), None);
    let later = Extension { tag: 500, bytes: vec![1, 2] };
    let extended = GrantTable { extensions: vec![later, extension(PROVISIONING, &provisioning())], ..old.clone() };
    let Ok(Message::GrantTable(read)) = decode(&encode(&Message::GrantTable(extended))) else { panic!("not a table") };
    assert_eq!(find(&read.extensions, PROVISIONING), Some(provisioning()), "whatever else is told");
    assert_eq!(GrantTable { extensions: vec![], ..read }, old);
}

#[test]
fn counts_are_read_by_older_and_newer_peers() {
    let numbered: Vec<u64> = (1..=Further::WORDS as u64).collect();
    let all = Further::read(&mut numbered.iter().copied());
    assert_eq!(all.words().as_slice(), numbered, "each word has a field of its own");
    let mut newer = [numbered.as_slice(), &[77]].concat().into_iter();
    assert_eq!(Further::read(&mut newer), all);
    assert_eq!(newer.next(), Some(77), "a later count stays unread");
    let before_hostile = Further::read(&mut numbered[..27].iter().copied());
    assert_eq!(before_hostile, Further { hostile: Count::default(), ..all });
    let older = Further::read(&mut [1, 2].into_iter());
    assert_eq!(older, Further { borrowed: Count { requests: 1, units: 2 }, ..Further::default() });
    assert_eq!(trimmed(&older.words()), [1, 2]);
    assert_eq!(trimmed(&Further::default().words()), [0u64; 0]);
    let mut longer = extension(EXPECTATIONS, &expectations());
    longer.bytes.push(9);
    assert_eq!(find(&[longer.clone()], EXPECTATIONS), Some(expectations()), "a later field is left alone");
    longer.bytes.truncate(3);
    assert_eq!(find::<Expectations>(&[longer], EXPECTATIONS), None, "damage is no value");
    let mut longer = extension(PROVISIONING, &provisioning());
    longer.bytes.push(9);
    assert_eq!(find(&[longer.clone()], PROVISIONING), Some(provisioning()), "a later field is left alone");
    longer.bytes.truncate(7);
    assert_eq!(find::<Provisioning>(&[longer], PROVISIONING), None, "nor is half of it one");
}

#[test]
fn what_is_wrong_is_named() {
    let good = encode(&table());
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        decode(&bytes)
    };
    assert_eq!(with(0, b'X'), Err(DecodeError::BadMagic));
    assert_eq!(with(4, 2), Err(DecodeError::UnknownVersion(2)));
    assert_eq!(with(6, 9), Err(DecodeError::UnknownKind(9)));
    assert_eq!(with(6, 2), Err(DecodeError::BadBody), "a table is no acknowledgement");
    assert_eq!(decode(&good[..good.len() - 1]), Err(DecodeError::Truncated));
    assert_eq!(decode(&[good.as_slice(), b"x"].concat()), Err(DecodeError::Oversized));
    let mut long = good.clone();
    long[8..12].copy_from_slice(&(MAX_BODY_BYTES as u32 + 1).to_le_bytes());
    assert_eq!(decode(&long), Err(DecodeError::Oversized));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
        let extensions = [1, 2, 3].map(|tag| Extension { tag, bytes: bytes.clone() });
        let _ = (find::<Details>(&extensions, DETAILS), find::<Expectations>(&extensions, EXPECTATIONS));
        let _ = find::<Provisioning>(&extensions, PROVISIONING);
    }

    #[test]
    fn extensions_survive_the_round_trip(
        words in proptest::collection::vec(any::<u64>(), 0..30), cell in any::<u16>(), name in ".{0,9}",
        starts_in_ms in any::<i64>(), length_ms in any::<u32>(),
    ) {
        let cells = words.iter().map(|word| (cell, *word)).collect();
        let attributes = vec![AttributeNames { name: name.clone(), values: vec![name; 2] }];
        let details = Details { attributes, rows: vec![DetailRow { counts: words.clone(), cells }; 2] };
        prop_assert_eq!(find(&[extension(DETAILS, &details)], DETAILS), Some(details));
        let slots = vec![SlotTime { id: u64::from(cell), starts_in_ms, length_ms }; 2];
        let rows = words.iter().map(|word| vec![(*word, 1); 2]).collect();
        let expectations = Expectations { slots, rows };
        prop_assert_eq!(find(&[extension(EXPECTATIONS, &expectations)], EXPECTATIONS), Some(expectations));
        let rows = vec![MoreReady { row: length_ms, in_ms: length_ms / 2 }; words.len()];
        let provisioning = Provisioning { rows };
        prop_assert_eq!(find(&[extension(PROVISIONING, &provisioning)], PROVISIONING), Some(provisioning));
    }

    /// Damage anywhere is either refused or yields another well-formed message.
    #[test]
    fn damage_is_survived(at in 0usize..140, flip in 1u8..=255, cut in 0usize..140) {
        let mut bytes = encode(&table());
        let last = bytes.len() - 1;
        bytes[at.min(last)] ^= flip;
        let _ = decode(&bytes);
        bytes.truncate(cut.min(last));
        prop_assert!(decode(&bytes).is_err());
    }
}
