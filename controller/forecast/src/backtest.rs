//! Rolling-origin backtest: what each model would have forecast over the last part of the history, had it been live.
//!
//! The end of the history is cut into two *folds* of equal length, at most a week each. For each, the model is fitted to
//! what lies before it, then the origin rolls through it and every lead is forecast from what was known at that moment.
//! Residuals of the first fold calibrate the quantiles that are scored on the second: coverage is measured on values
//! that neither the model nor its calibration has seen. The final forecaster then uses the residuals of both.
//!
//! Missing values are neither forecast nor scored.

use std::ops::Range;

use crate::comparison::BlockLosses;
use crate::conformal::{LeadResiduals, MAX_RESIDUALS, Residual};
use crate::error::ModelError;
use crate::history::History;
use crate::model::combination::{octave, weights};
use crate::model::{EXPLOSION_FACTOR, Globals, ModelKind};
use crate::paths::ResidualVectors;
use crate::scale::{Lookout, ScaleKind, Surroundings};
use crate::score::{SCORED_QUANTILES, pinball_loss};
use crate::selection::between_known;
use crate::series::Series;

/// Most forecasts per fold, over all leads; bounds time and memory of a backtest at long horizons: 40,000 x 64 bytes is
/// 2.5 MB a fold.
const MAX_SAMPLES: usize = 40_000;
/// Leads on which scales are compared: what residuals grow with hardly differs between neighbours.
const LEADS_FOR_SCALE: usize = 6;
/// Forecasts of a lead on which they are compared: the 95 % quantile still has 25 above it.
const SAMPLES_FOR_SCALE: usize = 500;
/// Smallest mean of actual values that losses are divided by, in units per second.
const MIN_MEAN_PER_S: f64 = 1e-6;

/// The held-out part of a history, and all that can be said of its steps before a model is asked.
#[derive(Debug)]
pub(crate) struct Backtest {
    day_steps: usize,
    calibrating: Fold,
    scoring: Fold,
}

/// Which leads are scored, and which forecasts of each: every n-th.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Every {
    lead: usize,
    sample: usize,
}

impl Every {
    const ONE: Self = Self { lead: 1, sample: 1 };
}

/// One held-out stretch: the origins that forecasts are made from, and the steps that they are made for.
#[derive(Debug)]
struct Fold {
    /// A model is fitted to what lies before.
    start: usize,
    origins: Vec<usize>,
    /// By lead, in order of time. Steps whose value is missing are not here.
    steps: Vec<Vec<Step>>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    /// Position of the origin among those of the fold.
    from: usize,
    actual: f64,
    ceiling: f64,
    around: Surroundings,
}

/// One model's held-out forecasts.
#[derive(Debug)]
pub(crate) struct Trial {
    calibrating: Held,
    scoring: Held,
}

impl Trial {
    /// By octave of leads, the absolute error in units of another's; NaN where both have none.
    pub(crate) fn error_beside(&self, other: &Self) -> Vec<f64> {
        let errors = |of: &Self| -> Vec<f64> {
            of.calibrating.errors.iter().zip(&of.scoring.errors).map(|(earlier, later)| earlier + later).collect()
        };
        errors(self).into_iter().zip(errors(other)).map(|(own, other)| own / other).collect()
    }
}

