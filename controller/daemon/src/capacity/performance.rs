//! What operation has taught of instances at work: how much a pool's cores do for a service beside what is declared, and,
//! in [`uses`](super::uses), how much of what it has an instance uses.
//!
//! Readings come from [`metering`](super::metering), the learners are of `forebay-plan`. What is declared (the service's need,
//! the tier's and the shape's performance) is the prior, and counts as [`PRIOR_READINGS`]. The factor that plans count with is
//! held within the configured band, is 1 until there is evidence enough, and moves only when what was learned has moved by
//! [`LEAST_MOVE`]: a plan does not follow every breath of an estimate. A pool of which nothing is known counts with what the
//! service's other pools taught, because a need that was declared wrong is wrong everywhere.
//!
//! Only CPU teaches: memory is held however little is served, so demand over memory in use says nothing of work.
//! Stored after each period; what was learned beside another declaration is forgotten.

use std::collections::BTreeMap;

use forebay_plan::capacity::Shape;
use forebay_plan::learning::{Load, PerformanceFactor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::metering::Reading;
use super::remembered::remembered;
use super::spending::Instant;
use super::uses::{MAX_UTILISATION, Use, Uses};
use crate::config::capacity::{CapacitySettings, LearningMode, PerformanceSettings};

/// Readings that the declaration counts for: two hours of them.
const PRIOR_READINGS: f64 = 24.0;
/// Readings after which one counts half: a week of them.
const HALF_LIFE_READINGS: f64 = 2_016.0;
/// In logarithms: about 5 %, less than one instance of twenty.
const LEAST_MOVE: f64 = 0.05;
/// What is learned of one pool for one service.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lesson {
    /// What was declared then; see [`declared`].
    declared: Vec<u64>,
    factor: PerformanceFactor,
    /// What plans count with.
    applied: f64,
}

/// See the module's text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Performances {
    /// By service and pool.
    lessons: BTreeMap<String, BTreeMap<String, Lesson>>,
    uses: Uses,
    #[serde(skip)]
    is_changed: bool,
}

impl Performances {
    /// Of what is configured, with what was stored.
    pub(super) fn of(settings: &CapacitySettings, stored: Option<&str>) -> Self {
        let mut own: Self = remembered("instances at work", stored);
        for (service, lessons) in &mut own.lessons {
            lessons.retain(|pool, lesson| declared(settings, service, pool).as_ref() == Some(&lesson.declared));
            lessons.values_mut().for_each(|lesson| lesson.settle(&settings.performance));
        }
        own.lessons.retain(|_, lessons| !lessons.is_empty());
        own.uses.keep_only(|service| settings.services.iter().any(|known| known.service.name == service));
        own
    }

    /// Takes in what came of a period.
    pub(super) fn learn(&mut self, readings: &[Reading], settings: &CapacitySettings, now: Instant) {
        for reading in readings {
            let shape = settings.shapes.iter().find(|shape| shape.name == reading.group.shape);
            let Some(shape) = shape else { continue };
            if settings.performance.mode != LearningMode::Off {
                self.is_changed |= self.learn_factor(reading, settings, shape).unwrap_or(false);
            }
            self.is_changed |= self.uses.learn(reading, shape, now.wall_s());
        }
    }

    /// Whether anything was learned; `None` where cores are not what the service needs, or its pool is not known.
    fn learn_factor(&mut self, reading: &Reading, settings: &CapacitySettings, shape: &Shape) -> Option<bool> {
        let (service, pool) = (&reading.group.service, &reading.group.pool);
        let declared = declared(settings, service, pool)?;
        let need_milli = settings.services.iter().find(|one| one.service.name == *service)?;
        let need_milli = need_milli.service.need_per_unit.cpu_milli;
        let tier = &settings.pools.iter().find(|offer| offer.pool.name == *pool)?.pool.tier;
        let tier = settings.tiers.iter().find(|known| known.name == *tier)?;
        let has_milli = shape.offers.cpu_milli;
        if need_milli <= 0.0 || has_milli <= 0.0 {
            return None;
        }
        let load = Load {
            served_per_s: reading.served_per_s,
            utilisation: (reading.cpu_milli / has_milli).min(MAX_UTILISATION),
            declared_per_s: has_milli * tier.cpu_performance * shape.performance / need_milli,
        };
        let lessons = self.lessons.entry(service.clone()).or_default();
        if !lessons.contains_key(pool) {
            let factor = PerformanceFactor::new(1.0, PRIOR_READINGS, HALF_LIFE_READINGS).ok()?;
            lessons.insert(pool.clone(), Lesson { declared, factor, applied: 1.0 });
        }
        let lesson = lessons.get_mut(pool)?;
        if let Err(error) = lesson.factor.observe(load) {
            tracing::debug!(%error, service, pool, "nothing was learned");
            return Some(false);
        }
        lesson.settle(&settings.performance);
        Some(true)
    }

