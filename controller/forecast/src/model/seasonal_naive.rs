//! The next steps are as they were one season ago: the baseline for demand with a daily or weekly pattern.
//!
//! Day or week is chosen by the mean absolute error of both on the end of the history. A week needs two weeks of
//! history to be compared; without a whole season before the target the last value stands in.

use serde::{Deserialize, Serialize};

use super::{Model, last_value};
use crate::history::History;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SeasonalNaive {
    season_steps: usize,
}

impl SeasonalNaive {
    pub(super) fn fit(history: &History, end: usize) -> Self {
        let (day, week) = (history.day_steps(), history.week_steps());
        let season_steps = if end < 2 * week {
            day
        } else {
            let compared = (end - 2 * week).max(week)..end;
            let (mut day_error, mut week_error) = (0.0, 0.0);
            for index in compared.filter(|&index| history.known(index)) {
                let actual = history.value(index).unwrap_or(0.0);
                let ago = |steps: usize| history.value(index - steps).unwrap_or(0.0);
                day_error += (actual - ago(day)).abs();
                week_error += (actual - ago(week)).abs();
            }
            if week_error < day_error { week } else { day }
        };
        Self { season_steps }
    }
}

impl Model for SeasonalNaive {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        for (ahead, point) in out.iter_mut().enumerate() {
            *point = history
                .seasons_before(origin + ahead, self.season_steps, origin)
                .next()
                .unwrap_or_else(|| last_value::before(history, origin));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    fn hourly(hours: usize, rate: impl Fn(usize) -> f64) -> History {
        History::new(&Series::new(0, 3600, (0..hours).map(rate).collect()).unwrap())
    }

    #[test]
    fn a_weekly_pattern_is_taken_from_last_week() {
        let history = hourly(21 * 24, |hour| (hour / 24 % 7) as f64);
        let model = SeasonalNaive::fit(&history, history.len());
        assert_eq!(model.season_steps, 168);
        let mut out = [9.0; 2];
        model.forecast(&history, 15 * 24, &mut out);
        assert_eq!(out, [1.0, 1.0]);
    }

    #[test]
    fn a_daily_pattern_that_grows_is_taken_from_yesterday() {
        let history = hourly(21 * 24, |hour| (hour % 24 + hour) as f64);
        assert_eq!(SeasonalNaive::fit(&history, history.len()).season_steps, 24);
    }

    #[test]
    fn without_a_whole_day_the_last_value_stands_in() {
        let history = hourly(10, |hour| hour as f64);
        let mut out = [0.0; 2];
        SeasonalNaive::fit(&history, 10).forecast(&history, 10, &mut out);
        assert_eq!(out, [9.0, 9.0]);
    }
}
