//! What a forecaster is fitted for: how far ahead, from which lead on it matters, and by which loss.

use crate::error::ForecastError;
use crate::series::Series;

/// Days of known values that a fit needs: one to learn from, one to be scored on.
const MIN_DAYS: usize = 2;
/// Known values that a fit needs whatever the step is.
const MIN_STEPS: usize = 48;
/// Days that can be forecast at once: capacity that takes longer to come is not ordered by forecast.
const LONGEST_HORIZON_DAYS: usize = 7;

/// What to fit for.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Steps ahead that are forecast, 1 to one week of steps.
    pub horizon_steps: usize,
    /// Steps at the beginning of the horizon that a decision comes too late for, fewer than the horizon. They are forecast
    /// like the others, but no model is chosen for them: what orders capacity that takes half an hour to come gains
    /// nothing from the next five minutes.
    pub gap_steps: usize,
    /// The upper quantile whose coverage is measured, between 0.5 and 1. Any other can still be asked for.
    pub upper_quantile: f64,
    /// By which loss models are compared.
    pub objective: Objective,
    /// What may be spent on it.
    pub effort: Effort,
}

impl Default for Settings {
    fn default() -> Self {
        let (objective, effort) = (Objective::default(), Effort::default());
        Self { horizon_steps: 4, gap_steps: 0, upper_quantile: 0.95, objective, effort }
    }
}

/// By which loss models are compared on held-out history.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Objective {
    /// The mean pinball loss over [`SCORED_QUANTILES`](crate::SCORED_QUANTILES): the whole upper half counts.
    #[default]
    UpperHalf,
    /// The pinball loss at this quantile, which is what a decision made from it costs; between 0 and 1.
    Quantile(f64),
}

/// What a selection may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Effort {
    /// The models that are cheap and add to each other.
    #[default]
    Quick,
    /// At most so many of the expensive models too, on a series where the cheap ones left something to be gained.
    Thorough {
        /// How many, in the order of [`EXPENSIVE`](crate::EXPENSIVE).
        most: usize,
    },
}

impl Objective {
    /// The quantile that a decision at these costs takes: of a unit of demand without capacity, and of a unit of capacity
    /// without demand (the newsvendor's quantile, `short / (short + idle)`: Arrow, Harris and Marschak, Optimal inventory
    /// policy, 1951).
    ///
    /// # Errors
    /// A cost is not above 0, or is not finite.
    pub fn of_costs(short: f64, idle: f64) -> Result<Self, ForecastError> {
        let is_cost = |cost: f64| cost > 0.0 && cost.is_finite();
        if !(is_cost(short) && is_cost(idle)) {
            return Err(ForecastError::Costs { short, idle });
        }
        Ok(Self::Quantile(1.0 / (1.0 + idle / short)))
    }

    /// The one quantile that counts, if it is one.
    pub(crate) fn quantile(self) -> Option<f64> {
        match self {
            Self::UpperHalf => None,
            Self::Quantile(quantile) => Some(quantile),
        }
    }
}

/// Known steps of history that a fit needs where a day has so many.
#[must_use]
pub fn needed_steps(day_steps: usize) -> usize {
    (MIN_DAYS * day_steps).max(MIN_STEPS)
}

impl Settings {
    /// Whether `series` can be fitted so.
    pub(super) fn check(&self, series: &Series) -> Result<(), ForecastError> {
        let &Self { horizon_steps, gap_steps, upper_quantile, objective, .. } = self;
        let day_steps = series.day_steps();
        let longest = LONGEST_HORIZON_DAYS * day_steps;
        if !(1..=longest).contains(&horizon_steps) {
            return Err(ForecastError::Horizon { horizon_steps, longest });
        }
        if gap_steps >= horizon_steps {
            return Err(ForecastError::Gap { gap_steps, horizon_steps });
        }
        if !(upper_quantile > 0.5 && upper_quantile < 1.0) {
            return Err(ForecastError::Quantile { quantile: upper_quantile });
        }
        if let Some(quantile) = objective.quantile().filter(|quantile| !(*quantile > 0.0 && *quantile < 1.0)) {
            return Err(ForecastError::DecisionQuantile { quantile });
        }
        let (have, need) = (series.known_steps(), needed_steps(day_steps));
        if have < need { Err(ForecastError::TooShort { have, need }) } else { Ok(()) }
    }
}