    /// By service: what plans multiply the declared work of a pool's cores by. Only what is not 1.
    pub(super) fn factors(&self, pool: &str, settings: &PerformanceSettings) -> BTreeMap<String, f64> {
        let factors = self.lessons.iter().map(|(service, lessons)| (service.clone(), planned(lessons, pool, settings)));
        factors.filter(|(_, factor)| *factor != 1.0).collect()
    }

    /// What instances of each kind used, for those that say so.
    pub(super) fn uses(&self) -> &[Use] {
        self.uses.all()
    }

    /// What was learned, with what plans count with.
    pub(super) fn known(&self, settings: &PerformanceSettings) -> Vec<KnownFactor<'_>> {
        let mut known = Vec::new();
        for (service, lessons) in &self.lessons {
            for (pool, lesson) in lessons {
                known.push(KnownFactor {
                    service,
                    pool,
                    learned: lesson.factor.factor(),
                    planned: planned(lessons, pool, settings),
                    readings: lesson.factor.readings(),
                    spread: lesson.factor.spread(),
                });
            }
        }
        known
    }

    /// To be stored, if it has changed since the last time.
    pub(super) fn take_changed(&mut self) -> Option<String> {
        let text = self.is_changed.then(|| serde_json::to_string(self).ok()).flatten();
        self.is_changed = false;
        text
    }

    /// What could not be stored is stored later.
    pub(super) fn all_changed(&mut self) {
        self.is_changed = true;
    }
}

/// What is known of a pool's cores for a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownFactor<'a> {
    pub(crate) service: &'a str,
    pub(crate) pool: &'a str,
    pub(crate) learned: f64,
    /// What plans multiply the declared work by; 1 where they do not follow.
    pub(crate) planned: f64,
    pub(crate) readings: f64,
    pub(crate) spread: f64,
}

impl KnownFactor<'_> {
    pub(super) fn as_json(self) -> Value {
        json!({
            "service": self.service, "pool": self.pool, "learned": self.learned, "planned_with": self.planned,
            "readings": self.readings, "spread": self.spread,
        })
    }
}

impl Lesson {
    fn is_known(&self, settings: &PerformanceSettings) -> bool {
        self.factor.readings() >= settings.min_readings
    }

    fn settle(&mut self, settings: &PerformanceSettings) {
        let held = self.factor.factor().clamp(settings.least, settings.most);
        let is_out = !(settings.least..=settings.most).contains(&self.applied);
        if !self.is_known(settings) {
            self.applied = 1.0;
        } else if is_out || (held / self.applied).ln().abs() >= LEAST_MOVE {
            self.applied = held;
        }
    }
}

/// What plans multiply the declared work of a pool's cores by: what was learned there, else what the pools that something
/// is known of taught, weighted by how much; 1 where there is none.
fn planned(lessons: &BTreeMap<String, Lesson>, pool: &str, settings: &PerformanceSettings) -> f64 {
    if !settings.is_used() {
        return 1.0;
    }
    if let Some(own) = lessons.get(pool).filter(|own| own.is_known(settings)) {
        return own.applied;
    }
    let known = || lessons.values().filter(|lesson| lesson.is_known(settings));
    let readings: f64 = known().map(|lesson| lesson.factor.readings()).sum();
    let sum: f64 = known().map(|lesson| lesson.factor.readings() * lesson.applied.ln()).sum();
    if readings > 0.0 { (sum / readings).exp() } else { 1.0 }
}

