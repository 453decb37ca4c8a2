//! The suite that every model passes: one row per model, one check per hazard.

use forebay_forecast::{Forecast, ForecastError, ModelKind, Series, Settings, fit, fit_as};

use crate::generated::{Bursts, Random, demand};

const HOUR_S: u32 = 3600;
const PROBABILITIES: [f64; 9] = [0.001, 0.05, 0.25, 0.4999, 0.5, 0.75, 0.95, 0.99, 0.9999];

macro_rules! conforms {
    ($($name:ident: $kind:expr,)*) => {
        $(mod $name {
            use super::*;
            #[test] fn forecasts_lie_in_the_future() { super::forecasts_lie_in_the_future($kind); }
            #[test] fn same_input_same_bits() { super::same_input_same_bits($kind); }
            #[test] fn survives_missing_values() { super::survives_missing_values($kind); }
            #[test] fn a_constant_is_forecast_exactly() { super::a_constant_is_forecast_exactly($kind); }
            #[test] fn no_demand_is_forecast_as_none() { super::no_demand_is_forecast_as_none($kind); }
            #[test] fn bounded_after_a_burst_out_of_nothing() { super::bounded_after_a_burst_out_of_nothing($kind); }
            #[test] fn short_recent_history_will_do() { super::short_recent_history_will_do($kind); }
        })*

        #[test]
        fn every_model_has_its_row() {
            assert_eq!([$($kind),*], ModelKind::ALL);
        }
    };
}

conforms! {
    last_value: ModelKind::LastValue,
    seasonal_naive: ModelKind::SeasonalNaive,
    lag_ridge: ModelKind::LagRidge,
}

fn settings() -> Settings {
    Settings { horizon_steps: 4, upper_quantile: 0.95 }
}

fn hourly(values: Vec<f64>) -> Series {
    Series::new(0, HOUR_S, values).unwrap()
}

fn noisy(hours: usize) -> Series {
    let mut random = Random(7);
    let rate = |hour: usize| 50.0 + 30.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
    hourly((0..hours).map(|hour| (rate(hour) + 5.0 * random.normal()).max(0.0)).collect())
}

/// Every quantile is finite, not negative, and no smaller than the one before.
fn assert_sound(forecast: &Forecast) {
    assert!(!forecast.steps.is_empty());
    for step in &forecast.steps {
        let mut last = 0.0;
        for p in PROBABILITIES {
            let value = step.quantile(p);
            assert!(value.is_finite() && value >= last, "quantile {p} at lead {} is {value} after {last}", step.lead);
            last = value;
        }
    }
}

fn forecasts_lie_in_the_future(kind: ModelKind) {
    let history = noisy(500);
    let forecast = fit_as(kind, &history, &settings()).unwrap().predict(&history).unwrap();
    assert_sound(&forecast);
    assert_eq!((forecast.model, forecast.first_s, forecast.step_s), (kind, history.end_s(), HOUR_S));
    let starts: Vec<i64> = forecast.steps.iter().map(|step| step.start_s - history.end_s()).collect();
    assert_eq!(starts, [0, 3600, 7200, 10_800]);
}

