//! The shape of a day or of a week: how much more or less than the average is asked for at each time.
//!
//! Every whole day (or week) of the past, counted back from the end, is divided by its own mean; a time's factor is the
//! mean of the middle half of what the days had there. So one wild day neither moves the shape nor hides a burst that
//! comes on most days. Days do not begin at midnight: the newest day is the last 24 hours.
//!
//! A bin is one step, or as many steps as keep a day within [`MAX_DAY_BINS`]: a shape by the second would be noise, and
//! four megabytes of it for a week.

use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::model::smoothing::mean_if_known;

/// Most bins of a day: one a minute. A week of them is 10,080 factors, 80 KiB.
const MAX_DAY_BINS: usize = 1_440;
/// Share of a day's bins that have to be known for the day to count.
const MIN_KNOWN_SHARE: f64 = 0.5;
/// Share of the mean that stands in for a smaller day's mean: next to nothing has no shape.
const MIN_LEVEL_SHARE: f64 = 0.01;

/// Means by bin, NaN where nothing is known, and where in the week each lies.
#[derive(Debug, Clone)]
pub(super) struct Bins {
    pub(super) steps: usize,
    pub(super) day: usize,
    pub(super) values: Vec<f64>,
    /// The bin of the week of each.
    places: Vec<usize>,
}

impl Bins {
    /// The steps `from..end`, beginning at the first whole bin.
    pub(super) fn of(history: &History, from: usize, end: usize) -> Self {
        let steps = history.day_steps().div_ceil(MAX_DAY_BINS);
        // A day that is no whole number of bins would let bins slide; the step then is its own bin's divisor.
        let steps = (steps..=history.day_steps()).find(|steps| history.day_steps().is_multiple_of(*steps)).unwrap_or(1);
        let from = from + (steps - history.place(from, steps)) % steps;
        let mean = |begin: usize| {
            let known = (begin..begin + steps).filter(|&index| history.known(index));
            let (sum, count) = known
                .filter_map(|index| history.value(index))
                .fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            sum / count
        };
        let begins = (from..(end + 1).saturating_sub(steps)).step_by(steps);
        let places = begins.clone().map(|begin| history.place(begin, history.week_steps()) / steps).collect();
        Self { steps, day: history.day_steps() / steps, values: begins.map(mean).collect(), places }
    }

    pub(super) fn week(&self) -> usize {
        7 * self.day
    }

    /// The place of bin `index` in a season of a day or a week (or of one bin).
    pub(super) fn place(&self, index: usize, season: usize) -> usize {
        self.places[index] % season
    }

    /// The bins before `end`.
    pub(super) fn before(&self, end: usize) -> Self {
        Self { values: self.values[..end.min(self.values.len())].to_vec(), ..self.clone() }
    }
}

/// Which shapes there are; simpler ones first, so that on a tie the simpler one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShapeKind {
    /// No shape.
    Flat,
    /// One day's.
    Day,
    /// One day's, times a factor for each day of the week.
    DayAndWeekday,
    /// The mean of the one before and the one after: few weeks make a noisy shape.
    HalfWeek,
    /// A week's.
    Week,
}

impl ShapeKind {
    pub(super) const ALL: [Self; 5] = [Self::Flat, Self::Day, Self::DayAndWeekday, Self::HalfWeek, Self::Week];
}

/// Factors around 1 for each bin of a day or of a week.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Shape {
    bin_steps: usize,
    factors: Vec<f64>,
}

/// What days and weeks have in common, from which every shape is made.
pub(super) struct Shapes {
    bin_steps: usize,
    day: Option<Vec<f64>>,
    week: Option<Vec<f64>>,
}

impl Shapes {
    pub(super) fn learn(bins: &Bins) -> Self {
        let day = factors(bins, bins.day);
        Self { bin_steps: bins.steps, week: day.as_ref().and_then(|_| factors(bins, bins.week())), day }
    }

    /// `None` if there is not even one whole season that is known well enough.
    pub(super) fn of(&self, kind: ShapeKind) -> Option<Shape> {
        let factors = match kind {
            ShapeKind::Flat => vec![1.0],
            ShapeKind::Day => self.day.clone()?,
            ShapeKind::DayAndWeekday => self.day_and_weekday()?,
            ShapeKind::Week => self.week.clone()?,
            ShapeKind::HalfWeek => {
                let both = self.day_and_weekday()?.into_iter().zip(self.week.as_ref()?);
                both.map(|(day, week)| (day + week) / 2.0).collect()
            }
        };
        Some(Shape { bin_steps: self.bin_steps, factors })
    }

    fn day_and_weekday(&self) -> Option<Vec<f64>> {
        let (day, week) = (self.day.as_ref()?, self.week.as_ref()?);
        let weekdays = week.chunks_exact(day.len()).map(|values| values.iter().sum::<f64>() / day.len() as f64);
        Some(weekdays.flat_map(|weekday| day.iter().map(move |factor| factor * weekday)).collect())
    }
}

impl Shape {
    /// After how many bins it comes again.
    pub(super) fn season(&self) -> usize {
        self.factors.len()
    }

