//! A series made ready to learn from: gaps filled, running sums and maxima at hand.
//!
//! Filling only ever looks back, so that a backtest sees what a live forecast would have seen: a missing value is what
//! was there one day before, else (in the first day) the last value before the gap; gaps at the very beginning take the
//! first known value, and a history that knows nothing at all is zero. Filled values serve as inputs only. No model is
//! trained towards one and no forecast is scored against one: [`History::known`] says which are real.

use crate::calendar::{DAY_S, day_of_week, second_of_day};
use crate::series::Series;

/// A gapless view of a [`Series`]; see the module's text.
#[derive(Debug, Clone)]
pub struct History {
    start_s: i64,
    step_s: u32,
    filled: Vec<f64>,
    known: Vec<bool>,
    /// `sums[i]` is the sum of the first `i` filled values.
    sums: Vec<f64>,
    /// `maxima[i]` is the largest of the first `i` filled values, 0 for none.
    maxima: Vec<f64>,
}

impl History {
    /// Fills the gaps of `series`.
    #[must_use]
    pub fn new(series: &Series) -> Self {
        let values = series.values();
        let day_steps = series.day_steps();
        let known: Vec<bool> = values.iter().map(|value| !value.is_nan()).collect();
        let mut last = values.iter().copied().find(|value| !value.is_nan()).unwrap_or(0.0);
        let mut filled: Vec<f64> = Vec::with_capacity(values.len());
        let mut sums = Vec::with_capacity(values.len() + 1);
        let mut maxima = Vec::with_capacity(values.len() + 1);
        let (mut sum, mut maximum) = (0.0, 0.0_f64);
        sums.push(sum);
        maxima.push(maximum);
        for (index, &value) in values.iter().enumerate() {
            let value = match (value.is_nan(), index.checked_sub(day_steps)) {
                (false, _) => value,
                (true, Some(yesterday)) => filled[yesterday],
                (true, None) => last,
            };
            last = value;
            sum += value;
            maximum = maximum.max(value);
            filled.push(value);
            sums.push(sum);
            maxima.push(maximum);
        }
        Self { start_s: series.start_s(), step_s: series.step_s(), filled, known, sums, maxima }
    }

    /// Number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled.len()
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// Length of a step in seconds.
    #[must_use]
    pub fn step_s(&self) -> i64 {
        i64::from(self.step_s)
    }

    /// Steps in a day.
    #[must_use]
    pub fn day_steps(&self) -> usize {
        (DAY_S / i64::from(self.step_s)) as usize
    }

    /// Steps in a week.
    #[must_use]
    pub fn week_steps(&self) -> usize {
        7 * self.day_steps()
    }

    /// The value at `index`, filled if it was missing; `None` outside the history.
    #[must_use]
    pub fn value(&self, index: usize) -> Option<f64> {
        self.filled.get(index).copied()
    }

    /// Whether the value at `index` was measured, not filled.
    #[must_use]
    pub fn known(&self, index: usize) -> bool {
        self.known.get(index).copied().unwrap_or(false)
    }

    /// Mean over the steps `from..to`, cut to what exists; `None` for no step.
    #[must_use]
    pub fn mean(&self, from: usize, to: usize) -> Option<f64> {
        let to = to.min(self.len());
        // A difference of running sums can come out just below zero.
        (from < to).then(|| ((self.sums[to] - self.sums[from]) / (to - from) as f64).max(0.0))
    }

    /// Largest of the first `end` values; 0 for none.
    #[must_use]
    pub fn max_before(&self, end: usize) -> f64 {
        self.maxima[end.min(self.len())]
    }

    /// The last `steps` values before `origin` that lie whole seasons before step `target`, newest first: the values at
    /// `target - season`, `target - 2 * season` and so on. What is not before `origin` is passed over.
    pub fn seasons_before(&self, target: usize, season: usize, origin: usize) -> impl Iterator<Item = f64> + '_ {
        (1..)
            .map_while(move |k: usize| target.checked_sub(k * season))
            .skip_while(move |&index| index >= origin)
            .map_while(|index| self.value(index))
    }

    /// Where step `index`, past or future, begins in its day, as a share of the day in 0..1.
    #[must_use]
    pub fn phase_of_day(&self, index: usize) -> f64 {
        f64::from(second_of_day(self.at_s(index))) / DAY_S as f64
    }

    /// Where step `index`, past or future, begins in its week (from Monday), as a share of the week in 0..1.
    #[must_use]
    pub fn phase_of_week(&self, index: usize) -> f64 {
        (f64::from(day_of_week(self.at_s(index))) + self.phase_of_day(index)) / 7.0
    }

    /// When step `index`, past or future, begins, unix seconds.
    #[must_use]
    pub fn at_s(&self, index: usize) -> i64 {
        self.start_s + index as i64 * i64::from(self.step_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_take_yesterdays_value_or_the_last_one() {
        let nan = f64::NAN;
        // Steps of six hours: four a day.
        let series = Series::new(0, 21_600, vec![nan, 2.0, nan, 4.0, 5.0, nan, nan, 8.0]).unwrap();
        let history = History::new(&series);
        let filled: Vec<f64> = (0..8).filter_map(|index| history.value(index)).collect();
        assert_eq!(filled, [2.0, 2.0, 2.0, 4.0, 5.0, 2.0, 2.0, 8.0]);
        assert!(!history.known(5) && history.known(7) && !history.known(8));
        assert_eq!(history.mean(6, 100), Some(5.0));
        assert_eq!(history.mean(8, 9), None);
        assert_eq!((history.max_before(3), history.max_before(99)), (2.0, 8.0));
    }

    #[test]
    fn nothing_known_is_zero() {
        let history = History::new(&Series::new(0, 3600, vec![f64::NAN; 30]).unwrap());
        assert_eq!(history.mean(0, 30), Some(0.0));
    }

    #[test]
    fn seasons_are_read_newest_first_and_never_from_the_future() {
        let history = History::new(&Series::new(0, 21_600, (0..8).map(f64::from).collect()).unwrap());
        let values: Vec<f64> = history.seasons_before(9, 4, 8).collect();
        assert_eq!(values, [5.0, 1.0]);
        // From origin 5, the value at index 5 is not known yet.
        let values: Vec<f64> = history.seasons_before(9, 4, 5).collect();
        assert_eq!(values, [1.0]);
    }
}
