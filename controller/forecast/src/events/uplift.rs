//! What events do to demand, learned with shrinkage: a level of belief for all events, one per kind, one per event.
//!
//! Everything is on the logarithm of demand over its [`Baseline`]. Kinds scatter around what events do in general by
//! [`KIND_DEVIATION`], events around their kind by a deviation that is learned from all kinds together (two events of a
//! kind say little about their own), and an event's mean carries the noise of an ordinary day besides. All normal, so that
//! the posterior of each level is a weighted mean: many events of a kind speak for themselves, one is held towards the
//! others, none is the others' mean, as unsure as kinds differ. Over the hours of an event there is a profile, learned from
//! events of its kind that last as long; what happens hour by hour is not carried from kind to kind.
//!
//! While an event is on, it is known better than its kind: each step that has come moves the estimate (a Kalman filter on
//! a level that wanders by [`WANDER_PER_HOUR`]), and the forecast of its next hours starts from there. The level is slow on
//! purpose ([`MISS_LASTS_S`]): what goes up and down from step to step is left in the cleared history for the model there,
//! which follows it better.
//!
//! What the deviations are before anything was seen is stated here and not tuned: uplifts of kinds differ by about a third,
//! events of a kind by a fifth. (Partial pooling: Gelman and Hill, Data analysis using regression and multilevel models,
//! 2007, chapter 12.)

use std::collections::BTreeMap;

use super::baseline::{Baseline, Noise};
use super::course::{Belief, HOUR_S, Instance, Profile, hour_of};
use super::{EventCalendar, ExpectedUplift, MAX_FACTOR};
use crate::error::SeriesError;
use crate::series::Series;

/// Deviation of what events do in general around "nothing", before any was seen.
const POOL_DEVIATION: f64 = 0.5;
/// Deviation of kinds around the pool: about a third up or down. Too few kinds are ever seen to learn it.
const KIND_DEVIATION: f64 = 0.3;
/// Deviation of events around their kind before any was seen, and how many events that belief is worth.
const EVENT_DEVIATION: f64 = 0.2;
const EVENT_DEVIATION_WORTH: f64 = 2.0;
/// How an event's own level wanders while it is on, per root of an hour: 15 % in a day.
const WANDER_PER_HOUR: f64 = 0.03;
/// Deviation of an event's hours around its profile.
const HOUR_DEVIATION: f64 = 0.1;
/// How long a step's miss lasts: steps within that time are one observation, not many.
const MISS_LASTS_S: f64 = 7200.0;

/// What is known of an uplift at a step: normal on the logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Uplift {
    /// Mean of the factor's natural logarithm.
    pub log_mean: f64,
    /// Its standard deviation.
    pub log_deviation: f64,
}

impl Uplift {
    /// The middle of the factor's distribution.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.log_mean.exp()
    }
}

/// What an uplift rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Events of this kind that were seen.
    Seen {
        /// How many.
        events: usize,
    },
    /// None of this kind was seen; the operator said what to expect.
    Given,
    /// None of this kind was seen and nothing was said: what other kinds do, and unsure.
    Pooled {
        /// Other kinds that were seen.
        kinds: usize,
    },
    /// Nothing of any kind was seen and nothing was said: no uplift, and very unsure.
    Nothing,
}

/// What is believed of one kind of event.
#[derive(Debug, Clone, PartialEq)]
pub struct KindReport {
    /// Which kind.
    pub kind: String,
    /// What the belief rests on.
    pub evidence: Evidence,
    /// What the next event of this kind is expected to do, over all of it.
    pub uplift: Uplift,
}

/// What was learned of the events before the end of a history; see the module's text.
#[derive(Debug, Clone)]
pub struct EventModel {
    calendar: EventCalendar,
    /// When the history ends.
    now_s: i64,
    noise: Noise,
    /// By position in the calendar; only those that began.
    instances: BTreeMap<usize, Instance>,
    kinds: BTreeMap<String, (Belief, Evidence)>,
    /// Variance of events around their kind.
    event_variance: f64,
    /// By kind and length in hours.
    profiles: BTreeMap<(String, i64), Profile>,
    /// Of the events that are on at the end: how far they are from what their kind and profile say.
    running: BTreeMap<usize, Belief>,
}

