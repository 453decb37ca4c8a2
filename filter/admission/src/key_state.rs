//! What a proxy knows of one key, as it lies in shared data: 72 bytes, fixed.
//!
//! Fixed size and its own version byte, so that a module upgrade that shares the data with its predecessor either
//! understands the state or starts the key as after a boot; it is never misread. The layout before this one (56 bytes,
//! without debts) is read too, so that an upgrade does not refill anything.

use crate::bucket::Bucket;
use crate::shadow::ShadowState;
use crate::units::{Limit, Nanos};

/// Size of an encoded state in bytes.
pub const KEY_STATE_BYTES: usize = 72;

const LAYOUT: u64 = 2;

/// The layout without debts: words 3 and 8 were not there.
const LAYOUT_WITHOUT_DEBTS: (u64, usize) = (1, 56);

/// The standard bucket and the shadow bucket of one key in one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// The contract's bucket.
    pub standard: Bucket,
    /// The forecast's bucket.
    pub shadow: ShadowState,
}

impl KeyState {
    /// A key that nobody has used since the proxy booted at `born`.
    pub fn at_boot(standard: Limit, born: Nanos) -> Self {
        Self { standard: Bucket::at_boot(standard, born), shadow: ShadowState::default() }
    }

    /// The bytes, little endian.
    pub fn encode(&self) -> [u8; KEY_STATE_BYTES] {
        let words = [
            LAYOUT,
            self.standard.level_nano(),
            self.standard.owed_nano(),
            self.standard.at().0,
            self.shadow.slot_id,
            self.shadow.spent,
            self.shadow.pace.level_nano(),
            self.shadow.pace.owed_nano(),
            self.shadow.pace.at().0,
        ];
        let mut bytes = [0; KEY_STATE_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads a state; `None` for anything that [`KeyState::encode`] of this layout did not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes);
        let mut next = || words.next();
        let owing = match (next()?, bytes.len()) {
            (LAYOUT, KEY_STATE_BYTES) => true,
            LAYOUT_WITHOUT_DEBTS => false,
            _ => return None,
        };
        let bucket = |next: &mut dyn FnMut() -> Option<u64>| {
            let level = next()?;
            let owed = if owing { next()? } else { 0 };
            Some(Bucket::owing(level, owed, Nanos(next()?)))
        };
        let standard = bucket(&mut next)?;
        let (slot_id, spent) = (next()?, next()?);
        let pace = bucket(&mut next)?;
        Some(Self { standard, shadow: ShadowState { slot_id, spent, pace } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn encodes_and_refuses_what_it_did_not_write() {
        let state = KeyState {
            standard: Bucket::new(1, Nanos(2)),
            shadow: ShadowState { slot_id: 3, spent: 4, pace: Bucket::owing(0, 5, Nanos(6)) },
        };
        let bytes = state.encode();
        assert_eq!(KeyState::decode(&bytes), Some(state));
        assert_eq!(KeyState::decode(&bytes[..71]), None);
        let mut other = bytes;
        other[0] = 9;
        assert_eq!(KeyState::decode(&other), None);
        let old: Vec<u8> = [1u64, 10, 20, 3, 4, 50, 60].iter().flat_map(|word| word.to_le_bytes()).collect();
        let before = KeyState::decode(&old).unwrap();
        assert_eq!((before.standard, before.shadow.spent), (Bucket::new(10, Nanos(20)), 4), "the layout before");
        assert_eq!(before.shadow.pace, Bucket::new(50, Nanos(60)));
    }
}
