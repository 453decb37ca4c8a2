//! How much of a forecast is the model's, and how much the last value's: as both have done in the last hours.
//!
//! The intuition: a model is right about days that go as days have gone. When the level shifts, it pulls back towards
//! what was usual for as long as that is in its history, and all that time the plain last value is the better forecast.
//! Waiting for the next fit, or for the quality gate to trip, costs days. So the quantiles of both are averaged, with
//! weights that are a power of the inverse of their recent pinball losses: nearly all is the model's while it does as well,
//! nearly nothing when it has lost a third more.
//!
//! Losses fade with time, not with their number, so that it does not matter how often forecasts are made. Leads are pooled
//! by octave: beyond an hour the model may be right again where it is wrong about the next minutes.
//!
//! Deliberately not here: no other model takes part. Seasonal naive was tried as a third: equal losses make it equal
//! parts, and three parts were worse than two on held-out traces.
//!
//! Source: Bates and Granger, The combination of forecasts, 1969 (weights from recent errors); Vincent, 1912 (averages of
//! quantiles, which stay in order).

use crate::model::combination::octave;
use crate::score::{SCORED_QUANTILES, pinball_loss};

/// Steps after which a loss counts half: eight hours of five minutes. On the first 70 % of the traces, 48 to 144 are alike.
const HALF_LIFE_STEPS: f64 = 96.0;
/// The power of the inverse loss. On the same part, below 8 the last value costs where it adds nothing, and above 16
/// little is hedged.
const SHARPNESS: i32 = 12;
/// What the last value is taken to have lost beside the model before either was seen: the model was chosen for a reason.
const HEAD_START: f64 = 1.15;
/// For how many steps of evidence that counts.
const HEAD_START_STEPS: f64 = HALF_LIFE_STEPS / 2.0;

/// Fading losses of a model and of the last value, by octave of leads; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hedge {
    step_s: u32,
    octaves: Vec<Losses>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Losses {
    /// Begin of the newest step that was seen, unix seconds.
    newest_s: i64,
    /// How many steps of time were seen, faded.
    seen_steps: f64,
    samples: f64,
    own: f64,
    last: f64,
}

impl Hedge {
    pub(crate) fn new(step_s: u32, horizon_steps: usize) -> Self {
        Self { step_s, octaves: vec![Losses::default(); octave(horizon_steps) + 1] }
    }

    /// Whether another one was kept for the same step and horizon.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self.step_s == other.step_s && self.octaves.len() == other.octaves.len()
    }

    /// Takes in what came of the step that begins at `start_s`, by the quantiles that each had for it.
    pub(crate) fn observe(
        &mut self,
        lead: usize,
        start_s: i64,
        actual: f64,
        own: impl Fn(f64) -> f64,
        last: impl Fn(f64) -> f64,
    ) {
        let Some(losses) = self.octaves.get_mut(octave(lead)) else {
            return;
        };
        let passed = (start_s - losses.newest_s).max(0) as f64 / f64::from(self.step_s);
        let decay = 0.5_f64.powf(passed / HALF_LIFE_STEPS);
        losses.seen_steps = losses.seen_steps * decay + if losses.samples > 0.0 { passed } else { 1.0 };
        losses.newest_s = losses.newest_s.max(start_s);
        losses.samples = losses.samples * decay + 1.0;
        let loss = |quantile: &dyn Fn(f64) -> f64| {
            SCORED_QUANTILES.iter().map(|&p| pinball_loss(p, quantile(p), actual)).sum::<f64>()
        };
        losses.own = losses.own * decay + loss(&own);
        losses.last = losses.last * decay + loss(&last);
    }

    /// The model's part of a forecast, 0 to 1.
    pub(crate) fn share_of_own(&self, lead: usize) -> f64 {
        let Some(losses) = self.octaves.get(octave(lead)).filter(|losses| losses.samples > 0.0) else {
            return 1.0;
        };
        let (own, last) = (losses.own / losses.samples, losses.last / losses.samples);
        let usual = own.min(last);
        let own = losses.seen_steps * own + HEAD_START_STEPS * usual;
        let last = losses.seen_steps * last + HEAD_START_STEPS * HEAD_START * usual;
        match own.min(last) {
            // Neither or only one has lost anything.
            least if least <= 0.0 => f64::from(u8::from(own <= last)),
            least => {
                let worth = |lost: f64| (least / lost).powi(SHARPNESS);
                worth(own) / (worth(own) + worth(last))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hedge that saw `steps` steps of lead 1, at which the forecasts were `own` and `last` and 10 came.
    fn after(steps: i64, every: i64, own: f64, last: f64) -> Hedge {
        let mut hedge = Hedge::new(300, 1);
        for step in (0..steps).step_by(every as usize) {
            hedge.observe(1, 1_600_000_000 + step * 300, 10.0, |_| own, |_| last);
        }
        hedge
    }

    #[test]
    fn a_model_that_does_as_well_keeps_nearly_all() {
        assert_eq!(after(0, 1, 0.0, 0.0).share_of_own(1), 1.0, "nothing was seen");
        assert!(after(288, 1, 9.0, 8.5).share_of_own(1) > 0.9);
        assert!(after(288, 1, 9.0, 9.0).share_of_own(1) > 0.5, "equal: the model was chosen for a reason");
        assert_eq!(after(288, 1, 10.0, 10.0).share_of_own(1), 1.0, "nothing was lost");
    }

    #[test]
    fn a_model_that_lags_behind_loses_its_part_within_hours_and_has_it_back() {
        let mut hedge = after(2_000, 1, 9.5, 9.0);
        let begin_s = 1_600_000_000 + 2_000 * 300;
        let mut steps = 0;
        while hedge.share_of_own(1) > 0.1 {
            hedge.observe(1, begin_s + steps * 300, 10.0, |_| 5.0, |_| 9.5);
            steps += 1;
        }
        assert!((3..=36).contains(&steps), "{steps} steps");
        let begin_s = begin_s + steps * 300;
        for step in 0..4 * 96 {
            hedge.observe(1, begin_s + step * 300, 10.0, |_| 9.5, |_| 9.0);
        }
        assert!(hedge.share_of_own(1) > 0.9, "{hedge:?}");
    }

    #[test]
    fn how_often_forecasts_are_made_hardly_matters() {
        let [often, seldom] = [1, 7].map(|every| after(300, every, 9.0, 9.1).share_of_own(1));
        assert!((often - seldom).abs() < 0.02, "{often} and {seldom}");
    }

    #[test]
    fn leads_are_apart_by_octave() {
        let mut hedge = Hedge::new(300, 12);
        for step in 0..100 {
            hedge.observe(1, step * 300, 10.0, |_| 5.0, |_| 9.0);
            hedge.observe(9, step * 300, 10.0, |_| 9.0, |_| 5.0);
        }
        assert!(hedge.share_of_own(1) < 0.01 && hedge.share_of_own(12) > 0.99, "{hedge:?}");
        assert_eq!(hedge.share_of_own(2), 1.0, "not seen");
    }
}