impl EventModel {
    /// Learns from `series`, all of which lies in the past. Steps at which more than one event is on are not told apart,
    /// and teach nothing. Cost: the steps in events, and four weeks for the noise.
    #[must_use]
    pub fn learn(series: &Series, calendar: &EventCalendar) -> Self {
        let baseline = Baseline::new(series, calendar);
        let instances = instances(series, calendar, &baseline);
        let mut model = Self {
            calendar: calendar.clone(),
            now_s: series.end_s(),
            noise: baseline.noise(),
            instances,
            kinds: BTreeMap::new(),
            event_variance: EVENT_DEVIATION.powi(2),
            profiles: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        model.learn_kinds();
        model.learn_profiles();
        model.follow_running(series, &baseline);
        model
    }

    fn is_over(&self, event: usize) -> bool {
        self.calendar.events().get(event).is_some_and(|event| event.to_s <= self.now_s)
    }

    /// Finished events with their kind and mean.
    fn finished(&self) -> impl Iterator<Item = (usize, &str, f64)> {
        let events = self.calendar.events();
        self.instances
            .iter()
            .filter(|(at, _)| self.is_over(**at))
            .filter_map(|(&at, instance)| Some((at, events[at].kind.as_str(), instance.mean()?)))
    }

    fn learn_kinds(&mut self) {
        let mut means: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (_, kind, mean) in self.finished() {
            means.entry(kind).or_default().push(mean);
        }
        let mean_of = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (mut squares, mut freedom) = (0.0, 0.0);
        for values in means.values() {
            let mean = mean_of(values);
            squares += values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            freedom += values.len() as f64 - 1.0;
        }
        let day_variance = self.noise.day.powi(2);
        let assumed = EVENT_DEVIATION.powi(2) + day_variance;
        // What is measured holds the noise of a day as well.
        let measured = (EVENT_DEVIATION_WORTH * assumed + squares) / (EVENT_DEVIATION_WORTH + freedom);
        let event_variance = (measured - day_variance).max(0.0);
        let of_mean = |values: &[f64]| (event_variance + day_variance) / values.len() as f64;

        let given: BTreeMap<&str, ExpectedUplift> = self
            .calendar
            .events()
            .iter()
            .filter_map(|event| Some((event.kind.as_str(), event.effect.demand?)))
            .collect();
        let pool = |left_out: &str| {
            let start = Belief { mean: 0.0, variance: POOL_DEVIATION.powi(2) };
            means
                .iter()
                .filter(|(kind, _)| **kind != left_out)
                .fold(start, |pool, (_, values)| pool.seeing(mean_of(values), KIND_DEVIATION.powi(2) + of_mean(values)))
        };
        let mut kinds = BTreeMap::new();
        for event in self.calendar.events() {
            let kind = event.kind.as_str();
            if kinds.contains_key(kind) {
                continue;
            }
            let start = match given.get(kind) {
                Some(given) => Belief { mean: given.factor.ln(), variance: given.log_deviation.powi(2) },
                None => {
                    let pool = pool(kind);
                    Belief { mean: pool.mean, variance: pool.variance + KIND_DEVIATION.powi(2) }
                }
            };
            let seen = means.get(kind);
            let belief = seen.map_or(start, |values| start.seeing(mean_of(values), of_mean(values)));
            let evidence = match (seen, given.contains_key(kind), means.len()) {
                (Some(values), ..) => Evidence::Seen { events: values.len() },
                (None, true, _) => Evidence::Given,
                (None, false, 0) => Evidence::Nothing,
                (None, false, kinds) => Evidence::Pooled { kinds },
            };
            kinds.insert(kind.to_owned(), (belief, evidence));
        }
        self.kinds = kinds;
        self.event_variance = event_variance;
    }

    fn learn_profiles(&mut self) {
        let mut profiles: BTreeMap<(String, i64), Profile> = BTreeMap::new();
        for (at, kind, mean) in self.finished() {
            let profile = profiles.entry((kind.to_owned(), hours_of(&self.calendar, at))).or_default();
            profile.add(&self.instances[&at], mean);
        }
        self.profiles = profiles;
    }

    /// What kind and profile say of a step in an event, before its own steps are looked at.
    fn expected(&self, event: usize, at_s: i64) -> Belief {
        let own = &self.calendar.events()[event];
        let length = hours_of(&self.calendar, event);
        let hour = hour_of(own.from_s, at_s);
        let profile = self.profiles.get(&(own.kind.clone(), length)).map_or(0.0, |profile| profile.at(hour));
        let kind = self.kinds.get(&own.kind).map_or(Belief { mean: 0.0, variance: 0.0 }, |kind| kind.0);
        Belief { mean: kind.mean + profile, variance: kind.variance + self.event_variance }
    }

    fn follow_running(&mut self, series: &Series, baseline: &Baseline<'_>) {
        let step_s = i64::from(series.step_s());
        let wander = WANDER_PER_HOUR.powi(2) * step_s as f64 / HOUR_S as f64;
        let once = (MISS_LASTS_S / step_s as f64).max(1.0);
        let noise = once * (self.noise.step.powi(2) + HOUR_DEVIATION.powi(2));
        let mut running = BTreeMap::new();
        for &event in self.instances.keys().filter(|event| !self.is_over(**event)) {
            let from_s = self.calendar.events()[event].from_s;
            let first = ((from_s - series.start_s()).max(0) / step_s) as usize;
            let mut level = Belief { mean: 0.0, variance: self.expected(event, from_s).variance };
            for index in first..series.len() {
                level.variance += wander;
                let at_s = series.at_s(index);
                if let Some(ratio) = baseline.log_ratio(index).filter(|_| alone(&self.calendar, event, at_s)) {
                    let expected = self.expected(event, at_s).mean;
                    level = level.seeing(ratio - expected, noise);
                }
            }
            running.insert(event, level);
        }
        self.running = running;
    }

    /// What events do to demand at a moment, past or future; `None` when none is on.
    #[must_use]
    pub fn uplift(&self, at_s: i64) -> Option<Uplift> {
        let mut sum: Option<Belief> = None;
        for (event, _) in self.calendar.on_at(at_s) {
            let expected = self.expected(event, at_s);
            let belief = if let Some(measured) = self.measured(event, at_s) {
                measured
            } else if let Some(level) = self.running.get(&event) {
                // All of a running event is cleared by one level: a level that moved would look like demand that did.
                let ahead_hours = (at_s - self.now_s).max(0) as f64 / HOUR_S as f64;
                let variance = level.variance + WANDER_PER_HOUR.powi(2) * ahead_hours;
                Belief { mean: expected.mean + level.mean, variance: variance.min(expected.variance) }
            } else {
                expected
            };
            let before = sum.unwrap_or(Belief { mean: 0.0, variance: 0.0 });
            sum = Some(Belief { mean: before.mean + belief.mean, variance: before.variance + belief.variance });
        }
        let reach = MAX_FACTOR.ln();
        sum.map(|sum| Uplift { log_mean: sum.mean.clamp(-reach, reach), log_deviation: sum.variance.sqrt() })
    }

    /// What an event that is over did around an hour of it.
    fn measured(&self, event: usize, at_s: i64) -> Option<Belief> {
        let instance = self.instances.get(&event).filter(|_| self.is_over(event))?;
        let mean = instance.smooth(hour_of(self.calendar.events()[event].from_s, at_s))?;
        Some(Belief { mean, variance: self.noise.step.powi(2) })
    }

    /// The series as it would have been without events: each step in one divided by what the event did, and the steps of
    /// an event that is still on by what it is believed to do.
    ///
    /// # Errors
    /// None for a series that was one; the division keeps rates rates.
    pub fn cleared(&self, series: &Series) -> Result<Series, SeriesError> {
        let mut values = series.values().to_vec();
        for (index, value) in values.iter_mut().enumerate() {
            if let Some(uplift) = self.uplift(series.at_s(index)) {
                *value /= uplift.factor();
            }
        }
        Series::new(series.start_s(), series.step_s(), values)
    }

    /// What is believed of each kind in the calendar, and why; in order of their names.
    #[must_use]
    pub fn report(&self) -> Vec<KindReport> {
        let uplift = |belief: Belief| Uplift {
            log_mean: belief.mean,
            log_deviation: (belief.variance + self.event_variance).sqrt(),
        };
        let report = |(kind, &(belief, evidence)): (&String, &(Belief, Evidence))| KindReport {
            kind: kind.clone(),
            evidence,
            uplift: uplift(belief),
        };
        self.kinds.iter().map(report).collect()
    }
}

fn alone(calendar: &EventCalendar, event: usize, at_s: i64) -> bool {
    calendar.on_at(at_s).all(|(on, _)| on == event)
}

fn hours_of(calendar: &EventCalendar, event: usize) -> i64 {
    let event = &calendar.events()[event];
    (event.to_s - event.from_s) / HOUR_S
}

fn instances(series: &Series, calendar: &EventCalendar, baseline: &Baseline<'_>) -> BTreeMap<usize, Instance> {
    let step_s = i64::from(series.step_s());
    let mut instances = BTreeMap::new();
    for (at, event) in calendar.events().iter().enumerate() {
        if event.to_s <= series.start_s() || event.from_s >= series.end_s() {
            continue;
        }
        let instance: &mut Instance = instances.entry(at).or_default();
        let index = |at_s: i64| ((at_s - series.start_s()).max(0) / step_s) as usize;
        for step in index(event.from_s)..series.len().min(index(event.to_s.saturating_add(step_s - 1))) {
            let at_s = series.at_s(step);
            if let Some(ratio) = baseline.log_ratio(step).filter(|_| event.is_on(at_s) && alone(calendar, at, at_s)) {
                let hour = hour_of(event.from_s, at_s);
                if instance.hours.len() <= hour {
                    instance.hours.resize(hour + 1, (0.0, 0.0));
                }
                instance.hours[hour].0 += ratio;
                instance.hours[hour].1 += 1.0;
            }
        }
    }
    instances
}
