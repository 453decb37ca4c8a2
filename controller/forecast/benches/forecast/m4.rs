//! Reads a set of series in the form of the M4 competition's hourly set.
//!
//! `Hourly-train.csv` and `Hourly-test.csv`: a header, then one series per row: its name, its values, empty fields at the
//! end of shorter ones. `naive2_forecasts.csv`, if there: the forecasts that the official OWA divides by. Rows belong
//! together by name, whatever their order. No dates: a series begins on a Monday, as far as anybody knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::naive2;

const TRAIN: &str = "Hourly-train.csv";
const TEST: &str = "Hourly-test.csv";
const NAIVE2: &str = "naive2_forecasts.csv";
/// Steps that `--holdout` cuts off: the horizon of the competition's hourly set.
pub(crate) const HOLDOUT_STEPS: usize = 48;

/// One series: what a model may see, what then came, and the forecast that everybody is compared with.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) train: Vec<f64>,
    pub(crate) actual: Vec<f64>,
    pub(crate) naive2: Vec<f64>,
}

/// All series, and where their Naive2 forecasts come from.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(crate) tasks: Vec<Task>,
    pub(crate) naive2_from: &'static str,
    /// Largest relative difference between the given Naive2 forecasts and the bench's own.
    pub(crate) naive2_differs_by: Option<f64>,
}

/// The folder itself, or `m4` in it.
fn folder(data: &Path) -> Result<PathBuf> {
    [data.to_path_buf(), data.join("m4")].into_iter().find(|folder| folder.join(TRAIN).is_file()).with_context(|| {
        format!("there is no {TRAIN} in {} nor in its folder m4; --data names a folder that holds it", data.display())
    })
}

/// Reads the set; with `holdout` the end of each training part is what is to be forecast, and the test part is not read.
pub(crate) fn read(data: &Path, holdout: bool, every: usize) -> Result<Tasks> {
    let folder = folder(data)?;
    let train = rows(&folder.join(TRAIN))?;
    let (mut test, mut naive2) = (BTreeMap::new(), BTreeMap::new());
    if !holdout {
        test = rows(&folder.join(TEST))?.into_iter().collect();
        if folder.join(NAIVE2).is_file() {
            naive2 = rows(&folder.join(NAIVE2))?.into_iter().collect();
        }
    }
    let naive2_is_given = !naive2.is_empty();
    let mut tasks = Vec::new();
    let mut differs_by = 0.0_f64;
    for (name, mut train) in train.into_iter().step_by(every) {
        let actual = if holdout {
            ensure!(train.len() > HOLDOUT_STEPS, "{TRAIN}: {name} has only {} values", train.len());
            train.split_off(train.len() - HOLDOUT_STEPS)
        } else {
            test.remove(&name).with_context(|| format!("{TEST} has no row {name}, which {TRAIN} has"))?
        };
        let own = naive2::forecast(&train, actual.len());
        let naive2 = if naive2_is_given {
            let given = naive2.remove(&name).with_context(|| format!("{NAIVE2} has no row {name}"))?;
            ensure!(
                given.len() == actual.len(),
                "{NAIVE2}: {name} has {} values, {TEST} {}",
                given.len(),
                actual.len()
            );
            let pairs = given.iter().zip(&own);
            differs_by = pairs.map(|(a, b)| (a - b).abs() / a.abs().max(1e-9)).fold(differs_by, f64::max);
            given
        } else {
            own
        };
        tasks.push(Task { name, train, actual, naive2 });
    }
    ensure!(!tasks.is_empty(), "{} has no series", folder.join(TRAIN).display());
    let naive2_from = if naive2_is_given { NAIVE2 } else { "own Naive2" };
    Ok(Tasks { tasks, naive2_from, naive2_differs_by: naive2_is_given.then_some(differs_by) })
}

/// Name and values of each row, in the order of the file.
fn rows(path: &Path) -> Result<Vec<(String, Vec<f64>)>> {
    let reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_path(path);
    let mut reader = reader.with_context(|| format!("open {}", path.display()))?;
    let mut rows = Vec::new();
    for (line, record) in (2..).zip(reader.records()) {
        let record = record.with_context(|| format!("{}:{line}", path.display()))?;
        let mut fields = record.iter();
        let name = fields.next().filter(|name| !name.is_empty());
        let name = name.with_context(|| format!("{}:{line}: the row has no name", path.display()))?.to_owned();
        let mut values = Vec::new();
        for (column, field) in (2..).zip(fields) {
            let missing = field.is_empty() || field == "NA";
            let value = if missing { Ok(f64::NAN) } else { field.parse::<f64>() };
            values.push(value.with_context(|| format!("{}:{line}: column {column}: {field:?}", path.display()))?);
        }
        let known = values.iter().rposition(|value| !value.is_nan()).map_or(0, |last| last + 1);
        ensure!(known > 0, "{}:{line}: {name} has no value", path.display());
        values.truncate(known);
        rows.push((name, values));
    }
    Ok(rows)
}
