//! From observations to a series: each kind of quantity, each kind of stamps, and every oddity that a source can have.

use forebay_forecast::{
    Absent, Duplicates, MAX_VALUE, Measure, Observation, ObservationError, Per, Regular, Regularise, Spacing,
    StepSource, regularise,
};
use proptest::prelude::*;

const NAN: f64 = f64::NAN;

/// Rows numbered from 1, stamps in seconds.
fn rows(values: impl IntoIterator<Item = (f64, f64)>) -> Vec<Observation> {
    let row = |(index, (at_s, value)): (usize, (f64, f64))| {
        Observation::new(index as u64 + 1, (at_s * 1e9).round() as i64, value)
    };
    values.into_iter().enumerate().map(row).collect()
}

fn every(step_s: f64, values: &[f64]) -> Vec<Observation> {
    rows(values.iter().enumerate().map(|(index, &value)| (index as f64 * step_s, value)))
}

fn with(measure: Measure) -> Regularise {
    Regularise { per: Per::Step, ..Regularise::new(measure) }
}

fn on(measure: Measure, step_s: u32) -> Regularise {
    Regularise { step_s: Some(step_s), ..with(measure) }
}

#[track_caller]
fn assert_values(regular: &Regular, expected: &[f64]) {
    let values = regular.series.values();
    let same = values.len() == expected.len()
        && values.iter().zip(expected).all(|(a, b)| (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * b.abs());
    assert!(same, "{values:?}, expected {expected:?}");
}

#[test]
fn each_measure_is_aggregated_in_its_own_way() {
    let minutes = every(60.0, &[4.0, 8.0, 0.0, 2.0, 6.0, 10.0]);
    let of = |measure| regularise(&minutes, &on(measure, 180)).unwrap();
    assert_values(&of(Measure::Count), &[12.0, 18.0]);
    assert_values(&of(Measure::Sum), &[12.0, 18.0]);
    assert_values(&of(Measure::Level), &[4.0, 6.0]);
    assert_values(&of(Measure::Ratio), &[4.0, 6.0]);
    let rate = regularise(&minutes, &Regularise { per: Per::Second, ..on(Measure::Count, 180) }).unwrap();
    assert_values(&rate, &[12.0 / 180.0, 0.1]);

    let mut shares = every(60.0, &[0.5, 0.0, 0.0, 0.9, 0.9, 0.9]);
    shares.iter_mut().zip([10.0, 0.0, 90.0, 0.0, 0.0, 0.0]).for_each(|(share, weight)| share.weight = weight);
    // The second step has no request, so no share of failures either.
    assert_values(&regularise(&shares, &on(Measure::Ratio, 180)).unwrap(), &[0.05, NAN]);
}

#[test]
fn counters_grow_fall_and_are_silent() {
    let counter = every(60.0, &[100.0, 160.0, 160.0, 20.0, 80.0]);
    let regular = regularise(&counter, &with(Measure::Counter)).unwrap();
    assert_values(&regular, &[60.0, 0.0, 20.0, 60.0]);
    assert_eq!(regular.notes.resets, 1);

    // Two readings are lost: the increase is spread. Ten are lost: nobody knows when it came.
    let stamps = [0, 1, 2, 5, 6, 17, 18, 19].map(|minute| 60.0 * f64::from(minute));
    let gappy = rows(stamps.into_iter().zip([0.0, 1.0, 2.0, 302.0, 303.0, 900.0, 901.0, 902.0]));
    let regular = regularise(&gappy, &with(Measure::Counter)).unwrap();
    let mut expected = vec![1.0, 1.0, 100.0, 100.0, 100.0, 1.0];
    expected.extend([NAN; 11]);
    expected.extend([1.0, 1.0]);
    assert_values(&regular, &expected);
    assert_eq!((regular.notes.unspread, regular.notes.missing_steps), (1, 11));

    // Read twice in one moment, before and after more was counted; the order in the source does not matter.
    let twice = rows([(0.0, 5.0), (60.0, 9.0), (60.0, 7.0), (120.0, 10.0)]);
    assert_values(&regularise(&twice, &with(Measure::Counter)).unwrap(), &[4.0, 1.0]);
}

#[test]
fn the_step_is_read_from_the_stamps_and_said() {
    let of = |observations: &[Observation]| regularise(observations, &with(Measure::Level)).unwrap();
    let exact = of(&every(300.0, &[1.0; 20]));
    assert_eq!((exact.series.step_s(), exact.notes.step, exact.series.len()), (300, StepSource::Stamps, 20));
    // Seven minutes do not divide a day; each value stands for its stretch of the ten-minute steps.
    let odd = of(&every(420.0, &[1.0, 2.0, 3.0]));
    assert_eq!((odd.series.step_s(), odd.notes.step), (600, StepSource::NextLonger { distance_s: 420.0 }));
    assert_values(&odd, &[(7.0 + 2.0 * 3.0) / 10.0, (2.0 * 4.0 + 3.0 * 6.0) / 10.0, NAN]);
    // Ten per second.
    let fine = of(&every(0.1, &[3.0; 25]));
    assert_eq!((fine.series.step_s(), fine.series.len()), (1, 3));
    assert_eq!(of(&every(86_400.0, &[3.0; 4])).series.step_s(), 86_400);
    let weekly = regularise(&every(604_800.0, &[3.0; 4]), &with(Measure::Level)).unwrap_err();
    assert_eq!(weekly, ObservationError::TooCoarse { distance_s: 604_800.0 });
}

#[test]
fn jitter_around_the_beginning_of_a_step_makes_neither_gaps_nor_pairs() {
    let jitter = [0.9, -0.7, 0.2, -0.9, 0.0, 0.4, -0.3, 0.8, -0.1, 0.6, -0.5, 0.3];
    let scrapes = (0..120).map(|k| (f64::from(k + 1) * 60.0 + jitter[k as usize % 12], f64::from(k)));
    let regular = regularise(&rows(scrapes), &with(Measure::Level)).unwrap();
    assert_eq!((regular.notes.spacing, regular.series.start_s()), (Spacing::Regular, 60));
    assert_values(&regular, &(0..120).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn values_keep_their_bits_at_any_phase() {
    let values: Vec<f64> = (0..500).map(|k| 0.1 + f64::from(k % 37) / 7.0).collect();
    for phase_s in [0.0, 1.0, 149.5, 150.0, 173.0, 299.0] {
        let shifted =
            values.iter().enumerate().map(|(k, &value)| (1_424_986_800.0 + phase_s + 300.0 * k as f64, value));
        let series = regularise(&rows(shifted), &with(Measure::Level)).unwrap().series;
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(series.values()), bits(&values), "phase {phase_s}");
        assert!((series.start_s() - 1_424_986_800 - phase_s as i64).abs() <= 150);
    }
}

#[test]
fn drifting_stamps_are_divided_among_the_steps_they_overlap() {
    let counts = rows((0..1200).map(|k| (f64::from(k) * 60.5, 605.0)));
    let regular = regularise(&counts, &on(Measure::Count, 300)).unwrap();
    assert_eq!(regular.notes.spacing, Spacing::Drifting);
    assert_values(&regular, &[3000.0; 242]);
}

#[test]
fn a_log_of_events_needs_a_step_and_has_points() {
    let at_s = [0.0, 0.2, 3.1, 3.15, 9.0, 21.7, 21.7, 22.0, 35.0, 58.0];
    let events = rows(at_s.map(|at_s| (at_s, 1.0)));
    let unknown = regularise(&events, &with(Measure::Count)).unwrap_err();
    assert!(matches!(unknown, ObservationError::StepUnknown { stamps: 9, .. }), "{unknown}");
    let regular = regularise(&events, &on(Measure::Count, 10)).unwrap();
    assert_eq!((regular.notes.spacing, regular.notes.duplicates), (Spacing::Irregular, 1));
    assert_values(&regular, &[5.0, NAN, 3.0, 1.0, NAN, 1.0]);
    let zeros = Regularise { absent: Absent::Zero, ..on(Measure::Count, 10) };
    assert_values(&regularise(&events, &zeros).unwrap(), &[5.0, 0.0, 3.0, 1.0, 0.0, 1.0]);
    // The last one comes just when a step begins.
    let at_s = [0.0, 0.3, 7.1, 20.0].map(|at_s| (at_s, 1.0));
    assert_values(&regularise(&rows(at_s), &on(Measure::Count, 10)).unwrap(), &[3.0, NAN, 1.0]);
}

#[test]
fn a_change_of_the_step_is_seen_and_the_longer_one_counts() {
    // Forty minutes by the minute, then two hours by five minutes; one event per second all the time.
    let minutes = (0..40).map(|k| (f64::from(k) * 60.0, 60.0));
    let fives = (0..24).map(|k| (2400.0 + f64::from(k) * 300.0, 300.0));
    let changed = rows(minutes.chain(fives));
    let regular = regularise(&changed, &with(Measure::Count)).unwrap();
    assert_eq!((regular.series.step_s(), regular.notes.cadence_changes), (300, 1));
    assert_values(&regular, &[300.0; 32]);
    let level = regularise(&changed, &on(Measure::Level, 600)).unwrap();
    assert_values(&level, &[[60.0; 4].as_slice(), &[300.0; 12]].concat());
    let refused = regularise(&changed, &on(Measure::Count, 60)).unwrap_err();
    assert_eq!(refused, ObservationError::Finer { row: 41, distance_s: 300.0, step_s: 60 });
    assert!(refused.to_string().contains("row 41: from here stamps are 300 s apart"), "{refused}");
}

#[test]
fn finer_steps_than_what_was_measured_are_refused() {
    let hourly = every(3600.0, &[1.0, 2.0, 3.0]);
    let refused = regularise(&hourly, &on(Measure::Level, 300)).unwrap_err();
    assert_eq!(refused, ObservationError::Finer { row: 1, distance_s: 3600.0, step_s: 300 });
}

#[test]
fn steps_known_in_part_are_completed_or_missing() {
    // Of the second step two minutes of five are missing, of the third three.
    let at_min = [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 15, 16, 17, 18, 19];
    let counts = rows(at_min.map(|minute| (60.0 * f64::from(minute), 10.0)));
    let regular = regularise(&counts, &on(Measure::Count, 300)).unwrap();
    assert_values(&regular, &[50.0, 50.0, NAN, 50.0]);
    let zeros = Regularise { absent: Absent::Zero, ..on(Measure::Count, 300) };
    assert_values(&regularise(&counts, &zeros).unwrap(), &[50.0, 30.0, 20.0, 50.0]);
}

#[test]
fn duplicates_merge_as_they_are_told_to() {
    let twice = rows([(0.0, 1.0), (60.0, 2.0), (60.0, 6.0), (120.0, 3.0)]);
    let of = |duplicates| regularise(&twice, &Regularise { duplicates, ..with(Measure::Level) });
    for (duplicates, expected) in
        [(Duplicates::Last, 6.0), (Duplicates::Mean, 4.0), (Duplicates::Add, 8.0), (Duplicates::Largest, 6.0)]
    {
        let regular = of(duplicates).unwrap();
        assert_values(&regular, &[1.0, expected, 3.0]);
        assert_eq!(regular.notes.duplicates, 1);
    }
    assert_eq!(of(Duplicates::Refuse), Err(ObservationError::Duplicate { row: 3, earlier: 2 }));
    let blank = rows([(0.0, 1.0), (60.0, NAN), (60.0, 6.0), (120.0, 3.0)]);
    assert_values(&regularise(&blank, &with(Measure::Level)).unwrap(), &[1.0, 6.0, 3.0]);
}

#[test]
fn what_is_no_value_is_refused_with_its_row() {
    let of = |measure, value| {
        let mut observations = every(60.0, &[1.0; 9]);
        observations[4].value = value;
        regularise(&observations, &with(measure))
    };
    for measure in [Measure::Count, Measure::Sum, Measure::Level, Measure::Ratio, Measure::Counter] {
        let infinite = of(measure, f64::INFINITY);
        assert_eq!(infinite, Err(ObservationError::NotFinite { row: 5, value: f64::INFINITY }));
        assert_eq!(of(measure, -1.0), Err(ObservationError::Negative { row: 5, value: -1.0 }));
        assert_eq!(of(measure, 1e300), Err(ObservationError::TooLarge { row: 5, value: 1e300 }));
    }
    assert_eq!(of(Measure::Count, 0.5), Err(ObservationError::NotWhole { row: 5, value: 0.5 }));
    assert_eq!(of(Measure::Level, NAN).unwrap().notes.blanks, 1);
    let huge = every(60.0, &[MAX_VALUE; 10]);
    assert!(matches!(regularise(&huge, &on(Measure::Sum, 300)), Err(ObservationError::TooLarge { row: 1, .. })));
    assert_values(&regularise(&huge, &on(Measure::Level, 300)).unwrap(), &[MAX_VALUE; 2]);
}

#[test]
fn what_are_no_stamps_is_refused() {
    assert_eq!(regularise(&[], &with(Measure::Level)), Err(ObservationError::Empty));
    let alone = rows([(7.0, 1.0)]);
    assert!(matches!(regularise(&alone, &with(Measure::Level)), Err(ObservationError::StepUnknown { stamps: 1, .. })));
    assert_values(&regularise(&alone, &on(Measure::Level, 60)).unwrap(), &[1.0]);
    let far = [Observation::at_second(8, i64::MAX, 1.0), Observation::at_second(9, 0, 1.0)];
    assert_eq!(regularise(&far, &with(Measure::Level)), Err(ObservationError::Stamp { row: 8 }));
    let mut stray = every(1.0, &[1.0; 50]);
    stray.push(Observation::at_second(51, 1_700_000_000, 1.0));
    let refused = regularise(&stray, &with(Measure::Level)).unwrap_err();
    assert!(matches!(refused, ObservationError::TooLong { step_s: 1, row: 51, .. }), "{refused}");
    let zero = regularise(&every(60.0, &[1.0; 3]), &on(Measure::Level, 0));
    assert_eq!(zero, Err(ObservationError::Step { step_s: 0 }));
    assert!(regularise(&every(60.0, &[1.0; 3]), &on(Measure::Level, 420)).is_err());
}

proptest! {
    /// Against the plain way: sum and mean by the step that a stamp falls into, for stamps on a grid with gaps.
    #[test]
    fn equally_spaced_rows_are_binned(
        kept in prop::collection::vec(prop::bool::weighted(0.8), 40..200),
        start in -5_000_i64..5_000,
        parts in 1_i64..12,
        seed in 0_u64..1000,
    ) {
        let parts = [1, 2, 3, 5, 10, 15, 30, 60, 2, 3, 5][parts as usize - 1];
        let value = |index: usize| ((index as u64 * 7919 + seed * 104_729) % 1000) as f64;
        let kept: Vec<usize> = (0..kept.len()).filter(|&index| kept[index]).collect();
        let minutes: Vec<i64> = kept.iter().map(|&index| start + index as i64).collect();
        let mut observations: Vec<Observation> = kept.iter().zip(&minutes)
            .map(|(&index, &minute)| Observation::at_second(index as u64, minute * 60, value(index))).collect();
        // In any order.
        let middle = observations.len() / 3;
        observations.rotate_left(middle);
        prop_assume!(minutes.windows(2).filter(|two| two[1] - two[0] == 1).count() * 2 > minutes.len());
        // Eight equal gaps in a row are another cadence, not gaps.
        let gaps: Vec<i64> = minutes.windows(2).map(|two| two[1] - two[0]).collect();
        prop_assume!(gaps.chunk_by(|a, b| a == b).all(|run| run[0] == 1 || run.len() < 8));
        let step_s = 60 * parts as u32;
        let count = regularise(&observations, &Regularise { absent: Absent::Zero, ..on(Measure::Count, step_s) }).unwrap();
        let level = regularise(&observations, &on(Measure::Level, step_s)).unwrap();
        let first = minutes[0].div_euclid(parts);
        prop_assert_eq!(count.series.start_s(), first * parts * 60);
        for (k, (&sum, &mean)) in count.series.values().iter().zip(level.series.values()).enumerate() {
            let inside: Vec<f64> = kept.iter().zip(&minutes)
                .filter(|(_, minute)| minute.div_euclid(parts) == first + k as i64)
                .map(|(&index, _)| value(index)).collect();
            let expected: f64 = inside.iter().sum();
            prop_assert!((sum - expected).abs() < 1e-6);
            if 2 * inside.len() as i64 >= parts {
                prop_assert!((mean - expected / inside.len() as f64).abs() < 1e-6);
            } else {
                prop_assert!(mean.is_nan());
            }
        }
    }

    /// Nothing that came is lost or made up, whatever the stamps.
    #[test]
    fn amounts_are_conserved(
        distances in prop::collection::vec(prop_oneof![3 => Just(30.0), 2 => 0.001..400.0_f64], 1..120),
        step_s in prop::sample::select(vec![60_u32, 300, 3600]),
    ) {
        let mut at_s = 0.0;
        let stamps = distances.iter().map(|distance| { at_s += distance; (at_s, 3.0) });
        let observations = rows(stamps);
        let how = Regularise { absent: Absent::Zero, ..on(Measure::Count, step_s) };
        let Ok(regular) = regularise(&observations, &how) else { return Ok(()) };
        let total: f64 = regular.series.values().iter().sum();
        prop_assert!((total - 3.0 * observations.len() as f64).abs() < 1e-6, "{total}");
    }
}
