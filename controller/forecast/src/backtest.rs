//! Rolling-origin backtest: what each model would have forecast over the last part of the history, had it been live.
//!
//! The end of the history is cut into two *folds* of equal length, at most a week each. For each, the model is fitted to
//! what lies before it, then the origin rolls through it and every lead is forecast from what was known at that moment.
//! Residuals of the first fold calibrate the quantiles that are scored on the second: coverage is measured on values
//! that neither the model nor its calibration has seen. The final forecaster then uses the residuals of both.
//!
//! Missing values are neither forecast nor scored.

mod fold;
mod mixing;
mod scoring;

use std::ops::Range;

use crate::conformal::{LeadResiduals, Residual};
use crate::error::ModelError;
use crate::history::History;
use crate::measures::seasonal_scale;
use crate::model::{Globals, ModelKind};
use crate::paths::ResidualVectors;
use crate::scale::{ScaleKind, Surroundings};
use crate::selection::{Objective, Settings, between_known};
use crate::series::Series;
pub(crate) use mixing::member_weights;
use mixing::{mixed, weights_by_octave};
pub use scoring::Score;

/// Most forecasts per fold, over all leads; bounds time and memory of a backtest at long horizons: 40,000 x 64 bytes is
/// 2.5 MB a fold.
const MAX_SAMPLES: usize = 40_000;
/// The held-out part of a history, and all that can be said of its steps before a model is asked.
#[derive(Debug)]
pub(crate) struct Backtest {
    day_steps: usize,
    gap_steps: usize,
    upper_quantile: f64,
    objective: Objective,
    /// What an absolute error is divided by for MASE.
    seasonal_scale: Option<f64>,
    calibrating: Fold,
    scoring: Fold,
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
    /// What was forecast for the first fold.
    pub(crate) fn calibrating(&self) -> &Held {
        &self.calibrating
    }

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
pub(crate) struct Held {
    /// By lead, each beside the step of the fold.
    points: Vec<Vec<f64>>,
    /// Sums of absolute errors by octave of leads.
    errors: Vec<f64>,
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

/// Of misses at lag one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Autocorrelation {
    /// -1 to 1.
    pub value: f64,
    /// What independent misses stay below in 19 of 20 cases: two standard errors (Bartlett, 1946).
    pub of_noise: f64,
}

impl Held {
    /// Sums of absolute errors by octave of leads.
    pub(crate) fn errors(&self) -> &[f64] {
        &self.errors
    }
}

impl Backtest {
    /// Holds out the end of `history` for forecasts as they are asked for.
    pub(crate) fn of(history: &History, settings: &Settings, mean_level: f64) -> Self {
        let &Settings { horizon_steps, gap_steps, upper_quantile, objective, .. } = settings;
        let [calibrating, scoring] = folds(history).map(|range| Fold::of(range, history, horizon_steps, mean_level));
        let day_steps = history.day_steps();
        let known = |step: usize| history.value(step).filter(|_| history.known(step)).unwrap_or(f64::NAN);
        let before: Vec<f64> = (0..scoring.start).map(known).collect();
        let seasonal_scale = seasonal_scale(&before, day_steps);
        Self { day_steps, gap_steps, upper_quantile, objective, seasonal_scale, calibrating, scoring }
    }

    /// Fits the model before the first fold and rolls it through.
    pub(crate) fn begin(&self, kind: ModelKind, globals: &Globals, history: &History) -> Result<Held, ModelError> {
        self.calibrating.roll(kind, globals, history)
    }

    /// Fits the model before the second fold too and rolls it through.
    pub(crate) fn complete(
        &self,
        kind: ModelKind,
        calibrating: Held,
        globals: &Globals,
        history: &History,
    ) -> Result<Trial, ModelError> {
        Ok(Trial { calibrating, scoring: self.scoring.roll(kind, globals, history)? })
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

    /// How much the next-step misses of successive origins of both folds depend on each other; a lasting bias counts too.
    /// `None` where nothing was missed.
    pub(crate) fn autocorrelation(&self, trial: &Trial) -> Option<Autocorrelation> {
        let (mut products, mut squares, mut count) = (0.0, 0.0, 0_u32);
        for (fold, held) in [(&self.calibrating, &trial.calibrating), (&self.scoring, &trial.scoring)] {
            let mut before: Option<(usize, f64)> = None;
            for (step, point) in fold.steps.iter().zip(&held.points).take(1).flat_map(|(s, p)| s.iter().zip(p)) {
                let miss = step.actual - point;
                squares += miss * miss;
                count += 1;
                if let Some((_, last)) = before.filter(|(from, _)| from + 1 == step.from) {
                    products += last * miss;
                }
                before = Some((step.from, miss));
            }
        }
        (squares > 0.0).then(|| Autocorrelation { value: products / squares, of_noise: 2.0 / f64::from(count).sqrt() })
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
mod tests;
