//! The flood guard, the watch for anomalies and the comparison with what came: hourly steps, ten per second, and sixty at
//! noon of every day.

use std::ops::Range;

use forebay_forecast::{
    Direction, Effect, Event, EventCalendar, Evidence, ExclusionReason, HostileTraffic, Label, LabelKind, Refit,
    RefitSchedule, RefitScope, RefitTrigger, Said, Settings, Treatment, fit,
};
use forebay_plan::Key;

use super::watch::{Noted, Word};
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
    StoredPoint { start_s: step * i64::from(HOUR_S), value, hostile: 0.0, cap: None }
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
    let settings = Settings { horizon_steps: 4 + SPARE_LEADS, ..Settings::default() };
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

/// Three usual days, from which the detector learns what is usual, five hours of an attack, and four usual hours.
fn attacked() -> (KeyDemand, Range<i64>) {
    let mut demand = fitted_demand();
    let first = (DAYS + 3) * 24 + 14;
    let attack = first..first + 5;
    for step in DAYS * 24..attack.end + 4 {
        let value = if attack.contains(&step) { 400.0 + 20.0 * step.rem_euclid(3) as f64 } else { usual(step) };
        pass(&mut demand, step, value);
    }
    (demand, attack)
}

fn said() -> Said {
    Said { by: "ana".to_owned(), at_s: 0, note: "a launch".to_owned() }
}

fn label(steps: &Range<i64>, kind: LabelKind) -> Word {
    let (from_s, to_s) = (steps.start * i64::from(HOUR_S), steps.end * i64::from(HOUR_S));
    Word::Label(Label { from_s, to_s, kind, said: said() })
}

/// Steps of the training series that are missing.
fn missing(demand: &KeyDemand) -> Vec<i64> {
    let training = demand.training(0).unwrap();
    (0..).zip(training.values()).filter(|(_, value)| value.is_nan()).map(|(step, _)| step).collect()
}

#[test]
fn an_attack_is_left_out_of_training_and_told() {
    let (mut demand, attack) = attacked();
    assert_eq!(missing(&demand), attack.clone().collect::<Vec<_>>());
    let (noted, is_changed) = demand.watch.take_noted();
    assert!(is_changed && matches!(&noted[..], [Noted::Begun(_)]), "{noted:?}");
    let [entry] = demand.watch.entries() else { panic!("{:?}", demand.watch.entries()) };
    assert_eq!((entry.from_s, entry.to_s), (attack.start * 3600, attack.end * 3600));
    assert!(matches!(entry.reason, ExclusionReason::Detected { direction: Direction::Above, score } if score >= 1.0));
    let left_out = demand.left_out(0).unwrap();
    assert_eq!((left_out.len(), left_out[0].treatment), (1, Treatment::Excluded));
    assert_eq!(demand.watch.now(), None, "it is over");
    assert_eq!(demand.raw(attack.start), Some(400.0 + 20.0 * attack.start.rem_euclid(3) as f64), "the raw value stays");
    // What the guard believes at once is another matter: nothing is missing there.
    let believed = demand.believed_between(attack, super::belief::Anomalous::Capped).unwrap();
    assert!(believed.iter().all(|value| (5.0..60.0).contains(value)), "{believed:?}");
}

#[test]
fn a_label_takes_it_back_and_may_say_the_contrary() {
    let (mut demand, attack) = attacked();
    let half = attack.start..attack.start + 2;
    (_, demand.watch) = demand.watch.with(label(&half, LabelKind::Normal)).unwrap();
    assert_eq!(missing(&demand), (half.end..attack.end).collect::<Vec<_>>());
    let training = demand.training(0).unwrap();
    for step in half {
        assert_eq!(Some(training.values()[step as usize]), demand.raw(step), "as measured, and no cap counts");
    }
    (_, demand.watch) = demand.watch.with(label(&attack, LabelKind::Normal)).unwrap();
    (_, demand.watch) = demand.watch.with(label(&(100..103), LabelKind::Anomalous)).unwrap();
    assert_eq!(missing(&demand), [100, 101, 102]);
    assert_eq!(demand.watch.entries().len(), 4, "what was overruled stays on record");
}

#[test]
fn hostile_demand_is_subtracted_for_training_and_for_forecasts() {
    let mut demand = fitted_demand();
    let traffic = HostileTraffic { from_s: 100 * 3600, to_s: 102 * 3600, rate_per_s: 4.0 };
    (_, demand.watch) = demand.watch.with(Word::Hostile(traffic, said())).unwrap();
    let expected: Vec<f64> = (100..102).map(|step| usual(step) - 4.0).collect();
    assert_eq!(demand.training(0).unwrap().values()[100..102], expected);
    assert_eq!(demand.believed_between(100..102, super::belief::Anomalous::Capped).unwrap(), expected);
    let nothing = HostileTraffic { rate_per_s: f64::NAN, ..traffic };
    assert!(demand.watch.with(Word::Hostile(nothing, said())).is_none());
}

