//! Fitting: all models backtested, one chosen, and the reasons told.
//!
//! The measure is the held-out pinball loss. The first choice is the [combination](ModelKind::Combination) of all models
//! that could be fitted: one held-out week flatters the best of many models, and the mean of them is flattered less. A
//! single model is used alone where it is better by [`LEAD_OF_SINGLE`], and a baseline where nothing is better than it:
//! the simpler rule is the one whose failures people can foresee. The choice is made per series and afresh at every fit.
//!
//! Beside the choice stands a verdict: whether any forecaster helps here, with the standard error of what it saves
//! ([`Worth`]).
//!
//! What it does not do: search parameters, or try models that cost much ([`fit_as`] and the command line do).

mod worth;

use crate::backtest::{Backtest, Score, Trial, member_weights};
use crate::comparison::BlockLosses;
use crate::error::{ForecastError, ModelError};
use crate::forecaster::{Channel, Forecaster, LastValueHedge};
use crate::history::History;
use crate::model::combination::{Combination, Member};
use crate::model::{FittedModel, Globals, ModelKind};
use crate::paths::ResidualVectors;
use crate::scale::ScaleKind;
use crate::series::Series;
pub use worth::{Gain, Worth};

/// Days of known values that a fit needs: one to learn from, one to be scored on.
const MIN_DAYS: usize = 2;
/// Known values that a fit needs whatever the step is.
const MIN_STEPS: usize = 48;
/// Days that can be forecast at once: capacity that takes longer to come is not ordered by forecast.
const LONGEST_HORIZON_DAYS: usize = 7;
/// Share of the combination's loss by which a single model has to be better to be used alone. One held-out week flatters
/// the best of many models; the mean of them is flattered less.
const LEAD_OF_SINGLE: f64 = 0.25;

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
    /// Every model that was tried, in the order of [`ModelKind::ALL`], then their combination if it was.
    pub candidates: Vec<CandidateScore>,
    /// The model that forecasts.
    pub chosen: ModelKind,
    /// The naive model that live forecasts are compared with: the best baseline that is not itself chosen.
    pub reference: ModelKind,
    /// Why.
    pub reason: Reason,
    /// What the best forecaster that is no baseline (the chosen one, unless that is a baseline) saves of the best
    /// baseline's loss; `None` where no other model took part.
    pub gain: Option<Gain>,
}

/// One model in the backtest.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateScore {
    /// Which one.
    pub kind: ModelKind,
    /// How it did, or why it could not take part.
    pub outcome: Result<Score, ModelError>,
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
    /// Whether any forecaster helps on this series; `None` where no model but baselines took part.
    #[must_use]
    pub fn worth(&self) -> Option<Worth> {
        self.gain.map(Gain::worth)
    }

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
    fit_with(&Globals::default(), history, settings)
}

/// As [`fit`], for models that draw on more than the series: where a network is given, it takes part.
///
/// # Errors
/// As [`fit`].
pub fn fit_with(globals: &Globals, history: &Series, settings: &Settings) -> Result<Forecaster, ForecastError> {
    let mut contest = Contest::among(globals, history, settings, |kind| kind.is_worth_trying(history, globals))?;
    contest.add_combination();
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
    let combined = kind == ModelKind::Combination;
    let mut contest = Contest::among(globals, history, settings, |other| match combined {
        true => other.is_worth_trying(history, globals),
        false => other == kind || other.is_baseline(),
    })?;
    if combined {
        contest.add_combination();
    }
    contest.forecaster(history, |_| (kind, Reason::AskedFor))
}

/// All models that take part, backtested on one history.
struct Contest<'a> {
    globals: &'a Globals,
    settings: &'a Settings,
    history: History,
    mean_level: f64,
    backtest: Backtest,
    /// Those that could be fitted, with what they forecast.
    trials: Vec<(ModelKind, Trial)>,
    /// Of the same, in the same order.
    losses: Vec<BlockLosses>,
    candidates: Vec<CandidateScore>,
}

