//! The suite that every model passes: one row per model, one check per hazard. A row says besides which shapes the model
//! claims to follow; these it has to follow, without noise, within [`FOLLOWED_WITHIN`] of the mean.

use forebay_forecast::{FittedModel, Forecast, ForecastError, History, ModelKind, Series, Settings, fit, fit_as};

use crate::generated::{Bursts, Random, demand};

const HOUR_S: u32 = 3600;
const PROBABILITIES: [f64; 9] = [0.001, 0.05, 0.25, 0.4999, 0.5, 0.75, 0.95, 0.99, 0.9999];

/// Largest error on a shape that a model claims to follow, as a share of the shape's mean.
const FOLLOWED_WITHIN: f64 = 0.03;

/// A shape without noise that a model may claim to follow.
#[derive(Debug, Clone, Copy)]
enum Follows {
    Day,
    DayAndWeek,
    TrendAndDay,
}

impl Follows {
    /// The rate in an hour since the beginning.
    fn rate(self, hour: usize) -> f64 {
        let day = 40.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let weekend = if hour / 24 % 7 >= 5 { 0.5 } else { 1.0 };
        let trend = 0.1 * hour as f64;
        match self {
            Self::Day => 100.0 + day,
            Self::DayAndWeek => (100.0 + day) * weekend,
            Self::TrendAndDay => 100.0 + trend + day,
        }
    }
}

macro_rules! conforms {
    ($($name:ident: $kind:expr, $follows:expr;)*) => {
        $(mod $name {
            use super::*;
            #[test] fn forecasts_lie_in_the_future() { super::forecasts_lie_in_the_future($kind); }
            #[test] fn same_input_same_bits() { super::same_input_same_bits($kind); }
            #[test] fn survives_missing_values() { super::survives_missing_values($kind); }
            #[test] fn a_constant_is_forecast_exactly() { super::a_constant_is_forecast_exactly($kind); }
            #[test] fn no_demand_is_forecast_as_none() { super::no_demand_is_forecast_as_none($kind); }
            #[test] fn bounded_after_a_burst_out_of_nothing() { super::bounded_after_a_burst_out_of_nothing($kind); }
            #[test] fn short_recent_history_will_do() { super::short_recent_history_will_do($kind); }
            #[test] fn rolls_as_it_forecasts() { super::rolls_as_it_forecasts($kind); }
            #[test] fn stored_and_read_back() { super::stored_and_read_back($kind); }
            #[test] fn scaled_demand_is_forecast_scaled() { super::scaled_demand_is_forecast_scaled($kind); }
            #[test] fn too_little_is_refused_or_forecast() { super::too_little_is_refused_or_forecast($kind); }
            #[test] fn follows_what_it_claims() { super::follows_what_it_claims($kind, &$follows); }
        })*

        #[test]
        fn every_model_has_its_row() {
            let rows = [$($kind),*];
            assert_eq!(rows.split_last(), Some((&ModelKind::Combination, ModelKind::ALL.as_slice())));
        }
    };
}

conforms! {
    last_value: ModelKind::LastValue, [];
    seasonal_naive: ModelKind::SeasonalNaive, [Follows::Day, Follows::DayAndWeek];
    seasonal_profile: ModelKind::SeasonalProfile, [Follows::Day, Follows::DayAndWeek, Follows::TrendAndDay];
    intermittent: ModelKind::Intermittent, [];
    theta: ModelKind::Theta, [Follows::Day, Follows::DayAndWeek, Follows::TrendAndDay];
    ets: ModelKind::Ets, [Follows::Day, Follows::DayAndWeek, Follows::TrendAndDay];
    mstl: ModelKind::Mstl, [Follows::Day, Follows::DayAndWeek, Follows::TrendAndDay];
    days_ridge: ModelKind::DaysRidge, [Follows::Day];
    weeks_ridge: ModelKind::WeeksRidge, [Follows::Day, Follows::DayAndWeek];
    level_ridge: ModelKind::LevelRidge, [Follows::Day, Follows::TrendAndDay];
    yesterday_ridge: ModelKind::YesterdayRidge, [Follows::Day, Follows::TrendAndDay];
    lag_ridge: ModelKind::LagRidge, [Follows::Day, Follows::DayAndWeek, Follows::TrendAndDay];
    count_regression: ModelKind::CountRegression, [Follows::Day, Follows::DayAndWeek, Follows::TrendAndDay];
    elastic_net: ModelKind::ElasticNet, [Follows::Day, Follows::DayAndWeek, Follows::TrendAndDay];
    elastic_net_recursive: ModelKind::ElasticNetRecursive, [Follows::Day, Follows::DayAndWeek, Follows::TrendAndDay];
    random_forest: ModelKind::RandomForest, [Follows::Day, Follows::DayAndWeek];
    extra_trees: ModelKind::ExtraTrees, [Follows::Day, Follows::DayAndWeek];
    boosted_trees: ModelKind::BoostedTrees, [Follows::Day, Follows::DayAndWeek];
    support_vectors: ModelKind::SupportVectors, [Follows::Day];
    lstm: ModelKind::Lstm, [Follows::Day, Follows::DayAndWeek];
    prophet: ModelKind::Prophet, [Follows::Day, Follows::TrendAndDay];
    prophet_carried: ModelKind::ProphetCarried, [Follows::Day, Follows::TrendAndDay];
    arima: ModelKind::Arima, [Follows::Day, Follows::TrendAndDay];
    combination: ModelKind::Combination, [Follows::Day, Follows::DayAndWeek, Follows::TrendAndDay];
}

