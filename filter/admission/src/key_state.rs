//! What a proxy knows of one key, as it lies in shared data: 56 bytes, fixed.
//!
//! Fixed size and its own version byte, so that a module upgrade that shares the data with its predecessor either
//! understands the state or starts the key as after a boot; it is never misread.

use crate::bucket::Bucket;
use crate::shadow::ShadowState;
use crate::units::{Limit, Nanos};

/// Size of an encoded state in bytes.
pub const KEY_STATE_BYTES: usize = 56;

const LAYOUT: u64 = 1;

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
            self.standard.at().0,
            self.shadow.slot_id,
            self.shadow.spent,
            self.shadow.pace.level_nano(),
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
        if bytes.len() != KEY_STATE_BYTES {
            return None;
        }
        let mut words = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes);
        let mut next = || words.next();
        if next()? != LAYOUT {
            return None;
        }
        let standard = Bucket::new(next()?, Nanos(next()?));
        let (slot_id, spent) = (next()?, next()?);
        let pace = Bucket::new(next()?, Nanos(next()?));
        Some(Self { standard, shadow: ShadowState { slot_id, spent, pace } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_and_refuses_what_it_did_not_write() {
        let state = KeyState {
            standard: Bucket::new(1, Nanos(2)),
            shadow: ShadowState { slot_id: 3, spent: 4, pace: Bucket::new(5, Nanos(6)) },
        };
        let bytes = state.encode();
        assert_eq!(KeyState::decode(&bytes), Some(state));
        assert_eq!(KeyState::decode(&bytes[..55]), None);
        let mut other = bytes;
        other[0] = 9;
        assert_eq!(KeyState::decode(&other), None);
    }
}
