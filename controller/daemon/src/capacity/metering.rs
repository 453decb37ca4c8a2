//! What instances did and used over a while: demand that was served, put beside the processor time and memory it took.
//!
//! The intuition: single looks are noise (demand of a second, processor time of another), so both are added up over
//! [`PERIOD_MS`] and told as one [`Reading`] per group. What each instance served nobody counts; demand goes by the weights
//! that endpoints have where proxies are told endpoints, and evenly where they are not, so a service's admitted units are
//! shared out in that way. Instances that have been ready for less than [`SETTLED_MS`] take their share and are not
//! measured: their start is in their processor time.
//!
//! A gap between two looks, as after an outage of the manager, begins the period anew: nobody knows what was there.

use std::collections::BTreeMap;

use forebay_plan::capacity::{Group, Instance, InstanceState};
use forebay_provision::InstanceUsage;

/// Long enough that what was served and what it used are of the same time, though both are told late; a week has 2,016.
pub(super) const PERIOD_MS: u64 = 300_000;
/// Time after which an instance works as it will.
const SETTLED_MS: u64 = 60_000;
/// Longest time between two looks that is taken for one stretch, or twice the time between decisions if that is longer.
const MAX_GAP_MS: u64 = 60_000;

/// What there is at a moment.
pub(super) struct Look<'a> {
    pub(super) instances: &'a [Instance],
    pub(super) usage: &'a [InstanceUsage],
    /// Units admitted since some fixed moment, by service.
    pub(super) admitted_units: BTreeMap<String, f64>,
    /// In proportion to what demand goes to an instance of a group.
    pub(super) weight: &'a dyn Fn(&Group) -> f64,
    pub(super) decide_every_ms: u64,
    pub(super) now_ms: u64,
}

/// What one instance of a group did on average in a period.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) group: Group,
    /// Units per second that it served.
    pub(super) served_per_s: f64,
    /// Thousandths of a core in use.
    pub(super) cpu_milli: f64,
    /// Memory in use at the highest look, in MiB.
    pub(super) memory_mib: f64,
    /// Instances that were measured, on average.
    pub(super) instances: f64,
}

/// A period that is under way.
#[derive(Debug, Default)]
pub(super) struct Meter {
    began_ms: u64,
    /// `None` before the first look.
    looked_ms: Option<u64>,
    admitted_units: BTreeMap<String, f64>,
    groups: BTreeMap<Group, Sums>,
}

/// Of a group's measured instances; times are milliseconds.
#[derive(Debug, Default)]
struct Sums {
    instance_ms: f64,
    cpu_milli_ms: f64,
    /// Share of the service's demand times time.
    share_ms: f64,
    memory_mib: f64,
}

impl Meter {
    /// Takes in a look; tells the period's readings at its end.
    pub(super) fn look(&mut self, look: &Look<'_>) -> Vec<Reading> {
        let passed_ms = self.looked_ms.map(|looked_ms| look.now_ms.saturating_sub(looked_ms));
        self.looked_ms = Some(look.now_ms);
        let max_gap_ms = MAX_GAP_MS.max(2 * look.decide_every_ms);
        let Some(passed_ms) = passed_ms.filter(|passed_ms| *passed_ms <= max_gap_ms) else {
            self.begin(look);
            return Vec::new();
        };
        self.add(look, passed_ms as f64);
        let length_ms = look.now_ms.saturating_sub(self.began_ms);
        if length_ms < PERIOD_MS {
            return Vec::new();
        }
        let readings = self.readings(look, length_ms as f64);
        self.begin(look);
        readings
    }

    fn begin(&mut self, look: &Look<'_>) {
        self.began_ms = look.now_ms;
        self.admitted_units.clone_from(&look.admitted_units);
        self.groups.clear();
    }

    fn add(&mut self, look: &Look<'_>, passed_ms: f64) {
        let serving = || look.instances.iter().filter(|one| one.state == InstanceState::Ready);
        let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
        for one in serving() {
            *weights.entry(&one.group.service).or_insert(0.0) += (look.weight)(&one.group);
        }
        let used: BTreeMap<&str, &InstanceUsage> = look.usage.iter().map(|used| (used.id.as_str(), used)).collect();
        for one in serving() {
            let is_settled = one.ready_ms.is_some_and(|ready_ms| look.now_ms.saturating_sub(ready_ms) >= SETTLED_MS);
            let all = weights.get(one.group.service.as_str()).copied().unwrap_or(0.0);
            let Some(used) = used.get(one.id.as_str()).filter(|used| is_settled && all > 0.0 && is_sound(used)) else {
                continue;
            };
            let sums = self.groups.entry(one.group.clone()).or_default();
            sums.instance_ms += passed_ms;
            sums.cpu_milli_ms += used.cpu_milli * passed_ms;
            sums.share_ms += passed_ms * (look.weight)(&one.group) / all;
            sums.memory_mib = sums.memory_mib.max(used.memory_mib);
        }
    }

