//! Which series lead which: what one tenant does now and another will do some steps later, with evidence.
//!
//! The intuition: two services whose demand has the same daily wave look as if each led the other, at every lag, and so do
//! two random walks. What can be a lead is only what the follower's own model did not foresee. So each series is first
//! reduced to its *innovations* ([`innovations`]), then every pair is tested at every lag, and since among so many tests
//! some succeed by chance, the bar is raised with their number: the false discovery rate, in the form that holds however
//! the tests depend on each other (Benjamini and Yekutieli, The control of the false discovery rate in multiple testing
//! under dependency, 2001). All that happens on the first half of the history. A lead counts when the second half shows
//! it again and forecasts of the follower lose less with it.
//!
//! Each test asks whether the correlation of innovations (of their normal scores, so that two bursts that meet by chance
//! are no evidence) is too large for independent series, with the variance that it has when both vary more at the same
//! times and what is left of autocorrelation is counted in (Haugh, Checking the independence of two covariance-stationary
//! time series, 1976; Bartlett, 1946).
//!
//! Deliberately not here: effects at lag 0 (nothing can be forecast from them; a pool's [`Paths`](crate::Paths) know them),
//! causes (that both follow a third is as good for a forecast), and leads that change their lag.

mod correction;
mod discovery;
mod innovations;

use thiserror::Error;

use crate::error::ModelError;
use crate::series::Series;
pub use correction::Correction;
use innovations::Innovations;

/// Most series in one search, so 256 x 255 = 65,280 ordered pairs: at 12 lags, 2 x 12 products of matrices with 256 x 256 x
/// 2,016 products of numbers each, 3 G in all, and 256 x 4,032 forecasts: some seconds.
pub const MAX_LEAD_LAG_SERIES: usize = 256;
/// Longest lag, steps: a day of half hours, four hours of five minutes.
pub const MAX_LAG_STEPS: usize = 48;
/// Steps that are looked at, the last ones: two weeks of five minutes, half to find and half to confirm.
const MAX_STEPS: usize = 4032;
/// Fewest steps in each half.
const MIN_HALF_STEPS: usize = 200;

/// What to search for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeadLagSettings {
    /// Longest lag, 1 to [`MAX_LAG_STEPS`].
    pub max_lag_steps: usize,
    /// Expected share of false ones among the leads that are found before they are confirmed, above 0 and below 1.
    pub false_discovery_rate: f64,
}

impl Default for LeadLagSettings {
    fn default() -> Self {
        Self { max_lag_steps: 12, false_discovery_rate: 0.05 }
    }
}

/// One series that leads another.
#[derive(Debug, Clone, PartialEq)]
pub struct Lead {
    /// Position of the series that is first.
    pub leader: usize,
    /// Position of the series that comes after.
    pub follower: usize,
    /// Steps from one to the other: of all that are evident, the most evident.
    pub lag_steps: usize,
    /// Of the innovations' normal scores, -1 to 1, in the first half.
    pub correlation: f64,
    /// Smallest false discovery rate at which it is found.
    pub q_value: f64,
    /// Share of the follower's squared one-step errors in the second half that is saved by knowing the leader.
    pub held_out_gain: f64,
}

/// What a search has found.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadLag {
    /// Those that the second half confirms, the most evident first.
    pub leads: Vec<Lead>,
    /// Leads that were found but not confirmed.
    pub not_confirmed: usize,
    /// Ordered pairs times lags.
    pub tests: usize,
    /// Series that could not take part, and why.
    pub left_out: Vec<(usize, ModelError)>,
}

