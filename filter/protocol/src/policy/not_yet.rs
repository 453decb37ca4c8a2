//! What the document can say and the running filter does not carry out yet. This is the only list of it: an entry is
//! deleted when the behaviour is there.
//!
//! A document that uses an entry is refused ([`Code::NOT_YET`]), because a setting that is silently ignored is a limit
//! that is not there.

use alloc::format;
use alloc::string::String;

use super::check::Findings;
use super::{Answer, Code, Contract, GuardMode, Policy, Queue, RateLimitHeaders, Resource, Rule, Uncontracted};

/// A setting, and the places where a document uses it.
pub struct Entry {
    /// What it would do.
    pub what: &'static str,
    uses: fn(&Policy, &mut dyn FnMut(String)),
}

/// The list.
pub const NOT_YET: &[Entry] = &[
    Entry {
        what: "waiting in a queue",
        uses: |policy, at| {
            let waits = |queue: &Option<Queue>| queue.as_ref().is_some_and(|queue| queue.max_wait_ms > 0);
            inherited(policy, at, "queue", waits(&policy.queue), |rule| waits(&rule.queue));
        },
    },
    Entry {
        what: "order between priority classes",
        uses: |policy, at| {
            let all = policy.priority_class.is_some();
            inherited(policy, at, "priority_class", all, |rule| rule.priority_class.is_some());
            resources(policy, at, |resource| resource.contract.priority_class.is_some(), "contract.priority_class");
            contracts(policy, at, |contract| contract.priority_class.is_some(), "priority_class");
        },
    },
    Entry {
        what: "weights of tenants",
        uses: |policy, at| {
            resources(policy, at, |resource| resource.contract.weight.is_some(), "contract.weight");
            contracts(policy, at, |contract| contract.weight.is_some(), "weight");
        },
    },
    Entry {
        what: "pools and borrowing",
        uses: |policy, at| {
            resources(policy, at, |resource| resource.pool.is_some(), "pool");
            contracts(policy, at, |contract| contract.pool.is_some(), "pool");
        },
    },
    Entry {
        what: "shadow settings of the policy (the controller's contracts have them)",
        uses: |policy, at| {
            resources(policy, at, |resource| resource.shadow.is_some(), "shadow");
            contracts(policy, at, |contract| contract.shadow.is_some(), "shadow");
        },
    },
    Entry {
        what: "a bucket for each tenant without contract",
        uses: |policy, at| {
            resources(policy, at, |resource| resource.uncontracted == Uncontracted::Each, "uncontracted");
        },
    },
    Entry {
        what: "rate limit headers",
        uses: |policy, at| {
            let on = |answer: &Answer| answer.headers.is_some_and(|headers| headers != RateLimitHeaders::Off);
            answers(policy, at, "answer.headers", on);
        },
    },
    Entry {
        what: "jitter of retry-after",
        uses: |policy, at| {
            answers(policy, at, "answer.retry_jitter_s", |answer| answer.retry_jitter_s.unwrap_or(0) > 0)
        },
    },
    Entry {
        what: "answers without problem details",
        uses: |policy, at| {
            answers(policy, at, "answer.problem_details", |answer| answer.problem_details == Some(false));
        },
    },
    Entry {
        what: "another status than 429",
        uses: |policy, at| answers(policy, at, "answer.status", |answer| answer.status.is_some_and(|it| it != 429)),
    },
    Entry {
        what: "counting attributes",
        uses: |policy, at| {
            if !policy.attributes.is_empty() {
                at("attributes".into());
            }
        },
    },
    Entry {
        what: "the debug header",
        uses: |policy, at| {
            if policy.debug.is_some() {
                at("debug".into());
            }
        },
    },
    Entry {
        what: "the guard of upstream concurrency",
        uses: |policy, at| {
            if policy.guard.mode != GuardMode::Off {
                at("guard.mode".into());
            }
        },
    },
];

/// Adds a finding for each use.
pub(super) fn report(policy: &Policy, found: &mut Findings) {
    for entry in NOT_YET {
        (entry.uses)(policy, &mut |path| {
            let reason = format!("not available yet: {}", entry.what);
            found.add(Code::NOT_YET, path, reason, "leave it out until the filter carries it out");
        });
    }
}

type At<'a> = &'a mut dyn FnMut(String);

fn inherited(policy: &Policy, at: At<'_>, field: &str, document: bool, rule: impl Fn(&Rule) -> bool) {
    if document {
        at(field.into());
    }
    for (index, _) in policy.rules.iter().enumerate().filter(|(_, one)| rule(one)) {
        at(format!("rules[{index}].{field}"));
    }
}

fn answers(policy: &Policy, at: At<'_>, field: &str, uses: fn(&Answer) -> bool) {
    let document = policy.answer.as_ref().is_some_and(uses);
    inherited(policy, at, field, document, |rule| rule.answer.as_ref().is_some_and(uses));
}

fn resources(policy: &Policy, at: At<'_>, uses: fn(&Resource) -> bool, field: &str) {
    for (index, _) in policy.resources.iter().enumerate().filter(|(_, one)| uses(one)) {
        at(format!("resources[{index}].{field}"));
    }
}

fn contracts(policy: &Policy, at: At<'_>, uses: fn(&Contract) -> bool, field: &str) {
    for (index, _) in policy.contracts.iter().enumerate().filter(|(_, one)| uses(one)) {
        at(format!("contracts[{index}].{field}"));
    }
}