/// What a factor is beside: the service's need of cores and what a core is declared to do in the pool and in shapes, in
/// thousandths.
fn declared(settings: &CapacitySettings, service: &str, pool: &str) -> Option<Vec<u64>> {
    let service = settings.services.iter().find(|one| one.service.name == service)?;
    let offer = settings.pools.iter().find(|offer| offer.pool.name == pool)?;
    let tier = settings.tiers.iter().find(|tier| tier.name == offer.pool.tier)?;
    let thousandths = |value: f64| (1000.0 * value).round() as u64;
    // Sizes that are found later are of the standard's profile, and change nothing of what was learned.
    let profiles =
        settings.shapes.iter().map(|shape| thousandths(shape.performance)).filter(|profile| *profile != 1000);
    let of = [thousandths(service.service.need_per_unit.cpu_milli), thousandths(tier.cpu_performance)];
    Some(of.into_iter().chain(profiles).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use forebay_plan::capacity::Group;

    use super::*;
    use crate::config::Config;

    const CONFIG: &str = "
step_s: 60
contracts: [ { tenant: acme, resource: requests, rate_per_s: 5, pool: shop } ]
capacity:
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1, memory_mib: 1000 }, price_per_h: 1 } ]
  pools:
    - { name: a, location: eu, max_instances: 9, lead_s: 30 }
    - { name: b, location: eu, max_instances: 9, lead_s: 30 }
  services: [ { name: shop, need_per_unit: { cpu: 0.01 }, shortage_per_unit_h: 1 } ]
  performance: { band: [ 0.5, 1.25 ], min_readings: 10 }
";

    fn settings(change: (&str, &str)) -> CapacitySettings {
        assert!(CONFIG.contains(change.0), "{change:?}");
        let text = CONFIG.replace(change.0, change.1);
        Config::parse(Path::new("forebay.yaml"), &text).unwrap().capacity.unwrap()
    }

    /// After periods in which each core of pool `a` did `factor` of what is declared, 70 % busy.
    fn learned(settings: &CapacitySettings, factor: f64, periods: u32) -> Performances {
        let mut performances = Performances::of(settings, None);
        let group = Group { service: "shop".to_owned(), pool: "a".to_owned(), shape: "Small".to_owned() };
        let (served_per_s, cpu_milli, memory_mib) = (70.0 * factor, 700.0, 400.0);
        let reading = Reading { group, served_per_s, cpu_milli, memory_mib, instances: 3.0 };
        for period in 0..periods {
            let now = Instant { wall_ms: 300_000 * u64::from(period), calendar_s: 0.0, speed: 1.0 };
            performances.learn(std::slice::from_ref(&reading), settings, now);
        }
        performances
    }

    #[test]
    fn plans_follow_within_the_band_and_only_evidence() {
        let own = settings(("", ""));
        let at = |factor, periods, pool: &str| {
            let factors = learned(&own, factor, periods).factors(pool, &own.performance);
            factors.get("shop").copied().unwrap_or(1.0)
        };
        assert_eq!(at(0.7, 14, "a"), 1.0, "9.8 readings, busy as they are");
        assert!((0.6..1.0).contains(&at(0.7, 100, "a")), "{}", at(0.7, 100, "a"));
        assert!((at(0.7, 3_000, "a") / 0.7 - 1.0).abs() < 0.06, "{}", at(0.7, 3_000, "a"));
        assert_eq!(at(0.7, 3_000, "b"), at(0.7, 3_000, "a"), "a need that is declared wrong is wrong everywhere");
        assert!((0.5..0.53).contains(&at(0.3, 3_000, "a")) && at(3.0, 3_000, "a") == 1.25, "the band holds");
        let watched = settings(("performance: {", "performance: { mode: watch,"));
        let known = learned(&watched, 0.7, 3_000);
        assert!(known.factors("a", &watched.performance).is_empty());
        let [known] = known.known(&watched.performance)[..] else { panic!("one is known") };
        assert!((known.learned - 0.7).abs() < 0.02 && known.planned == 1.0, "{known:?}");
    }

    #[test]
    fn what_was_learned_is_stored_and_forgotten_with_another_declaration() {
        let own = settings(("", ""));
        let mut performances = learned(&own, 0.7, 500);
        let stored = performances.take_changed().unwrap();
        assert_eq!(performances.take_changed(), None, "stored once");
        let factors =
            |settings: &CapacitySettings| Performances::of(settings, Some(&stored)).factors("a", &settings.performance);
        assert_eq!(factors(&own), performances.factors("a", &own.performance));
        assert!(factors(&settings(("cpu: 0.01", "cpu: 0.02"))).is_empty());
        let narrow = factors(&settings(("0.5, 1.25", "0.9, 1.25")));
        assert_eq!(narrow.get("shop"), Some(&0.9), "a band that was drawn closer holds at once");
        assert!(Performances::of(&own, Some("{}")).uses().is_empty(), "of another build");
    }
}
