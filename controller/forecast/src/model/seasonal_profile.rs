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

mod grid;
mod shape;

use serde::{Deserialize, Serialize};

use super::walk::Walk;
use crate::history::History;
use shape::{Bins, Shape, ShapeKind, Shapes};

/// Weeks that the shape is learned from: enough for a median of weeks, few enough to forget a changed habit.
const WEEKS_LEARNED: usize = 6;
/// Largest multiple of the level that a shape is drawn towards: a burst of more is none that comes again at its size.
const MAX_FACTOR: f64 = 100.0;
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
        let (kind, paces) = grid::choose(&bins, horizon_steps);
        // What was learned before the last part can be learned from all.
        let shapes = Shapes::learn(&bins);
        let shape = shapes.of(kind).or_else(|| shapes.of(ShapeKind::Flat)).unwrap_or_default();
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
