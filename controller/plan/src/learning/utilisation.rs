//! How much of what they have a service's instances really use: fading histograms of CPU and memory utilisation, from
//! which shapes are changed.
//!
//! The intuition, as in Kubernetes' vertical pod autoscaler: buckets whose width grows by 5 %, older samples counting less.
//! CPU that is short only slows, so every sample counts by itself; memory that is short kills, so only the peak of each
//! window counts. Without samples the declared values are given, with few the upper quantile is widened: by a day's worth
//! of evidence it is twice as far, after ten days a tenth.
//!
//! Source: the VPA recommender (decaying histogram, `1 + 1/days` for its upper bound).

use serde::{Deserialize, Serialize};

use super::error::{LearningError, within};
use super::forgetting::{HalfLife, passed_s};

/// Upper end of the first bucket; growth of each next one. 0.01 x 1.05^124 = 4.2, the most that is told apart.
const FIRST: f64 = 0.01;
const GROWTH: f64 = 1.05;
const BUCKETS: usize = 126;
/// Largest utilisation taken: bursts beyond what was bought.
const MAX_UTILISATION: f64 = 4.0;
/// Weight below which a histogram is taken for empty.
const EMPTY: f64 = 1e-6;
const DAY_S: f64 = 86_400.0;

/// What is declared of a service before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeclaredUtilisation {
    /// Of CPU, at any quantile.
    pub cpu: f64,
    /// Of memory, at any quantile.
    pub memory: f64,
    /// Half-life of samples, in seconds; VPA has a day.
    pub half_life_s: f64,
    /// Window whose peak of memory counts, in seconds; VPA has a day.
    pub memory_window_s: i64,
}

/// Mean utilisation of a service's instances at a moment, 0 to 1 and some beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UtilisationSample {
    /// Of CPU.
    pub cpu: f64,
    /// Of memory.
    pub memory: f64,
}

