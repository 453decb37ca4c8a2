//! A request's headers, fetched from the host in one call.
//!
//! What a header read costs is not the reading: the host must call back into this module for memory to return the value
//! in, and that is two thirds of it. All headers together come in one piece of memory, so they cost what one of them
//! costs (`cargo xtask bench attribution`, probes `read` and `pairs`), every further fact is free, and so is knowing
//! that a header is not there. A request with very many headers is read one by one, so that no client decides how much
//! is copied.
//!
//! Source: proxy-wasm ABI 0.2.1, serialisation of header maps.

use crate::abi::{self, Map, Returned};

/// Requests with more headers than this are read header by header; browsers and meshes send 10 to 40.
const MAX_FETCHED: usize = 64;

/// The request headers of the stream that a callback is about.
#[derive(Debug)]
pub(crate) struct RequestHeaders {
    count: usize,
    fetched: Option<Returned>,
}

impl RequestHeaders {
    /// Of a request with `count` headers; nothing is fetched before something is asked.
    pub(crate) fn of(count: usize) -> Self {
        Self { count, fetched: None }
    }

    /// The first value of a header, by lower-case name.
    pub(crate) fn first(&mut self, name: &str) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        self.read(name, &mut value).then_some(value)
    }

    /// The same behind what `to` holds; `false` when it is not there.
    pub(crate) fn read(&mut self, name: &str, to: &mut Vec<u8>) -> bool {
        let one;
        let value = if self.count > MAX_FETCHED {
            one = abi::header(Map::Request, name).ok();
            one.as_deref()
        } else {
            find(self.fetched(), name)
        };
        to.extend_from_slice(value.unwrap_or_default());
        value.is_some()
    }

    /// Whether a header is there.
    pub(crate) fn has(&mut self, name: &str) -> bool {
        if self.count > MAX_FETCHED {
            return abi::header(Map::Request, name).is_ok();
        }
        find(self.fetched(), name).is_some()
    }

    fn fetched(&mut self) -> &[u8] {
        self.fetched.get_or_insert_with(|| abi::header_pairs(Map::Request).unwrap_or_default()).bytes()
    }
}

/// The first value of `name` in a serialised header map: the count, all lengths, then every key and value with a NUL
/// behind. Lengths that lie lead out of the map, where there is nothing to be found.
fn find<'a>(map: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (count, rest) = map.split_first_chunk()?;
    let (lengths, texts) = rest.split_at_checked((u32::from_le_bytes(*count) as usize).checked_mul(8)?)?;
    let (name, mut key_at) = (name.as_bytes(), 0usize);
    for pair in lengths.chunks_exact(8) {
        // The key's length in the lower half, the value's in the upper.
        let lens = u64::from_le_bytes(pair.try_into().ok()?);
        let (key_len, value_len) = (lens as u32 as usize, (lens >> 32) as usize);
        if key_len == name.len() {
            let key = texts.get(key_at..)?.get(..key_len)?;
            // Envoy's names are lower case already.
            if key == name || key.eq_ignore_ascii_case(name) {
                return texts.get(key_at.checked_add(key_len + 1)?..)?.get(..value_len);
            }
        }
        key_at = key_at.wrapping_add(key_len).wrapping_add(value_len).wrapping_add(2);
    }
    None
}
