//! Requests per key by attribute: where each value is counted.
//!
//! The values of all attributes are numbered through, each attribute's values first and then one cell for every other
//! value; so a request is one addition per attribute and charge. At most 8 attributes of 65 cells make 520.
//!
//! Memory is bounded by [`MAX_CELLS`]: the keys with the lowest numbers have cells of their own, the rest counts for its
//! resource's `others`, in this worker and in shared data alike.

use alloc::vec::Vec;

use forebay_protocol::extension::AttributeNames;

use crate::policy::telling::Attribute;

/// Most cells of a worker, and in shared data, at 8 bytes: 2 MiB. With 3 attributes of 5 values 14,563 keys have their own.
pub const MAX_CELLS: usize = 262_144;

/// The numbering of one policy's cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    /// Cells of a key; 0 without attributes.
    pub per_key: usize,
    /// Keys below this number have their own.
    own_keys: usize,
    /// Tells this numbering from that of another policy.
    pub layout: u64,
}

impl Cells {
    /// The numbering of a policy's attributes.
    pub fn of(attributes: &[Attribute]) -> Self {
        let per_key = attributes.iter().map(|attribute| attribute.values.len() + 1).sum();
        // FNV-1a over names and values, each ended by a byte that UTF-8 does not have.
        let names = attributes.iter().flat_map(|attribute| {
            let values = attribute.values.iter().map(|value| &**value);
            [attribute.name.as_str()].into_iter().chain(values).chain([""])
        });
        let bytes = names.flat_map(|name| name.bytes().chain([0xff]));
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // 0 is for records that have no cells.
        Self { per_key, own_keys: MAX_CELLS.checked_div(per_key).unwrap_or(0), layout: hash.max(1) }
    }

    /// The key that a request is counted for which is charged to `key` for `resource`, whose `others` key has its number.
    pub fn counted_for(&self, key: usize, resource: usize) -> usize {
        if key < self.own_keys { key } else { resource }
    }
}

/// The names for the controller.
#[inline(never)]
pub(crate) fn names(attributes: &[Attribute]) -> Vec<AttributeNames> {
    let one = |attribute: &Attribute| AttributeNames {
        name: attribute.name.clone(),
        values: attribute.values.iter().map(|value| (**value).into()).collect(),
    };
    attributes.iter().map(one).collect()
}

/// Adds 1 to cell `number` of a key; `cells` grows to `per_key` with its first request.
pub(crate) fn add(cells: &mut Vec<u64>, number: usize, per_key: usize) {
    if cells.is_empty() {
        cells.resize(per_key, 0);
    }
    if let Some(cell) = cells.get_mut(number) {
        *cell = cell.saturating_add(1);
    }
}
