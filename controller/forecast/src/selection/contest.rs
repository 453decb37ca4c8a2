//! The contest of models on one history: who takes part, who is taken further, and what the winner is made of.

use super::choice::{Entry, best, contender};
use super::{CandidateScore, ExpensiveModels, Gain, Reason, SelectionReport, Settings, halving};
use crate::backtest::{Backtest, Held, Score, Trial, member_weights};
use crate::comparison::BlockLosses;
use crate::error::{ForecastError, ModelError};
use crate::forecaster::{Channel, Forecaster, LastValueHedge};
use crate::history::History;
use crate::model::combination::{Combination, Member};
use crate::model::{FittedModel, Globals, ModelKind};
use crate::paths::ResidualVectors;
use crate::scale::ScaleKind;
use crate::series::Series;

/// All models that take part, backtested on one history.
pub(super) struct Contest<'a> {
    globals: &'a Globals,
    settings: &'a Settings,
    history: History,
    mean_level: f64,
    backtest: Backtest,
    /// Those that went all the way.
    tried: Vec<Tried>,
    /// All, these too.
    candidates: Vec<CandidateScore>,
    expensive: ExpensiveModels,
}

/// A model that was backtested on both folds.
struct Tried {
    kind: ModelKind,
    trial: Trial,
    score: Score,
    losses: BlockLosses,
}

impl<'a> Contest<'a> {
    /// An empty one.
    pub(super) fn new(globals: &'a Globals, series: &Series, settings: &'a Settings) -> Result<Self, ForecastError> {
        settings.check(series)?;
        let history = History::new(&between_known(series));
        let mean_level = history.mean(0, history.len()).unwrap_or(0.0);
        let backtest = Backtest::of(&history, settings, mean_level);
        let (tried, candidates) = (Vec::new(), Vec::new());
        let expensive = ExpensiveModels::NotAsked;
        Ok(Self { globals, settings, history, mean_level, backtest, tried, candidates, expensive })
    }

    /// Backtests these models; with `halving`, those that do badly on the first fold on that one only.
    pub(super) fn enter(&mut self, kinds: impl IntoIterator<Item = ModelKind>, halving: bool) {
        let begin = |kind: ModelKind| (kind, self.backtest.begin(kind, self.globals, &self.history));
        let begun: Vec<(ModelKind, Result<Held, ModelError>)> = kinds.into_iter().map(begin).collect();
        let left_out = if halving { self.left_out(&begun) } else { Vec::new() };
        for (kind, held) in begun {
            let tried = match left_out.iter().find(|(out, _)| *out == kind) {
                Some(&(_, times_best)) => Err(ModelError::LeftOut { times_best }),
                None => held.and_then(|held| self.backtest.complete(kind, held, self.globals, &self.history)),
            };
            self.add(kind, tried);
        }
    }

    /// Which of the models that were begun go no further, with their error over the best's.
    fn left_out(&self, begun: &[(ModelKind, Result<Held, ModelError>)]) -> Vec<(ModelKind, f64)> {
        let before = self.singles().map(|tried| (tried.kind, tried.trial.calibrating()));
        let now = begun.iter().filter_map(|(kind, held)| Some((*kind, held.as_ref().ok()?)));
        let errors: Vec<(ModelKind, &[f64])> = before.chain(now).map(|(kind, held)| (kind, held.errors())).collect();
        halving::left_out(&errors, self.settings.gap_steps)
    }

    /// Lets the combination of all that went all the way take part.
    pub(super) fn combine(&mut self) {
        let members: Vec<&Trial> = self.singles().map(|tried| &tried.trial).collect();
        let combined = self.backtest.combine(&members);
        self.add(ModelKind::Combination, Ok(combined));
    }

    /// Lets these models take part beside the others that were combined, if there is anything for them to find.
    pub(super) fn enter_expensive(&mut self, kinds: &[ModelKind]) {
        let combination = self.tried(ModelKind::Combination);
        self.expensive =
            ExpensiveModels::after(combination.and_then(|tried| self.backtest.autocorrelation(&tried.trial)));
        if matches!(self.expensive, ExpensiveModels::Tried(_)) {
            let new: Vec<ModelKind> = kinds.iter().copied().filter(|kind| !self.has_entered(*kind)).collect();
            self.tried.retain(|tried| tried.kind != ModelKind::Combination);
            self.candidates.retain(|candidate| candidate.kind != ModelKind::Combination);
            self.enter(new, true);
            self.candidates.sort_by_key(|candidate| ModelKind::ALL.iter().position(|kind| *kind == candidate.kind));
            self.combine();
        }
    }

    fn has_entered(&self, kind: ModelKind) -> bool {
        self.candidates.iter().any(|candidate| candidate.kind == kind)
    }

