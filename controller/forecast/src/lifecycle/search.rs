//! Looking for better parameters, a few trials at a time: Bayesian optimisation with tree-structured Parzen estimators.
//!
//! The first trial is always the default, so that a search never ends worse than it began. Then come the best points of
//! earlier searches, on this series or on similar ones. After that the estimators propose where good points are dense and
//! bad ones are not. The caller says how many trials there may be, which is the budget of CPU.
//!
//! Losses of different series are not comparable, but their order is: the estimators are told ranks within each group of
//! trials, so a series that is hard to forecast teaches as much as an easy one.
//!
//! Parameters are treated as independent, as the crate `tpe` does. The generator is ChaCha8 with the caller's seed, and
//! every proposal depends on seed and trials only: a search that is stored and taken up again goes on as it would have.
//!
//! Source: Bergstra et al., Algorithms for hyper-parameter optimization, 2011.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Points of earlier searches that are tried before anything new: beyond the best few of similar series, guesses are cheap.
const WARM_POINTS: usize = 3;
/// Share of trials that count as good. The crate's tenth would be one trial of ten, too few to be dense anywhere.
const GOOD_SHARE: f64 = 0.25;
/// Trials that a search looks back on; a proposal sorts them, so that it stays below a millisecond.
const MAX_TRIALS: usize = 512;

/// A parameter that is searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name, for the reader.
    pub name: String,
    /// What it may be.
    pub range: ParameterRange,
    /// What it is without a search.
    pub default: f64,
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum ParameterRange {
    /// A number from `low` to below `high`.
    Linear {
        /// Smallest.
        low: f64,
        /// Above the largest.
        high: f64,
    },
    /// A positive number whose order of magnitude is searched.
    Logarithmic {
        /// Smallest; above 0.
        low: f64,
        /// Above the largest.
        high: f64,
    },
    /// One of so many, as their number from 0.
    OneOf(u32),
}

/// One value per parameter, in their order.
pub type Point = Vec<f64>;

/// A point and what it led to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The point.
    pub point: Point,
    /// Its loss; `None` where the model could not be fitted with it.
    pub loss: Option<f64>,
}

/// Why there is no search or no proposal.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SearchError {
    /// A range without a value, or a default outside of it.
    #[error("searching parameters: {name} has an empty range or a default outside of it")]
    Range {
        /// The parameter.
        name: String,
    },
    /// A point with another number of values than there are parameters, or a value outside its range.
    #[error("searching parameters: a trial at {point:?} is not within the ranges of the {parameters} parameters")]
    Point {
        /// The refused point.
        point: Point,
        /// Parameters of the search.
        parameters: usize,
    },
    /// The estimator gave no value.
    #[error("searching parameters: {message}")]
    Estimator {
        /// What it said.
        message: String,
    },
}

/// A search and all its trials; see the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Search {
    parameters: Vec<Parameter>,
    seed: u64,
    trials: Vec<Trial>,
    /// Trials of earlier searches, each with its rank among its own group: 0 is the best, 1 the worst.
    ranked: Vec<(Point, f64)>,
    /// Points to try first, last one first.
    warm: Vec<Point>,
}

impl Search {
    /// A search over `parameters`, which knows the trials of `earlier` searches over the same ones: one group a series.
    ///
    /// # Errors
    /// A range is empty, a default lies outside, or an earlier trial does not fit the parameters.
    pub fn new(parameters: Vec<Parameter>, seed: u64, earlier: &[Vec<Trial>]) -> Result<Self, SearchError> {
        for parameter in &parameters {
            if !parameter.range.is_valid() || !parameter.range.contains(parameter.default) {
                return Err(SearchError::Range { name: parameter.name.clone() });
            }
        }
        let mut search = Self { parameters, seed, trials: Vec::new(), ranked: Vec::new(), warm: Vec::new() };
        for group in earlier {
            for trial in group {
                search.check(&trial.point)?;
            }
            search.ranked.extend(ranks(group));
        }
        search.ranked.truncate(MAX_TRIALS / 2);
        let mut best: Vec<&(Point, f64)> = search.ranked.iter().collect();
        best.sort_by(|a, b| a.1.total_cmp(&b.1));
        let default: Point = search.parameters.iter().map(|parameter| parameter.default).collect();
        let mut warm = vec![default];
        for (point, _) in best {
            if warm.len() <= WARM_POINTS && !warm.contains(point) {
                warm.push(point.clone());
            }
        }
        warm.reverse();
        search.warm = warm;
        Ok(search)
    }

