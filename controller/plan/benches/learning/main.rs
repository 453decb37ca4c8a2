//! `cargo xtask bench learning`: what tuning headroom and tier mix costs and saves beside the planner's own choice.
//!
//! In each world the tuner begins with nothing, watches, acts once its estimate passes, and is killed when it must be.
//! `replayed` settles what is only drawn by what it would have cost on the same demand; `explored` tries 30 % of the
//! decisions in force and replays nothing; `let loose` acts from the first decision on, without evidence, which shows what
//! the account alone prevents.
//!
//! The tuner's settings were chosen in the worlds called seen, in which its tests live too; those called held out
//! ([`held_out`]) have other seeds and other makings. What falls short of what the tuner is for, in either, is listed below
//! the table: seeds that lost more than they may, that act where the baseline is best, means dearer than the baseline, more
//! regret than the baseline's, gains that were never proposed. With `--seeds 10` no seed loses more than it may in any world.
//! In the worlds held out these fall short: where errors last, evidence is taken for more than it is and four in ten act
//! though the baseline is best (at no loss on the mean); under heavy tails a planner that is too bold is never put right; what
//! changes from week to week is learned too late to be worth it without replays, and seldom with them.

mod held_out;
#[path = "../../tests/learning/world.rs"]
mod world;

use anyhow::Result;
use clap::Parser;
use forebay_plan::learning::tuner::{State, Tuner, TunerSettings};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::world::{CALM_SPOT, RIGHT, Step, TOO_BOLD, TOO_CAREFUL, World, acting, careful_nights, live, mean};

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
        ("careful nights, bold days", World::By(careful_nights)),
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

/// Share of the baseline's loss above which a tuner counts as dearer.
const DEARER: f64 = 0.005;
/// Regret of the baseline, in percent, above which there is something to gain.
const TO_GAIN: f64 = 1.0;
/// Below which there is nothing.
const NOTHING_TO_GAIN: f64 = 0.01;

fn middle(mut values: Vec<usize>) -> Option<usize> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// What all seeds of a world came to in a mode.
struct Row {
    world: &'static str,
    mode: &'static str,
    is_held_out: bool,
    lived: Vec<Lived>,
}

impl Row {
    fn average(&self, of: impl Fn(&Lived) -> f64) -> f64 {
        self.lived.iter().map(of).sum::<f64>() / self.lived.len() as f64
    }

    fn loss(&self) -> f64 {
        self.average(|lived| lived.over_baseline)
    }

    fn beyond(&self, alpha: f64) -> usize {
        self.lived.iter().filter(|lived| lived.over_baseline > alpha).count()
    }

    /// In percent: the baseline's, the tuner's, and the tuner's in the last quarter.
    fn regret(&self) -> [f64; 3] {
        [0, 1, 2].map(|at| 100.0 * self.average(|lived| lived.regret[at]))
    }

    fn epochs(&self, of: fn(&Lived) -> Option<usize>) -> Vec<usize> {
        self.lived.iter().filter_map(of).collect()
    }

    /// In which ways it is not what a tuner is for.
    fn short_of(&self, settings: &TunerSettings) -> Vec<String> {
        let (seeds, beyond) = (self.lived.len(), self.beyond(settings.alpha));
        let [baseline, tuner, _] = self.regret();
        let acts = self.epochs(|lived| lived.acts_from).len();
        // Of those that were not let loose.
        let shown = self.epochs(|lived| lived.acts_from).into_iter().filter(|&from| from > 0).count();
        let by_chance = (1.0 - settings.confidence) * seeds as f64;
        let ways = [
            (
                beyond as f64 > by_chance,
                format!("{beyond} of {seeds} seeds lost more than {:.0} % of the baseline", 100.0 * settings.alpha),
            ),
            (
                baseline < NOTHING_TO_GAIN && shown as f64 > by_chance,
                format!("{shown} of {seeds} seeds come to act though the baseline is best"),
            ),
            (self.loss() > DEARER, format!("{:.1} % dearer than the baseline on the mean", 100.0 * self.loss())),
            (
                baseline > TO_GAIN && tuner > baseline,
                format!("a regret of {tuner:.1} % where the baseline's is {baseline:.1} %"),
            ),
            (
                baseline > TO_GAIN && 2 * acts < seeds,
                format!("{acts} of {seeds} seeds ever act, with {baseline:.1} % to gain"),
            ),
        ];
        ways.into_iter().filter(|way| way.0).map(|way| way.1).collect()
    }

