//! MSTL: the history taken apart into a day's season, a week's season and the rest; the seasons go on as they were in their
//! last cycle, and the rest as exponential smoothing says.
//!
//! The intuition: unlike smoothing from left to right, a decomposition sees each value from both sides, so its figures are
//! good ones after few weeks ([`decomposition`](super::decomposition)). Values are taken plain or compressed, as seasons
//! add up or multiply, and the rest is smoothed with or without a damped trend, whichever Akaike's criterion prefers.
//!
//! At origins after the fit the figures stay as they are, and level, trend and carried error
//! ([`smoothing`](super::smoothing)) take in each value less its figures, so a forecast costs nothing that grows with the
//! history. To decompose again at every step would cost a fit a step for figures that hardly change within a week: figures
//! are renewed by the next fit.

use super::decomposition::Decomposition;
use super::smoothing::{Form, Lesson, Smoother, State, learn, least_alpha, mean_known, spread_leads, walk};
use crate::error::ModelError;
use crate::history::History;

/// What the rest may be smoothed as; the simpler one first.
const FORMS: [Form; 2] = [
    Form { trend: false, seasons: [false, false], carry: true },
    Form { trend: true, seasons: [false, false], carry: true },
];

/// Takes the history apart and learns how its rest is smoothed.
pub(super) fn fit(history: &History, end: usize, horizon_steps: usize) -> Result<Smoother, ModelError> {
    let end = end.min(history.len());
    let leads = spread_leads(horizon_steps);
    let least_alpha = least_alpha(history.day_steps());
    let parts = Decomposition::of("mstl", history, end)?;
    // The rest has no seasons; the state gets its figures when the rest has been walked through.
    let lesson = Lesson { values: parts.lesson(), places: &[], leads: &leads, least_alpha };
    let first_day = &lesson.values[..history.day_steps().min(lesson.values.len())];
    let mut state = State { level: mean_known(first_day), ..State::default() };
    let [simple, with_trend] = FORMS.map(|form| learn(form, &state, &lesson));
    let learned = if with_trend.criterion() < simple.criterion() { with_trend } else { simple };
    let constants = learned.constants;
    walk(&constants, &mut state, &lesson);
    state.seasons = parts.figures;
    Ok(Smoother { end_s: history.at_s(end), unit: parts.unit, constants, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::series::Series;

    fn hourly(hours: usize, rate: impl Fn(usize) -> f64) -> History {
        History::new(&Series::new(7 * 3600, 3600, (0..hours).map(rate).collect()).unwrap())
    }

    fn rate(hour: usize) -> f64 {
        let day = 30.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let week = if hour / 24 % 7 >= 5 { -40.0 } else { 16.0 };
        200.0 + 0.05 * hour as f64 + day + week
    }

    fn assert_follows(model: &Smoother, history: &History, steps: usize) {
        let mut out = vec![0.0; steps];
        model.forecast(history, history.len(), &mut out);
        for (point, hour) in out.into_iter().zip(history.len()..) {
            assert!((point / rate(hour) - 1.0).abs() < 0.03, "hour {hour}: {point} for {}", rate(hour));
        }
    }

    #[test]
    fn two_seasons_and_a_trend_are_taken_apart_and_put_together() {
        let history = hourly(28 * 24, rate);
        assert_follows(&fit(&history, 28 * 24, 168).unwrap(), &history, 168);
    }

    #[test]
    fn figures_stay_and_the_level_follows_after_the_fit() {
        let model = fit(&hourly(28 * 24, rate), 28 * 24, 24).unwrap();
        assert_follows(&model, &hourly(33 * 24 + 5, rate), 24);
        // Only the newest days are handed over: the same places, another first step.
        let newest = Series::new((7 + 33 * 24) * 3600, 3600, (33 * 24..35 * 24).map(rate).collect()).unwrap();
        let mut out = [0.0; 24];
        model.forecast(&History::new(&newest), 48, &mut out);
        for (point, hour) in out.into_iter().zip(35 * 24..) {
            assert!((point / rate(hour) - 1.0).abs() < 0.03, "hour {hour}: {point} for {}", rate(hour));
        }
    }

    #[test]
    fn a_gap_is_no_level() {
        // Two days missing right before the end, filled with the day before them.
        let gap = 26 * 24..28 * 24;
        let history = hourly(28 * 24, |hour| if gap.contains(&hour) { f64::NAN } else { rate(hour) });
        let model = fit(&history, 28 * 24, 24).unwrap();
        let mut out = [0.0; 24];
        model.forecast(&history, 28 * 24, &mut out);
        for (point, hour) in out.into_iter().zip(28 * 24..) {
            assert!((point / rate(hour) - 1.0).abs() < 0.15, "hour {hour}: {point} for {}", rate(hour));
        }
    }
}
