//! How far apart stamps are, and how long each reading therefore stands.
//!
//! Three kinds of stamps are told apart, since each asks for something else:
//! - *regular* ones, equally spaced but for gaps, perhaps with some jitter: a reading stands for the stretch until the
//!   next would come, and stamps are laid onto the nearest multiple of the distance, so that jitter around a step's begin
//!   makes neither gaps nor pairs;
//! - *drifting* ones, equally spaced but moving against every step, such as each 300.5 s: a reading stands for its stretch,
//!   which is divided among the steps that it overlaps;
//! - *irregular* ones, such as a log of events: a reading is a point and falls into one step.
//!
//! The distance may change within a file, say from one minute to five. A distance is the cadence of a part where it recurs
//! [`RUN`] times in a row and such runs make up a [`REGIME_SHARE`] of the time; any other distance is a gap.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use crate::calendar::DAY_S;
use crate::observation::SECOND_NS;

/// So many equal distances in a row are a cadence, not a chance.
const RUN: usize = 8;
/// Share of the time in runs that a distance must have to be a cadence of the file.
const REGIME_SHARE: f64 = 0.1;
/// Share of distances that must be cadences for stamps to be regular at all.
const REGULAR_SHARE: f64 = 0.5;
/// A distance this close to a usual step, relatively, is that step with jitter. Neighbouring usual steps are at least a
/// fifth apart.
const JITTER: f64 = 0.1;
/// Length of the mean phase vector above which stamps have a phase; 0.9 is a jitter of 7 % of the distance (standard
/// deviation; Mardia, Jupp: Directional Statistics, wrapped normal).
const MIN_RESULTANT: f64 = 0.9;

/// Steps that people use; all divide a day.
const USUAL_STEPS_S: [u32; 24] = [
    1, 2, 5, 10, 12, 15, 20, 30, 60, 120, 180, 240, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400, 21_600,
    43_200, 86_400,
];

/// The cadence of ascending, distinct stamps.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cadence {
    /// Every reading stands for a stretch.
    Regular(Regular),
    /// Every reading is a point.
    Irregular {
        /// Median distance, 0 for fewer than two stamps.
        median_ns: i64,
    },
}

/// Stamps that are equally spaced but for gaps, at least in parts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Regular {
    /// How long each reading stands.
    pub(super) stands_ns: Vec<i64>,
    /// The shortest and the longest cadence.
    pub(super) finest_ns: i64,
    pub(super) coarsest_ns: i64,
    /// First reading that has the longest cadence.
    pub(super) coarsest_at: usize,
    /// How often the cadence changes.
    pub(super) changes: usize,
    /// Mean offset of the stamps from multiples of the finest cadence, -half..half of it; `None` where
    /// they drift.
    pub(super) phase_ns: Option<i64>,
}

impl Cadence {
    pub(super) fn of(stamps_ns: &[i64]) -> Self {
        let distances: Vec<i64> = stamps_ns.windows(2).map(|two| two[1] - two[0]).collect();
        let jittered = || distances.iter().map(|&distance| without_jitter(distance)).collect::<Vec<_>>();
        match cadences(&distances).or_else(|| cadences(&jittered())) {
            Some((classes, regimes)) => Self::Regular(Regular::of(stamps_ns, &classes, &regimes)),
            None => {
                let mut sorted = distances;
                sorted.sort_unstable();
                Self::Irregular { median_ns: sorted.get(sorted.len() / 2).copied().unwrap_or(0) }
            }
        }
    }
}

