//! How far a forecast is expected to miss, up to a factor: what residuals are divided by before they are pooled.
//!
//! One list of residuals serves every hour of the day, though a burst of 500 per second is missed by more than a quiet
//! night of 20. Dividing each by its scale makes them comparable; multiplying by the scale of the step ahead brings the
//! quantile back. Which scale fits is a property of the series and is chosen per series by the loss on held-out history:
//! sensor-like noise is constant, counts grow with the square root, multiplicative noise with the level, and a burst that
//! comes some minutes early or late is uncertain at its edges only, which the spread over earlier days knows.
//!
//! A scale needs to be known before the value is, so it is made from the forecast point and the history only.
//! (Normalised residuals: Papadopoulos et al., Normalized nonconformity measures, 2008.)

use std::ops::Range;

use crate::history::History;

/// Share of the mean level that every scale has added, so that none vanishes on quiet steps.
const FLOOR_OF_MEAN: f64 = 0.02;
/// Smallest mean level taken, in units per second; keeps a division by a scale finite on an all-zero history.
const MIN_LEVEL_PER_S: f64 = 1e-6;
/// Seasons over which a spread is measured: enough to see a burst move, few enough to forget an old one.
const DAYS_SPREAD: usize = 7;
const WEEKS_SPREAD: usize = 4;

/// Rates above this many times the mean level are bursts; a plain daily wave stays below.
const BURST_OF_MEAN: f64 = 2.0;
/// Days and weeks that are searched for an earlier burst.
const BURST_SEASONS: usize = 2;

/// What the size of a residual grows with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScaleKind {
    /// The same everywhere.
    Constant,
    /// The square root of the forecast level.
    RootLevel,
    /// The forecast level.
    Level,
    /// How differently the last days went at this time of day.
    DaySpread,
    /// How differently the last weeks went at this time of the week.
    WeekSpread,
}

impl ScaleKind {
    /// Every scale; simpler ones first, so that on a tie the simpler one is kept.
    pub(crate) const ALL: [Self; 5] = [Self::Constant, Self::RootLevel, Self::Level, Self::DaySpread, Self::WeekSpread];
}

/// What the history says about one step ahead, whatever a model forecasts for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Surroundings {
    mean_level: f64,
    day_spread: f64,
    week_spread: f64,
    burst_before: bool,
}

impl Surroundings {
    /// Looks around step `target` from `origin`, on a series whose mean is about `mean_level`.
    pub(crate) fn of(history: &History, origin: usize, target: usize, mean_level: f64) -> Self {
        let mean_level = mean_level.max(MIN_LEVEL_PER_S);
        let (day, week) = (history.day_steps(), history.week_steps());
        Self {
            mean_level,
            day_spread: spread(history, origin, target, day, DAYS_SPREAD),
            week_spread: spread(history, origin, target, week, WEEKS_SPREAD),
            burst_before: [day, week].into_iter().any(|season| {
                (target.saturating_sub(1)..=target + 1).any(|index| {
                    let mut before = history.seasons_before(index, season, origin).take(BURST_SEASONS);
                    before.any(|value| value > BURST_OF_MEAN * mean_level)
                })
            }),
        }
    }

    /// The scale of a forecast of `point`; positive and finite for finite input.
    pub(crate) fn scale(&self, kind: ScaleKind, point: f64) -> f64 {
        let floor = FLOOR_OF_MEAN * self.mean_level;
        match kind {
            ScaleKind::Constant => self.mean_level,
            ScaleKind::RootLevel => floor + (point * self.mean_level).sqrt(),
            ScaleKind::Level => floor + point,
            ScaleKind::DaySpread => floor + FLOOR_OF_MEAN * point + self.day_spread,
            ScaleKind::WeekSpread => floor + FLOOR_OF_MEAN * point + self.week_spread,
        }
    }

    /// Whether a burst is to be expected: `point` is one, or there was one at this time, give or take a step, in the last
    /// days or weeks. Such steps are calibrated as a class of their own.
    pub(crate) fn burst_expected(&self, point: f64) -> bool {
        self.burst_before || point > BURST_OF_MEAN * self.mean_level
    }
}

/// The surroundings of many steps, each seen from many origins.
///
/// From origins between the same two earlier seasons a step looks the same, so that what was found is remembered.
pub(crate) struct Lookout<'a> {
    history: &'a History,
    mean_level: f64,
    first: usize,
    /// By target since `first`: how many days and weeks were left out for being after the origin, and what was found.
    seen: Vec<Option<([usize; 2], Surroundings)>>,
}

