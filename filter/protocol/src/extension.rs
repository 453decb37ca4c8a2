//! What was added to version 1, as [`Extension`]s: a peer that does not know a tag ignores it.
//!
//! | tag | in | holds |
//! |---|---|---|
//! | [`DETAILS`] | [`Report`](crate::Report) | [`Details`]: per row what was borrowed, settled and counted besides, and attributes |
//! | [`EXPECTATIONS`] | [`ReportAck`](crate::ReportAck) | [`Expectations`]: what the forecasts expect of the slots around now |
//!
//! Both have rows in the order of the report's. Counts are lists of words in a fixed order without the zeros at their
//! end: a reader takes what is missing for 0 and leaves what it does not know, so that counts can be added at the end.

use alloc::string::String;
use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::v1::Extension;

/// Tag of [`Details`].
pub const DETAILS: u16 = 1;

/// Tag of [`Expectations`].
pub const EXPECTATIONS: u16 = 2;

/// Most slots of [`Expectations`]: the running one, the next, and room for two more.
pub const MAX_EXPECTED_SLOTS: usize = 4;

/// Beside a report's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// What the policy counts by; cells are numbered through them in this order, each attribute's values first and then
    /// one cell for every other value.
    pub attributes: Vec<AttributeNames>,
    /// Parallel to the report's rows.
    pub rows: Vec<DetailRow>,
}

/// An attribute and the values that are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeNames {
    /// Its name.
    pub name: String,
    /// The values.
    pub values: Vec<String>,
}

/// One key's details.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailRow {
    /// The words of a [`Further`].
    pub counts: Vec<u64>,
    /// Requests by cell, cumulative; cells of 0 are left out.
    pub cells: Vec<(u16, u64)>,
}

/// In an acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectations {
    /// The slots that are meant, ascending, at most [`MAX_EXPECTED_SLOTS`].
    pub slots: Vec<SlotTime>,
    /// Parallel to the report's rows: for each slot what this proxy is expected to be offered, the median and the upper
    /// bound in units; nothing where there is no forecast.
    pub rows: Vec<Vec<(u64, u64)>>,
}

/// When a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotTime {
    /// As in [`Slot`](crate::Slot), whether anything is pre-allocated in it or not; never 0.
    pub id: u64,
    /// Start, from the moment of the answer; negative when it has begun.
    pub starts_in_ms: i64,
    /// Length.
    pub length_ms: u32,
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
}

impl Further {
    /// How many of the words only grow: all before the slots.
    pub const CUMULATIVE: usize = 17;
    /// Words of the present order.
    pub const WORDS: usize = Self::CUMULATIVE + 10;

    /// The words in their order on the wire.
    pub fn words(&self) -> [u64; Self::WORDS] {
        let Self { borrowed, overcommitted, refused_by_plain, rescued, worse_than_plain, in_slot, .. } = *self;
        let Self { running, last, .. } = *self;
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
        ]
    }

    /// Reads words; missing ones are 0, surplus ones are left where they are.
    pub fn read(words: &mut impl Iterator<Item = u64>) -> Self {
        let mut next = || words.next().unwrap_or(0);
        // Fields are read in the order in which they are written here.
        Self {
            borrowed: count(&mut next),
            overcommitted: count(&mut next),
            refunded_units: next(),
            charged_units: next(),
            forgiven_units: next(),
            refused_by_plain: count(&mut next),
            rescued: count(&mut next),
            worse_than_plain: count(&mut next),
            in_slot: count(&mut next),
            burst_slots: next(),
            burst_units: next(),
            running: slot(&mut next),
            last: slot(&mut next),
        }
    }
}

fn count(next: &mut impl FnMut() -> u64) -> Count {
    Count { requests: next(), units: next() }
}

fn slot(next: &mut impl FnMut() -> u64) -> SlotCount {
    SlotCount { id: next(), predicted: next(), upper: next(), offered: count(next) }
}

/// Words without the zeros at their end.
pub fn trimmed(words: &[u64]) -> &[u64] {
    let len = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    words.get(..len).unwrap_or_default()
}

/// Encodes `value` under `tag`.
pub fn extension<T: Serialize>(tag: u16, value: &T) -> Extension {
    // Growing a vector is the only thing that serialising these types does; there is nothing that can fail.
    Extension { tag, bytes: postcard::to_allocvec(value).unwrap_or_default() }
}

/// The value under `tag`; `None` when there is none or its bytes are not one. What stands behind it in its bytes is a
/// later version's.
pub fn find<T: DeserializeOwned>(extensions: &[Extension], tag: u16) -> Option<T> {
    let found = extensions.iter().find(|extension| extension.tag == tag)?;
    postcard::take_from_bytes(&found.bytes).ok().map(|(value, _)| value)
}
