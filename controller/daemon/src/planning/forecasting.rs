//! The forecasts of a turn, and what they tell: metrics, and to filters what to expect.

use super::Planner;
use super::demand::KeyDemand;
use crate::metrics::KeyLabels;
use crate::state::lock;
use crate::sync::expectations::Outlook;

impl Planner {
    /// Forecasts every key from what is known before `known_to`, and of the step after it the part that is covered.
    pub(super) fn forecast(&mut self, step: i64, known_to: i64, part: f64) {
        for index in 0..self.keys.len() {
            let covered = known_to == step - 1 && part >= 0.5;
            let estimate = self.keys[index].raw(known_to).filter(|_| covered).map(|value| value / part);
            self.forecast_key(index, step, known_to, estimate);
        }
        self.look_out(step);
        self.look_at_capacity(step);
    }

    /// Notes what filters are told to expect.
    pub(super) fn look_out(&self, step: i64) {
        let row = |key: &KeyDemand| std::array::from_fn(|ahead| key.bound(step + ahead as i64));
        let rows = if self.keys.iter().any(|key| key.bound(step).is_some()) {
            self.keys.iter().map(row).collect()
        } else {
            Vec::new()
        };
        *lock(&self.shared.outlook) = Outlook { first_step: step, rows };
    }

    pub(super) fn forecast_key(&mut self, index: usize, step: i64, known_to: i64, estimate: Option<f64>) {
        let demand = &mut self.keys[index];
        if let Err(error) = demand.forecast(step, known_to, estimate) {
            tracing::warn!(key = %demand.key, %error, "no new forecast; the last one stands");
        }
        let labels = KeyLabels::from(&demand.key);
        let metrics = &self.shared.metrics;
        if let Some((point, upper)) = demand.bound(step) {
            metrics.forecast_point.get_or_create(&labels).set(point);
            metrics.forecast_upper.get_or_create(&labels).set(upper);
        }
        if let Some(bought) = demand.bought(step) {
            metrics.forecast_bought.get_or_create(&labels).set(bought);
        }
        if let Some(fitted) = &demand.fitted {
            let live = fitted.forecaster.live();
            if let Some((own, naive)) = live.mean_losses() {
                metrics.forecast_loss.get_or_create(&labels).set(own);
                metrics.naive_loss.get_or_create(&labels).set(naive);
            }
            metrics.gate_open.get_or_create(&labels).set(i64::from(!live.is_worse_than_naive()));
            if let Some(coverage) = live.coverage() {
                metrics.forecast_coverage.get_or_create(&labels).set(coverage);
            }
        }
    }
}
