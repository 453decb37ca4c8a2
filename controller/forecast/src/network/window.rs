//! What the network sees of a series at one origin, and what it is to say about the steps after it.
//!
//! Everything with the unit of a rate is put on the logarithmic scale of the lag features and measured from its level,
//! so that one network serves series of any size. The window is then centred and divided by its *spread*. The network
//! does not say values either: it says, per lead, how to weigh a few naive forecasts (the *bases*: yesterday, the mean of
//! seven yesterdays, last week, the mean of four last weeks, the last value), and by how many spreads to depart from
//! their weighted mean. A series that never changes has no spread and bases that agree, and so is forecast exactly
//! whatever the weights of the network are.
//!
//! Values come from before the origin only.

use std::f64::consts::TAU;

use super::cell::Sizes;
use crate::history::History;
use crate::model::Shape;

/// Inputs per step: the value, sine and cosine of the time of day and of the time of week.
pub(super) const INPUTS: usize = 5;
/// What is known of the series besides; see [`Window::statics`].
pub(super) const STATICS: usize = 5;
/// Naive forecasts that are weighed.
pub(super) const BASES: usize = 5;
/// Days and weeks whose values at the same time are averaged.
const AVERAGED: [usize; 2] = [7, 4];
/// Values of the last week that the statics are measured on; more would not change them by a tenth.
const PROBES: usize = 64;
/// Smallest spread, on the logarithmic scale: a change of a millionth is none.
const MIN_SPREAD: f64 = 1e-6;
/// Errors are measured in typical differences from the day before, so that a series which repeats closely is learned as
/// eagerly as one that does not; this is the smallest such difference that counts, in spreads.
const SMALLEST_UNIT: f64 = 0.05;
/// Largest static, in spreads: beyond, it is "much".
const MOST_SPREADS: f64 = 5.0;

/// One origin of one series.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// [`INPUTS`] per step, oldest step first.
    pub(super) inputs: Vec<f32>,
    /// How many steps a day has, whether there are weeks to look back on, how spread the window is, and how far values lie
    /// from those of the day and of the week before, in spreads.
    pub(super) statics: [f32; STATICS],
    /// The first naive forecast of each lead.
    pub(super) first_base: Vec<f64>,
    /// By how much the others differ from the first; [`BASES`] - 1 per lead.
    pub(super) other_bases: Vec<f32>,
    /// How much the window varies; 0 if not at all.
    pub(super) spread: f32,
    /// The unit of errors, see [`SMALLEST_UNIT`]; 0 where nothing changes and there is nothing to learn.
    pub(super) unit: f32,
    /// What is taken from every logarithm.
    pub(super) level: f64,
}

