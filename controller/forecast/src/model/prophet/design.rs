//! What Prophet's curve is made of at a moment: the trend's time and hinges, the waves of the seasons, and which occasions
//! are on. All in wall-clock seconds (UTC) and not in steps, so that a curve fitted on one history can be asked at any
//! moment of another.

use serde::{Deserialize, Serialize};

use crate::calendar::DAY_S;

/// Potential changepoints, at even ranks over the first [`CHANGE_RANGE`] of the known rows.
const CHANGEPOINTS: usize = 25;
/// The share of the history that changepoints lie in: a slope that changed in the last fifth is not extrapolated.
const CHANGE_RANGE: f64 = 0.8;

/// A season, and how much history it needs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Season {
    period_days: f64,
    /// Waves: the season itself and its fractions down to `1 / order`.
    order: usize,
}

/// Prophet's automatic seasons: with the days of history that each needs, and the step that is too long for it.
const SEASONS: [(Season, i64, i64); 3] = [
    (Season { period_days: 365.25, order: 10 }, 730, i64::MAX),
    (Season { period_days: 7.0, order: 3 }, 14, 7 * DAY_S),
    (Season { period_days: 1.0, order: 4 }, 2, DAY_S),
];

/// A kind of event as a regressor: one weight for all times that it is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Occasion {
    /// From (included) and to (excluded), unix seconds; past and future ones.
    pub windows_s: Vec<(i64, i64)>,
    /// Deviation of the prior of its weight, in units of the largest value; Prophet's own is 10, which is none at all.
    pub prior_scale: f64,
}

impl Occasion {
    fn is_on(&self, at_s: i64) -> bool {
        self.windows_s.iter().any(|&(from_s, to_s)| (from_s..to_s).contains(&at_s))
    }
}

/// The columns of the model at any moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Design {
    start_s: i64,
    span_s: f64,
    /// In scaled time, ascending.
    changes: Vec<f64>,
    seasons: Vec<Season>,
    occasions: Vec<Occasion>,
}

impl Design {
    /// For rows at the ascending moments `at_s`, at least two of them.
    pub(super) fn new(at_s: &[i64], step_s: i64, occasions: Vec<Occasion>) -> Self {
        let (start_s, end_s) = (at_s[0], at_s[at_s.len() - 1]);
        let span_s = (end_s - start_s) as f64;
        // Prophet's own: the last rank is the last row of the range, the first (row 0) is no changepoint.
        let range = (at_s.len() as f64 * CHANGE_RANGE).floor() as usize;
        let count = CHANGEPOINTS.min(range.saturating_sub(1));
        let rank = |i: usize| ((range - 1) as f64 * i as f64 / count as f64).round_ties_even() as usize;
        let changes = (1..=count).map(|i| (at_s[rank(i)] - start_s) as f64 / span_s).collect();
        let fits =
            |&&(_, days, too_long_s): &&(Season, i64, i64)| end_s - start_s >= days * DAY_S && step_s < too_long_s;
        let seasons = SEASONS.iter().filter(fits).map(|&(season, ..)| season).collect();
        Self { start_s, span_s, changes, seasons, occasions }
    }

    /// Number of trend columns: the slope, the offset, and a hinge per changepoint.
    pub(super) fn trend_columns(&self) -> usize {
        2 + self.changes.len()
    }

    /// Prior deviations of the feature columns, in their order.
    pub(super) fn prior_scales(&self, season_scale: f64) -> Vec<f64> {
        let waves = self.seasons.iter().map(|season| 2 * season.order).sum();
        let mut scales = vec![season_scale; waves];
        scales.extend(self.occasions.iter().map(|occasion| occasion.prior_scale));
        scales
    }

    /// Appends the trend's columns: time in shares of the history, one, and for each changepoint the time since.
    pub(super) fn push_trend(&self, at_s: i64, row: &mut Vec<f64>) {
        let t = (at_s - self.start_s) as f64 / self.span_s;
        row.extend([t, 1.0]);
        row.extend(self.changes.iter().map(|change| (t - change).max(0.0)));
    }

    /// Appends the features: a sine and a cosine per wave, and 0 or 1 per occasion.
    pub(super) fn push_features(&self, at_s: i64, row: &mut Vec<f64>) {
        let days = at_s as f64 / DAY_S as f64;
        for season in &self.seasons {
            let (sine, cosine) = (std::f64::consts::TAU * (days / season.period_days).fract()).sin_cos();
            let (mut s, mut c) = (sine, cosine);
            for _ in 0..season.order {
                row.extend([s, c]);
                (s, c) = (s * cosine + c * sine, c * cosine - s * sine);
            }
        }
        row.extend(self.occasions.iter().map(|occasion| f64::from(u8::from(occasion.is_on(at_s)))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changepoints_lie_at_even_ranks_of_the_first_four_fifths() {
        let at_s: Vec<i64> = (0..100).map(|day| day * DAY_S).collect();
        let design = Design::new(&at_s, DAY_S, vec![]);
        assert_eq!(design.changes.len(), 25);
        // Of 80 rows the ranks are round(79 i / 25): 3, 6, ... 79; scaled by the last day, 99.
        assert_eq!((design.changes[0], design.changes[24]), (3.0 / 99.0, 79.0 / 99.0));
        let few = Design::new(&at_s[..10], DAY_S, vec![]);
        assert_eq!(few.changes.len(), 7);
    }

    #[test]
    fn seasons_come_with_their_history() {
        let hourly = |days: i64| (0..=days * 24).map(|hour| hour * 3600).collect::<Vec<i64>>();
        let orders = |days: i64| {
            let design = Design::new(&hourly(days), 3600, vec![]);
            design.seasons.iter().map(|season| season.order).collect::<Vec<_>>()
        };
        assert_eq!(orders(1), [0; 0]);
        assert_eq!(orders(2), [4]);
        assert_eq!(orders(14), [3, 4]);
        assert_eq!(orders(730), [10, 3, 4]);
        let daily: Vec<i64> = (0..30).map(|day| day * DAY_S).collect();
        assert_eq!(Design::new(&daily, DAY_S, vec![]).seasons.len(), 1, "days know no time of day");
    }

    #[test]
    fn waves_are_sines_and_cosines_of_the_calendar() {
        let at_s: Vec<i64> = (0..20 * 24).map(|hour| hour * 3600).collect();
        let occasion = Occasion { windows_s: vec![(DAY_S, 2 * DAY_S)], prior_scale: 10.0 };
        let design = Design::new(&at_s, 3600, vec![occasion]);
        let now_s = 1_404_864_000 + 5 * 3600;
        let mut row = vec![];
        design.push_features(now_s, &mut row);
        let days = now_s as f64 / DAY_S as f64;
        let wave = |k: f64, period: f64| (std::f64::consts::TAU * k * days / period).sin_cos();
        for (at, k, period) in [(0, 1.0, 7.0), (4, 3.0, 7.0), (6, 1.0, 1.0), (12, 4.0, 1.0)] {
            let (sine, cosine) = wave(k, period);
            assert!((row[at] - sine).abs() < 1e-9 && (row[at + 1] - cosine).abs() < 1e-9, "{k} of {period}");
        }
        assert_eq!((row.len(), row[14]), (15, 0.0));
        row.clear();
        design.push_features(DAY_S + 60, &mut row);
        assert_eq!(row[14], 1.0);
        assert_eq!(design.prior_scales(3.0)[13..], [3.0, 10.0]);
    }
}