    fn readings(&self, look: &Look<'_>, length_ms: f64) -> Vec<Reading> {
        let admitted_per_s = |service: &str| {
            let units = |of: &BTreeMap<String, f64>| of.get(service).copied().unwrap_or(0.0);
            (units(&look.admitted_units) - units(&self.admitted_units)).max(0.0) * 1000.0 / length_ms
        };
        let measured = self.groups.iter().filter(|(_, sums)| sums.instance_ms > 0.0);
        let reading = |(group, sums): (&Group, &Sums)| Reading {
            group: group.clone(),
            served_per_s: admitted_per_s(&group.service) * sums.share_ms / sums.instance_ms,
            cpu_milli: sums.cpu_milli_ms / sums.instance_ms,
            memory_mib: sums.memory_mib,
            instances: sums.instance_ms / length_ms,
        };
        measured.map(reading).collect()
    }
}

/// What a manager tells may be anything.
fn is_sound(used: &InstanceUsage) -> bool {
    [used.cpu_milli, used.memory_mib].iter().all(|amount| amount.is_finite() && *amount >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, pool: &str, ready_ms: u64) -> Instance {
        let group = Group { service: "shop".to_owned(), pool: pool.to_owned(), shape: "Small".to_owned() };
        let (state, ready_ms) = (InstanceState::Ready, Some(ready_ms));
        Instance { id: id.to_owned(), group, state, requested_ms: 0, ready_ms, address: None, is_interrupted: false }
    }

    fn used(id: &str, cpu_milli: f64) -> InstanceUsage {
        InstanceUsage { id: id.to_owned(), cpu_milli, memory_mib: 100.0 }
    }

    /// Looks every ten seconds up to `until_s`; 60 units a second are admitted from the beginning on.
    fn watch(meter: &mut Meter, instances: &[Instance], usage: &[InstanceUsage], until_s: u64) -> Vec<Reading> {
        let weight = |group: &Group| if group.pool == "fast" { 2.0 } else { 1.0 };
        let mut readings = Vec::new();
        for now_s in (0..=until_s).step_by(10) {
            let admitted_units = BTreeMap::from([("shop".to_owned(), 60.0 * now_s as f64)]);
            let look = Look {
                instances,
                usage,
                admitted_units,
                weight: &weight,
                decide_every_ms: 5_000,
                now_ms: 100_000 + 1_000 * now_s,
            };
            readings.extend(meter.look(&look));
        }
        readings
    }

    #[test]
    fn demand_is_shared_out_by_weight_and_put_beside_what_it_used() {
        let instances = [instance("a", "slow", 0), instance("b", "fast", 0)];
        let readings = watch(&mut Meter::default(), &instances, &[used("a", 700.0), used("b", 400.0)], 300);
        let told: Vec<(&str, f64, f64, f64)> = readings
            .iter()
            .map(|one| (one.group.pool.as_str(), one.served_per_s.round(), one.cpu_milli, one.instances))
            .collect();
        assert_eq!(told, [("fast", 40.0, 400.0, 1.0), ("slow", 20.0, 700.0, 1.0)]);
        assert_eq!(watch(&mut Meter::default(), &instances, &[used("a", 700.0)], 290), [], "not before the end");
    }

    #[test]
    fn what_is_young_or_not_measured_takes_its_share_and_says_nothing() {
        let instances = [instance("a", "slow", 0), instance("b", "slow", 399_000), instance("c", "slow", 0)];
        let usage = [used("a", 500.0), used("b", 9_000.0), used("c", f64::NAN)];
        let readings = watch(&mut Meter::default(), &instances, &usage, 300);
        let [one] = &readings[..] else { panic!("{readings:?}") };
        assert_eq!((one.served_per_s.round(), one.cpu_milli, one.instances), (20.0, 500.0, 1.0));
    }

    #[test]
    fn a_gap_begins_the_period_anew() {
        let (instances, usage) = ([instance("a", "slow", 0)], [used("a", 500.0)]);
        let (mut meter, mut slow) = (Meter::default(), Meter::default());
        let look = |meter: &mut Meter, decide_every_ms: u64, now_ms: u64| {
            let admitted_units = BTreeMap::from([("shop".to_owned(), 0.01 * now_ms as f64)]);
            let weight = |_: &Group| 1.0;
            let (instances, usage) = (&instances[..], &usage[..]);
            meter.look(&Look { instances, usage, admitted_units, weight: &weight, decide_every_ms, now_ms })
        };
        assert!((0..=29).all(|turn| look(&mut meter, 5_000, 10_000 * turn).is_empty()));
        let after = |turn: u64| 500_000 + 10_000 * turn;
        assert!((0..=29).all(|turn| look(&mut meter, 5_000, after(turn)).is_empty()), "nobody saw what was between");
        let readings = look(&mut meter, 5_000, 800_000);
        assert!((readings[0].served_per_s - 10.0).abs() < 1e-9, "{readings:?}");
        // Where decisions are ten minutes apart, that is no gap.
        assert!(look(&mut slow, 600_000, 0).is_empty());
        assert_eq!(look(&mut slow, 600_000, 600_000).len(), 1);
    }
}
