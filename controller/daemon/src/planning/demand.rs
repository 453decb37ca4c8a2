//! One key's demand: what came, what was forecast, and how much of the one the other may believe.
//!
//! **Flood guard.** A forecaster that sees an unannounced flood among its newest values forecasts more of it, and so a
//! flood would buy capacity. Therefore the forecaster never sees raw demand, only *believed* demand: where demand exceeds
//! the upper bound that was forecast for its step (a burst, SPEC A7), it is believed up to a cap: the forecast's middle
//! plus an allowance, which is the distance to the upper bound in the first step of an excursion and halves with each
//! further one. However long a flood lasts, all its steps together lift what is believed by at most twice that distance.
//! Capping at the upper bound alone was refused: each step would then raise the next bound a little, without end.
//!
//! **Recurring bursts must still be learned**, also when they grow. The raw value stays in the store beside its cap, and
//! it is believed in full once demand of at least four fifths of its height came at the same time of
//! another day or week (a day or a week apart, give or take one step): whatever came twice on schedule is demand, and
//! `shadow_max` and the pool bound what it can bring. Retries are not told apart from new requests yet.
//!
//! The same believed values are what live calibration and the quality gate see; coverage in records and metrics is of
//! raw demand. All of that is about the upper bound; which quantile shadow is bought for is a matter of price, may be
//! another one ([`Quantiles`]), and changes nothing of what is believed.
//!
//! What is anomalous is [`watch`]'s to find and to keep out of training; [`belief`] puts the two together. Anomalous steps
//! are neither scored nor calibrated on: a forecast is not worse for not having meant an attack. What is known beforehand
//! is of [`events`].

mod belief;
mod events;
mod issuing;
mod remembered;
#[cfg(test)]
mod tests;
pub(crate) mod watch;

use std::collections::{BTreeMap, VecDeque};

use forebay_forecast::{EventForecast, Forecaster, KindReport, StepForecast};
use forebay_plan::Key;

use super::lifecycle::{Lifecycle, Shadow};
use crate::config::Quantiles;
use crate::store::StoredPoint;
use events::KeyEvents;
use watch::Watch;

/// Newest steps that may be missing before the forecast is made over the gap instead of from before it.
pub(crate) const SPARE_LEADS: usize = 2;
/// Steps whose forecasts are kept for comparison with what came.
const RECORDED_STEPS: usize = 2000;
/// Most records of all keys together: 48 bytes each, held twice, are 96 MB.
const RECORDS_MAX: usize = 1_000_000;

/// How many records each of `keys` keys keeps.
pub(crate) fn records_per_key(keys: usize, horizon_steps: usize) -> usize {
    (RECORDED_STEPS * horizon_steps).min(RECORDS_MAX / keys.max(1))
}

/// A forecast beside what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) step: i64,
    pub(crate) issued_at_step: i64,
    pub(crate) lead: usize,
    pub(crate) point: f64,
    pub(crate) upper: f64,
    pub(crate) actual: f64,
}

/// A key's records, as the HTTP side reads them.
#[derive(Clone, Debug)]
pub(crate) struct KeyRecord {
    pub(crate) key: Key,
    pub(crate) model: Option<String>,
    pub(crate) why: String,
    /// The model that is scored in the shadow.
    pub(crate) rival: Option<String>,
    pub(crate) quantiles: Quantiles,
    pub(crate) bursts: u64,
    /// What is believed of the kinds of events that concern it.
    pub(crate) events: Vec<KindReport>,
    pub(crate) records: VecDeque<Record>,
}

/// A forecast that waits for its step to be over.
#[derive(Debug)]
pub(super) struct Issued {
    at_step: i64,
    pub(super) version: u64,
    point: f64,
    pub(super) upper: f64,
    bought: f64,
    lead: usize,
    /// Without what events do. `None` in an event, whose miss teaches nothing of forecasts, and where the forecast was
    /// borrowed from other keys.
    pub(super) forecast: Option<StepForecast>,
    pub(super) shadow: Option<Shadow>,
}

/// A forecaster with its version.
#[derive(Debug)]
pub(crate) struct Fitted {
    pub(crate) version: u64,
    pub(crate) forecaster: Forecaster,
    /// Where the history begins that it learned from, if that was cut at a change.
    pub(crate) since_s: Option<i64>,
}

/// A burst that was noticed when its step was over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Burst {
    pub(crate) step: i64,
    pub(crate) actual: f64,
    pub(crate) upper: f64,
    pub(crate) cap: f64,
}

/// One key's demand; see the module's text.
pub(crate) struct KeyDemand {
    pub(crate) key: Key,
    pub(crate) fitted: Option<Fitted>,
    /// Why there is no forecaster; what the last fit said otherwise.
    pub(crate) why: String,
    pub(crate) life: Lifecycle,
    pub(crate) watch: Watch,
    pub(crate) events: KeyEvents,
    quantiles: Quantiles,
    step_s: u32,
    first_step: i64,
    raw: Vec<f64>,
    caps: Vec<f64>,
    /// What of a step was hostile and is no part of `raw`, by step.
    hostile: BTreeMap<i64, f64>,
    issued: BTreeMap<i64, Vec<Issued>>,
    /// The newest forecast as a whole, with events in it, where there is a forecaster.
    pub(crate) ahead: Option<EventForecast>,
    settled_until: i64,
    excursion_steps: i32,
    bursts: u64,
    ratio: Option<f64>,
    records: VecDeque<Record>,
    records_max: usize,
}

