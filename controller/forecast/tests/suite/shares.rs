//! Shares from outside: whatever came, forecasts stay shares; patterns are followed, noise is not.

use std::env;
use std::path::Path;

use forebay_forecast::{MAX_CATEGORIES, OTHER, ShareError, ShareForecast, ShareForecaster, ShareHistory, ShareMethod};
use proptest::prelude::*;

use crate::generated::Random;
use crate::real_traces::read;

const HOUR_S: u32 = 3600;

type Steps = Vec<Vec<(&'static str, f64)>>;

fn history(steps: &Steps) -> ShareHistory {
    ShareHistory::new(0, HOUR_S, steps).unwrap()
}

fn forecast(steps: &Steps, horizon: usize) -> (ShareForecaster, ShareForecast) {
    let history = history(steps);
    let forecaster = ShareForecaster::fit(&history, horizon).unwrap();
    let forecast = forecaster.predict(&history).unwrap();
    (forecaster, forecast)
}

fn share(forecast: &ShareForecast, lead: usize, category: &str) -> f64 {
    let place = forecast.categories.iter().position(|name| name == category).unwrap();
    forecast.steps[lead - 1][place]
}

/// Europe by day, America by night, and a little of Asia; `requests` an hour, drawn one by one.
fn follow_the_sun(hours: usize, requests: usize, seed: u64) -> Steps {
    let mut random = Random(seed);
    let hour = |hour: usize| {
        let mut counts = [("eu", 0.0), ("us", 0.0), ("asia", 0.0)];
        for _ in 0..requests {
            let of = expected(hour);
            let draw = random.uniform();
            counts[if draw < of[0] {
                0
            } else if draw < of[0] + of[1] {
                1
            } else {
                2
            }]
            .1 += 1.0;
        }
        counts.to_vec()
    };
    (0..hours).map(hour).collect()
}

fn expected(hour: usize) -> [f64; 3] {
    let eu = 0.45 + 0.35 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
    [eu, 0.95 - eu, 0.05]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_came_forecasts_are_shares(
        rows in prop::collection::vec(
            prop::collection::vec((0..5_usize, prop_oneof![Just(0.0), 0.0..100.0_f64, Just(1e30), Just(5e-324)]), 0..6), 40..150,
        ),
        horizon in 1..30_usize,
    ) {
        const NAMES: [&str; 5] = ["a", "b", "c", "d", OTHER];
        let steps: Steps =
            rows.into_iter().map(|row| row.into_iter().map(|(name, amount)| (NAMES[name], amount)).collect()).collect();
        let history = history(&steps);
        let known = (0..history.len()).filter(|step| history.shares(*step).is_some()).count();
        let forecaster = match ShareForecaster::fit(&history, horizon) {
            Ok(forecaster) => forecaster,
            Err(error) => {
                prop_assert_eq!(error, ShareError::TooShort { have: known, need: 48 });
                return Ok(());
            }
        };
        let forecast = forecaster.predict(&history).unwrap();
        prop_assert_eq!((forecast.steps.len(), forecast.first_s), (horizon, history.at_s(history.len())));
        for shares in &forecast.steps {
            prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{:?}", shares);
            prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{:?}", shares);
        }
        let report = forecaster.report();
        let loss = |method| report.losses.iter().find(|(other, _)| *other == method).unwrap().1;
        for baseline in [ShareMethod::LastShares, ShareMethod::SeasonalShares] {
            prop_assert!(loss(report.chosen) <= loss(baseline), "{:?}", report);
        }
        prop_assert_eq!(ShareForecaster::fit(&history, horizon).unwrap().predict(&history).unwrap(), forecast);
    }
}

#[test]
fn a_composition_that_follows_the_sun_is_forecast_through_the_noise() {
    let (forecaster, forecast) = forecast(&follow_the_sun(28 * 24, 200, 1), 24);
    assert_eq!(forecaster.report().chosen, ShareMethod::LogRatios, "{:?}", forecaster.report());
    for lead in 1..=24 {
        let of = expected(28 * 24 + lead - 1);
        for (category, expected) in ["eu", "us", "asia"].into_iter().zip(of) {
            let found = share(&forecast, lead, category);
            assert!((found - expected).abs() < 0.05, "{category} {lead} ahead: {found} for {expected}");
        }
    }
    assert_eq!(share(&forecast, 1, OTHER), 0.0);
}

#[test]
fn a_composition_that_never_changes_is_forecast_exactly() {
    let steps: Steps = vec![vec![("v1", 30.0), ("v2", 10.0)]; 100];
    let (forecaster, forecast) = forecast(&steps, 48);
    for lead in [1, 7, 48] {
        assert!(
            (share(&forecast, lead, "v1") - 0.75).abs() < 1e-9 && (share(&forecast, lead, "v2") - 0.25).abs() < 1e-9
        );
    }
    assert_eq!(forecaster.report().chosen, ShareMethod::LastShares, "the simplest of equals");
}

#[test]
fn amounts_in_another_unit_are_the_same_shares() {
    let steps = follow_the_sun(14 * 24, 50, 2);
    let scaled = steps.iter().map(|row| row.iter().map(|(name, amount)| (*name, 1e6 * amount)).collect()).collect();
    let ((_, plain), (_, scaled)) = (forecast(&steps, 6), forecast(&scaled, 6));
    for (plain, scaled) in plain.steps.iter().flatten().zip(scaled.steps.iter().flatten()) {
        assert!((plain - scaled).abs() < 1e-9, "{plain} {scaled}");
    }
}

#[test]
fn what_vanished_is_named_and_what_is_new_is_other() {
    // The old version is gone for eight days.
    let version = |hour: usize| if hour < 10 * 24 { ("v1", 80.0) } else { ("v2", 80.0) };
    let mut steps: Steps = (0..18 * 24).map(|hour| vec![version(hour), ("v0", 20.0)]).collect();
    let (forecaster, forecast) = forecast(&steps, 4);
    assert_eq!(forecaster.report().vanished, ["v1"]);
    assert_eq!(share(&forecast, 4, "v1"), 0.0);
    assert!((share(&forecast, 4, "v2") - 0.8).abs() < 0.01, "{forecast:?}");
    // A new one takes half of everything for a day.
    steps.extend((0..24).map(|_| vec![("v3", 100.0), ("v2", 80.0), ("v0", 20.0)]));
    let forecast = forecaster.predict(&history(&steps)).unwrap();
    assert!((share(&forecast, 1, OTHER) - 0.5).abs() < 0.01, "{forecast:?}");
    assert!((forecast.steps[0].iter().sum::<f64>() - 1.0).abs() < 1e-12);
}

#[test]
fn clients_cannot_invent_categories_without_bound() {
    let names: Vec<String> = (0..500).map(|number| format!("c{number:03}")).collect();
    let amount = |number: usize| if number < 3 { 1000.0 } else { 1.0 };
    let steps: Vec<Vec<(&str, f64)>> =
        vec![names.iter().enumerate().map(|(number, name)| (name.as_str(), amount(number))).collect(); 60];
    let history = ShareHistory::new(0, HOUR_S, &steps).unwrap();
    assert_eq!(history.categories().len(), MAX_CATEGORIES + 1);
    assert_eq!((history.categories()[0].as_str(), history.categories()[MAX_CATEGORIES].as_str()), ("c000", OTHER));
    let forecast = ShareForecaster::fit(&history, 2).unwrap().predict(&history).unwrap();
    let others = (500 - MAX_CATEGORIES) as f64 / 3497.0;
    assert!((share(&forecast, 2, OTHER) - others).abs() < 1e-6);
}

#[test]
fn what_cannot_be_forecast_is_refused() {
    for value in [-1.0, f64::INFINITY, 1e31] {
        let refused = ShareHistory::new(0, HOUR_S, &[vec![], vec![("eu", value)]]).unwrap_err();
        assert_eq!(refused, ShareError::Value { step: 1, category: "eu".to_owned(), value });
    }
    assert!(ShareHistory::new(0, HOUR_S, &[vec![("eu", f64::NAN)]]).is_err());
    assert!(ShareHistory::new(0, 420, &[vec![("eu", 1.0)]]).is_err());
    let short = history(&vec![vec![("eu", 1.0)]; 30]);
    assert_eq!(ShareForecaster::fit(&short, 4).unwrap_err(), ShareError::TooShort { have: 30, need: 48 });
    let empty = history(&vec![vec![]; 100]);
    assert_eq!(ShareForecaster::fit(&empty, 4).unwrap_err(), ShareError::TooShort { have: 0, need: 48 });
    let fitted = history(&vec![vec![("eu", 1.0)]; 60]);
    let refused = ShareForecaster::fit(&fitted, 169).unwrap_err();
    assert_eq!(refused, ShareError::Horizon { horizon_steps: 169, longest: 168 });
    let forecaster = ShareForecaster::fit(&fitted, 4).unwrap();
    let minutes = ShareHistory::new(0, 60, &[vec![("eu", 1.0)]]).unwrap();
    assert_eq!(forecaster.predict(&minutes), Err(ShareError::StepMismatch { fitted_s: 3600, got_s: 60 }));
}

/// Services of one kind, each brought to a mean of 1: what share of the whole each is.
#[test]
fn shares_of_real_services_are_forecast_no_worse_than_naively() {
    let Some(folder) = env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: shares of real services; set FOREBAY_DATA to a folder that holds traces/");
        return;
    };
    const CLOUD: [&str; 4] = [
        "ms_data_ingress_rate_01.csv",
        "ms_data_ingress_rate_02.csv",
        "ms_mongodb_application_rps_01.csv",
        "ms_mongodb_application_rps_02.csv",
    ];
    const TWITTER: [&str; 2] = ["nab_Twitter_volume_AAPL.csv", "nab_Twitter_volume_AMZN.csv"];
    for (files, step_s) in [(&CLOUD[..], 300), (&CLOUD[..], 3600), (&TWITTER[..], 300), (&TWITTER[..], 3600)] {
        let services: Vec<(&str, Vec<f64>)> = files
            .iter()
            .map(|name| {
                let series = read(&Path::new(&folder).join("traces").join(name), step_s);
                let known: Vec<f64> = series.values().iter().copied().filter(|value| !value.is_nan()).collect();
                let mean = known.iter().sum::<f64>() / known.len() as f64;
                (*name, series.values().iter().map(|value| (value / mean).max(0.0)).collect())
            })
            .collect();
        let len = services.iter().map(|(_, values)| values.len()).min().unwrap();
        let steps: Vec<Vec<(&str, f64)>> =
            (0..len).map(|step| services.iter().map(|(name, values)| (*name, values[step])).collect()).collect();
        let whole = ShareHistory::new(0, step_s, &steps).unwrap();
        let (split, day) = (len * 7 / 10, 86_400 / step_s as usize);
        let forecaster = ShareForecaster::fit(&whole.slice(split.saturating_sub(28 * day), split), day).unwrap();
        let (mut own, mut last, mut yesterday, mut count) = (0.0, 0.0, 0.0, 0.0);
        for origin in (split..len).step_by(7) {
            let forecast = forecaster.predict(&whole.slice(origin.saturating_sub(14 * day), origin)).unwrap();
            for lead in [1, day / 24, day / 4, day] {
                let target = origin + lead - 1;
                let Some(came) = whole.shares(target) else { continue };
                let miss = |shares: Option<Vec<f64>>| {
                    came.iter().zip(shares.unwrap_or_default()).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
                };
                own += miss(Some(forecast.steps[lead - 1].clone()));
                last += miss(whole.shares(origin - 1));
                yesterday += miss(whole.shares(target - day));
                count += 1.0;
            }
        }
        println!(
            "shares of {} services at {step_s} s, squared error over that of the last shares: {:.3}, of yesterday's {:.3}; \
             {count} forecasts; {:?}",
            files.len(),
            own / last,
            yesterday / last,
            forecaster.report()
        );
        assert!(own <= 1.02 * last.min(yesterday));
    }
}
