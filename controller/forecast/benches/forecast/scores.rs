//! What a forecaster's forecasts of a set of series were worth: the M4 competition's measures.
//!
//! OWA is the mean of two ratios to Naive2: of mean sMAPE and of mean MASE, means over series first. A series that repeats
//! itself exactly has no seasonal scale; it counts for sMAPE and coverage only, and the number of such is printed.

use forebay_forecast::{Forecast, interval_score, mean_absolute_error, seasonal_scale, smape};

use crate::m4::Task;
use crate::naive2::SEASON;

/// What the 95 % interval leaves out.
pub(crate) const ALPHA: f64 = 0.05;

/// A forecast as the competition takes it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) points: Vec<f64>,
    /// Lower and upper end of the 95 % interval per step; none where only points are given.
    pub(crate) interval: Vec<(f64, f64)>,
}

impl Entry {
    /// The median, and the interval between the quantiles that leave out equal parts.
    pub(crate) fn of(forecast: &Forecast) -> Self {
        let steps = &forecast.steps;
        Self {
            points: steps.iter().map(|step| step.quantile(0.5)).collect(),
            interval: steps.iter().map(|step| (step.quantile(ALPHA / 2.0), step.quantile(1.0 - ALPHA / 2.0))).collect(),
        }
    }
}

/// Sums over series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scores {
    pub(crate) series: usize,
    pub(crate) without_scale: usize,
    smape: Mean,
    smape_naive2: Mean,
    mase: Mean,
    mase_naive2: Mean,
    msis: Mean,
    covered: Mean,
}

impl Scores {
    /// Adds one series.
    pub(crate) fn add(&mut self, task: &Task, entry: &Entry) {
        let Task { train, actual, naive2, .. } = task;
        self.series += 1;
        self.smape.add(smape(actual, &entry.points));
        self.smape_naive2.add(smape(actual, naive2));
        let steps = || actual.iter().zip(&entry.interval).filter(|(actual, _)| !actual.is_nan());
        for (actual, (lower, upper)) in steps() {
            self.covered.add(Some(f64::from(u8::from((lower..=upper).contains(&actual)))));
        }
        let Some(scale) = seasonal_scale(train, SEASON) else {
            self.without_scale += 1;
            return;
        };
        let scaled = |error: Option<f64>| error.map(|error| error / scale);
        self.mase.add(scaled(mean_absolute_error(actual, &entry.points)));
        self.mase_naive2.add(scaled(mean_absolute_error(actual, naive2)));
        let mut interval = Mean::default();
        for (&actual, &(lower, upper)) in steps() {
            interval.add(Some(interval_score(lower, upper, actual, ALPHA)));
        }
        self.msis.add(scaled(interval.get()));
    }

    pub(crate) fn smape(&self) -> Option<f64> {
        self.smape.get()
    }

    pub(crate) fn mase(&self) -> Option<f64> {
        self.mase.get()
    }

    pub(crate) fn owa(&self) -> Option<f64> {
        let smape = self.smape.get()? / self.smape_naive2.get()?;
        let mase = self.mase.get()? / self.mase_naive2.get()?;
        Some((smape + mase) / 2.0)
    }

    pub(crate) fn msis(&self) -> Option<f64> {
        self.msis.get()
    }

    pub(crate) fn coverage(&self) -> Option<f64> {
        self.covered.get()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1.0;
        }
    }

    fn get(self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }
}
