//! The streaming detector: a two-sided CUSUM on forecast residuals, whose reference is the forecast from before.
//!
//! A forecast that is made anew at each step follows an anomaly within a step or two, and then sees nothing. So as soon
//! as a sum leaves zero, the forecast of that moment is kept, and later steps are judged by its later leads, which are
//! calibrated for just that distance. When its horizon ends, the newest forecast stands in. The forecasts given here are
//! references and not the ones that are acted on: the caller makes them with anomalous steps and those far out missing.
//!
//! What comes again is no anomaly twice: a step that deviates as much as one did a day or a week before, at the same time
//! of day, is how things are now. So a new daily peak alarms once, and a forecast that keeps anomalous days out of its
//! training can not go on being surprised by them.
//!
//! Bounds: one step adds at most [`CAP`] - [`ALLOWANCE`], and the alarm never sounds below [`CAP`], so one step alone
//! can not sound it. An episode ends after [`QUIET_STEPS`] usual steps, and after a day at the latest, as a change.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::threshold::Threshold;
use super::{Anomaly, Change, Direction, Expected, Verdict, Why};
use crate::calendar::{DAY_S, WEEK_S};

/// Usual deviations that every step is allowed: half of the smallest shift that is worth finding, four (Page, 1954).
const ALLOWANCE: f64 = 2.0;
/// Most deviations that one step counts: three steps of one kind of noise in a row are needed where two would be if the
/// tails were normal.
const CAP: f64 = 8.0;
/// Largest sum kept, so that the first two days (no threshold yet) stay comparable: ten full steps.
const MAX_SUM: f64 = 10.0 * CAP;
/// Usual steps in a row that end an episode.
const QUIET_STEPS: usize = 3;
/// Steps over which a deviation must hold its level to be called a change, where the horizon is shorter.
const MIN_CHANGE_STEPS: usize = 12;
/// Share of a stretch that must deviate for it to be a level of its own.
const STEADY_SHARE: f64 = 0.9;
/// How far the two halves of a stretch may differ, as a share of its deviation; and as usual deviations on top.
const STEADY_DRIFT: f64 = 0.25;
/// Least usual deviation as a share of the forecast, and of the mean level: below lies rounding, not demand.
const FLOOR_OF_MEDIAN: f64 = 0.02;
const FLOOR_OF_LEVEL: f64 = 0.005;

/// Deviating steps remembered, for a week: two days of five-minute steps, 576 x 24 bytes is 14 KiB.
const MAX_REMEMBERED: usize = 576;

/// One side's sum and the level that sounds its alarm.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Side {
    direction: Direction,
    sum: f64,
    threshold: Threshold,
}

impl Side {
    fn new(direction: Direction) -> Self {
        Self { direction, sum: 0.0, threshold: Threshold::new(CAP) }
    }

    fn add(&mut self, at_s: i64, deviations: f64) {
        let most = self.threshold.level().map_or(MAX_SUM, |level| 2.0 * level);
        let signed = outwards(self.direction, deviations);
        self.sum = (self.sum + signed.min(CAP) - ALLOWANCE).clamp(0.0, most);
        self.threshold.observe(at_s, self.sum);
    }

    fn score(&self) -> f64 {
        self.threshold.level().map_or(0.0, |level| self.sum / level)
    }
}

/// A forecast that is held on to because demand has left it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Suspicion {
    /// By time.
    expected: Vec<Expected>,
    from_s: i64,
}

/// A deviation that has sounded the alarm.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Episode {
    direction: Direction,
    quiet: usize,
    /// The last deviations, at most as many as a change takes.
    deviations: VecDeque<f64>,
}

/// Judges one series step by step; see the module's text. What it has seen can be stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Detector {
    step_s: u32,
    /// Steps after which a suspicion without an alarm is dropped.
    suspicion_steps: usize,
    /// Steps over which a deviation must hold its level to be a change.
    change_steps: usize,
    above: Side,
    below: Side,
    suspicion: Option<Suspicion>,
    episode: Option<Episode>,
    /// Fading mean of demand, over about a day.
    level: Option<f64>,
    far_out: bool,
    /// Steps that deviated lately, oldest first: when they began, and their values.
    deviating: VecDeque<(i64, f64)>,
}

