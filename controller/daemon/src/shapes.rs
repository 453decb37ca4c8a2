//! `forebay shapes`: sizes of instance that observed demand would be cheaper with.
//!
//! A CSV file has what replicas took at their peaks, a row per kind of replica: columns named as the amounts of a shape (`cpu`
//! in cores, `memory_mib`, ...) and `replicas`, 1 where it is missing. A first column of another name is the time, as in every
//! other file; rows of several times are averaged over these, so that what was seen twice is not taken for twice as much.
//! What that costs in the shapes of a configuration is set
//! against what it would cost with new ones ([`propose_shapes`]), at prices per core and GiB that are given: what a provider
//! would ask for a size that it does not sell yet is not in any price list. It only reads; the shapes of a configuration
//! are the operator's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::{Table, presets};
use forebay_plan::capacity::Amounts;
use forebay_plan::capacity::shapes::{ObservedDemand, cost_micros_per_h, propose_shapes};
use serde_json::json;

use crate::calendar;
use crate::config::Config;
use crate::files;

const SEED: u64 = 1;
const MIB_PER_GIB: f64 = 1024.0;

/// Largest amount, as in a configuration.
const MOST_AMOUNT: f64 = 1e9;
/// Highest price per hour.
const MOST_PRICE: f64 = 1e6;

/// Columns by name, with what each is taken for.
const COLUMNS: [(&str, &str); 7] = [
    ("cpu", "cores"),
    ("memory_mib", "MiB of memory"),
    ("storage_gib", "GiB of storage"),
    ("disk_iops", "disk operations per second"),
    ("network_mbps", "Mbit/s of network"),
    ("gpus", "GPUs"),
    ("replicas", "how many replicas took so much"),
];

/// Arguments of `forebay shapes`.
#[derive(Debug, Args)]
pub(crate) struct ShapesArgs {
    /// CSV file: what replicas took at their peaks, in columns such as cpu, memory_mib and replicas; a first column of another
    /// name is the time
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Configuration whose shapes are compared with
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What a core would cost per hour in a new shape
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true)]
    cpu_price: f64,
    /// What a GiB of memory would cost per hour in a new shape
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true)]
    memory_price: f64,
    /// Share of the present cost that a new shape has to save
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, allow_negative_numbers = true)]
    min_saving: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads, proposes, prints.
