//! The problem document of a refused HTTP request.
//!
//! Types, titles and `violated-policies` are those of draft-ietf-httpapi-ratelimit-headers-10, section 5; the rest is
//! RFC 9457. Which type is chosen tells the client whose matter it is: its quota's, or the server's capacity.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use super::retry::Retry;
use super::{Reason, Refused, Settings};

/// The client has used up a quota.
pub const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// The server has less to give than usual.
pub const TEMPORARY_REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<String>,
}

/// The document, as JSON.
pub(super) fn body(refused: &Refused<'_>, retry: Option<Retry>, settings: &Settings) -> String {
    let (kind, title) = match refused.reason {
        Reason::OverLimit | Reason::OverBurst | Reason::QueueFull | Reason::QueueExpired => {
            (QUOTA_EXCEEDED, "Request cannot be satisfied as assigned quota has been exceeded")
        }
        Reason::Overloaded | Reason::Undecided => {
            (TEMPORARY_REDUCED_CAPACITY, "Request cannot be satisfied due to temporary server capacity constraints")
        }
        Reason::MissingTenant(_) => ("about:blank", "Bad Request"),
    };
    let problem = Problem {
        kind,
        title,
        status: refused.reason.status(settings),
        detail: &super::detail(refused.reason, retry),
        violated_policies: super::violated(refused.quotas).collect(),
    };
    // A struct of strings always serialises.
    serde_json::to_string(&problem).unwrap_or_default()
}
