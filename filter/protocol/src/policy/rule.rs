//! A rule, and the settings that it shares with the document.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Answer, Cost, Match, Policy, Queue, Source, Unidentified};

/// Which requests are charged to what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// A name for metrics and logs. Default: the rule's number, `rule-0` for the first.
    pub name: Option<String>,
    /// Which requests; every one when nothing is said.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What they are charged to, all or nothing; at most 8. Without the field, one unit of the only resource; an empty
    /// list leaves them unlimited.
    pub charges: Option<Vec<Charge>>,
    /// `true` counts and tags, but refuses nothing.
    pub dry_run: bool,
    /// `true`: who sends such requests means harm, as a scanner's user agent or a path that nothing links to tells. They
    /// are limited and refused as any, never wait, and are counted apart: no forecast takes them for demand.
    pub hostile: bool,
    /// Instead of the document's.
    pub identity: Option<Vec<Source>>,
    /// Instead of the document's.
    pub unidentified: Option<Unidentified>,
    /// Instead of the document's.
    pub enforce_at: Option<EnforceAt>,
    /// Instead of the document's.
    pub on_failure: Option<OnFailure>,
    /// Instead of the document's.
    pub priority_class: Option<u8>,
    /// Instead of the document's; with `max_wait_ms: 0` these requests do not wait.
    pub queue: Option<Queue>,
    /// Instead of the document's, as a whole.
    pub answer: Option<Answer>,
}

/// A resource that a request takes from, and how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// The resource.
    pub resource: String,
    /// Units. Default: 1.
    #[serde(default)]
    pub cost: Cost,
}

/// At which of several proxies on a request's way it is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EnforceAt {
    /// The first that has this filter. Later ones know by the marker that proxies of one chain share a token for.
    #[default]
    First,
    /// Where traffic comes into the mesh.
    Gateway,
    /// The caller's sidecar.
    Outbound,
    /// The callee's sidecar.
    Inbound,
}

/// What becomes of a request that cannot be decided: shared data that fails or stays contended, an identity that the
/// host does not give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It passes.
    Open,
    /// It is refused.
    #[default]
    Closed,
}

/// What holds for a rule when everything is inherited.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the tenant is read from.
    pub identity: Vec<Source>,
    /// Without a tenant.
    pub unidentified: Unidentified,
    /// Which proxy charges.
    pub enforce_at: EnforceAt,
    /// When it cannot be decided.
    pub on_failure: OnFailure,
    /// 0 (first) to 7. Default: 3.
    pub priority_class: u8,
    /// `None`: requests do not wait.
    pub queue: Option<Queue>,
    /// What a refused client is told.
    pub answer: Answer,
    /// Refuses nothing.
    pub dry_run: bool,
    /// No demand.
    pub hostile: bool,
}

impl Policy {
    /// The settings of `rule`, a rule of this document or the default one.
    pub fn settings(&self, rule: &Rule) -> Settings {
        let identity = rule.identity.as_ref().or(self.identity.as_ref());
        Settings {
            identity: identity.cloned().unwrap_or_else(|| alloc::vec![Source::Header("x-tenant".into())]),
            unidentified: rule.unidentified.or(self.unidentified).unwrap_or_default(),
            enforce_at: rule.enforce_at.or(self.enforce_at).unwrap_or_default(),
            on_failure: rule.on_failure.or(self.on_failure).unwrap_or_default(),
            priority_class: rule.priority_class.or(self.priority_class).unwrap_or(3),
            queue: rule
                .queue
                .clone()
                .or_else(|| self.queue.clone())
                .filter(|queue| queue.max_wait_ms > 0 && !rule.hostile),
            answer: rule.answer.clone().or_else(|| self.answer.clone()).unwrap_or_default(),
            dry_run: rule.dry_run || self.dry_run,
            hostile: rule.hostile,
        }
    }

    /// The rules in force: the document's, or the one that stands for none.
    pub fn rules_in_force(&self) -> Vec<Rule> {
        if self.rules.is_empty() { alloc::vec![Rule::default()] } else { self.rules.clone() }
    }

    /// The charges of `rule`, the default one included.
    pub fn charges(&self, rule: &Rule) -> Vec<Charge> {
        let only = || self.resources.iter().take(1).map(|only| Charge { resource: only.name.clone(), cost: Cost::ONE });
        rule.charges.clone().unwrap_or_else(|| only().collect())
    }
}