/// A model's forecasts for one fold.
#[derive(Debug)]
struct Held {
    /// By lead, each beside the step of the fold.
    points: Vec<Vec<f64>>,
    /// Sums of absolute errors by octave of leads.
    errors: Vec<f64>,
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

/// A quarter of the history each, at most a week, in whole days if that is a day or more, so that each fold meets every
/// time of day (and of the week) equally often.
fn folds(history: &History) -> [Range<usize>; 2] {
    let (len, day) = (history.len(), history.day_steps());
    let quarter = (len / 4).min(history.week_steps());
    let fold = if quarter >= day { quarter - quarter % day } else { quarter };
    [len - 2 * fold..len - fold, len - fold..len]
}

/// When the part of a history begins that a fit holds out, unix seconds; `None` where nothing is known. What was trained
/// on many series up to here may take part in the fit of this one, and of any that ends later.
pub(crate) fn held_out_from_s(series: &Series) -> Option<i64> {
    fold_starts_s(series).map(|[from_s, _]| from_s)
}

/// When the part begins by which a selection judges, unix seconds; `None` where nothing is known.
pub(crate) fn judged_from_s(series: &Series) -> Option<i64> {
    fold_starts_s(series).map(|[_, from_s]| from_s)
}

fn fold_starts_s(series: &Series) -> Option<[i64; 2]> {
    let known = between_known(series);
    (known.known_steps() > 0).then(|| {
        let history = History::new(&known);
        folds(&history).map(|fold| history.at_s(fold.start))
    })
}

impl Backtest {
    /// Holds out the end of `history` for forecasts of `horizon_steps` steps.
    pub(crate) fn of(history: &History, horizon_steps: usize, mean_level: f64) -> Self {
        let [calibrating, scoring] = folds(history).map(|range| Fold::of(range, history, horizon_steps, mean_level));
        Self { day_steps: history.day_steps(), calibrating, scoring }
    }

    /// Fits the model before each fold and rolls it through.
    pub(crate) fn try_model(&self, kind: ModelKind, globals: &Globals, history: &History) -> Result<Trial, ModelError> {
        let roll = |fold: &Fold| fold.roll(kind, globals, history);
        Ok(Trial { calibrating: roll(&self.calibrating)?, scoring: roll(&self.scoring)? })
    }

    /// The combination of several models, with the weights that it would have had: in each fold those that the errors of
    /// the other one give, so that no forecast is combined by what was made of it.
    pub(crate) fn combine(&self, members: &[&Trial], sharpness: i32) -> Trial {
        let (calibrating, scoring): (Vec<&Held>, Vec<&Held>) =
            members.iter().map(|trial| (&trial.calibrating, &trial.scoring)).unzip();
        Trial {
            calibrating: self.calibrating.held(mixed(&calibrating, &weights_by_octave(&[&scoring], sharpness))),
            scoring: self.scoring.held(mixed(&scoring, &weights_by_octave(&[&calibrating], sharpness))),
        }
    }

    /// Scores the model on the second fold, calibrated on the first, with the scale that does best on a few leads; beside
    /// the score, the losses by blocks of time.
    pub(crate) fn best_score(&self, trial: &Trial, upper_quantile: f64) -> (Score, BlockLosses) {
        let every = Every {
            lead: self.scoring.steps.len().div_ceil(LEADS_FOR_SCALE),
            sample: coprime_stride(self.scoring.origins.len(), SAMPLES_FOR_SCALE, self.day_steps),
        };
        let [simplest, others @ ..] = ScaleKind::ALL.map(|scale| self.score(trial, scale, upper_quantile, every));
        // The first of equals: simpler scales stand in front.
        let best = others.into_iter().fold(simplest, |best, other| {
            if other.0.relative_pinball.total_cmp(&best.0.relative_pinball).is_lt() { other } else { best }
        });
        if every == Every::ONE { best } else { self.score(trial, best.0.scale, upper_quantile, Every::ONE) }
    }

    /// The residuals of both folds per lead, ready to calibrate a live forecast.
    pub(crate) fn residuals(&self, trial: &Trial, scale: ScaleKind) -> Vec<LeadResiduals> {
        let earlier = self.calibrating.steps.iter().zip(&trial.calibrating.points);
        let later = self.scoring.steps.iter().zip(&trial.scoring.points);
        earlier
            .zip(later)
            .map(|((steps, points), (later_steps, later_points))| {
                let later = normalised(later_steps, later_points, scale, 1);
                LeadResiduals::new(normalised(steps, points, scale, 1).chain(later))
            })
            .collect()
    }

    /// The same residuals origin by origin, for what binds leads and series together.
    pub(crate) fn vectors(&self, trial: &Trial, scale: ScaleKind, history: &History) -> ResidualVectors {
        let folds = [(&self.calibrating, &trial.calibrating), (&self.scoring, &trial.scoring)];
        let origins = folds.iter().map(|(fold, _)| fold.origins.len()).sum();
        let mut vectors = ResidualVectors::new(history.step_s(), self.scoring.steps.len(), origins);
        for (fold, held) in folds {
            for ((steps, points), lead) in fold.steps.iter().zip(&held.points).zip(1..) {
                for (step, residual) in steps.iter().zip(normalised(steps, points, scale, 1)) {
                    vectors.add(history.at_s(fold.origins[step.from]), lead, residual.value);
                }
            }
        }
        vectors
    }

