//! Exponential smoothing with a day's and a week's season: level, damped trend and seasonal figures that all follow what
//! comes, each at its own pace.
//!
//! The intuition: the newest values count most, and how fast older ones fade is learned from the series. With two seasons
//! it is Taylor's double-seasonal Holt-Winters, the classic of hourly load. The forms are few: no season, a day, a day and a
//! week; on plain values (noise and season add up) or on compressed ones (they multiply, as in ETS(M,.,M)); with and
//! without a damped trend. Akaike's criterion chooses, with the derivative of the compression accounted for.
//!
//! Figures and level begin as plain averages over the first part of the history ([`LEARNED_SHARE`]); constants are learned
//! on the part after it, by the error at the leads that will be asked for ([`smoothing`](super::smoothing)). So seasonal
//! figures cost no degree of freedom: no form sees the errors that it is judged by. After the fit the state walks on, value
//! by value.
//!
//! Bounds: at most [`MAX_STEPS`] steps are learned from and a day of at most [`MAX_DAY_STEPS`] is held; a longer one is
//! refused.
//!
//! Sources: see [`smoothing`](super::smoothing).

use super::smoothing::{
    Form, Lesson, Places, Smoother, State, Unit, learn, least_alpha, mean_known, spread_leads, walk,
};
use crate::error::ModelError;
use crate::history::History;

const NAME: &str = "ets";
/// Steps that are looked at: four weeks of five minutes, 48 weeks of hours.
const MAX_STEPS: usize = 4 * 2_016;
/// Steps at the end that constants are learned on: a week of five minutes, 12 weeks of hours. 6 searches x 60 walks x 2,016
/// steps are 0.7 million steps of some 20 ns.
const MAX_LESSON_STEPS: usize = 2_016;
/// Longest day in steps: one a minute.
const MAX_DAY_STEPS: usize = 1_440;
/// Fewest steps: what the largest form's constants need.
const MIN_STEPS: usize = 24;
/// Part of the whole weeks (days, where there are no two weeks) that the first figures are averaged over.
const LEARNED_SHARE: usize = 2;

/// Chooses the form and learns its constants.
pub(super) fn fit(history: &History, end: usize, horizon_steps: usize) -> Result<Smoother, ModelError> {
    let (day, week) = (history.day_steps(), history.week_steps());
    if day > MAX_DAY_STEPS {
        return Err(ModelError::SeasonTooLong { model: NAME, season_steps: day, most: MAX_DAY_STEPS });
    }
    let end = end.min(history.len());
    let from = end.saturating_sub(MAX_STEPS);
    if end - from < MIN_STEPS {
        return Err(ModelError::TooFewSteps { model: NAME, have: end - from, need: MIN_STEPS });
    }
    let values: Vec<f64> =
        (from..end).map(|index| history.value(index).filter(|_| history.known(index)).unwrap_or(f64::NAN)).collect();
    let mean = mean_known(&values);
    // The first part, in whole weeks or days, and which seasons it can show.
    let whole = if values.len() >= 2 * week { week } else { day };
    let share = values.len() / whole / LEARNED_SHARE;
    let all_but_lesson = values.len().saturating_sub(MAX_LESSON_STEPS) / whole;
    let learned_from = share.max(all_but_lesson).max(1) * whole;
    let learned_from = if values.len() >= 2 * day { learned_from } else { values.len() / 2 };
    let seasons: &[[usize; 2]] = match values.len() {
        steps if steps >= 2 * week => &[[0, 0], [day, 0], [day, week]],
        steps if steps >= 2 * day => &[[0, 0], [day, 0]],
        _ => &[[0, 0]],
    };

    let leads = spread_leads(horizon_steps);
    let least_alpha = least_alpha(day);
    let (early, late) = values.split_at(learned_from);
    let attempt = |form: Form, unit: Unit, seasons: [usize; 2]| {
        let inward: Vec<f64> = values.iter().map(|&value| unit.inward(value)).collect();
        let places: Vec<Places> = (from..end).map(|index| Places::of(history, index, seasons)).collect();
        let mut state = first_state(&inward[..early.len()], &places, seasons);
        let lesson =
            Lesson { values: &inward[early.len()..], places: &places[early.len()..], leads: &leads, least_alpha };
        let learned = learn(form, &state, &lesson);
        let criterion = learned.criterion() + unit.criterion_correction(late);
        let constants = learned.constants;
        walk(&constants, &mut state, &lesson);
        (criterion, form, Smoother { end_s: history.at_s(end), unit, constants, state })
    };
    let mut best = attempt(Form::default(), Unit::of(mean, false), [0, 0]);
    let mut keep_better = |other: (f64, Form, Smoother)| {
        if other.0 < best.0 {
            best = other;
        }
    };
    for compressed in [false, true] {
        for &seasons in seasons {
            let form = Form { trend: false, seasons: seasons.map(|steps| steps > 0), carry: true };
            keep_better(attempt(form, Unit::of(mean, compressed), seasons));
        }
    }
    // A trend is tried on the best form without.
    let with_trend = attempt(Form { trend: true, ..best.1 }, best.2.unit, best.2.state.lengths());
    let ets = if with_trend.0 < best.0 { with_trend.2 } else { best.2 };
    if !ets.state.level.is_finite() {
        return Err(ModelError::NotEstimated { model: NAME, message: "the level left every bound".to_owned() });
    }
    Ok(ets)
}

