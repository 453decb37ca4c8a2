//! Forecasts of parts and of their sums brought to agree: tenants of a resource, resources of a pool.
//!
//! The intuition: the sum is forecast better than its parts (their noise cancels), the parts know what the sum cannot see,
//! and forecasts that were made one by one do not add up. Reconciliation moves all of them as little as possible onto
//! figures that do, where "little" is measured by how far each usually errs and which err together: minimum trace, which
//! of all linear ways has the smallest total error variance when the forecasts are unbiased (Wickramasuriya,
//! Athanasopoulos and Hyndman, Optimal forecast reconciliation for hierarchical and grouped time series through trace
//! minimization, 2019).
//!
//! Three ways, each the fall-back of the one before:
//! - [`Method::MinTrace`]: covariance of held-out errors, shrunk towards its diagonal ([`covariance`]);
//! - [`Method::WeightedLeastSquares`]: variances only, where errors are few or sums many;
//! - [`Method::OrdinaryLeastSquares`]: all alike, where no variance is known.
//!
//! Negative results are set to zero at the leaves and summed anew (Di Fonzo and Girolimetto, Spatio-temporal reconciliation
//! of solar forecasts, 2023): sums can then be higher than the optimum, which for capacity is the safe side.
//!
//! What is reconciled here are means. Distributions follow theirs ([`Hierarchy::reconcile`]), and a sum's distribution comes
//! from [`Paths`](crate::Paths) of its reconciled leaves.

mod covariance;
mod forecasts;

use nalgebra::{Cholesky, DMatrix, DVector};
use thiserror::Error;

pub use forecasts::Coherent;

/// Sums up to which errors' covariance is used: its system has as many equations, 512 cubed / 3 = 45 million products.
pub const MAX_MIN_TRACE_SUMS: usize = 512;
/// Errors that are looked at, the last ones: with 1,100 nodes, 256 x 256 x 1,100 = 72 million products for the shrinkage.
pub const MAX_ERRORS: usize = 256;
/// Fewest errors for a covariance, the size at which a correlation of 0.5 is told from none.
const MIN_ERRORS: usize = 20;
/// Smallest variance that counts, as a share of the mean one: what never erred is nearly, not wholly, fixed.
const MIN_VARIANCE_SHARE: f64 = 1e-9;

/// Which series are parts of which: a forest, each node the sum of its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    parents: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
    /// Parents before their children.
    downwards: Vec<usize>,
}

/// Why series are no hierarchy, or forecasts do not fit it.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum HierarchyError {
    /// A parent that there is not.
    #[error("building a hierarchy: node {node} is a part of {parent}, which is not among the {nodes} nodes")]
    NoSuchParent {
        /// The part.
        node: usize,
        /// Its parent.
        parent: usize,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A node that is, over others, a part of itself.
    #[error("building a hierarchy: node {node} is a part of itself or of such a node")]
    Cycle {
        /// One of the nodes.
        node: usize,
    },
    /// Not one of something for each node.
    #[error("reconciling: {have} {what} for {need} nodes")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many were given.
        have: usize,
        /// Nodes.
        need: usize,
    },
    /// A forecast that is no number, as of a part that is missing.
    #[error("reconciling: the forecast of node {node} is {value}")]
    NotFinite {
        /// Which node.
        node: usize,
        /// Its forecast.
        value: f64,
    },
    /// A forecast, or a list of errors, that does not belong beside the first node's.
    #[error("reconciling: node {node} has another begin, step, horizon or number of errors than the first")]
    Mismatch {
        /// Which node.
        node: usize,
    },
}

/// How forecasts were brought to agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Weighted with the shrunk covariance of errors.
    MinTrace {
        /// How far the correlations were shrunk: 0 as they were seen, 1 to none.
        shrinkage: f64,
    },
    /// Weighted with the variances of errors.
    WeightedLeastSquares,
    /// All weighted alike.
    OrdinaryLeastSquares,
}

/// Forecasts that add up.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconciled {
    /// By node; none is negative.
    pub points: Vec<f64>,
    /// How.
    pub method: Method,
}

