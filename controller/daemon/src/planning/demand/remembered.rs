//! A key's demand as it is remembered: what the store holds of it, and what is believed of that.
//!
//! The planner begins with it, and `forebay forecast` asks it instead of the raw points, so that both forecast from the
//! same history.

use std::ops::Range;

use forebay_forecast::{Series, SeriesError};
use forebay_plan::Key;

use super::belief::Anomalous;
use super::{KeyDemand, records_per_key};
use crate::config::Config;
use crate::planning::lifecycle::{self, Lifecycle};
use crate::store::{HistoryStore, StoreError};

impl KeyDemand {
    /// The key with its stored points of these steps; nothing of them is compared with forecasts.
    pub(crate) fn remembered(
        store: &dyn HistoryStore,
        key: &Key,
        config: &Config,
        steps: Range<i64>,
    ) -> Result<Self, StoreError> {
        let step_s = i64::from(config.step_s);
        let points = store.range(key, steps.start * step_s, steps.end * step_s)?;
        let begins = points.first().map_or(steps.end, |point| point.start_s.div_euclid(step_s));
        let quantiles = config.forecast.quantiles_of(key);
        let schedule = lifecycle::schedule(&config.forecast, config.step_s);
        let life = Lifecycle::new(schedule, quantiles.upper, config.step_s, steps.end * step_s);
        let records_max = records_per_key(config.contracts.len(), config.forecast.horizon_steps);
        let mut demand = Self::new(key.clone(), config.step_s, quantiles, begins, records_max, life);
        demand.absorb(&points, begins, steps.end);
        demand.settled(steps.end);
        Ok(demand)
    }

    /// Believed history as forecasts are made from it, up to the last complete step.
    ///
    /// # Errors
    /// The history is none that a series can be made of.
    pub(crate) fn believed(&self) -> Result<Series, SeriesError> {
        let values = self.believed_between(self.first_step..self.settled_until, Anomalous::Capped)?;
        Series::new(self.first_step * i64::from(self.step_s), self.step_s, values)
    }
}
