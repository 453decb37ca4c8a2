//! What a report's rows say of a key: the counters, and beside them the details of newer filters.
//!
//! Counts are cumulative, so what is new is a difference; the two slots among the details are levels and go as they are.
//! A filter that sends no details (or stopped to, after it was replaced by an older one) has told nothing new about them.

use std::collections::HashMap;

use forebay_plan::Key;
use forebay_protocol::extension::{AttributeNames, DETAILS, DetailRow, find};
use forebay_protocol::{Count, Counters, Details, Further, Report};

/// Most attributes and most values of each that a policy can have.
const MAX_ATTRIBUTES: usize = 8;
const MAX_VALUES: usize = 64;
/// Longest name, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// What all values are called that a policy does not name.
const OTHER_VALUES: &str = "other";

/// Counts of one key, cumulative or since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) counters: Counters,
    pub(crate) further: Further,
}

impl Counted {
    /// What was counted since, or `None` when any count ran backwards.
    pub(super) fn since(&self, before: &Self) -> Option<Self> {
        let (now, then) = (&self.counters, &before.counters);
        let counters = Counters {
            reserved_requests: now.reserved_requests.checked_sub(then.reserved_requests)?,
            reserved_units: now.reserved_units.checked_sub(then.reserved_units)?,
            standard_requests: now.standard_requests.checked_sub(then.standard_requests)?,
            standard_units: now.standard_units.checked_sub(then.standard_units)?,
            refused_requests: now.refused_requests.checked_sub(then.refused_requests)?,
            refused_units: now.refused_units.checked_sub(then.refused_units)?,
        };
        let mut words = self.further.words();
        for (word, before) in words.iter_mut().zip(before.further.words()).take(Further::CUMULATIVE) {
            *word = word.checked_sub(before)?;
        }
        let (now, then) = (self.further.hostile, before.further.hostile);
        let hostile =
            Count { requests: now.requests.saturating_sub(then.requests), units: now.units.saturating_sub(then.units) };
        Some(Self { counters, further: Further { hostile, ..Further::read(&mut words.into_iter()) } })
    }

    /// How far a key has been counted, having been counted as far as `before`. What is hostile is told only while the policy
    /// marks a rule, and goes on where it was when one is marked again.
    pub(super) fn not_before(mut self, before: &Self) -> Self {
        let (hostile, then) = (&mut self.further.hostile, before.further.hostile);
        *hostile = Count { requests: hostile.requests.max(then.requests), units: hostile.units.max(then.units) };
        self
    }

    /// What came and is demand: all that was offered, less what was hostile.
    pub(crate) fn demand(&self) -> Count {
        let (offered, hostile) = (self.offered(), self.further.hostile);
        Count {
            requests: offered.requests.saturating_sub(hostile.requests),
            units: offered.units.saturating_sub(hostile.units),
        }
    }

    /// Cost of what was admitted, in units: what upstreams had to serve.
    pub(crate) fn admitted_units(&self) -> u64 {
        let Self { counters: lanes, further } = self;
        [lanes.reserved_units, lanes.standard_units, further.borrowed.units].into_iter().fold(0, u64::saturating_add)
    }

    /// What came, admitted or not: all four lanes.
    pub(crate) fn offered(&self) -> Count {
        let Self { counters: lanes, further } = self;
        let sum = |parts: [u64; 4]| parts.into_iter().fold(0, u64::saturating_add);
        Count {
            requests: sum([
                lanes.reserved_requests,
                lanes.standard_requests,
                lanes.refused_requests,
                further.borrowed.requests,
            ]),
            units: sum([lanes.reserved_units, lanes.standard_units, lanes.refused_units, further.borrowed.units]),
        }
    }
}

/// What is new of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct News {
    pub(crate) key: Key,
    pub(crate) counted: Counted,
    /// Whether the filter tells details; else they are zero because it does not.
    pub(crate) has_details: bool,
    /// Requests by attribute and value.
    pub(crate) attributes: Vec<(String, String, u64)>,
}

/// The details of a report; none where they do not fit to its rows or break a bound.
pub(super) struct Told {
    details: Option<Details>,
}

impl Told {
    pub(super) fn of(report: &Report) -> Self {
        let sane = |details: &Details| {
            let named = |name: &String| !name.is_empty() && name.len() <= MAX_NAME_BYTES;
            details.rows.len() == report.rows.len()
                && details.attributes.len() <= MAX_ATTRIBUTES
                && details.attributes.iter().all(|attribute| {
                    named(&attribute.name)
                        && attribute.values.len() <= MAX_VALUES
                        && attribute.values.iter().all(|value| value.len() <= MAX_NAME_BYTES)
                })
        };
        Self { details: find(&report.extensions, DETAILS).filter(sane) }
    }

    /// Of the row with this number.
    pub(super) fn row(&self, row: usize) -> Option<&DetailRow> {
        self.details.as_ref()?.rows.get(row)
    }

    /// The attributes that cells are numbered by.
    pub(super) fn attributes(&self) -> &[AttributeNames] {
        self.details.as_ref().map_or(&[], |details| &details.attributes)
    }
}

/// How far one boot's attributes were counted.
#[derive(Debug, Default)]
pub(super) struct Cells {
    /// The numbering; another one begins from zero, as it does in the filter.
    attributes: Vec<AttributeNames>,
    counts: HashMap<Key, HashMap<u16, u64>>,
    /// The boot is older than this process, which does not know what was counted before: the first look at a key is where
    /// counting begins.
    is_resumed: bool,
}

impl Cells {
    /// Of a boot that was counted by an earlier process.
    pub(super) fn resumed() -> Self {
        Self { is_resumed: true, ..Self::default() }
    }

    /// What is new of a key, by attribute and value.
    pub(super) fn count(
        &mut self,
        key: &Key,
        row: &DetailRow,
        attributes: &[AttributeNames],
    ) -> Vec<(String, String, u64)> {
        if row.cells.is_empty() {
            return Vec::new();
        }
        if self.attributes != attributes {
            let is_resumed = self.is_resumed && self.attributes.is_empty();
            *self = Self { attributes: attributes.to_vec(), is_resumed, ..Self::default() };
        }
        let is_first = !self.counts.contains_key(key);
        let counts = self.counts.entry(key.clone()).or_default();
        let mut news = Vec::new();
        for &(cell, total) in &row.cells {
            let Some((attribute, value)) = name(attributes, cell) else { continue };
            let before = counts.insert(cell, total).unwrap_or(0);
            // Fewer than before: the filter began again, by another worker's policy.
            let more = total.checked_sub(before).unwrap_or(total);
            if more > 0 && !(is_first && self.is_resumed) {
                news.push((attribute.to_owned(), value.to_owned(), more));
            }
        }
        news
    }
}

fn name(attributes: &[AttributeNames], cell: u16) -> Option<(&str, &str)> {
    let mut cell = usize::from(cell);
    for attribute in attributes {
        if cell <= attribute.values.len() {
            return Some((&attribute.name, attribute.values.get(cell).map_or(OTHER_VALUES, String::as_str)));
        }
        cell -= attribute.values.len() + 1;
    }
    None
}
