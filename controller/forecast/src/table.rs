//! A CSV file of measurements: the first column is the time, every further one a series.
//!
//! Columns that are called `label` mark rows, for instance as anomalies; they are kept apart, and regularised like a level
//! (a step is marked where the result is above 0). A blank field or NaN is a missing value. The one reader for commands
//! and benches: it takes whatever bytes the caller opened and holds what they say, row for row; what to make of gaps,
//! duplicates and order is [`regularise`](crate::regularise())'s work.
//!
//! A first line of data in place of the header is refused, since a step would be lost in silence, and so is a row with
//! fewer or more fields than the header.

use std::io::Read;

use thiserror::Error;

use crate::observation::Observation;
use crate::stamp::{StampError, parse_stamp};
use crate::zone::Zone;

/// The most values of one file, over all columns: 800 MB in memory.
pub const MAX_TABLE_VALUES: usize = 100_000_000;
/// The most columns; more is a file that lies on its side.
pub const MAX_TABLE_COLUMNS: usize = 4096;

/// What is wrong with a file; every message names the line.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message says what it is")]
pub enum TableError {
    #[error("reading line {line}: {source}; the file must be CSV in UTF-8")]
    Csv { line: u64, source: csv::Error },
    #[error("reading line 1: {found:?} is no header; add one, such as timestamp,requests")]
    Header { found: String },
    #[error("reading line 1: {columns} columns, at most {MAX_TABLE_COLUMNS} are possible; put times into rows")]
    TooManyColumns { columns: usize },
    #[error("reading line {line}: {found} fields where the header has {wanted}; complete or delete the line")]
    Fields { line: u64, found: usize, wanted: usize },
    #[error("reading line {line}: {source}")]
    Stamp { line: u64, source: StampError },
    #[error("reading line {line}, column {column:?}: {text:?} is no number; write one, or nothing where it is missing")]
    Value { line: u64, column: String, text: String },
    #[error("reading line {line}: more than {MAX_TABLE_VALUES} values; split the file")]
    TooLong { line: u64 },
}

/// A file's rows; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Line and unix nanoseconds of each row, as they stand in the file.
    stamps: Vec<(u64, i64)>,
    columns: Vec<Column>,
}

/// One column's values.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// As the header names it.
    pub name: String,
    /// NaN where missing.
    pub values: Vec<f64>,
}

impl Column {
    /// Whether it marks rows and is no series.
    #[must_use]
    pub fn is_label(&self) -> bool {
        self.name.eq_ignore_ascii_case("label")
    }
}

impl Table {
    /// Reads to the end, or to the first thing that is wrong. Stamps without an offset are local times of `zone`.
    ///
    /// # Errors
    /// The bytes are no such table.
    pub fn read(input: impl Read, zone: &Zone) -> Result<Self, TableError> {
        let csv_error =
            |source: csv::Error| TableError::Csv { line: source.position().map_or(1, csv::Position::line), source };
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(input);
        let header = reader.headers().map_err(csv_error)?.clone();
        if header.len() > MAX_TABLE_COLUMNS {
            return Err(TableError::TooManyColumns { columns: header.len() });
        }
        let is_data = |(index, field): (usize, &str)| match index {
            0 => parse_stamp(field, zone, None).is_ok(),
            _ => field.is_empty() || field.parse::<f64>().is_ok(),
        };
        if header.len() < 2 || header.iter().enumerate().any(is_data) {
            return Err(TableError::Header { found: header.iter().collect::<Vec<_>>().join(",") });
        }
        let named = |name: &str| Column { name: name.to_owned(), values: Vec::new() };
        let mut table = Self { stamps: Vec::new(), columns: header.iter().skip(1).map(named).collect() };
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(csv_error)? {
            let line = record.position().map_or(0, csv::Position::line);
            table.add(line, &record, zone)?;
        }
        Ok(table)
    }

    fn add(&mut self, line: u64, record: &csv::StringRecord, zone: &Zone) -> Result<(), TableError> {
        let wanted = self.columns.len() + 1;
        if record.len() != wanted {
            return Err(TableError::Fields { line, found: record.len(), wanted });
        }
        if (self.stamps.len() + 1) * wanted > MAX_TABLE_VALUES {
            return Err(TableError::TooLong { line });
        }
        let before_ns = self.stamps.last().map(|stamp| stamp.1);
        let stamp = record.get(0).unwrap_or_default();
        let at_ns = parse_stamp(stamp, zone, before_ns).map_err(|source| TableError::Stamp { line, source })?;
        for (column, text) in self.columns.iter_mut().zip(record.iter().skip(1)) {
            let value = value(text);
            let wrong = || TableError::Value { line, column: column.name.clone(), text: text.to_owned() };
            column.values.push(value.ok_or_else(wrong)?);
        }
        self.stamps.push((line, at_ns));
        Ok(())
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stamps.len()
    }

    /// Whether there is a header only.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }

    /// The columns that are series.
    pub fn series(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.is_label())
    }

    /// The columns that mark rows.
    pub fn labels(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.is_label())
    }

    /// A column's values with their stamps, numbered by the file's lines.
    pub fn observations(&self, column: &Column) -> Vec<Observation> {
        let rows = self.stamps.iter().zip(&column.values);
        rows.map(|(&(line, at_ns), &value)| Observation::new(line, at_ns, value)).collect()
    }
}

/// A number, NaN for nothing; `None` for anything else, also for what is too large to be one.
fn value(text: &str) -> Option<f64> {
    if text.is_empty() || text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}
