//! `cargo xtask bench learning`: what tuning headroom and tier mix costs and saves beside the planner's own choice.
//!
//! In each world the tuner begins with nothing, watches, acts once its estimate passes, and is killed when it must be.
//! `replayed` settles what is only drawn by what it would have cost on the same demand; `explored` tries 30 % of the
//! decisions in force and replays nothing; `let loose` acts from the first decision on, without evidence, which shows what
//! the account alone prevents.

#[path = "../../tests/learning/world.rs"]
mod world;

use anyhow::Result;
use clap::Parser;
use forebay_plan::learning::tuner::{State, Tuner, TunerSettings};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::world::{CALM_SPOT, RIGHT, Step, TOO_BOLD, TOO_CAREFUL, World, acting, live, mean};

/// The tuner of headroom and tier mix beside the planner's own choice, in simulated worlds.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench learning")]
struct Args {
    /// Worlds of each kind
    #[arg(long, value_name = "COUNT", default_value_t = 40)]
    seeds: u64,
    /// Hours that each is lived
    #[arg(long, value_name = "COUNT", default_value_t = 2_000)]
    epochs: usize,
    /// End with the figures as one JSON line
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// How a tuner learns.
#[derive(Clone, Copy)]
enum Mode {
    Replayed,
    Explored,
    LetLoose,
}

const MODES: [(&str, Mode); 3] =
    [("replayed", Mode::Replayed), ("explored", Mode::Explored), ("let loose", Mode::LetLoose)];

fn worlds(epochs: usize) -> [(&'static str, World); 6] {
    [
        ("planner right", World::Steady(RIGHT)),
        ("planner too careful", World::Steady(TOO_CAREFUL)),
        ("planner too bold", World::Steady(TOO_BOLD)),
        ("spot calmer than declared", World::Steady(CALM_SPOT)),
        ("careful nights, bold days", World::Phased(TOO_CAREFUL, TOO_BOLD)),
        ("careful, then bold", World::Shifted(TOO_CAREFUL, TOO_BOLD, epochs / 2)),
    ]
}

/// What one tuner came to.
struct Lived {
    over_baseline: f64,
    /// Expected excess over the best arm per epoch: of the baseline, of the tuner, and of the tuner at the end.
    regret: [f64; 3],
    violations: [f64; 2],
    acts_from: Option<usize>,
    killed_at: Option<usize>,
}

fn lived(world: World, mode: Mode, epochs: usize, seed: u64) -> Result<Lived> {
    let watching_share = if matches!(mode, Mode::Explored) { 0.3 } else { 0.0 };
    let fresh = Tuner::new(TunerSettings { is_automatic: true, watching_share, ..TunerSettings::default() })?;
    let mut tuner = if matches!(mode, Mode::LetLoose) { acting(&fresh)? } else { fresh };
    let steps = live(&mut tuner, world, epochs, seed, matches!(mode, Mode::Replayed))?;
    let at = |is: fn(&State) -> bool| steps.iter().position(|step| is(&step.state));
    let violations = |of: fn(&Step) -> bool| mean(&steps, |step| f64::from(u8::from(of(step))));
    Ok(Lived {
        over_baseline: mean(&steps, |step| step.loss) / mean(&steps, |step| step.baseline) - 1.0,
        regret: [
            mean(&steps, |step| step.baseline_regret),
            mean(&steps, |step| step.regret),
            mean(&steps[epochs * 3 / 4..], |step| step.regret),
        ],
        violations: [violations(|step| step.baseline_violated), violations(|step| step.violated)],
        acts_from: at(|state| matches!(state, State::Acting { .. })),
        killed_at: at(|state| matches!(state, State::Killed { .. })),
    })
}

fn middle(mut values: Vec<usize>) -> Option<usize> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn main() -> Result<()> {
    let args = Args::parse();
    let alpha = TunerSettings::default().alpha;
    println!(
        "learning: {} seeds of {} epochs; may lose {:.0} % of the baseline. loss: mean over the baseline's, and the worst \
         seed's;\nregret: expected excess over the best arm per epoch in percent of what the planner expects, of baseline, \
         tuner, and tuner in the last quarter;\nunserved: share of epochs with any demand unserved, of baseline and tuner; \
         acts, killed: how many, and the median epoch",
        args.seeds,
        args.epochs,
        100.0 * alpha
    );
    println!(
        "{:<27}{:<10}{:>8}{:>8}{:>8} |{:>7}{:>7}{:>7} |{:>7}{:>7} |{:>11}{:>11}",
        "world", "", "loss", "worst", "> alpha", "base", "tuner", "end", "base", "tuner", "acts", "killed"
    );
    let mut rows: Vec<Value> = Vec::new();
    for (name, world) in worlds(args.epochs) {
        for (mode_name, mode) in MODES {
            let all: Vec<Lived> = (0..args.seeds)
                .into_par_iter()
                .map(|seed| lived(world, mode, args.epochs, seed))
                .collect::<Result<_>>()?;
            let average = |of: &dyn Fn(&Lived) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
            let loss = average(&|lived| lived.over_baseline);
            let worst = all.iter().map(|lived| lived.over_baseline).fold(f64::NEG_INFINITY, f64::max);
            let beyond = all.iter().filter(|lived| lived.over_baseline > alpha).count();
            let regret = [0, 1, 2].map(|at| 100.0 * average(&|lived| lived.regret[at]));
            let unserved = [0, 1].map(|at| 100.0 * average(&|lived| lived.violations[at]));
            let acts: Vec<usize> = all.iter().filter_map(|lived| lived.acts_from).collect();
            let killed: Vec<usize> = all.iter().filter_map(|lived| lived.killed_at).collect();
            let counted = |epochs: &[usize]| match middle(epochs.to_vec()) {
                Some(at) => format!("{} @{at}", epochs.len()),
                None => "0".to_owned(),
            };
            println!(
                "{name:<27}{mode_name:<10}{:>7.2}%{:>7.2}%{beyond:>8} |{:>7.2}{:>7.2}{:>7.2} |{:>6.1}%{:>6.1}% |{:>11}{:>11}",
                100.0 * loss,
                100.0 * worst,
                regret[0],
                regret[1],
                regret[2],
                unserved[0],
                unserved[1],
                counted(&acts),
                counted(&killed),
            );
            rows.push(json!({
                "world": name, "mode": mode_name, "loss_over_baseline_mean": loss, "loss_over_baseline_worst": worst,
                "beyond_alpha_seeds": beyond, "regret_percent_baseline": regret[0], "regret_percent_tuner": regret[1],
                "regret_percent_tuner_last_quarter": regret[2], "unserved_percent_baseline": unserved[0],
                "unserved_percent_tuner": unserved[1], "acting_seeds": acts.len(), "killed_seeds": killed.len(),
                "acts_from_median": middle(acts), "killed_at_median": middle(killed),
            }));
        }
    }
    if args.json {
        println!("{}", json!({ "seeds": args.seeds, "epochs": args.epochs, "alpha": alpha, "table": rows }));
    }
    Ok(())
}
