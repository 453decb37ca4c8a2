//! When each request of a trace is due.
//!
//! A tenant's rate, integrated over time, is the number of requests that should have been sent. *Even* sends one
//! each time this integral passes a whole number and a half, so that a constant rate gives even distances and no
//! request falls on the border of two steps. *Poisson* sends after exponential distances of the integral: a Poisson
//! process whose intensity is the rate, which is what many independent users look like.
//!
//! Invariants: instants never go back; with `even` the number sent by any time differs from the integral by at most
//! one half; with one seed the same instants come out, whatever the other tenants do. Nothing is sent in a missing
//! step, and the integral stands still there.
//!
//! What it does not do: wait. It is a pure iterator over offsets from the start of the run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use clap::ValueEnum;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::trace::RegularTrace;

/// How sending instants follow from a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// At even distances.
    Even,
    /// At seeded random distances, as from many independent users.
    Poisson,
}

/// How fast a trace is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Calendar seconds per real second: a step lasts `step_s / speed`.
    pub(crate) speed: f64,
    /// Requests per real second for one unit/s of the trace.
    pub(crate) rate_scale: f64,
    pub(crate) arrivals: Arrivals,
    pub(crate) seed: u64,
}

impl Pace {
    /// How long a step of the trace lasts in real time.
    pub(crate) fn step_real(&self, trace: &RegularTrace) -> Duration {
        Duration::from_secs_f64(trace.step_s as f64 / self.speed)
    }
}

/// One request that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Real time since the start of the run.
    pub(crate) offset: Duration,
    /// Index of the tenant in the trace's series.
    pub(crate) tenant: usize,
    /// Index of the trace's step.
    pub(crate) step: usize,
}

/// The arrivals of all tenants, in order of time.
#[derive(Debug)]
pub(crate) struct Schedule {
    tenants: Vec<TenantSchedule>,
    next: BinaryHeap<Reverse<(Duration, usize, usize)>>,
}

impl Schedule {
    /// The schedule of `trace` at `pace`.
    pub(crate) fn new(trace: &RegularTrace, pace: &Pace) -> Self {
        let step_real_s = pace.step_real(trace).as_secs_f64();
        let tenants = trace.series.iter().map(|(name, rates)| TenantSchedule::new(name, rates, step_real_s, pace));
        let mut schedule = Self { tenants: tenants.collect(), next: BinaryHeap::new() };
        for tenant in 0..schedule.tenants.len() {
            schedule.advance(tenant);
        }
        schedule
    }

    fn advance(&mut self, tenant: usize) {
        if let Some((offset, step)) = self.tenants[tenant].next() {
            self.next.push(Reverse((offset, tenant, step)));
        }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let Reverse((offset, tenant, step)) = self.next.pop()?;
        self.advance(tenant);
        Some(Arrival { offset, tenant, step })
    }
}

/// The arrivals of one tenant.
#[derive(Debug)]
struct TenantSchedule {
    /// Requests that each step should send; 0 for a missing step.
    expected: Vec<f64>,
    step_real_s: f64,
    step: usize,
    /// How much of `expected[step]` has passed.
    passed: f64,
    /// How much must pass before the next request.
    needed: f64,
    /// The source of Poisson distances; `None` sends evenly.
    distances: Option<ChaCha8Rng>,
}

impl TenantSchedule {
    fn new(name: &str, rates: &[f64], step_real_s: f64, pace: &Pace) -> Self {
        let expected = |rate: &f64| {
            if rate.is_finite() { rate * pace.rate_scale * step_real_s } else { 0.0 }
        };
        let mut distances = (pace.arrivals == Arrivals::Poisson).then(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(pace.seed);
            rng.set_stream(stream_of(name));
            rng
        });
        let needed = distances.as_mut().map_or(0.5, exponential);
        Self { expected: rates.iter().map(expected).collect(), step_real_s, step: 0, passed: 0.0, needed, distances }
    }

    fn next(&mut self) -> Option<(Duration, usize)> {
        loop {
            let expected = *self.expected.get(self.step)?;
            if expected - self.passed >= self.needed {
                self.passed += self.needed;
                self.needed = self.distances.as_mut().map_or(1.0, exponential);
                let offset_s = (self.step as f64 + self.passed / expected) * self.step_real_s;
                return Some((Duration::from_secs_f64(offset_s), self.step));
            }
            self.needed -= expected - self.passed;
            self.passed = 0.0;
            self.step += 1;
        }
    }
}

