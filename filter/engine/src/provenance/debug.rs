//! Who may read a request's provenance in its response: the bearer of a token, in the request header `x-forebay-debug`.
//!
//! Two kinds, each off unless configured. A *configured token* is a shared secret, for tests and a quick look. A *signed
//! token* is made by somebody who holds the signing secret, for somebody who does not, and ends by itself:
//!
//! ```text
//! token = "v1." expiry "." mac      ; expiry: seconds since 1970, decimal without leading zeros
//!                                   ; mac: 64 HEXDIG (lower case), HMAC-SHA-256 over "forebay debug v1." expiry
//! ```
//!
//! To make one: `e=$(($(date +%s)+3600)); printf 'v1.%s.%s\n' $e "$(printf 'forebay debug v1.%s' $e |
//! openssl dgst -sha256 -hmac "$SECRET" -r | cut -d' ' -f1)"`.
//!
//! Both are compared in constant time, the configured one by digest, so that not even its length shows. A token that
//! would live longer than [`MAX_LIFETIME_S`] is refused: what leaks must end. It can be used by whoever sees it until it
//! ends; it shows only what is said about the bearer's own requests.

use alloc::format;
use alloc::string::String;
use core::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The header of the request's token, and of the response's provenance.
pub const HEADER: &str = "x-forebay-debug";

/// Longest token in bytes; longer ones are refused unread.
pub const MAX_TOKEN_BYTES: usize = 256;

/// Longest life that a signed token can have before it, in seconds: a day.
pub const MAX_LIFETIME_S: u64 = 86_400;

/// Checks tokens.
#[derive(Clone, Default)]
pub struct Gate {
    /// SHA-256 of the configured token.
    token: Option<[u8; 32]>,
    signed: Option<Hmac<Sha256>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("token", &self.token.is_some()).field("signed", &self.signed.is_some()).finish()
    }
}

impl Gate {
    /// A gate for a configured token, for signed ones, for both or closed. An empty token or secret counts as none.
    pub fn new(token: Option<&[u8]>, signing_secret: Option<&[u8]>) -> Self {
        let token = token.filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN_BYTES);
        let secret = signing_secret.filter(|secret| !secret.is_empty());
        Self { token: token.map(|token| Sha256::digest(token).into()), signed: secret.map(super::mac) }
    }

    /// Whether any token opens it; if not, the request's header need not be read.
    pub fn is_closed(&self) -> bool {
        self.token.is_none() && self.signed.is_none()
    }

    /// Whether this token opens it, at `now_s` seconds since 1970.
    pub fn opens(&self, presented: &[u8], now_s: u64) -> bool {
        if presented.is_empty() || presented.len() > MAX_TOKEN_BYTES {
            return false;
        }
        let configured = self.token.as_ref().is_some_and(|digest| same(digest, &Sha256::digest(presented).into()));
        configured || self.signed.as_ref().is_some_and(|mac| verifies(mac, presented, now_s).unwrap_or(false))
    }
}

/// Makes a signed token.
pub fn sign(secret: &[u8], expiry_s: u64) -> String {
    let mut mac = super::mac(secret);
    mac.update(format!("forebay debug v1.{expiry_s}").as_bytes());
    let mac: [u8; 32] = mac.finalize().into_bytes().into();
    mac.iter().fold(format!("v1.{expiry_s}."), |token, byte| format!("{token}{byte:02x}"))
}

fn verifies(mac: &Hmac<Sha256>, token: &[u8], now_s: u64) -> Option<bool> {
    let (expiry, tag) = core::str::from_utf8(token).ok()?.strip_prefix("v1.")?.split_once('.')?;
    let expiry_s: u64 = expiry.parse().ok()?;
    let left_s = expiry_s.checked_sub(now_s)?;
    if left_s == 0 || left_s > MAX_LIFETIME_S || tag.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(tag.as_bytes().chunks_exact(2)) {
        let &[high, low] = digits else { return None };
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    let mut mac = mac.clone();
    mac.update(b"forebay debug v1.");
    mac.update(expiry.as_bytes());
    Some(mac.verify_slice(&bytes).is_ok())
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Whether two digests are the same, in a time that does not depend on where they differ.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    use subtle::ConstantTimeEq;
    one.ct_eq(other).into()
}
