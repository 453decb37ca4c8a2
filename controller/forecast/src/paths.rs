//! Sample paths: draws of the next steps together, for sums over time and over series.
//!
//! The intuition: the quantile of a sum is not the sum of quantiles. How far apart they are depends on whether one step's
//! miss comes with the next one's, and one tenant's with another's; no single quantile knows that. But held-out history
//! has seen it. So each path borrows the *ranks* of one remembered moment: where the misses of that moment stood among
//! all, lead by lead and series by series, there stands the path in the calibrated quantiles of today's forecast. An
//! empirical copula: no distribution is assumed for the margins or for what binds them. (Clark et al., The Schaake shuffle,
//! 2004; Schefzik, Thorarinsdottir and Gneiting, Uncertainty quantification in complex simulation models using ensemble
//! copula coupling, 2013.)
//!
//! Invariants: at each lead the paths of one series are exactly its forecast's quantiles at evenly spaced probabilities;
//! the same arguments give the same bits; the order of the series changes nothing but the rounding of sums.
//!
//! Where too little is remembered in common, dependence is taken as perfect, which makes the sum's upper quantile the sum
//! of the upper quantiles: the cautious answer, and [`Paths::vectors`] tells. Within a pool that holds for the series
//! concerned only: they are high when the rest is.
//!
//! Deliberately not here: dependence beyond what the last weeks have shown. A campaign that hits all tenants for the first
//! time is in no remembered moment.

mod vectors;

use std::ops::Range;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use thiserror::Error;

use crate::forecaster::{Forecast, Forecaster};
pub(crate) use vectors::ResidualVectors;

/// Fewest moments remembered in common before anything is concluded from them: three lie above the 95th percentile.
const MIN_VECTORS: usize = 60;
/// Most values of one set of paths, paths x leads: x 8 bytes is 32 MB.
pub const MAX_PATH_VALUES: usize = 4_000_000;

/// Why there are no paths.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PathsError {
    /// A sum of nothing, or no path asked for.
    #[error("drawing paths: {series} series and {count} paths were asked for, at least one of each is needed")]
    Nothing {
        /// Series asked for.
        series: usize,
        /// Paths asked for.
        count: usize,
    },
    /// More than [`MAX_PATH_VALUES`].
    #[error("drawing paths: {count} paths of {leads} leads are more than {MAX_PATH_VALUES} values")]
    TooMany {
        /// Paths asked for.
        count: usize,
        /// Leads of the forecast.
        leads: usize,
    },
    /// A forecast with another begin, step or horizon than the first one.
    #[error("drawing paths: forecast {index} has another begin, step or horizon than the first")]
    Mismatch {
        /// Which of the forecasts.
        index: usize,
    },
}

/// Draws of the next steps of one series, or of the sum of several; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Paths {
    count: usize,
    leads: usize,
    vectors: usize,
    /// Lead by lead.
    values: Vec<f64>,
}

/// How many paths are drawn, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    /// Number of paths.
    pub count: usize,
    /// Of the order in which remembered moments are used.
    pub seed: u64,
}

impl Forecaster {
    /// Draws `count` paths of `forecast`, which is one of this forecaster's.
    ///
    /// # Errors
    /// No path or too many are asked for.
    pub fn paths(&self, forecast: &Forecast, count: usize, seed: u64) -> Result<Paths, PathsError> {
        Paths::of_pool(&[(self, forecast)], count, seed)
    }
}

impl Paths {
    /// Draws `count` paths of the sum of several series, each given with a forecast of its forecaster. All forecasts begin
    /// at the same time and have the same step and horizon.
    ///
    /// Takes about 0.2 ms for each series and lead at 1,000 paths.
    ///
    /// # Errors
    /// Forecasts that do not belong together, or nothing or too much is asked for.
    pub fn of_pool(members: &[(&Forecaster, &Forecast)], count: usize, seed: u64) -> Result<Self, PathsError> {
        let [(_, first), ..] = members else { return Err(PathsError::Nothing { series: 0, count }) };
        let span = |forecast: &Forecast| (forecast.first_s, forecast.step_s, forecast.steps.len());
        if let Some(index) = members.iter().position(|(_, forecast)| span(forecast) != span(first)) {
            return Err(PathsError::Mismatch { index });
        }
        let forecasters: Vec<&Forecaster> = members.iter().map(|(forecaster, _)| *forecaster).collect();
        let quantile = |member: usize, lead: usize, p: f64| members[member].1.steps[lead].quantile(p);
        Self::of_pool_as(&forecasters, first.steps.len(), Draws { count, seed }, quantile)
    }

    /// As [`Paths::of_pool`], of something else than plain forecasts: `quantile` says of a member, a lead from 0 to `leads` and
    /// a probability what is added there, such as demand with an event in it, or demand that is cut off at a contract. It
    /// must not fall when the probability rises. All members' leads mean the same steps.
    ///
    /// # Errors
    /// Nothing or too much is asked for.
    pub fn of_pool_as(
        members: &[&Forecaster],
        leads: usize,
        Draws { count, seed }: Draws,
        quantile: impl Fn(usize, usize, f64) -> f64,
    ) -> Result<Self, PathsError> {
        if count == 0 || leads == 0 || members.is_empty() {
            return Err(PathsError::Nothing { series: members.len(), count });
        }
        if count > MAX_PATH_VALUES / leads {
            return Err(PathsError::TooMany { count, leads });
        }

        let common = Common::of(members.iter().map(|forecaster| forecaster.residual_vectors().origins_s()).collect());
        let ranks = Ranks::new(common.origins_s.len(), count, seed);
        let mut values = Vec::with_capacity(count * leads);
        for lead in 0..leads {
            let mut sums = vec![0.0; count];
            for member in common.known() {
                let residuals = members[member].residual_vectors().of_lead(lead, &common.origins_s);
                add(&mut sums, &ranks.of(&residuals), |p| quantile(member, lead, p));
            }
            let by_sum = order(&sums);
            for member in common.unknown() {
                add(&mut sums, &by_sum, |p| quantile(member, lead, p));
            }
            values.append(&mut sums);
        }
        Ok(Self { count, leads, vectors: common.origins_s.len(), values })
    }

