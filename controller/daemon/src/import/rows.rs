//! Rows of an import file, checked one by one, and laid on the history's steps.

use std::collections::BTreeMap;
use std::io::Read;

use forebay_forecast::{Row, TableError, TableRows, Zone};
use forebay_plan::Key;

use crate::calendar;
use crate::store::Point;

const COLUMNS: [&str; 3] = ["timestamp", "key", "value"];
/// A row holds over at most a day, however far the next one is.
const LONGEST_STRETCH_S: i64 = 86_400;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    #[error("{file}: {error}")]
    Table { file: String, error: TableError },
    #[error("{file}: reading line 1: the header is {found:?}; it must be timestamp,key,value")]
    Header { file: String, found: String },
    #[error("{file}: reading line {line}, column \"key\": {text:?} is no key; write TENANT/RESOURCE")]
    Key { file: String, line: u64, text: String },
    #[error(
        "{file}: reading line {line}, column \"value\": it is empty; write units per second, 0 or more, or delete the line"
    )]
    Blank { file: String, line: u64 },
}

/// A file's rows by key and time.
#[derive(Debug, Default)]
pub(super) struct Rows {
    keys: BTreeMap<Key, BTreeMap<i64, f64>>,
    rows: u64,
    duplicates: u64,
}

/// How much a file held.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) rows: u64,
    pub(super) keys: usize,
    pub(super) duplicates: u64,
}

impl Rows {
    /// Reads to the end, or to the first thing that is wrong. `file` is for error messages.
    pub(super) fn read(file: &str, input: impl Read) -> Result<Self, ImportError> {
        let no_table = |error| ImportError::Table { file: file.to_owned(), error };
        let utc = Zone::utc();
        let mut table = TableRows::open(input, &utc).map_err(no_table)?;
        if table.header().iter().ne(&COLUMNS) {
            return Err(ImportError::Header { file: file.to_owned(), found: table.header().join(",") });
        }
        let mut rows = Self::default();
        while let Some(row) = table.next_row().map_err(no_table)? {
            rows.add(file, row)?;
        }
        Ok(rows)
    }

    fn add(&mut self, file: &str, row: Row<'_>) -> Result<(), ImportError> {
        let (line, text) = (row.line, row.text(1));
        let (tenant, resource) = text
            .rsplit_once('/')
            .filter(|(tenant, resource)| !tenant.is_empty() && !resource.is_empty())
            .ok_or_else(|| ImportError::Key { file: file.to_owned(), line, text: text.to_owned() })?;
        let value = row.demand(2).map_err(|error| ImportError::Table { file: file.to_owned(), error })?;
        if value.is_nan() {
            return Err(ImportError::Blank { file: file.to_owned(), line });
        }
        let of_key = self.keys.entry(Key::new(tenant, resource)).or_default();
        let replaced = of_key.insert(calendar::second(row.at_ns), value);
        self.duplicates += u64::from(replaced.is_some());
        self.rows += 1;
        Ok(())
    }

    pub(super) fn summary(&self) -> Summary {
        Summary { rows: self.rows, keys: self.keys.len(), duplicates: self.duplicates }
    }

    /// The rows on steps of `step_s`.
    pub(super) fn points(self, step_s: i64) -> impl Iterator<Item = Point> {
        self.keys.into_iter().flat_map(move |(key, rows)| {
            let steps = regularise(&rows, step_s);
            steps.into_iter().map(move |(step, value)| Point { key: key.clone(), start_s: step * step_s, value })
        })
    }
}

/// Mean rate by step index: each row holds until the next, at most for the usual distance.
fn regularise(rows: &BTreeMap<i64, f64>, step_s: i64) -> BTreeMap<i64, f64> {
    let times: Vec<i64> = rows.keys().copied().collect();
    let mut distances: BTreeMap<i64, u64> = BTreeMap::new();
    for two in times.windows(2) {
        *distances.entry(two[1] - two[0]).or_default() += 1;
    }
    // Of equally frequent distances the shortest; a single row covers one step.
    let usual = distances.iter().max_by_key(|(distance, count)| (**count, -**distance)).map_or(step_s, |(d, _)| *d);
    let stretch_s = usual.min(LONGEST_STRETCH_S);

    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (i, (&from_s, &value)) in rows.iter().enumerate() {
        let next_s = times.get(i + 1).copied().unwrap_or(i64::MAX);
        let to_s = from_s.saturating_add(stretch_s).min(next_s);
        for step in from_s.div_euclid(step_s)..=(to_s - 1).div_euclid(step_s) {
            let overlap_s = (to_s.min((step + 1) * step_s) - from_s.max(step * step_s)) as f64;
            let sum = sums.entry(step).or_insert((0.0, 0.0));
            sum.0 += value * overlap_s;
            sum.1 += overlap_s;
        }
    }
    sums.into_iter().map(|(step, (units, covered_s))| (step, units / covered_s)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rows, String> {
        Rows::read("h.csv", text.as_bytes()).map_err(|error| error.to_string())
    }

    fn points(text: &str, step_s: i64) -> Vec<(i64, f64)> {
        read(text).unwrap().points(step_s).map(|point| (point.start_s, point.value)).collect()
    }

    #[test]
    fn rows_become_steps_finer_coarser_and_with_gaps() {
        let fine = "timestamp,key,value\n0,a/r,1\n60,a/r,3\n120,a/r,5\n180,a/r,7\n600,a/r,9\n";
        assert_eq!(points(fine, 120), [(0, 2.0), (120, 6.0), (600, 9.0)], "means, and the gap stays");
        let coarse = "timestamp,key,value\n1970-01-01 00:00:00,a/r,1\n1970-01-01T00:05:00Z,a/r,3\n";
        assert_eq!(points(coarse, 150), [(0, 1.0), (150, 1.0), (300, 3.0), (450, 3.0)]);
    }

    #[test]
    fn the_last_of_duplicates_wins_and_they_are_counted() {
        let rows = read("timestamp,key,value\n0,a/b/r,1\n0,a/b/r,4\n").unwrap();
        let summary = rows.summary();
        assert_eq!((summary.rows, summary.keys, summary.duplicates), (2, 1, 1));
        let point = rows.points(300).next().unwrap();
        assert_eq!((point.key, point.value), (Key::new("a/b", "r"), 4.0));
    }

    #[test]
    fn errors_name_line_and_column() {
        let bad = |row: &str| read(&format!("timestamp,key,value\n0,a/r,1\n{row}\n")).unwrap_err();
        assert_eq!(
            bad("300,a/r,-1"),
            "h.csv: reading line 3, column \"value\": -1 is no demand; \
             write a number from 0 to 1e30, or nothing where it is missing"
        );
        assert!(bad("300,a/r,inf").starts_with("h.csv: reading line 3, column \"value\": \"inf\" is no number"));
        assert!(bad("300,a/r,").starts_with("h.csv: reading line 3, column \"value\": it is empty; write units"));
        assert!(bad("300,a/r,1e300").contains("is no demand"), "no series can hold it");
        assert!(bad("300,a,1").starts_with("h.csv: reading line 3, column \"key\": \"a\" is no key"));
        assert!(bad("soon,a/r,1").starts_with("h.csv: reading line 3: \"soon\" is no time; write unix seconds"));
        assert!(bad("300,a/r").starts_with("h.csv: reading line 3: 2 fields where the header has 3"));
        assert!(read("time,tenant,rate\n").unwrap_err().starts_with("h.csv: reading line 1: the header is"));
    }
}
