//! What requests are made of: shares by region, version or account type, forecast so that they stay shares.
//!
//! The intuition: shares are not free to move alone, what one gains the others lose. Forecast one by one they would sum to
//! something else and leave 0..1. In logarithms of ratios they are free: each category against the geometric mean of all
//! (the centred log-ratio: Aitchison, The Statistical Analysis of Compositional Data, 1986), each coordinate forecast by a
//! model of this crate, and the way back always ends in positive shares that sum to 1.
//!
//! Beside that stand the last shares and those of a season ago. Unless they would have done clearly worse on held-out steps
//! ([`comparison`](crate::comparison)) they are used, and the report says so: shares of few requests are noise, which
//! logarithms make louder.
//!
//! Categories come and go. The [`MAX_CATEGORIES`] largest of the last week are told apart and the others are [`OTHER`]; one
//! that had no request for a week has vanished and is forecast as 0; one that appears after the fit counts as [`OTHER`]
//! until the next fit.
//!
//! What it does not do: intervals. A share times a forecast rate has the rate's uncertainty only.

mod coordinates;
mod forecaster;
mod history;

use thiserror::Error;

use crate::error::{ModelError, SeriesError};
pub use forecaster::{ShareForecast, ShareForecaster, ShareMethod, ShareReport};
pub use history::ShareHistory;

/// Most categories that are told apart, [`OTHER`] not counted: 33 series of eight weeks of five minutes are 4 MB, and a fit
/// some 0.2 s.
pub const MAX_CATEGORIES: usize = 32;
/// The name of all other categories together.
pub const OTHER: &str = "other";

/// Why there are no shares or no forecast of them.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ShareError {
    /// A count or an amount is a number from 0 to [`MAX_VALUE`](crate::MAX_VALUE).
    #[error("reading shares: {value} for \"{category}\" in step {step} is not a number from 0 to 1e30")]
    Value {
        /// The step, counted from 0.
        step: usize,
        /// The category.
        category: String,
        /// The refused value.
        value: f64,
    },
    /// A step that no series can have.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// Too few steps had requests.
    #[error("forecasting shares: {have} steps had requests, {need} are needed")]
    TooShort {
        /// Steps with requests.
        have: usize,
        /// Steps needed.
        need: usize,
    },
    /// A horizon of no steps, or of more than a week.
    #[error("forecasting shares: horizon of {horizon_steps} steps is not within 1..={longest} (one week)")]
    Horizon {
        /// The refused horizon.
        horizon_steps: usize,
        /// The longest horizon.
        longest: usize,
    },
    /// The history that a forecast is asked from has another step than the one that was fitted.
    #[error("forecasting shares: history has a step of {got_s} s, the forecaster was fitted on {fitted_s} s")]
    StepMismatch {
        /// Step of the fit.
        fitted_s: u32,
        /// Step of the given history.
        got_s: u32,
    },
    /// A model that has to be fitted cannot be.
    #[error("forecasting shares")]
    Model(#[from] ModelError),
}