    /// Number of paths.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of leads.
    #[must_use]
    pub fn leads(&self) -> usize {
        self.leads
    }

    /// Remembered moments that the dependence was taken from; 0 where it was taken as perfect.
    #[must_use]
    pub fn vectors(&self) -> usize {
        self.vectors
    }

    /// The paths' values at a lead, counted from 0, in the order of the paths; nothing beyond the horizon.
    #[must_use]
    pub fn at(&self, lead: usize) -> &[f64] {
        self.values.get(lead * self.count..(lead + 1) * self.count).unwrap_or_default()
    }

    /// The mean rate over the leads `leads` (from 0, cut to the horizon) that is not exceeded with probability `p`; times
    /// the length of these steps, the amount of demand. `None` for no lead.
    #[must_use]
    pub fn mean_quantile(&self, leads: Range<usize>, p: f64) -> Option<f64> {
        let leads = leads.start..leads.end.min(self.leads);
        if leads.is_empty() {
            return None;
        }
        let number = leads.len() as f64;
        let mut means = vec![0.0; self.count];
        for lead in leads {
            for (mean, value) in means.iter_mut().zip(self.at(lead)) {
                *mean += value / number;
            }
        }
        let rank = (p * self.count as f64 - 1e-9).ceil() as usize;
        let index = rank.clamp(1, self.count) - 1;
        let (_, quantile, _) = means.select_nth_unstable_by(index, f64::total_cmp);
        Some(*quantile)
    }
}

/// The moments that series remember in common, and which series these are.
pub(crate) struct Common {
    origins_s: Vec<i64>,
    is_known: Vec<bool>,
}

impl Common {
    /// Series with long memories are asked first; one that would leave too little in common is left out.
    pub(crate) fn of(origins_s: Vec<Vec<i64>>) -> Self {
        let mut longest_first: Vec<usize> = (0..origins_s.len()).collect();
        let key = |index: usize| (&origins_s[index], origins_s[index].len());
        longest_first.sort_by(|&a, &b| key(b).1.cmp(&key(a).1).then_with(|| key(b).0.cmp(key(a).0)));
        let mut common: Option<Vec<i64>> = None;
        let mut is_known = vec![false; origins_s.len()];
        for index in longest_first {
            let own = &origins_s[index];
            let shared = match &common {
                Some(common) => common.iter().copied().filter(|at_s| own.binary_search(at_s).is_ok()).collect(),
                None => own.clone(),
            };
            if shared.len() >= MIN_VECTORS {
                is_known[index] = true;
                common = Some(shared);
            }
        }
        Self { origins_s: common.unwrap_or_default(), is_known }
    }

    /// Ascending, unix seconds.
    pub(crate) fn origins_s(&self) -> &[i64] {
        &self.origins_s
    }

    /// Whether no series is left out.
    pub(crate) fn is_of_all(&self) -> bool {
        self.is_known.iter().all(|known| *known)
    }

    /// Places of the series that share the moments.
    fn known(&self) -> impl Iterator<Item = usize> {
        (0..self.is_known.len()).filter(|&member| self.is_known[member])
    }

    /// Places of those that are left out.
    fn unknown(&self) -> impl Iterator<Item = usize> {
        (0..self.is_known.len()).filter(|&member| !self.is_known[member])
    }
}

/// Which moment each path borrows its ranks from. All are used equally often, up to one; the paths of one moment share its
/// ranks out among themselves, in the same order at every lead and in every series.
struct Ranks {
    /// Moments in the order of the paths, over and over.
    order: Vec<usize>,
    count: usize,
}

impl Ranks {
    fn new(moments: usize, count: usize, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..moments).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        Self { order, count }
    }

    /// The rank of each path, from 0, given the residuals of each moment. Equal residuals take the order of the paths.
    fn of(&self, residuals: &[f32]) -> Vec<usize> {
        let moments = self.order.len();
        let mut ascending: Vec<usize> = (0..moments.min(self.count)).collect();
        ascending.sort_by(|&a, &b| residuals[self.order[a]].total_cmp(&residuals[self.order[b]]).then(a.cmp(&b)));
        let mut ranks = vec![0; self.count];
        let mut next = 0;
        for first in ascending {
            for path in (first..self.count).step_by(moments) {
                ranks[path] = next;
                next += 1;
            }
        }
        ranks
    }
}

/// The rank of each value among all, from 0; equal ones in the order in which they stand.
fn order(values: &[f64]) -> Vec<usize> {
    let mut ascending: Vec<usize> = (0..values.len()).collect();
    ascending.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0; values.len()];
    for (rank, index) in ascending.into_iter().enumerate() {
        ranks[index] = rank;
    }
    ranks
}

/// Adds to each path the quantile at its rank.
fn add(sums: &mut [f64], ranks: &[usize], quantile: impl Fn(f64) -> f64) {
    let count = sums.len() as f64;
    let by_rank: Vec<f64> = (0..sums.len()).map(|rank| quantile((rank as f64 + 0.5) / count)).collect();
    for (sum, &rank) in sums.iter_mut().zip(ranks) {
        *sum += by_rank[rank];
    }
}
