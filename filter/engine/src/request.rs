//! A request's facts to its rule, keys and costs, and a refusal to its answer.

use alloc::vec::Vec;

use forebay_admission::{Charge, Lane, MAX_CHARGES, Wait};

use crate::answer::{Answer, Reason};
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
    Refuse(Answer),
    /// Waits: an effect of a tick lets it go on or answers it.
    Wait {
        /// The tick period from now on, in milliseconds, when it is another one.
        tick_ms: Option<u32>,
    },
}

/// What a request is to the policy.
pub(crate) enum Class<'a> {
    /// Charged by this rule to this row of the keys.
    Limited(&'a Rule, usize),
    /// Under no rule, or charged at a later proxy.
    Unlimited,
    /// Exempt or admitted uncounted; by this rule, or before any was looked for.
    Free(Option<&'a Rule>),
    /// Charged at an earlier proxy.
    Charged,
    /// Refused by this rule for want of a tenant.
    Missing(&'a Rule),
    /// The host does not say who sent it.
    Undecided(&'a Rule),
}

/// `name` becomes the tenant's name where a tenant without contract may have a bucket of its own.
pub(crate) fn classify<'a, H: Host>(
    config: &'a Config,
    keys: &Keys,
    facts: &mut Facts<'_, H>,
    name: &mut Vec<u8>,
) -> Class<'a> {
    name.clear();
    let policy = &config.policy;
    if policy.exempt_path(facts) {
        return Class::Free(None);
    }
    let Some(rule) = policy.rule(facts, &mut Work::default()) else { return Class::Unlimited };
    if rule.charges.is_empty() {
        return Class::Free(Some(rule));
    }
    match turn(rule.enforce_at, config.role, config.charged_token.as_deref(), facts) {
        Turn::Here => {}
        Turn::Earlier => return Class::Charged,
        Turn::Later => return Class::Unlimited,
    }
    let row = |tenant: &[u8]| {
        if keys.own_buckets {
            name.extend_from_slice(tenant);
        }
        keys.row(tenant)
    };
    match policy.identify(rule, facts, row) {
        Identity::Tenant(row) => Class::Limited(rule, row),
        Identity::Others => Class::Limited(rule, 0),
        Identity::Free => Class::Free(Some(rule)),
        Identity::Missing => Class::Missing(rule),
        Identity::Undecided => Class::Undecided(rule),
    }
}

/// The charges of a request of the tenant in `row`; at most one per resource, and a rule has at most [`MAX_CHARGES`].
#[derive(Default)]
pub(crate) struct Charges {
    charges: [Charge; MAX_CHARGES],
    len: usize,
}

impl Charges {
    pub(crate) fn of<H: Host>(rule: &Rule, keys: &Keys, row: usize, facts: &mut Facts<'_, H>) -> Self {
        let mut this = Self::default();
        for (slot, charge) in this.charges.iter_mut().zip(&rule.charges) {
            *slot = Charge { key: keys.key(row, charge.resource), cost: charge.cost.units(facts) };
            this.len += 1;
        }
        this
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Charge] {
        self.charges.get_mut(..self.len).unwrap_or_default()
    }

    pub(crate) fn as_slice(&self) -> &[Charge] {
        self.charges.get(..self.len).unwrap_or_default()
    }
}

/// The reason of an over-limit refusal.
pub(crate) fn reason(wait: Wait) -> Reason<'static> {
    if wait == Wait::Never { Reason::OverBurst } else { Reason::OverLimit }
}
