//! What a refused gRPC call gets beside its status: `grpc-status-details-bin`.
//!
//! A serialised `google.rpc.Status` with RetryInfo (when waiting helps) and QuotaFailure (when a policy was violated),
//! base64 without padding as gRPC asks of binary headers. Clients' retry policies read RetryInfo; without it they back
//! off blindly. The messages are written by hand: five fields of two wire types.
//!
//! Sources: google/rpc/status.proto, error_details.proto, google/protobuf/any.proto, duration.proto; "gRPC over HTTP2".

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use forebay_admission::Nanos;

use super::retry::Retry;
use super::{Reason, Refused};

/// The name of the header.
pub const DETAILS_HEADER: &str = "grpc-status-details-bin";

/// RESOURCE_EXHAUSTED.
pub const RESOURCE_EXHAUSTED: i32 = 8;

/// INVALID_ARGUMENT.
pub const INVALID_ARGUMENT: i32 = 3;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";

/// The longest Duration in seconds: 10,000 years, says duration.proto.
const MAX_DURATION_S: u64 = 315_576_000_000;

/// The gRPC status of a refusal.
pub(super) fn status(reason: Reason<'_>) -> i32 {
    if matches!(reason, Reason::MissingTenant(_)) { INVALID_ARGUMENT } else { RESOURCE_EXHAUSTED }
}

/// The value of [`DETAILS_HEADER`].
pub(super) fn details(refused: &Refused<'_>, retry: Option<Retry>, message: &str) -> String {
    let mut proto = Vec::new();
    number(&mut proto, 1, u64::from(status(refused.reason).unsigned_abs()));
    bytes(&mut proto, 2, message.as_bytes());
    if let Some(retry) = retry {
        let mut duration = Vec::new();
        number(&mut duration, 1, (retry.after_nanos / Nanos::SECOND).min(MAX_DURATION_S));
        number(&mut duration, 2, retry.after_nanos % Nanos::SECOND);
        let mut info = Vec::new();
        bytes(&mut info, 1, &duration);
        any(&mut proto, RETRY_INFO, &info);
    }
    let mut failure = Vec::new();
    for name in super::violated(refused.quotas) {
        let mut violation = Vec::new();
        bytes(&mut violation, 1, name.as_bytes());
        bytes(&mut violation, 2, message.as_bytes());
        bytes(&mut failure, 1, &violation);
    }
    if !failure.is_empty() {
        any(&mut proto, QUOTA_FAILURE, &failure);
    }
    STANDARD_NO_PAD.encode(proto)
}

/// Appends to `Status.details`.
fn any(out: &mut Vec<u8>, type_url: &str, value: &[u8]) {
    let mut any = Vec::new();
    bytes(&mut any, 1, type_url.as_bytes());
    bytes(&mut any, 2, value);
    bytes(out, 3, &any);
}

/// A field of wire type 0; zero is the default and not written.
fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        out.push(field << 3);
        varint(out, value);
    }
}

/// A field of wire type 2.
fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
