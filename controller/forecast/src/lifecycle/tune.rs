//! Better parameters for one series, found on the part of its history that the selection does not judge by.
//!
//! The selection scores models on the newest fold of a history. A search that looked at that fold would make every score
//! on it flattering, so it never sees it: the history is cut there, and a trial is a fit of the combination to what is
//! left, judged on its own last fold. Even so the best of many trials is lucky, and is kept only where it saves
//! [`LEAST_GAIN`].
//!
//! A trial costs a fit; the caller says how many there may be. It is for series that the defaults do not suit: on held-out
//! parts of M4 Hourly 16 trials each raise the overall weighted average from 0.364 to 0.369, and of the traces' loss ratio
//! an hour ahead from 0.726 to 0.729 (`cargo xtask bench forecast --holdout --every 3 --search 16`, `bench traces`).

use thiserror::Error;

use super::search::{Search, SearchError, Trial};
use crate::backtest::judged_from_s;
use crate::error::ForecastError;
use crate::model::{Globals, ModelKind, Tuning};
use crate::selection::{Settings, fit_as_with};
use crate::series::Series;

/// Share of the default's loss that a point has to save to be kept.
const LEAST_GAIN: f64 = 0.1;
/// Most trials of one search: 64 fits are some seconds.
pub const MAX_SEARCH_FITS: usize = 64;

/// How long is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchBudget {
    /// Fits, the one with the default parameters included; at most [`MAX_SEARCH_FITS`].
    pub trials: usize,
    /// All chance comes from it.
    pub seed: u64,
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// The best that was found, or the default.
    pub tuning: Tuning,
    /// All trials, for later searches and for similar series.
    pub trials: Vec<Trial>,
    /// Loss with the default parameters.
    pub before: f64,
    /// Loss with `tuning`.
    pub after: f64,
}

/// Why nothing was searched.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TuningError {
    /// The history cannot be fitted, or not without its newest fold.
    #[error("tuning: {0}")]
    Forecast(#[from] ForecastError),
    /// The search refused.
    #[error("tuning: {0}")]
    Search(#[from] SearchError),
}

/// Searches parameters for a history, with what earlier searches know: one group of trials a series.
///
/// # Errors
/// The history without its newest fold is too short to be fitted, or an earlier trial is none of such a search.
pub fn tune(
    globals: &Globals,
    history: &Series,
    settings: &Settings,
    budget: SearchBudget,
    earlier: &[Vec<Trial>],
) -> Result<Tuned, TuningError> {
    let unjudged_s = judged_from_s(history).map_or(0, |from_s| from_s - history.start_s());
    let known = history.slice(0, (unjudged_s / i64::from(history.step_s())) as usize).map_err(ForecastError::Series)?;
    let loss = |tuning: Tuning| {
        let globals = Globals { tuning, ..globals.clone() };
        let fitted = fit_as_with(&globals, ModelKind::Combination, &known, settings)?;
        Ok::<_, ForecastError>(fitted.report().score_of(ModelKind::Combination).map(|score| score.relative_pinball))
    };
    // Whatever refuses the default refuses every other point too.
    let mut first = Some(loss(Tuning::default())?);
    let mut search = Search::new(Tuning::parameters(), budget.seed, earlier)?;
    search.run(budget.trials.clamp(1, MAX_SEARCH_FITS), |point| match first.take() {
        Some(first) => first,
        None => loss(Tuning::at(point)).ok().flatten(),
    })?;
    let before = search.trials().first().and_then(|trial| trial.loss).unwrap_or(f64::INFINITY);
    let best = search.best().and_then(|trial| Some((Tuning::at(&trial.point), trial.loss?)));
    let better = best.filter(|(_, after)| *after < (1.0 - LEAST_GAIN) * before);
    let (tuning, after) = better.unwrap_or((Tuning::default(), before));
    Ok(Tuned { tuning, trials: search.trials().to_vec(), before, after })
}
