//! Instances that should have been ready long ago, and what is done about them.
//!
//! A start that hangs costs as much as one that goes well, and nobody but the controller need notice: a manager keeps the
//! number that it was told. Counting such an instance on would leave the service short, replacing it where it was started would
//! pay for another one that hangs. So, by how many lead times of its pool have passed since it was asked for:
//!
//! 1. After [`LEADS_UNTIL_LATE`] it is not counted on any more. Unless the pool has delivered something that was asked for
//!    later, which makes it one bad start among good ones, the pool is done without like one that refuses: others make up
//!    for it, and no more are started beside those that hang. It may still come.
//! 2. After [`LEADS_UNTIL_GIVEN_UP`] it is given up: it counts as told to go, so the next order is smaller by it. Managers let go
//!    first of what is not ready. The pool is then tried again when its refusal is over.
//!
//! Times are the controller's own ([`super::spending::Spending::on_own_clock`]): a receiver whose clock is off by as much as
//! signatures allow would otherwise have every start count as late at once, and be asked for more and more.

use std::collections::BTreeMap;

use forebay_plan::capacity::{Instance, InstanceState};

/// An instance that is on its way for so many lead times is not counted on any more.
const LEADS_UNTIL_LATE: f64 = 3.0;
/// And at least so long.
const SHORTEST_UNTIL_LATE_MS: f64 = 10_000.0;
/// Nor waited for any more after so many: learned lead times follow starts that take long, a tenfold one is none of these.
const LEADS_UNTIL_GIVEN_UP: f64 = 10.0;
/// And at least so long: a machine that boots slowly once is not worth starting twice.
const SHORTEST_UNTIL_GIVEN_UP_MS: f64 = 60_000.0;

/// Marks what is late and what is given up among `instances`; returns the pools that are done without for it, each with how
/// many it owes. `lead_s` is a pool's lead time, real seconds.
pub(super) fn mark(instances: &mut [Instance], lead_s: impl Fn(&str) -> f64, now_ms: u64) -> BTreeMap<String, usize> {
    // The newest asking that was answered, by pool.
    let mut delivered_ms: BTreeMap<String, u64> = BTreeMap::new();
    for one in instances.iter().filter(|one| one.ready_ms.is_some()) {
        let newest = delivered_ms.entry(one.group.pool.clone()).or_default();
        *newest = one.requested_ms.max(*newest);
    }
    let mut owing: BTreeMap<String, usize> = BTreeMap::new();
    for one in instances.iter_mut().filter(|one| one.state < InstanceState::Ready) {
        let (waited_ms, lead_ms) = (now_ms.saturating_sub(one.requested_ms) as f64, 1000.0 * lead_s(&one.group.pool));
        if waited_ms <= (LEADS_UNTIL_LATE * lead_ms).max(SHORTEST_UNTIL_LATE_MS) {
            continue;
        }
        one.is_interrupted = true;
        if delivered_ms.get(&one.group.pool).is_none_or(|delivered_ms| *delivered_ms <= one.requested_ms) {
            *owing.entry(one.group.pool.clone()).or_default() += 1;
        }
        if waited_ms > (LEADS_UNTIL_GIVEN_UP * lead_ms).max(SHORTEST_UNTIL_GIVEN_UP_MS) {
            one.state = InstanceState::Draining;
        }
    }
    owing
}

#[cfg(test)]
pub(super) mod tests {
    use forebay_plan::capacity::Group;

    use super::*;

    /// Asked for and ready at these seconds; starting where it is not ready.
    pub(in crate::capacity) fn instance(requested_s: u64, ready_s: Option<u64>) -> Instance {
        Instance {
            id: requested_s.to_string(),
            group: Group { service: "s".to_owned(), pool: "p".to_owned(), shape: "Small".to_owned() },
            state: if ready_s.is_some() { InstanceState::Ready } else { InstanceState::Starting },
            requested_ms: 1000 * requested_s,
            ready_ms: ready_s.map(|ready_s| 1000 * ready_s),
            address: None,
            is_interrupted: false,
        }
    }

    /// With a lead time of 20 s: pools that owe, and of every instance whether it is counted on, and its state.
    fn marked(instances: &[Instance], now_s: u64) -> (usize, Vec<(bool, InstanceState)>) {
        let mut instances = instances.to_vec();
        let owing = mark(&mut instances, |_| 20.0, 1000 * now_s);
        let seen = instances.iter().map(|one| (!one.is_interrupted, one.state)).collect();
        (owing.values().sum(), seen)
    }

    #[test]
    fn what_does_not_come_is_first_done_without_and_then_given_up() {
        let (starting, draining) = (InstanceState::Starting, InstanceState::Draining);
        let two = [instance(100, None), instance(100, None)];
        assert_eq!(marked(&two, 160), (0, vec![(true, starting); 2]));
        assert_eq!(marked(&two, 161), (2, vec![(false, starting); 2]));
        assert_eq!(marked(&two, 300), (2, vec![(false, starting); 2]));
        assert_eq!(marked(&two, 301), (2, vec![(false, draining); 2]));
        assert_eq!(marked(&two, 90), (0, vec![(true, starting); 2]), "asked for later than now");
    }

    #[test]
    fn one_bad_start_among_good_ones_is_no_fault_of_its_pool() {
        let ready = (true, InstanceState::Ready);
        let late = (false, InstanceState::Starting);
        assert_eq!(marked(&[instance(100, None), instance(101, Some(110))], 161), (0, vec![late, ready]));
        assert_eq!(marked(&[instance(100, None), instance(99, Some(110))], 161), (1, vec![late, ready]), "older");
    }
}