    fn print(&self, alpha: f64) {
        let worst = self.lived.iter().map(|lived| lived.over_baseline).fold(f64::NEG_INFINITY, f64::max);
        let regret = self.regret();
        let unserved = [0, 1].map(|at| 100.0 * self.average(|lived| lived.violations[at]));
        let counted = |epochs: Vec<usize>| match middle(epochs.clone()) {
            Some(at) => format!("{} @{at}", epochs.len()),
            None => "0".to_owned(),
        };
        println!(
            "{:<27}{:<10}{:>7.2}%{:>7.2}%{:>8} |{:>7.2}{:>7.2}{:>7.2} |{:>6.1}%{:>6.1}% |{:>11}{:>11}",
            self.world,
            self.mode,
            100.0 * self.loss(),
            100.0 * worst,
            self.beyond(alpha),
            regret[0],
            regret[1],
            regret[2],
            unserved[0],
            unserved[1],
            counted(self.epochs(|lived| lived.acts_from)),
            counted(self.epochs(|lived| lived.killed_at)),
        );
    }

    fn json(&self, settings: &TunerSettings) -> Value {
        let worst = self.lived.iter().map(|lived| lived.over_baseline).fold(f64::NEG_INFINITY, f64::max);
        let regret = self.regret();
        let unserved = [0, 1].map(|at| 100.0 * self.average(|lived| lived.violations[at]));
        let (acts, killed) = (self.epochs(|lived| lived.acts_from), self.epochs(|lived| lived.killed_at));
        json!({
            "world": self.world, "mode": self.mode, "held_out": self.is_held_out, "loss_over_baseline_mean": self.loss(),
            "loss_over_baseline_worst": worst, "beyond_alpha_seeds": self.beyond(settings.alpha),
            "regret_percent_baseline": regret[0], "regret_percent_tuner": regret[1],
            "regret_percent_tuner_last_quarter": regret[2], "unserved_percent_baseline": unserved[0],
            "unserved_percent_tuner": unserved[1], "acting_seeds": acts.len(), "killed_seeds": killed.len(),
            "acts_from_median": middle(acts), "killed_at_median": middle(killed), "short_of": self.short_of(settings),
        })
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let settings = TunerSettings::default();
    println!(
        "learning: {} seeds of {} epochs; may lose {:.0} % of the baseline. loss: mean over the baseline's, and the worst \
         seed's;\nregret: expected excess over the best arm per epoch in percent of what the planner expects, of baseline, \
         tuner, and tuner in the last quarter;\nunserved: share of epochs with any demand unserved, of baseline and tuner; \
         acts, killed: how many, and the median epoch",
        args.seeds,
        args.epochs,
        100.0 * settings.alpha
    );
    println!(
        "{:<27}{:<10}{:>8}{:>8}{:>8} |{:>7}{:>7}{:>7} |{:>7}{:>7} |{:>11}{:>11}",
        "world", "", "loss", "worst", "> alpha", "base", "tuner", "end", "base", "tuner", "acts", "killed"
    );
    let mut rows: Vec<Row> = Vec::new();
    let (seen, held_out) = (worlds(args.epochs), held_out::worlds(args.epochs));
    for (is_held_out, worlds, from) in [(false, &seen[..], 0), (true, &held_out[..], held_out::SEEDS_FROM)] {
        println!("{}", if is_held_out { "held out" } else { "seen" });
        for &(world, steps) in worlds {
            for (mode, learns) in MODES {
                let seeds = (from..from + args.seeds).into_par_iter();
                let lived = seeds.map(|seed| lived(steps, learns, args.epochs, seed)).collect::<Result<_>>()?;
                let row = Row { world, mode, is_held_out, lived };
                row.print(settings.alpha);
                rows.push(row);
            }
        }
    }
    println!("falls short:");
    for row in &rows {
        let set = if row.is_held_out { "held out" } else { "seen" };
        row.short_of(&settings).iter().for_each(|way| println!("  {set}, {}, {}: {way}", row.world, row.mode));
    }
    if args.json {
        let table: Vec<Value> = rows.iter().map(|row| row.json(&settings)).collect();
        println!("{}", json!({ "seeds": args.seeds, "epochs": args.epochs, "alpha": settings.alpha, "table": table }));
    }
    Ok(())
}
