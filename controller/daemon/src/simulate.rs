//! `forebay simulate`: what capacity for a demand would have cost, and left unserved, under one policy and another.
//!
//! Every column of a CSV file is a demand. Policies are tuned on the part from 40 to 70 % of it and judged on the rest, in a
//! world with a lead time, and as asked with starts that are late or fail and a cheaper class that is interrupted
//! ([`Contest`]). What they come to is printed as a table and a frontier, as JSON, and as a page that needs nothing else. Beside
//! the share of unserved steps stands its 95 % interval ([`forebay_plan::simulation::violation_interval`]), as `tau_u_interval`
//! in JSON: wide where few days were judged.
//!
//! The same input and seed give the same output, byte for byte. It only reads; no capacity is touched.

mod page;
mod report;

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use forebay_forecast::{Regularise, Series};
use forebay_plan::simulation::{Contest, Demanded, Kind as Policy, Mishaps, Outlook, Point, Prices, Standing};
use rayon::prelude::*;
use serde_json::json;

use crate::files;
use crate::forecasting::source::columns_of;
use crate::forecasting::{Kind, Span};

/// Of the settings of a policy every so many make a point of its frontier.
const FRONTIER_EVERY: usize = 4;
/// Most replicas at the peak: mishaps are drawn for each of them at each step.
const MAX_REPLICAS: f64 = 10_000.0;
/// Highest price per hour: what a thousand replicas cost in ten years still has all its digits.
const MOST_PRICE: f64 = 1e6;
/// Most interruptions of a replica per day: one a minute, oftener than any replica has started.
const MOST_INTERRUPTIONS: f64 = 1440.0;
/// Most demand per replica: as much as a series may hold.
const MOST_UNITS: f64 = 1e30;
/// Least share of steps that may go unserved: one in a million, two years of minutes.
const LEAST_TARGET: f64 = 1e-6;
/// Least target of an autoscaler: below it a replica would be used by less than a hundredth.
const LEAST_HPA_TARGET: f64 = 0.01;

/// Arguments of `forebay simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// CSV file: time, then one demand per column
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Only this column; may be given several times
    #[arg(long, value_name = "NAME")]
    column: Vec<String>,
    /// What the columns are
    #[arg(long, value_enum, default_value_t = Kind::Level)]
    measure: Kind,
    /// Length of a step, such as 5m; default: read from the stamps
    #[arg(long, value_name = "TIME")]
    step: Option<Span>,
    /// From asking for a replica until it is ready; rounded up to whole steps
    #[arg(long, value_name = "TIME", default_value = "15m")]
    lead: Span,
    /// Only these policies: static, hpa, last-value, seasonal, paced, forebay, oracle
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    policies: Vec<PolicyName>,
    /// A horizontal autoscaler at this target beside the tuned one
    #[arg(long, value_name = "SHARE", default_value = "70%")]
    hpa_target: Share,
    /// Demand that one ready replica serves
    #[arg(long, value_name = "UNITS", allow_negative_numbers = true, conflicts_with = "peak_replicas")]
    replica_units: Option<f64>,
    /// Replicas that the highest demand needs
    #[arg(long, value_name = "N", default_value_t = 100.0, allow_negative_numbers = true)]
    peak_replicas: f64,
    /// Share of steps that may go unserved
    #[arg(long, value_name = "SHARE", default_value = "1%")]
    target: Share,
    /// What a replica costs per hour
    #[arg(long, value_name = "PRICE", default_value_t = 1.0, allow_negative_numbers = true)]
    price: f64,
    /// What an interruptible one costs per hour
    #[arg(long, value_name = "PRICE", default_value_t = 0.35, allow_negative_numbers = true)]
    spot_price: f64,
    /// Share of replicas that are interruptible
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    spot_share: Share,
    /// Interruptions of such a replica per day
    #[arg(long, value_name = "N", default_value_t = 0.0, allow_negative_numbers = true)]
    interruption: f64,
    /// Starts take up to this much longer than the lead time; rounded up to whole steps
    #[arg(long, value_name = "TIME")]
    startup_jitter: Option<Span>,
    /// Share of starts that fail
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    failures: Share,
    /// Seed of late and failed starts and of interruptions; the same seed gives the same figures
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write a page with tables and plots
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A policy as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PolicyName {
    Static,
    Hpa,
    LastValue,
    Seasonal,
    Paced,
    Forebay,
    Oracle,
}

