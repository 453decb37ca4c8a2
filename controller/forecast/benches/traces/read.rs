//! Reads a folder of CSV files: the first column is the time, every other one a series, unless it is named `label`.
//!
//! The step is the most frequent distance between neighbouring stamps. Values are put on the grid of that step; of several
//! in one step the mean is taken, a step without one is missing, and so is a field that is empty. A time is RFC 3339,
//! `YYYY-MM-DD HH:MM:SS` (taken as UTC) or unix seconds. What cannot be read as a series is named with its reason, and the
//! other columns are used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use forebay_forecast::Series;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Longest grid, in steps: ten years of minutes, 42 MB. A stray stamp would else ask for any amount of memory.
const MAX_STEPS: i64 = 5_300_000;

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
        for trace in columns(&file, &stem).with_context(|| format!("read {}", file.display()))? {
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

fn columns(file: &Path, stem: &str) -> Result<Vec<Trace>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file)?;
    let names: Vec<String> = reader.headers()?.iter().skip(1).map(str::to_owned).collect();
    let mut stamps = Vec::new();
    let mut values: Vec<Vec<Result<f64, String>>> = vec![Vec::new(); names.len()];
    for (line, record) in (2..).zip(reader.records()) {
        let record = record?;
        let time = record.get(0).unwrap_or_default();
        stamps.push(unix_s(time).with_context(|| format!("line {line}: {time:?} is no time"))?);
        for (column, field) in values.iter_mut().zip(record.iter().skip(1)) {
            let value = if field.is_empty() { Ok(f64::NAN) } else { field.parse::<f64>() };
            column.push(value.map_err(|_| format!("line {line}: {field:?} is no number")));
        }
    }
    let grid = Grid::of(&stamps);
    let columns = names.iter().zip(values).filter(|(name, _)| *name != "label");
    let traces = columns.map(|(name, values)| {
        let values: Result<Vec<f64>, String> = values.into_iter().collect();
        let series = grid.as_ref().map_err(Clone::clone).and_then(|grid| grid.series(&stamps, &values?));
        Trace { name: format!("{stem}/{name}"), series }
    });
    Ok(traces.collect())
}

fn unix_s(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    if let Ok(stamp) = text.parse::<Timestamp>() {
        return Some(stamp.as_second());
    }
    TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok().map(Timestamp::as_second)
}

/// Where the stamps of a file lie.
#[derive(Debug, Clone)]
struct Grid {
    first: i64,
    steps: i64,
    step_s: i64,
}

impl Grid {
    fn of(stamps: &[i64]) -> Result<Self, String> {
        let mut distances: BTreeMap<i64, usize> = BTreeMap::new();
        for two in stamps.windows(2) {
            let distance = two[1].saturating_sub(two[0]);
            if distance > 0 {
                *distances.entry(distance).or_default() += 1;
            }
        }
        // Of equally frequent distances the shortest.
        let usual = distances.iter().max_by_key(|(distance, count)| (**count, -**distance));
        let (Some((&step_s, _)), Some(&first), Some(&last)) = (usual, stamps.iter().min(), stamps.iter().max()) else {
            return Err("fewer than two times".to_owned());
        };
        let (first, last) = (first.div_euclid(step_s), last.div_euclid(step_s));
        let steps = last - first + 1;
        if steps > MAX_STEPS {
            return Err(format!("{steps} steps of {step_s} s between its first and last time; {MAX_STEPS} at most"));
        }
        Ok(Self { first, steps, step_s })
    }

    fn series(&self, stamps: &[i64], values: &[f64]) -> Result<Series, String> {
        let mut sums = vec![(0.0, 0.0); self.steps as usize];
        for (stamp, value) in stamps.iter().zip(values).filter(|(_, value)| !value.is_nan()) {
            let (sum, count) = &mut sums[(stamp.div_euclid(self.step_s) - self.first) as usize];
            *sum += value;
            *count += 1.0;
        }
        let values = sums.into_iter().map(|(sum, count)| sum / count).collect();
        let step_s = u32::try_from(self.step_s).map_err(|_| format!("a step of {} s", self.step_s))?;
        Series::new(self.first * self.step_s, step_s, values).map_err(|error| error.to_string())
    }
}
