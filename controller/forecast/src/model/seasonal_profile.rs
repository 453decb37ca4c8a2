//! A shape times a level: when in the day and in the week demand comes changes slowly, how much of it comes changes fast.
//!
//! The shape is robust ([`shape`]) and either frozen at the fit or drawn a little towards what each season brings. The level
//! is what the values since have been in multiples of the shape, the sum of the values over the sum of the factors, both
//! forgotten exponentially; a quiet night therefore says little about the level and a zero in the shape divides nothing.
//! Two levels are kept, a fast one and a slow one: the next steps go on from where demand is now, later ones return to the
//! slow level, since most excursions end.
//!
//! Which shape, how fast the levels forget and how fast an excursion ends is chosen by the absolute error on the last part
//! of the history, at leads spread over the horizon, with shapes learned before that part; then the shape is learned
//! from everything. The search is a small grid, so that a fit costs about a millisecond on a month of hours.
//!
//! The idea of splitting the scale of a period from the shape within it is FLAIR's (Honda, FLAIR: Factored Level and
//! Interleaved Ridge, 2026); the rest is derived here. What it does not do: a trend, and seasons other than day and week.

mod shape;

use serde::{Deserialize, Serialize};

use super::smoothing::spread_leads;
use super::walk::Walk;
use crate::history::History;
use shape::{Bins, Shape, ShapeKind};

/// Weeks that the shape is learned from: enough for a median of weeks, few enough to forget a changed habit.
const WEEKS_LEARNED: usize = 6;
/// Most origins that the grid is scored on: 300 origins x 3 leads x 5 shapes x 60 points of the grid are 270,000
/// multiplications.
const MAX_ORIGINS: usize = 300;
/// Largest multiple of the level that a shape is drawn towards: a burst of more is none that comes again at its size.
const MAX_FACTOR: f64 = 100.0;
/// By what share a shape is drawn towards what a season brings.
const DRAWN: [f64; 2] = [0.0, 0.4];
/// Half-lives of the slow level, in days.
const SLOW_DAYS: [f64; 2] = [0.5, 7.0];
/// Half-lives of the fast level, in days; none is the last value.
const FAST_DAYS: [f64; 3] = [0.0, 1.0 / 24.0, 1.0 / 6.0];
/// Half-lives of an excursion, in days; the last one hardly ends within a horizon of a day.
const EXCURSION_DAYS: [f64; 5] = [0.0, 1.0 / 24.0, 0.25, 1.0, 14.0];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SeasonalProfile {
    end_s: i64,
    pace: Pace,
    state: State,
}

/// What is kept from one step to the next, as shares, and how far the shape is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pace {
    slow: f64,
    fast: f64,
    excursion: f64,
    drawn: f64,
}

/// The shape, and values and factors so far, forgotten slowly and fast.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct State {
    shape: Shape,
    slow: Level,
    fast: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Level {
    values: f64,
    factors: f64,
}

impl Level {
    fn take(&mut self, keep: f64, value: f64, factor: f64) {
        // One that forgets everything keeps what it has where the shape expects nothing.
        if keep > 0.0 || factor > 0.0 {
            self.values = keep * self.values + value;
            self.factors = keep * self.factors + factor;
        }
    }

    /// `None` before any time at which the shape expects something.
    fn now(self) -> Option<f64> {
        (self.factors > 0.0).then(|| self.values / self.factors)
    }
}

impl State {
    fn take(&mut self, pace: Pace, place: usize, value: f64) {
        let factor = self.shape.factor(place);
        if let Some(level) = self.slow.now().filter(|level| *level > 0.0) {
            let share = pace.drawn / self.shape.bin_steps() as f64;
            self.shape.draw(place, (value / level).min(MAX_FACTOR), share);
        }
        self.slow.take(pace.slow, value, factor);
        self.fast.take(pace.fast, value, factor);
    }

    fn slow_and_fast(&self) -> (f64, f64) {
        let slow = self.slow.now().unwrap_or(0.0);
        (slow, self.fast.now().unwrap_or(slow))
    }
}

/// What is kept per step at a half-life in steps; nothing at none.
fn keep(half_life_steps: f64) -> f64 {
    if half_life_steps > 0.0 { 0.5_f64.powf(1.0 / half_life_steps) } else { 0.0 }
}

