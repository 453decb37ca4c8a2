//! A regular row of steps with the costs of each one's requests; a step without requests has none.

use super::CostError;
use super::sketch::CostSketch;
use super::summary::{COST_LEVELS, CostSummary};
use crate::error::SeriesError;
use crate::series::Series;

/// The costs of each step's requests.
#[derive(Debug, Clone, PartialEq)]
pub struct CostHistory {
    start_s: i64,
    step_s: u32,
    steps: Vec<Option<CostSummary>>,
}

impl CostHistory {
    /// Of steps of `step_s` seconds from `start_s` on.
    ///
    /// # Errors
    /// The step is 0 or does not divide a day.
    pub fn new(
        start_s: i64,
        step_s: u32,
        steps: impl IntoIterator<Item = Option<CostSummary>>,
    ) -> Result<Self, SeriesError> {
        Series::new(start_s, step_s, Vec::new())?;
        Ok(Self { start_s, step_s, steps: steps.into_iter().collect() })
    }

    /// The same from sketches; an empty one is a step without requests.
    ///
    /// # Errors
    /// As [`CostHistory::new`].
    pub fn of_sketches<'a>(
        start_s: i64,
        step_s: u32,
        sketches: impl IntoIterator<Item = &'a CostSketch>,
    ) -> Result<Self, SeriesError> {
        Self::new(start_s, step_s, sketches.into_iter().map(CostSummary::of))
    }

    /// The steps, `None` where there were no requests.
    #[must_use]
    pub fn steps(&self) -> &[Option<CostSummary>] {
        &self.steps
    }

    /// Length of a step, seconds.
    #[must_use]
    pub fn step_s(&self) -> u32 {
        self.step_s
    }

    /// When step `index` begins, unix seconds; also for steps after the end.
    #[must_use]
    pub fn at_s(&self, index: usize) -> i64 {
        self.start_s + index as i64 * i64::from(self.step_s)
    }

    /// The steps `from..to`, cut to what exists.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let to = to.min(self.steps.len());
        let steps = self.steps.get(from.min(to)..to).unwrap_or_default().to_vec();
        Self { start_s: self.at_s(from.min(to)), step_s: self.step_s, steps }
    }

    /// Steps with requests.
    pub(super) fn known_steps(&self) -> usize {
        self.steps.iter().flatten().count()
    }

    /// What is forecast, as series: the quantiles at each of [`COST_LEVELS`], then the mean.
    pub(super) fn tracks(&self) -> Result<Vec<Series>, CostError> {
        let series = |value: &dyn Fn(&CostSummary) -> f64| {
            let values = self.steps.iter().map(|step| step.as_ref().map_or(f64::NAN, value)).collect();
            Series::new(self.start_s, self.step_s, values)
        };
        let mut tracks = Vec::with_capacity(COST_LEVELS.len() + 1);
        for level in 0..COST_LEVELS.len() {
            tracks.push(series(&|step| step.at_level(level))?);
        }
        tracks.push(series(&CostSummary::mean)?);
        Ok(tracks)
    }
}
