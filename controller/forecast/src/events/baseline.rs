//! What demand would have been without the event: the middle of the same time of the week in the weeks around it that had
//! none; without such weeks, of the same time of day on the days around it.
//!
//! Both sides count, as far as they are known by now: an event at the very beginning of a history is measured by what
//! came after it. Medians, for a week may hold an event that no calendar names.

use super::EventCalendar;
use crate::series::Series;

/// Weeks on either side.
const WEEKS: usize = 4;
/// Days on either side, where there is no week.
const DAYS: usize = 7;
/// Added to both sides of a ratio, as a share of the mean rate, so that a quiet night does not count as a thousandfold.
const FLOOR_OF_MEAN: f64 = 0.02;
/// Smallest such floor, in units per second.
const MIN_FLOOR_PER_S: f64 = 1e-9;
/// Days at the end of the history from which the usual noise is taken.
const NOISE_DAYS: usize = 28;
/// Deviations of a normal distribution per median absolute one.
const DEVIATION_PER_MEDIAN: f64 = 1.4826;
/// Noise of days and steps that is assumed where it cannot be measured, and the smallest taken, as logarithms.
const UNKNOWN_NOISE: f64 = 0.1;
const MIN_NOISE: f64 = 0.01;

/// The out-of-event expectation of a series.
#[derive(Debug)]
pub(super) struct Baseline<'a> {
    series: &'a Series,
    /// Steps that are known and in no event.
    plain: Vec<bool>,
    floor: f64,
}

/// How far plain demand strays from its baseline: standard deviations of logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Noise {
    /// Of single steps.
    pub(super) step: f64,
    /// Of whole days' means.
    pub(super) day: f64,
}

impl<'a> Baseline<'a> {
    pub(super) fn new(series: &'a Series, calendar: &EventCalendar) -> Self {
        let mut plain: Vec<bool> = series.values().iter().map(|value| !value.is_nan()).collect();
        let step_s = i64::from(series.step_s());
        for event in calendar.events() {
            let index = |at_s: i64| ((at_s - series.start_s()).max(0) / step_s) as usize;
            let from = index(event.from_s).min(plain.len());
            let to = index(event.to_s.saturating_add(step_s - 1)).clamp(from, plain.len());
            plain[from..to].fill(false);
        }
        let (sum, count) =
            series.values().iter().filter(|value| !value.is_nan()).fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
        let floor = if count > 0.0 { FLOOR_OF_MEAN * sum / count } else { 0.0 };
        Self { series, plain, floor: floor.max(MIN_FLOOR_PER_S) }
    }

    fn middle(&self, index: usize, season: usize, most: usize) -> Option<f64> {
        let sides = (1..=most).flat_map(|k| [index.checked_sub(k * season), Some(index + k * season)]);
        let plain = |index: &usize| self.plain.get(*index).copied().unwrap_or(false);
        median(sides.flatten().filter(plain).map(|index| self.series.values()[index]).collect())
    }

    /// Logarithm of the value at `index` over what it would be without an event; `None` where either is not known.
    pub(super) fn log_ratio(&self, index: usize) -> Option<f64> {
        let day = self.series.day_steps();
        let value = self.series.values().get(index).copied().filter(|value| !value.is_nan())?;
        let usual = self.middle(index, 7 * day, WEEKS).or_else(|| self.middle(index, day, DAYS))?;
        let reach = super::MAX_FACTOR.ln();
        Some(((value + self.floor) / (usual + self.floor)).ln().clamp(-reach, reach))
    }

    /// The usual noise, robustly.
    pub(super) fn noise(&self) -> Noise {
        let (len, day) = (self.series.len(), self.series.day_steps());
        let first = len.saturating_sub(NOISE_DAYS * day);
        let (mut steps, mut days) = (Vec::new(), Vec::new());
        for begin in (first..len).step_by(day) {
            let of_day: Vec<f64> = (begin..(begin + day).min(len))
                .step_by(day.div_ceil(96))
                .filter(|&index| self.plain[index])
                .filter_map(|index| self.log_ratio(index))
                .collect();
            if let Some(middle) = median(of_day.clone()) {
                days.push(middle.abs());
                steps.extend(of_day.into_iter().map(|ratio| (ratio - middle).abs()));
            }
        }
        let deviation = |absolute: Vec<f64>| {
            median(absolute).map_or(UNKNOWN_NOISE, |middle| (DEVIATION_PER_MEDIAN * middle).max(MIN_NOISE))
        };
        Noise { step: deviation(steps), day: deviation(days) }
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[half - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Effect, Event};

    #[test]
    fn an_event_is_measured_by_the_weeks_around_it() {
        // Hours over five weeks: ten times the day of the week; the third day is halved.
        let value = |hour: usize| (10 * (1 + hour / 24 % 7)) as f64 * if hour / 24 == 2 { 0.5 } else { 1.0 };
        let series = Series::new(0, 3600, (0..35 * 24).map(value).collect()).unwrap();
        let event =
            Event { kind: "a".into(), from_s: 2 * 86_400, to_s: 3 * 86_400, key: None, effect: Effect::default() };
        let calendar = EventCalendar::new(vec![event]).unwrap();
        let baseline = Baseline::new(&series, &calendar);
        let ratio = baseline.log_ratio(50).unwrap().exp();
        assert!((ratio - 0.5).abs() < 0.02, "{ratio}");
        assert_eq!(baseline.log_ratio(200), Some(0.0));
        assert_eq!(baseline.log_ratio(35 * 24), None, "not known yet");
        assert_eq!(baseline.noise(), Noise { step: MIN_NOISE, day: MIN_NOISE });
    }
}
