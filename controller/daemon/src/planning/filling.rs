//! How loudly it is said that a provisioned pool has less than its contracts are promised.
//!
//! The intuition: when a controller starts, a pool has nothing until its instances are seen, and a new one until they have
//! started: that is as it should be and worth a line. What has had enough and lost it, or does not get it while instances
//! could have come twice over, is what an operator is to look at.

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_plan::Finding;

use crate::config::Config;

/// Until when instances may be on their way after a start, in lead times as they are configured, and at least; real time.
const LEADS: f64 = 2.0;
const AT_LEAST: Duration = Duration::from_secs(30);

/// What is known of it since the start.
#[derive(Debug)]
pub(super) struct Filling {
    /// Provisioned pools that never had enough yet.
    waited_for: BTreeSet<String>,
    /// For how long they are waited for, from the first look on.
    patience: Duration,
    began: Option<Duration>,
}

impl Filling {
    pub(super) fn of(config: &Config) -> Self {
        let capacity = || config.capacity.iter();
        let lead_s = capacity().flat_map(|capacity| &capacity.pools).map(|offer| offer.pool.lead_s).fold(0.0, f64::max);
        let patience = Duration::try_from_secs_f64(LEADS * lead_s).unwrap_or(AT_LEAST).max(AT_LEAST);
        let services = capacity().flat_map(|capacity| &capacity.services).map(|one| one.service.name.clone());
        Self { waited_for: services.collect(), patience, began: None }
    }

    /// Takes in what stands against a plan at a steady time; returns what of it is expected for now. What has passed its time
    /// is not expected any more from then on.
    pub(super) fn expected<'a>(&mut self, findings: &'a [Finding], now: Duration) -> Vec<&'a Finding> {
        let began = *self.began.get_or_insert(now);
        if now.saturating_sub(began) > self.patience {
            self.waited_for.clear();
        }
        self.waited_for.retain(|pool| findings.iter().any(|finding| lacks(finding) == Some(pool)));
        findings.iter().filter(|finding| lacks(finding).is_some_and(|pool| self.waited_for.contains(pool))).collect()
    }
}

/// The pool that a finding says has too little.
fn lacks(finding: &Finding) -> Option<&String> {
    match finding {
        Finding::StandardsExceedPool { pool, .. } => Some(pool),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn short(pool: &str, ready_milli_per_s: u64) -> Finding {
        Finding::StandardsExceedPool { pool: pool.to_owned(), standards_milli_per_s: 10_000, ready_milli_per_s }
    }

    fn filling() -> Filling {
        let text = "
pools: [ { name: declared, capacity_per_s: 1 } ]
capacity:
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools: [ { name: near, location: here, max_instances: 12, lead_s: 100 } ]
  services:
    - { name: web, need_per_unit: { cpu: 0.1 }, shortage_per_unit_h: 10 }
    - { name: feed, need_per_unit: { cpu: 0.1 }, shortage_per_unit_h: 10 }
";
        Filling::of(&Config::parse(Path::new("forebay.yaml"), text).unwrap())
    }

    #[test]
    fn a_pool_that_fills_after_a_start_is_expected_and_one_that_stays_empty_is_not() {
        let mut filling = filling();
        let at = Duration::from_secs;
        let both = [short("web", 0), short("feed", 0)];
        assert_eq!(filling.expected(&both, at(50)).len(), 2);
        assert_eq!(filling.expected(&[short("web", 5_000), short("feed", 0)], at(150)).len(), 2, "it fills");
        assert_eq!(filling.expected(&both[1..], at(160)), [&both[1]], "one has enough");
        assert_eq!(filling.expected(&both, at(170)), [&both[1]], "and what it loses then is no start");
        assert_eq!(filling.expected(&both, at(251)), Vec::<&Finding>::new(), "twice its lead time has passed");
        assert_eq!(filling.expected(&both, at(252)), Vec::<&Finding>::new());
    }

    #[test]
    fn what_is_declared_has_nothing_to_wait_for() {
        let declared = [short("declared", 1_000)];
        assert_eq!(filling().expected(&declared, Duration::ZERO), Vec::<&Finding>::new());
    }
}
