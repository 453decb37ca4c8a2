use super::*;
use crate::forecaster::Forecaster;
use crate::selection::{Settings, fit};
use crate::series::Series;

const STEP_S: i64 = 300;
const DAY: usize = 288;
const HORIZON: usize = 12;

/// A daily wave around 100 with reproducible noise of about 3 %.
fn usual(index: usize) -> f64 {
    let wave = (index as f64 / DAY as f64 * std::f64::consts::TAU).sin();
    let noise: f64 = (1..=4).map(|salt| ((index * 7919 * salt + salt * 104_729) % 1009) as f64 / 1009.0 - 0.5).sum();
    100.0 * (1.0 + 0.4 * wave) * (1.0 + 0.05 * noise)
}

/// Fits eight days, then judges the steps after them. `demand` is asked for each step from the eighth day on.
fn judge(steps: usize, demand: impl Fn(usize) -> f64) -> Vec<Verdict> {
    let known: Vec<f64> = (0..8 * DAY).map(usual).collect();
    let history = Series::new(0, STEP_S as u32, known).unwrap();
    let forecaster: Forecaster = fit(&history, &Settings { horizon_steps: HORIZON, ..Settings::default() }).unwrap();
    let mut detector = Detector::new(STEP_S as u32, HORIZON);
    let mut values: Vec<f64> = history.values()[..5 * DAY].to_vec();
    let mut verdicts = Vec::new();
    for index in 5 * DAY..8 * DAY + steps {
        let actual = if index < 8 * DAY { usual(index) } else { demand(index - 8 * DAY) };
        let forecast = forecaster.predict(&Series::new(0, STEP_S as u32, values.clone()).unwrap()).unwrap();
        let verdict = detector.observe(&Expected::of_steps(&forecast), actual);
        values.push(actual);
        if let Verdict::Anomalous(anomaly) = &verdict {
            let from = (anomaly.from_s / STEP_S) as usize;
            values[from..].fill(f64::NAN);
        }
        if detector.last_was_far_out() {
            values[index] = f64::NAN;
        }
        verdicts.push(verdict);
    }
    assert!(verdicts[..3 * DAY].iter().all(|verdict| *verdict == Verdict::Normal), "the known days are usual");
    verdicts.split_off(3 * DAY)
}

fn at(step: usize) -> f64 {
    usual(8 * DAY + step)
}

fn anomalous(verdicts: &[Verdict]) -> Vec<usize> {
    let is_one = |verdict: &Verdict| matches!(verdict, Verdict::Anomalous(_));
    verdicts.iter().enumerate().filter(|(_, verdict)| is_one(verdict)).map(|(step, _)| step).collect()
}

#[test]
fn usual_days_and_single_points_are_normal() {
    let verdicts = judge(2 * DAY, |step| if step % 90 == 40 { 5.0 * at(step) } else { at(step) });
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Normal), "{:?}", anomalous(&verdicts));
}

#[test]
fn an_outage_is_found_within_three_steps_and_ends_when_it_ends() {
    let verdicts = judge(100, |step| if (30..40).contains(&step) { 0.0 } else { at(step) });
    let found = anomalous(&verdicts);
    assert!((30..=32).contains(&found[0]) && *found.last().unwrap() == 39, "{found:?}");
    let Verdict::Anomalous(anomaly) = &verdicts[39] else { panic!("{:?}", verdicts[39]) };
    assert_eq!(anomaly.direction, Direction::Below);
    assert_eq!((anomaly.from_s / STEP_S) as usize, 8 * DAY + 30);
    assert!(anomaly.score >= 1.0 && anomaly.why.actual == 0.0 && anomaly.why.steps == 10, "{anomaly:?}");
    assert!((anomaly.why.expected / at(39) - 1.0).abs() < 0.2, "{anomaly:?}");
}

#[test]
fn a_new_level_becomes_normal_and_an_episode_that_comes_and_goes_does_not() {
    let verdicts = judge(150, |step| if step >= 30 { 2.0 * at(step) } else { at(step) });
    let changed = verdicts.iter().position(|verdict| matches!(verdict, Verdict::Changed(_))).unwrap();
    assert!((30 + HORIZON - 1..=30 + 3 * HORIZON).contains(&changed), "{changed}");
    let Verdict::Changed(change) = &verdicts[changed] else { panic!() };
    assert!(change.steady && change.direction == Direction::Above, "{change:?}");
    assert!((change.from_s / STEP_S) as usize >= 8 * DAY + 30);

    let verdicts = judge(150, |step| if (30..36).contains(&step) { 2.0 * at(step) } else { at(step) });
    assert!(!anomalous(&verdicts).is_empty());
    assert!(!verdicts.iter().any(|verdict| matches!(verdict, Verdict::Changed(_))));
}

#[test]
fn what_comes_again_at_the_same_time_of_day_alarms_once() {
    let verdicts =
        judge(2 * DAY + 100, |step| if (30..36).contains(&(step % DAY)) { 3.0 * at(step) } else { at(step) });
    let found = anomalous(&verdicts);
    assert!(!found.is_empty() && found.iter().all(|step| *step < 40), "{found:?}");
}

#[test]
fn what_is_no_rate_changes_nothing() {
    let history = Series::new(0, STEP_S as u32, (0..8 * DAY).map(usual).collect()).unwrap();
    let forecast = Expected::of_steps(&fit(&history, &Settings::default()).unwrap().predict(&history).unwrap());
    let mut detector = Detector::new(STEP_S as u32, HORIZON);
    let before = format!("{detector:?}");
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(detector.observe(&forecast, value), Verdict::Normal);
    }
    assert_eq!(format!("{detector:?}"), before);
    for value in [0.0, 1e300, 1e300, f64::MIN_POSITIVE] {
        detector.observe(&forecast, value);
        assert!(detector.above.sum.is_finite() && detector.below.sum.is_finite());
    }
}