/// An exponential variate of mean 1.
fn exponential(rng: &mut ChaCha8Rng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

/// A random stream per tenant name (FNV-1a), so that leaving one tenant out changes nothing for the others.
fn stream_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(series: &[(&str, &[f64])]) -> RegularTrace {
        let series: Vec<_> = series.iter().map(|(name, rates)| ((*name).to_owned(), rates.to_vec())).collect();
        RegularTrace { start_s: 0, step_s: 60, steps: series[0].1.len(), series }
    }

    fn pace(arrivals: Arrivals, seed: u64) -> Pace {
        Pace { speed: 60.0, rate_scale: 1.0, arrivals, seed }
    }

    #[test]
    fn an_even_rate_gives_even_distances_within_its_step() {
        let due: Vec<_> = Schedule::new(&trace(&[("a", &[10.0, 0.0, 5.0])]), &pace(Arrivals::Even, 0)).collect();
        assert_eq!(due.iter().map(|a| a.step).collect::<Vec<_>>(), [[0; 10].as_slice(), &[2; 5]].concat());
        let offsets_ms: Vec<_> = due.iter().map(|a| a.offset.as_secs_f64() * 1000.0).collect();
        for (index, offset_ms) in offsets_ms[..10].iter().enumerate() {
            assert!((offset_ms - (50.0 + 100.0 * index as f64)).abs() < 1e-3, "{offsets_ms:?}");
        }
        assert!((offsets_ms[10] - 2100.0).abs() < 1e-3, "{offsets_ms:?}");
    }

    #[test]
    fn the_number_sent_follows_the_integral_at_every_step() {
        let rates: Vec<f64> = (0..200).map(|step| 3.7 * f64::from(step % 7) + 0.13).collect();
        let mut sent = vec![0.0; rates.len()];
        for arrival in Schedule::new(&trace(&[("a", &rates)]), &pace(Arrivals::Even, 0)) {
            sent[arrival.step] += 1.0;
        }
        let (mut total_sent, mut integral) = (0.0, 0.0);
        for (sent, rate) in sent.iter().zip(&rates) {
            total_sent += sent;
            integral += rate;
            assert!(f64::abs(total_sent - integral) <= 0.5 + 1e-6, "{total_sent} sent, integral {integral}");
        }
    }

    #[test]
    fn speed_changes_how_long_a_step_lasts_and_scale_changes_the_rate() {
        let trace = trace(&[("a", &[10.0, 10.0])]);
        let count = |speed, rate_scale| {
            let pace = Pace { speed, rate_scale, arrivals: Arrivals::Even, seed: 0 };
            let due: Vec<_> = Schedule::new(&trace, &pace).collect();
            (due.len(), due[1].offset - due[0].offset)
        };
        assert_eq!(count(60.0, 1.0), (20, Duration::from_millis(100)));
        assert_eq!(count(30.0, 1.0), (40, Duration::from_millis(100)));
        assert_eq!(count(60.0, 2.0), (40, Duration::from_millis(50)));
    }

    #[test]
    fn tenants_are_merged_in_order_of_time_and_gaps_send_nothing() {
        let trace = trace(&[("a", &[9.0, f64::NAN, 3.0]), ("b", &[4.0, 4.0, 4.0])]);
        let due: Vec<_> = Schedule::new(&trace, &pace(Arrivals::Even, 0)).collect();
        assert!(due.is_sorted_by_key(|arrival| arrival.offset));
        let of = |tenant, step| due.iter().filter(|a| a.tenant == tenant && a.step == step).count();
        assert_eq!([of(0, 0), of(0, 1), of(0, 2), of(1, 0), of(1, 1), of(1, 2)], [9, 0, 3, 4, 4, 4]);
    }

    #[test]
    fn poisson_is_seeded_has_the_right_mean_and_spread() {
        let rates = vec![50.0; 400];
        let both = trace(&[("a", &rates), ("b", &rates)]);
        let alone = trace(&[("b", &rates)]);
        let offsets = |trace: &RegularTrace, seed, tenant| -> Vec<Duration> {
            let schedule = Schedule::new(trace, &pace(Arrivals::Poisson, seed));
            schedule.filter(|a| a.tenant == tenant).map(|a| a.offset).collect()
        };
        assert_eq!(offsets(&both, 5, 1), offsets(&alone, 5, 0), "a tenant does not depend on the others");
        assert_ne!(offsets(&both, 5, 0), offsets(&both, 5, 1));
        assert_ne!(offsets(&both, 5, 0), offsets(&both, 6, 0));
        let mut per_step = vec![0.0; rates.len()];
        for offset in offsets(&both, 5, 0) {
            per_step[offset.as_secs() as usize] += 1.0;
        }
        let mean = per_step.iter().sum::<f64>() / per_step.len() as f64;
        let variance = per_step.iter().map(|n| (n - mean) * (n - mean)).sum::<f64>() / per_step.len() as f64;
        assert!((mean - 50.0).abs() < 1.5, "mean {mean}");
        assert!((0.75..1.3).contains(&(variance / mean)), "variance {variance} of a Poisson count is its mean {mean}");
    }
}
