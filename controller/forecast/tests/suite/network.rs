//! One network for many series: it learns what they have in common, and is never asked about what it was trained on.

use std::sync::Arc;

use forebay_forecast::{
    GlobalNetwork, Globals, History, ModelError, ModelKind, NetworkSettings, Series, Settings, fit, fit_as_with,
    fit_with,
};

use crate::generated::Random;

const HOUR_S: u32 = 3600;
const DAY_S: i64 = 86_400;
const HOURS: usize = 24 * 24;

fn settings() -> NetworkSettings {
    NetworkSettings {
        horizon_steps: 2,
        hidden: 12,
        window_steps: 24,
        batch: 16,
        steps: 250,
        learning_rate: 1e-2,
        ..NetworkSettings::default()
    }
}

/// A wave of the day, and beside it a departure of which nine tenths are still there an hour later; sizes and shapes
/// differ from series to series.
fn departing(seed: u64) -> Series {
    let mut random = Random(seed);
    let (size, phase) = (10_f64.powf(random.uniform() * 4.0), random.uniform() * 6.0);
    let mut departure = 0.0;
    let rate = |hour: usize| {
        departure = 0.9 * departure + 0.08 * random.normal();
        let wave = 1.0 + 0.5 * (hour as f64 / 24.0 * std::f64::consts::TAU + phase).sin();
        size * wave * f64::exp(departure)
    };
    Series::new(0, HOUR_S, (0..HOURS).map(rate).collect()).unwrap()
}

#[test]
fn what_series_have_in_common_is_used_on_one_that_was_never_seen() {
    let known: Vec<Series> = (0..12).map(departing).collect();
    let network = Arc::new(GlobalNetwork::train(&known, &settings()).unwrap());
    let globals = Globals { network: Some(network), ..Globals::default() };
    let (mut own, mut naive) = (0.0, f64::INFINITY);
    let mut naives = [0.0; 2];
    for seed in 100..104 {
        let history = History::new(&departing(seed));
        let model = ModelKind::Lstm.fit_with(&globals, &history, HOURS, 1).unwrap();
        let mean = history.mean(0, HOURS).unwrap();
        let origins: Vec<usize> = (400..HOURS).collect();
        model.roll(&history, &origins, 1, |origin, points| {
            if let Some(actual) = history.value(origin) {
                own += (points[0] - actual).abs() / mean;
                for (loss, back) in naives.iter_mut().zip([1, 24]) {
                    *loss += (history.value(origin - back).unwrap() - actual).abs() / mean;
                }
            }
        });
        naive = naives[0].min(naives[1]);
    }
    println!("absolute error one hour ahead, network over the better naive forecast: {:.3}", own / naive);
    assert!(own < 0.8 * naive, "{own} against {naives:?}");
}

#[test]
fn a_network_takes_part_in_the_selection_where_it_has_not_seen_what_it_is_judged_by() {
    let network = |network: GlobalNetwork| Globals { network: Some(Arc::new(network)), ..Globals::default() };
    let series = departing(100);
    let wanted = Settings { horizon_steps: 2, ..Settings::default() };
    let scored = |globals: &Globals| fit_with(globals, &series, &wanted).unwrap().report().score_of(ModelKind::Lstm);
    let all: Vec<Series> = (0..6).map(departing).collect();
    let unseen = GlobalNetwork::train_before_held_out(&all, &settings()).unwrap();
    let quarters = 2 * 6 * DAY_S;
    assert_eq!(unseen.trained_until_s(), all[0].end_s() - quarters);
    let globals = network(unseen);
    assert!(scored(&globals).is_some());
    for kind in [ModelKind::Lstm, ModelKind::Combination] {
        let renewed = fit_as_with(&globals, kind, &series, &wanted).unwrap();
        assert_eq!(renewed.report().score_of(ModelKind::Lstm), scored(&globals));
    }
    let seeing = network(GlobalNetwork::train(&all, &settings()).unwrap());
    assert_eq!(scored(&seeing), None, "it has seen what the others are asked to forecast");
    assert_eq!(scored(&Globals::default()), fit(&series, &wanted).unwrap().report().score_of(ModelKind::Lstm));
}

