//! `forebay shapes`: sizes of instance that observed demand would be cheaper with.
//!
//! A CSV file has what replicas took at their peaks, a row per kind of replica: columns named as the amounts of a shape (`cpu`
//! in cores, `memory_mib`, ...) and `replicas`, 1 where it is missing. What that costs in the shapes of a configuration is set
//! against what it would cost with new ones ([`propose_shapes`]), at prices per core and GiB that are given: what a provider
//! would ask for a size that it does not sell yet is not in any price list. It only reads; the shapes of a configuration
//! are the operator's.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::{Table, presets};
use forebay_plan::capacity::Amounts;
use forebay_plan::capacity::shapes::{ObservedDemand, cost_micros_per_h, propose_shapes};
use serde_json::json;

use crate::config::Config;

const SEED: u64 = 1;
const MIB_PER_GIB: f64 = 1024.0;

/// Arguments of `forebay shapes`.
#[derive(Debug, Args)]
pub(crate) struct ShapesArgs {
    /// CSV file: what replicas took at their peaks, in columns such as cpu, memory_mib and replicas
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Configuration whose shapes are compared with
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What a core would cost per hour in a new shape
    #[arg(long, value_name = "PRICE")]
    cpu_price: f64,
    /// What a GiB of memory would cost per hour in a new shape
    #[arg(long, value_name = "PRICE")]
    memory_price: f64,
    /// Share of the present cost that a new shape has to save
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    min_saving: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads, proposes, prints.
pub(crate) fn run(args: &ShapesArgs) -> anyhow::Result<()> {
    for (name, value) in
        [("--cpu-price", args.cpu_price), ("--memory-price", args.memory_price), ("--min-saving", args.min_saving)]
    {
        if !(value.is_finite() && value >= 0.0) {
            bail!("{name} {value}: give a number from 0 on");
        }
    }
    let config = Config::load(Some(&args.config))?;
    let Some(capacity) = config.capacity else {
        bail!("{}: capacity: there are no shapes; declare them under capacity.shapes", args.config.display());
    };
    let demands = read(&args.file)?;
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
        println!("{}", json!({ "demands": demands.len(), "cost_per_h": now, "proposals": rows }));
        return Ok(());
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

/// The demands of a file.
fn read(file: &std::path::Path) -> anyhow::Result<Vec<ObservedDemand>> {
    const COLUMNS: [&str; 7] = ["cpu", "memory_mib", "storage_gib", "disk_iops", "network_mbps", "gpus", "replicas"];
    let place = || file.display().to_string();
    let mut reader = csv::Reader::from_path(file).with_context(place)?;
    let header = reader.headers().with_context(place)?.clone();
    if let Some(unknown) = header.iter().find(|name| !COLUMNS.contains(&name.trim())) {
        bail!("{}: column {unknown:?} is unknown; there are {}", file.display(), COLUMNS.join(", "));
    }
    let mut demands = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let record = record.with_context(place)?;
        let mut values = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        for (name, text) in header.iter().zip(&record) {
            let number = text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
            let Some(number) = number else {
                bail!("{}: row {}: {name}: {text:?} is no amount; give a number from 0 on", file.display(), row + 2);
            };
            if let Some(at) = COLUMNS.iter().position(|known| *known == name.trim()) {
                values[at] = number;
            }
        }
        let [cpu, memory_mib, storage_gib, disk_iops, network_mbps, gpus, replicas] = values;
        let peak = Amounts { cpu_milli: 1000.0 * cpu, memory_mib, storage_gib, disk_iops, network_mbps, gpus };
        demands.push(ObservedDemand { peak, replicas });
    }
    if demands.is_empty() {
        bail!("{}: there are no rows; give what replicas took at their peaks", file.display());
    }
    Ok(demands)
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
            read(&file).map_err(|error| format!("{error:#}"))
        };
        let read = text("cpu,memory_mib\n0.5,6000\n1,200\n").unwrap();
        assert_eq!((read.len(), read[0].peak.cpu_milli, read[0].replicas), (2, 500.0, 1.0));
        assert_eq!(text("cpu,replicas\n0.5,12\n").unwrap()[0].replicas, 12.0);
        for (wrong, parts) in [
            ("cpu,cores\n1,2\n", ["cores", "memory_mib"]),
            ("cpu\n1\n-2\n", ["row 3", "cpu"]),
            ("cpu\nmany\n", ["row 2", "\"many\""]),
            ("cpu\n", ["no rows", "demands.csv"]),
        ] {
            let error = text(wrong).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{wrong:?}: {error}");
        }
    }
}
