//! Prophet's model, natively: a trend of straight pieces, Fourier seasons of day, week and year, and weights for occasions.
//!
//! Why: where the history is long and the pattern smooth, a curve through all of it is steadier than any lag, it knows the
//! year, and it goes through gaps and past anomalies without a bend. What it cannot do is follow: a curve does not know
//! what happened an hour ago. So there are two models of it: [`ModelKind::Prophet`](super::ModelKind::Prophet) is the
//! curve alone, as Prophet gives it, and [`ModelKind::ProphetCarried`](super::ModelKind::ProphetCarried) adds to each lead
//! the share of the last miss that was still there so many steps later in training ([`Carry`]).
//! On held-out parts of four real traces the second was the better one at every horizon, by 6 % of the loss a day ahead
//! up to twenty times one step ahead.
//!
//! It is Prophet in all that decides a forecast: changepoints at the same rows, the same waves, priors and scales, and the
//! most probable parameters; the suite holds it to Prophet's own figures within 1 %. It differs in how it gets there
//! (exact blocks instead of L-BFGS, see [`posterior`]) and in that long histories are thinned: above [`MAX_ROWS`] every
//! n-th row is used, n sharing no factor with the day, and each counts n times, so that the priors weigh as if all were
//! there. The trend is not refitted as the origin rolls, and what Prophet says about uncertainty is left out: quantiles
//! come from residuals here.
//!
//! Not here: logistic growth, conditional seasons, holidays by country, MCMC. (Taylor and Letham, Forecasting at scale, 2018.)

mod carry;
mod design;
mod lasso;
mod posterior;

use serde::{Deserialize, Serialize};

pub use design::Occasion;

use self::carry::Carry;
use self::design::Design;
use self::posterior::{Rows, Weights};
use super::Model;
use crate::backtest::coprime_stride;
use crate::error::ModelError;
use crate::history::History;

/// Most rows that are used: four weeks of five-minute steps. At 41 columns that is 7 Mflop for the Gram matrix and
/// 2.6 MB while it is made.
const MAX_ROWS: usize = 8_064;
/// Fewest known rows: below a day of hours a slope is noise.
const MIN_ROWS: usize = 24;
/// Most occasions; each is a column.
const MAX_OCCASIONS: usize = 64;
/// Prophet's prior deviation of the seasons' weights, in units of the largest value.
const SEASON_SCALE: f64 = 10.0;
const NAME: &str = "prophet";

/// Whether seasons and occasions add to the trend or multiply it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Seasonality {
    /// They add to it: the wave stays as high however the level grows.
    #[default]
    Additive,
    /// They are shares of it: the wave grows with the level.
    Multiplicative,
}

/// How to fit; the default is Prophet's.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProphetOptions {
    /// How seasons and occasions join the trend.
    pub seasonality: Seasonality,
    /// Kinds of events, at most 64. Those in the future count by their weight learned from those in the past.
    pub occasions: Vec<Occasion>,
    /// Add what is left of the last miss. Not Prophet's.
    pub carry_last_miss: bool,
}

/// A fitted curve; see the module's text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prophet {
    design: Design,
    seasonality: Seasonality,
    /// Units per second of one scaled unit.
    unit: f64,
    trend: Vec<f64>,
    features: Vec<f64>,
    carry: Option<Carry>,
}

