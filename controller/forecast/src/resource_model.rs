//! What requests cost in CPU, memory, storage, network and disk: learned from what each kind's rate and the resource's
//! usage were, step by step, so that a forecast of requests becomes a forecast of the resource.
//!
//! The intuition: usage is an idle part plus a cost per request of each kind, none of which is negative; so it is a
//! regression with non-negative coefficients. It is learned online: sums of products, older ones fading, are all that is
//! kept ([`moments`]), and the coefficients are solved from these when they are asked for ([`nnls`]). One step with a
//! backup running must not make requests dear: residuals beyond 1.345 deviations count less the larger they are (Huber,
//! Robust estimation of a location parameter, 1964).
//!
//! Rates and levels differ. CPU, network and disk are *rates*: what they do in a step is that step's requests. Memory and
//! storage are *levels*: what is held was asked for over the last while, so a level is regressed on rates that fade, and
//! how fast is chosen by the error of predictions.
//!
//! Units: rates of requests per second; usage in any unit, the same throughout (cores, bytes per second, bytes). A
//! coefficient is then that unit per request per second: for a rate such as cores, CPU seconds per request.
//!
//! Uncertainty is what was seen, not what a formula says: each step is predicted before it is learned from, and the misses
//! are the residuals that quantiles are made of. Coefficients have standard errors besides, to be read by people.
//!
//! What it does not do: tell apart what never varied apart. Kinds that always come together, or that were hardly ever
//! seen, are refused by name; thresholds and saturation (a queue that explodes near full load) are no sums of costs.

mod forecast;
mod learner;
mod moments;
mod nnls;

use thiserror::Error;

pub use forecast::ResourceUsage;
use learner::Learner;

/// Most kinds of requests of one model: products of 33 columns are 17 KiB, and a solution some 0.1 ms.
pub const MAX_KINDS: usize = 32;
/// By how much the standard error of a coefficient may be inflated by kinds that come together, squared: 32 times, at a
/// correlation of 0.9995. More is taken for no information at all.
const MAX_VARIANCE_INFLATION: f64 = 1000.0;
/// Fewest steps, newest counting most, that a kind has to be seen in before anything is said of its cost.
const MIN_SEEN_STEPS: f64 = 5.0;
/// Fewest steps for each column before coefficients are given.
const STEPS_PER_COLUMN: f64 = 5.0;
/// Half-lives, in steps, of the rates that a level is regressed on beside this step's own.
const LEVEL_HALF_LIVES: [f64; 3] = [3.0, 12.0, 48.0];

/// How usage follows requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// Done while requests are served: CPU, network, disk operations.
    Rate,
    /// Held for a while after: memory, storage.
    Level,
}

/// Why there is no cost of requests, or no forecast of usage.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// No kind, too many of them, or one twice.
    #[error("making a resource model: {kinds} kinds of requests; 1 to 32 with different names are needed")]
    Kinds {
        /// How many there were.
        kinds: usize,
    },
    /// A half-life that is no number of steps.
    #[error("making a resource model: half-life of {half_life_steps} steps is not a number from 10 to 1e6")]
    HalfLife {
        /// The refused half-life.
        half_life_steps: f64,
    },
    /// As many rates as the model has kinds are needed.
    #[error("reading rates of requests: {got} rates for {kinds} kinds")]
    Width {
        /// Rates given.
        got: usize,
        /// Kinds of the model.
        kinds: usize,
    },
    /// A rate or a usage that is none.
    #[error("reading {what}: {value} is not a number from 0 to 1e30")]
    Value {
        /// The kind of requests, or "usage".
        what: String,
        /// The refused value.
        value: f64,
    },
    /// Too little has been observed.
    #[error("costs of requests: {have:.0} steps count, {need:.0} are needed")]
    TooFewSteps {
        /// Steps so far, older ones counting less.
        have: f64,
        /// Steps needed.
        need: f64,
    },
    /// Requests whose cost nobody knows.
    #[error("costs of requests: {} never or hardly ever seen; observe some, or leave them out", kinds.join(", "))]
    Unseen {
        /// Their names.
        kinds: Vec<String>,
    },
    /// Kinds, or a kind and the idle part, that cannot be told apart.
    #[error("costs of requests: {} cannot be told apart, since their rates only ever changed together or not at all; make them one kind, or leave out what never changes", kinds.join(", "))]
    Collinear {
        /// Their names.
        kinds: Vec<String>,
    },
    /// Shares for another number of steps than rates.
    #[error("forecasting usage: rates for {rates} steps and shares for {shares}")]
    Steps {
        /// Steps of rates.
        rates: usize,
        /// Steps of shares.
        shares: usize,
    },
}

/// What a request of a kind costs.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceCost {
    /// The kind; `None` is what is used without any request.
    pub kind: Option<String>,
    /// Unit of the resource per request per second; for the idle part, unit of the resource.
    pub cost: f64,
    /// Standard error of the cost, allowing for noise that is larger at high load and that lasts over steps. A cost that
    /// is 0 because it would else be negative has the error that it would have if it were free.
    pub standard_error: f64,
}

