//! Forecasts of what requests will cost: each kept quantile is a series, forecast by a model of this crate, and calibrated
//! together on held-out steps.
//!
//! The models are few and cheap, since there are nine series a key: the two baselines and the seasonal profile. One is
//! chosen for all quantiles, so that they move together; a baseline stays unless the profile does clearly better on
//! held-out requests ([`comparison`](crate::comparison)). Two held-out stretches at the end, a quarter of the history each and at most a week: calibrated on the first,
//! scored on the second, and the forecaster that is given is calibrated on both.
//!
//! What it does not do: follow single requests, or adapt between fits; costs change with versions, and a fit is cheap.

use std::ops::Range;
use std::sync::Arc;

use super::CostError;
use super::calibration::{Calibration, Point, Sample};
use super::history::CostHistory;
use super::summary::{COST_LEVELS, CostSummary, between};
use crate::backtest::coprime_stride;
use crate::calendar::WEEK_S;
use crate::comparison::BlockLosses;
use crate::conformal::ResidualQuantiles;
use crate::history::History;
use crate::joint::{Quantiles, Sampled};
use crate::model::combination::octave;
use crate::model::{FittedModel, ModelKind};

/// Models that are tried, baselines first.
const CANDIDATES: [ModelKind; 3] = [ModelKind::LastValue, ModelKind::SeasonalNaive, ModelKind::SeasonalProfile];
/// Steps with requests that a fit needs: twelve in each held-out stretch, and as many again to learn from.
const MIN_STEPS: usize = 48;
/// Most origins in a held-out stretch. With one lead per octave of a week of minutes, 14, it is 4,200 samples of 220
/// bytes, 0.9 MB while fitting.
const MAX_ORIGINS: usize = 300;

/// A fitted model of each quantile with its calibration; see the module's text.
#[derive(Debug, Clone)]
pub struct CostForecaster {
    step_s: u32,
    horizon_steps: usize,
    /// Of each of [`COST_LEVELS`], then of the mean.
    models: Vec<FittedModel>,
    /// By octave of leads.
    calibrations: Vec<Calibration>,
    report: CostReport,
}

/// What was chosen and why.
#[derive(Debug, Clone, PartialEq)]
pub struct CostReport {
    /// The model that forecasts.
    pub chosen: ModelKind,
    /// Each model's held-out pinball loss, as a share of the mean cost.
    pub losses: Vec<(ModelKind, f64)>,
}

/// The costs of one step's requests, as forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct CostStep {
    /// When the step begins, unix seconds.
    pub start_s: i64,
    /// Steps ahead of the history: 1 is the step that begins where it ends.
    pub lead: usize,
    costs: [f64; COST_LEVELS.len()],
    mean: MeanCost,
}

/// The mean cost of a step's requests, as a distribution: it differs from step to step by chance too.
#[derive(Debug, Clone, PartialEq)]
pub struct MeanCost {
    point: f64,
    unit: f64,
    residuals: Arc<ResidualQuantiles>,
}

impl Quantiles for MeanCost {
    fn quantile(&self, p: f64) -> f64 {
        (self.point + self.unit * self.residuals.quantile(p)).max(0.0)
    }
}

impl CostStep {
    /// The cost that a request in this step does not exceed with probability `p`, in units; finite, not negative, and not
    /// falling when `p` rises. Beyond the first and the last of [`COST_LEVELS`] it is that one's: nothing is extrapolated.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        between(&COST_LEVELS, &self.costs, p)
    }

    /// The mean cost of the step's requests, units per request.
    #[must_use]
    pub fn mean(&self) -> &MeanCost {
        &self.mean
    }

    /// Demand in this step, units per second, when requests come at `rate` per second and their number says nothing about
    /// what each costs.
    #[must_use]
    pub fn demand(&self, rate: &impl Quantiles) -> Sampled {
        Sampled::product(rate, &self.mean)
    }
}

impl Quantiles for CostStep {
    fn quantile(&self, p: f64) -> f64 {
        CostStep::quantile(self, p)
    }
}

