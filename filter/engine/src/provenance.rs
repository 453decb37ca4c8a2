//! Why a request was treated so, in one line: for access logs, and for whoever may ask with a token ([`debug`]).
//!
//! The line goes into filter state, where access logs read it as `%FILTER_STATE(wasm.forebay:PLAIN)%`, and behind the
//! token into the response header `x-forebay-debug`. Its grammar (RFC 5234):
//!
//! ```text
//! provenance = "lane=" lane ";gen=" generation ";fc=" version *( ";charge=" rule "@" key ) [ ";wait_ms=" 1*DIGIT ]
//! lane       = 1*( ALPHA / "_" )                        ; reserved, standard, borrowed, refused, exempt ...
//! generation = shard "." epoch "." sequence / "-"       ; of the grants in force, "-" on the fallback policy
//! version    = 1*DIGIT / "-"                            ; of the forecast behind the key, "-" without one
//! rule       = label
//! key        = label / "~" 16HEXDIG                     ; the tenant, or its keyed hash
//! label      = 1*( ALPHA / DIGIT / "-" / "." / "_" / ":" / "*" / "/" / "%" 2HEXDIG ) [ "!" ]   ; "!": was cut
//! ```
//!
//! New members are added at the end. Labels are made when a key is made, not per request: what is left per request is to
//! put strings together. A tenant's hash is keyed, because tenants' names can be guessed and a bare hash tells who
//! guesses; the same key gives the same hash on every proxy, so that logs can be joined.

pub mod debug;

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::{self, Write};

use forebay_admission::MAX_CHARGES;
use forebay_protocol::Generation;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::percent;

/// The filter-state key that the host writes, as `wasm.forebay` in access logs.
pub const FILTER_STATE_KEY: &str = "forebay";

/// Longest label in bytes, before its `!`.
pub const MAX_LABEL_BYTES: usize = 64;

/// Longest provenance in bytes: 8 charges of `;charge=`, two labels with `!` and `@`, that is 8 x 139, and 160 for the
/// rest.
pub const MAX_BYTES: usize = MAX_CHARGES * (9 + 2 * (MAX_LABEL_BYTES + 1)) + 160;

/// Longest lane's name in bytes.
const MAX_LANE_BYTES: usize = 24;

/// A rule's or key's name, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label(Box<str>);

impl Label {
    /// A name as it is, percent-encoded where the grammar does not allow it, and cut.
    pub fn plain(name: &str) -> Self {
        let mut text = String::new();
        for char in name.chars() {
            let whole = text.len();
            percent::encode(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes(), |byte| {
                byte.is_ascii_alphanumeric() || b"-._:*/".contains(&byte)
            });
            if text.len() > MAX_LABEL_BYTES {
                text.truncate(whole);
                text.push('!');
                break;
            }
        }
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Makes labels out of tenants' names that shall not be in logs.
#[derive(Clone)]
pub struct KeyHasher(Hmac<Sha256>);

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher")
    }
}

impl KeyHasher {
    /// A hasher with this secret. Any length will do; 16 random bytes are enough.
    pub fn new(secret: &[u8]) -> Self {
        Self(mac(secret))
    }

    /// `~` and the first 64 bits of HMAC-SHA-256 in hex: among a million tenants two share a label with a chance of one
    /// in 37 million.
    pub fn label(&self, tenant: &str) -> Label {
        let mut mac = self.0.clone();
        mac.update(b"forebay key ");
        mac.update(tenant.as_bytes());
        let mut text = String::from("~");
        for byte in mac.finalize().into_bytes().iter().take(8) {
            // Writing into a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Label(text.into())
    }
}

/// HMAC-SHA-256 takes keys of every length; the fallback is never used.
fn mac(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

/// One charge of a request.
#[derive(Clone, Copy, Debug)]
pub struct Charged<'a> {
    /// The rule that charges.
    pub rule: &'a Label,
    /// The key that is charged.
    pub key: &'a Label,
}

/// What is told about a request.
#[derive(Clone, Copy, Debug)]
pub struct Provenance<'a> {
    /// The lane's name, or what happened instead of an admission.
    pub lane: &'a str,
    /// Of the grants in force; `None` on the fallback policy.
    pub generation: Option<Generation>,
    /// Of the forecast behind the deciding key's grant; `None` without one.
    pub forecast_version: Option<u64>,
    /// How long it waited in a queue, in milliseconds; `None` when it did not.
    pub waited_ms: Option<u64>,
}

impl Provenance<'_> {
    /// The line. Charges beyond [`MAX_CHARGES`] are left out.
    pub fn line<'c>(&self, charges: impl IntoIterator<Item = Charged<'c>>) -> String {
        let mut out = String::with_capacity(96);
        // Writing into a string does not fail.
        let _ = self.write(&mut out, charges);
        out
    }

    fn write<'c>(&self, out: &mut String, charges: impl IntoIterator<Item = Charged<'c>>) -> fmt::Result {
        out.push_str("lane=");
        out.extend(self.lane.chars().filter(|char| char.is_ascii_alphabetic() || *char == '_').take(MAX_LANE_BYTES));
        match self.generation {
            Some(Generation { shard, epoch, sequence }) => write!(out, ";gen={shard}.{epoch}.{sequence}")?,
            None => out.push_str(";gen=-"),
        }
        match self.forecast_version {
            Some(version) => write!(out, ";fc={version}")?,
            None => out.push_str(";fc=-"),
        }
        for charged in charges.into_iter().take(MAX_CHARGES) {
            for part in [";charge=", charged.rule.as_str(), "@", charged.key.as_str()] {
                out.push_str(part);
            }
        }
        match self.waited_ms {
            Some(waited_ms) => write!(out, ";wait_ms={waited_ms}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
