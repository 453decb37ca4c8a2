//! Strides, folds and what is scored.

use super::scoring::MEDIAN;
use super::*;
use crate::score::SCORED_QUANTILES;
use crate::series::Series;

#[test]
fn strides_meet_every_time_of_day() {
    assert_eq!(coprime_stride(2_000, 4_000, 288), 1);
    assert_eq!(coprime_stride(14_000, 4_000, 288), 5, "4 shares a factor with 288");
    assert_eq!(coprime_stride(0, 4_000, 288), 1);
}

#[test]
fn folds_are_whole_days_at_the_end() {
    let history = |hours: usize| History::new(&Series::new(0, 3600, vec![1.0; hours]).unwrap());
    assert_eq!(folds(&history(10 * 24)), [144..192, 192..240]);
    assert_eq!(folds(&history(60 * 24))[1].len(), 168);
    assert_eq!(folds(&history(50)), [26..38, 38..50]);
}

#[test]
fn a_pattern_without_noise_is_forecast_without_loss() {
    let rates = (0..20 * 24).map(|hour| f64::from(hour % 24)).collect();
    let history = History::new(&Series::new(0, 3600, rates).unwrap());
    let backtest = Backtest::of(&history, &Settings { horizon_steps: 2, ..Settings::default() }, 11.5);
    let globals = Globals::default();
    let score = |kind| {
        let calibrating = backtest.begin(kind, &globals, &history).unwrap();
        backtest.best_score(&backtest.complete(kind, calibrating, &globals, &history).unwrap()).0
    };
    assert_eq!(score(ModelKind::SeasonalNaive).relative_pinball, 0.0);
    assert_eq!(score(ModelKind::SeasonalNaive).coverage, 1.0);
    assert!(score(ModelKind::LastValue).relative_pinball > 0.01);
}

/// Forty days of a saw that is exact but for every third day, which is higher.
fn uneven() -> History {
    let level = |day: i32| if day % 3 == 0 { 30.0 } else { 10.0 };
    History::new(
        &Series::new(0, 3600, (0..40 * 24).map(|hour| level(hour / 24) + f64::from(hour % 24)).collect()).unwrap(),
    )
}

fn scored(kind: ModelKind, settings: &Settings) -> Score {
    let (history, globals) = (uneven(), Globals::default());
    let backtest = Backtest::of(&history, settings, 25.0);
    let calibrating = backtest.begin(kind, &globals, &history).unwrap();
    backtest.best_score(&backtest.complete(kind, calibrating, &globals, &history).unwrap()).0
}

#[test]
fn leads_within_the_gap_are_not_scored() {
    let settings = |gap_steps| Settings { horizon_steps: 12, gap_steps, ..Settings::default() };
    let all = scored(ModelKind::LastValue, &settings(0));
    let late = scored(ModelKind::LastValue, &settings(9));
    assert!(late.loss > 1.2 * all.loss, "the last value knows the first leads best: {all:?} {late:?}");
    assert!((all.loss - all.relative_pinball).abs() < 1e-12, "{all:?}");
}

#[test]
fn the_loss_is_that_of_the_quantile_that_is_decided_at() {
    let settings = |objective| Settings { horizon_steps: 12, objective, ..Settings::default() };
    let upper_half = scored(ModelKind::LastValue, &settings(Objective::UpperHalf));
    let each = SCORED_QUANTILES.map(|p| scored(ModelKind::LastValue, &settings(Objective::Quantile(p))));
    for score in each {
        assert_eq!(score.scale, upper_half.scale, "else the mean below is of different things");
        assert!((score.relative_pinball - upper_half.loss).abs() < 1e-12, "told whatever decides");
    }
    let mean = each.iter().map(|score| score.loss).sum::<f64>() / each.len() as f64;
    assert!((mean - upper_half.loss).abs() < 1e-12);
    assert!(each[3].loss < each[0].loss, "an upper quantile costs less than the middle");
}

#[test]
fn mase_is_of_the_median() {
    assert_eq!(SCORED_QUANTILES[MEDIAN], 0.5);
}

#[test]
fn mase_is_the_median_error_in_units_of_the_seasonal_naive_one() {
    let settings = Settings { horizon_steps: 1, ..Settings::default() };
    // Every third midnight the level rises by 20, and falls the next; a day ahead two days of three differ by 20.
    let mase = scored(ModelKind::LastValue, &settings).mase.unwrap();
    assert!((0.05..0.3).contains(&mase), "one step ahead little is missed: {mase}");
    let repeats = History::new(&Series::new(0, 3600, (0..480).map(|hour| f64::from(hour % 24)).collect()).unwrap());
    assert_eq!(Backtest::of(&repeats, &settings, 11.5).seasonal_scale, None);
}

#[test]
fn misses_that_follow_from_misses_are_seen() {
    let (history, globals) = (uneven(), Globals::default());
    let backtest = Backtest::of(&history, &Settings { horizon_steps: 1, ..Settings::default() }, 25.0);
    let of = |kind: ModelKind| {
        let calibrating = backtest.begin(kind, &globals, &history).unwrap();
        backtest.autocorrelation(&backtest.complete(kind, calibrating, &globals, &history).unwrap())
    };
    let naive = of(ModelKind::SeasonalNaive).unwrap();
    assert!(naive.value > 0.8 && naive.of_noise < 0.2, "wrong for days on end: {naive:?}");
    let exact = History::new(&Series::new(0, 3600, (0..480).map(|hour| f64::from(hour % 24)).collect()).unwrap());
    let backtest = Backtest::of(&exact, &Settings::default(), 11.5);
    let calibrating = backtest.begin(ModelKind::SeasonalNaive, &globals, &exact).unwrap();
    let trial = backtest.complete(ModelKind::SeasonalNaive, calibrating, &globals, &exact).unwrap();
    assert_eq!(backtest.autocorrelation(&trial), None, "nothing was missed");
}
