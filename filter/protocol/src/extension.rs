//! What was added to version 1, as [`Extension`]s: a peer that does not know a tag ignores it.
//!
//! | tag | in | holds |
//! |---|---|---|
//! | [`DETAILS`] | [`Report`](crate::Report) | [`Details`]: per row what was borrowed, settled and counted besides, and attributes |
//! | [`EXPECTATIONS`] | [`ReportAck`](crate::ReportAck) | [`Expectations`]: what the forecasts expect of the slots around now |
//! | [`PROVISIONING`] | [`GrantTable`](crate::GrantTable) | [`Provisioning`]: when keys that are short of capacity get enough |
//!
//! The first two have rows in the order of the report's, the third names rows of its part. Counts are lists of words in a fixed
//! order without the zeros at their end: a reader takes what is missing for 0 and leaves what it does not know, so that
//! counts can be added at the end.
//!
//! The bytes are postcard's; they are written and read here by hand, because code that is made for each type is what the
//! filter's module has too much of.

mod further;
mod words;

use alloc::string::String;
use alloc::vec::Vec;

use crate::v1::Extension;
pub use further::{Count, Further, SlotCount};
pub use words::trimmed;
use words::{list, name, pair, put, put_name, unzigzag, word, zigzag};

/// Tag of [`Details`].
pub const DETAILS: u16 = 1;

/// Tag of [`Expectations`].
pub const EXPECTATIONS: u16 = 2;

/// Tag of [`Provisioning`].
pub const PROVISIONING: u16 = 3;

/// The latest that [`MoreReady`] speaks of, in milliseconds: an hour, the longest lead time that capacity is planned for. A
/// client that was told more would take it for an outage.
pub const MAX_READY_IN_MS: u32 = 3_600_000;

/// Most slots of [`Expectations`]: the running one, the next, and room for two more.
pub const MAX_EXPECTED_SLOTS: usize = 4;

/// Beside a report's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// What the policy counts by; cells are numbered through them in this order, each attribute's values first and then
    /// one cell for every other value.
    pub attributes: Vec<AttributeNames>,
    /// Parallel to the report's rows.
    pub rows: Vec<DetailRow>,
}

/// An attribute and the values that are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeNames {
    /// Its name.
    pub name: String,
    /// The values.
    pub values: Vec<String>,
}

/// One key's details.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetailRow {
    /// The words of a [`Further`].
    pub counts: Vec<u64>,
    /// Requests by cell, cumulative; cells of 0 are left out.
    pub cells: Vec<(u16, u64)>,
}

/// In an acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// The slots that are meant, ascending, at most [`MAX_EXPECTED_SLOTS`].
    pub slots: Vec<SlotTime>,
    /// Parallel to the report's rows: for each slot what this proxy is expected to be offered, the median and the upper
    /// bound in units; nothing where there is no forecast.
    pub rows: Vec<Vec<(u64, u64)>>,
}

/// When a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotTime {
    /// As in [`Slot`](crate::Slot), whether anything is pre-allocated in it or not; never 0.
    pub id: u64,
    /// Start, from the moment of the answer; negative when it has begun.
    pub starts_in_ms: i64,
    /// Length.
    pub length_ms: u32,
}

/// In a part of a grant table: what is being provisioned for its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provisioning {
    /// Keys of this part whose pool is short and gets more; the others are left out.
    pub rows: Vec<MoreReady>,
}

/// When the pool behind a key has more capacity ready than now, as far as is known enough for what is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoreReady {
    /// The key's place among the grants of the part, from 0.
    pub row: u32,
    /// From the moment of the answer, at most [`MAX_READY_IN_MS`]; a later one says nothing.
    pub in_ms: u32,
}

/// What an extension can hold.
pub trait Body: Sized {
    /// Appends its bytes.
    fn write(&self, bytes: &mut Vec<u8>);
    /// Takes its bytes; `None` when they are not one.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

/// Encodes `value` under `tag`.
pub fn extension(tag: u16, value: &impl Body) -> Extension {
    let mut bytes = Vec::new();
    value.write(&mut bytes);
    Extension { tag, bytes }
}

/// The value under `tag`; `None` when there is none or its bytes are not one. What stands behind it in its bytes is a
/// later version's.
pub fn find<T: Body>(extensions: &[Extension], tag: u16) -> Option<T> {
    let found = extensions.iter().find(|extension| extension.tag == tag)?;
    T::read(&mut found.bytes.as_slice())
}

impl Body for Details {
    fn write(&self, bytes: &mut Vec<u8>) {
        put(bytes, self.attributes.len() as u64);
        for attribute in &self.attributes {
            put_name(bytes, &attribute.name);
            put(bytes, attribute.values.len() as u64);
            attribute.values.iter().for_each(|value| put_name(bytes, value));
        }
        put(bytes, self.rows.len() as u64);
        for row in &self.rows {
            put(bytes, row.counts.len() as u64);
            row.counts.iter().for_each(|count| put(bytes, *count));
            put(bytes, row.cells.len() as u64);
            for (cell, count) in &row.cells {
                put(bytes, u64::from(*cell));
                put(bytes, *count);
            }
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let attribute = |bytes: &mut &[u8]| {
            let name = name(bytes)?;
            let values = list(bytes, self::name)?;
            Some(AttributeNames { name, values })
        };
        let cell = |bytes: &mut &[u8]| Some((u16::try_from(word(bytes)?).ok()?, word(bytes)?));
        let row = |bytes: &mut &[u8]| Some(DetailRow { counts: list(bytes, word)?, cells: list(bytes, cell)? });
        Some(Self { attributes: list(bytes, attribute)?, rows: list(bytes, row)? })
    }
}

impl Body for Expectations {
    fn write(&self, bytes: &mut Vec<u8>) {
        put(bytes, self.slots.len() as u64);
        for slot in &self.slots {
            put(bytes, slot.id);
            put(bytes, zigzag(slot.starts_in_ms));
            put(bytes, u64::from(slot.length_ms));
        }
        put(bytes, self.rows.len() as u64);
        for row in &self.rows {
            put(bytes, row.len() as u64);
            for (predicted, upper) in row {
                put(bytes, *predicted);
                put(bytes, *upper);
            }
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let slot = |bytes: &mut &[u8]| {
            let (id, starts_in_ms) = (word(bytes)?, unzigzag(word(bytes)?));
            Some(SlotTime { id, starts_in_ms, length_ms: u32::try_from(word(bytes)?).ok()? })
        };
        let row = |bytes: &mut &[u8]| list(bytes, pair);
        Some(Self { slots: list(bytes, slot)?, rows: list(bytes, row)? })
    }
}

impl Body for Provisioning {
    fn write(&self, bytes: &mut Vec<u8>) {
        put(bytes, self.rows.len() as u64);
        for more in &self.rows {
            put(bytes, u64::from(more.row));
            put(bytes, u64::from(more.in_ms));
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let more = |bytes: &mut &[u8]| {
            let (row, in_ms) = pair(bytes)?;
            Some(MoreReady { row: u32::try_from(row).ok()?, in_ms: u32::try_from(in_ms).ok()? })
        };
        Some(Self { rows: list(bytes, more)? })
    }
}
