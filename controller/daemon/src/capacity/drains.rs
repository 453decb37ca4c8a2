//! Since when instances are draining, and so how long they are still paid for at most.
//!
//! A manager says that an instance drains, not since when. It is counted from the moment that this was first seen, which is
//! too late rather than too early: a budget is told more than will be spent, never less. After a restart all begin anew.
//!
//! A drain that is over and whose instance is still there is expected to last until the next turn, each time again: what it
//! costs cannot be known, and a budget must not believe that it costs nothing.

use std::collections::BTreeMap;

use forebay_plan::capacity::{Instance, InstanceState};

use super::spending::Instant;
use crate::config::capacity::CapacitySettings;

/// The draining instances, each with when that was first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Drains {
    /// By id, wall unix milliseconds.
    since_ms: BTreeMap<String, u64>,
}

impl Drains {
    /// Takes in what there is; who does not drain, or not any more, is forgotten.
    pub(super) fn look(&mut self, instances: &[Instance], wall_ms: u64) {
        let draining = instances.iter().filter(|one| one.state == InstanceState::Draining);
        let since = |one: &Instance| self.since_ms.get(&one.id).copied().unwrap_or(wall_ms);
        self.since_ms = draining.map(|one| (one.id.clone(), since(one))).collect();
    }

    /// Milliseconds of the calendar that a draining instance is still paid for at most; `None` for one that was not seen
    /// draining, or whose service or pool is not configured.
    pub(super) fn left_ms(&self, settings: &CapacitySettings, one: &Instance, now: Instant) -> Option<u64> {
        let service = settings.services.iter().find(|of| of.service.name == one.group.service)?;
        let offer = settings.pools.iter().find(|of| of.pool.name == one.group.pool)?;
        // The casts saturate.
        let milliseconds = |seconds: f64| (1_000.0 * seconds).ceil() as u64;
        let drained_ms = self.since_ms.get(&one.id)?.saturating_add(milliseconds(service.service.drain_s));
        let billed_ms = one.requested_ms.saturating_add(milliseconds(offer.billing_min_s));
        let left_ms = match drained_ms.max(billed_ms).saturating_sub(now.wall_ms) {
            0 => settings.decide_every.as_millis() as u64,
            left_ms => left_ms,
        };
        Some((left_ms as f64 * now.speed).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use forebay_plan::capacity::Group;

    use super::*;
    use crate::config::Config;

    const CONFIG: &str = "
step_s: 60
contracts: [ { tenant: acme, resource: requests, rate_per_s: 20, pool: shop } ]
capacity:
  decide_every_s: 5
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools:
    - { name: plain, location: here, max_instances: 9, lead_s: 30 }
    - { name: billed, location: here, max_instances: 9, lead_s: 30, billing_min_s: 60 }
  services: [ { name: shop, need_per_unit: { cpu: 1 }, shortage_per_unit_h: 1, drain_s: 20 } ]
";

    fn settings() -> CapacitySettings {
        Config::parse(std::path::Path::new("forebay.yaml"), CONFIG).unwrap().capacity.unwrap()
    }

    fn at(wall_s: u64) -> Instant {
        Instant { wall_ms: 1_000 * wall_s, calendar_s: wall_s as f64, speed: 1.0 }
    }

    fn instance(id: &str, pool: &str, state: InstanceState) -> Instance {
        let group = Group { service: "shop".into(), pool: pool.into(), shape: "Small".into() };
        let (requested_ms, ready_ms) = (1_000_000, None);
        Instance { id: id.into(), group, state, requested_ms, ready_ms, address: None, is_interrupted: false }
    }

    #[test]
    fn a_drain_is_counted_down_from_when_it_was_first_seen() {
        let (settings, mut drains) = (settings(), Drains::default());
        let one = instance("a", "plain", InstanceState::Draining);
        drains.look(&[instance("a", "plain", InstanceState::Ready)], at(1_000).wall_ms);
        assert_eq!(drains.left_ms(&settings, &one, at(1_000)), None, "it serves");
        drains.look(std::slice::from_ref(&one), at(1_005).wall_ms);
        assert_eq!(drains.left_ms(&settings, &one, at(1_005)), Some(20_000));
        drains.look(std::slice::from_ref(&one), at(1_012).wall_ms);
        assert_eq!(drains.left_ms(&settings, &one, at(1_012)), Some(13_000));
        assert_eq!(drains.left_ms(&settings, &one, Instant { speed: 10.0, ..at(1_012) }), Some(130_000));
        assert_eq!(drains.left_ms(&settings, &one, at(1_100)), Some(5_000), "it should be gone, and is not");
        drains.look(&[], at(1_105).wall_ms);
        assert_eq!(drains, Drains::default(), "what is gone is forgotten");
    }

    #[test]
    fn what_a_pool_bills_at_least_is_left_too() {
        let (settings, mut drains) = (settings(), Drains::default());
        let one = instance("a", "billed", InstanceState::Draining);
        drains.look(std::slice::from_ref(&one), at(1_005).wall_ms);
        assert_eq!(drains.left_ms(&settings, &one, at(1_005)), Some(55_000), "60 s from when it was asked for");
    }
}