/// Utilisation of one service; see the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Utilisation {
    declared: DeclaredUtilisation,
    cpu: Histogram,
    memory: Histogram,
    /// Window that is open, and its peak so far.
    peak: Option<(i64, f64)>,
    /// First and newest sample, unix seconds.
    seen_s: Option<(i64, i64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Histogram {
    /// At `at_s`.
    weights: Vec<f64>,
    at_s: i64,
}

impl Utilisation {
    /// Nothing learned yet.
    #[must_use]
    pub fn new(declared: DeclaredUtilisation) -> Self {
        let empty = Histogram { weights: vec![0.0; BUCKETS], at_s: 0 };
        Self { declared, cpu: empty.clone(), memory: empty, peak: None, seen_s: None }
    }

    /// Takes in one sample.
    ///
    /// # Errors
    /// A utilisation is not from 0 to 4.
    pub fn observe(&mut self, sample: UtilisationSample, at_s: i64) -> Result<(), LearningError> {
        let cpu = within("utilisation", sample.cpu, 0.0, MAX_UTILISATION)?;
        let memory = within("utilisation", sample.memory, 0.0, MAX_UTILISATION)?;
        let half_life = self.half_life();
        self.cpu.add(cpu, at_s, half_life);
        let window = at_s.div_euclid(self.declared.memory_window_s.max(1));
        match self.peak {
            Some((open, peak)) if open >= window => self.peak = Some((open, peak.max(memory))),
            earlier => {
                if let Some((_, peak)) = earlier {
                    self.memory.add(peak, at_s, half_life);
                }
                self.peak = Some((window, memory));
            }
        }
        let first_s = self.seen_s.map_or(at_s, |(first_s, _)| first_s);
        self.seen_s = Some((first_s, self.seen_s.map_or(at_s, |(_, last_s)| last_s.max(at_s))));
        Ok(())
    }

    fn half_life(&self) -> HalfLife {
        HalfLife { observations: f64::INFINITY, seconds: self.declared.half_life_s }
    }

    /// The share of CPU that a share `p` of the samples stays within: at most 5 % above the true one.
    #[must_use]
    pub fn cpu(&self, p: f64) -> f64 {
        self.cpu.quantile(p, None).unwrap_or(self.declared.cpu)
    }

    /// The share of memory that a share `p` of the windows stays within, the open one among them.
    #[must_use]
    pub fn memory(&self, p: f64) -> f64 {
        self.memory.quantile(p, self.peak.map(|(_, peak)| peak)).unwrap_or(self.declared.memory)
    }

    /// What an upper quantile is to be multiplied by, for there is little history; 1 where there is none.
    #[must_use]
    pub fn caution(&self) -> f64 {
        self.seen_s.map_or(1.0, |(first_s, last_s)| 1.0 + 1.0 / (passed_s(first_s, last_s) / DAY_S).max(1.0))
    }
}

impl Histogram {
    fn add(&mut self, value: f64, at_s: i64, half_life: HalfLife) {
        let kept = half_life.keeps(0.0, passed_s(self.at_s, at_s));
        self.weights.iter_mut().for_each(|weight| *weight *= kept);
        self.at_s = self.at_s.max(at_s);
        if let Some(weight) = self.weights.get_mut(bucket(value)) {
            *weight += 1.0;
        }
    }

    /// The upper end of the bucket that holds it, with one more value that is not in any yet.
    fn quantile(&self, p: f64, open: Option<f64>) -> Option<f64> {
        let more = |index: usize| f64::from(u8::from(open.is_some_and(|value| bucket(value) == index)));
        let total = self.weights.iter().sum::<f64>() + f64::from(u8::from(open.is_some()));
        if total < EMPTY {
            return None;
        }
        let (mut below, mut last) = (0.0, 0);
        for (index, weight) in self.weights.iter().enumerate() {
            let weight = weight + more(index);
            if weight > 0.0 {
                last = index;
            }
            below += weight;
            if below >= p.clamp(0.0, 1.0) * total && weight > 0.0 {
                return Some(upper_end(index));
            }
        }
        // The sum of the parts may be less than the total by rounding.
        Some(upper_end(last))
    }
}

fn bucket(value: f64) -> usize {
    if value <= FIRST { 0 } else { ((value / FIRST).ln() / GROWTH.ln()).ceil().min(BUCKETS as f64 - 1.0) as usize }
}

fn upper_end(bucket: usize) -> f64 {
    FIRST * GROWTH.powf(bucket as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DECLARED: DeclaredUtilisation =
        DeclaredUtilisation { cpu: 0.6, memory: 0.7, half_life_s: DAY_S, memory_window_s: 3600 };

    #[test]
    fn nothing_learned_is_what_was_declared() {
        let fresh = Utilisation::new(DECLARED);
        assert_eq!((fresh.cpu(0.95), fresh.memory(0.5), fresh.caution()), (0.6, 0.7, 1.0));
        let mut refused = fresh.clone();
        assert!(refused.observe(UtilisationSample { cpu: f64::NAN, memory: 0.1 }, 0).is_err());
        assert!(refused.observe(UtilisationSample { cpu: 0.1, memory: 5.0 }, 0).is_err());
        assert_eq!(refused, fresh);
    }

    #[test]
    fn memory_counts_by_its_peaks_and_cpu_by_every_sample() {
        let mut service = Utilisation::new(DECLARED);
        for minute in 0..2_880 {
            let memory = if minute % 60 == 30 { 0.8 } else { 0.3 };
            service
                .observe(UtilisationSample { cpu: if minute % 60 < 6 { 0.9 } else { 0.2 }, memory }, minute * 60)
                .unwrap();
        }
        assert!((0.2..0.211).contains(&service.cpu(0.5)) && (0.9..0.946).contains(&service.cpu(0.95)));
        assert!((0.8..0.841).contains(&service.memory(0.5)), "{}", service.memory(0.5));
        assert!((1.49..1.51).contains(&service.caution()), "after two days");
    }

    #[test]
    fn what_a_service_has_outgrown_fades() {
        let mut service = Utilisation::new(DECLARED);
        let day = |day: i64| (0..288).map(move |step| day * 86_400 + step * 300);
        (0..4)
            .flat_map(day)
            .for_each(|at_s| service.observe(UtilisationSample { cpu: 0.8, memory: 0.8 }, at_s).unwrap());
        (4..10)
            .flat_map(day)
            .for_each(|at_s| service.observe(UtilisationSample { cpu: 0.3, memory: 0.3 }, at_s).unwrap());
        assert!(service.cpu(0.95) < 0.32 && service.memory(0.95) < 0.32, "{}", service.cpu(0.95));
        let stored = serde_json::to_string(&service).unwrap();
        assert_eq!(serde_json::from_str::<Utilisation>(&stored).unwrap(), service);
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_samples_within_a_bucket(
            samples in prop::collection::vec(0.02_f64..3.9, 1..200), p in 0.01_f64..1.0,
        ) {
            let mut service = Utilisation::new(DECLARED);
            samples.iter().for_each(|&cpu| service.observe(UtilisationSample { cpu, memory: 0.0 }, 0).unwrap());
            let mut sorted = samples;
            sorted.sort_by(f64::total_cmp);
            let rank = ((p * sorted.len() as f64 - 1e-9).ceil() as usize).clamp(1, sorted.len());
            let (found, exact) = (service.cpu(p), sorted[rank - 1]);
            prop_assert!(found >= exact * (1.0 - 1e-9) && found <= exact * GROWTH * (1.0 + 1e-9), "{} and {}", found, exact);
        }
    }
}