    fn score(&self, trial: &Trial, scale: ScaleKind, upper_quantile: f64, every: Every) -> (Score, BlockLosses) {
        let mut blocks = BlockLosses::default();
        let per_origin = 1.0 / self.scoring.origins.len().max(1) as f64;
        let (mut loss, mut actuals, mut covered, mut count) = (0.0, 0.0, 0_u32, 0_u32);
        let calibrating = self.calibrating.steps.iter().zip(&trial.calibrating.points);
        let scoring = self.scoring.steps.iter().zip(&trial.scoring.points);
        for ((steps, points), (scored_steps, scored_points)) in calibrating.zip(scoring).step_by(every.lead) {
            let residuals = LeadResiduals::new(normalised(steps, points, scale, every.sample));
            let by_class = [false, true].map(|high| {
                let residuals = residuals.quantiles(high);
                let scored = SCORED_QUANTILES.map(|p| (p, residuals.quantile(p)));
                (scored, residuals.quantile(upper_quantile))
            });
            for (step, &point) in scored_steps.iter().zip(scored_points).step_by(every.sample) {
                let (scored, upper) = by_class[usize::from(step.around.burst_expected(point))];
                let spread = step.around.scale(scale, point);
                let at = |residual: f64| (point + residual * spread).clamp(0.0, step.ceiling);
                let before = loss;
                for (p, residual) in scored {
                    loss += pinball_loss(p, at(residual), step.actual) / SCORED_QUANTILES.len() as f64;
                }
                blocks.take(step.from as f64 * per_origin, loss - before, 1.0);
                covered += u32::from(step.actual <= at(upper));
                actuals += step.actual;
                count += 1;
            }
        }
        let count = f64::from(count.max(1));
        let score = Score {
            scale,
            relative_pinball: (loss / count) / (actuals / count).max(MIN_MEAN_PER_S),
            coverage: f64::from(covered) / count,
        };
        (score, blocks)
    }
}

impl Fold {
    fn of(range: Range<usize>, history: &History, horizon_steps: usize, mean_level: f64) -> Self {
        let most = MAX_RESIDUALS.min(MAX_SAMPLES / horizon_steps).max(1);
        let stride = coprime_stride(range.len(), most, history.day_steps());
        let origins: Vec<usize> = range.clone().step_by(stride).collect();
        let mut steps = vec![Vec::new(); horizon_steps];
        let mut lookout = Lookout::over(range.clone(), history, mean_level);
        for (from, &origin) in origins.iter().enumerate() {
            let ceiling = EXPLOSION_FACTOR * history.max_before(origin);
            for (target, of_lead) in (origin..range.end).zip(&mut steps) {
                if let Some(actual) = history.value(target).filter(|_| history.known(target)) {
                    let around = lookout.around(origin, target);
                    of_lead.push(Step { from, actual, ceiling, around });
                }
            }
        }
        Self { start: range.start, origins, steps }
    }

    /// The model's forecasts for the steps of this fold.
    fn roll(&self, kind: ModelKind, globals: &Globals, history: &History) -> Result<Held, ModelError> {
        let horizon_steps = self.steps.len();
        let model = kind.fit_with(globals, history, self.start, horizon_steps)?;
        let mut points: Vec<Vec<f64>> = self.steps.iter().map(|steps| Vec::with_capacity(steps.len())).collect();
        let mut from = 0;
        model.roll(history, &self.origins, horizon_steps, |_, forecast| {
            for ((steps, points), &point) in self.steps.iter().zip(&mut points).zip(forecast) {
                if steps.get(points.len()).is_some_and(|step| step.from == from) {
                    points.push(point);
                }
            }
            from += 1;
        });
        Ok(self.held(points))
    }

