//! One regression of usage on rates that fade: predicts each step before it learns from it, and keeps the misses.

use std::sync::Arc;

use nalgebra::DVector;

use super::STEPS_PER_COLUMN;
use super::moments::Moments;
use super::nnls;
use crate::conformal::{ResidualQuantiles, ResidualRing};
use crate::scale::ScaleKind;
use crate::score::pinball_loss;

/// Deviations beyond which a residual counts less: 95 % as efficient as least squares on normal noise (Huber).
const HUBER_DEVIATIONS: f64 = 1.345;
/// Residuals before the size of a usual one is known.
const MIN_RESIDUALS: usize = 20;
/// Of a normal distribution, the distance between the quartiles in deviations.
const QUARTILES_OF_NORMAL: f64 = 1.349;
/// Share of the mean usage that every scale has added, so that none vanishes.
const FLOOR_OF_MEAN: f64 = 0.02;
/// What residuals may grow with; simpler ones first, so that on a tie the simpler one is kept.
const SCALES: [ScaleKind; 3] = [ScaleKind::Constant, ScaleKind::RootLevel, ScaleKind::Level];
/// The quantile by whose loss a scale is judged.
const JUDGED_AT: f64 = 0.95;
/// Largest correlation of neighbouring residuals allowed for: standard errors grow 6 times.
const MAX_CORRELATION: f64 = 0.95;

/// A regression that is learned step by step; see the module's text.
#[derive(Debug, Clone)]
pub(super) struct Learner {
    fading_steps: f64,
    decay: f64,
    /// Of each kind.
    faded: Option<Vec<f64>>,
    moments: Moments,
    /// The idle part, then one per kind; `None` before there are enough steps.
    costs: Option<Vec<f64>>,
    mean_usage: Fading,
    /// Absolute errors of predictions.
    errors: Fading,
    /// Residuals as multiples of each of [`SCALES`], and the losses of their quantiles.
    residuals: [ResidualRing; 3],
    losses: [Fading; 3],
    last_residual: Option<f64>,
    squares: Fading,
    products: Fading,
}

/// A mean of what came lately.
#[derive(Debug, Clone, Copy, Default)]
struct Fading {
    weight: f64,
    sum: f64,
}

impl Fading {
    fn take(&mut self, decay: f64, value: f64) {
        self.weight = decay * self.weight + 1.0;
        self.sum = decay * self.sum + value;
    }

    fn mean(self) -> f64 {
        if self.weight > 0.0 { self.sum / self.weight } else { 0.0 }
    }
}

impl Learner {
    pub(super) fn new(kinds: usize, fading_steps: f64, half_life_steps: f64) -> Self {
        let decay = 0.5_f64.powf(1.0 / half_life_steps);
        Self {
            fading_steps,
            decay,
            faded: None,
            moments: Moments::new(kinds + 1, decay),
            costs: None,
            mean_usage: Fading::default(),
            errors: Fading::default(),
            residuals: SCALES.map(|_| ResidualRing::new([])),
            losses: [Fading::default(); 3],
            last_residual: None,
            squares: Fading::default(),
            products: Fading::default(),
        }
    }

    pub(super) fn observe(&mut self, rates: &[f64], usage: f64) {
        let faded = self.faded_with(rates);
        let row = DVector::from_iterator(rates.len() + 1, std::iter::once(1.0).chain(faded.iter().copied()));
        self.faded = Some(faded);
        if usage.is_nan() {
            self.last_residual = None;
            return;
        }
        let (weight, residual) = match self.costs.as_deref() {
            Some(costs) => {
                let predicted = row.iter().zip(costs).map(|(value, cost)| value * cost).sum();
                let weight = self.weight(predicted, usage);
                self.record(predicted, usage);
                (weight, usage - predicted)
            }
            None => (1.0, 0.0),
        };
        self.mean_usage.take(self.decay, usage);
        self.moments.take(&row, usage, weight, residual);
        if self.moments.steps() >= STEPS_PER_COLUMN * row.len() as f64 || self.costs.is_some() {
            let solved = nnls::solve(self.moments.gram(), self.moments.moment());
            self.costs = Some(solved.iter().copied().collect());
        }
    }