pub(crate) fn run(args: &ShapesArgs) -> anyhow::Result<()> {
    for (name, value) in [("--cpu-price", args.cpu_price), ("--memory-price", args.memory_price)] {
        if !(0.0..=MOST_PRICE).contains(&value) {
            bail!("{name} {value}: write a price from 0 to {MOST_PRICE}");
        }
    }
    if !(0.0..=1.0).contains(&args.min_saving) {
        bail!("--min-saving {}: write a share from 0 to 1, such as 0.02", args.min_saving);
    }
    let config = Config::load(Some(&args.config))?;
    let Some(capacity) = config.capacity else {
        bail!("{}: capacity: there are no shapes; declare them under capacity.shapes", args.config.display());
    };
    let Demands { demands, columns, times } = Demands::read(&args.file)?;
    let price = |amounts: &Amounts| {
        let money = args.cpu_price * amounts.cpu_milli / 1000.0 + args.memory_price * amounts.memory_mib / MIB_PER_GIB;
        (money * 1e6).ceil() as u64
    };
    let now = cost_micros_per_h(&demands, &capacity.shapes) / 1e6;
    let proposals = propose_shapes(&demands, &capacity.shapes, price, args.min_saving, SEED);
    if args.json {
        let rows: Vec<_> = proposals
            .iter()
            .map(|one| {
                let offers = one.shape.offers;
                json!({
                    "name": one.shape.name, "cpu": offers.cpu_milli / 1000.0, "memory_mib": offers.memory_mib,
                    "storage_gib": offers.storage_gib, "disk_iops": offers.disk_iops,
                    "network_mbps": offers.network_mbps, "gpus": offers.gpus,
                    "price_per_h": one.shape.price_micros_per_h as f64 / 1e6,
                    "saving_per_h": one.saving_micros_per_h as f64 / 1e6, "saving_share": one.saving_share,
                    "replicas": one.replicas,
                })
            })
            .collect();
        let columns: serde_json::Map<String, serde_json::Value> =
            columns.into_iter().map(|(name, taken_for)| (name, json!(taken_for))).collect();
        println!(
            "{}",
            json!({ "columns": columns, "times": times, "demands": demands.len(), "cost_per_h": now, "proposals": rows })
        );
        return Ok(());
    }
    let taken: Vec<String> = columns.iter().map(|(name, taken_for)| format!("{name} for {taken_for}")).collect();
    println!("{}: taken {}", args.file.display(), taken.join(", "));
    if times > 1 {
        println!("rows of {times} times, averaged over these");
    }
    println!(
        "{} kinds of replicas cost {now:.3} an hour in the {} shapes there are",
        demands.len(),
        capacity.shapes.len()
    );
    if proposals.is_empty() {
        println!("no new shape would save {:.1} % of it", 100.0 * args.min_saving);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["shape", "cpu", "memory MiB", "price/h", "saves/h", "share", "replicas"]);
    for one in &proposals {
        let offers = one.shape.offers;
        table.add_row([
            one.shape.name.clone(),
            format!("{}", offers.cpu_milli / 1000.0),
            format!("{}", offers.memory_mib),
            format!("{:.4}", one.shape.price_micros_per_h as f64 / 1e6),
            format!("{:.4}", one.saving_micros_per_h as f64 / 1e6),
            format!("{:.1} %", 100.0 * one.saving_share),
            format!("{:.1}", one.replicas),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// What a file says.
struct Demands {
    demands: Vec<ObservedDemand>,
    /// Each column, and what it is taken for.
    columns: Vec<(String, &'static str)>,
    /// Different times of rows; 1 where there is no time.
    times: usize,
}

impl Demands {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let place = || file.display().to_string();
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(files::open(file)?);
        let header = reader.headers().with_context(place)?.clone();
        let amount = |name: &str| COLUMNS.iter().position(|(known, _)| *known == name);
        let mut columns = Vec::new();
        for (i, name) in header.iter().enumerate() {
            let taken_for = match amount(name) {
                Some(at) => COLUMNS[at].1,
                None if i == 0 => "the time",
                None => {
                    let known = COLUMNS.map(|(name, _)| name).join(", ");
                    bail!("{}: column {name:?} is unknown; there are {known}, and a first one with the time", place());
                }
            };
            columns.push((name.to_owned(), taken_for));
        }
        let (mut demands, mut times) = (Vec::new(), BTreeSet::new());
        for (row, record) in reader.records().enumerate() {
            let record = record.with_context(place)?;
            let mut values = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
            for (name, text) in header.iter().zip(&record) {
                let at = || format!("{}: row {}: {name}: {text:?}", place(), row + 2);
                match amount(name) {
                    Some(column) => {
                        let number = text.parse::<f64>().ok().filter(|value| (0.0..=MOST_AMOUNT).contains(value));
                        values[column] = number
                            .with_context(|| format!("{} is no amount; give a number from 0 to {MOST_AMOUNT}", at()))?;
                    }
                    None => {
                        times.insert(calendar::parse(text).with_context(|| {
                            let known = COLUMNS.map(|(name, _)| name).join(", ");
                            format!("{} is no time, and no amount is called {name:?}; there are {known}", at())
                        })?);
                    }
                }
            }
            let [cpu, memory_mib, storage_gib, disk_iops, network_mbps, gpus, replicas] = values;
            let peak = Amounts { cpu_milli: 1000.0 * cpu, memory_mib, storage_gib, disk_iops, network_mbps, gpus };
            demands.push(ObservedDemand { peak, replicas });
        }
        if demands.is_empty() {
            bail!("{}: there are no rows; give what replicas took at their peaks", place());
        }
        let times = times.len().max(1);
        demands.iter_mut().for_each(|one| one.replicas /= times as f64);
        Ok(Self { demands, columns, times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_are_read_or_refused_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("demands.csv");
        let text = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Demands::read(&file).map_err(|error| format!("{error:#}"))
        };
        let read = text("cpu,memory_mib\n0.5,6000\n1,200\n").unwrap();
        assert_eq!((read.demands.len(), read.demands[0].peak.cpu_milli, read.demands[0].replicas), (2, 500.0, 1.0));
        assert_eq!(text("cpu,replicas\n0.5,12\n").unwrap().demands[0].replicas, 12.0);
        let timed = text("when, cpu, replicas\n2026-01-01,0.5,12\n2026-01-01,1,2\n2026-01-02T00:00:00Z,1,2\n").unwrap();
        assert_eq!(timed.demands.iter().map(|one| one.replicas).collect::<Vec<_>>(), [6.0, 1.0, 1.0]);
        assert_eq!((timed.times, &timed.columns[0]), (2, &("when".to_owned(), "the time")));
        for (wrong, parts) in [
            ("cpu,cores\n1,2\n", ["cores", "memory_mib"]),
            ("cores,cpu\n1e99,2\n", ["row 2: cores", "no amount is called"]),
            ("cpu\ninf\n", ["row 2", "from 0 to 1000000000"]),
            ("cpu,memory_mib\n1\n", ["demands.csv", "fields"]),
            ("cpu\n1\n-2\n", ["row 3", "cpu"]),
            ("cpu\nmany\n", ["row 2", "\"many\""]),
            ("cpu\n", ["no rows", "demands.csv"]),
        ] {
            let error = text(wrong).err().expect(wrong);
            assert!(parts.iter().all(|part| error.contains(part)), "{wrong:?}: {error}");
        }
    }
}
