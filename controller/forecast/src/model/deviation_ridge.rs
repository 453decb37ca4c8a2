//! Ridge regression on deviations from a seasonal base, all leads at once.
//!
//! The intuition: a seasonal naive forecast is nearly right, and what it misses is not new either. So a *base* says what
//! the step would be if the past repeated (the level of the last day, yesterday, the mean of the last days, the last
//! weeks), and a regression on the last deviations from that base says how the present differs: higher since this
//! morning, an hour early, decaying. Every base sees something else, which is why there are several of this kind; a
//! combination of them is better than any.
//!
//! Values enter as `ln(value + offset)`: errors of demand grow with its level, and squared error on plain rates would let
//! the peaks set all weights. The offset, by default a tenth of the mean, keeps nights near zero from mattering most.
//!
//! All leads share the columns, hence one Gram matrix and one Cholesky factor; a lead costs one more right-hand side.
//! Columns are single steps for as long as these can be afforded (a week of hours), else the last steps one by one and
//! means over ever longer stretches up to a day, each one difference of running sums.
//!
//! What it does not do: bound its output ([`FittedModel`](super::FittedModel) does), know the calendar, or learn from
//! gaps: a step that is missing counts as what [`History`] fills in.

use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use super::{Model, Tuning, ridge};
use crate::backtest::coprime_stride;
use crate::error::ModelError;
use crate::history::History;

/// The smallest offset, in units per second: of a history without any demand.
const MIN_OFFSET_PER_S: f64 = 1e-9;
/// Most columns that are single steps: a week of hours.
pub(super) const MOST_SINGLE_STEPS: usize = 168;
/// Single steps where a week of them would be more than that.
const FEW_SINGLE_STEPS: usize = 12;
/// Single steps beside a base that knows the week: these need not tell the day.
const SINGLE_STEPS_BESIDE_WEEK: usize = 48;
/// By how much each stretch is longer than what lies between it and the present.
const STRETCH_GROWTH: f64 = 0.5;
/// Most leads that are solved for; between them deviations are interpolated. Two days of hours.
const MOST_SOLVED_LEADS: usize = 48;
/// Most training rows; at 45 columns a Gram matrix of 8 million products.
const MAX_ROWS: usize = 4_000;
/// Fewest training rows per column: neighbouring columns are alike, so ridge weights need not have a row each.
const ROWS_PER_COLUMN: f64 = 0.5;
/// How far a forecast may leave the history's largest logarithm: a factor of three, as no forecast exceeds it anyway.
const HEADROOM: f64 = 1.1;

/// What deviations are measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Base {
    /// The mean of the last day.
    Level,
    /// The same time yesterday.
    Yesterday,
    /// The mean of the same time over the last seven days.
    Days,
    /// The mean of the same time over the last two weeks.
    Weeks,
}

impl Base {
    fn name(self) -> &'static str {
        match self {
            Self::Level => "level-ridge",
            Self::Yesterday => "yesterday-ridge",
            Self::Days => "days-ridge",
            Self::Weeks => "weeks-ridge",
        }
    }

    /// Steps in the season and how many seasons are averaged; `None` for a base without a season.
    fn season(self, history: &History) -> Option<(usize, usize)> {
        match self {
            Self::Level => None,
            Self::Yesterday => Some((history.day_steps(), 1)),
            Self::Days => Some((history.day_steps(), 7)),
            Self::Weeks => Some((history.week_steps(), 2)),
        }
    }
}

/// A fitted regression; see the module's text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DeviationRidge {
    base: Base,
    offset: f64,
    /// Largest logarithm that is forecast.
    highest: f64,
    stretches: Vec<Stretch>,
    /// The leads that were solved for, ascending from 1.
    leads: Vec<usize>,
    /// For each of these, one weight per stretch.
    weights: Vec<Vec<f64>>,
}

/// The steps from `newest` to `oldest` (exclusive) before an origin, newest 0.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Stretch {
    newest: usize,
    oldest: usize,
}

