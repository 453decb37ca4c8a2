//! Who a request is charged to, from the first source of the rule's list that names somebody.

use alloc::string::String;
use alloc::vec::Vec;

use forebay_protocol::policy::network::without_port;
use forebay_protocol::policy::path::{Segment, of_request, parameter};
use forebay_protocol::policy::{Certificate, Source};
use sha2::{Digest, Sha256};

use super::facts::{Facts, Origins, Slot};
use super::matching::SOURCE_ADDRESS;
use crate::host::{Host, Unreadable};

/// Hexadecimal digits of an API key's hash in its tenant's name: 128 bits, so that nobody finds a second key for it.
const KEY_DIGITS: usize = 32;

/// A source, ready to be read.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    slot: Slot,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// The value as it is.
    Plain,
    /// The value, when it begins so.
    Begins(&'static [u8]),
    /// The value's hash.
    Hashed,
    /// A segment of the path.
    Segment(usize),
    /// An address without its port.
    Address,
}

impl Reader {
    /// `None` for a path parameter that the rule's path does not have.
    pub(super) fn compile(source: &Source, path: &[Segment], origins: &mut Origins) -> Option<Self> {
        let (slot, form) = match source {
            Source::Header(name) => (origins.header(name), Form::Plain),
            Source::ApiKey(key) => (origins.header(&key.header), Form::Hashed),
            Source::JwtClaim(claim) => {
                let mut path = String::from("metadata\0filter_metadata\0envoy.filters.http.jwt_authn");
                for part in [&claim.payload].into_iter().chain(&claim.within).chain([&claim.claim]) {
                    path.push('\0');
                    path.push_str(part);
                }
                (origins.property(&path), Form::Plain)
            }
            Source::SpiffeId => (origins.property("connection\0uri_san_peer_certificate"), Form::Begins(b"spiffe://")),
            Source::Certificate(field) => {
                let path = match field {
                    Certificate::UriSan => "connection\0uri_san_peer_certificate",
                    Certificate::DnsSan => "connection\0dns_san_peer_certificate",
                    Certificate::Subject => "connection\0subject_peer_certificate",
                };
                (origins.property(path), Form::Plain)
            }
            Source::PathParameter(name) => (origins.header(":path"), Form::Segment(parameter(path, name)?)),
            Source::SourceAddress => (origins.property(SOURCE_ADDRESS), Form::Address),
        };
        Some(Self { slot, form })
    }

    /// Where it reads, for people.
    pub(super) fn name<'a>(&self, origins: &'a Origins) -> &'a str {
        origins.name(self.slot)
    }

    /// What `use_name` makes of the tenant's name; `None` when the request names none here.
    pub(super) fn read<H: Host, R>(
        &self,
        facts: &mut Facts<'_, H>,
        use_name: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Unreadable> {
        let Some(value) = facts.get(self.slot)?.filter(|value| !value.is_empty()) else { return Ok(None) };
        Ok(match &self.form {
            Form::Plain => Some(use_name(value)),
            Form::Begins(start) => value.starts_with(start).then(|| use_name(value)),
            Form::Hashed => Some(use_name(&key_name(value))),
            Form::Segment(index) => {
                let segment = of_request(value).and_then(|path| path.split(|byte| *byte == b'/').nth(*index));
                segment.filter(|segment| !segment.is_empty()).map(use_name)
            }
            Form::Address => {
                let address = without_port(value).map(|address| alloc::format!("{}", address.to_canonical()));
                address.map(|address| use_name(address.as_bytes()))
            }
        })
    }
}

/// `key:` and the beginning of the hash.
fn key_name(key: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(key);
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex = digits.take(KEY_DIGITS).map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    b"key:".iter().copied().chain(hex).collect()
}
