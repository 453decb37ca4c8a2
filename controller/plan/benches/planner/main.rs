//! `cargo xtask bench planner`: how long a plan takes, how far from the best it is at most, and how both grow.
//!
//! Each row is planned twice on one core: from nothing, and again a step later from what the first plan asked for. The gap
//! is that of the whole schedule to a bound which no choice can go below, not even with fractions of instances. Beside it
//! stands the gap to what whole instances cost at least, in a few steps of the later plan: what lies between the two is the
//! price of whole instances and nobody's fault. What starts and drains cost is told apart, since neither bound has any.
//!
//! The first table grows; the second has the promised size in meshes of other seeds and sizes, one in which all
//! services peak at once, and two in which pools have hardly enough places, and too few for anybody.

#[path = "../../../forecast/benches/shared/cpu.rs"]
mod cpu;
#[path = "../../tests/capacity/living.rs"]
mod living;
mod sweep;
mod world;
#[path = "../../tests/capacity/worlds.rs"]
#[expect(dead_code, reason = "the tests also use single plans")]
mod worlds;

use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use forebay_plan::capacity::{CapacityInputs, CapacityPlan, Fleet, PlanningLimits, plan_capacity};
use serde_json::{Value, json};

use crate::cpu::CpuTime;
use crate::world::{Size, world};

/// Services and steps of each row; the last is the one that is promised.
const ROWS: [(usize, usize); 6] = [(250, 48), (500, 48), (1_000, 12), (1_000, 24), (1_000, 48), (2_000, 48)];
/// The row that is promised.
const PROMISED: (usize, usize) = (1_000, 48);
/// Another mesh of the promised size.
struct Other {
    /// Cores of the median service in multiples of `--cores`.
    times: f64,
    /// What is added to the seed.
    more: u64,
    /// Whether all services peak at once.
    is_tide: bool,
    /// Places of every pool in multiples of `--places`; below a thirtieth everybody is short.
    places: f64,
}
const LIKE: Other = Other { times: 1.0, more: 0, is_tide: false, places: 1.0 };
const OTHERS: [Other; 10] = [
    Other { times: 0.05, ..LIKE },
    Other { times: 0.1, ..LIKE },
    Other { times: 0.3, ..LIKE },
    Other { times: 4.0, ..LIKE },
    Other { more: 1, ..LIKE },
    Other { more: 2, ..LIKE },
    Other { more: 3, ..LIKE },
    Other { is_tide: true, ..LIKE },
    Other { places: 0.036, ..LIKE },
    Other { places: 0.03, ..LIKE },
];
/// Steps of each plan in which the bound of whole instances is found.
const WHOLE_STEPS: usize = 2;

/// Seconds, gap to the bound of the linear relaxation, and growth of capacity planning.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench planner")]
struct Args {
    /// Cores that the median service needs
    #[arg(long, default_value_t = 600.0)]
    cores: f64,
    /// Share that another mix must save before a service is moved to it: 0 shows how much of the gap is holding on to what
    /// runs
    #[arg(long, default_value_t = PlanningLimits::default().move_min_saving)]
    move_min_saving: f64,
    /// Seconds in which a move has to pay for itself
    #[arg(long, default_value_t = PlanningLimits::default().payback_s)]
    payback_s: f64,
    /// Seed of the mesh
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// All services peak at the same time of day
    #[arg(long)]
    tide: bool,
    /// What the places of every pool are multiplied by
    #[arg(long, default_value_t = 1.0)]
    places: f64,
    /// Rounds in which each row is planned; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Instead, live through so many random worlds and count budgets exceeded and other broken promises
    #[arg(long, value_name = "COUNT")]
    worlds: Option<u64>,
    /// Instead, plan for so many meshes with few places and show the worst gaps
    #[arg(long, value_name = "COUNT", conflicts_with = "worlds")]
    sweep: Option<u64>,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(count) = args.worlds {
        live(count, args.json);
        return Ok(());
    }
    if let Some(count) = args.sweep {
        let figures = sweep::sweep(count, later);
        if args.json {
            println!("{figures}");
        }
        return Ok(());
    }
    println!(
        "planner: services x steps x 12 shapes in 8 pools, CPU seconds of one core, median of {} rounds",
        args.rounds
    );
    println!(
        "gap to the LP bound (fractions of instances) from nothing and a step later; then, a step later, to what whole instances cost at least"
    );
    let heads = ["from nothing", "later", "to LP", "later", "to whole", "moves"];
    print!("{:>9}{:>6}{:>7}{:>6}{:>6}{:>8}", "services", "steps", "cores", "seed", "tide", "places");
    println!("{:>13}{:>9}{:>9}{:>9}{:>10}{:>8}", heads[0], heads[1], heads[2], heads[3], heads[4], heads[5]);
    let mut line = json!({});
    let mut rows = Vec::new();
    let (cores, seed, is_tide) = (args.cores, args.seed, args.tide);
    for (services, steps) in ROWS {
        let row = row(&args, Size { services, steps, cores, seed, is_tide, places: args.places })?;
        if (services, steps) == PROMISED {
            line = row.clone();
        }
        rows.push(row);
    }
    let (services, steps) = PROMISED;
    let mut others = Vec::new();
    for Other { times, more, is_tide, places } in OTHERS {
        let (cores, seed, places) = (times * cores, seed + more, places * args.places);
        others.push(row(&args, Size { services, steps, cores, seed, is_tide: is_tide || args.tide, places })?);
    }
    if args.json {
        line["rows"] = rows.into();
        line["others"] = others.into();
        println!("{line}");
    }
    Ok(())
}

