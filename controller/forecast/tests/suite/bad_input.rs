//! Sources that no series or no forecast can be made of, or only an odd one: what is answered to each, from rows to fit.

use forebay_forecast::{
    ForecastError, MAX_VALUE, Measure, ModelKind, Observation, ObservationError, Regularise, Series, SeriesError,
    Settings, fit, fit_as, regularise,
};

const HOUR_S: i64 = 3600;
const HOURS: usize = 240;
const NEED: usize = 48;

/// What comes of a source.
#[derive(Debug, PartialEq)]
enum Answer {
    /// No series.
    Refused(ObservationError),
    /// A series that is too short to fit.
    TooShort { have: usize },
    /// A forecast whose median is this at every step.
    Forecast(f64),
}

fn hourly(values: impl IntoIterator<Item = f64>) -> Vec<Observation> {
    let rows = values.into_iter().enumerate();
    rows.map(|(hour, value)| Observation::at_second(hour as u64 + 2, hour as i64 * HOUR_S, value)).collect()
}

fn constant_but(hour: usize, value: f64) -> Vec<Observation> {
    let mut rows = hourly([5.0; HOURS]);
    rows[hour].value = value;
    rows
}

/// From the rows of a level to what is forecast; every model that can be fitted stays within bounds.
fn answer(rows: &[Observation], measure: Measure) -> Answer {
    let series = match regularise(rows, &Regularise::new(measure)) {
        Ok(regular) => regular.series,
        Err(error) => {
            assert!(error.to_string().contains(';') || error.to_string().contains(','), "a remedy: {error}");
            return Answer::Refused(error);
        }
    };
    let settings = Settings { horizon_steps: 6, ..Settings::default() };
    for kind in ModelKind::ALL {
        let Ok(forecaster) = fit_as(kind, &series, &settings) else { continue };
        for step in forecaster.predict(&series).unwrap().steps {
            let quantiles = [0.01, 0.5, 0.95, 0.999].map(|p| step.quantile(p));
            assert!(
                quantiles.is_sorted() && quantiles.iter().all(|q| q.is_finite() && *q >= 0.0),
                "{kind}: {quantiles:?}"
            );
        }
    }
    match fit(&series, &settings) {
        Ok(forecaster) => {
            let steps = forecaster.predict(&series).unwrap().steps;
            let medians: Vec<f64> = steps.iter().map(|step| step.quantile(0.5)).collect();
            let first = medians[0];
            assert!(medians.iter().all(|median| (median - first).abs() <= 1e-9 * first), "{medians:?}");
            Answer::Forecast(first)
        }
        Err(ForecastError::TooShort { have, need }) => {
            assert_eq!(need, NEED);
            Answer::TooShort { have }
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_odd_source_has_its_answer() {
    use Answer::{Forecast, Refused, TooShort};
    let constant = || hourly([5.0; HOURS]);
    let reversed = || constant().into_iter().rev().collect::<Vec<_>>();
    let twice = || [constant(), constant()].concat();
    let some_missing = || hourly((0..HOURS).map(|hour| if hour % 7 == 3 { f64::NAN } else { 5.0 }));
    let step_changes = || {
        let halves = (0..HOURS as i64).map(|half| Observation::at_second(1, half * HOUR_S / 2, 5.0));
        halves.chain(constant().into_iter().skip(HOURS / 2)).collect::<Vec<_>>()
    };
    let table: [(&str, Vec<Observation>, Answer); 17] = [
        ("constant", constant(), Forecast(5.0)),
        ("all zero", hourly([0.0; HOURS]), Forecast(0.0)),
        ("the largest value", hourly([MAX_VALUE; HOURS]), Forecast(MAX_VALUE)),
        ("tiny", hourly([5e-324; HOURS]), Forecast(5e-324)),
        ("nothing", vec![], Refused(ObservationError::Empty)),
        ("one point", hourly([5.0]), Refused(ObservationError::StepUnknown { stamps: 1, median_s: 0.0 })),
        ("two points", hourly([5.0; 2]), TooShort { have: 2 }),
        ("all missing", hourly([f64::NAN; HOURS]), TooShort { have: 0 }),
        ("one known among missing", constant_but(0, f64::NAN)[..2].to_vec(), TooShort { have: 1 }),
        ("some missing", some_missing(), Forecast(5.0)),
        ("each row twice", twice(), Forecast(5.0)),
        ("backwards", reversed(), Forecast(5.0)),
        ("a negative value", constant_but(7, -1.0), Refused(ObservationError::Negative { row: 9, value: -1.0 })),
        ("1e300", constant_but(7, 1e300), Refused(ObservationError::TooLarge { row: 9, value: 1e300 })),
        (
            "infinite",
            constant_but(7, f64::INFINITY),
            Refused(ObservationError::NotFinite { row: 9, value: f64::INFINITY }),
        ),
        ("half hours, then hours", step_changes(), Forecast(5.0)),
        (
            "a weekly source",
            {
                let weeks = (0..60).map(|week| Observation::at_second(2, week * 7 * 24 * HOUR_S, 5.0));
                weeks.collect()
            },
            Refused(ObservationError::TooCoarse { distance_s: 604_800.0 }),
        ),
    ];
    for (name, rows, expected) in table {
        assert_eq!(answer(&rows, Measure::Level), expected, "{name}");
    }
}

#[test]
fn counts_have_answers_of_their_own() {
    let negative = answer(&constant_but(7, -3.0), Measure::Count);
    assert_eq!(negative, Answer::Refused(ObservationError::Negative { row: 9, value: -3.0 }));
    let part = answer(&constant_but(7, 2.5), Measure::Count);
    assert_eq!(part, Answer::Refused(ObservationError::NotWhole { row: 9, value: 2.5 }));
    // Two reports of five each: ten an hour.
    let twice = [hourly([5.0; HOURS]), hourly([5.0; HOURS])].concat();
    assert_eq!(answer(&twice, Measure::Count), Answer::Forecast(10.0 / 3600.0));
    // A counter that stands still, and one that begins again every day.
    assert_eq!(answer(&hourly([5.0; HOURS]), Measure::Counter), Answer::Forecast(0.0));
    let restarted = hourly((0..HOURS).map(|hour| 36.0 * (hour % 24 + 1) as f64));
    assert_eq!(answer(&restarted, Measure::Counter), Answer::Forecast(0.01));
}

#[test]
fn a_series_has_the_same_door() {
    let of = |value| Series::new(0, 3600, vec![1.0, value]);
    for value in [-1.0, 1e300, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(of(value), Err(SeriesError::Value { index: 1, value }));
    }
    assert!(of(MAX_VALUE).is_ok() && of(f64::NAN).is_ok());
}
