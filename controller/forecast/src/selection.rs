//! Fitting: all models backtested, one chosen, and the reasons told.
//!
//! The rule is plain: the model with the smallest held-out pinball loss, except that a model which is no baseline has to
//! beat the best baseline by [`REQUIRED_GAIN`]; below that the difference is the backtest's own noise, and the simpler
//! rule is the one whose failures people can foresee. The choice is made per series and afresh at every fit.
//!
//! What it does not do: blend models, or search parameters.

use crate::backtest::{Folds, Trial, TrialScore};
use crate::error::{ForecastError, ModelError};
use crate::forecaster::{Channel, Forecaster};
use crate::history::History;
use crate::model::ModelKind;
use crate::scale::ScaleKind;
use crate::series::Series;

/// Days of known values that a fit needs: one to learn from, one to be scored on.
const MIN_DAYS: usize = 2;
/// Known values that a fit needs whatever the step is.
const MIN_STEPS: usize = 48;
/// Days that can be forecast at once: capacity that takes longer to come is not ordered by forecast.
const LONGEST_HORIZON_DAYS: usize = 7;
/// Share of the best baseline's loss by which another model has to be better.
const REQUIRED_GAIN: f64 = 0.02;

/// What to fit for.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Steps ahead that are forecast, 1 to one week of steps.
    pub horizon_steps: usize,
    /// The upper quantile whose coverage is measured, between 0.5 and 1. Any other can still be asked for.
    pub upper_quantile: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { horizon_steps: 4, upper_quantile: 0.95 }
    }
}

/// What the selection saw and what it chose.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectionReport {
    /// Every model, in the order of [`ModelKind::ALL`].
    pub candidates: Vec<CandidateScore>,
    /// The model that forecasts.
    pub chosen: ModelKind,
    /// The naive model that live forecasts are compared with: the best baseline that is not itself chosen.
    pub reference: ModelKind,
    /// Why.
    pub reason: Reason,
}

/// One model in the backtest.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateScore {
    /// Which one.
    pub kind: ModelKind,
    /// How it did, or why it could not take part.
    pub outcome: Result<Score, ModelError>,
}

/// How a model did on the held-out part of the history, over all leads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Mean pinball loss over [`SCORED_QUANTILES`](crate::SCORED_QUANTILES) as a share of the mean rate; less is better.
    pub relative_pinball: f64,
    /// Share of values at or below the upper quantile; near that quantile if calibrated.
    pub coverage: f64,
    /// What its residuals were best measured by.
    pub scale: ScaleKind,
}

/// Why a model was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// It beats the best baseline; its loss is lower by this share.
    BeatsBaseline {
        /// Share of the baseline's loss that is saved.
        gain: f64,
    },
    /// It is the best baseline, and no other model took part.
    NoOtherModel,
    /// It is the best baseline; the best other model's loss is lower by only this share (higher if negative).
    NotBeaten {
        /// Share of the baseline's loss that the other model would save.
        gain: f64,
    },
    /// The caller asked for it.
    AskedFor,
}

impl SelectionReport {
    /// The score of the chosen model; its coverage is that of the upper quantile on held-out history.
    #[must_use]
    pub fn chosen_score(&self) -> Option<Score> {
        self.score_of(self.chosen)
    }

    /// The score of a model, if it took part.
    #[must_use]
    pub fn score_of(&self, kind: ModelKind) -> Option<Score> {
        let candidate = self.candidates.iter().find(|candidate| candidate.kind == kind)?;
        candidate.outcome.as_ref().ok().copied()
    }
}

/// Backtests every model on the history, chooses one and fits it to all of the history.
///
/// # Errors
/// The settings are out of range, or fewer values are known than two days of steps (and at least 48).
pub fn fit(history: &Series, settings: &Settings) -> Result<Forecaster, ForecastError> {
    fit_chosen_by(history, settings, choose)
}

/// As [`fit`], with the model given instead of chosen; for comparisons and for the conformance suite.
///
/// # Errors
/// As [`fit`], and the model cannot be fitted to this history.
pub fn fit_as(kind: ModelKind, history: &Series, settings: &Settings) -> Result<Forecaster, ForecastError> {
    fit_chosen_by(history, settings, |_| (kind, Reason::AskedFor))
}

fn fit_chosen_by(
    series: &Series,
    settings: &Settings,
    choose: impl Fn(&[CandidateScore]) -> (ModelKind, Reason),
) -> Result<Forecaster, ForecastError> {
    check(series, settings)?;
    let history = History::new(&between_known(series));
    let mean_level = history.mean(0, history.len()).unwrap_or(0.0);
    let folds = Folds::of(&history);
    let mut trials = Vec::new();
    let mut candidates = Vec::new();
    for kind in ModelKind::ALL {
        let outcome = Trial::run(kind, &history, &folds, settings.horizon_steps, mean_level).map(|trial| {
            let TrialScore { scale, relative_pinball, coverage } = trial.best_score(settings.upper_quantile);
            trials.push((kind, trial));
            Score { relative_pinball, coverage, scale }
        });
        candidates.push(CandidateScore { kind, outcome });
    }

    let (chosen, reason) = choose(&candidates);
    let reference =
        best(&candidates, |kind| kind.is_baseline() && kind != chosen).map_or(ModelKind::LastValue, |(kind, _)| kind);
    let report = SelectionReport { candidates, chosen, reference, reason };
    let channel = |kind: ModelKind| -> Result<Channel, ForecastError> {
        let outcome = report.candidates.iter().find(|candidate| candidate.kind == kind);
        if let Some(CandidateScore { outcome: Err(error), .. }) = outcome {
            return Err(ForecastError::Model(error.clone()));
        }
        let scale = report.score_of(kind).map_or(ScaleKind::Constant, |score| score.scale);
        let residuals = trials.iter().find(|(tried, _)| *tried == kind).map(|(_, trial)| trial.residuals(scale));
        let model = kind.fit(&history, history.len(), settings.horizon_steps).map_err(ForecastError::Model)?;
        Ok(Channel { model, scale, residuals: residuals.unwrap_or_default() })
    };
    let (own, naive) = (channel(chosen)?, channel(reference)?);
    Ok(Forecaster::new(series, settings, mean_level, own, naive, report))
}

