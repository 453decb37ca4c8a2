//! Rolling-origin backtest: what each model would have forecast over the last part of the history, had it been live.
//!
//! The end of the history is cut into two *folds* of equal length, at most a week each. For each, the model is fitted to
//! what lies before it, then the origin rolls through it and every lead is forecast from what was known at that moment.
//! Residuals of the first fold calibrate the quantiles that are scored on the second: coverage is measured on values
//! that neither the model nor its calibration has seen. The final forecaster then uses the residuals of both.
//!
//! Missing values are neither forecast nor scored.

use std::ops::Range;

use crate::conformal::{LeadResiduals, MAX_RESIDUALS, Residual};
use crate::error::ModelError;
use crate::history::History;
use crate::model::ModelKind;
use crate::scale::{ScaleKind, burst_expected};
use crate::score::{SCORED_QUANTILES, pinball_loss};

/// Most forecasts per fold, over all leads; bounds time and memory of a backtest at long horizons: 40,000 x 64 bytes is
/// 2.5 MB a fold.
const MAX_SAMPLES: usize = 40_000;
/// Smallest mean of actual values that losses are divided by, in units per second.
const MIN_MEAN_PER_S: f64 = 1e-6;

/// The two held-out parts of a history.
#[derive(Debug, Clone)]
pub(crate) struct Folds {
    calibrating: Range<usize>,
    scoring: Range<usize>,
}

impl Folds {
    /// A quarter of the history each, at most a week, in whole days if that is a day or more, so that each fold meets
    /// every time of day (and of the week) equally often.
    pub(crate) fn of(history: &History) -> Self {
        let (len, day) = (history.len(), history.day_steps());
        let quarter = (len / 4).min(history.week_steps());
        let fold = if quarter >= day { quarter - quarter % day } else { quarter };
        Self { calibrating: len - 2 * fold..len - fold, scoring: len - fold..len }
    }
}

/// What came of one forecast of one step.
#[derive(Debug, Clone, Copy)]
struct Sample {
    actual: f64,
    point: f64,
    ceiling: f64,
    high: bool,
    /// By position in [`ScaleKind::ALL`].
    scales: [f64; ScaleKind::ALL.len()],
}

/// One model's held-out forecasts: by lead, in order of time.
#[derive(Debug)]
pub(crate) struct Trial {
    calibrating: Vec<Vec<Sample>>,
    scoring: Vec<Vec<Sample>>,
}

/// How a model did with its best scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TrialScore {
    pub(crate) scale: ScaleKind,
    pub(crate) relative_pinball: f64,
    pub(crate) coverage: f64,
}

impl Trial {
    /// Fits the model twice and rolls it through both folds.
    pub(crate) fn run(
        kind: ModelKind,
        history: &History,
        folds: &Folds,
        horizon_steps: usize,
        mean_level: f64,
    ) -> Result<Self, ModelError> {
        let roll = |fold: &Range<usize>| -> Result<Vec<Vec<Sample>>, ModelError> {
            let model = kind.fit(history, fold.start, horizon_steps)?;
            let origins = MAX_RESIDUALS.min(MAX_SAMPLES / horizon_steps).max(1);
            let stride = coprime_stride(fold.len(), origins, history.day_steps());
            let mut by_lead = vec![Vec::new(); horizon_steps];
            let origins: Vec<usize> = fold.clone().step_by(stride).collect();
            model.roll(history, &origins, horizon_steps, |origin, points| {
                let ceiling = model.ceiling(history, origin);
                for ((target, &point), samples) in (origin..fold.end).zip(points).zip(&mut by_lead) {
                    if let Some(actual) = history.value(target).filter(|_| history.known(target)) {
                        let scales = ScaleKind::ALL.map(|scale| scale.at(history, origin, target, point, mean_level));
                        samples.push(Sample {
                            actual,
                            point,
                            ceiling,
                            high: burst_expected(history, origin, target, point, mean_level),
                            scales,
                        });
                    }
                }
            });
            Ok(by_lead)
        };
        Ok(Self { calibrating: roll(&folds.calibrating)?, scoring: roll(&folds.scoring)? })
    }

    /// Scores every scale on the second fold, calibrated on the first, and gives the best.
    pub(crate) fn best_score(&self, upper_quantile: f64) -> TrialScore {
        let mut best = self.score(ScaleKind::ALL[0], upper_quantile);
        for &scale in &ScaleKind::ALL[1..] {
            let score = self.score(scale, upper_quantile);
            if score.relative_pinball < best.relative_pinball {
                best = score;
            }
        }
        best
    }

    /// The residuals of both folds per lead, ready to calibrate a live forecast.
    pub(crate) fn residuals(&self, scale: ScaleKind) -> Vec<LeadResiduals> {
        self.calibrating
            .iter()
            .zip(&self.scoring)
            .map(|(earlier, later)| LeadResiduals::new(normalised(earlier, scale).chain(normalised(later, scale))))
            .collect()
    }

    fn score(&self, scale: ScaleKind, upper_quantile: f64) -> TrialScore {
        let (mut loss, mut actuals, mut covered, mut count) = (0.0, 0.0, 0_u32, 0_u32);
        for (calibrating, scoring) in self.calibrating.iter().zip(&self.scoring) {
            let residuals = LeadResiduals::new(normalised(calibrating, scale));
            let by_class = [false, true].map(|high| {
                let residuals = residuals.quantiles(high);
                let scored = SCORED_QUANTILES.map(|p| (p, residuals.quantile(p)));
                (scored, residuals.quantile(upper_quantile))
            });
            for sample in scoring {
                let (scored, upper) = by_class[usize::from(sample.high)];
                let at = |residual: f64| {
                    (sample.point + residual * sample.scales[scale as usize]).clamp(0.0, sample.ceiling)
                };
                for (p, residual) in scored {
                    loss += pinball_loss(p, at(residual), sample.actual) / SCORED_QUANTILES.len() as f64;
                }
                covered += u32::from(sample.actual <= at(upper));
                actuals += sample.actual;
                count += 1;
            }
        }
        let count = f64::from(count.max(1));
        TrialScore {
            scale,
            relative_pinball: (loss / count) / (actuals / count).max(MIN_MEAN_PER_S),
            coverage: f64::from(covered) / count,
        }
    }
}

fn normalised(samples: &[Sample], scale: ScaleKind) -> impl Iterator<Item = Residual> + Clone + '_ {
    samples.iter().map(move |sample| Residual {
        value: (sample.actual - sample.point) / sample.scales[scale as usize],
        high: sample.high,
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
        let folds = Folds::of(&history(10 * 24));
        assert_eq!((folds.calibrating, folds.scoring), (144..192, 192..240));
        let folds = Folds::of(&history(60 * 24));
        assert_eq!(folds.scoring.len(), 168);
        let folds = Folds::of(&history(50));
        assert_eq!((folds.calibrating, folds.scoring), (26..38, 38..50));
    }

    #[test]
    fn a_pattern_without_noise_is_forecast_without_loss() {
        let rates = (0..20 * 24).map(|hour| f64::from(hour % 24)).collect();
        let history = History::new(&Series::new(0, 3600, rates).unwrap());
        let folds = Folds::of(&history);
        let score = |kind| Trial::run(kind, &history, &folds, 2, 11.5).unwrap().best_score(0.95);
        assert_eq!(score(ModelKind::SeasonalNaive).relative_pinball, 0.0);
        assert_eq!(score(ModelKind::SeasonalNaive).coverage, 1.0);
        assert!(score(ModelKind::LastValue).relative_pinball > 0.01);
    }
}