#[test]
fn what_filters_recognised_is_no_demand_unless_a_label_says_that_all_was() {
    let mut demand = fitted_demand();
    let hostile = |step: i64, rate_per_s: f64| StoredPoint { hostile: rate_per_s, ..stored(step, usual(step)) };
    demand.absorb(&[hostile(100, 4.0), hostile(101, 8.0), hostile(110, 1.0)], 100, 111);
    assert_eq!(demand.training(0).unwrap().values()[100..102], [usual(100), usual(101)]);
    let stretch = |from: i64, to: i64, rate_per_s| HostileTraffic { from_s: from * 3600, to_s: to * 3600, rate_per_s };
    assert_eq!(demand.hostile_stretches(9), [stretch(100, 102, 6.0), stretch(110, 111, 1.0)]);
    assert_eq!(demand.hostile_stretches(1), [stretch(110, 111, 1.0)], "the newest");
    (_, demand.watch) = demand.watch.with(label(&(100..101), LabelKind::Normal)).unwrap();
    assert_eq!(demand.training(0).unwrap().values()[100..102], [usual(100) + 4.0, usual(101)]);
}

#[test]
fn a_restart_goes_on_within_an_attack() {
    let mut demand = fitted_demand();
    let first = (DAYS + 3) * 24 + 14;
    for step in DAYS * 24..first + 4 {
        pass(&mut demand, step, if step >= first { 400.0 } else { usual(step) });
    }
    assert_eq!(demand.watch.now(), Some(Direction::Above));
    let stored = serde_json::to_string(demand.watch.detector()).unwrap();
    let mut later = fitted_demand();
    later.watch.restore(demand.watch.entries().to_vec(), serde_json::from_str(&stored).unwrap());
    let points: Vec<StoredPoint> = (DAYS * 24..first + 4).map(|step| stored_of(&demand, step)).collect();
    later.absorb(&points, DAYS * 24, first + 4);
    later.settled(first + 4);
    for step in first + 4..first + 6 {
        pass(&mut later, step, 400.0);
    }
    let [entry] = later.watch.entries() else { panic!("{:?}", later.watch.entries()) };
    assert_eq!((entry.from_s, entry.to_s), (first * 3600, (first + 6) * 3600), "it is one episode");
    assert_eq!(missing(&later), (first..first + 6).collect::<Vec<_>>());
}

fn stored_of(demand: &KeyDemand, step: i64) -> StoredPoint {
    stored(step, demand.raw(step).unwrap())
}

#[test]
fn a_surprise_is_learned_once_the_calendar_names_it() {
    let mut demand = fitted_demand();
    let sale = DAYS * 24..DAYS * 24 + 10;
    for step in sale.clone() {
        pass(&mut demand, step, 3.0 * usual(step));
    }
    for step in sale.end..sale.end + 4 {
        pass(&mut demand, step, usual(step));
    }
    let taken = |demand: &KeyDemand| demand.training(0).unwrap().values()[sale.start as usize + 4];
    assert!(taken(&demand) < 2.0 * usual(sale.start + 4), "the guard believes in part: {}", taken(&demand));
    let event = |from: i64, to: i64| Event {
        kind: "sale".to_owned(),
        from_s: from * i64::from(HOUR_S),
        to_s: to * i64::from(HOUR_S),
        key: None,
        effect: Effect::default(),
    };
    let next = sale.end + 5;
    let calendar = EventCalendar::new(vec![event(sale.start, sale.end), event(next, next + 6)]).unwrap();
    demand.events.concerning(calendar);
    assert_eq!(taken(&demand), 3.0 * usual(sale.start + 4));
    demand.forecast(sale.end + 4, sale.end + 4, None).unwrap();
    let report = demand.record().events;
    assert_eq!(report[0].evidence, Evidence::Seen { events: 1 });
    assert!((1.7..3.1).contains(&report[0].uplift.factor()), "held back by one event: {report:?}");
    let (before, lifted) = (demand.bound(next - 1).unwrap().0, demand.bound(next).unwrap().0);
    assert!(lifted > 1.6 * before, "{before} to {lifted}");
    // A label of a person overrules the calendar.
    (_, demand.watch) = demand.watch.with(label(&sale, LabelKind::Anomalous)).unwrap();
    assert_eq!(missing(&demand), sale.collect::<Vec<_>>());
}

#[test]
fn a_level_that_lasts_is_learned_and_the_lifecycle_is_told() {
    let mut demand = fitted_demand();
    let first = (DAYS + 3) * 24;
    for step in DAYS * 24..first + 50 {
        pass(&mut demand, step, if step >= first { 3.0 * usual(step) } else { usual(step) });
    }
    let from_s = first * i64::from(HOUR_S);
    let (noted, _) = demand.watch.take_noted();
    assert!(matches!(&noted[..], [Noted::Begun(_), Noted::Changed(change)] if change.from_s == from_s), "{noted:?}");
    let [entry] = demand.watch.entries() else { panic!("{:?}", demand.watch.entries()) };
    assert_eq!(entry.lifted_from_s, Some(from_s), "the decision stays on record");
    assert_eq!((missing(&demand), demand.watch.now()), (vec![], None));
    assert_eq!(demand.training(0).unwrap().values()[first as usize + 10], 3.0 * usual(first + 10));
    let refit = Refit { what: RefitScope::SelectSince { from_s }, why: RefitTrigger::Changed { from_s } };
    assert_eq!(demand.life.due(), Some(refit));
}
