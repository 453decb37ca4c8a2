//! Searched parameters: never worse than the defaults where they are searched, and blind to what the selection judges by.

use forebay_forecast::{
    Globals, ModelKind, SearchBudget, Series, Settings, Tuned, Tuning, TuningError, fit_with, tune,
};

use crate::generated::Random;

const HOURS: usize = 20 * 24;
/// The newest fold of such a history.
const FOLD: usize = 5 * 24;

/// A wave of the day with noise; the newest fold is multiplied.
fn series(newest: f64) -> Series {
    let mut random = Random(7);
    let rate = |hour: usize| {
        let wave = 10.0 + 4.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin() + random.normal();
        wave.max(0.0) * if hour >= HOURS - FOLD { newest } else { 1.0 }
    };
    Series::new(0, 3600, (0..HOURS).map(rate).collect()).unwrap()
}

fn searched(series: &Series, trials: usize, earlier: &[Vec<forebay_forecast::Trial>]) -> Tuned {
    let settings = Settings { horizon_steps: 2, ..Settings::default() };
    tune(&Globals::default(), series, &settings, SearchBudget { trials, seed: 3 }, earlier).unwrap()
}

#[test]
fn a_search_never_sees_what_the_selection_judges_by() {
    let tuned = searched(&series(1.0), 6, &[]);
    assert_eq!(tuned, searched(&series(3.0), 6, &[]));
    assert_eq!(tuned.trials.len(), 6);
    assert_eq!(tuned.trials[0].loss, Some(tuned.before), "the default comes first");
    let best = tuned.trials.iter().filter_map(|trial| trial.loss).fold(f64::INFINITY, f64::min);
    match tuned.tuning == Tuning::default() {
        true => assert!(tuned.after == tuned.before && best > 0.98 * tuned.before),
        false => assert!(tuned.after == best && best < 0.98 * tuned.before),
    }
    let warmed = searched(&series(1.0), 2, std::slice::from_ref(&tuned.trials));
    let best_point = tuned.trials.iter().find(|trial| trial.loss == Some(best)).unwrap();
    assert!(best == tuned.before || warmed.trials[1].point == best_point.point, "begins with what was best");
}

#[test]
fn parameters_reach_the_models() {
    let settings = Settings { horizon_steps: 2, ..Settings::default() };
    let score = |tuning: Tuning, kind: ModelKind| {
        let globals = Globals { tuning, ..Globals::default() };
        fit_with(&globals, &series(1.0), &settings).unwrap().report().score_of(kind).unwrap().relative_pinball
    };
    let default = Tuning::default();
    for (changed, kind) in [
        (Tuning { deviation_penalty: 0.5, ..default }, ModelKind::DaysRidge),
        (Tuning { offset_of_mean: 2.0, ..default }, ModelKind::DaysRidge),
        (Tuning { learned_share: 0.5, ..default }, ModelKind::DaysRidge),
        (Tuning { sharpness: 16, ..default }, ModelKind::Combination),
    ] {
        assert_ne!(score(changed, kind), score(default, kind), "{changed:?}");
    }
}

#[test]
fn too_short_a_history_is_refused() {
    let short = series(1.0).slice(0, 60).unwrap();
    let settings = Settings { horizon_steps: 2, ..Settings::default() };
    let refused = tune(&Globals::default(), &short, &settings, SearchBudget { trials: 2, seed: 1 }, &[]);
    assert!(matches!(refused, Err(TuningError::Forecast(_))), "{refused:?}");
}