fn row(args: &Args, size: Size) -> Result<Value> {
    let inputs = world(size);
    let (cold_s, cold) = timed(args, &inputs)?;
    let inputs = later(inputs, &cold);
    let (warm_s, warm) = timed(args, &inputs)?;
    let whole = PlanningLimits { whole_bound_every: size.steps.div_ceil(WHOLE_STEPS), ..limits(args) };
    let whole = 100.0 * plan_capacity(&inputs, &whole).report.choice.whole_gap();
    let gap = |plan: &CapacityPlan| 100.0 * plan.report.choice.gap();
    let moves = 100.0 * warm.report.choice.moves_micros / warm.report.choice.cost_micros.max(1.0);
    let tide = if size.is_tide { "yes" } else { "no" };
    print!("{:>9}{:>6}{:>7}{:>6}{tide:>6}{:>8}", size.services, size.steps, size.cores, size.seed, size.places);
    println!("{cold_s:>11.3} s{warm_s:>7.3} s{:>7.2} %{:>7.2} %{whole:>8.2} %{moves:>6.2} %", gap(&cold), gap(&warm));
    Ok(json!({
        "services": size.services, "steps": size.steps, "shapes": 12, "pools": 8,
        "cores": size.cores, "seed": size.seed, "is_tide": size.is_tide, "places": size.places,
        "seconds": cold_s, "seconds_a_step_later": warm_s,
        "gap_to_lp_bound_percent": gap(&cold), "gap_a_step_later_percent": gap(&warm),
        "gap_to_whole_bound_percent": whole, "moves_percent": moves, "groups": warm.targets.len(),
    }))
}

fn limits(args: &Args) -> PlanningLimits {
    let (move_min_saving, payback_s) = (args.move_min_saving, args.payback_s);
    PlanningLimits { move_min_saving, payback_s, ..PlanningLimits::default() }
}

fn timed(args: &Args, inputs: &CapacityInputs) -> Result<(f64, CapacityPlan)> {
    let limits = limits(args);
    let mut seconds = Vec::new();
    let mut plan = CapacityPlan::default();
    for _ in 0..args.rounds.max(1) {
        let mut spent = CpuTime::default();
        plan = spent.time(|| plan_capacity(inputs, &limits))?;
        seconds.push(spent.seconds());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[seconds.len() / 2], plan))
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
        let mut world = living::World::new(seed);
        for _ in 0..living::ROUNDS {
            world.live_on(&PlanningLimits::default());
        }
        if !world.faults.is_empty() {
            broken += 1;
            println!("seed {seed}: {:?}", world.faults);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} worlds of {} plans in {seconds:.1} s: {broken} broke a promise", living::ROUNDS);
    if json {
        println!(
            "{}",
            json!({ "worlds": count, "plans_per_world": living::ROUNDS, "worlds_broken": broken, "seconds": seconds })
        );
    }
}
