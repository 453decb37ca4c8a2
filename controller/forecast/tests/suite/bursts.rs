//! What the product lives from: recurring bursts are inside the upper quantile before they begin, and quiet hours are not
//! paid for with it.

use std::time::Instant;

use forebay_forecast::{Settings, fit};

use crate::generated::{Bursts, demand};
use crate::rolling::roll;

const DAY_STEPS: usize = 288;

#[derive(Default)]
struct Tally {
    steps: u32,
    covered: u32,
    actual: f64,
    upper: f64,
}

impl Tally {
    fn add(&mut self, upper: f64, actual: f64) {
        self.steps += 1;
        self.covered += u32::from(actual <= upper);
        self.actual += actual;
        self.upper += upper;
    }

    fn coverage(&self) -> f64 {
        f64::from(self.covered) / f64::from(self.steps)
    }

    /// Upper quantile as a multiple of what came.
    fn excess(&self) -> f64 {
        self.upper / self.actual
    }
}

/// Learns from all but the last week, lives through that week; bursts and quiet steps at lead 1 and 2.
fn live_through_a_week(bursts: &Bursts) -> [[Tally; 2]; 2] {
    let demand = demand(bursts);
    let end = demand.series.len();
    let begin = end - 7 * DAY_STEPS;
    let fitting = Instant::now();
    let mut forecaster = fit(&demand.series.slice(0, begin).unwrap(), &Settings::default()).unwrap();
    let fit_ms = fitting.elapsed().as_millis();
    let predicting = Instant::now();
    forecaster.predict(&demand.series.slice(begin - forecaster.recent_steps().min(begin), begin).unwrap()).unwrap();
    let predict_us = predicting.elapsed().as_micros();

    let mut tallies: [[Tally; 2]; 2] = Default::default();
    roll(&mut forecaster, &demand.series, (begin, end), |index, step, actual| {
        if step.lead <= 2 {
            let kind = usize::from(!demand.in_burst[index]);
            tallies[kind][step.lead - 1].add(step.quantile(0.95), actual);
        }
    });
    let [burst, quiet] = &tallies;
    println!(
        "{} days, moved by up to {} steps: {} ({:?}), fit {fit_ms} ms, predict {predict_us} us",
        bursts.days,
        bursts.moved_steps,
        forecaster.report().chosen,
        forecaster.report().reason
    );
    for lead in 0..2 {
        println!(
            "  lead {}: bursts covered {:.3} at {:.2} x, quiet steps covered {:.3} at {:.2} x",
            lead + 1,
            burst[lead].coverage(),
            burst[lead].excess(),
            quiet[lead].coverage(),
            quiet[lead].excess()
        );
    }
    assert!(!forecaster.is_worse_than_naive(), "{:?}", forecaster.live().mean_losses());
    tallies
}

#[test]
fn bursts_on_time_are_covered() {
    for days in [35, 63] {
        let [burst, quiet] = live_through_a_week(&Bursts { seed: 1, days, moved_steps: 0, noise: 0.05 });
        for lead in 0..2 {
            assert!(burst[lead].coverage() >= 0.9, "bursts: {}", burst[lead].coverage());
            assert!(burst[lead].excess() <= 1.3, "bursts: {} x", burst[lead].excess());
            assert!((0.92..=0.98).contains(&quiet[lead].coverage()), "quiet: {}", quiet[lead].coverage());
            assert!(quiet[lead].excess() <= 1.2, "quiet: {} x", quiet[lead].excess());
        }
    }
}

#[test]
fn bursts_that_move_by_a_step_are_covered() {
    let [burst, quiet] = live_through_a_week(&Bursts { seed: 2, days: 63, moved_steps: 1, noise: 0.05 });
    for lead in 0..2 {
        assert!(burst[lead].coverage() >= 0.9, "bursts: {}", burst[lead].coverage());
        assert!(quiet[lead].excess() <= 1.35, "quiet: {} x", quiet[lead].excess());
    }
}
