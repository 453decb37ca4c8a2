//! Sample paths: margins are the forecast's, and sums are as far from the sum of quantiles as dependence says.

use forebay_forecast::{Draws, Forecast, Forecaster, ModelKind, Paths, PathsError, Series, Settings, fit_as};
use proptest::prelude::*;

use crate::generated::Random;

/// Four days of five-minute steps.
const STEPS: usize = 1152;

/// Independent noise around 100.
fn noisy(seed: u64, factor: f64) -> Series {
    let mut random = Random(seed);
    Series::new(0, 300, (0..STEPS).map(|_| factor * (100.0 + 5.0 * random.normal())).collect()).unwrap()
}

fn fitted(kind: ModelKind, series: &Series) -> (Forecaster, Forecast) {
    let forecaster = fit_as(kind, series, &Settings::default()).unwrap();
    let forecast = forecaster.predict(series).unwrap();
    (forecaster, forecast)
}

fn pool(members: &[(Forecaster, Forecast)], count: usize, seed: u64) -> Paths {
    let members: Vec<_> = members.iter().map(|(forecaster, forecast)| (forecaster, forecast)).collect();
    Paths::of_pool(&members, count, seed).unwrap()
}

/// How far the outer quantiles of a sum over leads and series lie apart, as a share of what it would be if all were high
/// together.
fn share_of_perfect(members: &[(Forecaster, Forecast)], leads: usize) -> f64 {
    let paths = pool(members, 2_000, 7);
    let sum = |p: f64| paths.mean_quantile(0..leads, p).unwrap() * leads as f64;
    // The 2,000 paths are quantiles at (rank + 1/2) / 2,000.
    let of_quantiles = |p: f64| -> f64 {
        members
            .iter()
            .flat_map(|(_, forecast)| &forecast.steps[..leads])
            .map(|step| step.quantile(p - 0.5 / 2_000.0))
            .sum()
    };
    (sum(0.95) - sum(0.05)) / (of_quantiles(0.95) - of_quantiles(0.05))
}

#[test]
fn independent_series_make_up_for_each_other() {
    let members: Vec<_> = (0..9).map(|seed| fitted(ModelKind::LastValue, &noisy(seed, 1.0))).collect();
    let share = share_of_perfect(&members, 1);
    assert!((share - 1.0 / 3.0).abs() < 0.05, "one by the root of nine: {share}");
}

#[test]
fn perfectly_dependent_series_add_up_quantile_by_quantile() {
    let members = [1.0, 3.0, 0.5].map(|factor| fitted(ModelKind::LastValue, &noisy(5, factor)));
    let paths = pool(&members, 1_000, 7);
    for p in [0.05, 0.5, 0.95, 0.99] {
        let level = ((p * 1000.0_f64).round() - 0.5) / 1000.0;
        let expected: f64 = members.iter().map(|(_, forecast)| forecast.steps[0].quantile(level)).sum();
        let found = paths.mean_quantile(0..1, p).unwrap();
        assert!((found / expected - 1.0).abs() < 1e-6, "{p}: {found} for {expected}");
    }
}

#[test]
fn misses_of_a_random_walk_add_up_over_time_and_those_of_noise_do_not() {
    let walk = |seed| {
        let (mut random, mut level) = (Random(seed), 1_000.0);
        let walk = (0..STEPS).map(|_| {
            level += random.normal();
            level
        });
        fitted(ModelKind::LastValue, &Series::new(0, 300, walk.collect()).unwrap())
    };
    // Variance of the sum over four leads: 30 steps' worth; of all together: 1 + 2^0.5 + 3^0.5 + 2 deviations.
    let share = (0..6).map(|seed| share_of_perfect(&[walk(seed)], 4)).sum::<f64>() / 6.0;
    assert!((share - 30_f64.sqrt() / 6.146).abs() < 0.05, "{share}");
    let share = share_of_perfect(&[fitted(ModelKind::SeasonalProfile, &noisy(4, 1.0))], 4);
    assert!((share - 0.5).abs() < 0.06, "{share}");
}

#[test]
fn what_is_not_known_to_be_independent_is_taken_as_dependent() {
    // Two days of hours: 12 origins are held out in each fold.
    let short = |seed| {
        let hours = noisy(seed, 1.0).values()[..48].to_vec();
        fitted(ModelKind::LastValue, &Series::new(300 * STEPS as i64 - 48 * 3600, 3600, hours).unwrap())
    };
    let members = [short(1), short(2)];
    assert_eq!(pool(&members, 500, 1).vectors(), 0);
    assert!((share_of_perfect(&members, 4) - 1.0).abs() < 1e-9);

    // Beside series that are known, one that was last fitted before their memory begins is high when they are.
    let mut members: Vec<_> = (0..4).map(|seed| fitted(ModelKind::LastValue, &noisy(seed, 1.0))).collect();
    let of_known = share_of_perfect(&members, 1);
    let series = noisy(9, 1.0);
    let fitted_long_ago = fit_as(ModelKind::LastValue, &series.slice(0, STEPS / 2).unwrap(), &Settings::default());
    let forecaster = fitted_long_ago.unwrap();
    let forecast = forecaster.predict(&series).unwrap();
    members.push((forecaster, forecast));
    assert!(pool(&members, 500, 1).vectors() > 200);
    let of_all = share_of_perfect(&members, 1);
    assert!((of_known - 0.5).abs() < 0.05 && (of_all - (0.8 * of_known + 0.2)).abs() < 0.05, "{of_known} {of_all}");
}

