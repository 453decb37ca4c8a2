//! Names of the counters per rule and lane, in a grammar that a proxy's tag rules can take apart.
//!
//! ```text
//! name  = "forebay.rule." rule ".lane." lane "." what
//! rule  = 1 to 64 of  a-z 0-9 _ -
//!       / "forebay.attribute." rule ".value." rule ".requests"
//!       / "forebay.guard.cluster." rule ".limit"
//! lane  = "reserved" | "standard" | "borrowed" | "refused" | "exempt"
//! what  = "requests" | "units"
//! ```
//!
//! Envoy puts `wasmcustom.` before it; the shipped `stats_tags` cut rule and lane out, so that Prometheus sees
//! `forebay_rule_requests{forebay_rule="..", forebay_lane=".."}`. What stands at the end is a word of its own, not that of
//! the counters without rule (`forebay.requests.<lane>`), so that a sum over labels counts nothing twice.
//!
//! Invariant: the number of names is bounded by [`RULES_WITH_METRICS_MAX`], never by traffic: rules beyond it share
//! [`OTHER_RULES`], values that the policy does not name share [`OTHER_VALUES`] (8 attributes of 64 values and that one
//! make 520), clusters beyond [`MAX_CLUSTERS`](crate::guard::MAX_CLUSTERS) have none. A proxy never frees a metric, and each costs it memory in every worker.

use alloc::string::String;

/// Rules of a policy that have counters of their own: with 5 lanes and 2 counters each at most 1,280 metrics per proxy,
/// and 10 more for the rest.
pub const RULES_WITH_METRICS_MAX: usize = 128;

/// The rule's name in the counters of all rules beyond [`RULES_WITH_METRICS_MAX`].
pub const OTHER_RULES: &str = "other-rules";

/// The value in the counters of all values that a policy does not tell apart.
pub const OTHER_VALUES: &str = "other";

/// The longest rule name in a metric, in bytes; the rest is cut off.
pub const RULE_NAME_MAX_BYTES: usize = 64;

/// What became of a request, as a metric's label: the lane it was admitted from, or that it was not charged or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LaneLabel {
    Reserved,
    Standard,
    Borrowed,
    Refused,
    Exempt,
}

impl LaneLabel {
    /// Every label.
    pub const ALL: [Self; 5] = [Self::Reserved, Self::Standard, Self::Borrowed, Self::Refused, Self::Exempt];

    /// The label in a name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Standard => "standard",
            Self::Borrowed => "borrowed",
            Self::Refused => "refused",
            Self::Exempt => "exempt",
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Requests.
    Requests,
    /// Units of the rule's resource that they cost.
    Units,
}

/// The counter's name for the rule that stands at `index` in its policy.
pub fn rule_counter(index: usize, rule: &str, lane: LaneLabel, counted: Counted) -> String {
    let what = match counted {
        Counted::Requests => "requests",
        Counted::Units => "units",
    };
    let rule = if index < RULES_WITH_METRICS_MAX { label(rule) } else { OTHER_RULES.into() };
    let mut name = String::from("forebay.rule.");
    for part in [rule.as_str(), ".lane.", lane.name(), ".", what] {
        name.push_str(part);
    }
    name
}

/// The counter's name for one value of an attribute, or with [`OTHER_VALUES`] for all others.
pub fn attribute_counter(attribute: &str, value: &str) -> String {
    let mut name = String::from("forebay.attribute.");
    name.push_str(&label(attribute));
    name.push_str(".value.");
    name.push_str(&label(value));
    name.push_str(".requests");
    name
}

/// The name of the gauge of a guarded cluster's limit.
pub fn cluster_gauge(cluster: &str) -> String {
    let mut name = String::from("forebay.guard.cluster.");
    name.push_str(&label(cluster));
    name.push_str(".limit");
    name
}

/// A rule's name in the grammar: capitals become small, every other byte that it does not have becomes `_`. Two rules
/// that become the same share their counters.
fn label(rule: &str) -> String {
    let label: String = rule
        .bytes()
        .take(RULE_NAME_MAX_BYTES)
        .map(|byte| match byte.to_ascii_lowercase() {
            byte @ (b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') => char::from(byte),
            _ => '_',
        })
        .collect();
    if label.is_empty() { "_".into() } else { label }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    #[test]
    fn names_keep_to_the_grammar_whatever_a_rule_is_called() {
        let name = |rule: &str| rule_counter(0, rule, LaneLabel::Reserved, Counted::Requests);
        assert_eq!(name("api-v1"), "forebay.rule.api-v1.lane.reserved.requests");
        assert_eq!(name("Big Uploads.eu"), "forebay.rule.big_uploads_eu.lane.reserved.requests");
        assert_eq!(name(""), "forebay.rule._.lane.reserved.requests");
        assert_eq!(name("é"), "forebay.rule.__.lane.reserved.requests");
        let long = name(&"x".repeat(1_000));
        assert_eq!(long.len(), "forebay.rule..lane.reserved.requests".len() + RULE_NAME_MAX_BYTES);
        assert_eq!(
            rule_counter(RULES_WITH_METRICS_MAX - 1, "last", LaneLabel::Refused, Counted::Units),
            "forebay.rule.last.lane.refused.units"
        );
    }

    #[test]
    fn the_number_of_names_does_not_grow_with_the_rules() {
        let mut names = Vec::new();
        for index in 0..10_000 {
            for lane in LaneLabel::ALL {
                for counted in [Counted::Requests, Counted::Units] {
                    names.push(rule_counter(index, &format!("rule-{index}"), lane, counted));
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), (RULES_WITH_METRICS_MAX + 1) * 10);
    }
}
