use proptest::prelude::*;

use super::*;
use crate::anomaly::Why;

const HOUR_S: i64 = 3600;

fn ten_hours() -> Series {
    Series::new(0, 3600, vec![10.0; 10]).unwrap()
}

fn anomaly(from_hour: i64) -> Anomaly {
    let why = Why { actual: 50.0, expected: 10.0, deviations: 9.0, steps: 2 };
    Anomaly { from_s: from_hour * HOUR_S, score: 1.5, direction: Direction::Above, why }
}

fn said() -> Said {
    Said { by: "ana".to_owned(), at_s: 11 * HOUR_S, note: "load test".to_owned() }
}

fn label(kind: LabelKind, from_hour: i64, to_hour: i64) -> Label {
    Label { from_s: from_hour * HOUR_S, to_s: to_hour * HOUR_S, kind, said: said() }
}

fn missing(series: &Series) -> Vec<usize> {
    series.values().iter().enumerate().filter(|(_, value)| value.is_nan()).map(|(index, _)| index).collect()
}

#[test]
fn an_episode_is_one_entry_and_a_label_takes_it_back() {
    let mut ledger = Ledger::default();
    let first = ledger.detected(&anomaly(3), 4 * HOUR_S);
    assert_eq!(ledger.detected(&anomaly(3), 5 * HOUR_S), first);
    let (trained, applied) = ledger.apply(&ten_hours()).unwrap();
    assert_eq!(missing(&trained), [3, 4]);
    let stretch = Applied { from_s: 3 * HOUR_S, to_s: 5 * HOUR_S, entry: first, treatment: Treatment::Excluded };
    assert_eq!(applied, [stretch]);

    let second = ledger.label(label(LabelKind::Normal, 4, 10));
    let (trained, applied) = ledger.apply(&ten_hours()).unwrap();
    assert_eq!(missing(&trained), [3]);
    assert_eq!(applied[1].treatment, Treatment::Kept);
    ledger.label(label(LabelKind::Anomalous, 8, 9));
    assert_eq!(missing(&ledger.apply(&ten_hours()).unwrap().0), [3, 8]);
    assert_eq!(ledger.entries().len(), 3, "what was overruled stays on record");
    assert_eq!((first, second), (0, 1));
}

#[test]
fn hostile_demand_is_subtracted_and_never_learned() {
    let mut ledger = Ledger::default();
    let hostile = |from_s, to_s, rate_per_s| HostileTraffic { from_s, to_s, rate_per_s };
    assert!(ledger.hostile(&hostile(HOUR_S, 2 * HOUR_S, 4.0), said()).is_some());
    assert!(ledger.hostile(&hostile(5 * HOUR_S, 5 * HOUR_S + 1800, 4.0), said()).is_some(), "half an hour");
    assert!(ledger.hostile(&hostile(7 * HOUR_S, 8 * HOUR_S, 1e300), said()).is_some());
    for nothing in [f64::NAN, -1.0, 0.0, f64::INFINITY] {
        assert_eq!(ledger.hostile(&hostile(0, HOUR_S, nothing), said()), None);
    }
    let (trained, applied) = ledger.apply(&ten_hours()).unwrap();
    assert_eq!(trained.values(), [10.0, 6.0, 10.0, 10.0, 10.0, 8.0, 10.0, 0.0, 10.0, 10.0]);
    assert_eq!(applied.len(), 3);
    assert_eq!(applied[1].treatment, Treatment::Reduced { by_per_s: 2.0 });
}

#[test]
fn a_change_lifts_what_was_detected_since() {
    let mut ledger = Ledger::default();
    ledger.detected(&anomaly(1), 2 * HOUR_S);
    ledger.detected(&anomaly(6), 7 * HOUR_S);
    ledger.changed(&Change { from_s: 6 * HOUR_S, direction: Direction::Above, steady: true });
    assert_eq!(missing(&ledger.apply(&ten_hours()).unwrap().0), [1]);
    assert_eq!(ledger.entries()[1].lifted_from_s, Some(6 * HOUR_S));
}

#[test]
fn detection_never_starves_training_and_labels_may() {
    let mut ledger = Ledger::default();
    ledger.detected(&anomaly(2), 5 * HOUR_S);
    let (trained, applied) = ledger.apply(&ten_hours()).unwrap();
    assert_eq!(missing(&trained), [0; 0]);
    assert_eq!(applied[0].treatment, Treatment::KeptAsCommon);
    ledger.label(label(LabelKind::Anomalous, 0, 9));
    assert_eq!(missing(&ledger.apply(&ten_hours()).unwrap().0).len(), 9);
}

#[test]
fn it_is_bounded_and_forgets_with_the_history() {
    let mut ledger = Ledger::default();
    for hour in 0..MAX_ENTRIES as i64 + 10 {
        ledger.detected(&anomaly(hour), (hour + 1) * HOUR_S);
    }
    assert_eq!(ledger.entries().len(), MAX_ENTRIES);
    assert_eq!(ledger.entries()[0].id, 10);
    ledger.forget_before(4000 * HOUR_S);
    assert_eq!(ledger.entries()[0].from_s, 4000 * HOUR_S);
}

proptest! {
    /// The newest word over a step counts, found by going through all entries for each step.
    #[test]
    fn the_newest_word_counts(words in prop::collection::vec((0_i64..10, 1_i64..4, 0_u8..3), 0..12)) {
        let mut ledger = Ledger::default();
        for &(from, hours, word) in &words {
            match word {
                0 => { ledger.label(label(LabelKind::Normal, from, from + hours)); }
                1 => { ledger.label(label(LabelKind::Anomalous, from, from + hours)); }
                _ => { ledger.hostile(&HostileTraffic { from_s: from * HOUR_S, to_s: (from + hours) * HOUR_S, rate_per_s: 1.0 }, said()); }
            }
        }
        let (trained, _) = ledger.apply(&ten_hours()).unwrap();
        for step in 0..10_i64 {
            let over = || words.iter().filter(|&&(from, hours, _)| (from..from + hours).contains(&step));
            let expected = match over().rev().find(|word| word.2 < 2) {
                Some(&(_, _, 0)) => 10.0,
                Some(_) => f64::NAN,
                None => (10.0 - over().count() as f64).max(0.0),
            };
            let is = trained.values()[step as usize];
            prop_assert!(is == expected || (is.is_nan() && expected.is_nan()), "step {}: {} not {}", step, is, expected);
        }
    }

    #[test]
    fn it_survives_storage(hours in prop::collection::vec(0_i64..10, 0..8)) {
        let mut ledger = Ledger::default();
        for hour in hours {
            ledger.detected(&anomaly(hour), (hour + 1) * HOUR_S);
            ledger.label(label(LabelKind::Normal, hour, hour + 1));
        }
        let bytes = postcard::to_allocvec(&ledger).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<Ledger>(&bytes).unwrap(), &ledger);
        let mut restored = Ledger::restored(ledger.entries().to_vec());
        prop_assert_eq!(&restored, &ledger);
        prop_assert_eq!(restored.detected(&anomaly(20), 21 * HOUR_S), ledger.detected(&anomaly(20), 21 * HOUR_S));
    }
}
