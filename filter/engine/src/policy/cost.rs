//! How many units a request takes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use forebay_protocol::policy as document;
use forebay_protocol::policy::path::{self, Segment};

use super::Work;
use super::facts::{Facts, Origins, Slot};
use super::paths::Paths;
use crate::host::Host;
use crate::settling::Source;

/// A cost, ready to be read.
#[derive(Clone, Debug)]
pub enum Cost {
    /// Always the same.
    Constant(u64),
    /// A number in a header, in units of `unit`.
    Header {
        /// The header.
        slot: Slot,
        /// What one unit is; 1 or bytes.
        unit: u64,
        /// Units when it is absent or not a number.
        default: u64,
        /// Upper cut, in units.
        max: u64,
    },
    /// By method and path.
    Table(Box<Table>),
    /// Estimated now, settled later.
    Settled {
        /// What is taken now.
        estimate: Box<Cost>,
        /// How it is settled; streams that are under way hold it too.
        source: Arc<Source>,
    },
}

/// Rows by path, then by method.
#[derive(Clone, Debug)]
pub struct Table {
    paths: Paths,
    rows: Vec<(Vec<Box<[u8]>>, u64)>,
    default: u64,
    path: Slot,
    method: Slot,
}

impl Cost {
    pub(super) fn compile(cost: &document::Cost, origins: &mut Origins) -> Result<Self, &'static str> {
        Ok(match cost {
            document::Cost::Constant(units) => Self::Constant(*units),
            document::Cost::Header(document::HeaderCost { name, default, max }) => {
                Self::Header { slot: origins.header(name), unit: 1, default: *default, max: *max }
            }
            document::Cost::ContentLength(document::ContentLengthCost { unit_bytes, default, max }) => {
                Self::Header { slot: origins.header("content-length"), unit: *unit_bytes, default: *default, max: *max }
            }
            document::Cost::Table(table) => Self::Table(Box::new(Table::compile(table, origins)?)),
            document::Cost::Settled(settled) => Self::Settled {
                estimate: Box::new(Self::compile(&settled.estimate, origins)?),
                source: Arc::new(Source::compile(settled)?),
            },
        })
    }

    /// Units, at least 1.
    pub fn units<H: Host>(&self, facts: &mut Facts<'_, H>) -> u64 {
        match self {
            Self::Constant(units) => *units,
            Self::Header { slot, unit, default, max } => {
                let number = facts.known(*slot).and_then(decimal).map(|number| number.div_ceil((*unit).max(1)));
                number.unwrap_or(*default).max(1).min(*max)
            }
            Self::Table(table) => table.units(facts),
            Self::Settled { estimate, .. } => estimate.units(facts),
        }
    }
}

impl Table {
    fn compile(table: &document::Table, origins: &mut Origins) -> Result<Self, &'static str> {
        let mut this = Self {
            paths: Paths::default(),
            rows: Vec::with_capacity(table.rows.len()),
            default: table.default,
            path: origins.header(":path"),
            method: origins.header(":method"),
        };
        // As among rules: of equal templates those with methods first.
        let (with, without): (Vec<_>, Vec<_>) = table.rows.iter().partition(|row| !row.methods.is_empty());
        for row in with.into_iter().chain(without) {
            let template: Option<Vec<Segment>> = row.path.as_deref().map(path::parse).transpose()?;
            this.paths.insert(template.as_deref(), this.rows.len() as u32);
            this.rows.push((row.methods.iter().map(|method| method.as_bytes().into()).collect(), row.cost));
        }
        Ok(this)
    }

    fn units<H: Host>(&self, facts: &mut Facts<'_, H>) -> u64 {
        let path = facts.known(self.path).unwrap_or_default().to_vec();
        let row = |entry: u32| usize::try_from(entry).ok().and_then(|entry| self.rows.get(entry));
        let found = self.paths.find(&path, &mut Work::default(), &mut |entry| {
            let Some((methods, _)) = row(entry) else { return false };
            methods.is_empty() || facts.known(self.method).is_some_and(|it| methods.iter().any(|one| **one == *it))
        });
        found.and_then(row).map_or(self.default, |(_, units)| *units)
    }
}

/// A plain decimal number; longer than 20 digits saturates, anything else is no number.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 64 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_from_headers_are_numbers_or_the_default() {
        assert_eq!(decimal(b"42"), Some(42));
        assert_eq!(decimal(b"99999999999999999999999"), Some(u64::MAX));
        for text in [&b""[..], b"-1", b"1.5", b"0x10", b" 1", &[b'1'; 65], b"\xff"] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }
}
