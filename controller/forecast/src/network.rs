//! One neural network for many series: an LSTM that says three quantiles of each step ahead.
//!
//! A network of its own for each series would cost seconds to train and learn one series' noise by heart. One for all
//! learns what series have in common: how much of a departure from yesterday is still there an hour later, when the
//! mean of many days is to be trusted more than the last one, how much wider a far lead is. It is trained once, on
//! windows drawn by chance from all series, and then forecasts any of them, and ones that it has not seen.
//!
//! What it reads and how it speaks (weights of naive forecasts, and a departure from them in spreads) is [`window`]'s
//! story, the arithmetic is [`cell`]'s. It minimises the pinball loss of its quantiles, after Wen et al., A Multi-Horizon
//! Quantile Recurrent Forecaster, 2017; like there, all leads are said at once, from one state.
//!
//! Training runs on one core for as many steps as the caller grants ([`NetworkSettings::steps`]; there is no clock here,
//! [`NetworkSettings::flops_per_step`] tells what a step costs), and the same seed gives the same bits.
//!
//! Leads share the head's numbers beyond [`MAX_SLOTS`]: neighbours a hundredth of a horizon apart are said alike, and the
//! horizon costs nothing in training. A network remembers until when it was trained, so that no backtest asks it about
//! what it has seen.

mod adamw;
mod cell;
mod lesson;
mod real;
mod window;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::history::History;
use crate::model::Shape;
use crate::series::Series;
use adamw::AdamW;
use cell::{Pass, Sizes, Weights};
use lesson::{Lesson, Part, departures};
use window::{BASES, INPUTS, STATICS, Window};

/// The quantiles that a network says.
pub const NETWORK_QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];
/// Where the median is among them.
const MEDIAN: usize = 1;
/// Numbers of the head per slot: a departure per quantile, a weight per base.
const PER_SLOT: usize = NETWORK_QUANTILES.len() + BASES;
/// Most groups of leads that the head tells apart: 96 x 8 numbers from 38 are 29,000 weights, 117 kB.
const MAX_SLOTS: usize = 96;
/// What the weights of the bases begin with, before the softmax: the last value counts a twentieth of the others.
const FIRST_WEIGHTS: [f32; BASES] = [0.0, 0.0, 0.0, 0.0, -3.0];
/// Origins that there have to be in all series together.
const MIN_ORIGINS: usize = 64;
/// Largest network and batch: keeps the buffers of a training below 100 MB.
const MAX_HIDDEN: usize = 256;
const MAX_WINDOW_STEPS: usize = 512;
const MAX_BATCH: usize = 128;
/// The name in errors.
const NAME: &str = "lstm";

/// How large a network is and how long it is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkSettings {
    /// Steps ahead that it forecasts.
    pub horizon_steps: usize,
    /// Size of the hidden state, 1 to 256.
    pub hidden: usize,
    /// Steps before the origin that it reads, 1 to 512.
    pub window_steps: usize,
    /// Windows per training step, 1 to 128.
    pub batch: usize,
    /// Training steps.
    pub steps: usize,
    /// Length of the first training steps.
    pub learning_rate: f64,
    /// All chance comes from it.
    pub seed: u64,
}

impl Default for NetworkSettings {
    /// Windows of three days of hours; 70 MFLOP a step, about 4 ms of CPU, 15 s in all.
    fn default() -> Self {
        Self { horizon_steps: 24, hidden: 32, window_steps: 72, batch: 32, steps: 4_000, learning_rate: 5e-3, seed: 1 }
    }
}

impl NetworkSettings {
    /// Multiplications and additions in one training step; with what a core does of them per second (about 10^10 in
    /// matrices of this size) a time budget becomes a number of steps.
    #[must_use]
    pub fn flops_per_step(&self) -> usize {
        self.batch * self.sizes().flops()
    }

    fn slots(&self) -> usize {
        self.horizon_steps.min(MAX_SLOTS)
    }

    fn sizes(&self) -> Sizes {
        let outputs = self.slots() * PER_SLOT;
        Sizes { inputs: INPUTS, hidden: self.hidden, steps: self.window_steps, statics: STATICS, outputs }
    }

    fn check(&self) -> Result<(), ModelError> {
        let within = (1..=MAX_HIDDEN).contains(&self.hidden)
            && (1..=MAX_WINDOW_STEPS).contains(&self.window_steps)
            && (1..=MAX_BATCH).contains(&self.batch)
            && self.horizon_steps > 0
            && self.learning_rate.is_finite();
        if within {
            Ok(())
        } else {
            Err(ModelError::NotEstimated { model: NAME, message: format!("settings out of range: {self:?}") })
        }
    }
}

/// A trained network; see the module's text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GlobalNetwork {
    horizon_steps: usize,
    slots: usize,
    trained_until_s: i64,
    weights: Weights<f32>,
}

impl GlobalNetwork {
    /// Trains on all of the given series.
    ///
    /// # Errors
    /// The settings are out of range, or there is less than a batch or two of origins to learn from in all series.
    pub fn train(series: &[Series], settings: &NetworkSettings) -> Result<Self, ModelError> {
        let histories: Vec<History> = series.iter().map(History::new).collect();
        let parts: Vec<_> = histories.iter().map(|history| (history, history.len())).collect();
        Self::train_on(&parts, settings)
    }

