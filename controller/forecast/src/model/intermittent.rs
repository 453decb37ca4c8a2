//! Sparse demand: how much is asked for when something is asked for, and how often that is, smoothed apart.
//!
//! The intuition: on a series that is mostly zero, smoothing the values themselves jumps after each demand and decays until
//! the next. Croston's method smooths the sizes of demands and the intervals between them and forecasts their ratio, the
//! same for every step; Syntetos and Boylan take half the constant off, since the ratio of two means is too large; Teunter,
//! Syntetos and Babai smooth the chance of a demand at every step instead, so that a service that nobody calls any more is
//! forgotten. Which of them, and how fast it smooths, is the one of a small grid with the smallest squared error over the
//! leads that will be asked for.
//!
//! A demand is a step with a value above zero. Missing steps count as no time at all. No season, so a day of any length
//! will do; the point is a mean, and what a burst needs is for the quantiles to say.
//!
//! Sources: Croston, Forecasting and stock control for intermittent demands, 1972; Syntetos and Boylan, 2005; Teunter,
//! Syntetos and Babai, 2011.

use serde::{Deserialize, Serialize};

use super::smoothing::spread_leads;
use super::walk::Walk;
use crate::history::History;

/// Steps that are learned from; 24 walks of 20,000 steps are half a million steps of a few nanoseconds.
const MAX_STEPS: usize = 20_000;
/// How fast sizes and intervals are smoothed; what Croston and those after him tried.
const PACES: [f64; 4] = [0.05, 0.1, 0.2, 0.3];
/// How fast the chance of a demand is smoothed: it has a value at every step, not only at demands.
const CHANCE_PACES: [f64; 4] = [0.005, 0.02, 0.05, 0.1];

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Method {
    Croston { pace: f64 },
    SyntetosBoylan { pace: f64 },
    TeunterSyntetosBabai { pace: f64, chance_pace: f64 },
}

impl Method {
    fn all() -> impl Iterator<Item = Self> {
        let croston = PACES.into_iter().map(|pace| Self::Croston { pace });
        let syntetos_boylan = PACES.into_iter().map(|pace| Self::SyntetosBoylan { pace });
        let teunter = PACES.into_iter().flat_map(|pace| {
            CHANCE_PACES.into_iter().map(move |chance_pace| Self::TeunterSyntetosBabai { pace, chance_pace })
        });
        croston.chain(syntetos_boylan).chain(teunter)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Intermittent {
    end_s: i64,
    method: Method,
    demands: Demands,
}

/// What is known of the demands so far. `None` until there was a first.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Demands {
    size: Option<f64>,
    /// Mean steps between demands.
    interval: Option<f64>,
    chance: Option<f64>,
    /// Steps since the last demand.
    since: u32,
}

/// The old value drawn towards the new one, or the new one if there is no old.
fn smoothed(old: Option<f64>, new: f64, pace: f64) -> Option<f64> {
    Some(old.map_or(new, |old| old + pace * (new - old)))
}

impl Demands {
    fn take(&mut self, method: Method, value: f64) {
        let (pace, chance_pace) = match method {
            Method::Croston { pace } | Method::SyntetosBoylan { pace } => (pace, 0.0),
            Method::TeunterSyntetosBabai { pace, chance_pace } => (pace, chance_pace),
        };
        self.since = self.since.saturating_add(1);
        self.chance = smoothed(self.chance, if value > 0.0 { 1.0 } else { 0.0 }, chance_pace);
        if value > 0.0 {
            self.size = smoothed(self.size, value, pace);
            self.interval = smoothed(self.interval, f64::from(self.since), pace);
            self.since = 0;
        }
    }

