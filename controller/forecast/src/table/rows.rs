//! The rows of a CSV file, one by one: a header, then a stamp and fields. The one reader under [`Table`](super::Table) and
//! under files of another shape, so that each refuses the same things with the same words.
//!
//! A first line of data in place of the header is refused, since a step would be lost in silence, and so is a row with
//! fewer or more fields than the header. What a field means is asked of the [`Row`].

use std::io::Read;

use super::TableError;
use crate::observation::MAX_VALUE;
use crate::stamp::parse_stamp;
use crate::zone::Zone;

/// Reads rows; see the module's text.
pub struct TableRows<'z, R> {
    reader: csv::Reader<R>,
    header: Vec<String>,
    zone: &'z Zone,
    record: csv::StringRecord,
    /// Of the row above.
    at_ns: Option<i64>,
}

/// A row: its line in the file, its stamp in unix nanoseconds, and its fields.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Counted from 1, the header's.
    pub line: u64,
    /// Unix nanoseconds.
    pub at_ns: i64,
    header: &'a [String],
    record: &'a csv::StringRecord,
}

impl<'z, R: Read> TableRows<'z, R> {
    /// Reads the header. Stamps without an offset are local times of `zone`.
    ///
    /// # Errors
    /// There is no header.
    pub fn open(input: R, zone: &'z Zone) -> Result<Self, TableError> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(input);
        let header: Vec<String> = reader.headers().map_err(csv_error)?.iter().map(str::to_owned).collect();
        let is_data = |(index, field): (usize, &String)| match index {
            0 => parse_stamp(field, zone, None).is_ok(),
            _ => field.is_empty() || field.parse::<f64>().is_ok(),
        };
        if header.len() < 2 || header.iter().enumerate().any(is_data) {
            return Err(TableError::Header { found: header.join(",") });
        }
        Ok(Self { reader, header, zone, record: csv::StringRecord::new(), at_ns: None })
    }

    /// The names of the columns, the time's first.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// It is no row of this file: bytes that are no text, another number of fields than the header, a stamp that is none.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TableError> {
        if !self.reader.read_record(&mut self.record).map_err(csv_error)? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let (found, wanted) = (self.record.len(), self.header.len());
        if found != wanted {
            return Err(TableError::Fields { line, found, wanted });
        }
        let stamp = self.record.get(0).unwrap_or_default();
        let at_ns = parse_stamp(stamp, self.zone, self.at_ns).map_err(|source| TableError::Stamp { line, source })?;
        self.at_ns = Some(at_ns);
        Ok(Some(Row { line, at_ns, header: &self.header, record: &self.record }))
    }
}

fn csv_error(source: csv::Error) -> TableError {
    TableError::Csv { line: source.position().map_or(1, csv::Position::line), source }
}

impl<'a> Row<'a> {
    /// A field as it stands there, by the column's place from 0; empty beyond the last.
    #[must_use]
    pub fn text(&self, column: usize) -> &'a str {
        self.record.get(column).unwrap_or_default()
    }

    /// A field as a number, NaN where it is empty or says so.
    ///
    /// # Errors
    /// It is neither, or too large to be one.
    pub fn number(&self, column: usize) -> Result<f64, TableError> {
        let text = self.text(column);
        if text.is_empty() || text.eq_ignore_ascii_case("nan") {
            return Ok(f64::NAN);
        }
        let value = text.parse().ok().filter(|value: &f64| value.is_finite());
        value.ok_or_else(|| TableError::Value { line: self.line, column: self.name(column), text: text.to_owned() })
    }

    /// A field as demand: a number from 0 to [`MAX_VALUE`], NaN where it is missing.
    ///
    /// # Errors
    /// As [`Row::number`], or it is out of this range.
    pub fn demand(&self, column: usize) -> Result<f64, TableError> {
        let value = self.number(column)?;
        if !value.is_nan() && !(0.0..=MAX_VALUE).contains(&value) {
            return Err(TableError::Demand { line: self.line, column: self.name(column), value });
        }
        Ok(value)
    }

    fn name(&self, column: usize) -> String {
        self.header.get(column).cloned().unwrap_or_default()
    }
}