    /// Trains on the beginnings of histories.
    pub(crate) fn train_on(parts: &[(&History, usize)], settings: &NetworkSettings) -> Result<Self, ModelError> {
        settings.check()?;
        let parts: Vec<Part> = parts.iter().map(|&(history, end)| Part::new(history, end)).collect();
        let trained_until_s = parts.iter().map(|part| part.history.at_s(part.end)).max().unwrap_or(i64::MIN);
        let parts: Vec<Part> = parts.into_iter().filter(|part| part.origins() > 0).collect();
        let have = parts.iter().map(Part::origins).sum();
        if have < MIN_ORIGINS {
            return Err(ModelError::TooFewSteps { model: NAME, have, need: MIN_ORIGINS });
        }

        let (sizes, slots, batch) = (settings.sizes(), settings.slots(), settings.batch);
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut weights = Weights::<f32>::initial(sizes, || random.random());
        for slot in weights.head_bias_mut().chunks_exact_mut(PER_SLOT) {
            slot[NETWORK_QUANTILES.len()..].copy_from_slice(&FIRST_WEIGHTS);
        }
        let mut descent = AdamW::new(sizes.weights(), settings.steps, settings.learning_rate as f32);
        let mut pass = Pass::new(sizes, batch);
        let mut lessons = Vec::with_capacity(batch);
        for _ in 0..settings.steps {
            lessons.clear();
            for sample in 0..batch {
                let part = &parts[random.random_range(0..parts.len())];
                let origin = part.first + random.random_range(0..part.origins());
                // One lead of each slot.
                let ahead: Vec<usize> = (0..slots)
                    .map(|slot| {
                        let begin = (slot * settings.horizon_steps).div_ceil(slots);
                        let end = ((slot + 1) * settings.horizon_steps).div_ceil(slots);
                        random.random_range(begin..end)
                    })
                    .collect();
                let lesson = Lesson::new(part, origin, &sizes, &ahead);
                pass.set_sample(sample, &lesson.window.inputs, &lesson.window.statics);
                lessons.push(lesson);
            }
            pass.forward(&weights);
            let taught: usize = lessons.iter().map(Lesson::taught).sum();
            let weight = 1.0 / (taught.max(1) * NETWORK_QUANTILES.len()) as f32;
            for (sample, lesson) in lessons.iter().enumerate() {
                let said = pass.outputs.column(sample);
                lesson.gradient(said.as_slice(), weight, pass.output_gradient.column_mut(sample).as_mut_slice());
            }
            pass.backward(&weights);
            descent.step(&mut weights.values, &pass.gradient.values);
        }
        if weights.values.iter().any(|weight| !weight.is_finite()) {
            return Err(ModelError::NotEstimated { model: NAME, message: "a weight is not finite".to_owned() });
        }
        Ok(Self { horizon_steps: settings.horizon_steps, slots, trained_until_s, weights })
    }

    /// Steps ahead that it forecasts.
    #[must_use]
    pub fn horizon_steps(&self) -> usize {
        self.horizon_steps
    }

    /// The end of the latest step that it was trained on, unix seconds.
    #[must_use]
    pub fn trained_until_s(&self) -> i64 {
        self.trained_until_s
    }

    /// The quantiles [`NETWORK_QUANTILES`] of the `steps` steps from `origin` on, at most its horizon, from values before
    /// `origin`; in order, not negative, and not calibrated.
    #[must_use]
    pub fn quantiles(&self, history: &History, origin: usize, steps: usize) -> Vec<[f64; NETWORK_QUANTILES.len()]> {
        let mut quantiles = self.speak(history, &Shape::of(history, origin), origin, steps);
        for step in &mut quantiles {
            step.sort_by(f64::total_cmp);
            *step = step.map(|value| value.max(0.0));
        }
        quantiles
    }

    /// The medians of the steps from `origin` on, unbounded.
    pub(crate) fn medians(&self, history: &History, shape: &Shape, origin: usize, out: &mut [f64]) {
        out.fill(f64::NAN);
        let said = self.speak(history, shape, origin, out.len());
        for (point, said) in out.iter_mut().zip(said) {
            *point = said[MEDIAN];
        }
    }

    fn speak(
        &self,
        history: &History,
        shape: &Shape,
        origin: usize,
        steps: usize,
    ) -> Vec<[f64; NETWORK_QUANTILES.len()]> {
        if !self.weights.are_complete() {
            return Vec::new();
        }
        let ahead: Vec<usize> = (0..steps.min(self.horizon_steps)).collect();
        let window = Window::at(history, shape, origin, &self.weights.sizes, &ahead);
        let mut pass = Pass::new(self.weights.sizes, 1);
        pass.set_sample(0, &window.inputs, &window.statics);
        pass.forward(&self.weights);
        let said = pass.outputs.as_slice();
        let leads = ahead.iter().zip(&window.first_base).zip(window.other_bases.chunks_exact(BASES - 1));
        leads
            .map(|((ahead, first), others)| {
                let slot = ahead * self.slots / self.horizon_steps;
                let said = said.get(slot * PER_SLOT..(slot + 1) * PER_SLOT).unwrap_or(&[0.0; PER_SLOT]);
                let departures = departures(said, others, window.spread).0;
                departures.map(|departure| shape.rate(window.level + first + f64::from(departure)))
            })
            .collect()
    }
}
