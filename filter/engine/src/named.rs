//! Counters whose names come from the policy: by rule and lane, by attribute and value.
//!
//! Counted here, by number, and handed to the proxy with the other counts: on the request path it is an addition. The
//! numbers are dense: ten for each rule that has counters of its own and ten for the rest of them, then for each attribute
//! its values and one for all others; how many there are is known when the policy is compiled.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::effect::Effect;
use crate::metric_names::{Counted, LaneLabel, OTHER_VALUES, RULES_WITH_METRICS_MAX, attribute_counter, rule_counter};
use crate::policy::CompiledPolicy;

/// Counters of a rule: requests and units for each lane.
const PER_RULE: usize = 2 * LaneLabel::ALL.len();

/// What was counted since the last hand-over.
#[derive(Debug)]
pub(crate) struct Named {
    counts: Vec<u64>,
    /// Where each attribute's numbers begin.
    attributes: Vec<usize>,
    any: bool,
}

impl Named {
    pub(crate) fn of(policy: &CompiledPolicy) -> Self {
        let mut next = policy.rules().len().min(RULES_WITH_METRICS_MAX + 1) * PER_RULE;
        let mut attributes = Vec::with_capacity(policy.attributes.len());
        for attribute in &policy.attributes {
            attributes.push(next);
            next += attribute.values.len() + 1;
        }
        Self { counts: vec![0; next], attributes, any: false }
    }

    /// A request of this rule, and the units of the rule's first resource that it costs.
    pub(crate) fn request(&mut self, rule: usize, lane: LaneLabel, units: u64) {
        let first = rule.min(RULES_WITH_METRICS_MAX) * PER_RULE + 2 * lane as usize;
        self.add(first, 1);
        self.add(first + 1, units);
    }

    /// A request with the value of this number of an attribute.
    pub(crate) fn value(&mut self, attribute: usize, value: usize) {
        if let Some(first) = self.attributes.get(attribute) {
            self.add(first + value, 1);
        }
    }

    /// What there is to tell the proxy; counting starts from zero.
    pub(crate) fn hand_over(&mut self, effects: &mut Vec<Effect>) {
        if !core::mem::take(&mut self.any) {
            return;
        }
        // 129 rules and 8 attributes of 65 values have 1,810 numbers.
        for (number, count) in (0u16..).zip(&mut self.counts) {
            if *count > 0 {
                effects.push(Effect::CountNamed(number, core::mem::take(count)));
            }
        }
    }

    /// The name of a number that [`Named::hand_over`] gave.
    pub(crate) fn name(&self, number: u16, policy: &CompiledPolicy) -> Option<String> {
        let number = usize::from(number);
        for (attribute, first) in policy.attributes.iter().zip(&self.attributes) {
            if let Some(value) = number.checked_sub(*first).filter(|value| *value <= attribute.values.len()) {
                let value = attribute.values.get(value).map_or(OTHER_VALUES, |value| value);
                return Some(attribute_counter(&attribute.name, value));
            }
        }
        let rule = number / PER_RULE;
        let lane = *LaneLabel::ALL.get(number % PER_RULE / 2)?;
        let counted = if number % 2 == 0 { Counted::Requests } else { Counted::Units };
        Some(rule_counter(rule, &policy.rules().get(rule)?.name, lane, counted))
    }

    fn add(&mut self, number: usize, by: u64) {
        if let Some(count) = self.counts.get_mut(number) {
            *count = count.saturating_add(by);
            self.any = true;
        }
    }
}
