//! How much work machines really do beside what was declared: a factor, of one pool for one service.
//!
//! The intuition: an instance that serves 80 requests per second at a utilisation of 0.5 can serve 160. What a pair of
//! demand served and utilisation implies, over what was declared, is one reading of the factor. Readings at low load say
//! little, since idle work weighs in them, so they count by their utilisation and not at all below a fifth. Single readings
//! may be wild (a deployment, a garbage collection, a bad scrape): each moves the factor by a bounded step, in logarithms,
//! where the bound is what readings usually deviate by: a tenth of wild ones hardly moves it, while readings that are all
//! far away are believed. The factor never leaves [`RANGE`].
//!
//! Source: Huber, Robust estimation of a location parameter, 1964 (the bounded influence); dynamo's correction factors.

use serde::{Deserialize, Serialize};

use super::error::{LearningError, within};

/// Least and largest factor: beyond, it is the declaration that is wrong, not the machine.
pub const RANGE: (f64, f64) = (0.25, 4.0);
/// Utilisation below which a reading says nothing.
const LEAST_UTILISATION: f64 = 0.2;
/// Largest utilisation taken: bursts beyond what was bought.
const MAX_UTILISATION: f64 = 4.0;
/// Most that one reading is taken to be away, in logarithms: as far as the range goes.
const MAX_AWAY: f64 = 2.0 * std::f64::consts::LN_2;
/// Mean deviations beyond which a reading counts no more than that (Huber's 1.345 standard ones, of a normal), and the least
/// step that is allowed however steady readings are.
const HUBER_MEAN_DEVIATIONS: f64 = 1.7;
const MIN_STEP: f64 = 0.05;
/// Most demand taken, units per second.
const MAX_RATE: f64 = 1e30;

/// What instances served, and how busy they were with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Demand served by one instance, units per second.
    pub served_per_s: f64,
    /// Share of what does the work in use, 0 to 1 and some beyond.
    pub utilisation: f64,
    /// Demand that one instance was declared to serve in full use, units per second.
    pub declared_per_s: f64,
}

/// The performance factor of one pool for one service; see the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PerformanceFactor {
    declared: f64,
    weight_readings: f64,
    half_life_readings: f64,
    log_change: f64,
    readings: f64,
    /// Fading mean of absolute deviations from the factor, in logarithms.
    spread: f64,
}

impl PerformanceFactor {
    /// Nothing learned yet: the factor is `declared`, which counts as `weight_readings` readings; of more readings than
    /// `half_life_readings` the older ones count less.
    ///
    /// # Errors
    /// The factor is not within [`RANGE`].
    pub fn new(declared: f64, weight_readings: f64, half_life_readings: f64) -> Result<Self, LearningError> {
        let declared = within("performance factors", declared, RANGE.0, RANGE.1)?;
        let weight_readings = within("performance factors", weight_readings, 1.0, 1e6)?;
        let half_life_readings = within("performance factors", half_life_readings, 1.0, 1e6)?;
        Ok(Self { declared, weight_readings, half_life_readings, log_change: 0.0, readings: 0.0, spread: 0.0 })
    }

    /// Takes in one reading.
    ///
    /// # Errors
    /// A number of it is not finite or below 0, the declared rate not above 0, or the utilisation above 4.
    pub fn observe(&mut self, load: Load) -> Result<(), LearningError> {
        let served = within("performance factors", load.served_per_s, 0.0, MAX_RATE)?;
        let utilisation = within("performance factors", load.utilisation, 0.0, MAX_UTILISATION)?;
        let declared = within("performance factors", load.declared_per_s, f64::MIN_POSITIVE, MAX_RATE)?;
        if utilisation < LEAST_UTILISATION || served <= 0.0 {
            return Ok(());
        }
        let weight = utilisation.min(1.0);
        let away = (served / utilisation / declared / self.factor()).ln().clamp(-MAX_AWAY, MAX_AWAY);
        // An exponential mean whose memory is half_life / ln 2 readings, and a plain one until that many were seen.
        let memory = self.half_life_readings / std::f64::consts::LN_2;
        self.readings = (self.readings + weight).min(memory);
        let gain = weight / (self.weight_readings + self.readings);
        let most = (HUBER_MEAN_DEVIATIONS * self.spread).max(MIN_STEP);
        self.spread += weight / (1.0 + self.readings) * (away.abs() - self.spread);
        let (least, highest) = ((RANGE.0 / self.declared).ln(), (RANGE.1 / self.declared).ln());
        self.log_change = (self.log_change + gain * away.clamp(-most, most)).clamp(least, highest);
        Ok(())
    }

    /// Work done beside what was declared; 1.0 where it is as declared of the standard.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.declared * self.log_change.exp()
    }

    /// Mean deviation of readings from it, as a share.
    #[must_use]
    pub fn spread(&self) -> f64 {
        self.spread.exp_m1()
    }

    /// Readings that the factor rests on, older ones counting less.
    #[must_use]
    pub fn readings(&self) -> f64 {
        self.readings
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn declared() -> PerformanceFactor {
        PerformanceFactor::new(1.0, 20.0, 500.0).unwrap()
    }

    fn load(factor: f64, utilisation: f64) -> Load {
        Load { served_per_s: 100.0 * factor * utilisation, utilisation, declared_per_s: 100.0 }
    }

    #[test]
    fn it_finds_what_machines_really_do() {
        for real in [0.5, 0.8, 1.0, 1.6] {
            let mut factor = declared();
            assert_eq!((factor.factor(), factor.readings()), (1.0, 0.0));
            (0..3_000).for_each(|step| factor.observe(load(real, 0.3 + 0.001 * f64::from(step % 500))).unwrap());
            assert!((factor.factor() / real - 1.0).abs() < 0.02, "{real}: {}", factor.factor());
        }
    }

    #[test]
    fn wild_readings_and_idle_ones_hardly_move_it() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut factor = declared();
        for _ in 0..3_000 {
            let wild = random.random::<f64>() < 0.1;
            let noise = 1.0 + 0.1 * (random.random::<f64>() - 0.5);
            factor.observe(load(if wild { 30.0 } else { 0.8 * noise }, 0.6)).unwrap();
            factor.observe(load(0.01, 0.1)).unwrap();
        }
        assert!((factor.factor() / 0.8 - 1.0).abs() < 0.05, "{}", factor.factor());
    }

    #[test]
    fn one_reading_moves_it_by_a_bounded_step_and_none_out_of_range() {
        let mut factor = declared();
        factor.observe(load(1e9, 1.0)).unwrap();
        assert!(factor.factor() < 1.05, "{}", factor.factor());
        (0..100_000).for_each(|_| factor.observe(load(1e9, 1.0)).unwrap());
        assert!(factor.factor() <= RANGE.1 * (1.0 + 1e-12), "{}", factor.factor());
        let before = factor;
        for wrong in [Load { utilisation: f64::NAN, ..load(1.0, 1.0) }, Load { declared_per_s: 0.0, ..load(1.0, 1.0) }]
        {
            assert!(factor.observe(wrong).is_err());
        }
        assert_eq!(factor, before);
    }
}
