//! A synthetic key of hourly steps that lives through what the lifecycle is for: a change of level, a better model, a
//! worse one, one that was luck.

use forebay_forecast::{
    Choice, Chosen, LineupEvent, ModelKind, Place, RefitSchedule, RefitTrigger, Settings, fit, fit_as,
};
use forebay_plan::Key;

use super::super::demand::{Fitted, KeyDemand};
use super::{Lifecycle, Order};
use crate::config::Quantiles;
use crate::store::StoredPoint;

const HOUR_S: i64 = 3600;
const DAYS: i64 = 14;

/// A daily wave around `level`, with noise.
fn wave(step: i64, level: f64) -> f64 {
    let noise = ((step * 7919) % 1009) as f64 / 1009.0 - 0.5;
    level * (1.0 + 0.5 * (step as f64 / 24.0 * std::f64::consts::TAU).sin() + 0.1 * noise)
}

struct KeyLife {
    demand: KeyDemand,
    now: i64,
    fits: u64,
    log: Vec<Choice>,
}

impl KeyLife {
    /// With `DAYS` of history of this demand, and a forecaster of this kind.
    fn new(kind: ModelKind, demand_of: impl Fn(i64) -> f64) -> Self {
        let quantiles = Quantiles { shadow: 0.95, upper: 0.95 };
        let schedule = RefitSchedule { every_s: 60 * 86_400, ..RefitSchedule::default() };
        let now = DAYS * 24;
        let life = Lifecycle::new(schedule, 0.95, HOUR_S as u32, now * HOUR_S);
        let mut demand = KeyDemand::new(Key::new("shop", "requests"), HOUR_S as u32, quantiles, 0, 8000, life);
        let points: Vec<StoredPoint> = (0..now).map(|step| point(step, demand_of(step))).collect();
        demand.absorb(&points, 0, now);
        demand.settled(now);
        let mut key = Self { demand, now, fits: 0, log: Vec::new() };
        let order = key.order().expect("the first fit is due at once");
        assert_eq!(order.refit.why, RefitTrigger::First);
        assert!(key.fit(&order, Some(kind)), "a first fit is used at once");
        key
    }

    fn order(&mut self) -> Option<Order> {
        self.demand.life.order(self.demand.fitted.as_ref(), self.now * HOUR_S)
    }

    /// Does what was ordered, or fits this kind instead; whether it forecasts now.
    fn fit(&mut self, order: &Order, kind: Option<ModelKind>) -> bool {
        let history = self.demand.training(order.since_s.map_or(0, |since_s| since_s / HOUR_S)).unwrap();
        let settings = Settings { horizon_steps: 4, ..Settings::default() };
        let forecaster = match kind.or(order.model) {
            Some(kind) => fit_as(kind, &history, &settings),
            None => fit(&history, &settings),
        };
        self.fits += 1;
        let fitted = Fitted { version: self.fits, forecaster: forecaster.unwrap(), since_s: order.since_s };
        let forecasts = self.demand.life.fitted(&mut self.demand.fitted, order, fitted);
        self.log.extend(self.demand.life.take_choices());
        forecasts
    }

    /// One hour with this demand; a fit that is due.
    fn pass(&mut self, value: f64) -> Option<Order> {
        self.demand.forecast(self.now, self.now, None).unwrap();
        self.demand.absorb(&[point(self.now, value)], self.now, self.now + 1);
        self.now += 1;
        self.demand.settle(self.now);
        self.log.extend(self.demand.life.take_choices());
        self.order()
    }

    /// Hours until a contest ends, refusing every other fit.
    fn contest(&mut self, demand_of: impl Fn(i64) -> f64) -> LineupEvent {
        let known = self.log.len();
        for _ in 0..24 * 30 {
            if let Some(order) = self.pass(demand_of(self.now)) {
                self.demand.life.tried(&order);
            }
            let ended = self.log[known..].iter().find_map(|choice| match choice.chosen {
                Chosen::Lineup { event, .. } => Some(event),
                _ => None,
            });
            if let Some(event) = ended {
                return event;
            }
        }
        panic!("no contest ends in a month: {:?}", self.log);
    }

    /// Puts a challenger of this kind up, as a selection by schedule would.
    fn challenge(&mut self, kind: ModelKind) {
        self.demand.life.due = Some(super::Refit { what: super::RefitScope::Select, why: RefitTrigger::Scheduled });
        let order = self.order().unwrap();
        assert!(!self.fit(&order, Some(kind)), "a challenger does not forecast");
        assert_eq!(self.place(), Place::Challenger);
        assert_eq!(self.rival(), Some(kind));
    }

    fn place(&self) -> Place {
        let fits = self.log.iter().rev().filter_map(|choice| match &choice.chosen {
            Chosen::Fitted(fit) => Some(fit.place),
            _ => None,
        });
        fits.take(1).last().unwrap()
    }

    fn champion(&self) -> ModelKind {
        super::model(&self.demand.fitted.as_ref().unwrap().forecaster)
    }

    fn rival(&self) -> Option<ModelKind> {
        self.demand.life.rival().map(|fitted| super::model(&fitted.forecaster))
    }
}

fn point(step: i64, value: f64) -> StoredPoint {
    StoredPoint { start_s: step * HOUR_S, value, cap: None }
}