impl Window {
    /// The window of `sizes.steps` steps before `origin`, for the steps that begin `ahead` steps after it (0 is the next).
    pub(super) fn at(history: &History, shape: &Shape, origin: usize, sizes: &Sizes, ahead: &[usize]) -> Self {
        let level = shape.level(history, origin);
        let value = |index: Option<usize>| {
            let value = index.filter(|&index| index < origin).and_then(|index| history.value(index));
            value.map_or(0.0, |value| shape.log(value) - level)
        };
        let (day, week) = (history.day_steps(), history.week_steps());
        let values: Vec<f64> = (1..=sizes.steps).rev().map(|back| value(origin.checked_sub(back))).collect();

        let mean_of = |target: usize, season: usize, most: usize| {
            let (mut sum, mut count) = (0.0, 0_u32);
            for past in history.seasons_before(target, season, origin).take(most) {
                sum += past;
                count += 1;
            }
            (count > 0).then(|| shape.log(sum / f64::from(count)) - level)
        };
        let last = value(origin.checked_sub(1));
        let mut bases = Vec::with_capacity(ahead.len() * BASES);
        for target in ahead.iter().map(|ahead| origin + ahead) {
            let yesterday = mean_of(target, day, 1).unwrap_or(last);
            let days = mean_of(target, day, AVERAGED[0]).unwrap_or(yesterday);
            let last_week = mean_of(target, week, 1).unwrap_or(yesterday);
            let weeks = mean_of(target, week, AVERAGED[1]).unwrap_or(days);
            bases.extend([yesterday, days, last_week, weeks, last]);
        }

        let center = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let squares: f64 = values.iter().chain(&bases).map(|value| (value - center).powi(2)).sum();
        let spread = (squares / (values.len() + bases.len()).max(1) as f64).sqrt();
        let spread = if spread > MIN_SPREAD { spread } else { 0.0 };
        let in_spreads = |difference: f64| if spread > 0.0 { difference / spread } else { 0.0 };

        let mut inputs = Vec::with_capacity(sizes.steps * INPUTS);
        for (at, value) in values.iter().enumerate() {
            // Whole weeks later, so that a window from before the beginning has its times too.
            let index = origin + sizes.steps * (week - 1) + at;
            let (day_sin, day_cos) = (TAU * history.phase_of_day(index)).sin_cos();
            let (week_sin, week_cos) = (TAU * history.phase_of_week(index)).sin_cos();
            inputs.extend([in_spreads(value - center), day_sin, day_cos, week_sin, week_cos].map(|input| input as f32));
        }

        let stride = week.div_ceil(PROBES).max(1);
        let mean_change = |season: usize| {
            let (mut sum, mut count) = (0.0, 0_u32);
            for index in (origin.saturating_sub(week).max(season)..origin).step_by(stride) {
                sum += (value(Some(index)) - value(index.checked_sub(season))).abs();
                count += 1;
            }
            in_spreads(sum / f64::from(count.max(1))).min(MOST_SPREADS)
        };
        let (from_yesterday, from_last_week) = (mean_change(day), mean_change(week));
        let unit = spread * from_yesterday.max(SMALLEST_UNIT);
        let weeks_known = f64::from(u8::from(shape.weekly));
        let statics = [(day as f64).ln() / 10.0, weeks_known, spread, from_yesterday, from_last_week];
        let mut first_base = Vec::with_capacity(ahead.len());
        let mut other_bases = Vec::with_capacity(ahead.len() * (BASES - 1));
        for bases in bases.chunks_exact(BASES) {
            first_base.push(bases[0]);
            other_bases.extend(bases[1..].iter().map(|base| (base - bases[0]) as f32));
        }
        Self {
            inputs,
            statics: statics.map(|value| value as f32),
            first_base,
            other_bases,
            spread: spread as f32,
            unit: unit as f32,
            level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    const SIZES: Sizes = Sizes { inputs: INPUTS, hidden: 4, steps: 30, statics: STATICS, outputs: 1 };

    fn window(values: Vec<f64>, origin: usize) -> Window {
        let history = History::new(&Series::new(0, 3600, values).unwrap());
        let shape = Shape { weekly: true, offset: 1e-9 };
        Window::at(&history, &shape, origin, &SIZES, &(0..26).collect::<Vec<_>>())
    }

    #[test]
    fn a_window_sees_nothing_at_or_after_its_origin() {
        let values: Vec<f64> = (0..700).map(|hour| f64::from(hour * 7 % 50)).collect();
        let mut changed = values.clone();
        changed[600..].fill(1e6);
        assert_eq!(format!("{:?}", window(values, 600)), format!("{:?}", window(changed, 600)));
    }

    #[test]
    fn inputs_are_centred_and_in_spreads_and_bases_are_what_was() {
        let rate = |hour: usize| 10.0 + (hour % 24) as f64;
        let seen = window((0..700).map(rate).collect(), 672);
        let values: Vec<f32> = seen.inputs.iter().copied().step_by(INPUTS).collect();
        assert!(values.iter().sum::<f32>().abs() < 1e-3 && seen.spread > 0.1, "{values:?}");
        // The day repeats: yesterday, the mean of days, last week and the mean of weeks are one; the last value differs.
        for (lead, (first, others)) in seen.first_base.iter().zip(seen.other_bases.chunks(BASES - 1)).enumerate() {
            assert!(((seen.level + first).exp() - rate(672 + lead)).abs() < 1e-8);
            assert!(others[..3].iter().all(|difference| difference.abs() < 1e-6), "lead {lead}: {others:?}");
        }
        assert!(seen.statics[3] < 1e-3 && seen.statics[4] < 1e-3, "{:?}", seen.statics);
    }

    #[test]
    fn what_never_changes_has_no_spread() {
        for origin in [0, 1, 20, 400] {
            let seen = window(vec![42.0; 400], origin);
            assert!(origin == 0 || seen.spread == 0.0, "{origin}: {}", seen.spread);
            assert!(seen.inputs.iter().chain(&seen.statics).all(|input| input.is_finite()));
        }
    }
}