    fn mean(&self, method: Method) -> f64 {
        let (size, interval) = (self.size.unwrap_or(0.0), self.interval.unwrap_or(1.0));
        match method {
            Method::Croston { .. } => size / interval,
            Method::SyntetosBoylan { pace } => (1.0 - pace / 2.0) * size / interval,
            Method::TeunterSyntetosBabai { .. } => size * self.chance.unwrap_or(0.0),
        }
    }
}

impl Intermittent {
    pub(super) fn fit(history: &History, end: usize, horizon_steps: usize) -> Self {
        let end = end.min(history.len());
        let from = end.saturating_sub(MAX_STEPS);
        let known = (from..end).filter(|&index| history.known(index));
        let values: Vec<f64> = known.filter_map(|index| history.value(index)).collect();
        let leads = spread_leads(horizon_steps);
        let mut best = (f64::INFINITY, Method::Croston { pace: PACES[0] }, Demands::default());
        for method in Method::all() {
            let (square, demands) = walk(method, &values, &leads);
            if square < best.0 {
                best = (square, method, demands);
            }
        }
        Self { end_s: history.at_s(end), method: best.1, demands: best.2 }
    }
}

/// Takes in all values; gives the sum of squared errors over the leads, and what is known at the end. The first half only
/// teaches.
fn walk(method: Method, values: &[f64], leads: &[usize]) -> (f64, Demands) {
    let mut demands = Demands::default();
    let mut square = 0.0;
    for (index, &value) in values.iter().enumerate() {
        if index >= values.len() / 2 {
            let mean = demands.mean(method);
            let actuals = leads.iter().filter_map(|lead| values.get(index + lead - 1));
            square += actuals.map(|actual| (actual - mean).powi(2)).sum::<f64>();
        }
        demands.take(method, value);
    }
    (square, demands)
}

impl Walk for Intermittent {
    type State = Demands;

    fn fitted(&self) -> (i64, Demands) {
        (self.end_s, self.demands)
    }

    fn take(&self, demands: &mut Demands, history: &History, index: usize) {
        if let Some(value) = history.value(index).filter(|_| history.known(index)) {
            demands.take(self.method, value);
        }
    }

    fn look_ahead(&self, demands: &Demands, _: &History, _: usize, out: &mut [f64]) {
        out.fill(demands.mean(self.method));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::series::Series;

    const SPARSE: [f64; 20] = [0., 0., 3., 0., 0., 0., 1., 0., 5., 0., 0., 2., 0., 0., 0., 0., 4., 0., 1., 0.];

    /// statsforecast 2.1.1: `CrostonClassic()`, `CrostonSBA()`, `TSB(alpha_d=0.2, alpha_p=0.1)`, fitted to `SPARSE`.
    #[test]
    fn means_are_those_of_statsforecast() {
        for (method, expected) in [
            (Method::Croston { pace: 0.1 }, 0.9189217335837095),
            (Method::SyntetosBoylan { pace: 0.1 }, 0.872975646904524),
            (Method::TeunterSyntetosBabai { pace: 0.2, chance_pace: 0.1 }, 0.7468881608974764),
        ] {
            let mean = walk(method, &SPARSE, &[1]).1.mean(method);
            assert!((mean - expected).abs() < 1e-12, "{method:?}: {mean} for {expected}");
        }
    }

    fn ahead(history: &History, fitted: usize) -> f64 {
        let mut out = [f64::NAN; 24];
        Intermittent::fit(history, fitted, 24).forecast(history, history.len(), &mut out);
        assert!(out.iter().all(|point| *point == out[0]), "{out:?}");
        out[0]
    }

    #[test]
    fn the_rate_of_sparse_demand_is_found() {
        // 6 every tenth hour or so: 0.6 an hour.
        let rate = |hour: usize| if (hour * 7 + hour / 10).is_multiple_of(10) { 6.0 } else { 0.0 };
        let history = History::new(&Series::new(0, 3600, (0..1_000).map(rate).collect()).unwrap());
        let mean = ahead(&history, 900);
        assert!((mean - 0.6).abs() < 0.1, "{mean}");
    }

    #[test]
    fn a_service_that_nobody_calls_any_more_is_forgotten() {
        // Busy, then dead: what the fit has seen of dying makes it forget what comes after as well.
        let rate = |hour: usize| if hour < 600 && hour.is_multiple_of(5) { 10.0 } else { 0.0 };
        let history = History::new(&Series::new(0, 3600, (0..1_600).map(rate).collect()).unwrap());
        let mean = ahead(&history, 1_000);
        assert!(mean < 0.02, "{mean}");
    }

    #[test]
    fn nothing_ever_asked_for_is_none() {
        let history = History::new(&Series::new(0, 1, vec![0.0; 50]).unwrap());
        assert_eq!(ahead(&history, 50), 0.0);
        assert_eq!(ahead(&History::new(&Series::new(0, 1, vec![]).unwrap()), 0), 0.0);
    }
}
