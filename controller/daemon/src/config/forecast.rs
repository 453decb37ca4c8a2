//! The part `forecast`: what is forecast how far ahead, from how much, and what fits may cost.

use std::collections::BTreeMap;

use forebay_forecast::MAX_SEARCH_FITS;
use forebay_plan::Key;
use schemars::JsonSchema;
use serde::Deserialize;

use super::ForecastSettings;
use super::events::{FeedPart, Named, feeds};
use super::file::{DAY_S, Problem, problem};

/// Longest training of a network, seconds of CPU: an hour a week is half a per cent of a core.
pub(crate) const LONGEST_TRAINING_S: u32 = 3600;
/// Most weeks of history that are kept: ten years.
pub(crate) const MOST_HISTORY_WEEKS: u32 = 520;

/// What is forecast, how far ahead, and from how much history.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ForecastPart {
    /// Quantile of the forecast that shadow is bought for and above which demand is a burst, where the policy says nothing else.
    #[schemars(extend("exclusiveMinimum" = 0.5, "exclusiveMaximum" = 1.0))]
    quantile: f64,
    /// Steps that are planned ahead, the present one included. Lead times of capacity must lie within them, and they, with two
    /// more, within a day.
    #[schemars(range(min = 1, max = 96))]
    pub(super) horizon_steps: u32,
    /// Steps between scheduled fits of a key. Without it they make up a day.
    #[schemars(range(min = 1))]
    refit_every_steps: Option<u32>,
    /// Weeks of history that are kept and learned from.
    #[schemars(range(min = 1, max = MOST_HISTORY_WEEKS))]
    history_weeks: u32,
    /// Feeds of events that lift demand or lower capacity.
    #[schemars(length(max = 64))]
    events: Vec<FeedPart>,
    /// Trains one network of all long, live keys each week and lets it take part in fits. Without it none is trained.
    network: Option<NetworkPart>,
    /// Searches the parameters of models for one key at a time, along with scheduled fits. Without it none is made.
    search: Option<SearchPart>,
}

impl Default for ForecastPart {
    fn default() -> Self {
        Self {
            quantile: 0.95,
            horizon_steps: 4,
            refit_every_steps: None,
            history_weeks: 8,
            events: Vec::new(),
            network: None,
            search: None,
        }
    }
}

/// A network of many keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct NetworkPart {
    /// CPU time of a training, in seconds of one core.
    #[schemars(range(min = 1, max = LONGEST_TRAINING_S))]
    cpu_seconds: u32,
}

/// A search for the parameters of models.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SearchPart {
    /// Fits that a search may take.
    #[schemars(range(min = 2, max = MAX_SEARCH_FITS))]
    trials: usize,
}

impl Default for SearchPart {
    fn default() -> Self {
        Self { trials: 16 }
    }
}

impl Default for NetworkPart {
    fn default() -> Self {
        Self { cpu_seconds: 20 }
    }
}

impl ForecastPart {
    pub(super) fn check(
        self,
        step_s: u32,
        own_quantiles: BTreeMap<Key, f64>,
        named: Named<'_>,
    ) -> Result<ForecastSettings, Problem> {
        if !(self.quantile > 0.5 && self.quantile < 1.0) {
            let reason = format!("{} is no upper quantile", self.quantile);
            return Err(problem("forecast.quantile", reason, "choose one between 0.5 and 1, such as 0.95"));
        }
        // The two spare leads that stand in for late observations must fit into the day too.
        let most = (DAY_S / step_s).saturating_sub(2).min(96);
        if self.horizon_steps == 0 || self.horizon_steps > most {
            let reason = format!("{} steps are not between 1 and {most}", self.horizon_steps);
            return Err(problem("forecast.horizon_steps", reason, "choose how many slots to plan ahead, such as 4"));
        }
        let refit_every_steps = self.refit_every_steps.unwrap_or(DAY_S / step_s);
        if refit_every_steps == 0 {
            let remedy = "choose how many steps pass between fits, such as 288";
            return Err(problem("forecast.refit_every_steps", "0 would fit without pause", remedy));
        }
        if !(1..=MOST_HISTORY_WEEKS).contains(&self.history_weeks) {
            let reason = format!("{} weeks are not between 1 and {MOST_HISTORY_WEEKS}", self.history_weeks);
            return Err(problem("forecast.history_weeks", reason, "choose how much history to keep, such as 8"));
        }
        Ok(ForecastSettings {
            quantile: self.quantile,
            own_quantiles,
            horizon_steps: self.horizon_steps as usize,
            refit_every_steps,
            history_weeks: self.history_weeks,
            events: feeds(self.events, named)?,
            network_cpu_s: self.network.map(NetworkPart::check).transpose()?,
            search_trials: self.search.map(SearchPart::check).transpose()?,
        })
    }
}

impl NetworkPart {
    fn check(self) -> Result<u32, Problem> {
        if !(1..=LONGEST_TRAINING_S).contains(&self.cpu_seconds) {
            let reason = format!("{} s are not between 1 and {LONGEST_TRAINING_S}", self.cpu_seconds);
            let remedy = "choose how long one core may train, such as 20, or leave forecast.network out";
            return Err(problem("forecast.network.cpu_seconds", reason, remedy));
        }
        Ok(self.cpu_seconds)
    }
}

impl SearchPart {
    fn check(self) -> Result<usize, Problem> {
        if !(2..=MAX_SEARCH_FITS).contains(&self.trials) {
            let reason = format!("{} fits are not between 2 and {MAX_SEARCH_FITS}", self.trials);
            let remedy = "choose how many fits a search may take, such as 16, or leave forecast.search out";
            return Err(problem("forecast.search.trials", reason, remedy));
        }
        Ok(self.trials)
    }
}