impl CostForecaster {
    /// Chooses a model on the end of the history and fits it to all of it.
    ///
    /// # Errors
    /// Fewer than 48 steps had requests, or the horizon is not within a week.
    pub fn fit(history: &CostHistory, horizon_steps: usize) -> Result<Self, CostError> {
        let longest = (WEEK_S / i64::from(history.step_s())) as usize;
        if !(1..=longest).contains(&horizon_steps) {
            return Err(CostError::Horizon { horizon_steps, longest });
        }
        let have = history.known_steps();
        if have < MIN_STEPS {
            return Err(CostError::TooShort { have, need: MIN_STEPS });
        }
        let held_out = HeldOut::of(history, horizon_steps)?;
        let mut losses = Vec::with_capacity(CANDIDATES.len());
        let mut best: Option<(ModelKind, Trial, BlockLosses)> = None;
        for kind in CANDIDATES {
            let trial = held_out.try_model(kind)?;
            let found = held_out.losses(&trial);
            losses.push((kind, found.mean()));
            // Between baselines the better one, the profile only if it is clearly better than that.
            let is_better = |best: &BlockLosses| match kind.is_baseline() {
                true => found.mean() < best.mean(),
                false => found.clearly_below(best),
            };
            if best.as_ref().is_none_or(|(_, _, best)| is_better(best)) {
                best = Some((kind, trial, found));
            }
        }
        let (chosen, calibrations) = match &best {
            Some((kind, trial, _)) => (*kind, held_out.calibrations(trial)),
            None => (ModelKind::LastValue, Vec::new()),
        };
        let models = held_out.fit(chosen, held_out.len())?;
        let report = CostReport { chosen, losses };
        Ok(Self { step_s: history.step_s(), horizon_steps, models, calibrations, report })
    }

    /// Forecasts the steps after `recent`, the newest history.
    ///
    /// # Errors
    /// `recent` has another step than the history of the fit.
    pub fn predict(&self, recent: &CostHistory) -> Result<Vec<CostStep>, CostError> {
        if recent.step_s() != self.step_s {
            return Err(CostError::StepMismatch { fitted_s: self.step_s, got_s: recent.step_s() });
        }
        let origin = recent.steps().len();
        let mut points = vec![Point { costs: [0.0; COST_LEVELS.len()], mean: 0.0 }; self.horizon_steps];
        let mut track = vec![0.0; self.horizon_steps];
        for (number, (model, series)) in self.models.iter().zip(recent.tracks()?).enumerate() {
            model.forecast(&History::new(&series), origin, &mut track);
            points.iter_mut().zip(&track).for_each(|(point, &value)| point.set(number, value));
        }
        let steps = points.iter().zip(1..).map(|(point, lead)| {
            let calibration = self.calibrations.get(octave(lead)).or(self.calibrations.last());
            let uncalibrated = || Calibration::of(&[], point.mean);
            let calibration = calibration.cloned().unwrap_or_else(uncalibrated);
            let mean = MeanCost {
                point: point.mean,
                unit: calibration.unit(point.mean),
                residuals: Arc::clone(&calibration.mean),
            };
            CostStep { start_s: recent.at_s(origin + lead - 1), lead, costs: calibration.calibrate(point), mean }
        });
        Ok(steps.collect())
    }

    /// What was chosen and why.
    #[must_use]
    pub fn report(&self) -> &CostReport {
        &self.report
    }
}

impl Point {
    /// Sets the quantile of a level, or after the last one the mean.
    fn set(&mut self, track: usize, value: f64) {
        *self.costs.get_mut(track).unwrap_or(&mut self.mean) = value;
    }
}

/// A history with two stretches at its end that forecasts are tried on.
struct HeldOut<'a> {
    steps: &'a [Option<CostSummary>],
    tracks: Vec<History>,
    mean_cost: f64,
    horizon_steps: usize,
    stretches: [Range<usize>; 2],
}

/// For each of the two stretches, samples by octave of leads.
type Trial = [Vec<Vec<Sample>>; 2];

