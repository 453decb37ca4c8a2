//! A CSV file of measurements: the first column is the time, every further one a series.
//!
//! Columns that are called `label` mark rows, for instance as anomalies; they are kept apart, and regularised like a level
//! (a step is marked where the result is above 0). A blank field or NaN is a missing value. It takes whatever bytes the
//! caller opened and holds what they say, row for row; what to make of gaps, duplicates and order is
//! [`regularise`](crate::regularise())'s work. Files whose columns mean something else are read row by row ([`TableRows`]).

mod rows;

use std::io::Read;

use thiserror::Error;

use crate::observation::MAX_VALUE;
use crate::observation::Observation;
use crate::stamp::StampError;
use crate::zone::Zone;
pub use rows::{Row, TableRows};

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
    #[error(
        "reading line {line}, column {column:?}: {value} is no demand; write a number from 0 to {MAX_VALUE:e}, or nothing where it is missing"
    )]
    Demand { line: u64, column: String, value: f64 },
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
        let mut rows = TableRows::open(input, zone)?;
        let columns = rows.header().len();
        if columns > MAX_TABLE_COLUMNS {
            return Err(TableError::TooManyColumns { columns });
        }
        let named = |name: &String| Column { name: name.clone(), values: Vec::new() };
        let mut table = Self { stamps: Vec::new(), columns: rows.header().iter().skip(1).map(named).collect() };
        while let Some(row) = rows.next_row()? {
            if (table.stamps.len() + 1) * columns > MAX_TABLE_VALUES {
                return Err(TableError::TooLong { line: row.line });
            }
            for (column, place) in table.columns.iter_mut().zip(1..) {
                column.values.push(row.number(place)?);
            }
            table.stamps.push((row.line, row.at_ns));
        }
        Ok(table)
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