impl Hierarchy {
    /// Takes for each node the node that it is a part of.
    ///
    /// # Errors
    /// A parent is not there, or nodes are parts of themselves.
    pub fn new(parents: &[Option<usize>]) -> Result<Self, HierarchyError> {
        let nodes = parents.len();
        let mut children = vec![Vec::new(); nodes];
        for (node, parent) in parents.iter().enumerate() {
            if let Some(parent) = *parent {
                let of_parent = children.get_mut(parent);
                of_parent.ok_or(HierarchyError::NoSuchParent { node, parent, nodes })?.push(node);
            }
        }
        let mut downwards: Vec<usize> = (0..nodes).filter(|&node| parents[node].is_none()).collect();
        let mut next = 0;
        while let Some(&node) = downwards.get(next) {
            downwards.extend(&children[node]);
            next += 1;
        }
        if downwards.len() < nodes {
            let mut reached = vec![false; nodes];
            downwards.iter().for_each(|&node| reached[node] = true);
            let node = reached.iter().position(|reached| !reached).unwrap_or(0);
            return Err(HierarchyError::Cycle { node });
        }
        Ok(Self { parents: parents.to_vec(), children, downwards })
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// The nodes below `node` that have no parts, in no particular order; itself if it has none.
    #[must_use]
    pub fn leaves(&self, node: usize) -> Vec<usize> {
        let mut below = if node < self.len() { vec![node] } else { Vec::new() };
        let mut next = 0;
        while let Some(&node) = below.get(next) {
            below.extend(&self.children[node]);
            next += 1;
        }
        below.retain(|&node| self.children[node].is_empty());
        below
    }

    /// Reconciles with all nodes weighted alike.
    ///
    /// # Errors
    /// Not one finite forecast for each node.
    pub fn ordinary_least_squares(&self, base: &[f64]) -> Result<Reconciled, HierarchyError> {
        self.check(base)?;
        let moved = self.diagonal(base, &vec![1.0; base.len()]);
        Ok(Reconciled { points: self.summed(moved), method: Method::OrdinaryLeastSquares })
    }

    /// Reconciles with each node weighted by the variance of its forecast's errors. Takes time in proportion to the nodes.
    ///
    /// # Errors
    /// Not one finite forecast and one variance for each node.
    pub fn weighted_least_squares(&self, base: &[f64], variances: &[f64]) -> Result<Reconciled, HierarchyError> {
        self.check(base)?;
        if variances.len() != self.len() {
            return Err(HierarchyError::Count { what: "variances", have: variances.len(), need: self.len() });
        }
        let Some(variances) = usable(variances) else { return self.ordinary_least_squares(base) };
        let moved = self.diagonal(base, &variances);
        Ok(Reconciled { points: self.summed(moved), method: Method::WeightedLeastSquares })
    }

    /// Reconciles with the covariance of past errors (actual minus forecast), given by node and aligned by time; of too
    /// many the last [`MAX_ERRORS`] count. With more than [`MAX_MIN_TRACE_SUMS`] sums, fewer than 20 errors or an unusable
    /// covariance, only variances count; the answer tells.
    ///
    /// # Errors
    /// Not one finite forecast and one list of errors, all equally long, for each node.
    pub fn min_trace(&self, base: &[f64], errors: &[Vec<f64>]) -> Result<Reconciled, HierarchyError> {
        self.check(base)?;
        if errors.len() != self.len() {
            return Err(HierarchyError::Count { what: "lists of errors", have: errors.len(), need: self.len() });
        }
        let count = errors.first().map_or(0, Vec::len);
        if let Some(node) = errors.iter().position(|errors| errors.len() != count) {
            return Err(HierarchyError::Mismatch { node });
        }
        let errors = covariance::Errors::of(errors);
        let sums: Vec<usize> = (0..self.len()).filter(|&node| !self.children[node].is_empty()).collect();
        if count >= MIN_ERRORS
            && sums.len() <= MAX_MIN_TRACE_SUMS
            && let Some(variances) = usable(errors.variances())
            && let Some(shrinkage) = errors.shrinkage()
            && let Some(moved) = self.moved_by_covariance(base, &sums, &errors, &variances, shrinkage)
        {
            return Ok(Reconciled { points: self.summed(moved), method: Method::MinTrace { shrinkage } });
        }
        self.weighted_least_squares(base, errors.variances())
    }

    fn check(&self, base: &[f64]) -> Result<(), HierarchyError> {
        if base.len() != self.len() {
            return Err(HierarchyError::Count { what: "forecasts", have: base.len(), need: self.len() });
        }
        match base.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            Some((node, &value)) => Err(HierarchyError::NotFinite { node, value }),
            None => Ok(()),
        }
    }

