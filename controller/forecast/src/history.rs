//! A series made ready to learn from: gaps filled, running sums and maxima at hand.
//!
//! Filling only ever looks back, so that a backtest sees what a live forecast would have seen: a missing value is what
//! was there one day before, else (in the first day) the last value before the gap; gaps at the very beginning take the
//! first known value, and a history that knows nothing at all is zero. Filled values serve as inputs only. No model is
//! trained towards one and no forecast is scored against one: [`History::known`] says which are real.
//!
//! Days and weeks are those of the series' zone. A day before is the same local time on the day before, which is 23 or 25
//! hours earlier where clocks were changed in between; a time that was there twice is taken at the target's own offset,
//! one that was skipped an hour later. Lengths of seasons in steps stay those of a plain day, so a model that holds a
//! season as an array follows the change of the clock only as fast as it learns.

mod seasons;

use std::sync::Arc;

use crate::calendar::{DAY_S, day_of_week, second_of_day};
use crate::series::Series;
use crate::zone::Zone;
use seasons::Seasons;

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
    zone: Option<Arc<Zone>>,
}

impl History {
    /// Fills the gaps of `series`.
    #[must_use]
    pub fn new(series: &Series) -> Self {
        let values = series.values();
        let days = Seasons { start_s: series.start_s(), step_s: series.step_s(), zone: series.zone().map(Arc::as_ref) };
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
            let value = match (value.is_nan(), days.before(index, day_steps, 1)) {
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
        Self {
            start_s: series.start_s(),
            step_s: series.step_s(),
            filled,
            known,
            sums,
            maxima,
            zone: series.zone().cloned(),
        }
    }

    /// The first `end` steps as a history of their own.
    pub(crate) fn before(&self, end: usize) -> Self {
        let end = end.min(self.len());
        Self {
            start_s: self.start_s,
            step_s: self.step_s,
            filled: self.filled[..end].to_vec(),
            known: self.known[..end].to_vec(),
            sums: self.sums[..=end].to_vec(),
            maxima: self.maxima[..=end].to_vec(),
            zone: self.zone.clone(),
        }
    }

    /// Appends the steps of `longer`, whose beginning this history is, up to `end`.
    pub(crate) fn extend_from(&mut self, longer: &Self, end: usize) {
        let (from, end) = (self.len(), end.min(longer.len()));
        if from < end {
            self.filled.extend_from_slice(&longer.filled[from..end]);
            self.known.extend_from_slice(&longer.known[from..end]);
            self.sums.extend_from_slice(&longer.sums[from + 1..=end]);
            self.maxima.extend_from_slice(&longer.maxima[from + 1..=end]);
        }
    }

    /// Appends one step that was not measured: a forecast that the next one builds on.
    pub(crate) fn push(&mut self, value: f64) {
        let (sum, maximum) = (self.sums[self.len()] + value, self.maxima[self.len()].max(value));
        self.filled.push(value);
        self.known.push(false);
        self.sums.push(sum);
        self.maxima.push(maximum);
    }

    /// Forgets all but the first `len` steps.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.filled.truncate(len);
        self.known.truncate(len);
        self.sums.truncate(len + 1);
        self.maxima.truncate(len + 1);
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

    /// The values before `origin` that lie whole seasons before step `target`, newest first: those at `target - season`,
    /// `target - 2 * season` and so on, in a zone at the same local time. What is not before `origin` is passed over.
    pub fn seasons_before(&self, target: usize, season: usize, origin: usize) -> impl Iterator<Item = f64> + '_ {
        let seasons = self.seasons();
        let first = self.first_season_before(target, season, origin);
        (first..).map_while(move |count| seasons.before(target, season, count)).map_while(|index| self.value(index))
    }

    /// Where the newest of these values lies.
    pub(crate) fn season_before(&self, target: usize, season: usize, origin: usize) -> Option<usize> {
        self.seasons().before(target, season, self.first_season_before(target, season, origin))
    }

    /// How many seasons before `target` the newest step lies that is before `origin`.
    fn first_season_before(&self, target: usize, season: usize, origin: usize) -> usize {
        let (seasons, mut count) = (self.seasons(), 1);
        while seasons.before(target, season, count).is_some_and(|index| index >= origin) {
            count += 1;
        }
        count
    }

    /// Where step `index`, past or future, begins in its day, as a share of the day in 0..1.
    #[must_use]
    pub fn phase_of_day(&self, index: usize) -> f64 {
        f64::from(second_of_day(self.seasons().local_s(index))) / DAY_S as f64
    }

    /// Where step `index`, past or future, begins in its week (from Monday), as a share of the week in 0..1.
    #[must_use]
    pub fn phase_of_week(&self, index: usize) -> f64 {
        (f64::from(day_of_week(self.seasons().local_s(index))) + self.phase_of_day(index)) / 7.0
    }

    /// When step `index`, past or future, begins, unix seconds.
    #[must_use]
    pub fn at_s(&self, index: usize) -> i64 {
        self.seasons().at_s(index)
    }

    /// The first step that does not begin before `at_s`, cut to what exists and the step after it.
    #[must_use]
    pub fn index_at(&self, at_s: i64) -> usize {
        let step_s = i64::from(self.step_s);
        let steps = at_s.saturating_sub(self.start_s).max(0).saturating_add(step_s - 1) / step_s;
        usize::try_from(steps).map_or(self.len(), |index| index.min(self.len()))
    }

