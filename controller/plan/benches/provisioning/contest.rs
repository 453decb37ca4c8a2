//! One trace at one lead time: every policy tuned on the same earlier part, and judged on the part after it.
//!
//! Who provisions by forecast is chosen on the earlier part too: where a forecast saves less than [`WORTH`] of what the
//! better reactive policy pays there, Forebay stays reactive. What it chose is paced on the way ([`Paced`]).

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use forebay_forecast::{DAY_S, Series};
use forebay_plan::simulation::{
    Course, Horizontal, LastValue, Measures, Needed, Oracle, Paced, Policy, Seasonal, Static, Tuned, World, simulate,
    tune,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::outlook::{Outlook, QUANTILES};

/// Share of steps that may go unserved.
pub(crate) const ALLOWED: f64 = 0.01;
/// Replicas at the highest demand of a trace: one size of replica for all policies.
pub(crate) const PEAK_REPLICAS: f64 = 100.0;
/// The part that policies are tuned on, and from its end the part that is judged, as shares of the trace.
pub(crate) const TUNED: Range<f64> = 0.4..0.7;
/// Share of the reactive cost by which a forecast has to be cheaper where policies are tuned.
const WORTH: f64 = 0.01;
/// How much more careful one unserved step makes, divided by the steps until more can be ready: these go unserved together.
const PACE: f64 = 0.05;
/// By how much shares of unserved steps may differ and be called equal: half a point.
const MATCHED: f64 = 0.005;
const NO_SETTING: &str = "there is no setting to try";
/// Resamples of a bootstrap, and its seed.
const RESAMPLES: usize = 500;
const SEED: u64 = 5;

/// Who is compared, in the order of [`Judged::measures`].
pub(crate) const POLICIES: [&str; 6] = ["static peak", "autoscaler", "last value", "seasonal", "forebay", "oracle"];
const AUTOSCALER: usize = 1;
const LAST_VALUE: usize = 2;
pub(crate) const FOREBAY: usize = 4;

/// What came of one trace at one lead time.
#[derive(Debug)]
pub(crate) struct Judged {
    /// On the judged part, in the order of [`POLICIES`].
    pub(crate) measures: [Measures; POLICIES.len()],
    /// What Forebay went by.
    pub(crate) chosen: String,
    /// Where 95 % of resampled shares of violations of Forebay lie.
    pub(crate) violations: (f64, f64),
}

impl Judged {
    /// What Forebay pays over what the cheaper reactive policy pays.
    pub(crate) fn ratio(&self) -> f64 {
        let paid = |index: usize| self.measures[index].replica_steps;
        paid(FOREBAY) / paid(AUTOSCALER).min(paid(LAST_VALUE))
    }

    /// The same beside those reactive policies that let no more go unserved than Forebay did or was allowed to, give or take
    /// [`MATCHED`]; `None` where there is none: a policy that fails to serve is cheap.
    pub(crate) fn matched_ratio(&self) -> Option<f64> {
        let own = self.measures[FOREBAY];
        let most = own.violations.max(ALLOWED) + MATCHED;
        let reactive = [AUTOSCALER, LAST_VALUE].map(|index| self.measures[index]);
        let paid = reactive.iter().filter(|of| of.violations <= most).map(|of| of.replica_steps);
        paid.reduce(f64::min).map(|paid| own.replica_steps / paid)
    }

    /// How far the achieved share of violations is from the allowed one.
    pub(crate) fn gap(&self) -> f64 {
        (self.measures[FOREBAY].violations - ALLOWED).abs()
    }

    /// Whether the allowed share lies outside of what resampling makes likely.
    pub(crate) fn is_outside(&self) -> bool {
        !(self.violations.0..=self.violations.1).contains(&ALLOWED)
    }
}

/// Judges all policies on `series` at a lead time of whole steps.
pub(crate) fn judge(series: &Series, lead_steps: usize) -> Result<Judged> {
    let demand = series.values();
    let peak = demand.iter().copied().filter(|demand| !demand.is_nan()).fold(0.0, f64::max);
    ensure!(peak > 0.0, "there is no demand");
    ensure!(!demand.iter().any(|&demand| demand < 0.0), "a negative value is no demand");
    let world = World { demand, step_s: series.step_s(), per_replica: peak / PEAK_REPLICAS, lead_steps };
    let at = |share: f64| (share * demand.len() as f64) as usize;
    let (tuning, judged) = (at(TUNED.start)..at(TUNED.end), at(TUNED.end)..demand.len());
    let outlook = Outlook::of(series, tuning.start..judged.end, lead_steps)?;

    let season_steps = 7 * series.day_steps();
    let needed = |upper: usize, factor: f64| Needed { upper: &outlook.upper[upper], from: outlook.from, factor };
    let targets = (1..40_u32).map(|share| f64::from(share) / 40.0);
    let autoscaler = tune(&world, &tuning, ALLOWED, targets, Horizontal::at).context(NO_SETTING)?;
    let last = tune(&world, &tuning, ALLOWED, factors(), |factor| LastValue { factor }).context(NO_SETTING)?;
    let seasonal =
        tune(&world, &tuning, ALLOWED, factors(), |factor| Seasonal { season_steps, factor }).context(NO_SETTING)?;
    let by_forecast = (0..QUANTILES.len())
        .filter_map(|upper| Some((upper, tune(&world, &tuning, ALLOWED, factors(), |factor| needed(upper, factor))?)))
        .reduce(|best, next| if next.1.is_better_than(&best.1, ALLOWED) { next } else { best });

    let run = |policy: &mut dyn Policy| simulate(&world, judged.clone(), policy);
    let reactive = if last.is_better_than(&autoscaler, ALLOWED) { &last } else { &autoscaler };
    let worth = |tuned: &Tuned| Tuned {
        measures: Measures { replica_steps: tuned.measures.replica_steps / (1.0 - WORTH), ..tuned.measures },
        ..*tuned
    };
    let pace = PACE / (lead_steps + 1) as f64;
    let (chosen, own) = match by_forecast.filter(|(_, tuned)| worth(tuned).is_better_than(reactive, ALLOWED)) {
        Some((upper, Tuned { setting, .. })) => (
            format!("forecast {:.1} % x {setting:.2}", 100.0 * QUANTILES[upper]),
            run(&mut Paced::new(needed(upper, setting), ALLOWED, pace)),
        ),
        None if reactive == &last => ("last value".to_owned(), run(&mut LastValue { factor: last.setting })),
        None => ("autoscaler".to_owned(), run(&mut Horizontal::at(autoscaler.setting))),
    };
    let highest = |steps: &Range<usize>| steps.clone().map(|step| world.replicas(demand[step])).max().unwrap_or(0);
    let courses = [
        run(&mut Static(highest(&tuning))),
        run(&mut Horizontal::at(autoscaler.setting)),
        run(&mut LastValue { factor: last.setting }),
        run(&mut Seasonal { season_steps, factor: seasonal.setting }),
        own,
        run(&mut Oracle),
    ];
    let violations = interval(&world, series, &courses[FOREBAY]);
    Ok(Judged { measures: courses.map(|course| Measures::of(&world, &course)), chosen, violations })
}

/// Headroom from a third less to twenty times as much, each 4 % more.
fn factors() -> impl Iterator<Item = f64> {
    (0..87).map(|step| 0.7 * 1.04_f64.powi(step))
}

/// Where 95 % of the shares of violations lie, if the days are drawn with replacement (block bootstrap: Künsch, 1989).
fn interval(world: &World<'_>, series: &Series, course: &Course) -> (f64, f64) {
    let mut days: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (step, &ready) in course.steps.clone().zip(&course.ready) {
        if !world.demand[step].is_nan() {
            let (violated, steps) = days.entry(series.at_s(step).div_euclid(DAY_S)).or_default();
            *violated += f64::from(u8::from(world.replicas(world.demand[step]) > ready));
            *steps += 1.0;
        }
    }
    let days: Vec<(f64, f64)> = days.into_values().collect();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut shares: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..days.len()).map(|_| days[random.random_range(0..days.len())]);
            let (violated, steps) = drawn.fold((0.0, 0.0), |sum, day| (sum.0 + day.0, sum.1 + day.1));
            violated / f64::max(steps, 1.0)
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    let at = |share: f64| shares[(share * (RESAMPLES - 1) as f64).round() as usize];
    (at(0.025), at(0.975))
}