impl Prophet {
    /// Fits the curve to the known values among the first `end` steps; `horizon_steps` matters only to what is carried.
    ///
    /// # Errors
    /// Fewer than 24 known steps, more than 64 occasions or one with a prior that is none, or no solution.
    pub fn fit(
        history: &History,
        end: usize,
        horizon_steps: usize,
        options: &ProphetOptions,
    ) -> Result<Self, ModelError> {
        let refused = |message: &str| ModelError::NotEstimated { model: NAME, message: message.to_owned() };
        if options.occasions.len() > MAX_OCCASIONS {
            return Err(refused("more than 64 occasions"));
        }
        if options.occasions.iter().any(|occasion| !(occasion.prior_scale > 0.0 && occasion.prior_scale.is_finite())) {
            return Err(refused("the prior deviation of an occasion is not a positive number"));
        }
        let known = |index: &usize| history.known(*index);
        let rows: Vec<(i64, f64)> = (0..end.min(history.len()))
            .filter(known)
            .filter_map(|index| Some((history.at_s(index), history.value(index)?)))
            .collect();
        if rows.len() < MIN_ROWS {
            return Err(ModelError::TooFewSteps { model: NAME, have: rows.len(), need: MIN_ROWS });
        }
        let at_s: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let design = Design::new(&at_s, history.step_s(), options.occasions.clone());
        let largest = rows.iter().map(|row| row.1).fold(0.0, f64::max);
        let unit = if largest > 0.0 { largest } else { 1.0 };

        let is_flat = rows.iter().all(|row| row.1 == rows[0].1);
        let prior_scales = design.prior_scales(SEASON_SCALE);
        let Weights { trend, features } = if is_flat {
            // Prophet's own exception: the line through it, and no noise.
            let mut trend = vec![0.0; design.trend_columns()];
            trend[1] = rows[0].1 / unit;
            Weights { trend, features: vec![0.0; prior_scales.len()] }
        } else {
            let stride = coprime_stride(rows.len(), MAX_ROWS, history.day_steps());
            let mut taken = Rows {
                targets: Vec::new(),
                trend: Vec::new(),
                trend_columns: design.trend_columns(),
                features: Vec::new(),
                prior_scales,
                weight: 1.0,
            };
            for &(at_s, value) in rows.iter().step_by(stride) {
                taken.targets.push(value / unit);
                design.push_trend(at_s, &mut taken.trend);
                design.push_features(at_s, &mut taken.features);
            }
            taken.weight = rows.len() as f64 / taken.targets.len() as f64;
            let weights = match options.seasonality {
                Seasonality::Additive => taken.fit_sum(),
                Seasonality::Multiplicative => taken.fit_product(),
            };
            weights.ok_or_else(|| refused("the normal equations have no solution"))?
        };
        let mut fitted = Self { design, seasonality: options.seasonality, unit, trend, features, carry: None };
        if options.carry_last_miss {
            let curve = fitted.curve(history, 0, end.min(history.len()));
            fitted.carry = Some(Carry::learn(history, &curve, horizon_steps));
        }
        Ok(fitted)
    }

    /// The curve over the steps `from..to` of `history`, past or future.
    fn curve(&self, history: &History, from: usize, to: usize) -> Vec<f64> {
        let (mut trend, mut features) = (Vec::new(), Vec::new());
        let dot = |row: &[f64], weights: &[f64]| row.iter().zip(weights).map(|(a, b)| a * b).sum::<f64>();
        (from..to)
            .map(|index| {
                trend.clear();
                features.clear();
                let at_s = history.at_s(index);
                self.design.push_trend(at_s, &mut trend);
                self.design.push_features(at_s, &mut features);
                let (level, season) = (dot(&trend, &self.trend), dot(&features, &self.features));
                self.unit
                    * match self.seasonality {
                        Seasonality::Additive => level + season,
                        Seasonality::Multiplicative => level * (1.0 + season),
                    }
            })
            .collect()
    }

    /// Adds what is left of the last known miss before `origin`.
    fn add_carried(&self, history: &History, origin: usize, out: &mut [f64], curve_at: impl Fn(usize) -> f64) {
        if let Some(carry) = &self.carry
            && let Some((age, index)) = carry::last_known(history, origin)
        {
            let miss = history.value(index).unwrap_or(0.0) - curve_at(index);
            for (lead, point) in (1..).zip(out) {
                *point += carry.share(lead + age) * miss;
            }
        }
    }
}

impl Model for Prophet {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        out.copy_from_slice(&self.curve(history, origin, origin + out.len()));
        self.add_carried(history, origin, out, |index| {
            self.curve(history, index, index + 1).first().copied().unwrap_or(0.0)
        });
    }

    fn roll(&self, history: &History, origins: &[usize], steps: usize, visit: &mut dyn FnMut(usize, &mut [f64])) {
        let (Some(&first), Some(&last)) = (origins.first(), origins.last()) else { return };
        // Where windows overlap, the curve is drawn once.
        let from = first.saturating_sub(carry::OLDEST);
        let shared = (last + steps - from <= origins.len() * steps).then(|| self.curve(history, from, last + steps));
        let mut points = vec![0.0; steps];
        for &origin in origins {
            match &shared {
                Some(curve) => {
                    points.copy_from_slice(&curve[origin - from..origin - from + steps]);
                    self.add_carried(history, origin, &mut points, |index| curve[index - from]);
                }
                None => self.forecast(history, origin, &mut points),
            }
            visit(origin, &mut points);
        }
    }
}
