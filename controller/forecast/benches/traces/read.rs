//! Reads a folder of CSV files: the first column is the time, every other one a series, unless it is named `label`.
//!
//! Every series is taken as a level, on the step that its stamps tell ([`regularise`]). What cannot be read is named with
//! its reason, and the others are used.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use forebay_forecast::{Measure, Regularise, Series, Table, Zone, regularise};

/// A column of a file.
#[derive(Debug)]
pub(crate) struct Trace {
    /// File name without its ending, and the column behind a slash.
    pub(crate) name: String,
    /// Or why it is none.
    pub(crate) series: Result<Series, String>,
}

/// The folder's CSV files by name, each with its columns in order; `traces` in the folder if it has none itself.
pub(crate) fn folder(data: &Path, only: Option<&str>) -> Result<Vec<Trace>> {
    let mut files = csv_files(data)?;
    let traces = data.join("traces");
    if files.is_empty() && traces.is_dir() {
        files = csv_files(&traces)?;
    }
    ensure!(!files.is_empty(), "there is no CSV file in {} nor in its folder traces", data.display());
    let mut all = Vec::new();
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for trace in columns(&file, &stem) {
            if only.is_none_or(|part| trace.name.contains(part)) {
                all.push(trace);
            }
        }
    }
    ensure!(!all.is_empty(), "--only {}: no trace has that in its name", only.unwrap_or_default());
    Ok(all)
}

fn csv_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("list the folder {}", folder.display()))?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let mut files: Vec<PathBuf> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "csv")).collect();
    files.sort();
    Ok(files)
}

fn columns(file: &Path, stem: &str) -> Vec<Trace> {
    let refused = |reason: String| vec![Trace { name: stem.to_owned(), series: Err(reason) }];
    let input = match std::fs::File::open(file) {
        Ok(input) => input,
        Err(error) => return refused(error.to_string()),
    };
    let table = match Table::read(input, &Zone::utc()) {
        Ok(table) => table,
        Err(error) => return refused(error.to_string()),
    };
    let traces = table.series().map(|column| {
        let regular = regularise(&table.observations(column), &Regularise::new(Measure::Level));
        let series = regular.map(|regular| regular.series).map_err(|error| error.to_string());
        Trace { name: format!("{stem}/{}", column.name), series }
    });
    traces.collect()
}
