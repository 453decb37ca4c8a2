//! Everything that can go wrong here, as values: a series that is none, a history that is too short, a model that
//! cannot be fitted. None of them is a panic, and too little history is an everyday answer, not a failure.

use thiserror::Error;

/// Why numbers are not a [`Series`](crate::Series).
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// The calendar of a series needs a whole number of steps in a day.
    #[error("checking a series: step of {step_s} s does not divide a day of 86400 s")]
    Step {
        /// The refused step.
        step_s: u32,
    },
    /// A rate is a number from 0 to [`MAX_VALUE`](crate::MAX_VALUE), or NaN where it is missing.
    #[error("checking a series: value {value} at index {index} is neither a rate (0 to 1e30) nor missing (NaN)")]
    Value {
        /// Where the value stands.
        index: usize,
        /// The refused value.
        value: f64,
    },
    /// A step that the series cannot be brought to.
    #[error(
        "aggregating a series: steps of {have_s} s from {start_s} cannot become steps of {asked_s} s; choose a multiple of {have_s} s"
    )]
    Coarser {
        /// The step that the series has.
        have_s: u32,
        /// When it starts.
        start_s: i64,
        /// The refused step.
        asked_s: u32,
    },
    /// A season that cannot take the place of a day.
    #[error(
        "a season of {season_steps} steps cannot take the place of a day; choose at least 2 steps that divide 86400, such as 36, 72 or 288"
    )]
    Season {
        /// The refused season.
        season_steps: usize,
    },
    /// A range that begins after it ends or that leaves the series.
    #[error("slicing a series: steps {from}..{to} are not within its {len} steps")]
    Range {
        /// First step asked for.
        from: usize,
        /// One past the last step asked for.
        to: usize,
        /// Steps that exist.
        len: usize,
    },
}

/// Why there is no forecaster or no forecast.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ForecastError {
    /// A part of a series that there is not.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// Fewer known values than two days of steps, or than 48.
    #[error("fitting: {have} known steps of history, {need} are needed")]
    TooShort {
        /// Known (not missing) values in the history.
        have: usize,
        /// Known values needed at this step length and horizon.
        need: usize,
    },
    /// A horizon of no steps, or of more than a week.
    #[error("fitting: horizon of {horizon_steps} steps is not within 1..={longest} (one week)")]
    Horizon {
        /// The refused horizon.
        horizon_steps: usize,
        /// The longest horizon.
        longest: usize,
    },
    /// No lead is left to choose a model by.
    #[error("fitting: gap of {gap_steps} steps leaves nothing of a horizon of {horizon_steps}")]
    Gap {
        /// The refused gap.
        gap_steps: usize,
        /// The horizon.
        horizon_steps: usize,
    },
    /// A quantile to decide at outside 0..1.
    #[error("fitting: quantile to decide at {quantile} is not between 0 and 1")]
    DecisionQuantile {
        /// The refused quantile.
        quantile: f64,
    },
    /// Costs that give no quantile to decide at.
    #[error("fitting: cost {short} of being short and {idle} of being idle are not both finite and above 0")]
    Costs {
        /// Of a unit of demand without capacity.
        short: f64,
        /// Of a unit of capacity without demand.
        idle: f64,
    },
    /// An upper quantile outside 0.5..1.
    #[error("fitting: upper quantile {quantile} is not between 0.5 and 1")]
    Quantile {
        /// The refused quantile.
        quantile: f64,
    },
    /// The history that a forecast is asked from has another step than the one that was fitted.
    #[error("forecasting: history has a step of {got_s} s, the forecaster was fitted on {fitted_s} s")]
    StepMismatch {
        /// Step of the fit.
        fitted_s: u32,
        /// Step of the given history.
        got_s: u32,
    },
    /// A model that was asked for by name cannot be fitted. A fit that chooses leaves such a model out instead.
    #[error("fitting the model that was asked for")]
    Model(#[source] ModelError),
}

/// Why one model cannot be fitted to a history; such a model is no candidate.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Fewer usable training rows than the model has use for.
    #[error("fitting a regression: {have} training rows, {need} are needed")]
    TooFewRows {
        /// Usable rows.
        have: usize,
        /// Rows needed.
        need: usize,
    },
    /// A combination has no history of its own to be fitted to: what its members are worth is known to a selection only.
    #[error("fitting a combination: it is made by a selection, not from a history")]
    MadeBySelection,
    /// Fewer steps of history than the model needs to know its parameters.
    #[error("fitting {model}: {have} steps of history, {need} are needed")]
    TooFewSteps {
        /// The model's name.
        model: &'static str,
        /// Steps of history.
        have: usize,
        /// Steps needed.
        need: usize,
    },
    /// A season that the model cannot hold: its cost or its memory would leave every bound.
    #[error("fitting {model}: a season of {season_steps} steps, at most {most} can be used")]
    SeasonTooLong {
        /// The model's name.
        model: &'static str,
        /// Steps in the season.
        season_steps: usize,
        /// The longest that the model takes.
        most: usize,
    },
    /// The model's parameters could not be estimated from this history.
    #[error("fitting {model}: {message}")]
    NotEstimated {
        /// The model's name.
        model: &'static str,
        /// What did not work.
        message: String,
    },
    /// It was fitted once and did so badly on the first held-out stretch that no more was spent on it.
    #[error("left out after the first stretch: {times_best:.2} times the best model's error at least")]
    LeftOut {
        /// Its mean absolute error over the best model's, at the leads where it did best.
        times_best: f64,
    },
    /// The regression has no solution.
    #[error("fitting a regression for lead {lead}: {message}")]
    Solver {
        /// Steps ahead.
        lead: usize,
        /// What the solver said.
        message: String,
    },
}