    fn add(&mut self, kind: ModelKind, trial: Result<Trial, ModelError>) {
        let outcome = trial.map(|trial| {
            let (score, losses) = self.backtest.best_score(&trial);
            self.tried.push(Tried { kind, trial, score, losses });
            score
        });
        self.candidates.push(CandidateScore { kind, outcome });
    }

    /// What a combination is made of.
    fn singles(&self) -> impl Iterator<Item = &Tried> {
        self.tried.iter().filter(|tried| tried.kind != ModelKind::Combination)
    }

    fn tried(&self, kind: ModelKind) -> Option<&Tried> {
        self.tried.iter().find(|tried| tried.kind == kind)
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        self.tried.iter().map(|Tried { kind, losses, .. }| Entry { kind: *kind, losses }).collect()
    }

    /// Fits the chosen model, and the baseline that it will be measured against, to all of the history.
    pub(super) fn forecaster(
        self,
        series: &Series,
        choose: impl Fn(&[Entry<'_>]) -> (ModelKind, Reason),
    ) -> Result<Forecaster, ForecastError> {
        let entries = self.entries();
        let (chosen, reason) = choose(&entries);
        let reference = best(&entries, |kind| kind.is_baseline() && kind != chosen);
        let reference = reference.map_or(ModelKind::LastValue, |entry| entry.kind);
        let (own, naive) = (self.channel(chosen)?, self.channel(reference)?);
        let hedge = match self.tried(ModelKind::LastValue).zip(self.tried(chosen)) {
            Some((last, model)) if reason != Reason::AskedFor && chosen != ModelKind::LastValue => {
                let held_out = last.trial.error_beside(&model.trial);
                let last = (reference != ModelKind::LastValue).then(|| self.channel(ModelKind::LastValue));
                Some(LastValueHedge::new(self.history.step_s(), last.transpose()?, &held_out))
            }
            _ => None,
        };
        let vectors = self.vectors(chosen, own.scale);
        let gain = gain(&entries, chosen);
        let report =
            SelectionReport { candidates: self.candidates, chosen, reference, reason, gain, expensive: self.expensive };
        Ok(Forecaster::new(series, self.settings, self.mean_level, [own, naive], hedge, vectors, report))
    }

    /// A model with its calibration.
    fn channel(&self, kind: ModelKind) -> Result<Channel, ForecastError> {
        let candidate = self.candidates.iter().find(|candidate| candidate.kind == kind);
        if let Some(Err(error)) = candidate.map(|candidate| &candidate.outcome) {
            return Err(ForecastError::Model(error.clone()));
        }
        let tried = self.tried(kind);
        let scale = tried.map_or(ScaleKind::Constant, |tried| tried.score.scale);
        let residuals = tried.map(|tried| self.backtest.residuals(&tried.trial, scale)).unwrap_or_default();
        Ok(Channel::new(self.model(kind)?, self.history.step_s(), scale, residuals))
    }

    fn vectors(&self, kind: ModelKind, scale: ScaleKind) -> ResidualVectors {
        match self.tried(kind) {
            Some(tried) => self.backtest.vectors(&tried.trial, scale, &self.history),
            None => ResidualVectors::new(self.history.step_s(), self.settings.horizon_steps, 0),
        }
    }

    fn model(&self, kind: ModelKind) -> Result<FittedModel, ForecastError> {
        let fit = |kind: ModelKind| {
            let (history, horizon_steps) = (&self.history, self.settings.horizon_steps);
            kind.fit_with(self.globals, history, history.len(), horizon_steps).map_err(ForecastError::Model)
        };
        if kind != ModelKind::Combination {
            return fit(kind);
        }
        let weights = member_weights(&self.singles().map(|tried| &tried.trial).collect::<Vec<_>>());
        let counting = self.singles().zip(weights).filter(|(_, weights)| weights.iter().any(|&weight| weight > 0.0));
        let members = counting.map(|(tried, weights)| Ok(Member { model: fit(tried.kind)?, weights }));
        Ok(FittedModel::combined(Combination::of(members.collect::<Result<_, ForecastError>>()?), &self.history))
    }
}

/// What the chosen model, or where that is a baseline the best other one, saves of the best baseline's loss.
fn gain(entries: &[Entry<'_>], chosen: ModelKind) -> Option<Gain> {
    let baseline = best(entries, ModelKind::is_baseline)?;
    let other = match chosen.is_baseline() {
        true => contender(entries)?,
        false => *entries.iter().find(|entry| entry.kind == chosen)?,
    };
    Some(Gain::of(other.losses, baseline.losses))
}

/// The series from its first to its last known value: what is missing at its ends teaches nothing.
fn between_known(series: &Series) -> Series {
    let known = |value: &f64| !value.is_nan();
    let from = series.values().iter().position(known).unwrap_or(0);
    let to = series.values().iter().rposition(known).map_or(0, |last| last + 1);
    series.slice(from, to).unwrap_or_else(|_| series.clone())
}