    /// The factor of bin `place` of the season.
    pub(super) fn factor(&self, place: usize) -> f64 {
        self.factors.get(place).copied().unwrap_or(1.0)
    }

    /// Draws the factor of bin `place` towards `ratio`, what was seen there, by a share.
    pub(super) fn draw(&mut self, place: usize, ratio: f64, share: f64) {
        if let Some(factor) = self.factors.get_mut(place).filter(|_| self.bin_steps > 0) {
            *factor += share * (ratio - *factor);
        }
    }

    /// The bin of a step.
    pub(super) fn place(&self, history: &History, index: usize) -> usize {
        history.place(index, self.factors.len() * self.bin_steps) / self.bin_steps.max(1)
    }

    /// How many steps a bin has.
    pub(super) fn bin_steps(&self) -> usize {
        self.bin_steps.max(1)
    }
}

/// Factors by place in a season of `season` bins, with mean 1.
fn factors(bins: &Bins, season: usize) -> Option<Vec<f64>> {
    let floor = MIN_LEVEL_SHARE * mean_if_known(&bins.values)?;
    let mut by_place: Vec<Vec<f64>> = vec![Vec::new(); season];
    let skipped = bins.values.len() % season;
    for (number, values) in bins.values[skipped..].chunks_exact(season).enumerate() {
        let known = values.iter().filter(|value| !value.is_nan()).count();
        let level = mean_if_known(values).filter(|_| known as f64 >= MIN_KNOWN_SHARE * season as f64);
        let Some(level) = level else { continue };
        let first = skipped + number * season;
        for (index, value) in (first..).zip(values).filter(|(_, value)| !value.is_nan()) {
            by_place[bins.place(index, season)].push(if floor > 0.0 { value / level.max(floor) } else { 1.0 });
        }
    }
    if by_place.iter().all(Vec::is_empty) {
        return None;
    }
    let mut factors: Vec<f64> = by_place.iter_mut().map(|ratios| middle_mean(ratios)).collect();
    let mean = factors.iter().sum::<f64>() / season as f64;
    if mean > 0.0 {
        factors.iter_mut().for_each(|factor| *factor /= mean);
    }
    Some(factors)
}

/// Mean of the middle half; 1, no opinion, for nothing.
fn middle_mean(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 1.0;
    }
    values.sort_by(f64::total_cmp);
    let cut = values.len() / 4;
    let middle = &values[cut..values.len() - cut];
    middle.iter().sum::<f64>() / middle.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    fn history(hours: usize, rate: impl Fn(usize) -> f64) -> History {
        History::new(&Series::new(0, 3600, (0..hours).map(rate).collect()).unwrap())
    }

    fn at(shape: &Shape, history: &History, index: usize) -> f64 {
        shape.factor(shape.place(history, index))
    }

    #[test]
    fn a_wild_day_does_not_move_the_shape() {
        let noon_burst = |hour: usize| if hour % 24 == 12 { 50.0 } else { 10.0 };
        let rate = |hour: usize| if hour / 24 == 4 { 500.0 * (hour % 7) as f64 } else { noon_burst(hour) };
        let history = history(240, rate);
        let shape = Shapes::learn(&Bins::of(&history, 0, 240)).of(ShapeKind::Day).unwrap();
        let mean = (23.0 * 10.0 + 50.0) / 24.0;
        for hour in 0..24 {
            let factor = at(&shape, &history, 240 + hour);
            assert!((factor - noon_burst(hour) / mean).abs() < 1e-9, "hour {hour}: {factor}");
        }
    }

    #[test]
    fn weekdays_have_their_factors() {
        let rate = |hour: usize| (1.0 + (hour % 24) as f64) * if hour / 24 % 7 == 2 { 3.0 } else { 1.0 };
        let history = history(28 * 24, rate);
        let bins = Bins::of(&history, 0, 28 * 24);
        for kind in [ShapeKind::DayAndWeekday, ShapeKind::HalfWeek, ShapeKind::Week] {
            let shape = Shapes::learn(&bins).of(kind).unwrap();
            let ratio = at(&shape, &history, 2 * 24 + 5) / at(&shape, &history, 3 * 24 + 5);
            assert!((ratio - 3.0).abs() < 1e-9, "{kind:?}: {ratio}");
        }
        assert!(Shapes::learn(&bins.before(160)).of(ShapeKind::Week).is_none(), "less than a week");
    }

    #[test]
    fn a_day_of_seconds_is_kept_by_the_minute() {
        let values = (0..2 * 86_400).map(|second| if second % 86_400 < 60 { 9.0 } else { 1.0 }).collect();
        let history = History::new(&Series::new(30, 1, values).unwrap());
        let bins = Bins::of(&history, 0, history.len());
        assert_eq!((bins.steps, bins.day, bins.values.len()), (60, 1_440, 2_879));
        let shape = Shapes::learn(&bins).of(ShapeKind::Day).unwrap();
        assert!(at(&shape, &history, history.len()) > at(&shape, &history, history.len() + 600));
    }
}