fn settings() -> Settings {
    Settings { horizon_steps: 4, ..Settings::default() }
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

fn points(model: &FittedModel, history: &History, origin: usize) -> Vec<f64> {
    let mut points = vec![0.0; settings().horizon_steps];
    model.forecast(history, origin, &mut points);
    points
}

/// The model fitted to a whole series.
fn fitted(kind: ModelKind, series: &Series) -> FittedModel {
    fit_as(kind, series, &settings()).unwrap().model().clone()
}

fn rolls_as_it_forecasts(kind: ModelKind) {
    let series = noisy(700);
    let (model, history) = (fitted(kind, &series.slice(0, 500).unwrap()), History::new(&series));
    let origins = [500, 501, 530, 699, 700];
    let mut visited = vec![];
    model.roll(&history, &origins, settings().horizon_steps, |origin, rolled| {
        for (rolled, alone) in rolled.iter().zip(points(&model, &history, origin)) {
            assert!((rolled - alone).abs() <= 1e-9 * alone.max(1.0), "origin {origin}: {rolled} for {alone}");
        }
        visited.push(origin);
    });
    assert_eq!(visited, origins);
}

fn stored_and_read_back(kind: ModelKind) {
    let series = noisy(600);
    let (model, history) = (fitted(kind, &series.slice(0, 500).unwrap()), History::new(&series));
    let stored = postcard::to_allocvec(&model).unwrap();
    let read: FittedModel = postcard::from_bytes(&stored).unwrap();
    assert_eq!(points(&read, &history, 600), points(&model, &history, 600));
    assert_eq!(read.kind(), kind);
}

fn scaled_demand_is_forecast_scaled(kind: ModelKind) {
    let (plain, factor) = (noisy(600), 1000.0);
    let scaled = hourly(plain.values().iter().map(|value| value * factor).collect());
    let forecast = |series: &Series| points(&fitted(kind, series), &History::new(series), 600);
    for (plain, scaled) in forecast(&plain).into_iter().zip(forecast(&scaled)) {
        assert!((scaled / factor / plain - 1.0).abs() < 1e-3, "{scaled} is not {factor} times {plain}");
    }
}

fn too_little_is_refused_or_forecast(kind: ModelKind) {
    for steps in [0, 1, 2, 3, 25, 48, 49, 100, 200] {
        let series = noisy(steps);
        if let Ok(forecaster) = fit_as(kind, &series, &settings()) {
            assert_sound(&forecaster.predict(&series).unwrap());
        }
        let history = History::new(&series);
        if let Ok(model) = kind.fit(&history, steps, settings().horizon_steps) {
            assert!(points(&model, &history, steps).iter().all(|point| point.is_finite()), "{steps} steps");
        }
    }
}

fn follows_what_it_claims(kind: ModelKind, claims: &[Follows]) {
    let hours = 35 * 24;
    for claim in claims {
        let series = hourly((0..hours).map(|hour| claim.rate(hour)).collect());
        let (model, history) = (fitted(kind, &series), History::new(&series));
        let mean = history.mean(0, hours).unwrap();
        for (ahead, point) in points(&model, &history, hours).into_iter().enumerate() {
            let actual = claim.rate(hours + ahead);
            assert!((point - actual).abs() < FOLLOWED_WITHIN * mean, "{claim:?}, {ahead} ahead: {point} for {actual}");
        }
    }
}

#[test]
fn the_shortest_history_is_forecast_by_a_baseline() {
    let history = noisy(48);
    let forecaster = fit(&history, &settings()).unwrap();
    assert!(forecaster.report().chosen.is_baseline(), "{:?}", forecaster.report());
    assert_sound(&forecaster.predict(&history).unwrap());
}

#[test]
fn the_longest_horizon_is_a_week() {
    let history = noisy(28 * 24);
    let forecaster = fit(&history, &Settings { horizon_steps: 168, ..settings() }).unwrap();
    let forecast = forecaster.predict(&history).unwrap();
    assert_eq!(forecast.steps.len(), 168);
    assert_sound(&forecast);
}

#[test]
fn a_model_is_used_only_where_it_wins() {
    // A walk without a pattern: nothing beats the last value.
    let mut random = Random(11);
    let mut level = 1000.0;
    let walk = (0..1500).map(|_| {
        level = (level + 20.0 * random.normal()).max(0.0);
        level
    });
    let on_walk = fit(&hourly(walk.collect()), &settings()).unwrap();
    let losses = |kind| on_walk.report().score_of(kind).unwrap().relative_pinball;
    for regression in [ModelKind::DaysRidge, ModelKind::WeeksRidge] {
        assert!(losses(regression) > losses(ModelKind::LastValue), "{:?}", on_walk.report());
    }
    assert!(losses(on_walk.report().chosen) <= losses(ModelKind::LastValue));
    let demand = demand(&Bursts { seed: 5, days: 56, moved_steps: 0, noise: 0.05 });
    let on_bursts = fit(&demand.series, &settings()).unwrap();
    assert!(!on_bursts.report().chosen.is_baseline(), "{:?}", on_bursts.report());
    assert!(on_bursts.report().reference.is_baseline());
}