/// A share, written as 0.01 or 1%.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Share(f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        let share = text.strip_suffix('%').map_or_else(|| number(text), |percent| Some(number(percent)? / 100.0));
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| "write a share from 0 to 1, such as 0.01 or 1%".to_owned())
    }
}

/// What came of one column.
struct Simulated {
    name: String,
    series: Series,
    per_replica: f64,
    standings: Vec<Standing>,
    frontiers: Vec<(Policy, Vec<Point>)>,
}

/// Simulates and prints.
pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    args.check()?;
    let how = Regularise { step_s: args.step.map(|step| step.seconds), ..Regularise::new(args.measure.into()) };
    let columns = columns_of(&args.file, &args.column, &how)?;
    let all: Vec<anyhow::Result<Simulated>> =
        columns.into_par_iter().map(|(name, series)| one(args, name, series)).collect();
    let (mut done, mut failed) = (Vec::new(), 0);
    let columns = all.len();
    for outcome in all {
        match outcome {
            Ok(simulated) => done.push(simulated),
            Err(error) => {
                failed += 1;
                eprintln!("forebay: {}: {error:#}", args.file.display());
            }
        }
    }
    if args.json {
        let simulations: Vec<_> = done.iter().map(|simulated| report::as_json(args, simulated)).collect();
        println!("{}", json!({ "source": args.file, "simulations": simulations }));
    } else {
        done.iter().for_each(|simulated| print!("{}", report::as_text(args, simulated)));
    }
    if let Some(path) = &args.html {
        files::write(path, "--html", page::page(args, &done))?;
    }
    anyhow::ensure!(failed == 0, "{failed} of {columns} columns could not be simulated; the reasons stand above");
    Ok(())
}

impl SimulateArgs {
    /// Refuses what has no meaning before anything is read.
    fn check(&self) -> anyhow::Result<()> {
        for (name, value) in [("--price", self.price), ("--spot-price", self.spot_price)] {
            anyhow::ensure!(
                (0.0..=MOST_PRICE).contains(&value),
                "{name} {value}: write a price from 0 to {MOST_PRICE}"
            );
        }
        let interruption = self.interruption;
        anyhow::ensure!(
            (0.0..=MOST_INTERRUPTIONS).contains(&interruption),
            "--interruption {interruption}: write a number of interruptions per day, from 0 to {MOST_INTERRUPTIONS}"
        );
        anyhow::ensure!(
            self.failures.0 < 1.0,
            "--failures 100%: nothing would ever start; write a share below 100%, such as 5%"
        );
        let peak = self.peak_replicas;
        anyhow::ensure!(
            (1.0..=MAX_REPLICAS).contains(&peak),
            "--peak-replicas {peak}: write a number from 1 to {MAX_REPLICAS}"
        );
        if let Some(units) = self.replica_units {
            anyhow::ensure!(
                units > 0.0 && units <= MOST_UNITS,
                "--replica-units {units}: write a number above 0, at most {MOST_UNITS:e}"
            );
        }
        let Share(target) = self.target;
        anyhow::ensure!(
            (LEAST_TARGET..1.0).contains(&target),
            "--target {target}: write a share above 0, at least {LEAST_TARGET}, and below 1, such as 1%"
        );
        let Share(hpa_target) = self.hpa_target;
        anyhow::ensure!(
            hpa_target >= LEAST_HPA_TARGET,
            "--hpa-target {hpa_target}: write a share from {LEAST_HPA_TARGET} to 1, such as 70%"
        );
        if let Some(path) = &self.html {
            let is_page = path.extension().is_some_and(|ending| ending == "html" || ending == "htm");
            anyhow::ensure!(is_page, "--html {}: a name must end in .html", path.display());
        }
        Ok(())
    }

