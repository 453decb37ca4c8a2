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
mod remembered;
#[cfg(test)]
mod tests;
pub(crate) mod watch;

use std::collections::{BTreeMap, VecDeque};

use forebay_forecast::{ForecastError, Forecaster, KindReport, Series, SeriesError, StepForecast};
use forebay_plan::Key;

use super::lifecycle::{Lifecycle, Shadow};
use crate::config::Quantiles;
use crate::store::StoredPoint;
use belief::Anomalous;
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
    issued: BTreeMap<i64, Vec<Issued>>,
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
            issued: BTreeMap::new(),
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
        }
        for point in points {
            let step = point.start_s.div_euclid(i64::from(self.step_s));
            if let Some(index) = self.index(step) {
                self.raw[index] = point.value.max(0.0);
                self.caps[index] = point.cap.unwrap_or(f64::NAN);
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

    /// Forecasts the steps from `now_step` on. `known_to` is the first step whose value is not known yet; `estimate`
    /// stands in for the step before `now_step` when only part of it has been reported.
    ///
    /// # Errors
    /// The forecaster or the history refused; the forecasts made before stay.
    pub(crate) fn forecast(&mut self, now_step: i64, known_to: i64, estimate: Option<f64>) -> Result<(), DemandError> {
        self.learn_events(now_step)?;
        let Some(fitted) = &self.fitted else {
            self.forecast_borrowed(now_step);
            return Ok(());
        };
        let recent = fitted.forecaster.recent_steps() as i64;
        let from = (now_step - recent).max(self.first_step);
        let mut values = self.believed_between(from..known_to.min(now_step), Anomalous::Capped)?;
        values.resize(usize::try_from(now_step - from).unwrap_or(0), f64::NAN);
        if let (Some(estimate), Some(last)) = (estimate, values.last_mut()) {
            *last = self.capped_estimate(now_step - 1, estimate);
        }
        let missing = values.iter().rev().take_while(|value| value.is_nan()).count();
        if missing <= SPARE_LEADS {
            values.truncate(values.len() - missing);
        }
        let series = Series::new(from * i64::from(self.step_s), self.step_s, values)?;
        let cleared = self.events.cleared(series);
        let forecast = self.events.applied(fitted.forecaster.predict(&cleared)?);
        let mut shadows = self.life.shadows(&cleared);
        for step_forecast in forecast.steps {
            let in_event = step_forecast.uplift.is_some();
            let shadow = shadows.next().filter(|_| !in_event);
            let step = step_forecast.plain.start_s.div_euclid(i64::from(self.step_s));
            if step < now_step {
                continue;
            }
            let issued = Issued {
                at_step: now_step,
                version: fitted.version,
                point: step_forecast.quantile(0.5),
                upper: step_forecast.quantile(self.quantiles.upper),
                bought: step_forecast.quantile(self.quantiles.shadow),
                lead: step_forecast.plain.lead,
                forecast: (!in_event).then_some(step_forecast.plain),
                shadow,
            };
            issue(&mut self.issued, step, issued);
        }
        Ok(())
    }

    /// A key without a forecaster is forecast from others, if there are enough.
    fn forecast_borrowed(&mut self, now_step: i64) {
        let Some(borrowed) = self.life.borrowed() else { return };
        let Quantiles { shadow, upper } = self.quantiles;
        let issued = |lead: usize| {
            let at_s = (now_step + lead as i64 - 1) * i64::from(self.step_s);
            let [point, upper, bought] = [0.5, upper, shadow].map(|p| borrowed.start.quantile(at_s, p));
            let version = borrowed.version;
            Issued { at_step: now_step, version, point, upper, bought, lead, forecast: None, shadow: None }
        };
        let all: Vec<Issued> = (1..=borrowed.horizon_steps).map(issued).collect();
        for (step, issued) in (now_step..).zip(all) {
            issue(&mut self.issued, step, issued);
        }
    }

    /// The newest forecast of a step: its middle and its upper bound.
    pub(crate) fn bound(&self, step: i64) -> Option<(f64, f64)> {
        self.issued.get(&step).and_then(|issued| issued.last()).map(|newest| (newest.point, newest.upper))
    }

    /// What shadow is bought for in a step, by its newest forecast.
    pub(crate) fn bought(&self, step: i64) -> Option<f64> {
        self.issued.get(&step).and_then(|issued| issued.last()).map(|newest| newest.bought)
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

/// Made again within one step, after a fit, the newer one stands.
fn issue(all: &mut BTreeMap<i64, Vec<Issued>>, step: i64, issued: Issued) {
    let of_step = all.entry(step).or_default();
    of_step.retain(|earlier| earlier.at_step != issued.at_step);
    of_step.push(issued);
}

/// Why no forecast was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemandError {
    #[error("lay out recent demand: {0}")]
    Series(#[from] SeriesError),
    #[error("forecast from recent demand: {0}")]
    Forecast(#[from] ForecastError),
}
