//! Demand that follows local time, over both changes of the clock.

use std::sync::Arc;

use forebay_forecast::{ModelKind, Series, Settings, Zone, day_of_week, fit_as, second_of_day};

use crate::table::{BACK_S, FORWARD_S, berlin};

const HOUR_S: i64 = 3600;
const DAYS: i64 = 28;

/// Busy in local office hours from Monday to Friday.
fn rate(zone: &Zone, at_s: i64) -> f64 {
    let local_s = zone.local_s(at_s);
    let hour = second_of_day(local_s) / 3600;
    match (day_of_week(local_s), hour) {
        (0..=4, 9..17) => 100.0 + f64::from(hour),
        _ => 10.0 + f64::from(hour),
    }
}

/// Sum of misses of the two days after a change of the clock, as share of demand, forecast from the midnight before it.
fn missed(kind: ModelKind, change_s: i64, in_zone: bool) -> f64 {
    let zone = berlin();
    let midnight_s = change_s - change_s.rem_euclid(86_400);
    let start_s = midnight_s - DAYS * 86_400;
    let values = (0..DAYS * 24).map(|hour| rate(&zone, start_s + hour * HOUR_S)).collect();
    let series = Series::new(start_s, HOUR_S as u32, values).unwrap();
    let series = if in_zone { series.in_zone(Arc::new(zone.clone())) } else { series };
    let settings = Settings { horizon_steps: 48, ..Settings::default() };
    let forecaster = fit_as(kind, &series, &settings).unwrap();
    let steps = forecaster.predict(&series).unwrap().steps;
    let actual: Vec<f64> = steps.iter().map(|step| rate(&zone, step.start_s)).collect();
    let misses: f64 = steps.iter().zip(&actual).map(|(step, actual)| (step.quantile(0.5) - actual).abs()).sum();
    misses / actual.iter().sum::<f64>()
}

#[test]
fn forecasts_in_a_zone_follow_its_clock_over_a_change() {
    for change_s in [FORWARD_S, BACK_S] {
        let missed = |in_zone| missed(ModelKind::SeasonalNaive, change_s, in_zone);
        let (in_zone, in_utc) = (missed(true), missed(false));
        assert!(in_zone < 0.005 && in_utc > 0.05, "missed {in_zone} in the zone, {in_utc} in UTC");
    }
}

#[test]
fn models_that_hold_a_season_follow_it_too() {
    for kind in [ModelKind::SeasonalProfile, ModelKind::Ets, ModelKind::Mstl, ModelKind::Theta] {
        for change_s in [FORWARD_S, BACK_S] {
            let (in_zone, in_utc) = (missed(kind, change_s, true), missed(kind, change_s, false));
            assert!(in_zone < in_utc / 2.0, "{kind}: missed {in_zone} in the zone, {in_utc} in UTC");
        }
    }
}
