//! The grid that a profile's shape and paces are chosen from, by the absolute error on the last part of the history.
//!
//! What depends on fewer parameters is worked out once for all points that share them: a shape's way through the bins, a
//! level of one half-life, and for each origin and lead what one share of an excursion more or less changes.

use super::shape::{Bins, Shape, ShapeKind, Shapes};
use super::{Level, Pace, State, keep};
use crate::model::smoothing::spread_leads;

/// Most origins that the grid is scored on: 300 origins x 3 leads x 5 shapes x 60 points of the grid are 270,000
/// multiplications.
const MAX_ORIGINS: usize = 300;
/// Half-lives after which a level has forgotten a value: a billionth of it is left.
const HALF_LIVES_REMEMBERED: f64 = 30.0;
/// By what share a shape is drawn towards what a season brings.
const DRAWN: [f64; 2] = [0.0, 0.4];
/// Half-lives of the slow level, in days.
const SLOW_DAYS: [f64; 2] = [0.5, 7.0];
/// Half-lives of the fast level, in days; none is the last value.
const FAST_DAYS: [f64; 3] = [0.0, 1.0 / 24.0, 1.0 / 6.0];
/// Half-lives of an excursion, in days; the last one hardly ends within a horizon of a day.
const EXCURSION_DAYS: [f64; 5] = [0.0, 1.0 / 24.0, 0.25, 1.0, 14.0];

/// A point of the grid; half-lives in days.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paces {
    drawn: f64,
    slow_days: f64,
    fast_days: f64,
    excursion_days: f64,
}

impl Paces {
    pub(super) fn per_step(self, day: usize) -> Pace {
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
pub(super) fn choose(bins: &Bins, horizon_steps: usize) -> (ShapeKind, Paces) {
    let count = bins.values.len();
    let learned = bins.before(count - (count / 3).min(bins.week()));
    let shapes = Shapes::learn(&learned);
    let held_out = HeldOut::of(bins, learned.values.len(), spread_leads(horizon_steps.div_ceil(bins.steps)));
    let kept = EXCURSION_DAYS.map(|days| keep(days * bins.day as f64));

    let paces =
        Paces { drawn: DRAWN[0], slow_days: SLOW_DAYS[0], fast_days: FAST_DAYS[0], excursion_days: EXCURSION_DAYS[0] };
    let mut best = (f64::INFINITY, ShapeKind::Flat, paces);
    for kind in ShapeKind::ALL {
        let Some(shape) = shapes.of(kind) else { continue };
        for (drawn, slow_days) in DRAWN.into_iter().flat_map(|drawn| SLOW_DAYS.map(|slow_days| (drawn, slow_days))) {
            if kind == ShapeKind::Flat && drawn > 0.0 {
                continue;
            }
            let paces = Paces { drawn, slow_days, ..paces };
            let track = Track::of(bins, &shape, paces.per_step(bins.day));
            let slow = held_out.levels(bins, &track, slow_days * bins.day as f64);
            for fast_days in FAST_DAYS {
                let fast = held_out.levels(bins, &track, fast_days * bins.day as f64);
                let errors = held_out.errors(bins, &track, &slow, &fast, &kept);
                for (error, excursion_days) in errors.into_iter().zip(EXCURSION_DAYS) {
                    if error < best.0 {
                        best = (error, kind, Paces { fast_days, excursion_days, ..paces });
                    }
                }
            }
        }
    }
    (best.1, best.2)
}

/// A shape on its way through the bins, remembered: the factor of each bin before and after it was drawn. Whatever the
/// fast level does, it moves neither the shape nor the slow one.
struct Track<'a> {
    first: &'a Shape,
    expected: Vec<f64>,
    drawn: Vec<f64>,
}

impl<'a> Track<'a> {
    fn of(bins: &Bins, shape: &'a Shape, pace: Pace) -> Self {
        let season = shape.season();
        let count = bins.values.len();
        if pace.drawn == 0.0 {
            let expected: Vec<f64> = (0..count).map(|index| shape.factor(bins.place(index, season))).collect();
            return Self { first: shape, drawn: expected.clone(), expected };
        }
        let pace = Pace { drawn: pace.drawn * bins.steps as f64, ..pace };
        let mut state = State { shape: shape.clone(), ..State::default() };
        let mut track = Self { first: shape, expected: Vec::with_capacity(count), drawn: Vec::with_capacity(count) };
        for (index, &value) in bins.values.iter().enumerate() {
            let place = bins.place(index, season);
            track.expected.push(state.shape.factor(place));
            if !value.is_nan() {
                state.take(pace, place, value);
            }
            track.drawn.push(state.shape.factor(place));
        }
        track
    }

    /// The factor of a bin as it was known `back` bins, whole seasons, before.
    fn seen_before(&self, bins: &Bins, target: usize, back: usize) -> f64 {
        let seen = target.checked_sub(back).map(|index| self.drawn[index]);
        seen.unwrap_or_else(|| self.first.factor(bins.place(target, self.first.season())))
    }
}

/// The part of the bins that the grid is scored on.
struct HeldOut {
    origins: Vec<usize>,
    leads: Vec<usize>,
}

impl HeldOut {
    fn of(bins: &Bins, begin: usize, leads: Vec<usize>) -> Self {
        let stride = (bins.values.len() - begin).div_ceil(MAX_ORIGINS).max(1);
        Self { origins: (begin..bins.values.len()).step_by(stride).collect(), leads }
    }

    /// A level of such a half-life, in bins, before each origin; NaN where there is none.
    fn levels(&self, bins: &Bins, track: &Track, half_life: f64) -> Vec<f64> {
        let first = self.origins.first().copied().unwrap_or(0);
        let begin = first.saturating_sub((HALF_LIVES_REMEMBERED * half_life).ceil() as usize + 1);
        let kept = keep(half_life);
        let mut level = Level::default();
        let mut next = begin;
        self.origins
            .iter()
            .map(|&origin| {
                for (&value, &factor) in bins.values[next..origin].iter().zip(&track.expected[next..origin]) {
                    if !value.is_nan() {
                        level.take(kept, value, factor);
                    }
                }
                next = origin;
                level.now().unwrap_or(f64::NAN)
            })
            .collect()
    }

    /// Sums of absolute errors over all leads, for each share that is kept of an excursion from bin to bin.
    fn errors<const N: usize>(
        &self,
        bins: &Bins,
        track: &Track,
        slow: &[f64],
        fast: &[f64],
        kept: &[f64; N],
    ) -> [f64; N] {
        let season = track.first.season();
        let mut errors = [0.0; N];
        for &lead in &self.leads {
            let left = kept.map(|kept| kept.powi(lead as i32));
            let back = lead.div_ceil(season) * season;
            for ((&origin, &slow), &fast) in self.origins.iter().zip(slow).zip(fast) {
                let target = origin + lead - 1;
                let Some(&value) = bins.values.get(target).filter(|value| !value.is_nan()) else { continue };
                let factor = track.seen_before(bins, target, back);
                let slow = if slow.is_nan() { 0.0 } else { slow };
                let fast = if fast.is_nan() { slow } else { fast };
                let (missed, swing) = (value - slow * factor, (fast - slow) * factor);
                for (error, left) in errors.iter_mut().zip(left) {
                    *error += (missed - left * swing).abs();
                }
            }
        }
        errors
    }
}