impl DeviationRidge {
    pub(super) fn fit(
        base: Base,
        tuning: &Tuning,
        history: &History,
        end: usize,
        horizon_steps: usize,
    ) -> Result<Self, ModelError> {
        let day = history.day_steps();
        let season = base.season(history).map_or(0, |(steps, _)| steps);
        let last = (end + 1).saturating_sub(horizon_steps);
        let too_short =
            || ModelError::TooFewSteps { model: base.name(), have: end, need: day + day.max(season) + horizon_steps };
        let (stretches, origins) = [Memory::Week, Memory::Day]
            .into_iter()
            .map(|memory| {
                let stretches = stretches(base, history, memory);
                let first = stretches.last().map_or(day, |stretch| stretch.oldest.max(day)) + season;
                let first = first.max(last.saturating_sub((tuning.learned_share * last as f64) as usize));
                let stride = coprime_stride(last.saturating_sub(first), MAX_ROWS, day);
                let origins = (first..last).step_by(stride).filter(|&origin| history.known(origin));
                (stretches, origins.collect::<Vec<_>>())
            })
            .find(|(stretches, origins)| origins.len() >= rows_needed(stretches.len()))
            .ok_or_else(too_short)?;
        let offset = (tuning.offset_of_mean * history.mean(0, end).unwrap_or(0.0)).max(MIN_OFFSET_PER_S);
        let leads = solved_leads(horizon_steps);
        let view = View::new(base, history, offset, 0..end, horizon_steps);

        // A column of each matrix is one origin, so that what belongs together lies together.
        let mut rows = DMatrix::zeros(stretches.len(), origins.len());
        let mut targets = DMatrix::zeros(leads.len(), origins.len());
        for (index, &origin) in origins.iter().enumerate() {
            view.write_row(&stretches, origin, rows.column_mut(index).as_mut_slice());
            for (target, &lead) in targets.column_mut(index).iter_mut().zip(&leads) {
                let step = origin + lead - 1;
                *target = view.log(step) - view.base_of(step, origin);
            }
        }
        let weights = ridge::solve(&rows, &targets, tuning.deviation_penalty)
            .ok_or_else(|| ModelError::NotEstimated { model: base.name(), message: "no solution".to_owned() })?;
        let highest = (history.max_before(end) + offset).ln() + HEADROOM;
        Ok(Self { base, offset, highest, stretches, leads, weights })
    }

    fn reach(&self) -> usize {
        self.stretches.last().map_or(0, |stretch| stretch.oldest)
    }

    fn forecast_from(&self, view: &View, row: &mut [f64], origin: usize, out: &mut [f64]) {
        view.write_row(&self.stretches, origin, row);
        let deviation = |solved: usize| self.weights.get(solved).map_or(0.0, |weights| ridge::dot(weights, row));
        let highest = self.highest.max(view.highest + HEADROOM);
        let (mut after, mut earlier, mut later) = (0, deviation(0), deviation(0));
        for (point, lead) in out.iter_mut().zip(1..) {
            // `after` is the first solved lead at or beyond this one.
            while self.leads.get(after).is_some_and(|&solved| solved < lead) {
                after += 1;
                (earlier, later) = (later, deviation(after.min(self.leads.len() - 1)));
            }
            let from = after.checked_sub(1).and_then(|before| self.leads.get(before)).copied().unwrap_or(0);
            let to = self.leads.get(after).copied().unwrap_or(lead);
            let share = if to > from { (lead - from) as f64 / (to - from) as f64 } else { 1.0 };
            let step = origin + lead - 1;
            let log = view.base_of(step, origin) + earlier + share * (later - earlier);
            *point = log.min(highest).exp() - self.offset;
        }
    }
}

impl Model for DeviationRidge {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        let steps = origin.saturating_sub(self.reach())..origin;
        let view = View::new(self.base, history, self.offset, steps, out.len());
        self.forecast_from(&view, &mut vec![0.0; self.stretches.len()], origin, out);
    }

    fn roll(&self, history: &History, origins: &[usize], steps: usize, visit: &mut dyn FnMut(usize, &mut [f64])) {
        let (Some(&first), Some(&last)) = (origins.first(), origins.last()) else {
            return;
        };
        let view = View::new(self.base, history, self.offset, first.saturating_sub(self.reach())..last, steps);
        let (mut row, mut points) = (vec![0.0; self.stretches.len()], vec![0.0; steps]);
        for &origin in origins {
            self.forecast_from(&view, &mut row, origin, &mut points);
            visit(origin, &mut points);
        }
    }
}

/// Logarithms of a history and their deviations from the base, over the steps that are needed.
struct View<'a> {
    history: &'a History,
    base: Base,
    /// Of the steps from `from` on: reaching back as far as the base needs.
    logs: Vec<f64>,
    from: usize,
    /// What each step since `start` would be if the past repeated, by how many seasons lie between what is known and
    /// it, 1 first; NaN where nothing of the past is in view. Empty for a base without a season.
    expected: Vec<Vec<f64>>,
    start: usize,
    /// Of each step since `start`.
    deviations: Vec<f64>,
    /// `sums[i]` is the sum of the first `i` deviations.
    sums: Vec<f64>,
    highest: f64,
}

impl<'a> View<'a> {
    /// A view in which rows can be written for origins up to `steps.end` whose stretches begin at or after `steps.start`,
    /// and bases be had of `horizon_steps` steps after each.
    fn new(base: Base, history: &'a History, offset: f64, steps: std::ops::Range<usize>, horizon_steps: usize) -> Self {
        // Targets may be a horizon beyond the last origin: their seasons are no further back than those of the steps.
        let back = base.season(history).map_or(history.day_steps(), |(season, count)| season * (count + 1));
        let from = steps.start.saturating_sub(back);
        let log = |step: usize| (history.value(step).unwrap_or(0.0).max(0.0) + offset).ln();
        let highest = (history.max_before(steps.end) + offset).ln();
        let mut view = Self {
            history,
            base,
            logs: (from..steps.end).map(log).collect(),
            from,
            expected: Vec::new(),
            start: steps.start,
            deviations: Vec::with_capacity(steps.len()),
            sums: vec![0.0],
            highest,
        };
        if let Some((season, count)) = base.season(history) {
            let targets = steps.start..steps.end + horizon_steps;
            let seasonal =
                |back: usize| targets.clone().map(|step| view.seasonal(step, season, back..back + count)).collect();
            view.expected = (1..=horizon_steps.div_ceil(season).max(1)).map(seasonal).collect();
        }
        let mut sum = 0.0;
        for step in steps {
            let deviation = match view.expected.first().and_then(|expected| expected.get(step - view.start)) {
                None => view.log(step),
                Some(expected) if expected.is_nan() => 0.0,
                Some(expected) => view.log(step) - expected,
            };
            sum += deviation;
            view.deviations.push(deviation);
            view.sums.push(sum);
        }
        view
    }

