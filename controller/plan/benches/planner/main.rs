//! `cargo xtask bench planner`: how long a plan takes, how far from the best it is at most, and how both grow.
//!
//! Each row is planned twice on one core: from nothing, and again a step later from what the first plan asked for. The gap
//! is that of the whole schedule to a bound which no choice can go below, not even with fractions of instances.

mod world;
#[path = "../../tests/capacity/worlds.rs"]
#[expect(dead_code, reason = "the tests also use single plans")]
mod worlds;

use std::time::Instant;

use clap::Parser;
use forebay_plan::capacity::{CapacityInputs, CapacityPlan, Fleet, PlanningLimits, plan_capacity};
use serde_json::{Value, json};

use crate::world::{Size, world};

/// Services and steps of each row; the last is the one that is promised.
const ROWS: [(usize, usize); 6] = [(250, 48), (500, 48), (1_000, 12), (1_000, 24), (1_000, 48), (2_000, 48)];
/// The row that is promised.
const PROMISED: (usize, usize) = (1_000, 48);

/// Seconds, gap to the bound of the linear relaxation, and growth of capacity planning.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench planner")]
struct Args {
    /// Cores that the median service needs
    #[arg(long, default_value_t = 600.0)]
    cores: f64,
    /// Places of the pools, beside what is described in the mesh: 1 has services compete, 4 hardly
    #[arg(long, default_value_t = 1.0)]
    places: f64,
    /// Seed of the mesh
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Rounds in which each row is planned; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Instead, live through so many random worlds and count budgets exceeded and other broken promises
    #[arg(long, value_name = "COUNT")]
    worlds: Option<u64>,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    if let Some(count) = args.worlds {
        live(count, args.json);
        return;
    }
    println!(
        "planner: services x steps x 12 shapes in 8 pools, one core, median of {} rounds, seed {}, median service {} cores, places x {}",
        args.rounds, args.seed, args.cores, args.places
    );
    println!(
        "{:>9}{:>7}{:>13}{:>13}{:>11}{:>11}{:>9}",
        "services", "steps", "from nothing", "a step later", "gap", "later", "groups"
    );
    let mut line = json!({});
    let mut rows = Vec::new();
    for (services, steps) in ROWS {
        let row = row(&args, Size { services, steps, cores: args.cores, places: args.places, seed: args.seed });
        if (services, steps) == PROMISED {
            line = row.clone();
        }
        rows.push(row);
    }
    if args.json {
        line["rows"] = rows.into();
        println!("{line}");
    }
}

fn row(args: &Args, size: Size) -> Value {
    let inputs = world(size);
    let (cold_s, cold) = timed(args.rounds, &inputs);
    let (warm_s, warm) = timed(args.rounds, &later(inputs, &cold));
    let gap = |plan: &CapacityPlan| 100.0 * plan.report.choice.gap();
    println!(
        "{:>9}{:>7}{:>11.3} s{:>11.3} s{:>9.2} %{:>9.2} %{:>9}",
        size.services,
        size.steps,
        cold_s,
        warm_s,
        gap(&cold),
        gap(&warm),
        warm.targets.len()
    );
    json!({
        "services": size.services, "steps": size.steps, "shapes": 12, "pools": 8,
        "seconds": cold_s, "seconds_a_step_later": warm_s,
        "gap_to_lp_bound_percent": gap(&cold), "gap_a_step_later_percent": gap(&warm),
    })
}

fn timed(rounds: usize, inputs: &CapacityInputs) -> (f64, CapacityPlan) {
    let limits = PlanningLimits::default();
    let mut seconds = Vec::new();
    let mut plan = CapacityPlan::default();
    for _ in 0..rounds.max(1) {
        let started = Instant::now();
        plan = plan_capacity(inputs, &limits);
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    (seconds[seconds.len() / 2], plan)
}

/// The same mesh a step later, all that was asked for being ready.
fn later(mut inputs: CapacityInputs, plan: &CapacityPlan) -> CapacityInputs {
    inputs.dwell.remember(plan, inputs.now_s);
    inputs.now_s += u64::from(inputs.step_s);
    for target in &plan.targets {
        inputs.fleet.insert(target.group.clone(), Fleet { ready: target.count, ..Fleet::default() });
    }
    inputs
}

/// Worlds that the tests have not seen.
fn live(count: u64, json: bool) {
    let started = Instant::now();
    let mut broken = 0;
    for seed in 1_000_000..1_000_000 + count {
        let mut world = worlds::World::new(seed);
        for _ in 0..worlds::ROUNDS {
            world.live_on(&PlanningLimits::default());
        }
        if !world.faults.is_empty() {
            broken += 1;
            println!("seed {seed}: {:?}", world.faults);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} worlds of {} plans in {seconds:.1} s: {broken} broke a promise", worlds::ROUNDS);
    if json {
        println!(
            "{}",
            json!({ "worlds": count, "plans_per_world": worlds::ROUNDS, "worlds_broken": broken, "seconds": seconds })
        );
    }
}
