//! The fixed header around every message: who, which version, what, how long.
//!
//! ```text
//! 0..4   magic "FBAY"
//! 4..6   version, little endian
//! 6..8   kind, little endian
//! 8..12  body length in bytes, little endian
//! 12..   body, postcard
//! ```
//!
//! The header never changes, so that a peer can refuse a version or a kind that it does not know with a precise error.

use alloc::vec::Vec;
use core::fmt;

use serde::de::DeserializeOwned;

use crate::v1::Message;

const MAGIC: [u8; 4] = *b"FBAY";
const HEADER_BYTES: usize = 12;

/// The version that [`encode`] writes and [`decode`] reads.
pub const VERSION: u16 = 1;

/// Longest body in bytes. Answers stay under 256 KiB by contract; a proxy's report of 65,536 keys at about 60 bytes a
/// row needs 4 MiB.
pub const MAX_BODY_BYTES: usize = 4 << 20;

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the message that it names")]
pub enum Kind {
    Report = 1,
    ReportAck = 2,
    Watch = 3,
    GrantTable = 4,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the header says, or than a header has.
    Truncated,
    /// The first four bytes are not `FBAY`.
    BadMagic,
    /// A version that this build does not speak.
    UnknownVersion(u16),
    /// A kind that this version does not have.
    UnknownKind(u16),
    /// More than [`MAX_BODY_BYTES`], or bytes after the body.
    Oversized,
    /// The body is not what its kind says.
    BadBody,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "message ends before its declared length"),
            Self::BadMagic => write!(f, "not a Forebay sync message (magic differs)"),
            Self::UnknownVersion(v) => {
                write!(f, "protocol version {v} is not spoken here (this build speaks {VERSION})")
            }
            Self::UnknownKind(k) => write!(f, "message kind {k} is unknown"),
            Self::Oversized => write!(f, "message is longer than declared or than {MAX_BODY_BYTES} bytes"),
            Self::BadBody => write!(f, "message body does not decode"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// The message in its envelope.
pub fn encode(message: &Message) -> Vec<u8> {
    let body = match message {
        Message::Report(m) => postcard::to_allocvec(m),
        Message::ReportAck(m) => postcard::to_allocvec(m),
        Message::Watch(m) => postcard::to_allocvec(m),
        Message::GrantTable(m) => postcard::to_allocvec(m),
    }
    // Growing a vector is the only thing that serialising these types does; there is nothing that can fail.
    .unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(message.kind() as u16).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// Reads one message.
///
/// # Errors
/// A [`DecodeError`] that names what is wrong; never a panic, whatever the bytes.
pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
    if *magic != MAGIC {
        return Err(DecodeError::BadMagic);
    }
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(DecodeError::Truncated)?;
    let (kind, rest) = rest.split_first_chunk::<2>().ok_or(DecodeError::Truncated)?;
    let (length, body) = rest.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
    let version = u16::from_le_bytes(*version);
    if version != VERSION {
        return Err(DecodeError::UnknownVersion(version));
    }
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_BODY_BYTES || body.len() > length {
        return Err(DecodeError::Oversized);
    }
    if body.len() < length {
        return Err(DecodeError::Truncated);
    }
    match u16::from_le_bytes(*kind) {
        1 => decode_body(body).map(Message::Report),
        2 => decode_body(body).map(Message::ReportAck),
        3 => decode_body(body).map(Message::Watch),
        4 => decode_body(body).map(Message::GrantTable),
        other => Err(DecodeError::UnknownKind(other)),
    }
}

fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(DecodeError::BadBody),
    }
}
