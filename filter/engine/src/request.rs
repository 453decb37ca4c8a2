//! A request's facts to its keys and costs, and the verdict to what the client sees.
//!
//! Only what the policy names is read, because each header costs a crossing into the host. A request that names a tenant
//! is never looked at for exemption: neither a CORS preflight nor a health probe carries one.

use alloc::format;
use alloc::string::String;

use forebay_admission::{Charge, Lane, MAX_CHARGES, Nanos, Verdict, Wait};
use serde::Serialize;

use crate::config::{Config, Cost, Unidentified};
use crate::host::Host;
use crate::keys::Keys;

/// User agents of health checks that are exempt when they name no tenant.
const PROBES: [&[u8]; 4] = [b"kube-probe/", b"GoogleHC/", b"ELB-HealthChecker/", b"Envoy/HC"];

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not limited: goes on without a lane.
    Pass,
    /// Goes on with the lane's tags.
    Admit(Lane),
    /// Is answered here.
    Refuse(Refusal),
}

/// A refused request's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whole seconds, rounded up; `None` when waiting would not help.
    pub retry_after_s: Option<u64>,
    /// `application/problem+json`, RFC 9457.
    pub body: String,
    /// `%RESPONSE_CODE_DETAILS%` in access logs.
    pub details: &'static str,
}

/// What identifies a request.
pub(crate) enum Identity {
    /// Charged to this row of the keys.
    Row(usize),
    /// Exempt or admitted uncounted.
    Free,
    /// Refused for want of a tenant.
    Missing,
}

pub(crate) fn identify(config: &Config, keys: &Keys, host: &mut impl Host) -> Identity {
    if let Some(tenant) = host.header(&config.tenant_header).filter(|tenant| !tenant.is_empty()) {
        return Identity::Row(keys.row(&tenant));
    }
    if exempt(host) {
        return Identity::Free;
    }
    match config.unidentified {
        Unidentified::Others => Identity::Row(0),
        Unidentified::Admit => Identity::Free,
        Unidentified::Refuse => Identity::Missing,
    }
}

fn exempt(host: &mut impl Host) -> bool {
    let preflight =
        host.header(":method").as_deref() == Some(b"OPTIONS") && host.header("access-control-request-method").is_some();
    preflight || host.header("user-agent").is_some_and(|agent| PROBES.iter().any(|probe| agent.starts_with(probe)))
}

/// The charges of a request of the tenant in `row`; at most one per rule, and there are at most [`MAX_CHARGES`] rules.
pub(crate) struct Charges {
    charges: [Charge; MAX_CHARGES],
    len: usize,
}

impl Charges {
    pub(crate) fn of(config: &Config, keys: &Keys, row: usize, host: &mut impl Host) -> Self {
        let by_path = config.rules.iter().any(|rule| rule.path_prefix != "/");
        let path = if by_path { host.header(":path") } else { None };
        let mut this = Self { charges: [Charge { key: 0, cost: 0 }; MAX_CHARGES], len: 0 };
        for (index, rule) in config.rules.iter().enumerate() {
            let path = path.as_deref().unwrap_or_default();
            if rule.path_prefix != "/" && !path.starts_with(rule.path_prefix.as_bytes()) {
                continue;
            }
            if let Some(slot) = this.charges.get_mut(this.len) {
                *slot = Charge { key: keys.key(row, index), cost: cost(&rule.cost, host) };
                this.len += 1;
            }
        }
        this
    }

    pub(crate) fn as_slice(&self) -> &[Charge] {
        self.charges.get(..self.len).unwrap_or_default()
    }
}

fn cost(cost: &Cost, host: &mut impl Host) -> u64 {
    match cost {
        Cost::Constant(units) => *units,
        Cost::Header { name, default, max } => {
            let declared = host.header(name).as_deref().and_then(decimal).unwrap_or(*default);
            declared.clamp(1, *max)
        }
    }
}

/// A plain decimal number; longer than 20 digits saturates, anything else is no number.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 64 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// The client's view of a verdict.
pub(crate) fn outcome(verdict: Verdict, keys: &Keys, now: Nanos) -> Outcome {
    match verdict {
        Verdict::Admit(lane) => Outcome::Admit(lane),
        Verdict::Refuse { key, wait } => {
            let resource = keys.keys.get(key).map_or("", |key| key.resource.as_str());
            let retry_after_s = match wait {
                Wait::Until(at) => Some(at.since(now).div_ceil(Nanos::SECOND).max(1)),
                Wait::Never => None,
            };
            let detail = match retry_after_s {
                Some(seconds) => format!("The limit for this resource is used up; try again in {seconds} s."),
                None => String::from("The request costs more than the limit can ever hold."),
            };
            let body = problem(&detail, Some(resource));
            let details = if retry_after_s.is_some() { "forebay_over_limit" } else { "forebay_over_burst" };
            Outcome::Refuse(Refusal { retry_after_s, body, details })
        }
    }
}

/// The answer to a request that names no tenant where one is demanded.
pub(crate) fn missing_tenant(config: &Config) -> Outcome {
    let detail = format!("The request names no tenant in {}.", config.tenant_header);
    Outcome::Refuse(Refusal { retry_after_s: None, body: problem(&detail, None), details: "forebay_no_tenant" })
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'a str; 1]>,
}

fn problem(detail: &str, resource: Option<&str>) -> String {
    let problem = Problem {
        kind: "https://iana.org/assignments/http-problem-types#quota-exceeded",
        title: "Too Many Requests",
        status: 429,
        detail,
        violated_policies: resource.map(|resource| [resource]),
    };
    // A struct of strings always serialises.
    serde_json::to_string(&problem).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_from_headers_are_numbers_or_the_default() {
        assert_eq!(decimal(b"42"), Some(42));
        assert_eq!(decimal(b"99999999999999999999999"), Some(u64::MAX));
        for text in [&b""[..], b"-1", b"1.5", b"0x10", b" 1", &[b'1'; 65], b"\xff"] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }
}
