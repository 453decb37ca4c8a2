//! The flood guard and the comparison with what came: hourly steps, ten per second, and sixty at noon of every day.

use forebay_forecast::{RefitSchedule, Settings, fit};
use forebay_plan::Key;

use super::{Fitted, KeyDemand, SPARE_LEADS};
use crate::config::Quantiles;
use crate::planning::lifecycle::Lifecycle;
use crate::store::StoredPoint;

const DAYS: i64 = 21;
const HOUR_S: u32 = 3600;

/// Alternates a little, so that there are residuals.
fn usual(step: i64) -> f64 {
    let base = if step.rem_euclid(24) == 12 { 60.0 } else { 10.0 };
    base * [0.95, 1.05, 1.0][step.rem_euclid(3) as usize]
}

fn stored(step: i64, value: f64) -> StoredPoint {
    StoredPoint { start_s: step * i64::from(HOUR_S), value, cap: None }
}

fn fitted_demand() -> KeyDemand {
    fitted_for(0.95, usual)
}

/// Shadow is bought for this quantile, after this history.
fn fitted_for(shadow: f64, history: fn(i64) -> f64) -> KeyDemand {
    let quantiles = Quantiles { shadow, upper: 0.95 };
    let life = Lifecycle::new(RefitSchedule::default(), quantiles.upper, HOUR_S, 0);
    let mut demand = KeyDemand::new(Key::new("shop", "requests"), HOUR_S, quantiles, 0, 8000, life);
    let points: Vec<StoredPoint> = (0..DAYS * 24).map(|step| stored(step, history(step))).collect();
    demand.absorb(&points, 0, DAYS * 24);
    demand.settled(DAYS * 24);
    let settings = Settings { horizon_steps: 4 + SPARE_LEADS, upper_quantile: 0.95 };
    let forecaster = fit(&demand.training(0).unwrap(), &settings).unwrap();
    demand.fitted = Some(Fitted { version: 1, forecaster, since_s: None });
    demand
}

/// One hour passes with this demand; what was forecast for it as its bound.
fn pass(demand: &mut KeyDemand, step: i64, value: f64) -> (f64, usize) {
    demand.forecast(step, step, None).unwrap();
    let (_, upper) = demand.bound(step).unwrap();
    demand.absorb(&[stored(step, value)], step, step + 1);
    (upper, demand.settle(step + 1).len())
}

#[test]
fn the_recurring_burst_is_forecast_and_is_no_burst() {
    let mut demand = fitted_demand();
    for step in DAYS * 24..DAYS * 24 + 13 {
        let (upper, _) = pass(&mut demand, step, usual(step));
        if step.rem_euclid(24) == 12 {
            assert!(upper >= 57.0, "noon is bounded by {upper}");
        }
    }
    let record = demand.record();
    assert!(record.records.iter().any(|r| r.lead == 1 && r.step.rem_euclid(24) == 12 && r.actual <= r.upper));
}

#[test]
fn a_flood_is_counted_and_brings_no_forecast_of_more() {
    let mut demand = fitted_demand();
    let first = DAYS * 24 + 14;
    for step in DAYS * 24..first {
        pass(&mut demand, step, usual(step));
    }
    let (calm, _) = pass(&mut demand, first, 500.0);
    for step in first + 1..first + 8 {
        let (upper, bursts) = pass(&mut demand, step, 500.0);
        assert!(upper < calm * 2.0 + 5.0, "step {step} of the flood: bound {upper}, before it {calm}");
        assert_eq!(bursts, 1);
    }
    assert_eq!(demand.raw(first), Some(500.0), "the raw value stays");
    assert!(demand.record().bursts >= 8);
}

#[test]
fn buying_for_the_middle_makes_no_bursts_and_believes_the_same() {
    // No model knows this by heart, so that half of what comes is above the middle.
    let noisy = |step: i64| usual(step) * (1.0 + 0.1 * (step as f64 * 12.9898).sin());
    let (mut middle, mut upper) = (fitted_for(0.5, noisy), fitted_for(0.95, noisy));
    let now = DAYS * 24 + 48;
    let mut bursts = 0;
    for step in DAYS * 24..now {
        let of_middle = pass(&mut middle, step, noisy(step));
        assert_eq!(of_middle, pass(&mut upper, step, noisy(step)), "step {step}");
        bursts += of_middle.1;
    }
    assert!(bursts <= 6, "{bursts} of 48 hours");
    assert_eq!(middle.training(0).unwrap(), upper.training(0).unwrap());
    for demand in [&mut middle, &mut upper] {
        demand.forecast(now, now, None).unwrap();
    }
    let (point, bound) = middle.bound(now + 1).unwrap();
    assert!(point < bound, "{point} to {bound}");
    assert_eq!((middle.bought(now + 1), upper.bought(now + 1)), (Some(point), Some(bound)));
}

#[test]
fn what_came_twice_on_schedule_is_believed_when_training() {
    let mut demand = fitted_demand();
    let (first, second) = (DAYS * 24 + 15, DAYS * 24 + 39);
    for step in DAYS * 24..=second {
        let value = if step == first || step == second { 200.0 } else { usual(step) };
        pass(&mut demand, step, value);
        if step == first {
            let believed = demand.training(0).unwrap().values()[first as usize];
            assert!(believed < 60.0, "seen once: {believed}");
        }
    }
    assert_eq!(demand.training(0).unwrap().values()[first as usize], 200.0);
    assert_eq!(demand.training(0).unwrap().values()[second as usize], 200.0);
}

#[test]
fn late_observations_leave_the_next_slots_forecast() {
    let mut demand = fitted_demand();
    let now = DAYS * 24 + 1;
    // The step before `now` has not been reported at all.
    demand.forecast(now, now - 1, None).unwrap();
    for slot in now..now + 4 {
        let (point, upper) = demand.bound(slot).unwrap();
        assert!(point > 5.0 && upper < 100.0, "slot {slot}: {point} to {upper}");
    }
}