impl Regular {
    fn of(stamps_ns: &[i64], classes: &[i64], regimes: &[i64]) -> Self {
        let first = classes.iter().find(|class| regimes.contains(class));
        let (mut stands, mut changes) = (first.or(regimes.first()).copied().unwrap_or(SECOND_NS), 0);
        let mut stands_ns = Vec::with_capacity(stamps_ns.len());
        for class in classes {
            if *class != stands && regimes.contains(class) {
                stands = *class;
                changes += 1;
            }
            stands_ns.push(stands);
        }
        stands_ns.push(stands);
        let finest_ns = stands_ns.iter().copied().min().unwrap_or(stands);
        let coarsest_ns = stands_ns.iter().copied().max().unwrap_or(stands);
        let coarsest_at = stands_ns.iter().position(|&stands| stands == coarsest_ns).unwrap_or(0);
        let divides_a_day = DAY_S * SECOND_NS % finest_ns == 0;
        let phase_ns = if divides_a_day { phase(stamps_ns, finest_ns) } else { None };
        Self { stands_ns, finest_ns, coarsest_ns, coarsest_at, changes, phase_ns }
    }

    /// The stamp laid onto the nearest multiple of the finest cadence, where stamps have a phase.
    pub(super) fn laid(&self, at_ns: i64) -> i64 {
        let Some(phase_ns) = self.phase_ns else { return at_ns };
        let from_phase = at_ns - phase_ns + self.finest_ns / 2;
        from_phase.div_euclid(self.finest_ns) * self.finest_ns
    }
}

/// The distances with those that are a cadence, if most are.
fn cadences(distances: &[i64]) -> Option<(Vec<i64>, Vec<i64>)> {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    let mut in_runs: BTreeMap<i64, f64> = BTreeMap::new();
    for run in distances.chunk_by(|a, b| a == b) {
        *counts.entry(run[0]).or_default() += run.len();
        if run.len() >= RUN {
            *in_runs.entry(run[0]).or_default() += run[0] as f64 * run.len() as f64;
        }
    }
    let run_time: f64 = in_runs.values().sum();
    let mut regimes: Vec<i64> = in_runs
        .into_iter()
        .filter(|(_, time)| *time >= REGIME_SHARE * run_time)
        .map(|(distance, _)| distance)
        .collect();
    if regimes.is_empty() {
        // Of equally frequent distances the shortest; the others are then gaps.
        let most = counts.iter().max_by_key(|(distance, count)| (**count, -**distance))?;
        regimes.push(*most.0);
    }
    let of_regimes: usize = regimes.iter().filter_map(|regime| counts.get(regime)).sum();
    (of_regimes as f64 >= REGULAR_SHARE * distances.len() as f64).then(|| (distances.to_vec(), regimes))
}

fn without_jitter(distance_ns: i64) -> i64 {
    let usual = USUAL_STEPS_S.iter().map(|&step_s| i64::from(step_s) * SECOND_NS);
    let nearest = usual.min_by_key(|usual| (usual - distance_ns).abs()).unwrap_or(distance_ns);
    if (nearest - distance_ns).abs() as f64 <= JITTER * nearest as f64 { nearest } else { distance_ns }
}

/// The circular mean of the stamps' phases, or `None` where they go all around.
fn phase(stamps_ns: &[i64], period_ns: i64) -> Option<i64> {
    let (mut x, mut y) = (0.0, 0.0);
    for at_ns in stamps_ns {
        let angle = at_ns.rem_euclid(period_ns) as f64 / period_ns as f64 * TAU;
        x += angle.cos();
        y += angle.sin();
    }
    let resultant = x.hypot(y) / stamps_ns.len() as f64;
    (resultant >= MIN_RESULTANT).then(|| (y.atan2(x) / TAU * period_ns as f64).round() as i64)
}

/// The shortest step that divides a day and is at least `distance_ns` long, and whether it is just that long. `None` for
/// more than a day.
pub(super) fn step_for(distance_ns: i64) -> Option<(u32, bool)> {
    let exact = (distance_ns % SECOND_NS == 0).then_some(distance_ns / SECOND_NS);
    match exact.filter(|step_s| (1..=DAY_S).contains(step_s) && DAY_S % step_s == 0) {
        Some(step_s) => Some((u32::try_from(step_s).ok()?, true)),
        None => {
            let mut longer = USUAL_STEPS_S.iter().filter(|&&step_s| i64::from(step_s) * SECOND_NS >= distance_ns);
            longer.next().map(|&step_s| (step_s, false))
        }
    }
}