/// Averages over the first part: figures by place, and the level of its last day.
fn first_state(values: &[f64], places: &[Places], seasons: [usize; 2]) -> State {
    let mut rest = values.to_vec();
    let mut figures: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for (season, steps) in seasons.into_iter().enumerate().filter(|(_, steps)| *steps > 0) {
        let (mut sums, mut counts) = (vec![0.0; steps], vec![0.0; steps]);
        let place = |index: usize| places[index].0[season];
        for (number, block) in rest.chunks(steps).enumerate() {
            let level = mean_known(block);
            for (index, value) in block.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                sums[place(number * steps + index)] += value - level;
                counts[place(number * steps + index)] += 1.0;
            }
        }
        figures[season] = sums.iter().zip(&counts).map(|(sum, count)| sum / f64::max(*count, 1.0)).collect();
        for (index, value) in rest.iter_mut().enumerate() {
            *value -= figures[season][place(index)];
        }
    }
    let last_day = seasons[0].max(1).min(rest.len());
    let known: Vec<f64> = rest.iter().copied().filter(|value| !value.is_nan()).collect();
    let level = mean_known(&known[known.len().saturating_sub(last_day)..]);
    State { level, trend: 0.0, carried: 0.0, seasons: figures }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::series::Series;

    fn hourly(hours: usize, rate: impl Fn(usize) -> f64) -> History {
        History::new(&Series::new(0, 3600, (0..hours).map(rate).collect()).unwrap())
    }

    fn ahead(model: &Smoother, history: &History, steps: usize) -> Vec<f64> {
        let mut out = vec![0.0; steps];
        model.forecast(history, history.len(), &mut out);
        out
    }

    /// Noise in -1..1, the same on every machine (the finisher of SplitMix64).
    fn noise(hour: usize) -> f64 {
        let mut mixed = (hour as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    #[test]
    fn what_multiplies_is_smoothed_compressed_and_what_adds_up_is_not() {
        let wave = |hour: usize| (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let adding = hourly(28 * 24, |hour| 100.0 + 30.0 * wave(hour) + 10.0 * noise(hour));
        assert!(!fit(&adding, 28 * 24, 4).unwrap().unit.compressed);
        let multiplying = hourly(28 * 24, |hour| 100.0 * (wave(hour) + 0.3 * noise(hour)).exp());
        assert!(fit(&multiplying, 28 * 24, 4).unwrap().unit.compressed);
    }

    #[test]
    fn seasons_are_kept_where_there_are_any() {
        let week = |hour: usize| if hour / 24 % 7 >= 5 { 40.0 } else { 100.0 };
        let day = |hour: usize| (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let lengths = |rate: &dyn Fn(usize) -> f64| fit(&hourly(28 * 24, rate), 28 * 24, 24).unwrap().state.lengths();
        assert_eq!(lengths(&|hour| week(hour) + 20.0 * day(hour) + noise(hour)), [24, 168]);
        assert_eq!(lengths(&|hour| 100.0 + 20.0 * day(hour) + noise(hour)), [24, 0]);
        assert_eq!(lengths(&|hour| 100.0 + 10.0 * noise(hour)), [0, 0]);
    }

    #[test]
    fn the_state_follows_what_comes_after_the_fit() {
        let rate = |hour: usize| {
            let level = if hour < 30 * 24 { 100.0 } else { 160.0 };
            level + 30.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin() + noise(hour)
        };
        let model = fit(&hourly(28 * 24, rate), 28 * 24, 24).unwrap();
        let later = hourly(42 * 24, rate);
        for (point, hour) in ahead(&model, &later, 24).into_iter().zip(42 * 24..) {
            assert!((point - rate(hour)).abs() < 6.0, "hour {hour}: {point} for {}", rate(hour));
        }
    }

    #[test]
    fn a_day_of_seconds_is_refused() {
        let history = History::new(&Series::new(0, 1, vec![1.0; 200_000]).unwrap());
        let refused = fit(&history, 200_000, 60).unwrap_err();
        assert_eq!(refused, ModelError::SeasonTooLong { model: "ets", season_steps: 86_400, most: 1_440 });
        let refused = fit(&hourly(20, |_| 1.0), 20, 4).unwrap_err();
        assert_eq!(refused, ModelError::TooFewSteps { model: "ets", have: 20, need: 24 });
    }

    #[test]
    fn five_minutes_and_minutes_are_fitted() {
        for (step_s, days) in [(300, 28), (60, 6)] {
            let day = 86_400 / step_s as usize;
            let rate = |step: usize| 50.0 + 20.0 * (step as f64 / day as f64 * std::f64::consts::TAU).sin();
            let history = History::new(&Series::new(0, step_s, (0..days * day).map(rate).collect()).unwrap());
            let model = fit(&history, history.len(), 12).unwrap();
            for (point, step) in ahead(&model, &history, 12).into_iter().zip(history.len()..) {
                assert!((point - rate(step)).abs() < 0.5, "step {step}: {point} for {}", rate(step));
            }
        }
    }
}