    fn log(&self, step: usize) -> f64 {
        step.checked_sub(self.from).and_then(|index| self.logs.get(index)).copied().unwrap_or(0.0)
    }

    /// The mean over the steps that lie so many seasons before `step`, as far as they are in view; NaN if none is.
    fn seasonal(&self, step: usize, season: usize, back: std::ops::Range<usize>) -> f64 {
        let (mut sum, mut found) = (0.0, 0_u32);
        for seasons in back {
            let Some(index) = step.checked_sub(seasons * season).and_then(|then| then.checked_sub(self.from)) else {
                break;
            };
            if let Some(log) = self.logs.get(index) {
                sum += log;
                found += 1;
            }
        }
        sum / f64::from(found)
    }

    /// The mean of the last day before `origin`, as far as it is in view.
    fn level(&self, origin: usize) -> f64 {
        self.mean(origin.saturating_sub(self.history.day_steps()), origin).unwrap_or(0.0)
    }

    /// The mean deviation of the steps `from..to` that are in view.
    fn mean(&self, from: usize, to: usize) -> Option<f64> {
        let (from, to) = (from.max(self.start) - self.start, to.checked_sub(self.start)?);
        (from < to).then(|| Some((self.sums.get(to)? - self.sums[from]) / (to - from) as f64)).flatten()
    }

    /// What `step` would be if the past before `origin` repeated.
    fn base_of(&self, step: usize, origin: usize) -> f64 {
        let Some((season, _)) = self.base.season(self.history) else { return self.level(origin) };
        // The newest season before the origin.
        let back = ((step + 1).saturating_sub(origin)).div_ceil(season).max(1);
        let expected = self.expected.get(back - 1).and_then(|expected| expected.get(step.checked_sub(self.start)?));
        match expected {
            Some(expected) if !expected.is_nan() => *expected,
            _ => origin.checked_sub(1).map_or(0.0, |last| self.log(last)),
        }
    }

    /// Mean deviation over each stretch before `origin`; none where the view does not reach.
    fn write_row(&self, stretches: &[Stretch], origin: usize, row: &mut [f64]) {
        let level = if self.base == Base::Level { self.level(origin) } else { 0.0 };
        for (value, stretch) in row.iter_mut().zip(stretches) {
            let mean = if stretch.oldest == stretch.newest + 1 {
                let index = origin.checked_sub(stretch.oldest).and_then(|step| step.checked_sub(self.start));
                index.and_then(|index| self.deviations.get(index)).copied()
            } else {
                self.mean(origin.saturating_sub(stretch.oldest), origin.saturating_sub(stretch.newest))
            };
            *value = mean.map_or(0.0, |mean| mean - level);
        }
    }
}

/// How far back single steps reach, where the step is long enough for it.
#[derive(Debug, Clone, Copy)]
enum Memory {
    Week,
    /// For a history that is too short to learn a week of weights.
    Day,
}

fn rows_needed(columns: usize) -> usize {
    (ROWS_PER_COLUMN * columns as f64).ceil() as usize
}

fn stretches(base: Base, history: &History, memory: Memory) -> Vec<Stretch> {
    let (day, week) = (history.day_steps(), history.week_steps());
    let single = match (base, memory) {
        _ if week > MOST_SINGLE_STEPS => FEW_SINGLE_STEPS,
        (_, Memory::Day) => day,
        (Base::Level | Base::Yesterday, Memory::Week) => week,
        (Base::Days | Base::Weeks, Memory::Week) => SINGLE_STEPS_BESIDE_WEEK.min(week),
    };
    let mut stretches: Vec<Stretch> = (0..single).map(|newest| Stretch { newest, oldest: newest + 1 }).collect();
    let mut newest = single;
    while newest < day {
        let oldest = (newest + (STRETCH_GROWTH * newest as f64) as usize + 1).min(day);
        stretches.push(Stretch { newest, oldest });
        newest = oldest;
    }
    stretches
}

/// Every lead of a short horizon; of a long one the first half of the number each, then evenly to the last.
fn solved_leads(horizon_steps: usize) -> Vec<usize> {
    if horizon_steps <= MOST_SOLVED_LEADS {
        return (1..=horizon_steps).collect();
    }
    let near = MOST_SOLVED_LEADS / 2;
    let spread = (1..=near).map(|index| near + index * (horizon_steps - near) / near);
    (1..=near).chain(spread).collect()
}
