//! How extensions are written: postcard's varints, names and lists, by hand.

use alloc::string::String;
use alloc::vec::Vec;

/// Longest list: the keys of a proxy, at up to 48 bytes 3 MiB.
const MAX_LIST: usize = 65_536;

/// Words without the zeros at their end.
pub fn trimmed(words: &[u64]) -> &[u64] {
    let len = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    words.get(..len).unwrap_or_default()
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
#[inline(never)]
pub(super) fn put(bytes: &mut Vec<u8>, mut word: u64) {
    while word >= 0x80 {
        bytes.push(word as u8 | 0x80);
        word >>= 7;
    }
    bytes.push(word as u8);
}

pub(super) fn put_name(bytes: &mut Vec<u8>, name: &str) {
    put(bytes, name.len() as u64);
    bytes.extend_from_slice(name.as_bytes());
}

#[inline(never)]
pub(super) fn word(bytes: &mut &[u8]) -> Option<u64> {
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

pub(super) fn pair(bytes: &mut &[u8]) -> Option<(u64, u64)> {
    Some((word(bytes)?, word(bytes)?))
}

pub(super) fn name(bytes: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(word(bytes)?).ok()?;
    let (name, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    core::str::from_utf8(name).ok().map(String::from)
}

/// A list's length and its elements. Each takes a byte at least, so that a length that cannot be is refused at once.
pub(super) fn list<T>(bytes: &mut &[u8], mut element: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let len = usize::try_from(word(bytes)?).ok().filter(|len| *len <= bytes.len().min(MAX_LIST))?;
    (0..len).map(|_| element(bytes)).collect()
}

pub(super) fn zigzag(number: i64) -> u64 {
    (number.wrapping_shl(1) ^ (number >> 63)) as u64
}

pub(super) fn unzigzag(word: u64) -> i64 {
    (word >> 1) as i64 ^ -((word & 1) as i64)
}
