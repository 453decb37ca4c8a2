//! One held-out stretch: its origins and steps, and a model rolled through them.

use std::ops::Range;

use super::{Fold, Held, MAX_SAMPLES, Step, coprime_stride};
use crate::conformal::MAX_RESIDUALS;
use crate::error::ModelError;
use crate::history::History;
use crate::model::combination::octave;
use crate::model::{EXPLOSION_FACTOR, Globals, ModelKind};
use crate::scale::Lookout;

impl Fold {
    pub(super) fn of(range: Range<usize>, history: &History, horizon_steps: usize, mean_level: f64) -> Self {
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
    pub(super) fn roll(&self, kind: ModelKind, globals: &Globals, history: &History) -> Result<Held, ModelError> {
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
    pub(super) fn held(&self, points: Vec<Vec<f64>>) -> Held {
        let mut errors = vec![0.0; octave(self.steps.len()) + 1];
        for ((steps, points), lead) in self.steps.iter().zip(&points).zip(1..) {
            let sum: f64 = steps.iter().zip(points).map(|(step, point)| (step.actual - point).abs()).sum();
            errors[octave(lead)] += sum;
        }
        Held { points, errors }
    }
}