#[test]
fn a_key_lives_through_a_change_of_level() {
    let changed = (DAYS + 1) * 24;
    let demand_of = |step: i64| wave(step, if step < changed { 10.0 } else { 30.0 });
    let mut key = KeyLife::new(ModelKind::SeasonalNaive, demand_of);
    let order = (0..24 * 10).find_map(|_| {
        let order = key.pass(demand_of(key.now));
        if key.now == changed + 12 {
            key.demand.life.changed(changed * HOUR_S);
        }
        let order = order?;
        if matches!(order.refit.why, RefitTrigger::Changed { .. }) {
            return Some(order);
        }
        key.demand.life.tried(&order);
        None
    });
    let order = order.expect("a fit since the change");
    assert_eq!((order.since_s, key.now), (Some(changed * HOUR_S), changed + 48), "as soon as two days came since");
    let in_force = key.fit(&order, None);
    assert_eq!(in_force, key.place() == Place::Replaced);
    let fitted = if in_force { key.demand.fitted.as_ref() } else { key.demand.life.rival() };
    assert_eq!(fitted.unwrap().since_s, Some(changed * HOUR_S));
    let Some(Choice { chosen: Chosen::Fitted(fit), .. }) = key.log.last() else { panic!("{:?}", key.log) };
    assert_eq!(fit.refit.why, RefitTrigger::Changed { from_s: changed * HOUR_S });
    assert!(fit.candidates.iter().filter(|contender| contender.loss.is_some()).count() >= 3, "{fit:?}");

    // What is renewed later still learns from the new level only.
    key.demand.life.due = Some(super::Refit { what: super::RefitScope::Recalibrate, why: RefitTrigger::Scheduled });
    let order = key.order().unwrap();
    assert_eq!(order.since_s, key.demand.fitted.as_ref().unwrap().since_s);
}

#[test]
fn a_better_challenger_is_promoted_and_confirmed_or_taken_back() {
    // Yesterday's values are a good forecast of a wave, the mean of many days is a better one.
    let calm = |step| wave(step, 10.0);
    let mut key = KeyLife::new(ModelKind::SeasonalNaive, calm);
    key.challenge(ModelKind::SeasonalProfile);
    assert_eq!(key.champion(), ModelKind::SeasonalNaive, "the running one goes on");
    let promoted = key.contest(calm);
    assert!(matches!(promoted, LineupEvent::Promoted { record, .. } if record.rival_loss < record.champion_loss));
    assert_eq!((key.champion(), key.rival()), (ModelKind::SeasonalProfile, Some(ModelKind::SeasonalNaive)));
    assert!(key.demand.fitted.as_ref().unwrap().forecaster.live().samples() > 24, "it brings its record with it");

    // A selection on probation renews what runs.
    key.demand.life.due = Some(super::Refit { what: super::RefitScope::Select, why: RefitTrigger::Scheduled });
    let order = key.order().unwrap();
    assert_eq!(order.model, Some(ModelKind::SeasonalProfile));
    assert!(key.fit(&order, None));
    assert_eq!((key.place(), key.rival()), (Place::Renewed, Some(ModelKind::SeasonalNaive)));

    // Night becomes day: yesterday is right from the second day on, and the last good model the better one again.
    let taken_back = key.contest(|step| wave(step + 12, 10.0));
    assert!(matches!(taken_back, LineupEvent::RolledBack { .. }), "{taken_back:?}");
    assert_eq!((key.champion(), key.rival()), (ModelKind::SeasonalNaive, None));
}

#[test]
fn an_inferior_challenger_is_not_promoted() {
    let calm = |step| wave(step, 10.0);
    let mut key = KeyLife::new(ModelKind::SeasonalNaive, calm);
    key.challenge(ModelKind::LastValue);
    let dropped = key.contest(calm);
    assert!(matches!(dropped, LineupEvent::Dropped { .. }), "{dropped:?}");
    assert_eq!((key.champion(), key.rival()), (ModelKind::SeasonalNaive, None));
    let words = key.log.last().unwrap().chosen.in_words(|at_s| at_s.to_string());
    assert!(words.starts_with("last-value dropped, seasonal-naive goes on: over "), "{words}");
}

#[test]
fn a_fit_that_is_waited_for_is_not_ordered_twice_and_a_refused_one_waits_its_time() {
    let mut key = KeyLife::new(ModelKind::SeasonalNaive, |step| wave(step, 10.0));
    let refit = super::Refit { what: super::RefitScope::Select, why: RefitTrigger::Scheduled };
    key.demand.life.due = Some(refit);
    let order = key.order().unwrap();
    key.demand.life.due = Some(refit);
    assert_eq!(key.order(), None);
    key.demand.life.tried(&order);
    assert!(key.order().is_some());
}

#[test]
fn a_model_that_a_naive_one_beats_on_held_out_history_gives_way_at_once() {
    let calm = |step| wave(step, 10.0);
    let mut key = KeyLife::new(ModelKind::LastValue, calm);
    key.demand.life.due = Some(super::Refit { what: super::RefitScope::Select, why: RefitTrigger::Scheduled });
    let order = key.order().unwrap();
    assert!(key.fit(&order, Some(ModelKind::SeasonalNaive)), "the last value is a bad forecast of a wave");
    assert_eq!((key.place(), key.rival()), (Place::Replaced, Some(ModelKind::LastValue)));
}
