//! How long it takes from asking for an instance until it is ready: learned per pool, and per shape where enough is known.
//!
//! The intuition: starts that took long are the ones that are still starting while the plan is made, so an average over
//! those that arrived is too good. What is still starting after `t` seconds, or was given up after them, says that its lead
//! time is longer than `t`, and counts as just that. The estimator is the Bayesian one of Susarla and Van Ryzin
//! (Nonparametric Bayesian estimation of survival curves from incomplete observations, 1976): without starts it is the
//! declared distribution, with many it is that of Kaplan and Meier, and beyond the longest start it keeps the declared tail
//! instead of breaking off. A shape's declared distribution is the pool's learned one, so a shape with few starts is taken
//! for one like the others.
//!
//! Starts fade by number and by time, so that a pool nobody asked for weeks returns to what was declared.
//!
//! It does not count starts that failed outright; that is [`StartFailures`](super::StartFailures), and the chance of being
//! ready is the product of the two.

mod distribution;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

pub use distribution::{DeclaredLead, LeadTime};

use super::error::{LearningError, within};
use super::forgetting::{HalfLife, passed_s};
use distribution::Start;

/// Starts kept per pool and per shape: 256 x 32 bytes is 8 KiB. A 0.99 quantile needs a hundred.
pub const MAX_STARTS: usize = 256;
/// Shapes of a pool that starts are kept of; the one that started longest ago leaves. 64 x 8 KiB is 512 KiB.
pub const MAX_SHAPES: usize = 64;
/// Longest lead time taken, in seconds: a month.
const MAX_LEAD_S: f64 = 31.0 * 86_400.0;

/// Lead times of one pool; see the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadTimes {
    declared: DeclaredLead,
    half_life: HalfLife,
    pool: Starts,
    shapes: BTreeMap<String, Starts>,
}

/// The last starts, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Starts(VecDeque<Ended>);

/// A start that has ended, one way or the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Ended {
    lead_s: f64,
    is_ready: bool,
    at_s: i64,
}

impl LeadTimes {
    /// Nothing learned yet.
    #[must_use]
    pub fn new(declared: DeclaredLead, half_life: HalfLife) -> Self {
        Self { declared, half_life, pool: Starts::default(), shapes: BTreeMap::new() }
    }

    /// The same starts beside another declaration.
    #[must_use]
    pub fn declared(self, declared: DeclaredLead, half_life: HalfLife) -> Self {
        Self { declared, half_life, ..self }
    }

    /// Takes an instance that became ready `lead_s` seconds after it was asked for.
    ///
    /// # Errors
    /// The lead time is not from 0 s to 31 days.
    pub fn observe_ready(&mut self, shape: &str, lead_s: f64, at_s: i64) -> Result<(), LearningError> {
        self.take(shape, lead_s, true, at_s)
    }

    /// Takes an instance that had not become ready when it was given up or went, `waited_s` seconds after it was asked for.
    ///
    /// # Errors
    /// The wait is not from 0 s to 31 days.
    pub fn observe_never(&mut self, shape: &str, waited_s: f64, at_s: i64) -> Result<(), LearningError> {
        self.take(shape, waited_s, false, at_s)
    }

    fn take(&mut self, shape: &str, lead_s: f64, is_ready: bool, at_s: i64) -> Result<(), LearningError> {
        let lead_s = within("lead times", lead_s, 0.0, MAX_LEAD_S)?;
        let ended = Ended { lead_s, is_ready, at_s };
        self.pool.push(ended);
        if !self.shapes.contains_key(shape) && self.shapes.len() >= MAX_SHAPES {
            let oldest = self.shapes.iter().min_by_key(|(_, starts)| starts.0.back().map(|last| last.at_s));
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.shapes.remove(&oldest);
            }
        }
        self.shapes.entry(shape.to_owned()).or_default().push(ended);
        Ok(())
    }

    /// The distribution for any shape, beside what is starting: how many seconds ago each of these was asked for.
    #[must_use]
    pub fn estimate(&self, now_s: i64, starting_s: &[f64]) -> LeadTime {
        let starts = self.pool.weighted(self.half_life, now_s, starting_s);
        LeadTime::learned(LeadTime::declared(self.declared), self.declared.weight_starts, starts)
    }

    /// The distribution for a shape, beside what is starting of all shapes and of this one.
    #[must_use]
    pub fn estimate_shape(&self, shape: &str, now_s: i64, starting_s: &[f64], of_shape_s: &[f64]) -> LeadTime {
        let pool = self.estimate(now_s, starting_s);
        let starts = self.shapes.get(shape).map_or_else(
            || Starts::default().weighted(self.half_life, now_s, of_shape_s),
            |starts| starts.weighted(self.half_life, now_s, of_shape_s),
        );
        LeadTime::learned(pool, self.declared.weight_starts, starts)
    }

    /// The lead time to plan with, in seconds: the declared quantile of [`estimate`](Self::estimate).
    #[must_use]
    pub fn lead_s(&self, now_s: i64, starting_s: &[f64]) -> f64 {
        self.estimate(now_s, starting_s).quantile(self.declared.quantile)
    }
}

impl Starts {
    fn push(&mut self, ended: Ended) {
        if self.0.len() == MAX_STARTS {
            self.0.pop_front();
        }
        self.0.push_back(ended);
    }

    fn weighted(&self, half_life: HalfLife, now_s: i64, starting_s: &[f64]) -> Vec<Start> {
        let ended = self.0.iter().rev().enumerate().map(|(newer, ended)| Start {
            lead_s: ended.lead_s,
            is_ready: ended.is_ready,
            weight: half_life.keeps(newer as f64, passed_s(ended.at_s, now_s)),
        });
        // More than are kept of those that ended would drown them.
        let starting = starting_s.iter().filter(|age_s| (0.0..=MAX_LEAD_S).contains(*age_s)).take(MAX_STARTS);
        ended.chain(starting.map(|&lead_s| Start { lead_s, is_ready: false, weight: 1.0 })).collect()
    }
}

#[cfg(test)]
mod tests;
