//! Regression for counts: the logarithm of the mean is linear in the calendar and in logarithms of what was, and errors
//! grow with the mean as counts' do.
//!
//! The intuition: a least-squares regression weighs a busy step's error like a quiet one's, though a count of 1,000 is
//! missed by 30 and one of 10 by 3. Here each step is weighed by the variance that a count of its mean has: Poisson's, or
//! the negative binomial's if the errors are seen to grow faster, which those of real demand mostly do ([`irls`]). The
//! logarithm makes calendar effects multiply and keeps forecasts positive.
//!
//! One regression serves all leads. Its rows are pairs of an origin and a lead, so a row knows the calendar at the target,
//! the same time on earlier days and weeks, and how far demand has lately been from these, fading with the lead at two
//! paces. Everything is in multiples of the last week's mean, so the fit is one of rates as well as of counts and a service
//! that has doubled is forecast doubled. No state is carried: a forecast looks things up in the history.
//!
//! What it does not do: fit the size of a Poisson's variance (a quasi-likelihood: it does not change the mean).
//! Sources: see [`irls`].

mod irls;

use serde::{Deserialize, Serialize};

use super::Model;
use super::lag_features::push_waves;
use super::smoothing::spread_leads;
use crate::backtest::coprime_stride;
use crate::error::ModelError;
use crate::history::History;
use irls::{Table, mean, overdispersion, solve};

/// Most training rows over all leads: 2,000 rows x 24^2 / 2 products x some 10 iterations are 6 million multiplications.
const MAX_ROWS: usize = 2_000;
/// Fewest rows per feature.
const ROWS_PER_FEATURE: usize = 3;
/// Weeks of history that rows are taken from.
const WEEKS_LEARNED: usize = 8;
/// Weeks of history from which on the week is looked at.
const WEEKS_FOR_WEEKLY: usize = 2;
/// Penalty per row on every weight but the intercept: keeps columns that are alike from cancelling each other out.
const PENALTY_PER_ROW: f64 = 1e-4;
/// Added to values before the logarithm, in multiples of the last week's mean.
const OFFSET: f64 = 0.05;
/// Sine and cosine pairs of the time of day and of the week.
const DAY_HARMONICS: u32 = 3;
const WEEK_HARMONICS: u32 = 3;
/// Days and weeks whose values at the same time are averaged.
const DAYS_AVERAGED: usize = 7;
const WEEKS_AVERAGED: usize = 4;
/// Steps before the origin whose distance from the usual is looked at.
const RECENT: [usize; 2] = [1, 6];
/// Half-lives of that distance, in days.
const FADING_DAYS: [f64; 2] = [1.0 / 12.0, 1.0];
/// The smallest mean of a week that things are divided by, as a share of the history's mean.
const FLOOR_OF_MEAN: f64 = 0.1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CountRegression {
    shape: Shape,
    weights: Vec<f64>,
}

/// Which features a fit has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Shape {
    weekly: bool,
    floor: f64,
}

/// What all leads from one origin have in common.
struct Outlook {
    level: f64,
    /// Logarithm of how much more the last steps had than is usual at their time.
    excursions: [f64; RECENT.len()],
    /// Logarithm of how much more the last day had than the last week.
    last_day: f64,
}

impl Shape {
    fn outlook(&self, history: &History, origin: usize) -> Outlook {
        let mean = |steps: usize| history.mean(origin.saturating_sub(steps), origin).unwrap_or(0.0);
        let level = mean(history.week_steps()).max(self.floor);
        let excursions = RECENT.map(|steps| {
            let recent = origin.saturating_sub(steps)..origin;
            let usual = recent.clone().map(|index| self.usual(history, index, index, level)).sum::<f64>();
            let steps = recent.len().max(1) as f64;
            log_share(mean(steps as usize), level) - log_share(usual / steps, level)
        });
        Outlook { level, excursions, last_day: log_share(mean(history.day_steps()), level) - log_share(level, level) }
    }

    /// The mean of the same time on earlier days; the level where there are none.
    fn usual(&self, history: &History, target: usize, origin: usize, level: f64) -> f64 {
        average(history.seasons_before(target, history.day_steps(), origin).take(DAYS_AVERAGED)).unwrap_or(level)
    }

    fn push_row(&self, history: &History, outlook: &Outlook, (origin, lead): (usize, usize), row: &mut Vec<f64>) {
        let target = origin + lead - 1;
        let (day, level) = (history.day_steps(), outlook.level);
        let before = |season: usize| history.seasons_before(target, season, origin);
        row.push(1.0);
        row.push(log_share(self.usual(history, target, origin, level), level));
        row.push(log_share(before(day).next().unwrap_or(level), level));
        row.push(outlook.last_day);
        for days in FADING_DAYS {
            let left = 0.5_f64.powf(lead as f64 / (days * day as f64).max(1.0));
            row.extend(outlook.excursions.map(|excursion| left * excursion));
        }
        push_waves(history.phase_of_day(target), DAY_HARMONICS, row);
        if self.weekly {
            let week = history.week_steps();
            row.push(log_share(average(before(week).take(WEEKS_AVERAGED)).unwrap_or(level), level));
            row.push(log_share(before(week).next().unwrap_or(level), level));
            push_waves(history.phase_of_week(target), WEEK_HARMONICS, row);
        }
    }
}

fn log_share(value: f64, level: f64) -> f64 {
    (value / level + OFFSET).ln()
}

fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