    /// Forecasts for the steps of this fold, with their errors.
    fn held(&self, points: Vec<Vec<f64>>) -> Held {
        let mut errors = vec![0.0; octave(self.steps.len()) + 1];
        for ((steps, points), lead) in self.steps.iter().zip(&points).zip(1..) {
            let sum: f64 = steps.iter().zip(points).map(|(step, point)| (step.actual - point).abs()).sum();
            errors[octave(lead)] += sum;
        }
        Held { points, errors }
    }
}

/// The weights of each member by octave of leads, from all held-out forecasts.
pub(crate) fn member_weights(members: &[&Trial], sharpness: i32) -> Vec<Vec<f64>> {
    let (calibrating, scoring): (Vec<&Held>, Vec<&Held>) =
        members.iter().map(|trial| (&trial.calibrating, &trial.scoring)).unzip();
    weights_by_octave(&[&calibrating, &scoring], sharpness)
}

/// For each member its weights, from its errors in all the given folds together.
fn weights_by_octave(folds: &[&[&Held]], sharpness: i32) -> Vec<Vec<f64>> {
    let [first, ..] = folds else { return Vec::new() };
    let octaves = first.first().map_or(0, |held| held.errors.len());
    let mut by_member = vec![Vec::with_capacity(octaves); first.len()];
    for octave in 0..octaves {
        let error = |member: usize| folds.iter().map(|fold| fold[member].errors[octave]).sum();
        let errors: Vec<f64> = (0..first.len()).map(error).collect();
        for (member, weight) in by_member.iter_mut().zip(weights(&errors, sharpness)) {
            member.push(weight);
        }
    }
    by_member
}

/// The weighted mean of the members' forecasts.
fn mixed(members: &[&Held], weights: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let [first, ..] = members else { return Vec::new() };
    let mut mixed: Vec<Vec<f64>> = first.points.iter().map(|points| vec![0.0; points.len()]).collect();
    for (member, weights) in members.iter().zip(weights) {
        for ((sums, points), lead) in mixed.iter_mut().zip(&member.points).zip(1..) {
            for (sum, point) in sums.iter_mut().zip(points) {
                *sum += weights[octave(lead)] * point;
            }
        }
    }
    mixed
}

fn normalised<'a>(
    steps: &'a [Step],
    points: &'a [f64],
    scale: ScaleKind,
    every: usize,
) -> impl Iterator<Item = Residual> + Clone + 'a {
    steps.iter().zip(points).step_by(every).map(move |(step, &point)| Residual {
        value: (step.actual - point) / step.around.scale(scale, point),
        high: step.around.burst_expected(point),
    })
}

/// The smallest stride that takes at most `max` of `len` steps and shares no factor with the day, so that every time of
/// day is visited in turn.
pub(crate) fn coprime_stride(len: usize, max: usize, day_steps: usize) -> usize {
    let mut stride = len.div_ceil(max).max(1);
    while greatest_common_divisor(stride, day_steps) != 1 {
        stride += 1;
    }
    stride
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn strides_meet_every_time_of_day() {
        assert_eq!(coprime_stride(2_000, 4_000, 288), 1);
        assert_eq!(coprime_stride(14_000, 4_000, 288), 5, "4 shares a factor with 288");
        assert_eq!(coprime_stride(0, 4_000, 288), 1);
    }

    #[test]
    fn folds_are_whole_days_at_the_end() {
        let history = |hours: usize| History::new(&Series::new(0, 3600, vec![1.0; hours]).unwrap());
        assert_eq!(folds(&history(10 * 24)), [144..192, 192..240]);
        assert_eq!(folds(&history(60 * 24))[1].len(), 168);
        assert_eq!(folds(&history(50)), [26..38, 38..50]);
    }

    #[test]
    fn a_pattern_without_noise_is_forecast_without_loss() {
        let rates = (0..20 * 24).map(|hour| f64::from(hour % 24)).collect();
        let history = History::new(&Series::new(0, 3600, rates).unwrap());
        let backtest = Backtest::of(&history, 2, 11.5);
        let score =
            |kind| backtest.best_score(&backtest.try_model(kind, &Globals::default(), &history).unwrap(), 0.95).0;
        assert_eq!(score(ModelKind::SeasonalNaive).relative_pinball, 0.0);
        assert_eq!(score(ModelKind::SeasonalNaive).coverage, 1.0);
        assert!(score(ModelKind::LastValue).relative_pinball > 0.01);
    }
}