impl<'a> Lookout<'a> {
    /// A lookout for targets in the given steps.
    pub(crate) fn over(targets: Range<usize>, history: &'a History, mean_level: f64) -> Self {
        Self { history, mean_level, first: targets.start, seen: vec![None; targets.len()] }
    }

    /// As [`Surroundings::of`].
    pub(crate) fn around(&mut self, origin: usize, target: usize) -> Surroundings {
        let afresh = || Surroundings::of(self.history, origin, target, self.mean_level);
        let left_out = self.left_out(origin, target);
        let remembered = target.checked_sub(self.first).and_then(|index| self.seen.get_mut(index));
        match (left_out, remembered) {
            (Some(left_out), Some(Some((of, around)))) if *of == left_out => *around,
            (Some(left_out), Some(place)) => place.insert((left_out, afresh())).1,
            _ => afresh(),
        }
    }

    /// The same for the target and both its neighbours, or nothing: on the clock of a zone seasons are not all equally
    /// long.
    fn left_out(&self, origin: usize, target: usize) -> Option<[usize; 2]> {
        if !self.history.is_utc() {
            return None;
        }
        let seasons = [self.history.day_steps(), self.history.week_steps()];
        let ahead = [target.saturating_sub(1), target + 1].map(|step| step.saturating_sub(origin));
        let [nearest, farthest] = ahead.map(|steps| seasons.map(|season| steps / season));
        (nearest == farthest).then_some(nearest)
    }
}

/// Standard deviation of the values at the target's time and right beside it, over the last seasons: a burst that has so
/// far always begun one step later may well begin now. The neighbours in time count half.
fn spread(history: &History, origin: usize, target: usize, season_steps: usize, seasons: usize) -> f64 {
    let neighbours = [(target, 1.0), (target.saturating_sub(1), 0.5), (target + 1, 0.5)];
    // Values are taken relative to one of them, so that the difference of squares does not cancel.
    let newest = history.seasons_before(target, season_steps, origin).next().unwrap_or(0.0);
    let (mut total, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (index, weight) in neighbours {
        for value in history.seasons_before(index, season_steps, origin).take(seasons) {
            total += weight;
            sum += weight * (value - newest);
            squares += weight * (value - newest).powi(2);
        }
    }
    if total > 0.0 { ((squares - sum * sum / total) / total).max(0.0).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn a_burst_that_moves_spreads_its_edges_only() {
        // At 12 h each day a burst of two hours, every other day one hour later.
        let rate = |hour: usize| {
            let begin = 12 + hour / 24 % 2;
            if (begin..begin + 2).contains(&(hour % 24)) { 100.0 } else { 10.0 }
        };
        let history = History::new(&Series::new(0, 3600, (0..20 * 24).map(rate).collect()).unwrap());
        let at = |hour: usize| Surroundings::of(&history, 480, 480 + hour, 20.0).scale(ScaleKind::DaySpread, 50.0);
        assert!(at(12) > 30.0, "an edge: {}", at(12));
        assert!(at(5) < 2.0, "the quiet night: {}", at(5));
    }

    #[test]
    fn what_is_remembered_is_what_would_be_found() {
        let rates: Vec<f64> = (0..30 * 24_usize).map(|hour| ((hour * 7919) % 613) as f64).collect();
        let history = History::new(&Series::new(0, 3600, rates).unwrap());
        let mut lookout = Lookout::over(400..720, &history, 300.0);
        for (origin, lead) in (400..720).step_by(5).flat_map(|origin| (0..200).map(move |lead| (origin, lead))) {
            let target: usize = origin + lead;
            let (found, afresh) = (lookout.around(origin, target), Surroundings::of(&history, origin, target, 300.0));
            assert_eq!(found, afresh, "{target} from {origin}");
        }
    }

    #[test]
    fn every_scale_is_positive_even_without_demand() {
        let history = History::new(&Series::new(0, 3600, vec![0.0; 48]).unwrap());
        for kind in ScaleKind::ALL {
            let scale = Surroundings::of(&history, 48, 48, 0.0).scale(kind, 0.0);
            assert!(scale > 0.0 && scale.is_finite(), "{kind:?}: {scale}");
        }
    }

    #[test]
    fn a_burst_is_expected_where_one_was() {
        let rate = |hour: usize| if hour % 24 == 12 { 100.0 } else { 10.0 };
        let history = History::new(&Series::new(0, 3600, (0..96).map(rate).collect()).unwrap());
        let expected = |hour: usize| Surroundings::of(&history, 96, 96 + hour, 13.75).burst_expected(10.0);
        assert_eq!([10, 11, 12, 13, 14].map(expected), [false, true, true, true, false]);
        assert!(Surroundings::of(&history, 96, 96, 13.75).burst_expected(30.0), "it is forecast");
    }
}
