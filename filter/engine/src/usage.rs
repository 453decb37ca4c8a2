//! What a request really cost, once that is known: the sources of settlement after the response.
//!
//! An LLM's answer says at its end how many tokens it took, in a JSON document or in the last events of a stream. The
//! body passes in chunks of any size and must not be kept: so a [`Meter`] reads every byte once, remembers where in the
//! document it is ([`json`]) and, in an event stream, in which line ([`sse`]), and picks the numbers at the configured
//! [`Path`]s. What it found so far can be asked at any time, so long streams are settled while they run.
//!
//! Invariants: a meter's memory is fixed ([`MAX_METER_BYTES`]), whatever the body; any cut into chunks gives the same
//! numbers; nothing makes it fail. What is not JSON is skipped and what was found before it counts: a body that lies
//! about itself costs the estimate, which is the caller's fallback for `None`.
//!
//! It does not see through `content-encoding`; the caller asks for none or settles by another source. It does not check
//! that a document is valid JSON beyond what it needs to know its place in it.

pub mod json;
pub mod number;
pub mod path;
pub mod sse;

use alloc::string::String;
use alloc::vec::Vec;

use forebay_admission::Nanos;

pub use number::{Quantity, Scale};
pub use path::{Path, PathError};

/// Most numbers that one policy takes from a body: input, output, cached and reasoning tokens.
pub const MAX_FIELDS: usize = 4;

/// A meter's size in bytes, whatever passes through it.
pub const MAX_METER_BYTES: usize = 512;

/// Where the true cost of a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrueCost {
    /// A number in a response header (or trailer) of this lower-case name.
    Header(String, Scale),
    /// The response body's bytes, in units of so many, rounded up; 0 counts as 1.
    Bytes(u64),
    /// The time from the request's headers to the response's end, in units of so many milliseconds, rounded up; 0 counts
    /// as 1.
    Duration(u64),
    /// Numbers in the response body.
    Body(BodySource),
}

/// Which numbers of a response body make the cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodySource {
    /// Their sum is the cost; those that are absent count nothing. At most [`MAX_FIELDS`], the rest is ignored.
    pub fields: Vec<Field>,
    /// What several documents or events make together.
    pub combine: Combine,
}

/// One number of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it is.
    pub path: Path,
    /// Units per unit of it.
    pub scale: Scale,
}

/// What the same number in several documents of one body means. Within one document the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Each is a running total, as LLM streams send it: the last one counts.
    Last,
    /// Each is a part.
    Sum,
}

/// How a body is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON document, or several one after the other (NDJSON).
    Json,
    /// `text/event-stream` with a JSON document in each event's data.
    Sse,
}

impl Format {
    /// The format that a `content-type` announces; `None` when the body holds no JSON.
    pub fn of_content_type(content_type: &[u8]) -> Option<Self> {
        let end =
            content_type.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(content_type.len());
        let kind = content_type.get(..end).unwrap_or_default().to_ascii_lowercase();
        match kind.as_slice() {
            b"text/event-stream" => Some(Self::Sse),
            b"application/json" | b"application/x-ndjson" | b"application/jsonl" => Some(Self::Json),
            kind if kind.starts_with(b"application/") && kind.ends_with(b"+json") => Some(Self::Json),
            _ => None,
        }
    }
}

impl TrueCost {
    /// Units that a header's value says; `None` when it is not a number.
    pub fn of_header(value: &[u8], scale: Scale) -> Option<u64> {
        Quantity::parse(value).map(|quantity| scale.units(quantity))
    }

    /// Units of `unit_bytes` for a body of so many bytes.
    pub fn of_bytes(bytes: u64, unit_bytes: u64) -> u64 {
        bytes.div_ceil(unit_bytes.max(1))
    }

    /// Units of `unit_ms` for a request that began and ended at these instants.
    pub fn of_duration(began: Nanos, ended: Nanos, unit_ms: u64) -> u64 {
        ended.since(began).div_ceil(unit_ms.max(1).saturating_mul(Nanos::MILLI))
    }
}

/// Reads the numbers of one body as it passes.
#[derive(Clone, Debug)]
pub struct Meter {
    found: Found,
    reader: Reader,
}

#[derive(Clone, Debug)]
enum Reader {
    Json(json::Scanner),
    Sse(sse::Lines, json::Scanner),
}

impl Meter {
    /// A meter for a body of this format.
    pub fn new(source: &BodySource, format: Format) -> Self {
        let reader = match format {
            Format::Json => Reader::Json(json::Scanner::default()),
            Format::Sse => Reader::Sse(sse::Lines::default(), json::Scanner::default()),
        };
        Self { found: Found::new(source.combine), reader }
    }

    /// Reads the next bytes; `source` is the one that the meter was made for.
    pub fn read(&mut self, source: &BodySource, chunk: &[u8]) {
        let fields = source.fields.get(..MAX_FIELDS).unwrap_or(&source.fields);
        match &mut self.reader {
            Reader::Json(scanner) => scanner.read(fields, chunk, &mut self.found),
            Reader::Sse(lines, scanner) => lines.read(chunk, &mut |piece| match piece {
                sse::Piece::Data(bytes) => scanner.read(fields, bytes, &mut self.found),
                sse::Piece::EventEnd => {
                    *scanner = json::Scanner::default();
                    self.found.next_document();
                }
            }),
        }
    }

    /// Units found so far; `None` when none of the numbers has come.
    pub fn units(&self, source: &BodySource) -> Option<u64> {
        let mut units = None;
        for (index, field) in source.fields.iter().take(MAX_FIELDS).enumerate() {
            if let Some(quantity) = self.found.total(index) {
                units = Some(units.unwrap_or(0u64).saturating_add(field.scale.units(quantity)));
            }
        }
        units
    }
}

/// What was found of each field.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    combine: Combine,
    /// Of the documents before this one.
    before: [Option<Quantity>; MAX_FIELDS],
    /// Of this one.
    current: [Option<Quantity>; MAX_FIELDS],
}

impl Found {
    fn new(combine: Combine) -> Self {
        Self { combine, before: [None; MAX_FIELDS], current: [None; MAX_FIELDS] }
    }

    pub(crate) fn put(&mut self, field: usize, quantity: Quantity) {
        if let Some(slot) = self.current.get_mut(field) {
            *slot = Some(quantity);
        }
    }

    pub(crate) fn next_document(&mut self) {
        for field in 0..MAX_FIELDS {
            let total = self.total(field);
            if let (Some(before), Some(current)) = (self.before.get_mut(field), self.current.get_mut(field)) {
                *before = total;
                *current = None;
            }
        }
    }

    fn total(&self, field: usize) -> Option<Quantity> {
        let before = self.before.get(field).copied().flatten();
        let current = self.current.get(field).copied().flatten();
        match (before, current, self.combine) {
            (Some(before), Some(current), Combine::Sum) => Some(before.plus(current)),
            (before, current, _) => current.or(before),
        }
    }
}

#[cfg(test)]
mod tests;
