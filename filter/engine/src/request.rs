//! A request's facts to its rule, keys and costs, and the verdict to what the client sees.

use alloc::format;
use alloc::string::String;

use forebay_admission::{Charge, Lane, MAX_CHARGES, Nanos, Verdict, Wait};
use serde::Serialize;

use crate::config::Config;
use crate::host::Host;
use crate::keys::Keys;
use crate::policy::facts::Facts;
use crate::policy::place::{Turn, turn};
use crate::policy::{Identity, Rule, Work};

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not limited: goes on without a lane.
    Pass,
    /// Charged at an earlier proxy: goes on as it is, that proxy's tags included.
    Charged,
    /// Goes on with the lane's tags.
    Admit(Lane),
    /// Is answered here.
    Refuse(Refusal),
    /// Waits: an effect of a tick lets it go on or answers it.
    Wait {
        /// The tick period from now on, in milliseconds, when it is another one.
        tick_ms: Option<u32>,
    },
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

/// What a request is to the policy.
pub(crate) enum Class<'a> {
    /// Charged by this rule to this row of the keys.
    Limited(&'a Rule, usize),
    /// Under no rule, or charged at a later proxy.
    Unlimited,
    /// Exempt or admitted uncounted.
    Free,
    /// Charged at an earlier proxy.
    Charged,
    /// Refused by this rule for want of a tenant.
    Missing(&'a Rule),
    /// The host does not say who sent it.
    Undecided(&'a Rule),
}

pub(crate) fn classify<'a, H: Host>(config: &'a Config, keys: &Keys, facts: &mut Facts<'_, H>) -> Class<'a> {
    let policy = &config.policy;
    if policy.exempt_path(facts) {
        return Class::Free;
    }
    let Some(rule) = policy.rule(facts, &mut Work::default()) else { return Class::Unlimited };
    if rule.charges.is_empty() {
        return Class::Free;
    }
    match turn(rule.enforce_at, config.role, config.charged_token.as_deref(), facts) {
        Turn::Here => {}
        Turn::Earlier => return Class::Charged,
        Turn::Later => return Class::Unlimited,
    }
    match policy.identify(rule, facts, |tenant| keys.row(tenant)) {
        Identity::Tenant(row) => Class::Limited(rule, row),
        Identity::Others => Class::Limited(rule, 0),
        Identity::Free => Class::Free,
        Identity::Missing => Class::Missing(rule),
        Identity::Undecided => Class::Undecided(rule),
    }
}

/// The charges of a request of the tenant in `row`; at most one per resource, and a rule has at most [`MAX_CHARGES`].
pub(crate) struct Charges {
    charges: [Charge; MAX_CHARGES],
    len: usize,
}

impl Charges {
    pub(crate) fn of<H: Host>(rule: &Rule, keys: &Keys, row: usize, facts: &mut Facts<'_, H>) -> Self {
        let mut this = Self { charges: [Charge { key: 0, cost: 0 }; MAX_CHARGES], len: 0 };
        for (slot, charge) in this.charges.iter_mut().zip(&rule.charges) {
            *slot = Charge { key: keys.key(row, charge.resource), cost: charge.cost.units(facts) };
            this.len += 1;
        }
        this
    }

    pub(crate) fn as_slice(&self) -> &[Charge] {
        self.charges.get(..self.len).unwrap_or_default()
    }
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

/// The answer to a request that names no tenant where one is demanded; `source` is where it was looked for first.
pub(crate) fn missing_tenant(source: &str) -> Outcome {
    // The segments of a property's path are separated by NUL.
    let detail = format!("The request names no tenant in {}.", source.replace('\0', "."));
    Outcome::Refuse(Refusal { retry_after_s: None, body: problem(&detail, None), details: "forebay_no_tenant" })
}

/// The answer to a request whose sender cannot be found out now.
pub(crate) fn undecided() -> Outcome {
    let body = problem("It cannot be found out now who sent the request; try again.", None);
    Outcome::Refuse(Refusal { retry_after_s: Some(1), body, details: "forebay_undecided" })
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
