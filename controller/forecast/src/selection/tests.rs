//! What is chosen, and what is said of it.

use super::*;

fn candidate(kind: ModelKind, loss: f64) -> CandidateScore {
    let score = Score { relative_pinball: loss, coverage: 0.95, scale: ScaleKind::Constant };
    CandidateScore { kind, outcome: Ok(score) }
}

#[test]
fn a_baseline_is_kept_unless_beaten() {
    let chosen = |ridge: f64| {
        choose(&[
            candidate(ModelKind::LastValue, 0.3),
            candidate(ModelKind::SeasonalNaive, 0.2),
            candidate(ModelKind::LagRidge, ridge),
        ])
        .0
    };
    assert_eq!(chosen(0.19), ModelKind::LagRidge);
    assert_eq!(chosen(0.2), ModelKind::SeasonalNaive);
    assert_eq!(chosen(0.4), ModelKind::SeasonalNaive);
}

#[test]
fn a_single_model_has_to_lead_the_combination_clearly() {
    let chosen = |single: f64, combination: f64| {
        choose(&[
            candidate(ModelKind::SeasonalNaive, 0.3),
            candidate(ModelKind::LagRidge, single),
            candidate(ModelKind::Combination, combination),
        ])
        .0
    };
    assert_eq!(chosen(0.19, 0.2), ModelKind::Combination);
    assert_eq!(chosen(0.14, 0.2), ModelKind::LagRidge);
    assert_eq!(chosen(0.28, 0.35), ModelKind::LagRidge, "a combination that is worse than naive is out");
    assert_eq!(chosen(0.31, 0.35), ModelKind::SeasonalNaive);
}

#[test]
fn a_model_that_cannot_be_fitted_is_left_out() {
    let refused = ModelError::TooFewRows { have: 3, need: 99 };
    let candidates = [
        candidate(ModelKind::LastValue, 0.3),
        candidate(ModelKind::SeasonalNaive, 0.2),
        CandidateScore { kind: ModelKind::LagRidge, outcome: Err(refused) },
    ];
    assert_eq!(choose(&candidates), (ModelKind::SeasonalNaive, Reason::NoOtherModel));
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
