//! Signatures of requests and answers: HMAC-SHA256 (RFC 2104) over time, path and body, so that none of them can be changed or
//! sent elsewhere, and what was recorded is worth nothing after the replay window.

use std::fmt;
use std::fmt::Write;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Shortest secret, in bytes: what the hash puts out (RFC 2104, section 3).
pub const SECRET_BYTES_MIN: usize = 32;

/// What both sides know and nobody else; not shown.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// A secret that could be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the webhook's secret has {0} bytes; give at least {SECRET_BYTES_MIN}, at random")]
pub struct SecretTooShort(pub usize);

impl Secret {
    /// These bytes.
    ///
    /// # Errors
    /// [`SecretTooShort`]
    pub fn new(bytes: Vec<u8>) -> Result<Self, SecretTooShort> {
        if bytes.len() < SECRET_BYTES_MIN { Err(SecretTooShort(bytes.len())) } else { Ok(Self(bytes)) }
    }

    /// Whether a signature fits; takes as long whatever is wrong with it.
    #[must_use]
    pub fn fits(&self, given: &str, timestamp: &str, path: &str, body: &[u8]) -> bool {
        let Some(bytes) = given.strip_prefix("v1=").and_then(from_hex) else { return false };
        self.keyed(timestamp, path, body).is_some_and(|keyed| keyed.verify_slice(&bytes).is_ok())
    }

    fn keyed(&self, timestamp: &str, path: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
        // A key of any length will do; were it not so, nothing would be signed and nothing believed.
        let mut keyed = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for part in [b"v1:".as_slice(), timestamp.as_bytes(), b":", path.as_bytes(), b":", body] {
            keyed.update(part);
        }
        Some(keyed)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// The signature of a request, or of its answer with the request's `timestamp` and `path`: `v1=` and hexadecimal digits of
/// the HMAC-SHA256 of `v1:TIMESTAMP:PATH:BODY`.
#[must_use]
pub fn signature(secret: &Secret, timestamp: &str, path: &str, body: &[u8]) -> String {
    let mut text = "v1=".to_owned();
    for byte in secret.keyed(timestamp, path, body).map(|keyed| keyed.finalize().into_bytes()).unwrap_or_default() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_time_path_and_body() {
        let secret = Secret::new(vec![7; SECRET_BYTES_MIN]).expect("long enough");
        let given = signature(&secret, "1800000000", "/v1/apply", b"{}");
        assert_eq!(given, EXPECTED);
        assert!(secret.fits(&given, "1800000000", "/v1/apply", b"{}"));
        assert!(!secret.fits(&given, "1800000001", "/v1/apply", b"{}"));
        assert!(!secret.fits(&given, "1800000000", "/v1/observe", b"{}"));
        assert!(!secret.fits(&given, "1800000000", "/v1/apply", b"{ }"));
        for wrong in ["", "v1=", "v1=0", "v1=zz", "v2=00", &given[..given.len() - 2]] {
            assert!(!secret.fits(wrong, "1800000000", "/v1/apply", b"{}"), "{wrong:?}");
        }
        assert_eq!(Secret::new(vec![7; 31]).err(), Some(SecretTooShort(31)));
        assert_eq!(format!("{secret:?}"), "Secret(not shown)");
    }

    /// Of another implementation: `printf 'v1:1800000000:/v1/apply:{}' | openssl dgst -sha256 -mac hmac -macopt
    /// hexkey:` and 32 times `07`.
    const EXPECTED: &str = "v1=2e65cf9ed3db42148f60406f739491ce45dd3d1144f17d6c209d9f6a58557ee2";
}