/// Why nothing can be searched.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LeadLagError {
    /// A lag or a rate out of range.
    #[error("searching for leads: lag of {max_lag_steps} steps or rate of {rate} is out of range")]
    Settings {
        /// Longest lag asked for.
        max_lag_steps: usize,
        /// False discovery rate asked for.
        rate: f64,
    },
    /// More than [`MAX_LEAD_LAG_SERIES`], or fewer than two.
    #[error("searching for leads: {series} series, 2 to {MAX_LEAD_LAG_SERIES} can be searched")]
    SeriesCount {
        /// How many were given.
        series: usize,
    },
    /// A series with another step than the first one, or on another grid.
    #[error("searching for leads: series {index} has another step than the first, or begins between its steps")]
    Mismatch {
        /// Which series.
        index: usize,
    },
    /// Too little time in which there is a value of every series.
    #[error("searching for leads: series have {have} steps in common, {need} are needed")]
    TooShort {
        /// Steps in common.
        have: usize,
        /// Steps needed.
        need: usize,
    },
    /// A series that is not among those given.
    #[error("correcting by leads: there is no series {index}")]
    NoSuchSeries {
        /// Which one.
        index: usize,
    },
    /// The follower or a leader could not be fitted.
    #[error("correcting by leads: series {index} cannot be fitted")]
    NotFitted {
        /// Which one.
        index: usize,
        /// Why.
        source: ModelError,
    },
}

impl LeadLag {
    /// Searches all ordered pairs of `series`, which are alike in step and overlap in time.
    ///
    /// # Errors
    /// Settings out of range, too many series, or series that do not belong together.
    pub fn search(series: &[&Series], settings: &LeadLagSettings) -> Result<Self, LeadLagError> {
        let &LeadLagSettings { max_lag_steps, false_discovery_rate: rate } = settings;
        let in_range = (1..=MAX_LAG_STEPS).contains(&max_lag_steps) && rate > 0.0 && rate < 1.0;
        if !in_range {
            return Err(LeadLagError::Settings { max_lag_steps, rate });
        }
        if !(2..=MAX_LEAD_LAG_SERIES).contains(&series.len()) {
            return Err(LeadLagError::SeriesCount { series: series.len() });
        }
        let common = in_common(series)?;
        let (mut taken, mut innovations, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for (index, series) in common.iter().enumerate() {
            match Innovations::of(series) {
                Ok(found) => {
                    taken.push(index);
                    innovations.push(found);
                }
                Err(error) => left_out.push((index, error)),
            }
        }
        let found = discovery::search(&innovations, settings);
        let count = found.len();
        let mut leads: Vec<Lead> = found
            .into_iter()
            .filter_map(|found| {
                let (leader, follower) = (&innovations[found.leader], &innovations[found.follower]);
                let held_out_gain = discovery::confirmed_gain(leader, follower, &found)?;
                Some(Lead {
                    leader: taken[found.leader],
                    follower: taken[found.follower],
                    lag_steps: found.lag_steps,
                    correlation: found.correlation,
                    q_value: found.q_value,
                    held_out_gain,
                })
            })
            .collect();
        leads.sort_by(|a, b| a.q_value.total_cmp(&b.q_value).then(b.held_out_gain.total_cmp(&a.held_out_gain)));
        let tests = taken.len() * taken.len().saturating_sub(1) * max_lag_steps;
        Ok(Self { not_confirmed: count - leads.len(), leads, tests, left_out })
    }
}

/// The stretch of time in which there are all series.
fn in_common(series: &[&Series]) -> Result<Vec<Series>, LeadLagError> {
    let Some(first) = series.first() else { return Ok(Vec::new()) };
    let step_s = i64::from(first.step_s());
    let alike = |other: &Series| {
        other.step_s() == first.step_s() && (other.start_s() - first.start_s()).rem_euclid(step_s) == 0
    };
    if let Some(index) = series.iter().position(|series| !alike(series)) {
        return Err(LeadLagError::Mismatch { index });
    }
    let start_s = series.iter().map(|series| series.start_s()).max().unwrap_or(0);
    let end_s = series.iter().map(|series| series.end_s()).min().unwrap_or(0);
    let have = usize::try_from((end_s - start_s) / step_s).unwrap_or(0);
    let need = 2 * MIN_HALF_STEPS + 2 * first.day_steps();
    if have < need {
        return Err(LeadLagError::TooShort { have, need });
    }
    let place = |series: &Series| usize::try_from((start_s - series.start_s()) / step_s).unwrap_or(0);
    let cut = series.iter().map(|series| series.slice(place(series), place(series) + have));
    cut.collect::<Result<_, _>>().map_err(|_| LeadLagError::TooShort { have, need })
}