impl<'a> Contest<'a> {
    fn among(
        globals: &'a Globals,
        series: &Series,
        settings: &'a Settings,
        takes_part: impl Fn(ModelKind) -> bool,
    ) -> Result<Self, ForecastError> {
        check(series, settings)?;
        let history = History::new(&between_known(series));
        let mean_level = history.mean(0, history.len()).unwrap_or(0.0);
        let backtest = Backtest::of(&history, settings.horizon_steps, mean_level);
        let (trials, losses, candidates) = (Vec::new(), Vec::new(), Vec::new());
        let mut contest = Self { globals, settings, history, mean_level, backtest, trials, losses, candidates };
        for kind in ModelKind::ALL.into_iter().filter(|kind| takes_part(*kind)) {
            contest.add(kind, contest.backtest.try_model(kind, globals, &contest.history));
        }
        Ok(contest)
    }

    /// Lets the combination of all that could be fitted take part.
    fn add_combination(&mut self) {
        self.add(ModelKind::Combination, Ok(self.backtest.combine(&self.members(), self.globals.tuning.sharpness)));
    }

    fn add(&mut self, kind: ModelKind, tried: Result<Trial, ModelError>) {
        let outcome = tried.map(|trial| {
            let (score, losses) = self.backtest.best_score(&trial, self.settings.upper_quantile);
            self.trials.push((kind, trial));
            self.losses.push(losses);
            score
        });
        self.candidates.push(CandidateScore { kind, outcome });
    }

    /// What a combination is made of.
    fn members(&self) -> Vec<&Trial> {
        self.trials.iter().filter(|(kind, _)| *kind != ModelKind::Combination).map(|(_, trial)| trial).collect()
    }

    /// Fits the chosen model, and the baseline that it will be measured against, to all of the history.
    fn forecaster(
        self,
        series: &Series,
        choose: impl Fn(&[CandidateScore]) -> (ModelKind, Reason),
    ) -> Result<Forecaster, ForecastError> {
        let (chosen, reason) = choose(&self.candidates);
        let reference = best(&self.candidates, |kind| kind.is_baseline() && kind != chosen)
            .map_or(ModelKind::LastValue, |(kind, _)| kind);
        let (own, naive) = (self.channel(chosen)?, self.channel(reference)?);
        let hedge = match self.trial(ModelKind::LastValue).zip(self.trial(chosen)) {
            Some((last, model)) if reason != Reason::AskedFor && chosen != ModelKind::LastValue => {
                let held_out = last.error_beside(model);
                let last = (reference != ModelKind::LastValue).then(|| self.channel(ModelKind::LastValue));
                Some(LastValueHedge::new(self.history.step_s(), last.transpose()?, &held_out))
            }
            _ => None,
        };
        let vectors = self.vectors(chosen, own.scale);
        let gain = self.gain(chosen);
        let report = SelectionReport { candidates: self.candidates, chosen, reference, reason, gain };
        Ok(Forecaster::new(series, self.settings, self.mean_level, [own, naive], hedge, vectors, report))
    }

    /// What the chosen model, or where that is a baseline the best other one, saves of the best baseline's loss.
    fn gain(&self, chosen: ModelKind) -> Option<Gain> {
        let (baseline, baseline_loss) = best(&self.candidates, ModelKind::is_baseline)?;
        let chosen = Some(chosen).filter(|chosen| !chosen.is_baseline());
        let other = chosen.or_else(|| Some(contender(&self.candidates, baseline_loss)?.0))?;
        let losses = |kind: ModelKind| {
            let place = self.trials.iter().position(|(tried, _)| *tried == kind)?;
            self.losses.get(place)
        };
        Some(Gain::of(losses(other)?, losses(baseline)?))
    }

    /// A model with its calibration.
    fn channel(&self, kind: ModelKind) -> Result<Channel, ForecastError> {
        let candidate = self.candidates.iter().find(|candidate| candidate.kind == kind);
        let scale = match candidate.map(|candidate| &candidate.outcome) {
            Some(Err(error)) => return Err(ForecastError::Model(error.clone())),
            Some(Ok(score)) => score.scale,
            None => ScaleKind::Constant,
        };
        let residuals = self.trial(kind).map(|trial| self.backtest.residuals(trial, scale)).unwrap_or_default();
        Ok(Channel::new(self.model(kind)?, self.history.step_s(), scale, residuals))
    }

