//! What is chosen, and what is said of it.

use super::choice::Entry;
use super::*;
use crate::comparison::BlockLosses;
use crate::error::ModelError;

/// Losses of each model, the same in all blocks of time.
fn chosen(losses: &[(ModelKind, f64)]) -> (ModelKind, Reason) {
    chosen_of(&losses.iter().map(|&(kind, loss)| (kind, steady(loss))).collect::<Vec<_>>())
}

fn chosen_of(losses: &[(ModelKind, BlockLosses)]) -> (ModelKind, Reason) {
    choose(&losses.iter().map(|(kind, losses)| Entry { kind: *kind, losses }).collect::<Vec<_>>())
}

fn steady(loss: f64) -> BlockLosses {
    varying(|_| loss)
}

fn varying(of_place: impl Fn(usize) -> f64) -> BlockLosses {
    let mut losses = BlockLosses::default();
    (0..16).for_each(|place| losses.take(place as f64 / 16.0, of_place(place), 1.0));
    losses
}

#[test]
fn a_baseline_is_kept_unless_beaten() {
    let chosen = |ridge: f64| {
        let naive = [(ModelKind::LastValue, 0.3), (ModelKind::SeasonalNaive, 0.2)];
        chosen(&[naive[0], naive[1], (ModelKind::LagRidge, ridge)]).0
    };
    assert_eq!(chosen(0.19), ModelKind::LagRidge);
    assert_eq!(chosen(0.2), ModelKind::SeasonalNaive);
    assert_eq!(chosen(0.4), ModelKind::SeasonalNaive);
}

#[test]
fn a_single_model_has_to_lead_the_combination_clearly() {
    let chosen = |single: f64, combination: f64| {
        let naive = (ModelKind::SeasonalNaive, 0.3);
        chosen(&[naive, (ModelKind::LagRidge, single), (ModelKind::Combination, combination)]).0
    };
    assert_eq!(chosen(0.19, 0.2), ModelKind::Combination);
    assert_eq!(chosen(0.14, 0.2), ModelKind::LagRidge);
    assert_eq!(chosen(0.28, 0.35), ModelKind::LagRidge, "a combination that is worse than naive is out");
    assert_eq!(chosen(0.31, 0.35), ModelKind::SeasonalNaive);
}

#[test]
fn a_lead_of_one_lucky_evening_is_none() {
    let lucky = varying(|place| if place < 2 { 0.1 } else { 1.0 });
    let mean = varying(|place| if place < 2 { 4.0 } else { 1.0 });
    assert!(lucky.mean() < 0.7 * mean.mean());
    let naive = (ModelKind::SeasonalNaive, steady(2.0));
    let entries = [naive, (ModelKind::LagRidge, lucky), (ModelKind::Combination, mean)];
    assert_eq!(chosen_of(&entries).0, ModelKind::Combination);
}

#[test]
fn without_another_model_the_best_baseline_forecasts() {
    let naive = [(ModelKind::LastValue, 0.3), (ModelKind::SeasonalNaive, 0.2)];
    assert_eq!(chosen(&naive), (ModelKind::SeasonalNaive, Reason::NoOtherModel));
}

#[test]
fn settings_and_length_are_checked() {
    let series = Series::new(0, 3600, vec![1.0; 47]).unwrap();
    let refused = fit(&series, &Settings::default()).unwrap_err();
    assert_eq!(refused, ForecastError::TooShort { have: 47, need: 48 });
    let refused = fit(&series, &Settings { horizon_steps: 169, ..Settings::default() }).unwrap_err();
    assert_eq!(refused, ForecastError::Horizon { horizon_steps: 169, longest: 168 });
    let refused = fit(&series, &Settings { upper_quantile: 0.5, ..Settings::default() }).unwrap_err();
    assert_eq!(refused, ForecastError::Quantile { quantile: 0.5 });
    let refused = fit(&series, &Settings { gap_steps: 4, ..Settings::default() }).unwrap_err();
    assert_eq!(refused, ForecastError::Gap { gap_steps: 4, horizon_steps: 4 });
    let objective = Objective::Quantile(1.0);
    let refused = fit(&series, &Settings { objective, ..Settings::default() }).unwrap_err();
    assert_eq!(refused, ForecastError::DecisionQuantile { quantile: 1.0 });
}

