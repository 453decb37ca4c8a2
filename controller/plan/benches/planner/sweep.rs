//! Many meshes of other sizes with more or fewer places than they need: how far the worst of their plans are from the best.
//!
//! The promised size hides a choice that is bad for a few services, and a mesh with room for everybody one that is bad where
//! places are few. So each mesh here draws how many services, steps and places it has, and both gaps of each plan are taken:
//! in small meshes the one to whole instances is the planner's, the one to the linear relaxation mostly the price of whole
//! instances.

use forebay_plan::capacity::{CapacityInputs, CapacityPlan, PlanningLimits, plan_capacity};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::world::{Size, world};

/// Meshes that are printed, the worst first.
const SHOWN: usize = 12;

/// One mesh's gaps.
struct Swept {
    size: Size,
    /// From nothing, to fractions of instances and to whole ones.
    lp: f64,
    whole: f64,
    /// The same to fractions a step later.
    later: f64,
}

/// Sweeps so many meshes, prints the worst and returns the figures.
pub(crate) fn sweep(count: u64, later: impl Fn(CapacityInputs, &CapacityPlan) -> CapacityInputs) -> Value {
    let mut swept: Vec<Swept> = (0..count).map(|seed| one(seed, &later)).collect();
    swept.sort_by(|a, b| b.whole.total_cmp(&a.whole));
    println!("{count} meshes with few places: gap to whole instances and to the LP bound, the worst first");
    println!("services steps  cores   seed tide  places   to whole     to LP     later");
    for of in swept.iter().take(SHOWN) {
        let Size { services, steps, cores, seed, is_tide, places } = of.size;
        let tide = if is_tide { "yes" } else { "no" };
        print!("{services:>8}{steps:>6}{cores:>7.1}{seed:>7}{tide:>5}{places:>8.4}");
        println!("{:>9.2} %{:>8.2} %{:>8.2} %", 100.0 * of.whole, 100.0 * of.lp, 100.0 * of.later);
    }
    let beyond = |least: f64| swept.iter().filter(|of| of.whole > least).count();
    let median = swept.get(swept.len() / 2).map_or(0.0, |of| of.whole);
    println!("median {:.2} %; beyond 5 %: {}, beyond 20 %: {}", 100.0 * median, beyond(0.05), beyond(0.2));
    json!({
        "meshes": count, "gap_to_whole_percent_worst": swept.first().map_or(0.0, |of| 100.0 * of.whole),
        "gap_to_whole_percent_median": 100.0 * median,
        "gap_to_lp_percent_worst": 100.0 * swept.iter().map(|of| of.lp).fold(0.0, f64::max),
        "gap_a_step_later_percent_worst": 100.0 * swept.iter().map(|of| of.later).fold(0.0, f64::max),
        "beyond_5_percent": beyond(0.05), "beyond_20_percent": beyond(0.2),
    })
}

fn one(seed: u64, later: impl Fn(CapacityInputs, &CapacityPlan) -> CapacityInputs) -> Swept {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let size = Size {
        services: 10.0_f64.powf(rng.random_range(0.3..2.5)) as usize,
        steps: rng.random_range(2..17),
        cores: 10.0_f64.powf(rng.random_range(1.0..2.8)),
        seed,
        is_tide: rng.random_bool(0.25),
        // A thirtieth is what all need in the largest shapes.
        places: 10.0_f64.powf(rng.random_range(-1.8..-0.3)),
    };
    let inputs = world(size);
    let limits = PlanningLimits { whole_bound_every: 1, ..PlanningLimits::default() };
    let plan = plan_capacity(&inputs, &limits);
    let choice = &plan.report.choice;
    let (lp, whole) = (choice.gap(), choice.whole_gap());
    let later = plan_capacity(&later(inputs, &plan), &PlanningLimits::default()).report.choice.gap();
    Swept { size, lp, whole, later }
}
