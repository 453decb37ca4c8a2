//! What the document can say and the running filter does not carry out yet. This is the only list of it: an entry is
//! deleted when the behaviour is there.
//!
//! A document that uses an entry is refused ([`Code::NOT_YET`]), because a setting that is silently ignored is a limit
//! that is not there.

use alloc::format;
use alloc::string::String;

use super::check::Findings;
use super::{Code, Contract, GuardMode, Policy, Resource};

/// A setting, and the places where a document uses it.
pub struct Entry {
    /// What it would do.
    pub what: &'static str,
    uses: fn(&Policy, &mut dyn FnMut(String)),
}

/// The list.
pub const NOT_YET: &[Entry] = &[
    Entry {
        what: "shadow settings of the policy (the controller's contracts have them)",
        uses: |policy, at| {
            resources(policy, at, |resource| resource.shadow.is_some(), "shadow");
            contracts(policy, at, |contract| contract.shadow.is_some(), "shadow");
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