impl CountRegression {
    pub(super) fn fit(history: &History, end: usize, horizon_steps: usize) -> Result<Self, ModelError> {
        let (day, week) = (history.day_steps(), history.week_steps());
        let end = end.min(history.len());
        let weekly = end >= WEEKS_FOR_WEEKLY * week;
        let learned_from = end.saturating_sub(WEEKS_LEARNED * week);
        let usual_mean = history.mean(learned_from, end).unwrap_or(0.0);
        // A history without demand is measured in ones; all its targets are zero.
        let floor = if usual_mean > 0.0 { FLOOR_OF_MEAN * usual_mean } else { 1.0 };
        let shape = Shape { weekly, floor };

        // Origins from the first day (or week) on whose features are not made up.
        let first = learned_from.max(if weekly { week } else { day });
        let leads = spread_leads(horizon_steps);
        let stride = coprime_stride(end.saturating_sub(first), MAX_ROWS / leads.len(), day);
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for origin in (first..end).step_by(stride) {
            let outlook = shape.outlook(history, origin);
            for &lead in leads.iter().filter(|lead| origin + **lead <= end) {
                let target = origin + lead - 1;
                if let Some(actual) = history.value(target).filter(|_| history.known(target)) {
                    targets.push(actual / outlook.level);
                    shape.push_row(history, &outlook, (origin, lead), &mut rows);
                }
            }
        }
        let (count, width) = (targets.len(), rows.len() / targets.len().max(1));
        let need = (ROWS_PER_FEATURE * width).max(1);
        if count < need {
            return Err(ModelError::TooFewRows { have: count, need });
        }
        let table = Table { rows: &rows, targets: &targets, width };
        let mean_target = targets.iter().sum::<f64>() / count as f64;
        let mut guess = vec![0.0; width];
        guess[0] = mean_target.max(f64::MIN_POSITIVE).ln();
        let unsolved = || ModelError::NotEstimated { model: "count-regression", message: "no solution".to_owned() };
        let weights = if mean_target > 0.0 {
            let poisson = solve(table, &guess, 0.0, PENALTY_PER_ROW).ok_or_else(unsolved)?;
            match overdispersion(table, &poisson) {
                more if more > 0.0 => solve(table, &poisson, more, PENALTY_PER_ROW).ok_or_else(unsolved)?,
                _ => poisson,
            }
        } else {
            // No demand has no logarithm.
            Vec::new()
        };
        Ok(Self { shape, weights })
    }
}

impl Model for CountRegression {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        if self.weights.is_empty() {
            out.fill(0.0);
            return;
        }
        let outlook = self.shape.outlook(history, origin);
        let mut row = Vec::with_capacity(self.weights.len());
        for (point, lead) in out.iter_mut().zip(1..) {
            row.clear();
            self.shape.push_row(history, &outlook, (origin, lead), &mut row);
            *point = outlook.level * mean(&row, &self.weights);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::series::Series;

    fn hourly(values: Vec<f64>) -> History {
        History::new(&Series::new(0, 3600, values).unwrap())
    }

    /// Counts by a fixed sequence: the sum of many small chances is as good as Poisson.
    fn count(mean: f64, seed: &mut u64) -> f64 {
        let chances = 400;
        let happened = (0..chances).filter(|_| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((*seed >> 33) as f64) < mean / f64::from(chances) * f64::from(1_u32 << 31)
        });
        happened.count() as f64
    }

    fn rate(hour: usize) -> f64 {
        let weekend = if hour / 24 % 7 >= 5 { 0.4 } else { 1.0 };
        (2.0 + (hour as f64 / 24.0 * TAU).sin()).powi(2) * weekend
    }

    #[test]
    fn the_mean_of_small_counts_is_found() {
        let mut seed = 3;
        let history = hourly((0..42 * 24).map(|hour| count(rate(hour), &mut seed)).collect());
        let model = CountRegression::fit(&history, 35 * 24, 24).unwrap();
        let (mut error, mut total) = (0.0, 0.0);
        for day in 35..41 {
            let mut out = [0.0; 24];
            model.forecast(&history, day * 24, &mut out);
            for (point, hour) in out.into_iter().zip(day * 24..) {
                error += (point - rate(hour)).abs();
                total += rate(hour);
            }
        }
        // Single counts are off by their square root, some 50 %; their mean is not.
        assert!(error / total < 0.15, "{}", error / total);
    }

    #[test]
    fn a_row_sees_nothing_at_or_after_its_origin() {
        let values: Vec<f64> = (0..700).map(|hour| f64::from(hour * 7 % 50)).collect();
        let mut changed = values.clone();
        changed[600..].fill(1e6);
        let (plain, changed) = (hourly(values), hourly(changed));
        let model = CountRegression::fit(&plain, 600, 48).unwrap();
        assert_eq!(model.weights, CountRegression::fit(&changed, 600, 48).unwrap().weights);
        let (mut of_plain, mut of_changed) = ([0.0; 48], [0.0; 48]);
        model.forecast(&plain, 600, &mut of_plain);
        model.forecast(&changed, 600, &mut of_changed);
        assert_eq!(of_plain, of_changed);
    }

    #[test]
    fn a_day_of_seconds_is_fitted() {
        let rate = |second: usize| 5.0 + 3.0 * (second as f64 / 86_400.0 * TAU).sin();
        let history = History::new(&Series::new(0, 1, (0..3 * 86_400).map(rate).collect()).unwrap());
        let model = CountRegression::fit(&history, history.len(), 600).unwrap();
        let mut out = [0.0; 600];
        model.forecast(&history, history.len(), &mut out);
        for (point, second) in out.into_iter().zip(3 * 86_400..) {
            assert!((point / rate(second) - 1.0).abs() < 0.05, "second {second}: {point} for {}", rate(second));
        }
    }

    #[test]
    fn too_little_is_refused() {
        let refused = CountRegression::fit(&hourly(vec![1.0; 30]), 30, 4).unwrap_err();
        assert!(matches!(refused, ModelError::TooFewRows { .. }), "{refused}");
    }
}
