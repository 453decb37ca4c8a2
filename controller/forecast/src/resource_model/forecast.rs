//! From rates of requests to the resource: at known rates, and at forecast ones.
//!
//! A forecast takes the rate of all requests as a distribution and the kinds' shares as given, so load is one number times
//! the rate. The rate's uncertainty and the residuals' are independent. Of a level, a path of rates counts: all of it is
//! taken at the same probability, as if a busy hour stayed busy, which errs to the wide side.

use std::sync::Arc;

use super::learner::Learner;
use super::{ResourceError, ResourceModel};
use crate::conformal::ResidualQuantiles;
use crate::joint::{Quantiles, Sampled, points};

/// What is used at given rates of requests, as a distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceUsage {
    point: f64,
    scale: f64,
    residuals: Arc<ResidualQuantiles>,
}

impl ResourceUsage {
    fn of(learner: &Learner, point: f64) -> Self {
        Self { point, scale: learner.residual_scale(point), residuals: learner.residuals() }
    }

    /// What the costs say: idle part and requests.
    #[must_use]
    pub fn point(&self) -> f64 {
        self.point
    }
}

impl Quantiles for ResourceUsage {
    /// Finite, not negative, in the unit of the usage.
    fn quantile(&self, p: f64) -> f64 {
        (self.point + self.scale * self.residuals.quantile(p)).max(0.0)
    }
}

impl ResourceModel {
    /// What will be used in the next step when requests of each kind come at these rates.
    ///
    /// # Errors
    /// Rates that are none, too few steps, or kinds with a rate whose cost is not known.
    pub fn predict(&self, rates: &[f64]) -> Result<ResourceUsage, ResourceError> {
        self.check(rates)?;
        let needed: Vec<usize> = (0..rates.len()).filter(|&kind| rates[kind] > 0.0).collect();
        let learner = self.ready(&needed)?;
        let load = learner.load_of(&learner.faded_with(rates));
        Ok(ResourceUsage::of(learner, learner.idle() + load))
    }

    /// What will be used in each of the next steps, when all requests together come at `rates` per second and each kind is
    /// the given share of them; one row of shares per step, one share per kind.
    ///
    /// # Errors
    /// Shares that are none or for other steps, too few steps, or kinds with a share whose cost is not known.
    pub fn forecast(&self, rates: &[impl Quantiles], shares: &[Vec<f64>]) -> Result<Vec<Sampled>, ResourceError> {
        if rates.len() != shares.len() {
            return Err(ResourceError::Steps { rates: rates.len(), shares: shares.len() });
        }
        shares.iter().try_for_each(|shares| self.check(shares))?;
        let come = |kind: usize| shares.iter().any(|shares| shares[kind] > 0.0);
        let needed: Vec<usize> = (0..self.kinds().len()).filter(|&kind| come(kind)).collect();
        let learner = self.ready(&needed)?;
        let residuals = learner.residuals();
        let mut loads = vec![learner.load(); points().count()];
        let forecast = rates.iter().zip(shares).map(|(rate, shares)| {
            let load_per_request = learner.load_of(shares);
            let usage = loads.iter_mut().zip(points()).map(|(load, (p, q))| {
                *load = learner.fade(*load, load_per_request * rate.quantile(p));
                let point = learner.idle() + *load;
                (point + learner.residual_scale(point) * residuals.quantile(q)).max(0.0)
            });
            Sampled::of_values(usage.collect())
        });
        Ok(forecast.collect())
    }
}
