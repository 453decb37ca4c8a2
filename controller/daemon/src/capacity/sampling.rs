//! Demand of this moment, for services that scale by it and look seldom: an autoscaler that runs every 15 s does not see what
//! comes in between. What it saw last stands until it looks again. Services that look in every turn are not touched.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::capacity::ServiceSettings;

/// What was seen last, by service.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    /// Steady time of the look, and units per second.
    seen: BTreeMap<String, (Duration, f64)>,
}

impl Samples {
    /// Looks where it is time to, at `now` of the steady clock.
    pub(super) fn look(&mut self, services: &[ServiceSettings], per_s: &BTreeMap<String, f64>, now: Duration) {
        for one in services.iter().filter(|one| !one.look_every.is_zero()) {
            let name = &one.service.name;
            let is_due = self.seen.get(name).is_none_or(|(at, _)| now.saturating_sub(*at) >= one.look_every);
            if is_due {
                self.seen.insert(name.clone(), (now, per_s.get(name).copied().unwrap_or(0.0)));
            }
        }
    }

    /// What services go by, of what is there now.
    pub(super) fn held(&self, mut per_s: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        per_s.extend(self.seen.iter().map(|(name, (_, seen_per_s))| (name.clone(), *seen_per_s)));
        per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn who_looks_seldom_goes_by_what_was_there_then() {
        let text = "
step_s: 60
contracts: [ { tenant: acme, resource: requests, rate_per_s: 20, pool: seldom } ]
capacity:
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools: [ { name: here, location: here, max_instances: 9, lead_s: 30 } ]
  services:
    - { name: seldom, need_per_unit: { cpu: 1 }, shortage_per_unit_h: 1, scaling: { reactive: { target: 0.7, every_s: 15 } } }
    - { name: always, need_per_unit: { cpu: 1 }, shortage_per_unit_h: 1, scaling: { reactive: { target: 0.7 } } }
";
        let config = Config::parse(std::path::Path::new("forebay.yaml"), text).unwrap();
        let services = config.capacity.unwrap().services;
        let mut samples = Samples::default();
        let mut at = |s: u64, per_s: f64| {
            let now: BTreeMap<String, f64> = ["seldom", "always"].map(|name| (name.to_owned(), per_s)).into();
            samples.look(&services, &now, Duration::from_secs(s));
            let held = samples.held(now);
            (held["seldom"], held["always"])
        };
        assert_eq!(at(0, 5.0), (5.0, 5.0));
        assert_eq!(at(14, 80.0), (5.0, 80.0), "the burst is not seen yet");
        assert_eq!(at(15, 80.0), (80.0, 80.0));
        assert_eq!(at(29, 5.0), (80.0, 5.0));
    }
}
