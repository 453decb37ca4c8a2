//! Rows of an import file, checked one by one, and laid on the history's steps.

use std::collections::BTreeMap;
use std::io::Read;

use csv::StringRecord;
use forebay_plan::Key;

use crate::calendar;
use crate::store::Point;

const COLUMNS: [&str; 3] = ["timestamp", "key", "value"];
/// A row holds over at most a day, however far the next one is.
const LONGEST_STRETCH_S: i64 = 86_400;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    #[error("{file}:{line}: {reason}; the file must be CSV in UTF-8")]
    Csv { file: String, line: u64, reason: String },
    #[error("{file}:1: the header is {found:?}; it must be timestamp,key,value")]
    Header { file: String, found: String },
    #[error("{file}:{line}: {found} columns where 3 are needed; complete or delete the line")]
    Columns { file: String, line: u64, found: usize },
    #[error("{file}:{line}: column {column} ({}): {reason}; {remedy}", COLUMNS[*column - 1])]
    Field { file: String, line: u64, column: usize, reason: String, remedy: &'static str },
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
        let csv_error = |error: csv::Error| ImportError::Csv {
            file: file.to_owned(),
            line: error.position().map_or(1, csv::Position::line),
            reason: error.to_string(),
        };
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(input);
        let header = reader.headers().map_err(csv_error)?;
        if header.iter().ne(COLUMNS) {
            let found = header.iter().collect::<Vec<_>>().join(",");
            return Err(ImportError::Header { file: file.to_owned(), found });
        }
        let mut rows = Self::default();
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(csv_error)? {
            let line = record.position().map_or(0, csv::Position::line);
            rows.add(file, line, &record)?;
        }
        Ok(rows)
    }

    fn add(&mut self, file: &str, line: u64, record: &StringRecord) -> Result<(), ImportError> {
        let (Some(time), Some(key), Some(value), 3) = (record.get(0), record.get(1), record.get(2), record.len())
        else {
            return Err(ImportError::Columns { file: file.to_owned(), line, found: record.len() });
        };
        let field = |column, reason, remedy| ImportError::Field { file: file.to_owned(), line, column, reason, remedy };
        let at_s = calendar::parse(time).ok_or_else(|| {
            field(1, format!("{time:?} is no time"), "write RFC 3339, YYYY-MM-DD HH:MM:SS (UTC) or unix seconds")
        })?;
        let (tenant, resource) = key
            .rsplit_once('/')
            .filter(|(tenant, resource)| !tenant.is_empty() && !resource.is_empty())
            .ok_or_else(|| field(2, format!("{key:?} is no key"), "write TENANT/RESOURCE"))?;
        let value: f64 = value
            .parse()
            .ok()
            .filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)
            .ok_or_else(|| field(3, format!("{value:?} is no rate"), "write units per second, 0 or more"))?;
        let replaced = self.keys.entry(Key::new(tenant, resource)).or_default().insert(at_s, value);
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
            "h.csv:3: column 3 (value): \"-1\" is no rate; write units per second, 0 or more"
        );
        assert!(bad("300,a/r,inf").starts_with("h.csv:3: column 3"));
        assert!(bad("300,a,1").starts_with("h.csv:3: column 2 (key): \"a\" is no key"));
        assert!(bad("soon,a/r,1").starts_with("h.csv:3: column 1 (timestamp): \"soon\" is no time"));
        assert!(bad("300,a/r").starts_with("h.csv:3: 2 columns"));
        assert!(read("time,tenant,rate\n").unwrap_err().starts_with("h.csv:1: the header is"));
    }
}
