//! Whole forecasts brought to agree: each lead's means are reconciled, and each distribution follows its mean.
//!
//! The mean that is reconciled is that of the calibrated distribution, not the model's point: minimum trace assumes
//! forecasts without bias. A distribution whose mean falls is scaled (it stays above zero and gets no wider), one whose
//! mean rises is shifted (it gets no wider either: agreeing with the others is no reason to be less sure).

use super::{Hierarchy, HierarchyError, Method};
use crate::forecaster::{Forecast, Forecaster};
use crate::paths::Common;

/// Forecasts whose means add up at every lead.
#[derive(Debug, Clone, PartialEq)]
pub struct Coherent {
    /// By node.
    pub forecasts: Vec<Forecast>,
    /// By lead.
    pub methods: Vec<Method>,
}

impl Hierarchy {
    /// Reconciles the forecasts of all nodes, each given with its forecaster, which remembers its errors. All begin at the
    /// same time and have the same step and horizon. Where forecasters remember too few moments in common
    /// ([`Paths`](crate::Paths)), only variances count.
    ///
    /// Quantiles of sums still do not follow from quantiles of parts: for the distribution of a sum draw
    /// [`Paths`](crate::Paths) of its [leaves](Hierarchy::leaves).
    ///
    /// # Errors
    /// Not one forecast for each node, or forecasts that do not belong together.
    pub fn reconcile(&self, nodes: &[(&Forecaster, &Forecast)]) -> Result<Coherent, HierarchyError> {
        if nodes.len() != self.len() {
            return Err(HierarchyError::Count { what: "forecasts", have: nodes.len(), need: self.len() });
        }
        let span = |forecast: &Forecast| (forecast.first_s, forecast.step_s, forecast.steps.len());
        let first = nodes.first().map(|(_, forecast)| span(forecast));
        if let Some(node) = nodes.iter().position(|(_, forecast)| Some(span(forecast)) != first) {
            return Err(HierarchyError::Mismatch { node });
        }
        let common =
            Common::of(nodes.iter().map(|(forecaster, _)| forecaster.residual_vectors().origins_s()).collect());
        let mut forecasts: Vec<Forecast> = nodes.iter().map(|(_, forecast)| (*forecast).clone()).collect();
        let mut methods = Vec::new();
        for lead in 0..first.map_or(0, |(_, _, leads)| leads) {
            let steps: Vec<_> = forecasts.iter().map(|forecast| &forecast.steps[lead]).collect();
            let (base, variances): (Vec<f64>, Vec<f64>) = steps.iter().map(|step| step.moments()).unzip();
            let reconciled = if common.is_of_all() {
                let errors: Vec<Vec<f64>> = nodes
                    .iter()
                    .zip(&steps)
                    .map(|((forecaster, _), step)| {
                        let residuals = forecaster.residual_vectors().of_lead(lead, common.origins_s());
                        residuals.into_iter().map(|residual| step.error(residual.into())).collect()
                    })
                    .collect();
                self.min_trace(&base, &errors)?
            } else {
                self.weighted_least_squares(&base, &variances)?
            };
            for ((forecast, from), to) in forecasts.iter_mut().zip(base).zip(reconciled.points) {
                forecast.steps[lead].move_mean(from, to);
            }
            methods.push(reconciled.method);
        }
        Ok(Coherent { forecasts, methods })
    }
}
