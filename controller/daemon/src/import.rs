//! `forebay import`: history from CSV files with the columns `timestamp,key,value`.
//!
//! A key is written TENANT/RESOURCE (the last slash divides, so a tenant may hold slashes), a value is the mean rate in
//! units per second over the stretch that begins at the timestamp. How long a stretch is, each key's own timestamps
//! tell: the most frequent distance between neighbours. Shorter ones than `step_s` are averaged per step; longer ones
//! are held over the steps that they cover. Steps without a row stay missing.
//!
//! A file is imported whole or not at all. Of two rows with one timestamp and key the later wins, and their number is
//! printed. The points that a file names are replaced. A running controller takes them in when it starts next.

mod rows;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::Config;
use crate::files;
use crate::store::HistoryStore;
use crate::store::sqlite::SqliteStore;
use rows::Rows;

/// Arguments of `forebay import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Folder of the history; default: the configuration's
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file, for data_dir and step_s
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Step of the history in seconds; default: the configuration's
    #[arg(long, value_name = "N")]
    step_s: Option<u32>,
    /// CSV files: timestamp,key,value with keys as TENANT/RESOURCE and mean rates in units per second
    #[arg(required = true, value_name = "FILE.csv")]
    files: Vec<PathBuf>,
}

/// Imports the files, one after the other.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref())?;
    let data_dir = args.data_dir.as_ref().unwrap_or(&config.data_dir);
    let step_s = args.step_s.unwrap_or(config.step_s);
    anyhow::ensure!(
        step_s > 0 && 86_400_u32.is_multiple_of(step_s),
        "--step-s {step_s}: steps must divide a day of 86400 s; choose one such as 60, 300 or 3600"
    );
    let mut store = SqliteStore::open(data_dir, step_s)?;
    for file in &args.files {
        let rows = read(file)?;
        let summary = rows.summary();
        let mut points = rows.points(i64::from(step_s));
        let written = store.replace(&mut points)?;
        println!(
            "{}: {} rows, {} keys, {} duplicate timestamps (the last one won), {written} points of {step_s} s written",
            file.display(),
            summary.rows,
            summary.keys,
            summary.duplicates,
        );
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Rows> {
    let input = files::open(file)?;
    let bytes = input.metadata().map_or(0, |metadata| metadata.len());
    let bar = progress(bytes);
    bar.set_message(file.display().to_string());
    let rows = Rows::read(&file.display().to_string(), bar.wrap_read(input));
    bar.finish_and_clear();
    Ok(rows?)
}

/// A bar where somebody can see it.
fn progress(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