    /// The point to try next.
    ///
    /// # Errors
    /// The estimator gave no value.
    pub fn propose(&self) -> Result<Point, SearchError> {
        if let Some(point) = self.warm.last() {
            return Ok(point.clone());
        }
        // A generator for each proposal: what comes depends on the trials told, not on how often was asked.
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ (self.trials.len() as u64).wrapping_mul(0x9E37_79B9));
        let told: Vec<(Point, f64)> = ranks(&self.trials).into_iter().chain(self.ranked.iter().cloned()).collect();
        let mut point = Vec::with_capacity(self.parameters.len());
        for (index, parameter) in self.parameters.iter().enumerate() {
            point.push(parameter.range.propose(told.iter().map(|(at, rank)| (at[index], *rank)), &mut random)?);
        }
        Ok(point)
    }

    /// Takes in what a point led to; a loss that is not finite is a failure.
    ///
    /// # Errors
    /// The point is not within the ranges.
    pub fn tell(&mut self, point: Point, loss: Option<f64>) -> Result<(), SearchError> {
        self.check(&point)?;
        if self.warm.last() == Some(&point) {
            self.warm.pop();
        }
        if self.trials.len() == MAX_TRIALS {
            self.trials.remove(0);
        }
        self.trials.push(Trial { point, loss: loss.filter(|loss| loss.is_finite()) });
        Ok(())
    }

    /// Proposes, evaluates and takes in `budget` points, and gives the best trial of all; `None` if every one failed.
    ///
    /// # Errors
    /// The estimator gave no value.
    pub fn run(
        &mut self,
        budget: usize,
        mut loss: impl FnMut(&[f64]) -> Option<f64>,
    ) -> Result<Option<&Trial>, SearchError> {
        for _ in 0..budget {
            let point = self.propose()?;
            let loss = loss(&point);
            self.tell(point, loss)?;
        }
        Ok(self.best())
    }

    /// The trial with the smallest loss, the earliest of equals; `None` if there is none.
    #[must_use]
    pub fn best(&self) -> Option<&Trial> {
        let with_loss = self.trials.iter().filter_map(|trial| Some((trial, trial.loss?)));
        with_loss.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(trial, _)| trial)
    }

    /// All trials, oldest first: what later searches, here and on similar series, begin with.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    fn check(&self, point: &[f64]) -> Result<(), SearchError> {
        let fits = point.len() == self.parameters.len()
            && point.iter().zip(&self.parameters).all(|(&value, parameter)| parameter.range.contains(value));
        let refused = || SearchError::Point { point: point.to_vec(), parameters: self.parameters.len() };
        fits.then_some(()).ok_or_else(refused)
    }
}

impl ParameterRange {
    fn is_valid(self) -> bool {
        match self {
            Self::Linear { low, high } => low < high && (high - low).is_finite(),
            Self::Logarithmic { low, high } => 0.0 < low && low < high && high.is_finite(),
            Self::OneOf(count) => count > 0,
        }
    }

    fn contains(self, value: f64) -> bool {
        match self {
            Self::Linear { low, high } | Self::Logarithmic { low, high } => low <= value && value < high,
            Self::OneOf(count) => value.fract() == 0.0 && 0.0 <= value && value < f64::from(count),
        }
    }

    fn propose(self, told: impl Iterator<Item = (f64, f64)>, random: &mut ChaCha8Rng) -> Result<f64, SearchError> {
        let failed = |message: String| SearchError::Estimator { message };
        let (from, to, estimator) = match self {
            Self::Linear { low, high } => (low, high, tpe::parzen_estimator()),
            Self::Logarithmic { low, high } => (low.ln(), high.ln(), tpe::parzen_estimator()),
            Self::OneOf(count) => (0.0, f64::from(count), tpe::histogram_estimator()),
        };
        let range = tpe::range(from, to).map_err(|error| failed(error.to_string()))?;
        let mut optimizer = tpe::TpeOptimizerBuilder::new()
            .gamma(GOOD_SHARE)
            .build(estimator, range)
            .map_err(|error| failed(error.to_string()))?;
        for (value, rank) in told {
            // The logarithm of a value just below the end can round to the end.
            let inner = match self {
                Self::Logarithmic { .. } => value.ln().clamp(from, to.next_down()),
                Self::Linear { .. } | Self::OneOf(_) => value,
            };
            optimizer.tell(inner, rank).map_err(|error| failed(error.to_string()))?;
        }
        let inner = optimizer.ask(random).map_err(|error| failed(error.to_string()))?;
        Ok(match self {
            Self::Linear { low, high } => inner.clamp(low, high.next_down()),
            Self::Logarithmic { low, high } => inner.exp().clamp(low, high.next_down()),
            Self::OneOf(count) => inner.floor().clamp(0.0, f64::from(count - 1)),
        })
    }
}

/// The rank of each trial in its group, 0 for the best to 1 for the worst and for failures.
fn ranks(group: &[Trial]) -> Vec<(Point, f64)> {
    let mut order: Vec<&Trial> = group.iter().collect();
    order.sort_by(|a, b| a.loss.unwrap_or(f64::INFINITY).total_cmp(&b.loss.unwrap_or(f64::INFINITY)));
    let last = order.len().saturating_sub(1).max(1) as f64;
    let rank = |(place, trial): (usize, &Trial)| {
        (trial.point.clone(), if trial.loss.is_some() { place as f64 / last } else { 1.0 })
    };
    order.into_iter().enumerate().map(rank).collect()
}

#[cfg(test)]
mod tests;