impl Detector {
    /// A detector for steps of `step_s` seconds (1 if 0) and forecasts of `horizon_steps`. It is silent for two days.
    #[must_use]
    pub fn new(step_s: u32, horizon_steps: usize) -> Self {
        let suspicion_steps = within_a_day(step_s, horizon_steps);
        Self {
            step_s: step_s.max(1),
            suspicion_steps,
            change_steps: suspicion_steps,
            above: Side::new(Direction::Above),
            below: Side::new(Direction::Below),
            suspicion: None,
            episode: None,
            level: None,
            far_out: false,
            deviating: VecDeque::new(),
        }
    }

    /// The same, but a deviation must hold its level for `steps` to be a change, in place of a horizon: half a day at most,
    /// for after a whole one it is what came the day before, and usual without having been a change.
    #[must_use]
    pub fn changing_after(self, steps: usize) -> Self {
        let most = (day_steps(self.step_s) / 2).max(MIN_CHANGE_STEPS);
        Self { change_steps: steps.clamp(MIN_CHANGE_STEPS, most), ..self }
    }

    /// Length of a step, seconds.
    #[must_use]
    pub fn step_s(&self) -> u32 {
        self.step_s
    }

    /// Whether the step judged last lies so far out, alone or not, that the forecasts judged next should be made as if it
    /// were missing: a regression on lags carries one wild value along for as many steps as it has lags.
    #[must_use]
    pub fn last_was_far_out(&self) -> bool {
        self.far_out
    }

    /// Judges the first of the `forecast` steps, which follow each other and were forecast from what was known right
    /// before the first, by what came of it. A missing value (NaN) or one that is no rate is not judged, and changes
    /// nothing.
    pub fn observe(&mut self, forecast: &[Expected], actual: f64) -> Verdict {
        let Some(fresh) = forecast.first().filter(|_| actual.is_finite() && actual >= 0.0) else {
            return Verdict::Normal;
        };
        let at_s = fresh.start_s;
        let expected = self.expected(fresh).unwrap_or(*fresh);
        let level = self.level.unwrap_or(actual);
        let floor = FLOOR_OF_MEDIAN * expected.median + FLOOR_OF_LEVEL * level;
        let deviations = self.unseen(expected, at_s, actual, floor.max(f64::MIN_POSITIVE));
        self.level = Some(level + (actual - level) / day_steps(self.step_s) as f64);
        self.above.add(at_s, deviations);
        self.below.add(at_s, deviations);
        if self.above.sum == 0.0 && self.below.sum == 0.0 && self.episode.is_none() {
            self.suspicion = None;
            return Verdict::Normal;
        }
        let from_s =
            self.suspicion.get_or_insert_with(|| Suspicion { expected: forecast.to_vec(), from_s: at_s }).from_s;
        let why = Why { actual, expected: expected.median, deviations, steps: self.steps_since(from_s, at_s) };
        self.judge(from_s, why)
    }

    /// Usual deviations from what was forecast, or from what deviated at this time of an earlier day, if that is closer.
    fn unseen(&mut self, expected: Expected, at_s: i64, actual: f64, floor: f64) -> f64 {
        let deviations = expected.deviation(actual, floor);
        self.far_out = deviations.abs() >= CAP;
        while self.deviating.front().is_some_and(|(then_s, _)| at_s - then_s > WEEK_S) {
            self.deviating.pop_front();
        }
        let again = |season_s: i64| {
            let at = self.deviating.binary_search_by_key(&(at_s - season_s), |(then_s, _)| *then_s).ok()?;
            let (_, value) = self.deviating.get(at)?;
            // As wide as at the level of the forecast, and in proportion where the earlier value lies above it.
            let scale = (value / expected.median.max(floor)).max(1.0);
            let Expected { start_s, below, above, .. } = expected;
            let seen = Expected { start_s, median: *value, below: scale * below, above: scale * above };
            Some(seen.deviation(actual, floor))
        };
        let closest = [again(DAY_S), again(WEEK_S)]
            .into_iter()
            .flatten()
            .fold(deviations, |closest, other| if other.abs() < closest.abs() { other } else { closest });
        if deviations.abs() >= ALLOWANCE {
            if self.deviating.len() == MAX_REMEMBERED {
                self.deviating.pop_front();
            }
            self.deviating.push_back((at_s, actual));
        }
        closest
    }

