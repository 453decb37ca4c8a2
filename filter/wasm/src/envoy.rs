//! The engine's host port on Envoy and its kin.
//!
//! Two dialects meet here. Envoy inserts an absent key whatever the compare mark, so "only if absent" is a mark that
//! nobody ever gets: the counter behind the marks would have to wrap around exactly onto it.

use forebay_admission::Nanos;
use forebay_engine::{Expected, Host, StoreError, Unreadable};

use crate::abi::{self, Map, Status};
use crate::headers::RequestHeaders;

const NEVER_A_MARK: u32 = u32::MAX;

/// The host, as seen from one callback.
pub(crate) struct Envoy {
    /// Of the stream, where the callback is about one.
    pub(crate) headers: RequestHeaders,
}

impl Envoy {
    /// In a callback about a request with so many headers.
    pub(crate) fn request(headers: usize) -> Self {
        Self { headers: RequestHeaders::of(headers) }
    }

    /// In a callback that is about no stream.
    pub(crate) fn root() -> Self {
        Self::request(0)
    }
}

impl Host for Envoy {
    fn now(&mut self) -> Nanos {
        Nanos(abi::steady_nanos())
    }

    fn wall_nanos(&mut self) -> u64 {
        abi::wall_nanos()
    }

    fn header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.headers.first(name)
    }

    fn read_header(&mut self, name: &str, to: &mut Vec<u8>) -> bool {
        self.headers.read(name, to)
    }

    fn response_header(&mut self, name: &str) -> Option<Vec<u8>> {
        abi::header(Map::Response, name).ok()
    }

    fn property(&mut self, path: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        match abi::property(path) {
            Ok(value) => Ok(Some(value)),
            Err(Status::NotFound) => Ok(None),
            Err(Status::CasMismatch | Status::Other) => Err(Unreadable),
        }
    }

    fn shared_get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        abi::shared_data(key).ok()
    }

    fn shared_set(&mut self, key: &str, value: &[u8], expected: Expected) -> Result<(), StoreError> {
        let mark = match expected {
            Expected::Absent => NEVER_A_MARK,
            Expected::Unchanged(mark) => mark,
            Expected::Anything => 0,
        };
        abi::set_shared_data(key, value, mark).map_err(|status| match status {
            Status::CasMismatch => StoreError::Conflict,
            Status::NotFound | Status::Other => StoreError::Failed,
        })
    }

    fn set_filter_state(&mut self, key: &str, value: &str) {
        abi::set_property(key, value);
    }

    fn random(&mut self) -> [u64; 2] {
        abi::random()
    }

    fn proxy_name(&mut self) -> Option<Vec<u8>> {
        abi::property("xds\0node\0id").ok()
    }
}