#[test]
fn live_misses_change_what_is_known() {
    let series = noisy(2, 1.0);
    let (mut forecaster, forecast) = fitted(ModelKind::LastValue, &series.slice(0, 600).unwrap());
    let before = forecaster.paths(&forecast, 200, 1).unwrap();
    for index in 600..700 {
        let made = forecaster.predict(&series.slice(0, index).unwrap()).unwrap();
        for (step, &actual) in made.steps.iter().zip(&series.values()[index..]) {
            forecaster.observe(step, actual);
        }
    }
    assert!(forecaster.paths(&forecast, 200, 1).unwrap().vectors() > before.vectors());
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let (forecaster, forecast) = fitted(ModelKind::LastValue, &noisy(1, 1.0));
    assert_eq!(Paths::of_pool(&[], 10, 1), Err(PathsError::Nothing { series: 0, count: 10 }));
    assert_eq!(forecaster.paths(&forecast, 0, 1), Err(PathsError::Nothing { series: 1, count: 0 }));
    let refused = PathsError::TooMany { count: 1_000_001, leads: 4 };
    assert_eq!(forecaster.paths(&forecast, 1_000_001, 1), Err(refused));
    let later = Forecast { first_s: forecast.first_s + 300, ..forecast.clone() };
    let refused = Paths::of_pool(&[(&forecaster, &forecast), (&forecaster, &later)], 10, 1);
    assert_eq!(refused, Err(PathsError::Mismatch { index: 1 }));
    let paths = forecaster.paths(&forecast, 10, 1).unwrap();
    assert_eq!((paths.mean_quantile(4..9, 0.5), paths.at(4).len(), paths.at(3).len()), (None, 0, 10));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn margins_are_the_forecasts_and_the_order_of_series_counts_for_nothing(
        gaps in prop::collection::vec(0..STEPS, 0..200),
        count in 1..700_usize,
        seed in 0..1000_u64,
    ) {
        let mut values = noisy(seed, 1.0).values().to_vec();
        for gap in gaps {
            values[gap] = f64::NAN;
        }
        let gappy = fitted(ModelKind::LastValue, &Series::new(0, 300, values).unwrap());
        let alone = gappy.0.paths(&gappy.1, count, seed).unwrap();
        for (lead, step) in gappy.1.steps.iter().enumerate() {
            let mut drawn = alone.at(lead).to_vec();
            drawn.sort_by(f64::total_cmp);
            let expected = (0..count).map(|rank| step.quantile((rank as f64 + 0.5) / count as f64));
            prop_assert!(drawn.into_iter().eq(expected), "lead {lead}");
        }

        let mut members = vec![gappy];
        members.extend((0..3).map(|seed| fitted(ModelKind::SeasonalNaive, &noisy(seed, 1.0 + seed as f64))));
        let drawn = pool(&members, count, seed);
        prop_assert_eq!(&drawn, &pool(&members, count, seed));
        members.rotate_left(1);
        members.swap(0, 1);
        let otherwise = pool(&members, count, seed);
        for lead in 0..4 {
            for (a, b) in drawn.at(lead).iter().zip(otherwise.at(lead)) {
                prop_assert!((a / b - 1.0).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn what_is_added_may_be_cut_off() {
    let members: Vec<_> = (0..4).map(|seed| fitted(ModelKind::LastValue, &noisy(seed, 1.0))).collect();
    let forecasters: Vec<&Forecaster> = members.iter().map(|(forecaster, _)| forecaster).collect();
    let cut = |member: usize, lead: usize, p: f64| members[member].1.steps[lead].quantile(p).clamp(98.0, 103.0);
    let draws = Draws { count: 500, seed: 3 };
    let paths = Paths::of_pool_as(&forecasters, 2, draws, cut).unwrap();
    assert!(paths.at(1).iter().all(|sum| (4.0 * 98.0..=4.0 * 103.0).contains(sum)));
    assert!(paths.mean_quantile(0..1, 0.99).unwrap() < pool(&members, 500, 3).mean_quantile(0..1, 0.99).unwrap());
    assert_eq!(
        Paths::of_pool_as(&forecasters, 0, draws, cut),
        Err(PathsError::Nothing { series: 4, count: 500 }),
        "no lead"
    );
}
