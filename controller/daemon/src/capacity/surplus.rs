//! Instances that nobody asked for: what is there beyond what was ordered lately.
//!
//! What is there is planned with: what serves is kept until others do, and for its dwell. A manager that makes more than it is
//! told would so be told the larger number next, make more again, and what it does by mistake would grow from turn to turn. So
//! a group counts for no more than the most that was ordered of it lately; the rest counts as told to go, which the next order
//! says. Lately, because a manager takes its time to let go, and until it has what goes may be wanted again.
//!
//! What was there before this controller ordered anything, or while another one did, was asked for by somebody, and so was a
//! group that nothing was ever ordered of, as it is first seen.
//!
//! It deliberately does not say which instances go: managers choose, and endpoints follow what they choose.

use std::collections::BTreeMap;

use forebay_plan::capacity::{Fleet, Group, Target};

/// How long an order is held against what is there, real milliseconds: longer than instances take to drain.
const LATELY_MS: u64 = 600_000;

/// The most that was ordered of a group lately, and when that was last so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Most {
    count: u32,
    at_ms: u64,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Surplus {
    by_group: BTreeMap<Group, Most>,
}

impl Surplus {
    /// What is there was asked for by somebody: all of it where orders are not this controller's, or it has given none.
    pub(super) fn look(&mut self, fleet: &BTreeMap<Group, Fleet>, is_ordered: bool, now_ms: u64) {
        if !is_ordered {
            self.by_group.clear();
        }
        for (group, of) in fleet {
            self.by_group.entry(group.clone()).or_insert(Most { count: of.wanted(), at_ms: now_ms });
        }
    }

    /// An order is said.
    pub(super) fn note(&mut self, targets: &[Target], now_ms: u64) {
        let counts: BTreeMap<&Group, u32> = targets.iter().map(|target| (&target.group, target.count)).collect();
        for group in counts.keys() {
            self.by_group.entry((*group).clone()).or_insert(Most { count: 0, at_ms: now_ms });
        }
        for (group, most) in &mut self.by_group {
            let count = counts.get(group).copied().unwrap_or(0);
            if count >= most.count || now_ms.saturating_sub(most.at_ms) > LATELY_MS {
                *most = Most { count, at_ms: now_ms };
            }
        }
    }

    /// Counts what nobody asked for as draining, what is not ready first. How long it is still paid for nobody knows yet.
    pub(super) fn take_out(&self, fleet: &mut BTreeMap<Group, Fleet>) {
        for (group, of) in fleet {
            let Some(most) = self.by_group.get(group) else { continue };
            for _ in most.count..of.wanted() {
                let from = [&mut of.coming, &mut of.doomed, &mut of.ready].into_iter().find(|count| **count > 0);
                let Some(from) = from else { break };
                *from -= 1;
                of.draining += 1;
                of.draining_left_ms = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(shape: &str) -> Group {
        Group { service: "s".to_owned(), pool: "p".to_owned(), shape: shape.to_owned() }
    }

    fn fleet(coming: u32, ready: u32) -> BTreeMap<Group, Fleet> {
        BTreeMap::from([(group("Small"), Fleet { coming, ready, ..Fleet::default() })])
    }

    fn order(count: u32) -> [Target; 1] {
        [Target { group: group("Small"), count }]
    }

    /// Coming, ready and draining of what is left.
    fn left(surplus: &Surplus, mut fleet: BTreeMap<Group, Fleet>) -> (u32, u32, u32) {
        surplus.take_out(&mut fleet);
        let of = fleet[&group("Small")];
        (of.coming, of.ready, of.draining)
    }

    #[test]
    fn what_nobody_asked_for_goes_first_what_is_not_ready() {
        let mut surplus = Surplus::default();
        surplus.look(&BTreeMap::new(), false, 0);
        surplus.note(&order(4), 0);
        surplus.look(&fleet(2, 4), true, 1000);
        assert_eq!(left(&surplus, fleet(1, 3)), (1, 3, 0));
        assert_eq!(left(&surplus, fleet(3, 3)), (1, 3, 2));
        assert_eq!(left(&surplus, fleet(2, 6)), (0, 4, 4));
    }

    #[test]
    fn what_goes_may_be_wanted_again_for_a_while() {
        let mut surplus = Surplus::default();
        surplus.note(&order(8), 0);
        surplus.note(&order(2), 1000);
        assert_eq!(left(&surplus, fleet(0, 8)), (0, 8, 0));
        surplus.note(&order(2), LATELY_MS);
        assert_eq!(left(&surplus, fleet(0, 8)), (0, 8, 0));
        surplus.note(&order(2), LATELY_MS + 1);
        assert_eq!(left(&surplus, fleet(0, 8)), (0, 2, 6));
        surplus.note(&[], 2 * LATELY_MS + 2);
        assert_eq!(left(&surplus, fleet(0, 8)), (0, 0, 8), "an order that leaves it out wants none");
    }

    #[test]
    fn what_others_asked_for_is_not_in_question() {
        let mut surplus = Surplus::default();
        surplus.look(&fleet(0, 5), false, 0);
        assert_eq!(left(&surplus, fleet(0, 5)), (0, 5, 0));
        surplus.look(&fleet(0, 9), false, 1000);
        assert_eq!(left(&surplus, fleet(0, 9)), (0, 9, 0), "another controller's");
        surplus.note(&order(9), 1000);
        assert_eq!(left(&surplus, fleet(0, 10)), (0, 9, 1));
    }
}
