//! The rate limit fields.
//!
//! The draft describes windows, a token bucket has none. It is stated so that a client which obeys the fields is never
//! refused and loses little: `q` is the burst and `w` the whole seconds, rounded up, in which the rate refills it; a
//! burst that the rate refills within a second is stated as one second of the rate. `r` is what is left, `t` the whole
//! seconds until there is more: one unit more, or for the violated policy as much as the request costs, reserved
//! capacity included. `t` is left out where nothing more will come, because the bucket is full or never refills.
//!
//! Names that a structured field cannot carry are percent-encoded ([`wire_name`]); the problem document and the gRPC
//! details use the same form, so that a client can match them.
//!
//! Sources: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4; RFC 9651 for String, Integer and Byte Sequence.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_admission::Nanos;
use forebay_admission::units::NANO;

use super::retry::Retry;
use super::{Header, Quota, QuotaUnit, stated};
use crate::percent;

/// The largest Integer of a structured field.
pub const MAX_INTEGER: u64 = 999_999_999_999_999;

/// Which fields responses carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// None.
    Off,
    /// `RateLimit` and `RateLimit-Policy`.
    Draft10,
    /// `x-ratelimit-limit`, `-remaining` and `-reset` (in seconds from now), of the policy with the least left.
    Legacy,
}

/// A policy's name as clients see it: printable ASCII, everything else and `%` percent-encoded.
pub fn wire_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    percent::encode(&mut out, name.as_bytes(), |byte| byte == b' ' || byte.is_ascii_graphic());
    out
}

/// Appends the fields for `quotas`; `retry` is when the violated ones admit the request.
pub(super) fn append(headers: &mut Vec<Header>, fields: Fields, quotas: &[Quota<'_>], retry: Option<Retry>) {
    if quotas.is_empty() {
        return;
    }
    match fields {
        Fields::Off => {}
        Fields::Draft10 => {
            headers.push(("ratelimit-policy", list(quotas, policy_item)));
            headers.push(("ratelimit", list(quotas, |out, quota| limit_item(out, quota, retry))));
        }
        Fields::Legacy => {
            let Some(quota) = stated(quotas).min_by_key(|quota| (!quota.violated, remaining(quota))) else { return };
            headers.push(("x-ratelimit-limit", window(quota).0.to_string()));
            headers.push(("x-ratelimit-remaining", remaining(quota).to_string()));
            headers.push(("x-ratelimit-reset", more_in_s(quota, retry).unwrap_or(0).to_string()));
        }
    }
}

fn list(quotas: &[Quota<'_>], item: impl Fn(&mut String, &Quota<'_>)) -> String {
    let mut out = String::new();
    for quota in stated(quotas) {
        if !out.is_empty() {
            out.push_str(", ");
        }
        push_string(&mut out, quota.name);
        item(&mut out, quota);
    }
    out
}

fn policy_item(out: &mut String, quota: &Quota<'_>) {
    let (quantity, window_s) = window(quota);
    push_integer(out, ";q=", quantity);
    match quota.unit {
        QuotaUnit::Requests => {}
        QuotaUnit::ContentBytes => out.push_str(";qu=\"content-bytes\""),
        QuotaUnit::ConcurrentRequests => out.push_str(";qu=\"concurrent-requests\""),
        QuotaUnit::Named(name) => {
            out.push_str(";qu=");
            push_string(out, name);
        }
    }
    if let Some(seconds) = window_s {
        push_integer(out, ";w=", seconds);
    }
    push_partition(out, quota);
}

fn limit_item(out: &mut String, quota: &Quota<'_>, retry: Option<Retry>) {
    push_integer(out, ";r=", remaining(quota));
    if let Some(seconds) = more_in_s(quota, retry) {
        push_integer(out, ";t=", seconds);
    }
    push_partition(out, quota);
}

/// Quota in units and window in seconds.
fn window(quota: &Quota<'_>) -> (u64, Option<u64>) {
    let limit = quota.limit;
    match limit.rate.nanos_for(limit.burst_nano()) {
        None => (limit.burst, None),
        Some(nanos) if nanos <= Nanos::SECOND => {
            (limit.burst.max(limit.rate.nano_units_in(Nanos::SECOND) / NANO), Some(1))
        }
        Some(nanos) => (limit.burst, Some(nanos.div_ceil(Nanos::SECOND))),
    }
}

/// In units. A refused request is told 0 for what refused it: less than its cost is left, and to try with the rest would
/// fail again.
fn remaining(quota: &Quota<'_>) -> u64 {
    if quota.violated { 0 } else { quota.left_nano.min(quota.limit.burst_nano()) / NANO }
}

fn more_in_s(quota: &Quota<'_>, retry: Option<Retry>) -> Option<u64> {
    if quota.violated {
        return retry.map(|retry| retry.exact_s);
    }
    let missing = quota.limit.burst_nano().saturating_sub(quota.left_nano).min(NANO - quota.left_nano % NANO);
    if missing == 0 {
        return None;
    }
    quota.limit.rate.nanos_for(missing).map(|nanos| nanos.div_ceil(Nanos::SECOND))
}

fn push_integer(out: &mut String, name: &str, value: u64) {
    // Writing into a string does not fail.
    let _ = write!(out, "{name}{}", value.min(MAX_INTEGER));
}

/// A String: in quotes, `"` and `\` behind a backslash.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for char in wire_name(text).chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}

/// A Byte Sequence: base64 with padding between colons.
fn push_partition(out: &mut String, quota: &Quota<'_>) {
    if let Some(partition) = quota.partition {
        out.push_str(";pk=:");
        STANDARD.encode_string(partition, out);
        out.push(':');
    }
}