impl SeasonalProfile {
    pub(super) fn fit(history: &History, end: usize, horizon_steps: usize) -> Self {
        let end = end.min(history.len());
        let from = end.saturating_sub(WEEKS_LEARNED * history.week_steps());
        let bins = Bins::of(history, from, end);
        let (kind, paces) = choose(&bins, horizon_steps);
        // What was learned before the last part can be learned from all.
        let shape = Shape::learn(kind, &bins).or_else(|| Shape::learn(ShapeKind::Flat, &bins)).unwrap_or_default();
        let pace = paces.per_step(history.day_steps());
        let mut state = State { shape, ..State::default() };
        for index in (from..end).filter(|&index| history.known(index)) {
            let place = state.shape.place(history, index);
            state.take(pace, place, history.value(index).unwrap_or(0.0));
        }
        Self { end_s: history.at_s(end), pace, state }
    }
}

impl Walk for SeasonalProfile {
    type State = State;

    fn fitted(&self) -> (i64, State) {
        (self.end_s, self.state.clone())
    }

    fn take(&self, state: &mut State, history: &History, index: usize) {
        if let Some(value) = history.value(index).filter(|_| history.known(index)) {
            let place = state.shape.place(history, index);
            state.take(self.pace, place, value);
        }
    }

    fn look_ahead(&self, state: &State, history: &History, origin: usize, out: &mut [f64]) {
        let (slow, fast) = state.slow_and_fast();
        let mut excursion = fast - slow;
        for (index, point) in (origin..).zip(out) {
            excursion *= self.pace.excursion;
            *point = (slow + excursion) * state.shape.factor(state.shape.place(history, index));
        }
    }
}

/// A point of the grid; half-lives in days.
#[derive(Debug, Clone, Copy)]
struct Paces {
    drawn: f64,
    slow_days: f64,
    fast_days: f64,
    excursion_days: f64,
}

impl Paces {
    fn per_step(self, day: usize) -> Pace {
        let per_step = |days: f64| keep(days * day as f64);
        Pace {
            slow: per_step(self.slow_days),
            fast: per_step(self.fast_days),
            excursion: per_step(self.excursion_days),
            drawn: self.drawn,
        }
    }
}

/// The shape and the paces with the smallest error on the last part of the bins.
fn choose(bins: &Bins, horizon_steps: usize) -> (ShapeKind, Paces) {
    let count = bins.values.len();
    let learned = bins.before(count - (count / 3).min(bins.week()));
    let begin = learned.values.len();
    let leads = spread_leads(horizon_steps.div_ceil(bins.steps));
    let stride = (count - begin).div_ceil(MAX_ORIGINS).max(1);

    let mut paces =
        Paces { drawn: DRAWN[0], slow_days: SLOW_DAYS[0], fast_days: FAST_DAYS[0], excursion_days: EXCURSION_DAYS[0] };
    let mut best = (f64::INFINITY, ShapeKind::Flat, paces);
    for kind in ShapeKind::ALL {
        let Some(shape) = Shape::learn(kind, &learned) else { continue };
        for (drawn, slow_days) in DRAWN.into_iter().flat_map(|drawn| SLOW_DAYS.map(|slow_days| (drawn, slow_days))) {
            if kind == ShapeKind::Flat && drawn > 0.0 {
                continue;
            }
            paces = Paces { drawn, slow_days, ..paces };
            let tracks = Tracks::of(bins, &shape, paces.per_step(bins.day));
            for fast_days in FAST_DAYS {
                paces.fast_days = fast_days;
                let fast = tracks.levels(bins, paces.per_step(bins.day).fast);
                for excursion_days in EXCURSION_DAYS {
                    paces.excursion_days = excursion_days;
                    let kept = keep(excursion_days * bins.day as f64);
                    let error = leads.iter().map(|&lead| tracks.error(bins, &fast, begin, stride, lead, kept)).sum();
                    if error < best.0 {
                        best = (error, kind, paces);
                    }
                }
            }
        }
    }
    (best.1, best.2)
}

/// A walk through the bins, remembered: the factor of each bin before and after it was drawn, and the slow level before it.
struct Tracks {
    season: usize,
    first_factors: Shape,
    expected: Vec<f64>,
    drawn: Vec<f64>,
    slow: Vec<Level>,
}

impl Tracks {
    /// Whatever the fast level does: it moves neither the shape nor the slow one.
    fn of(bins: &Bins, shape: &Shape, pace: Pace) -> Self {
        let season = shape.season();
        let count = bins.values.len();
        if pace.drawn == 0.0 {
            let expected: Vec<f64> = (0..count).map(|index| shape.factor(bins.place(index, season))).collect();
            let drawn = expected.clone();
            let mut tracks = Self { season, first_factors: shape.clone(), expected, drawn, slow: Vec::new() };
            tracks.slow = tracks.levels(bins, pace.slow);
            return tracks;
        }
        let pace = Pace { drawn: pace.drawn * bins.steps as f64, ..pace };
        let mut state = State { shape: shape.clone(), ..State::default() };
        let mut tracks = Self {
            season,
            first_factors: shape.clone(),
            expected: Vec::with_capacity(count),
            drawn: Vec::with_capacity(count),
            slow: Vec::with_capacity(count),
        };
        for (index, &value) in bins.values.iter().enumerate() {
            let place = bins.place(index, season);
            tracks.slow.push(state.slow);
            tracks.expected.push(state.shape.factor(place));
            if !value.is_nan() {
                state.take(pace, place, value);
            }
            tracks.drawn.push(state.shape.factor(place));
        }
        tracks
    }

