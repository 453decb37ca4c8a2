//! What one request costs, as a distribution that is forecast, and what it makes of a forecast rate.
//!
//! The intuition: demand in units is requests times cost, and the two move for different reasons. A campaign brings more
//! requests, a new version or longer prompts make each one dearer; forecast apart, each keeps its own pattern. And one
//! dear request among a hundred is what a quota has to let through, so the mean alone does not do.
//!
//! - A [`CostSketch`] holds the costs of one step, mergeable over workers, proxies and shorter steps without loss.
//! - A [`CostSummary`] is what is kept of it once the step is over: 96 bytes.
//! - A [`CostHistory`] is a regular row of them; [`CostForecaster`] forecasts the quantiles of one request's cost and the
//!   mean cost of a step's requests at each lead.
//! - [`CostStep::demand`] makes demand in units per second of that and a forecast rate.
//!
//! What it does not do: guess costs from sums. Where only the sum of a step is known its mean is a plain
//! [`Series`](crate::Series), and [`Sampled::product`](crate::Sampled::product) of two forecasts is the demand.

mod calibration;
mod forecaster;
mod history;
mod sketch;
mod summary;

use thiserror::Error;

use crate::error::{ModelError, SeriesError};
pub use forecaster::{CostForecaster, CostReport, CostStep, MeanCost};
pub use history::CostHistory;
pub use sketch::{CostSketch, MAX_COST, MIN_COST};
pub use summary::{COST_LEVELS, CostSummary};

/// Why there is no cost distribution or no forecast of it.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CostError {
    /// A cost is a number from 0 to [`MAX_COST`].
    #[error("taking a cost: {cost} is not a number of units from 0 to 1e15")]
    Cost {
        /// The refused cost.
        cost: f64,
    },
    /// A sketch of another resolution, such as one that another version stored.
    #[error("merging sketches of costs: they have different resolutions; make both with the same version")]
    Resolution,
    /// A step that no series can have.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// Too few steps had requests.
    #[error("forecasting costs: {have} steps had requests, {need} are needed")]
    TooShort {
        /// Steps with requests.
        have: usize,
        /// Steps needed.
        need: usize,
    },
    /// A horizon of no steps, or of more than a week.
    #[error("forecasting costs: horizon of {horizon_steps} steps is not within 1..={longest} (one week)")]
    Horizon {
        /// The refused horizon.
        horizon_steps: usize,
        /// The longest horizon.
        longest: usize,
    },
    /// The history that a forecast is asked from has another step than the one that was fitted.
    #[error("forecasting costs: history has a step of {got_s} s, the forecaster was fitted on {fitted_s} s")]
    StepMismatch {
        /// Step of the fit.
        fitted_s: u32,
        /// Step of the given history.
        got_s: u32,
    },
    /// A model that has to be fitted cannot be.
    #[error("forecasting costs")]
    Model(#[from] ModelError),
}
