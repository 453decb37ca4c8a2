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
        let mut key = Self::without_forecaster(60 * 24, DAYS * 24, demand_of);
        let order = key.order().expect("the first fit is due at once");
        assert_eq!(order.refit.why, RefitTrigger::First);
        assert!(key.fit(&order, Some(kind)), "a first fit is used at once");
        key
    }

    /// With history up to `now`, fitted every so many hours by schedule.
    fn without_forecaster(every_hours: i64, now: i64, demand_of: impl Fn(i64) -> f64) -> Self {
        let quantiles = Quantiles { shadow: 0.95, upper: 0.95 };
        let every_s = every_hours * HOUR_S;
        let schedule = RefitSchedule { every_s, learning_steps: 24, ..RefitSchedule::default() };
        let life = Lifecycle::new(schedule, 0.95, HOUR_S as u32, now * HOUR_S);
        let mut demand = KeyDemand::new(Key::new("shop", "requests"), HOUR_S as u32, quantiles, 0, 8000, life);
        let points: Vec<StoredPoint> = (0..now).map(|step| point(step, demand_of(step))).collect();
        demand.absorb(&points, 0, now);
        demand.settled(now);
        Self { demand, now, fits: 0, log: Vec::new() }
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
    StoredPoint { start_s: step * HOUR_S, value, hostile: 0.0, cap: None }
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

/// Hours after a series has drifted, if it does, until a fit is due for another reason than the schedule, and the reason.
fn noticed(every_hours: i64, drifts: bool) -> Option<(i64, RefitTrigger)> {
    let drift = (DAYS + 5) * 24;
    // The day shifts by some hours: what many days taught is off for weeks.
    let demand_of = |step: i64| wave(if drifts && step >= drift { step + 3 } else { step }, 10.0);
    let mut key = KeyLife::without_forecaster(every_hours, DAYS * 24, demand_of);
    let kind = Some(ModelKind::SeasonalProfile);
    let first = key.order().unwrap();
    key.fit(&first, kind);
    (0..24 * 21).find_map(|_| {
        let order = key.pass(demand_of(key.now))?;
        if order.refit.why != RefitTrigger::Scheduled {
            return Some((key.now - drift, order.refit.why));
        }
        assert!(key.fit(&order, kind), "the same model is renewed");
        None
    })
}

#[test]
fn a_drift_is_noticed_whatever_the_schedule() {
    for every_hours in [6, 24, 288] {
        assert_eq!(noticed(every_hours, false), None, "calm, fitted every {every_hours} hours");
        let (after, why) = noticed(every_hours, true).unwrap_or_else(|| panic!("never, at {every_hours} hours"));
        assert!((1..72).contains(&after), "fitted every {every_hours} hours, noticed after {after}: {why:?}");
    }
}

#[test]
fn a_contest_goes_on_after_a_restart_where_it_was() {
    let calm = |step| wave(step, 10.0);
    let mut key = KeyLife::new(ModelKind::SeasonalNaive, calm);
    key.challenge(ModelKind::SeasonalProfile);
    for _ in 0..40 {
        assert_eq!(key.pass(calm(key.now)), None);
    }
    let stored = key.demand.life.contest_to_store(key.demand.fitted.as_ref()).flatten().unwrap();
    let text = serde_json::to_string(&stored).unwrap();

    let restarted = |now: i64| {
        let mut key = KeyLife::without_forecaster(60 * 24, now, calm);
        key.demand.life.resume(serde_json::from_str(&text).unwrap());
        key
    };
    let mut later = restarted(key.now);
    let first = later.order().unwrap();
    assert!(later.fit(&first, None), "the champion forecasts at once");
    assert_eq!((later.champion(), later.place()), (ModelKind::SeasonalNaive, Place::Renewed));
    assert_eq!(later.demand.life.contest_to_store(later.demand.fitted.as_ref()), Some(Some(stored.clone())));
    let second = later.order().expect("the rival's fit");
    assert!(!later.fit(&second, None));
    assert_eq!(later.rival(), Some(ModelKind::SeasonalProfile));
    let LineupEvent::Promoted { record, .. } = later.contest(calm) else { panic!("{:?}", later.log) };
    assert_eq!(record.steps as i64, 40 + later.now - key.now, "the hours before the restart count");

    // Whoever can not be fitted any more has no contest.
    for refused in 0..2 {
        let mut later = restarted(key.now);
        for _ in 0..refused {
            let order = later.order().unwrap();
            later.fit(&order, None);
        }
        let order = later.order().unwrap();
        later.demand.life.tried(&order);
        assert_eq!(later.demand.life.contest_to_store(later.demand.fitted.as_ref()), Some(None));
        let again = later.order().map(|order| (order.refit.why, order.model));
        assert_eq!(again, (refused == 0).then_some((RefitTrigger::First, None)));
    }
}
