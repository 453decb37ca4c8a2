//! How good a model's held-out forecasts were: losses on the second fold, calibrated on the first.
//!
//! The intuition: a forecast is worth what its quantiles are, and these are residuals of the first fold in units of a scale. Which
//! scale suits the model is found on a few leads; the score is then taken over all of them beyond the gap.

use super::{Backtest, Trial, coprime_stride, normalised};
use crate::comparison::BlockLosses;
use crate::conformal::LeadResiduals;
use crate::scale::ScaleKind;
use crate::score::{SCORED_QUANTILES, pinball_loss};

/// Leads on which scales are compared: what residuals grow with hardly differs between neighbours.
const LEADS_FOR_SCALE: usize = 6;
/// Forecasts of a lead on which they are compared: the 95 % quantile still has 25 above it.
const SAMPLES_FOR_SCALE: usize = 500;
/// Which of the scored quantiles is the middle.
pub(super) const MEDIAN: usize = 0;
/// Smallest mean of actual values that losses are divided by, in units per second.
const MIN_MEAN_PER_S: f64 = 1e-6;

/// Which leads are scored, and which forecasts of each: every n-th.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Every {
    lead: usize,
    sample: usize,
}

impl Every {
    const ONE: Self = Self { lead: 1, sample: 1 };
}

/// How a model did on the held-out part of the history, over all leads beyond the gap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// By what models are compared, the loss of the [`Objective`](crate::Objective) as a share of the mean rate; less is
    /// better.
    pub loss: f64,
    /// Mean pinball loss over [`SCORED_QUANTILES`](crate::SCORED_QUANTILES) as a share of the mean rate; less is better.
    pub relative_pinball: f64,
    /// Mean absolute error of the median over that of the seasonal naive step a day ahead, on the history before; `None`
    /// where that repeats itself exactly.
    pub mase: Option<f64>,
    /// Share of values at or below the upper quantile; near that quantile if calibrated.
    pub coverage: f64,
    /// What its residuals were best measured by.
    pub scale: ScaleKind,
}

impl Backtest {
    /// Scores the model on the second fold, calibrated on the first, with the scale that does best on a few leads; beside
    /// the score, the losses by blocks of time.
    pub(crate) fn best_score(&self, trial: &Trial) -> (Score, BlockLosses) {
        let every = Every {
            lead: (self.scoring.steps.len() - self.gap_steps).div_ceil(LEADS_FOR_SCALE),
            sample: coprime_stride(self.scoring.origins.len(), SAMPLES_FOR_SCALE, self.day_steps),
        };
        let [simplest, others @ ..] = ScaleKind::ALL.map(|scale| self.score(trial, scale, every));
        // The first of equals: simpler scales stand in front.
        let best = others
            .into_iter()
            .fold(simplest, |best, other| if other.0.loss.total_cmp(&best.0.loss).is_lt() { other } else { best });
        if every == Every::ONE { best } else { self.score(trial, best.0.scale, Every::ONE) }
    }

    fn score(&self, trial: &Trial, scale: ScaleKind, every: Every) -> (Score, BlockLosses) {
        let mut blocks = BlockLosses::default();
        let per_origin = 1.0 / self.scoring.origins.len().max(1) as f64;
        let (mut loss, mut decided, mut median_error, mut actuals) = (0.0, 0.0, 0.0, 0.0);
        let (mut covered, mut count) = (0_u32, 0_u32);
        let calibrating = self.calibrating.steps.iter().zip(&trial.calibrating.points);
        let scoring = self.scoring.steps.iter().zip(&trial.scoring.points);
        for ((steps, points), (scored_steps, scored_points)) in
            calibrating.zip(scoring).skip(self.gap_steps).step_by(every.lead)
        {
            let residuals = LeadResiduals::new(normalised(steps, points, scale, every.sample));
            let by_class = [false, true].map(|high| {
                let residuals = residuals.quantiles(high);
                let scored = SCORED_QUANTILES.map(|p| (p, residuals.quantile(p)));
                let decision = self.objective.quantile().map(|p| (p, residuals.quantile(p)));
                (scored, decision, residuals.quantile(self.upper_quantile))
            });
            for (step, &point) in scored_steps.iter().zip(scored_points).step_by(every.sample) {
                let (scored, decision, upper) = by_class[usize::from(step.around.burst_expected(point))];
                let spread = step.around.scale(scale, point);
                let at = |residual: f64| (point + residual * spread).clamp(0.0, step.ceiling);
                let before = loss;
                for (p, residual) in scored {
                    loss += pinball_loss(p, at(residual), step.actual) / SCORED_QUANTILES.len() as f64;
                }
                let deciding = match decision {
                    None => loss - before,
                    Some((p, residual)) => pinball_loss(p, at(residual), step.actual),
                };
                decided += deciding;
                median_error += (step.actual - at(scored[MEDIAN].1)).abs();
                blocks.take(step.from as f64 * per_origin, deciding, 1.0);
                covered += u32::from(step.actual <= at(upper));
                actuals += step.actual;
                count += 1;
            }
        }
        let count = f64::from(count.max(1));
        let mean_rate = (actuals / count).max(MIN_MEAN_PER_S);
        let score = Score {
            scale,
            loss: decided / count / mean_rate,
            relative_pinball: loss / count / mean_rate,
            mase: self.seasonal_scale.map(|scale| median_error / count / scale),
            coverage: f64::from(covered) / count,
        };
        (score, blocks)
    }
}