    fn prices(&self) -> Prices {
        Prices { on_demand_per_h: self.price, spot_per_h: self.spot_price }
    }

    fn mishaps(&self, step_s: u32) -> Mishaps {
        Mishaps {
            jitter_steps: self.startup_jitter.map_or(0, |jitter| jitter.seconds.div_ceil(step_s) as usize),
            failed_starts: self.failures.0,
            spot_share: self.spot_share.0,
            interruptions_per_day: self.interruption,
            seed: self.seed,
        }
    }

    fn compared(&self) -> Vec<Policy> {
        let is_asked = |name| self.policies.is_empty() || self.policies.contains(&name);
        let rows = [
            (PolicyName::Static, Policy::StaticPeak),
            (PolicyName::Hpa, Policy::AutoscalerAt(self.hpa_target.0)),
            (PolicyName::Hpa, Policy::Autoscaler),
            (PolicyName::LastValue, Policy::LastValue),
            (PolicyName::Seasonal, Policy::Seasonal),
            (PolicyName::Paced, Policy::PacedReactive),
            (PolicyName::Forebay, Policy::Forebay),
            (PolicyName::Oracle, Policy::Oracle),
        ];
        rows.into_iter().filter(|(name, _)| is_asked(*name)).map(|(_, policy)| policy).collect()
    }
}

fn one(args: &SimulateArgs, name: String, series: Series) -> anyhow::Result<Simulated> {
    let place = || format!("column {name}");
    let peak = series.values().iter().copied().filter(|demand| !demand.is_nan()).fold(0.0, f64::max);
    let per_replica = args.replica_units.unwrap_or(if peak > 0.0 { peak / args.peak_replicas } else { 1.0 });
    anyhow::ensure!(
        peak / per_replica <= MAX_REPLICAS,
        "{}: its highest demand of {peak} needs more than {MAX_REPLICAS} replicas; choose larger --replica-units",
        place()
    );
    let lead_steps = args.lead.seconds.div_ceil(series.step_s()) as usize;
    let (tuning, judged) = Contest::parts(series.len());
    let mishaps = args.mishaps(series.step_s());
    let (standings, frontiers) = {
        let asked = Demanded { series: &series, per_replica, lead_steps, allowed: args.target.0, mishaps };
        // Refused before the forecasts are made, which take longer.
        let empty = Outlook { from: tuning.start, upper: Vec::new() };
        Contest::new(&asked, &empty).with_context(place)?;
        let policies = args.compared();
        let outlook = if policies.contains(&Policy::Forebay) {
            Outlook::of(&series, tuning.start..judged.end, lead_steps)
                .with_context(|| format!("{}: give a longer history, or leave forebay out of --policies", place()))?
        } else {
            empty
        };
        let contest = Contest::new(&asked, &outlook).with_context(place)?;
        let standings = policies.iter().map(|&policy| contest.standing(policy)).collect();
        let frontiers = policies.iter().map(|&policy| (policy, contest.frontier(policy, FRONTIER_EVERY)));
        (standings, frontiers.filter(|(_, points)| !points.is_empty()).collect())
    };
    Ok(Simulated { name, series, per_replica, standings, frontiers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_numbers_or_per_cent() {
        assert_eq!(
            ["1%", "0.01", "0", "100 %"].map(|text| text.parse()),
            [Share(0.01), Share(0.01), Share(0.0), Share(1.0)].map(Ok)
        );
        for wrong in ["", "2", "-1%", "many", "101%", "NaN"] {
            assert!(wrong.parse::<Share>().unwrap_err().contains("such as 0.01 or 1%"), "{wrong}");
        }
    }
}