    /// Which of the `season_steps` places of a season step `index`, past or future, takes: counted in steps of the zone's
    /// clock from 1970, so that a step has the same place in every history of the same step and zone. Over a change of the
    /// clock a place is passed over or taken twice. `season_steps` is at least 1.
    #[must_use]
    pub fn place(&self, index: usize, season_steps: usize) -> usize {
        let steps = self.seasons().local_s(index).div_euclid(i64::from(self.step_s));
        steps.rem_euclid(season_steps.max(1) as i64) as usize
    }

    /// Whether every day and every week has as many steps as any other.
    pub(crate) fn is_utc(&self) -> bool {
        self.zone.is_none()
    }

    fn seasons(&self) -> Seasons<'_> {
        Seasons { start_s: self.start_s, step_s: self.step_s, zone: self.zone.as_deref() }
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
    fn a_step_has_its_time_and_its_place_in_every_history() {
        let history = History::new(&Series::new(86_400 + 7, 21_600, vec![1.0; 5]).unwrap());
        let places: Vec<usize> = (0..6).map(|index| history.place(index, 4)).collect();
        assert_eq!(places, [0, 1, 2, 3, 0, 1]);
        let found = [0, 86_407, 86_408, history.at_s(3), i64::MAX].map(|at_s| history.index_at(at_s));
        assert_eq!(found, [0, 0, 1, 3, 5]);
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

    /// Clocks in Berlin went forward on 31 March 2024 at 01:00 UTC and back on 27 October 2024 at 01:00 UTC.
    const CHANGES_S: [(i64, i32); 2] = [(1_711_846_800, 7200), (1_729_990_800, 3600)];

    /// The local hour of the day as value, from the midnight in UTC two days before a change of the clock.
    fn local_hours(change_s: i64) -> History {
        let zone = Arc::new(Zone::new(3600, CHANGES_S.to_vec()).unwrap());
        let start_s = change_s - 3600 - 2 * DAY_S;
        let hour = |index: i64| second_of_day(zone.local_s(start_s + index * 3600)) / 3600;
        let values = (0..96).map(|index| f64::from(hour(index))).collect();
        History::new(&Series::new(start_s, 3600, values).unwrap().in_zone(zone))
    }

    #[test]
    fn a_day_before_is_the_same_local_time_over_both_changes_of_the_clock() {
        for (change_s, _) in CHANGES_S {
            let history = local_hours(change_s);
            for target in 25..130 {
                let hour = (history.phase_of_day(target) * 24.0).round();
                let values: Vec<f64> = history.seasons_before(target, 24, 96).collect();
                assert!(values.len() >= (target.min(96) - 25) / 24, "{target}: {values:?}");
                for value in values {
                    // 02:00 was skipped in March; what stands for it is the hour after.
                    let is_skipped = change_s == CHANGES_S[0].0 && hour == 2.0 && value == 3.0;
                    assert!(value == hour || is_skipped, "{target}: {value} stands for {hour}");
                }
            }
        }
    }

    #[test]
    fn days_with_a_change_of_the_clock_have_23_and_25_hours() {
        let zone = Zone::new(3600, CHANGES_S.to_vec()).unwrap();
        for ((change_s, _), hours) in CHANGES_S.into_iter().zip([23, 25]) {
            let seasons = Seasons { start_s: change_s - 49 * 3600, step_s: 3600, zone: Some(&zone) };
            // Noon, local, after the change: 10 or 11 hours later.
            let noon = 49 + if hours == 23 { 9 } else { 10 };
            assert_eq!(second_of_day(seasons.local_s(noon)), 12 * 3600);
            assert_eq!(seasons.before(noon, 24, 1), Some(noon - hours));
            assert_eq!(seasons.before(noon, 24, 2), Some(noon - hours - 24));
            assert_eq!(seasons.before(noon, 5, 1), Some(noon - 5), "no season of whole days");
        }
    }

    #[test]
    fn gaps_take_the_value_of_the_same_local_time() {
        let zone = Arc::new(Zone::new(3600, CHANGES_S.to_vec()).unwrap());
        let mut values: Vec<f64> = (0..72).map(f64::from).collect();
        values[60] = f64::NAN;
        let series = Series::new(CHANGES_S[0].0 - 49 * 3600, 3600, values).unwrap();
        assert_eq!(History::new(&series).value(60), Some(36.0));
        assert_eq!(History::new(&series.in_zone(zone)).value(60), Some(37.0));
    }

    #[test]
    fn a_zone_without_offset_changes_nothing() {
        let series = Series::new(0, 3600, (0..400).map(|hour| f64::from(hour % 25)).collect()).unwrap();
        let far_future = Arc::new(Zone::new(0, vec![(i64::MAX / 2, 3600)]).unwrap());
        let (plain, zoned) = (History::new(&series), History::new(&series.clone().in_zone(far_future)));
        for target in 0..500 {
            assert_eq!(plain.phase_of_week(target).to_bits(), zoned.phase_of_week(target).to_bits());
            assert!(plain.seasons_before(target, 24, 390).eq(zoned.seasons_before(target, 24, 390)));
            assert!(plain.seasons_before(target, 168, 390).eq(zoned.seasons_before(target, 168, 390)));
        }
    }
}
