//! What happens when life departs from history: quantiles follow, and the gate notices a forecast that is worse than none.

use forebay_forecast::{LIVE_MIN_SAMPLES, ModelKind, Series, Settings, fit, fit_as};

use crate::generated::{Bursts, MONDAY_S, Random, STEP_S, demand};
use crate::rolling::roll;

#[test]
fn quantiles_follow_noise_that_has_grown() {
    let mut random = Random(21);
    let mut noise = |deviation: f64, steps: usize| -> Vec<f64> {
        (0..steps).map(|_| 100.0 * (1.0 + deviation * random.normal()).max(0.0)).collect()
    };
    let calm = noise(0.02, 28 * 288);
    let begin = calm.len();
    let values = [calm, noise(0.2, 3 * 288)].concat();
    let series = Series::new(MONDAY_S, STEP_S, values).unwrap();
    let mut forecaster = fit(&series.slice(0, begin).unwrap(), &Settings::default()).unwrap();
    let mut covered = [0_u32; 3];
    roll(&mut forecaster, &series, (begin, series.len()), |index, step, actual| {
        if step.lead == 1 {
            covered[(index - begin) / 288] += u32::from(actual <= step.quantile(0.95));
        }
    });
    let shares = covered.map(|count| f64::from(count) / 288.0);
    println!("coverage by day after the noise grew tenfold: {shares:.3?}");
    assert!(shares[0] >= 0.85 && shares[1] >= 0.93, "{shares:?}");
}

#[test]
fn the_gate_closes_on_a_pattern_that_has_ended() {
    // Bursts every day, then a flat line: yesterday's value is wrong, the last one is right.
    let demand = demand(&Bursts { seed: 4, days: 28, moved_steps: 0, noise: 0.01 });
    let begin = demand.series.len();
    let mut values = demand.series.values().to_vec();
    values.extend(std::iter::repeat_n(100.0, 2 * 288));
    let series = Series::new(MONDAY_S, STEP_S, values).unwrap();
    let history = series.slice(0, begin).unwrap();
    let mut forecaster = fit_as(ModelKind::SeasonalNaive, &history, &Settings::default()).unwrap();
    assert_eq!(forecaster.report().reference, ModelKind::LastValue);
    assert!(!forecaster.is_worse_than_naive());
    // A day, and the steps until all of its leads have come to pass.
    roll(&mut forecaster, &series, (begin, begin + 288 + 4), |_, _, _| {});
    assert!(forecaster.live().samples() >= LIVE_MIN_SAMPLES);
    assert!(forecaster.is_worse_than_naive(), "{:?}", forecaster.live().mean_losses());

    // A refit keeps the record, so that it does not reopen the gate by itself.
    let mut refitted = fit_as(ModelKind::SeasonalNaive, &history, &Settings::default()).unwrap();
    refitted.take_over_live_score(&forecaster);
    assert!(refitted.is_worse_than_naive());
    let mut for_another_horizon = fit(&history, &Settings { horizon_steps: 2, ..Settings::default() }).unwrap();
    for_another_horizon.take_over_live_score(&forecaster);
    assert!(!for_another_horizon.is_worse_than_naive());
}