/// Learns one resource's usage from the rates of requests; see the module's text.
#[derive(Debug, Clone)]
pub struct ResourceModel {
    kinds: Vec<String>,
    /// On this step's rates.
    at_once: Learner,
    /// For a level, one for each of [`LEVEL_HALF_LIVES`].
    held: Vec<Learner>,
}

impl ResourceModel {
    /// A model that has learned nothing yet. What was observed counts half after `half_life_steps` steps.
    ///
    /// # Errors
    /// No kinds, more than [`MAX_KINDS`], one twice, or a half-life that is none.
    pub fn new(kinds: Vec<String>, resource: ResourceKind, half_life_steps: f64) -> Result<Self, ResourceError> {
        let mut names = kinds.clone();
        names.sort();
        names.dedup();
        if names.len() != kinds.len() || !(1..=MAX_KINDS).contains(&kinds.len()) {
            return Err(ResourceError::Kinds { kinds: kinds.len() });
        }
        if !(10.0..=1e6).contains(&half_life_steps) {
            return Err(ResourceError::HalfLife { half_life_steps });
        }
        let learner = |fading: f64| Learner::new(kinds.len(), fading, half_life_steps);
        let held = match resource {
            ResourceKind::Rate => Vec::new(),
            ResourceKind::Level => LEVEL_HALF_LIVES.map(learner).to_vec(),
        };
        Ok(Self { at_once: learner(0.0), held, kinds })
    }

    /// The kinds of requests, in the order in which rates are given.
    #[must_use]
    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }

    /// Learns from a step: requests per second of each kind, and what was used; NaN where that is not known.
    ///
    /// # Errors
    /// Another number of rates than of kinds, or a value that is negative, infinite or above 1e30; nothing is learned then.
    pub fn observe(&mut self, rates: &[f64], usage: f64) -> Result<(), ResourceError> {
        self.check(rates)?;
        if !usage.is_nan() && !(0.0..=crate::MAX_VALUE).contains(&usage) {
            return Err(ResourceError::Value { what: "usage".to_owned(), value: usage });
        }
        self.at_once.observe(rates, usage);
        self.held.iter_mut().for_each(|learner| learner.observe(rates, usage));
        Ok(())
    }

    /// What is used without requests, then what a request of each kind costs.
    ///
    /// # Errors
    /// Too few steps, kinds that were hardly seen, or kinds that cannot be told apart.
    pub fn costs(&self) -> Result<Vec<ResourceCost>, ResourceError> {
        let every: Vec<usize> = (0..self.kinds.len()).collect();
        let learner = self.ready(&every)?;
        let (costs, errors) = (learner.costs(), learner.standard_errors());
        let names = std::iter::once(None).chain(self.kinds.iter().cloned().map(Some));
        let costs = names.zip(costs.iter().zip(errors));
        Ok(costs.map(|(kind, (&cost, standard_error))| ResourceCost { kind, cost, standard_error }).collect())
    }

    /// Half-life, in steps, of the rates that usage is found to follow; 0 for a rate, and for a level that follows at once.
    #[must_use]
    pub fn held_steps(&self) -> f64 {
        self.best().fading_steps()
    }

    /// The learner that has predicted best; the first of equals, which forgets rates fastest.
    fn best(&self) -> &Learner {
        self.held.iter().fold(&self.at_once, |best, other| if other.loss() < best.loss() { other } else { best })
    }

    /// The best learner, if it knows the costs of the `needed` kinds.
    fn ready(&self, needed: &[usize]) -> Result<&Learner, ResourceError> {
        let learner = self.best();
        let (have, need) = (learner.moments().steps(), STEPS_PER_COLUMN * (self.kinds.len() + 1) as f64);
        if have < need {
            return Err(ResourceError::TooFewSteps { have, need });
        }
        let named = |kinds: Vec<usize>| -> Vec<String> {
            kinds.into_iter().filter_map(|kind| self.kinds.get(kind).cloned()).collect()
        };
        let unseen = learner.moments().seen_less_than(MIN_SEEN_STEPS);
        let (unknown, seen): (Vec<usize>, Vec<usize>) = (0..self.kinds.len()).partition(|kind| unseen.contains(kind));
        let unknown: Vec<usize> = unknown.into_iter().filter(|kind| needed.contains(kind)).collect();
        if !unknown.is_empty() {
            return Err(ResourceError::Unseen { kinds: named(unknown) });
        }
        let collinear = learner.moments().inflated_beyond(MAX_VARIANCE_INFLATION, &seen);
        if collinear.is_empty() { Ok(learner) } else { Err(ResourceError::Collinear { kinds: named(collinear) }) }
    }

    fn check(&self, rates: &[f64]) -> Result<(), ResourceError> {
        if rates.len() != self.kinds.len() {
            return Err(ResourceError::Width { got: rates.len(), kinds: self.kinds.len() });
        }
        match rates.iter().position(|rate| !(0.0..=crate::MAX_VALUE).contains(rate)) {
            Some(index) => Err(ResourceError::Value { what: self.kinds[index].clone(), value: rates[index] }),
            None => Ok(()),
        }
    }
}
