//! What was added to version 1, as [`Extension`]s: a peer that does not know a tag ignores it.
//!
//! | tag | in | holds |
//! |---|---|---|
//! | [`DETAILS`] | [`Report`](crate::Report) | [`Details`]: per row what was borrowed, settled and counted besides, and attributes |
//! | [`EXPECTATIONS`] | [`ReportAck`](crate::ReportAck) | [`Expectations`]: what the forecasts expect of the slots around now |
//! | [`PROVISIONING`] | [`GrantTable`](crate::GrantTable) | [`Provisioning`]: when keys that are short of capacity get more |
//!
//! The first two have rows in the order of the report's, the third names rows of its part. Counts are lists of words in a fixed order without the zeros at their
//! end: a reader takes what is missing for 0 and leaves what it does not know, so that counts can be added at the end.
//!
//! The bytes are postcard's; they are written and read here by hand, because code that is made for each type is what the
//! filter's module has too much of.

use alloc::string::String;
use alloc::vec::Vec;

use crate::v1::Extension;

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

/// Longest list: the keys of a proxy, at up to 48 bytes 3 MiB.
const MAX_LIST: usize = 65_536;

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

/// When the pool behind a key has more capacity ready than now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoreReady {
    /// The key's place among the grants of the part, from 0.
    pub row: u32,
    /// From the moment of the answer, at most [`MAX_READY_IN_MS`]; a later one says nothing.
    pub in_ms: u32,
}

/// Requests and their cost in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests.
    pub requests: u64,
    /// Units.
    pub units: u64,
}

/// What was offered in a slot, and what had been expected of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCount {
    /// The slot; 0 when there is none.
    pub id: u64,
    /// Median, in units; 0 without a forecast.
    pub predicted: u64,
    /// Upper bound, in units; 0 without a forecast.
    pub upper: u64,
    /// What came so far.
    pub offered: Count,
}

/// What is counted of a key beside its [`Counters`](crate::Counters); cumulative but for the two slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Further {
    /// Admitted from capacity reserved for others. Part of offered demand, and of no lane of the counters.
    pub borrowed: Count,
    /// The part of it that no reservation stood behind.
    pub overcommitted: Count,
    /// Units admitted and not used.
    pub refunded_units: u64,
    /// Units used beyond what was admitted, and charged.
    pub charged_units: u64,
    /// Units used beyond what was admitted, and beyond what a bucket may owe.
    pub forgiven_units: u64,
    /// What a plain standard bucket would have refused, whatever happened.
    pub refused_by_plain: Count,
    /// The part of it that was admitted.
    pub rescued: Count,
    /// Refused although a plain standard bucket would have admitted it.
    pub worse_than_plain: Count,
    /// Offered while a shadow slot was running.
    pub in_slot: Count,
    /// Slots whose demand passed this proxy's part of the forecast's upper bound.
    pub burst_slots: u64,
    /// Units above it.
    pub burst_units: u64,
    /// The newest slot in which something came.
    pub running: SlotCount,
    /// The one before it in which something came.
    pub last: SlotCount,
    /// Offered under a rule that the policy marks as hostile: part of offered demand, and of the lane that it came to.
    pub hostile: Count,
}

impl Further {
    /// How many of the words only grow: all before the slots.
    pub const CUMULATIVE: usize = 17;
    /// Words of the present order: behind the slots stands what is hostile, which only grows too.
    pub const WORDS: usize = Self::CUMULATIVE + 12;

    /// The words in their order on the wire.
    #[inline(never)]
    pub fn words(&self) -> [u64; Self::WORDS] {
        let Self { borrowed, overcommitted, refused_by_plain, rescued, worse_than_plain, in_slot, .. } = *self;
        let Self { running, last, hostile, .. } = *self;
        [
            borrowed.requests,
            borrowed.units,
            overcommitted.requests,
            overcommitted.units,
            self.refunded_units,
            self.charged_units,
            self.forgiven_units,
            refused_by_plain.requests,
            refused_by_plain.units,
            rescued.requests,
            rescued.units,
            worse_than_plain.requests,
            worse_than_plain.units,
            in_slot.requests,
            in_slot.units,
            self.burst_slots,
            self.burst_units,
            running.id,
            running.predicted,
            running.upper,
            running.offered.requests,
            running.offered.units,
            last.id,
            last.predicted,
            last.upper,
            last.offered.requests,
            last.offered.units,
            hostile.requests,
            hostile.units,
        ]
    }

    /// Reads words; missing ones are 0, surplus ones are left where they are.
    pub fn read(words: &mut impl Iterator<Item = u64>) -> Self {
        let mut all = [0; Self::WORDS];
        for word in &mut all {
            *word = words.next().unwrap_or(0);
        }
        Self::of(all)
    }

    /// The inverse of [`Further::words`].
    #[inline(never)]
    fn of(words: [u64; Self::WORDS]) -> Self {
        let [b0, b1, o0, o1, refunded_units, charged_units, forgiven_units, p0, p1, r0, r1, w0, w1, i0, i1, rest @ ..] =
            words;
        let [burst_slots, burst_units, n0, n1, n2, n3, n4, l0, l1, l2, l3, l4, h0, h1] = rest;
        let count = |requests, units| Count { requests, units };
        let slot = |[id, predicted, upper, requests, units]: [u64; 5]| SlotCount {
            id,
            predicted,
            upper,
            offered: Count { requests, units },
        };
        Self {
            borrowed: count(b0, b1),
            overcommitted: count(o0, o1),
            refunded_units,
            charged_units,
            forgiven_units,
            refused_by_plain: count(p0, p1),
            rescued: count(r0, r1),
            worse_than_plain: count(w0, w1),
            in_slot: count(i0, i1),
            burst_slots,
            burst_units,
            running: slot([n0, n1, n2, n3, n4]),
            last: slot([l0, l1, l2, l3, l4]),
            hostile: count(h0, h1),
        }
    }
}

/// Words without the zeros at their end.
pub fn trimmed(words: &[u64]) -> &[u64] {
    let len = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    words.get(..len).unwrap_or_default()
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

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
#[inline(never)]
fn put(bytes: &mut Vec<u8>, mut word: u64) {
    while word >= 0x80 {
        bytes.push(word as u8 | 0x80);
        word >>= 7;
    }
    bytes.push(word as u8);
}

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    put(bytes, name.len() as u64);
    bytes.extend_from_slice(name.as_bytes());
}

#[inline(never)]
fn word(bytes: &mut &[u8]) -> Option<u64> {
    let mut word = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if shift == 63 && bits > 1 {
            return None;
        }
        word |= bits << shift;
        if byte < 0x80 {
            return Some(word);
        }
    }
    None
}

fn pair(bytes: &mut &[u8]) -> Option<(u64, u64)> {
    Some((word(bytes)?, word(bytes)?))
}

fn name(bytes: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(word(bytes)?).ok()?;
    let (name, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    core::str::from_utf8(name).ok().map(String::from)
}

/// A list's length and its elements. Each takes a byte at least, so that a length that cannot be is refused at once.
fn list<T>(bytes: &mut &[u8], mut element: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let len = usize::try_from(word(bytes)?).ok().filter(|len| *len <= bytes.len().min(MAX_LIST))?;
    (0..len).map(|_| element(bytes)).collect()
}

fn zigzag(number: i64) -> u64 {
    (number.wrapping_shl(1) ^ (number >> 63)) as u64
}

fn unzigzag(word: u64) -> i64 {
    (word >> 1) as i64 ^ -((word & 1) as i64)
}