    /// What the kept forecast said about this step; past its horizon, the newest forecast with the last kept width.
    fn expected(&self, fresh: &Expected) -> Option<Expected> {
        let kept = &self.suspicion.as_ref()?.expected;
        let at = kept.iter().find(|step| step.start_s == fresh.start_s);
        let of_last = || kept.last().map(|widest| Expected { below: widest.below, above: widest.above, ..*fresh });
        at.copied().or_else(of_last)
    }

    fn judge(&mut self, from_s: i64, why: Why) -> Verdict {
        let louder = if self.above.score() >= self.below.score() { &self.above } else { &self.below };
        let (direction, score) = (louder.direction, louder.score());
        if self.episode.is_none() && score < 1.0 {
            // A suspicion that has outlasted its forecast without an alarm is dropped: the newest forecast judges anew.
            if why.steps > self.suspicion_steps {
                self.forget();
            }
            return Verdict::Normal;
        }
        let change_steps = self.change_steps;
        let most_steps = day_steps(self.step_s).max(2 * change_steps);
        let episode = self.episode.get_or_insert_with(|| Episode { direction, quiet: 0, deviations: VecDeque::new() });
        let outwards = outwards(episode.direction, why.deviations);
        if episode.deviations.len() == change_steps {
            episode.deviations.pop_front();
        }
        episode.deviations.push_back(outwards);
        let direction = episode.direction;
        let steady = is_steady(&episode.deviations, change_steps);
        episode.quiet = if outwards < ALLOWANCE { episode.quiet + 1 } else { 0 };
        let over = episode.quiet >= QUIET_STEPS;
        if over {
            self.forget();
        }
        if over || outwards < ALLOWANCE {
            return Verdict::Normal;
        }
        if steady || why.steps >= most_steps {
            self.forget();
            return Verdict::Changed(Change { from_s, direction, steady });
        }
        Verdict::Anomalous(Anomaly { from_s, score, direction, why })
    }

    fn steps_since(&self, from_s: i64, at_s: i64) -> usize {
        usize::try_from((at_s - from_s) / i64::from(self.step_s)).unwrap_or(0) + 1
    }

    fn forget(&mut self) {
        (self.above.sum, self.below.sum) = (0.0, 0.0);
        (self.suspicion, self.episode) = (None, None);
    }
}

fn day_steps(step_s: u32) -> usize {
    (DAY_S / i64::from(step_s.max(1))).max(1) as usize
}

fn within_a_day(step_s: u32, steps: usize) -> usize {
    steps.clamp(MIN_CHANGE_STEPS, MIN_CHANGE_STEPS.max(day_steps(step_s)))
}

/// Deviations counted positive when they go further to the given side.
fn outwards(direction: Direction, deviations: f64) -> f64 {
    match direction {
        Direction::Above => deviations,
        Direction::Below => -deviations,
    }
}

/// Whether `steps` deviations in a row have held one level: nearly all are outside, and both halves are equally far.
fn is_steady(deviations: &VecDeque<f64>, steps: usize) -> bool {
    if deviations.len() < steps {
        return false;
    }
    let outside = deviations.iter().filter(|deviation| **deviation >= ALLOWANCE).count();
    let median = |range: std::ops::Range<usize>| {
        let mut values: Vec<f64> = deviations.range(range).copied().collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let half = deviations.len() / 2;
    let (earlier, later) = (median(0..half), median(half..deviations.len()));
    let allowed = STEADY_DRIFT * earlier.max(later) + 1.0;
    outside as f64 >= STEADY_SHARE * deviations.len() as f64 && (later - earlier).abs() <= allowed
}

#[cfg(test)]
mod tests;