fn check(series: &Series, settings: &Settings) -> Result<(), ForecastError> {
    let day_steps = series.day_steps();
    let longest = LONGEST_HORIZON_DAYS * day_steps;
    if !(1..=longest).contains(&settings.horizon_steps) {
        return Err(ForecastError::Horizon { horizon_steps: settings.horizon_steps, longest });
    }
    let quantile = settings.upper_quantile;
    if !(quantile > 0.5 && quantile < 1.0) {
        return Err(ForecastError::Quantile { quantile });
    }
    let (have, need) = (series.known_steps(), (MIN_DAYS * day_steps).max(MIN_STEPS));
    if have < need { Err(ForecastError::TooShort { have, need }) } else { Ok(()) }
}

/// The series from its first to its last known value: what is missing at its ends teaches nothing.
fn between_known(series: &Series) -> Series {
    let known = |value: &f64| !value.is_nan();
    let from = series.values().iter().position(known).unwrap_or(0);
    let to = series.values().iter().rposition(known).map_or(0, |last| last + 1);
    series.slice(from, to).unwrap_or_else(|_| series.clone())
}

fn choose(candidates: &[CandidateScore]) -> (ModelKind, Reason) {
    let (baseline, baseline_loss) =
        best(candidates, ModelKind::is_baseline).unwrap_or((ModelKind::LastValue, f64::INFINITY));
    let Some((other, loss)) = best(candidates, |kind| !kind.is_baseline()) else {
        return (baseline, Reason::NoOtherModel);
    };
    // A baseline without any loss cannot be beaten.
    let gain = if baseline_loss > 0.0 { 1.0 - loss / baseline_loss } else { 0.0 };
    if gain > REQUIRED_GAIN { (other, Reason::BeatsBaseline { gain }) } else { (baseline, Reason::NotBeaten { gain }) }
}

/// The model with the smallest loss among those asked for; the first of equals.
fn best(candidates: &[CandidateScore], asked_for: impl Fn(ModelKind) -> bool) -> Option<(ModelKind, f64)> {
    let scored = candidates.iter().filter(|candidate| asked_for(candidate.kind));
    scored
        .filter_map(|candidate| Some((candidate.kind, candidate.outcome.as_ref().ok()?.relative_pinball)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(kind: ModelKind, loss: f64) -> CandidateScore {
        let score = Score { relative_pinball: loss, coverage: 0.95, scale: ScaleKind::Constant };
        CandidateScore { kind, outcome: Ok(score) }
    }

    #[test]
    fn a_baseline_is_kept_unless_clearly_beaten() {
        let chosen = |ridge: f64| {
            choose(&[
                candidate(ModelKind::LastValue, 0.3),
                candidate(ModelKind::SeasonalNaive, 0.2),
                candidate(ModelKind::LagRidge, ridge),
            ])
            .0
        };
        assert_eq!(chosen(0.19), ModelKind::LagRidge);
        assert_eq!(chosen(0.199), ModelKind::SeasonalNaive);
        assert_eq!(chosen(0.4), ModelKind::SeasonalNaive);
    }

    #[test]
    fn a_model_that_cannot_be_fitted_is_left_out() {
        let refused = ModelError::TooFewRows { have: 3, need: 99 };
        let candidates = [
            candidate(ModelKind::LastValue, 0.3),
            candidate(ModelKind::SeasonalNaive, 0.2),
            CandidateScore { kind: ModelKind::LagRidge, outcome: Err(refused) },
        ];
        assert_eq!(choose(&candidates), (ModelKind::SeasonalNaive, Reason::NoOtherModel));
    }

    #[test]
    fn settings_and_length_are_checked() {
        let series = Series::new(0, 3600, vec![1.0; 47]).unwrap();
        let refused = fit(&series, &Settings::default()).unwrap_err();
        assert_eq!(refused, ForecastError::TooShort { have: 47, need: 48 });
        let refused = fit(&series, &Settings { horizon_steps: 169, ..Settings::default() }).unwrap_err();
        assert_eq!(refused, ForecastError::Horizon { horizon_steps: 169, longest: 168 });
        let refused = fit(&series, &Settings { upper_quantile: 0.5, ..Settings::default() }).unwrap_err();
        assert_eq!(refused, ForecastError::Quantile { quantile: 0.5 });
    }
}