fn same_input_same_bits(kind: ModelKind) {
    let history = noisy(500);
    let bits = || {
        let forecast = fit_as(kind, &history, &settings()).unwrap().predict(&history).unwrap();
        forecast.steps.iter().map(|step| step.quantile(0.95).to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(bits(), bits());
}

fn survives_missing_values(kind: ModelKind) {
    let mut random = Random(3);
    let holes = |random: &mut Random, value: f64| {
        if random.uniform() < 0.3 { f64::NAN } else { value }
    };
    let mut values: Vec<f64> = noisy(800).values().iter().map(|&value| holes(&mut random, value)).collect();
    values[300..360].fill(f64::NAN);
    values[..5].fill(f64::NAN);
    values[790..].fill(f64::NAN);
    let history = hourly(values);
    let mut forecaster = fit_as(kind, &history, &settings()).unwrap();
    let forecast = forecaster.predict(&history).unwrap();
    assert_sound(&forecast);
    forecaster.observe(&forecast.steps[0], f64::NAN);
    assert_eq!(forecaster.live().samples(), 0, "a missing value teaches nothing");
    assert_sound(&forecaster.predict(&hourly(vec![f64::NAN; 40])).unwrap());
}

fn a_constant_is_forecast_exactly(kind: ModelKind) {
    let history = hourly(vec![42.0; 600]);
    let forecast = fit_as(kind, &history, &settings()).unwrap().predict(&history).unwrap();
    for step in &forecast.steps {
        for p in [0.5, 0.95] {
            assert!((step.quantile(p) - 42.0).abs() < 1e-6, "quantile {p}: {}", step.quantile(p));
        }
    }
}

fn no_demand_is_forecast_as_none(kind: ModelKind) {
    let history = hourly(vec![0.0; 600]);
    let mut forecaster = fit_as(kind, &history, &settings()).unwrap();
    let forecast = forecaster.predict(&history).unwrap();
    for step in &forecast.steps {
        assert_eq!((step.quantile(0.5), step.quantile(0.99)), (0.0, 0.0));
    }
    // The first demand ever must not upset what comes after it.
    forecaster.observe(&forecast.steps[0], 1e6);
    assert_sound(&forecaster.predict(&history).unwrap());
}

fn bounded_after_a_burst_out_of_nothing(kind: ModelKind) {
    let mut values = vec![0.01; 1000];
    for burst in [310, 640] {
        values[burst] = 20.0;
    }
    let forecaster = fit_as(kind, &hourly(values.clone()), &settings()).unwrap();
    values.extend([900.0, 1000.0]);
    let forecast = forecaster.predict(&hourly(values)).unwrap();
    assert_sound(&forecast);
    for step in &forecast.steps {
        assert!(step.quantile(0.9999) <= 3.0 * 1000.0, "lead {}: {}", step.lead, step.quantile(0.9999));
    }
}

fn short_recent_history_will_do(kind: ModelKind) {
    let history = noisy(800);
    let forecaster = fit_as(kind, &history, &settings()).unwrap();
    for steps in [0, 1, 2, 23, 24, 25, 170, 800] {
        assert_sound(&forecaster.predict(&history.slice(800 - steps, 800).unwrap()).unwrap());
    }
    let other_step = Series::new(0, 300, vec![1.0; 50]).unwrap();
    let refused = forecaster.predict(&other_step).unwrap_err();
    assert_eq!(refused, ForecastError::StepMismatch { fitted_s: 3600, got_s: 300 });
}

#[test]
fn the_shortest_history_is_forecast_by_a_baseline() {
    let history = noisy(48);
    let forecaster = fit(&history, &settings()).unwrap();
    assert!(forecaster.report().chosen.is_baseline(), "{:?}", forecaster.report());
    assert_sound(&forecaster.predict(&history).unwrap());
}

#[test]
fn the_longest_horizon_is_a_day() {
    let history = noisy(28 * 24);
    let forecaster = fit(&history, &Settings { horizon_steps: 24, ..settings() }).unwrap();
    let forecast = forecaster.predict(&history).unwrap();
    assert_eq!(forecast.steps.len(), 24);
    assert_sound(&forecast);
}

#[test]
fn the_regression_is_used_only_where_it_wins() {
    // A walk without a pattern: nothing beats the last value.
    let mut random = Random(11);
    let mut level = 1000.0;
    let walk = (0..1500).map(|_| {
        level = (level + 20.0 * random.normal()).max(0.0);
        level
    });
    let on_walk = fit(&hourly(walk.collect()), &settings()).unwrap();
    assert_eq!(on_walk.report().chosen, ModelKind::LastValue, "{:?}", on_walk.report());
    let demand = demand(&Bursts { seed: 5, days: 56, moved_steps: 0, noise: 0.05 });
    let on_bursts = fit(&demand.series, &settings()).unwrap();
    assert_eq!(on_bursts.report().chosen, ModelKind::LagRidge, "{:?}", on_bursts.report());
    assert!(on_bursts.report().reference.is_baseline());
}