    /// A level before each bin that keeps such a share from bin to bin.
    fn levels(&self, bins: &Bins, kept: f64) -> Vec<Level> {
        let mut level = Level::default();
        let mut levels = Vec::with_capacity(bins.values.len());
        for (&value, &factor) in bins.values.iter().zip(&self.expected) {
            levels.push(level);
            if !value.is_nan() {
                level.take(kept, value, factor);
            }
        }
        levels
    }

    /// Sum of absolute errors of forecasts `lead` bins ahead, from every `stride`-th origin since `begin`.
    fn error(&self, bins: &Bins, fast: &[Level], begin: usize, stride: usize, lead: usize, kept: f64) -> f64 {
        let left = kept.powi(lead as i32);
        let back = lead.div_ceil(self.season) * self.season;
        let mut error = 0.0;
        for origin in (begin..(bins.values.len() + 1).saturating_sub(lead)).step_by(stride) {
            let target = origin + lead - 1;
            let seen = target.checked_sub(back).map(|index| self.drawn[index]);
            let factor = seen.unwrap_or_else(|| self.first_factors.factor(bins.place(target, self.season)));
            let slow = self.slow[origin].now().unwrap_or(0.0);
            let fast = fast[origin].now().unwrap_or(slow);
            let missed = (bins.values[target] - (slow + left * (fast - slow)) * factor).abs();
            error += if missed.is_nan() { 0.0 } else { missed };
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::series::Series;

    fn hourly(hours: usize, rate: impl Fn(usize) -> f64) -> History {
        History::new(&Series::new(0, 3600, (0..hours).map(rate).collect()).unwrap())
    }

    fn wave(hour: usize) -> f64 {
        let weekend = if hour / 24 % 7 >= 5 { 0.3 } else { 1.0 };
        (100.0 + 60.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin()) * weekend
    }

    fn forecast(model: &SeasonalProfile, history: &History, steps: usize) -> Vec<f64> {
        let mut out = vec![0.0; steps];
        model.forecast(history, history.len(), &mut out);
        out
    }

    #[test]
    fn a_service_that_doubled_keeps_its_shape() {
        let fitted = hourly(35 * 24, wave);
        let model = SeasonalProfile::fit(&fitted, 35 * 24, 48);
        // Twice the demand for five weeks: every level has seen it, and nothing was fitted again.
        let doubled = hourly(70 * 24, |hour| wave(hour) * if hour >= 35 * 24 { 2.0 } else { 1.0 });
        for (ahead, point) in forecast(&model, &doubled, 48).into_iter().enumerate() {
            let actual = 2.0 * wave(70 * 24 + ahead);
            assert!((point / actual - 1.0).abs() < 0.05, "{ahead} ahead: {point} for {actual}");
        }
    }

    #[test]
    fn a_walk_is_followed_without_a_shape() {
        // Levels that stay where they were last, however far ahead: 5, 6, 7 ... by the day, no time like another.
        let rate = |hour: usize| 5.0 + (hour * hour / 24 % 97) as f64 / 10.0;
        let history = hourly(21 * 24, |hour| 1_000.0 + 50.0 * rate(hour / 30));
        let model = SeasonalProfile::fit(&history, 21 * 24, 1);
        let last = history.value(21 * 24 - 1).unwrap();
        let next = forecast(&model, &history, 1)[0];
        assert!((next / last - 1.0).abs() < 0.01, "{next} after {last}");
    }

    #[test]
    fn a_day_of_seconds_is_fitted() {
        let values = (0..3 * 86_400).map(|second: usize| wave(second / 3600)).collect();
        let history = History::new(&Series::new(0, 1, values).unwrap());
        let model = SeasonalProfile::fit(&history, history.len(), 3_600);
        for (ahead, point) in forecast(&model, &history, 3_600).into_iter().enumerate().step_by(300) {
            let actual = wave((3 * 86_400 + ahead) / 3600);
            assert!((point / actual - 1.0).abs() < 0.05, "{ahead} ahead: {point} for {actual}");
        }
    }

    #[test]
    fn nothing_at_all_is_forecast_as_nothing() {
        let model = SeasonalProfile::fit(&hourly(0, wave), 0, 4);
        assert_eq!(forecast(&model, &hourly(0, wave), 4), [0.0; 4]);
    }
}
