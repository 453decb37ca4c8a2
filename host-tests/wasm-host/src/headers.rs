//! A header map in wire order, and the ABI's serialisation of pairs.
//!
//! Keys are lower-cased on every access, as Envoy does. A read of a repeated header gives its first value only;
//! a replacement removes all values and appends one at the end. Envoy's comma-joining of a second value for a
//! well-known header is not imitated.
//!
//! Serialisation: count, then (key length, value length) per pair, then `key\0value\0` per pair; integers are
//! u32, little endian.

use std::fmt;

/// Most pairs and most bytes that one serialised map may have, as in cpp-host's `limits.h`.
const MAX_PAIRS: usize = 1024;
const MAX_PAIRS_BYTES: usize = 1 << 20;

/// Header names and values in the order in which they stand in the message.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    /// First value of `key`.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.first(key.as_bytes())
    }

    /// First value of `key` as text; invalid UTF-8 is replaced.
    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// How many headers there are; a repeated one counts each time.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn first(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_slice())
    }

    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.to_ascii_lowercase(), value.to_vec()));
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.0.retain(|(name, _)| !name.eq_ignore_ascii_case(key));
    }

    pub(crate) fn replace(&mut self, key: &[u8], value: &[u8]) {
        self.remove(key);
        self.add(key, value);
    }

    /// What `proxy_get_header_map_size` answers: bytes, not headers.
    pub(crate) fn byte_size(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.0.len() * 10 + self.byte_size());
        bytes.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        for (key, value) in &self.0 {
            bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
        for part in self.0.iter().flat_map(|(key, value)| [key, value]) {
            bytes.extend_from_slice(part);
            bytes.push(0);
        }
        bytes
    }

    /// Reads serialised pairs; none when they are malformed or beyond the limits. No bytes at all mean no pairs.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        if bytes.len() > MAX_PAIRS_BYTES {
            return None;
        }
        let (count, mut lengths) = take_u32(bytes)?;
        if count > MAX_PAIRS || lengths.len() < count * 8 {
            return None;
        }
        let mut parts = &lengths[count * 8..];
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            let (key_len, rest) = take_u32(lengths)?;
            let (value_len, rest) = take_u32(rest)?;
            lengths = rest;
            let (key, rest) = take_part(parts, key_len)?;
            let (value, rest) = take_part(rest, value_len)?;
            parts = rest;
            pairs.push((key.to_ascii_lowercase(), value.to_vec()));
        }
        Some(Self(pairs))
    }
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(K, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(key, value)| (key.as_ref().to_ascii_lowercase(), value.as_ref().to_vec()))
                .collect(),
        )
    }
}

/// Shown as text, so that a failed assertion can be read.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |part| String::from_utf8_lossy(part);
        f.debug_list().entries(self.0.iter().map(|(key, value)| (text(key), text(value)))).finish()
    }
}

impl From<Vec<(Vec<u8>, Vec<u8>)>> for Headers {
    fn from(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self(pairs)
    }
}

fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number) as usize, rest))
}

/// A part of `len` bytes and the NUL behind it.
fn take_part(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    let (part, rest) = bytes.split_at_checked(len)?;
    let (nul, rest) = rest.split_first()?;
    (*nul == 0).then_some((part, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_the_layout_of_the_abi() {
        let headers: Headers = [("a", "xy"), ("b", "")].into_iter().collect();
        assert_eq!(headers.encode(), b"\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0a\0xy\0b\0\0");
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let headers: Headers = [("a", "xy"), ("b", ""), ("a", "\0")].into_iter().collect();
        assert_eq!(Headers::decode(&headers.encode()), Some(headers));
        assert_eq!(Headers::decode(b""), Some(Headers::default()));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = [("key", "value"), ("k", "v")].into_iter().collect::<Headers>().encode();
        for len in 1..bytes.len() {
            assert_eq!(Headers::decode(&bytes[..len]), None, "{len} of {} bytes", bytes.len());
        }
        assert_eq!(Headers::decode(&[0xff; 64]), None, "absurd count");
    }

    #[test]
    fn a_read_gives_the_first_value_and_a_replacement_removes_all() {
        let mut headers: Headers = [("X-T", "1"), ("other", "o"), ("x-t", "2")].into_iter().collect();
        assert_eq!(headers.get("x-T"), Some(b"1".as_slice()));
        headers.replace(b"X-t", b"3");
        assert_eq!(headers, [("other", "o"), ("x-t", "3")].into_iter().collect());
        assert_eq!(headers.byte_size(), 10);
    }
}