    /// How much a step counts that came out so: less where it is farther from the prediction than usual.
    fn weight(&self, predicted: f64, usage: f64) -> f64 {
        let (scale, ring) = self.usual();
        let usual = ring.quantiles();
        if usual.len() < MIN_RESIDUALS {
            return 1.0;
        }
        let deviation = (usual.quantile(0.75) - usual.quantile(0.25)) / QUARTILES_OF_NORMAL;
        let from_middle = (usage - predicted) / self.scale(scale, predicted) - usual.quantile(0.5);
        let most = HUBER_DEVIATIONS * deviation;
        if from_middle.abs() <= most || most <= 0.0 { 1.0 } else { most / from_middle.abs() }
    }

    fn record(&mut self, predicted: f64, usage: f64) {
        let residual = usage - predicted;
        self.errors.take(self.decay, residual.abs());
        for (index, kind) in SCALES.into_iter().enumerate() {
            let scale = self.scale(kind, predicted);
            let (ring, loss) = (&mut self.residuals[index], &mut self.losses[index]);
            let quantile = predicted + scale * ring.quantiles().quantile(JUDGED_AT);
            loss.take(self.decay, pinball_loss(JUDGED_AT, quantile, usage));
            ring.push(residual / scale);
        }
        if let Some(last) = self.last_residual {
            self.products.take(self.decay, last * residual);
            self.squares.take(self.decay, 0.5 * (last * last + residual * residual));
        }
        self.last_residual = Some(residual);
    }

    /// What residuals are measured by at a prediction; positive.
    fn scale(&self, kind: ScaleKind, predicted: f64) -> f64 {
        let mean = self.mean_usage.mean().max(f64::MIN_POSITIVE);
        let scale = match kind {
            ScaleKind::RootLevel => (predicted * mean).sqrt(),
            ScaleKind::Level => predicted,
            ScaleKind::Constant | ScaleKind::DaySpread | ScaleKind::WeekSpread => mean,
        };
        (scale + FLOOR_OF_MEAN * mean).max(f64::MIN_POSITIVE)
    }

    /// The scale whose quantiles have done best, with its residuals.
    fn usual(&self) -> (ScaleKind, &ResidualRing) {
        let best = (1..SCALES.len())
            .fold(0, |best, other| if self.losses[other].mean() < self.losses[best].mean() { other } else { best });
        (SCALES[best], &self.residuals[best])
    }

    /// What residuals around a prediction are multiples of.
    pub(super) fn residual_scale(&self, predicted: f64) -> f64 {
        self.scale(self.usual().0, predicted)
    }

    /// The residuals of predictions so far.
    pub(super) fn residuals(&self) -> Arc<ResidualQuantiles> {
        self.usual().1.quantiles()
    }

    /// Rates of the kinds as they have faded when `rates` come next.
    pub(super) fn faded_with(&self, rates: &[f64]) -> Vec<f64> {
        match &self.faded {
            Some(faded) => faded.iter().zip(rates).map(|(&faded, &rate)| self.fade(faded, rate)).collect(),
            None => rates.to_vec(),
        }
    }

    /// What is left of the past beside what comes.
    pub(super) fn fade(&self, past: f64, next: f64) -> f64 {
        let keep = if self.fading_steps > 0.0 { 0.5_f64.powf(1.0 / self.fading_steps) } else { 0.0 };
        keep * past + (1.0 - keep) * next
    }

    /// What is used at faded rates of each kind, the idle part left out.
    pub(super) fn load_of(&self, faded: &[f64]) -> f64 {
        faded.iter().zip(self.costs().iter().skip(1)).map(|(rate, cost)| rate * cost).sum()
    }

    /// What the rates so far use, the idle part left out.
    pub(super) fn load(&self) -> f64 {
        self.load_of(self.faded.as_deref().unwrap_or_default())
    }

    /// What is used without requests.
    pub(super) fn idle(&self) -> f64 {
        self.costs().first().copied().unwrap_or(0.0)
    }

    pub(super) fn costs(&self) -> &[f64] {
        self.costs.as_deref().unwrap_or_default()
    }

    /// Standard errors of the costs: longer where neighbouring residuals are alike.
    pub(super) fn standard_errors(&self) -> Vec<f64> {
        let squares = self.squares.mean();
        let correlation = if squares > 0.0 { self.products.mean() / squares } else { 0.0 };
        let correlation = correlation.clamp(0.0, MAX_CORRELATION);
        let longer = ((1.0 + correlation) / (1.0 - correlation)).sqrt();
        self.moments.standard_errors().into_iter().map(|error| error * longer).collect()
    }

    pub(super) fn fading_steps(&self) -> f64 {
        self.fading_steps
    }

    pub(super) fn loss(&self) -> f64 {
        self.errors.mean()
    }

    pub(super) fn moments(&self) -> &Moments {
        &self.moments
    }
}