    fn vectors(&self, kind: ModelKind, scale: ScaleKind) -> ResidualVectors {
        match self.trial(kind) {
            Some(trial) => self.backtest.vectors(trial, scale, &self.history),
            None => ResidualVectors::new(self.history.step_s(), self.settings.horizon_steps, 0),
        }
    }

    fn trial(&self, kind: ModelKind) -> Option<&Trial> {
        self.trials.iter().find(|(tried, _)| *tried == kind).map(|(_, trial)| trial)
    }

    fn model(&self, kind: ModelKind) -> Result<FittedModel, ForecastError> {
        let fit = |kind: ModelKind| {
            let (history, horizon_steps) = (&self.history, self.settings.horizon_steps);
            kind.fit_with(self.globals, history, history.len(), horizon_steps).map_err(ForecastError::Model)
        };
        if kind != ModelKind::Combination {
            return fit(kind);
        }
        let weights = member_weights(&self.members(), self.globals.tuning.sharpness);
        let counting =
            self.trials.iter().zip(weights).filter(|(_, weights)| weights.iter().any(|&weight| weight > 0.0));
        let members = counting.map(|((kind, _), weights)| Ok(Member { model: fit(*kind)?, weights }));
        Ok(FittedModel::combined(Combination::of(members.collect::<Result<_, ForecastError>>()?), &self.history))
    }
}

/// Known steps of history that a fit needs where a day has so many.
#[must_use]
pub fn needed_steps(day_steps: usize) -> usize {
    (MIN_DAYS * day_steps).max(MIN_STEPS)
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
    let (have, need) = (series.known_steps(), needed_steps(day_steps));
    if have < need { Err(ForecastError::TooShort { have, need }) } else { Ok(()) }
}

/// The series from its first to its last known value: what is missing at its ends teaches nothing.
pub(crate) fn between_known(series: &Series) -> Series {
    let known = |value: &f64| !value.is_nan();
    let from = series.values().iter().position(known).unwrap_or(0);
    let to = series.values().iter().rposition(known).map_or(0, |last| last + 1);
    series.slice(from, to).unwrap_or_else(|_| series.clone())
}

fn choose(candidates: &[CandidateScore]) -> (ModelKind, Reason) {
    let (baseline, baseline_loss) =
        best(candidates, ModelKind::is_baseline).unwrap_or((ModelKind::LastValue, f64::INFINITY));
    let Some((other, loss)) = contender(candidates, baseline_loss) else { return (baseline, Reason::NoOtherModel) };
    // A baseline without any loss cannot be beaten.
    let gain = if baseline_loss > 0.0 { 1.0 - loss / baseline_loss } else { 0.0 };
    if gain > 0.0 { (other, Reason::BeatsBaseline { gain }) } else { (baseline, Reason::NotBeaten { gain }) }
}

/// The model that is to beat a baseline of this loss, with its own.
fn contender(candidates: &[CandidateScore], baseline_loss: f64) -> Option<(ModelKind, f64)> {
    let combination = best(candidates, |kind| kind == ModelKind::Combination);
    let single = best(candidates, |kind| !kind.is_baseline() && kind != ModelKind::Combination);
    match (combination, single) {
        (Some((_, loss)), Some(single)) if single.1 < (1.0 - LEAD_OF_SINGLE) * loss || loss >= baseline_loss => {
            Some(single)
        }
        (combination, single) => combination.or(single),
    }
}

/// The model with the smallest loss among those asked for; the first of equals.
fn best(candidates: &[CandidateScore], asked_for: impl Fn(ModelKind) -> bool) -> Option<(ModelKind, f64)> {
    let scored = candidates.iter().filter(|candidate| asked_for(candidate.kind));
    scored
        .filter_map(|candidate| Some((candidate.kind, candidate.outcome.as_ref().ok()?.relative_pinball)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests;