impl<'a> HeldOut<'a> {
    fn of(history: &'a CostHistory, horizon_steps: usize) -> Result<Self, CostError> {
        let tracks: Vec<History> = history.tracks()?.iter().map(History::new).collect();
        let steps = history.steps();
        let known = || steps.iter().flatten();
        let mean_cost = known().map(CostSummary::mean).sum::<f64>() / known().count().max(1) as f64;
        let len = steps.len();
        let quarter = (len / 4).min(tracks.first().map_or(len, History::week_steps));
        let stretches = [len - 2 * quarter..len - quarter, len - quarter..len];
        Ok(Self { steps, tracks, mean_cost, horizon_steps, stretches })
    }

    fn len(&self) -> usize {
        self.steps.len()
    }

    /// One model of each track, fitted to the steps before `end`.
    fn fit(&self, kind: ModelKind, end: usize) -> Result<Vec<FittedModel>, CostError> {
        let fit = |track: &History| kind.fit(track, end, self.horizon_steps).map_err(CostError::Model);
        self.tracks.iter().map(fit).collect()
    }

    fn try_model(&self, kind: ModelKind) -> Result<Trial, CostError> {
        let [first, second] = &self.stretches;
        Ok([self.roll(kind, first)?, self.roll(kind, second)?])
    }

    /// Forecasts of the stretch from origins within, by a model that has seen nothing of it. Of each octave one lead per
    /// origin, all of them in turn.
    fn roll(&self, kind: ModelKind, stretch: &Range<usize>) -> Result<Vec<Vec<Sample>>, CostError> {
        let day_steps = self.tracks.first().map_or(1, History::day_steps);
        let stride = coprime_stride(stretch.len(), MAX_ORIGINS, day_steps);
        let origins: Vec<usize> = stretch.clone().step_by(stride).collect();
        let octaves = octave(self.horizon_steps) + 1;
        // Where each forecast is of: by origin, then by octave.
        let targets: Vec<Option<usize>> = origins
            .iter()
            .enumerate()
            .flat_map(|(number, &origin)| {
                (0..octaves)
                    .map(move |octave| (1 << octave) + number * 7 % (1 << octave))
                    .map(move |lead| (origin, lead))
            })
            .map(|(origin, lead)| {
                let target = origin + lead - 1;
                (lead <= self.horizon_steps && target < stretch.end).then_some(target)
            })
            .collect();
        let mut points = vec![Point { costs: [0.0; COST_LEVELS.len()], mean: 0.0 }; targets.len()];
        for (track, (model, history)) in self.fit(kind, stretch.start)?.iter().zip(&self.tracks).enumerate() {
            let mut row = 0;
            model.roll(history, &origins, self.horizon_steps, |origin, forecast| {
                for place in row..row + octaves {
                    if let Some(&value) = targets[place].and_then(|target| forecast.get(target - origin)) {
                        points[place].set(track, value);
                    }
                }
                row += octaves;
            });
        }
        let mut by_octave = vec![Vec::with_capacity(origins.len()); octaves];
        for (place, (target, point)) in targets.into_iter().zip(points).enumerate() {
            if let Some(came) = target.and_then(|target| self.steps[target]) {
                by_octave[place % octaves].push(Sample { point, came });
            }
        }
        Ok(by_octave)
    }

    /// Losses on the second stretch, calibrated on the first, as shares of the mean cost; octaves count alike.
    fn losses(&self, [calibrating, scoring]: &Trial) -> BlockLosses {
        let mut losses = BlockLosses::default();
        let unit = if self.mean_cost > 0.0 { self.mean_cost } else { 1.0 };
        for (calibrating, scored) in calibrating.iter().zip(scoring) {
            let (calibration, count) = (Calibration::of(calibrating, self.mean_cost), scored.len() as f64);
            for (place, sample) in scored.iter().enumerate() {
                losses.take(place as f64 / count, calibration.loss(sample) / unit, 1.0 / count);
            }
        }
        losses
    }

    /// From both stretches, by octave of leads. An octave that none of them is long enough for takes the one before.
    fn calibrations(&self, [first, second]: &Trial) -> Vec<Calibration> {
        let both = first.iter().zip(second).map(|(first, second)| [first.as_slice(), second].concat());
        let known = both.take_while(|samples| !samples.is_empty());
        known.map(|samples| Calibration::of(&samples, self.mean_cost)).collect()
    }
}