    /// By how much a sum's forecast is above that of its parts.
    fn excess(&self, values: &[f64], sum: usize) -> f64 {
        values[sum] - self.children[sum].iter().map(|&part| values[part]).sum::<f64>()
    }

    /// Weighted least squares with a diagonal covariance: on a tree, the forecasts of the parts are taken upwards as one
    /// more forecast of the sum, and what the sum was moved by is shared out downwards by variance.
    fn diagonal(&self, base: &[f64], variances: &[f64]) -> Vec<f64> {
        let (mut values, mut variances) = (base.to_vec(), variances.to_vec());
        let of_parts = |values: &[f64], node: usize| self.children[node].iter().map(|&part| values[part]).sum::<f64>();
        for &node in self.downwards.iter().rev().filter(|&&node| !self.children[node].is_empty()) {
            let (sum, variance) = (of_parts(&values, node), of_parts(&variances, node));
            let own = variances[node];
            values[node] = (values[node] * variance + sum * own) / (own + variance);
            variances[node] = own * variance / (own + variance);
        }
        for &node in self.downwards.iter().filter(|&&node| !self.children[node].is_empty()) {
            let (sum, variance) = (of_parts(&values, node), of_parts(&variances, node));
            let moved = values[node] - sum;
            for &part in &self.children[node] {
                values[part] += moved * variances[part] / variance;
            }
        }
        values
    }

    /// `base - W C' (C W C')^-1 C base`, where each row of `C` is a sum minus its parts and `W` the shrunk covariance, which
    /// is never written down: it acts as a diagonal and as the errors themselves.
    fn moved_by_covariance(
        &self,
        base: &[f64],
        sums: &[usize],
        errors: &covariance::Errors,
        variances: &[f64],
        shrinkage: f64,
    ) -> Option<Vec<f64>> {
        let place: Vec<Option<usize>> = {
            let mut place = vec![None; self.len()];
            sums.iter().enumerate().for_each(|(index, &sum)| place[sum] = Some(index));
            place
        };
        // What the errors of the parts do not explain of the sum's error: observations x sums.
        let mut excess = DMatrix::zeros(errors.count(), sums.len());
        for (index, &sum) in sums.iter().enumerate() {
            let mut column = errors.of_node(sum).clone_owned();
            self.children[sum].iter().for_each(|&part| column -= errors.of_node(part));
            excess.set_column(index, &column);
        }
        let seen = (1.0 - shrinkage) / (errors.count() as f64 - 1.0);
        let mut system = excess.transpose() * &excess * seen;
        for (index, &sum) in sums.iter().enumerate() {
            let of_parts: f64 = self.children[sum].iter().map(|&part| variances[part]).sum();
            system[(index, index)] += shrinkage * (variances[sum] + of_parts);
            if let Some(above) = self.parents[sum].and_then(|parent| place[parent]) {
                system[(index, above)] -= shrinkage * variances[sum];
                system[(above, index)] -= shrinkage * variances[sum];
            }
        }
        let gaps = DVector::from_iterator(sums.len(), sums.iter().map(|&sum| self.excess(base, sum)));
        let solved = Cholesky::new(system)?.solve(&gaps);
        let together = &excess * &solved * seen;
        let moved: Vec<f64> = (0..self.len())
            .map(|node| {
                let own = place[node].map_or(0.0, |index| solved[index]);
                let above = self.parents[node].and_then(|parent| place[parent]).map_or(0.0, |index| solved[index]);
                base[node] - shrinkage * variances[node] * (own - above) - errors.of_node(node).dot(&together)
            })
            .collect();
        moved.iter().all(|value| value.is_finite()).then_some(moved)
    }

    /// Leaves that are not negative, and their sums.
    fn summed(&self, mut values: Vec<f64>) -> Vec<f64> {
        for &node in self.downwards.iter().rev() {
            let parts = &self.children[node];
            values[node] =
                if parts.is_empty() { values[node].max(0.0) } else { parts.iter().map(|&part| values[part]).sum() };
        }
        values
    }
}

/// Variances that can be divided by; `None` if there is none to speak of.
fn usable(variances: &[f64]) -> Option<Vec<f64>> {
    let mean = variances.iter().sum::<f64>() / variances.len() as f64;
    let is_usable = mean.is_finite() && mean > 0.0 && variances.iter().all(|variance| *variance >= 0.0);
    is_usable.then(|| variances.iter().map(|variance| variance.max(MIN_VARIANCE_SHARE * mean)).collect())
}