#[test]
fn the_quantile_to_decide_at_follows_from_costs() {
    assert_eq!(Objective::of_costs(3.0, 1.0), Ok(Objective::Quantile(0.75)));
    assert_eq!(Objective::of_costs(1e300, 1e300), Ok(Objective::Quantile(0.5)));
    for (short, idle) in [(0.0, 1.0), (1.0, -1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
        assert!(matches!(Objective::of_costs(short, idle), Err(ForecastError::Costs { .. })), "{short} {idle}");
    }
}

/// Noise around 50 in waves of three days that no calendar knows: what was last says most of what can be said.
fn wandering() -> Series {
    let value = |hour: i32| 50.0 + 40.0 * (f64::from(hour) / 71.0).sin() + f64::from(hour * hour % 7);
    Series::new(0, 3600, (0..35 * 24).map(value).collect()).unwrap()
}

#[test]
fn what_is_far_behind_after_the_first_stretch_is_told_with_the_reason() {
    let forecaster = fit(&wandering(), &Settings::default()).unwrap();
    let report = forecaster.report();
    let outcome = |kind| &report.candidates.iter().find(|candidate| candidate.kind == kind).unwrap().outcome;
    let left_out = outcome(ModelKind::SeasonalProfile).clone().unwrap_err();
    assert!(matches!(left_out, ModelError::LeftOut { times_best } if times_best > 1.5), "{report:?}");
    assert!(left_out.to_string().starts_with("left out after the first stretch"), "{left_out}");
    assert!(outcome(ModelKind::SeasonalNaive).is_ok() && outcome(ModelKind::LastValue).is_ok());
    let alone = fit_as(ModelKind::SeasonalProfile, &wandering(), &Settings::default()).unwrap();
    assert!(alone.report().chosen_score().is_some(), "who asks for a model gets it");
    let combined = fit_as(ModelKind::Combination, &wandering(), &Settings::default()).unwrap();
    assert_eq!(combined.report().candidates, report.candidates, "the same combination that is chosen among");
}

#[test]
fn expensive_models_are_tried_where_something_is_left_and_not_elsewhere() {
    let report = |series: &Series, effort: Effort| {
        fit(series, &Settings { effort, ..Settings::default() }).unwrap().report().clone()
    };
    let thorough = Effort::Thorough { most: 1 };
    let kinds = |report: &SelectionReport| report.candidates.iter().map(|candidate| candidate.kind).collect::<Vec<_>>();
    let quick = report(&wandering(), Effort::Quick);
    assert_eq!(quick.expensive, ExpensiveModels::NotAsked);
    let searched = report(&wandering(), thorough);
    assert!(
        matches!(searched.expensive, ExpensiveModels::Tried(misses) if misses.value.abs() > misses.of_noise),
        "{searched:?}"
    );
    let new: Vec<ModelKind> = kinds(&searched).into_iter().filter(|kind| !kinds(&quick).contains(kind)).collect();
    assert_eq!(new, EXPENSIVE[..1], "within the bound");
    assert_eq!(kinds(&searched).last(), Some(&ModelKind::Combination));
    assert_eq!(kinds(&searched).iter().filter(|kind| **kind == ModelKind::Combination).count(), 1);
    let exact = Series::new(0, 3600, (0..480).map(|hour| f64::from(hour % 24)).collect()).unwrap();
    let exact = report(&exact, thorough);
    assert_eq!(exact.expensive, ExpensiveModels::NothingLeft(None));
    assert!(!kinds(&exact).contains(&EXPENSIVE[0]));
}

#[test]
fn all_leads_are_forecast_whatever_the_gap_is() {
    let settings = Settings { horizon_steps: 12, gap_steps: 11, ..Settings::default() };
    let forecaster = fit(&wandering(), &settings).unwrap();
    let forecast = forecaster.predict(&wandering()).unwrap();
    assert_eq!(forecast.steps.len(), 12);
    assert!(forecast.steps.iter().all(|step| step.quantile(0.95) > step.quantile(0.5)), "and calibrated");
}

#[test]
fn whether_forecasting_helps_is_told_with_its_error() {
    let day = |hour: usize| 100.0 + 60.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
    // Noise in -0.5..0.5, the same on every machine (the finisher of SplitMix64).
    let noise = |hour: usize| {
        let mut mixed = (hour as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let report = |values: Vec<f64>| {
        let series = Series::new(0, 3600, values).unwrap();
        fit(&series, &Settings::default()).unwrap().report().clone()
    };
    let noisy = report((0..35 * 24).map(|hour| day(hour) + 40.0 * noise(hour)).collect());
    let gain = noisy.gain.unwrap();
    assert_eq!(noisy.worth(), Some(Worth::Helps), "{gain:?}");
    assert!(gain.share > 0.1 && gain.standard_error < gain.share / 2.0, "{gain:?}");
    // A walk has nothing to be forecast but its last value.
    let walk = (0..35 * 24).scan(1000.0, |level, hour| {
        *level += 10.0 * noise(hour);
        Some(*level)
    });
    let walk = report(walk.collect());
    assert!(walk.gain.unwrap().share < 0.1, "{:?}", walk.gain);
    let constant = report(vec![5.0; 200]);
    assert_eq!((constant.worth(), constant.gain.map(|gain| gain.share)), (Some(Worth::NoForecasterHelps), Some(0.0)));
    let exact = report((0..20 * 24).map(|hour| day(hour % 24)).collect());
    assert_eq!(exact.worth(), Some(Worth::NoForecasterHelps), "seasonal naive is exact: {:?}", exact.gain);
}