#[test]
fn training_ends_where_the_first_of_the_series_is_held_out() {
    let series = departing(1);
    let part = |from: usize, to: usize| series.slice(from, to).unwrap();
    let known = [part(300, HOURS), part(100, HOURS - 48), part(HOURS - 100, HOURS)];
    let network = GlobalNetwork::train_before_held_out(&known, &NetworkSettings { steps: 1, ..settings() }).unwrap();
    let held_out = (HOURS - 148) / 4 / 24 * 24;
    assert_eq!(network.trained_until_s(), known[1].end_s() - 2 * held_out as i64 * i64::from(HOUR_S));
    let unknown = [Series::new(0, HOUR_S, vec![f64::NAN; HOURS]).unwrap()];
    assert!(GlobalNetwork::train_before_held_out(&unknown, &settings()).is_err());
}

#[test]
fn a_time_budget_becomes_a_number_of_steps() {
    let steps = |cpu_s: f64| NetworkSettings::default().within(cpu_s).steps;
    assert!((2_000..10_000).contains(&steps(15.0)), "{}", steps(15.0));
    assert_eq!(steps(20.0) / steps(10.0), 2);
    assert_eq!((steps(0.0), steps(f64::INFINITY)), (1, 100_000));
}

#[test]
fn quantiles_are_in_order_and_the_seed_decides() {
    let known: Vec<Series> = (0..3).map(departing).collect();
    let settings = NetworkSettings { steps: 20, ..settings() };
    let history = History::new(&known[0]);
    let said = |seed: u64| {
        let network = GlobalNetwork::train(&known, &NetworkSettings { seed, ..settings }).unwrap();
        network.quantiles(&history, HOURS, 2)
    };
    let quantiles = said(1);
    assert_eq!(quantiles.len(), 2);
    assert!(quantiles.iter().all(|step| step.is_sorted() && step[0] >= 0.0 && step[2].is_finite()), "{quantiles:?}");
    assert_eq!(quantiles, said(1));
    assert_ne!(quantiles, said(2));
}

#[test]
fn a_network_is_not_asked_about_what_it_has_seen_nor_further_than_it_looks() {
    let known = [departing(1)];
    let network = GlobalNetwork::train(&known, &NetworkSettings { steps: 1, ..settings() }).unwrap();
    assert_eq!(network.trained_until_s(), known[0].end_s());
    let globals = Globals { network: Some(Arc::new(network)), ..Globals::default() };
    let history = History::new(&known[0]);
    let refused = |end: usize, horizon: usize| {
        let error = ModelKind::Lstm.fit_with(&globals, &history, end, horizon).unwrap_err();
        assert!(matches!(error, ModelError::NotEstimated { model: "lstm", .. }), "{error}");
    };
    refused(HOURS - 1, 2);
    refused(HOURS, 3);
    assert!(ModelKind::Lstm.fit_with(&globals, &history, HOURS, 2).is_ok());
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let short = [Series::new(0, HOUR_S, vec![1.0; 30]).unwrap()];
    let refused = GlobalNetwork::train(&short, &settings()).unwrap_err();
    assert_eq!(refused, ModelError::TooFewSteps { model: "lstm", have: 6, need: 64 });
    assert!(GlobalNetwork::train(&[], &settings()).is_err());
    let known = [departing(1)];
    for odd in [
        NetworkSettings { hidden: 0, ..settings() },
        NetworkSettings { batch: 1_000, ..settings() },
        NetworkSettings { horizon_steps: 0, ..settings() },
        NetworkSettings { learning_rate: f64::NAN, ..settings() },
    ] {
        let refused = GlobalNetwork::train(&known, &odd).unwrap_err();
        assert!(matches!(refused, ModelError::NotEstimated { .. }), "{refused}");
    }
    let unmeasured = [Series::new(0, HOUR_S, vec![f64::NAN; HOURS]).unwrap()];
    let network = GlobalNetwork::train(&unmeasured, &NetworkSettings { steps: 3, ..settings() }).unwrap();
    let said = network.quantiles(&History::new(&unmeasured[0]), HOURS, 2);
    assert!(said.iter().flatten().all(|value| value.abs() < 1e-6), "{said:?}");
}
