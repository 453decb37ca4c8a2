//! Fitting: all models backtested, one chosen, and the reasons told.
//!
//! The measure is the held-out pinball loss, over the leads that a decision can still act on and at the quantile that it is
//! made at ([`Objective`]). The first choice is the [combination](ModelKind::Combination) of all models that could be
//! fitted: one held-out week flatters the best of many models, and the mean of them is flattered less. Which other model
//! is used instead, and when, is told in [`choice`]; which are not taken through the whole backtest, in [`halving`]. The
//! choice is made per series and afresh at every fit.
//!
//! Beside the choice stands a verdict: whether any forecaster helps here, with the standard error of what it saves
//! ([`Worth`]).
//!
//! Models that cost much are tried where that was asked for ([`Effort`]) and there is something to gain ([`expensive`]).
//!
//! What it does not do: search parameters.

mod choice;
mod contest;
mod expensive;
mod halving;
mod report;
mod settings;
mod worth;

use crate::error::ForecastError;
use crate::forecaster::Forecaster;
use crate::model::{Globals, ModelKind};
use crate::series::Series;
use choice::choose;
use contest::Contest;
pub(crate) use contest::between_known;
pub use expensive::{EXPENSIVE, ExpensiveModels};
pub use report::{CandidateScore, Reason, SelectionReport};
pub use settings::{Effort, Objective, Settings, needed_steps};
pub use worth::{Gain, Worth};

/// Backtests every model on the history, chooses one and fits it to all of the history.
///
/// # Errors
/// The settings are out of range, or fewer values are known than two days of steps (and at least 48).
pub fn fit(history: &Series, settings: &Settings) -> Result<Forecaster, ForecastError> {
    fit_with(&Globals::default(), history, settings)
}

/// As [`fit`], for models that draw on more than the series: where a network is given, it takes part.
///
/// # Errors
/// As [`fit`].
pub fn fit_with(globals: &Globals, history: &Series, settings: &Settings) -> Result<Forecaster, ForecastError> {
    let mut contest = Contest::new(globals, history, settings)?;
    enter_all(&mut contest, globals, history, settings);
    contest.forecaster(history, choose)
}

/// As [`fit`], with the model given instead of chosen; for comparisons and for the conformance suite. Only it and the
/// baselines are backtested; for the combination, what [`fit`] combines.
///
/// # Errors
/// As [`fit`], and the model cannot be fitted to this history.
pub fn fit_as(kind: ModelKind, history: &Series, settings: &Settings) -> Result<Forecaster, ForecastError> {
    fit_as_with(&Globals::default(), kind, history, settings)
}

/// As [`fit_as`], for models that draw on more than the series.
///
/// # Errors
/// As [`fit_as`].
pub fn fit_as_with(
    globals: &Globals,
    kind: ModelKind,
    history: &Series,
    settings: &Settings,
) -> Result<Forecaster, ForecastError> {
    let mut contest = Contest::new(globals, history, settings)?;
    if kind == ModelKind::Combination {
        enter_all(&mut contest, globals, history, settings);
    } else {
        contest.enter(ModelKind::ALL.into_iter().filter(|other| *other == kind || other.is_baseline()), false);
    }
    contest.forecaster(history, |_| (kind, Reason::AskedFor))
}

fn enter_all(contest: &mut Contest<'_>, globals: &Globals, history: &Series, settings: &Settings) {
    contest.enter(ModelKind::ALL.into_iter().filter(|kind| kind.is_worth_trying(history, globals)), true);
    contest.combine();
    if let Effort::Thorough { most } = settings.effort {
        contest.enter_expensive(&EXPENSIVE[..most.min(EXPENSIVE.len())]);
    }
}

#[cfg(test)]
mod tests;
