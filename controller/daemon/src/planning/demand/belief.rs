//! How much of what was measured is believed: by plans' forecasts at once, and by the next fit.
//!
//! Four have a say in each step. A label of a person overrules the others. What the calendar explains is believed
//! ([`super::events`]). The ledger ([`super::watch`]) decides what a fit
//! learns from: what was detected is missing there. The flood guard ([`super`]) decides what forecasts see at once, and in a
//! fit whatever the ledger leaves: so a flood that is no anomaly yet teaches no more than its caps. Hostile demand is
//! subtracted first, for both; what filters recognised as such is not even among what was measured.

use std::ops::Range;

use forebay_forecast::{Applied, HostileTraffic, Series, SeriesError};

use super::KeyDemand;
use super::watch::Ruling;

/// Share of a burst's height that another one must have to make it a recurring one.
const REPEATED: f64 = 0.8;

/// What becomes of steps that are anomalous.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Anomalous {
    /// They are missing.
    Missing,
    /// They are believed as far as the flood guard goes.
    Capped,
}

impl KeyDemand {
    /// Believed history for a fit, from `from` up to the last complete step.
    ///
    /// # Errors
    /// The history is none that a series can be made of.
    pub(crate) fn training(&self, from: i64) -> Result<Series, SeriesError> {
        let from = from.max(self.first_step);
        let values = self.believed_between(from..self.settled_until, Anomalous::Missing)?;
        Series::new(from * i64::from(self.step_s), self.step_s, values)
    }

    /// What [`training`](Self::training) leaves out or changes.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn left_out(&self, from: i64) -> Result<Vec<Applied>, SeriesError> {
        self.watch.left_out(&self.measured(from.max(self.first_step)..self.settled_until)?)
    }

    /// The newest stretches of hostile demand that filters recognised, oldest first, at most `most`; each at its mean rate.
    pub(crate) fn hostile_stretches(&self, most: usize) -> Vec<HostileTraffic> {
        let step_s = i64::from(self.step_s);
        let mut stretches: Vec<HostileTraffic> = Vec::new();
        for (step, rate_per_s) in self.hostile.iter().rev() {
            let from_s = step * step_s;
            if let Some(later) = stretches.last_mut().filter(|later| later.from_s == from_s + step_s) {
                let steps = ((later.to_s - later.from_s) / step_s) as f64;
                later.rate_per_s += (rate_per_s - later.rate_per_s) / (steps + 1.0);
                later.from_s = from_s;
            } else if stretches.len() < most {
                stretches.push(HostileTraffic { from_s, to_s: from_s + step_s, rate_per_s: *rate_per_s });
            } else {
                break;
            }
        }
        stretches.reverse();
        stretches
    }

    /// Demand as it was measured; missing where it is not known.
    pub(super) fn measured(&self, steps: Range<i64>) -> Result<Series, SeriesError> {
        let start_s = steps.start * i64::from(self.step_s);
        let values = steps.map(|step| self.index(step).map_or(f64::NAN, |index| self.raw[index]));
        Series::new(start_s, self.step_s, values.collect())
    }

    pub(super) fn believed_between(&self, steps: Range<i64>, anomalous: Anomalous) -> Result<Vec<f64>, SeriesError> {
        let (values, rulings) = self.watch.rulings(&self.measured(steps.clone())?)?;
        let step_s = i64::from(self.step_s);
        let believed = |((step, value), ruling): ((i64, f64), Ruling)| match (ruling, anomalous) {
            // A label that all was demand overrules filters too.
            (Ruling::Kept, _) => value + self.hostile.get(&step).unwrap_or(&0.0),
            (Ruling::None | Ruling::Detected, _) if self.events.explain(step * step_s, self.settled_until * step_s) => {
                value
            }
            (Ruling::Detected | Ruling::Labelled, Anomalous::Missing) => f64::NAN,
            _ => self.index(step).map_or(value, |index| self.capped(index, value)),
        };
        Ok(steps.zip(values).zip(rulings).map(believed).collect())
    }

    /// As much of `value` as the flood guard believes of the step.
    pub(super) fn capped(&self, index: usize, value: f64) -> f64 {
        let cap = self.caps[index];
        // A comparison with a missing cap or value is false.
        if value > cap && !self.is_repeated(index, value) { cap } else { value }
    }

    /// An incomplete step has no cap yet; it is believed up to the bound that is known.
    pub(super) fn capped_estimate(&self, step: i64, estimate: f64) -> f64 {
        let repeated = self.index(step).is_some_and(|index| self.is_repeated(index, estimate));
        match self.bound(step) {
            Some((_, upper)) if !repeated => estimate.min(upper),
            _ => estimate,
        }
    }

    fn is_repeated(&self, index: usize, height: f64) -> bool {
        let day = 86_400 / i64::from(self.step_s);
        let distances = [-7 * day, -day, day, 7 * day];
        let near = distances.iter().flat_map(|distance| (-1..=1).map(move |off| distance + off));
        let mut others = near.filter(|off| *off != 0).filter_map(|off| usize::try_from(index as i64 + off).ok());
        others.any(|other| self.raw.get(other).is_some_and(|value| *value >= REPEATED * height))
    }
}