impl KeyDemand {
    /// A key without history, from `first_step` on, that keeps at most `records_max` records.
    pub(crate) fn new(
        key: Key,
        step_s: u32,
        quantiles: Quantiles,
        first_step: i64,
        records_max: usize,
        life: Lifecycle,
    ) -> Self {
        Self {
            key,
            fitted: None,
            why: "its first fit is not finished".to_owned(),
            life,
            watch: Watch::new(step_s),
            events: KeyEvents::default(),
            quantiles,
            step_s,
            first_step,
            raw: Vec::new(),
            caps: Vec::new(),
            hostile: BTreeMap::new(),
            issued: BTreeMap::new(),
            ahead: None,
            settled_until: first_step,
            excursion_steps: 0,
            bursts: 0,
            ratio: None,
            records: VecDeque::new(),
            records_max,
        }
    }

    /// Takes in stored points of the steps `from..to`; steps without a point are missing.
    pub(crate) fn absorb(&mut self, points: &[StoredPoint], from: i64, to: i64) {
        let len = usize::try_from(to - self.first_step).unwrap_or(0).max(self.raw.len());
        self.raw.resize(len, f64::NAN);
        self.caps.resize(len, f64::NAN);
        for step in from.max(self.first_step)..to {
            let index = (step - self.first_step) as usize;
            self.raw[index] = f64::NAN;
            self.caps[index] = f64::NAN;
            self.hostile.remove(&step);
        }
        for point in points {
            let step = point.start_s.div_euclid(i64::from(self.step_s));
            if let Some(index) = self.index(step) {
                self.raw[index] = point.value.max(0.0);
                self.caps[index] = point.cap.unwrap_or(f64::NAN);
                if point.hostile > 0.0 {
                    self.hostile.insert(step, point.hostile);
                }
            }
        }
    }

    /// History begins here: nothing before it is compared with forecasts.
    pub(crate) fn settled(&mut self, until: i64) {
        self.settled_until = until;
    }

    /// Compares forecasts with what came in the steps before `until`, which are complete. Returns the bursts, whose caps
    /// are to be stored.
    pub(crate) fn settle(&mut self, until: i64) -> Vec<Burst> {
        let mut bursts = Vec::new();
        for step in self.settled_until..until {
            let issued = self.issued.remove(&step).unwrap_or_default();
            let ends_s = (step + 1) * i64::from(self.step_s);
            let Some(index) = self.index(step).filter(|index| self.raw[*index].is_finite()) else {
                self.life.passed(ends_s);
                continue;
            };
            let actual = self.raw[index];
            if let Some(newest) = issued.last() {
                self.ratio = (newest.point > 0.0).then(|| actual / newest.point);
                if actual > newest.upper {
                    self.excursion_steps += 1;
                    let allowance = (newest.upper - newest.point).max(0.0) * 0.5_f64.powi(self.excursion_steps - 1);
                    let cap = newest.point + allowance;
                    self.caps[index] = cap;
                    self.bursts += 1;
                    bursts.push(Burst { step, actual, upper: newest.upper, cap });
                } else {
                    self.excursion_steps = 0;
                }
            }
            let believed = self.capped(index, actual);
            if self.judge(step, actual) {
                self.life.passed(ends_s);
            } else {
                self.life.scored(&mut self.fitted, ends_s, &issued, actual, believed);
            }
            for issued in issued {
                self.records.push_back(Record {
                    step,
                    issued_at_step: issued.at_step,
                    lead: issued.lead,
                    point: issued.point,
                    upper: issued.upper,
                    actual,
                });
            }
        }
        self.settled_until = self.settled_until.max(until);
        let surplus = self.records.len().saturating_sub(self.records_max);
        self.records.drain(..surplus);
        bursts
    }

    /// The newest forecast of a step: its middle and its upper bound.
    pub(crate) fn bound(&self, step: i64) -> Option<(f64, f64)> {
        self.issued.get(&step).and_then(|issued| issued.last()).map(|newest| (newest.point, newest.upper))
    }

    /// What shadow is bought for in a step, by its newest forecast.
    pub(crate) fn bought(&self, step: i64) -> Option<f64> {
        self.issued.get(&step).and_then(|issued| issued.last()).map(|newest| newest.bought)
    }

    /// What a step's demand does not exceed with probability `p`, about, where there is no forecast to draw paths from: read
    /// off the middle and the upper bound of a borrowed one, else what came last; NaN where nothing is known.
    pub(crate) fn quantile_without_paths(&self, step: i64, p: f64) -> f64 {
        match self.bound(step) {
            Some((_, upper)) if p >= self.quantiles.upper => upper,
            Some((point, upper)) => point + (upper - point) * ((p - 0.5) / (self.quantiles.upper - 0.5)).max(0.0),
            None => self.raw.iter().rev().copied().find(|value| value.is_finite()).unwrap_or(f64::NAN),
        }
    }

    /// Which quantiles of its forecasts count.
    pub(crate) fn quantiles(&self) -> Quantiles {
        self.quantiles
    }

    /// Demand of the last complete step as a part of its newest forecast's middle; `None` where that was 0 or missing.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.ratio
    }

    /// The raw value of a step, if it is known.
    pub(crate) fn raw(&self, step: i64) -> Option<f64> {
        self.index(step).map(|index| self.raw[index]).filter(|value| value.is_finite())
    }

    /// For the HTTP side.
    pub(crate) fn record(&self) -> KeyRecord {
        KeyRecord {
            key: self.key.clone(),
            model: self.fitted.as_ref().map(|fitted| format!("{:?}", fitted.forecaster.report().chosen)),
            why: self.why.clone(),
            rival: self.life.rival().map(|fitted| format!("{:?}", fitted.forecaster.report().chosen)),
            quantiles: self.quantiles,
            bursts: self.bursts,
            events: self.events.report(),
            records: self.records.clone(),
        }
    }

    fn index(&self, step: i64) -> Option<usize> {
        usize::try_from(step - self.first_step).ok().filter(|index| *index < self.raw.len())
    }
}
