//! How much of what they have the instances of a service use, by shape: shares of CPU and of memory that are stayed within, and
//! how many instances there are, all fading with time. What sizes are found from ([`shaping`](super::shaping)), and what is
//! shown; kept by [`performance`](super::performance).

use forebay_plan::capacity::Shape;
use forebay_plan::learning::{DeclaredUtilisation, HalfLife, Utilisation, UtilisationSample};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::metering::Reading;

/// As the vertical autoscaler has: utilisation follows a day, memory counts by each day's peak.
const UTILISATION: DeclaredUtilisation =
    DeclaredUtilisation { cpu: 1.0, memory: 1.0, half_life_s: 86_400.0, memory_window_s: 86_400 };
/// Largest utilisation that is told apart.
pub(super) const MAX_UTILISATION: f64 = 4.0;
/// Kinds of instances whose use is kept; the ones that were used least leave. At 5 KB stored each: 5 MB.
const MAX_USES: usize = 1_000;

/// What instances of a shape use for a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Use {
    service: String,
    shape: String,
    /// What the shape has, in the order of [`Amounts::as_array`].
    offers: [f64; 6],
    utilisation: Utilisation,
    /// Instances, a mean that fades as the utilisation does; as of `at_s`.
    instances: f64,
    at_s: i64,
    since_s: i64,
}

/// All kinds of instances whose use is known.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Uses(Vec<Use>);

impl Uses {
    pub(super) fn all(&self) -> &[Use] {
        &self.0
    }

    pub(super) fn keep_only(&mut self, is_service: impl Fn(&str) -> bool) {
        self.0.retain(|one| is_service(&one.service));
    }

    /// Takes in what came of a period, of instances of this shape; whether anything was learned.
    pub(super) fn learn(&mut self, reading: &Reading, shape: &Shape, at_s: i64) -> bool {
        let offers = shape.offers.as_array();
        let share = |used: f64, has: f64| if has > 0.0 { (used / has).min(MAX_UTILISATION) } else { 0.0 };
        let sample = UtilisationSample {
            cpu: share(reading.cpu_milli, shape.offers.cpu_milli),
            memory: share(reading.memory_mib, shape.offers.memory_mib),
        };
        let (service, name) = (&reading.group.service, &shape.name);
        let kind = |one: &Use| one.service == *service && one.shape == *name && one.offers == offers;
        let at = self.0.iter().position(kind).unwrap_or_else(|| {
            if self.0.len() >= MAX_USES {
                self.0.sort_by(|a, b| b.instances_at(at_s).total_cmp(&a.instances_at(at_s)));
                self.0.truncate(MAX_USES - 1);
            }
            let (service, shape) = (service.clone(), name.clone());
            let utilisation = Utilisation::new(UTILISATION);
            let instances = reading.instances;
            self.0.push(Use { service, shape, offers, utilisation, instances, at_s, since_s: at_s });
            self.0.len() - 1
        });
        let one = &mut self.0[at];
        let kept = one.keeps(at_s);
        one.instances = reading.instances + (one.instances - reading.instances) * kept;
        one.at_s = at_s;
        one.utilisation.observe(sample, at_s).is_ok()
    }
}

impl Use {
    fn keeps(&self, at_s: i64) -> f64 {
        let half_life = HalfLife { observations: 0.0, seconds: UTILISATION.half_life_s };
        half_life.keeps(0.0, at_s.saturating_sub(self.at_s) as f64)
    }

    fn instances_at(&self, at_s: i64) -> f64 {
        self.instances * self.keeps(at_s)
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "service": self.service, "shape": self.shape, "instances": self.instances, "since_unix_s": self.since_s,
            "cpu": { "p50": self.utilisation.cpu(0.5), "p95": self.utilisation.cpu(0.95) },
            "memory": { "p50": self.utilisation.memory(0.5), "p95": self.utilisation.memory(0.95) },
        })
    }

    /// What an upper quantile is to be multiplied by, for there is little history.
    pub(super) fn caution(&self) -> f64 {
        self.utilisation.caution()
    }

    /// Since when it is known; unix seconds.
    pub(super) fn since_s(&self) -> i64 {
        self.since_s
    }

    /// How many there are, a fading mean.
    pub(super) fn instances(&self) -> f64 {
        self.instances
    }

    /// Service, shape, and the share of CPU and of memory that is stayed within nearly always.
    pub(super) fn peaks(&self) -> (&str, &str, [f64; 2]) {
        (&self.service, &self.shape, [self.utilisation.cpu(0.95), self.utilisation.memory(0.95)])
    }
}

#[cfg(test)]
mod tests {
    use forebay_plan::capacity::{Amounts, Group};

    use super::*;

    #[test]
    fn what_instances_use_is_kept_by_service_and_shape() {
        let offers = Amounts { cpu_milli: 1_000.0, memory_mib: 1_000.0, ..Amounts::default() };
        let shape = Shape { name: "Small".to_owned(), offers, price_micros_per_h: 1, performance: 1.0 };
        let group = Group { service: "shop".to_owned(), pool: "a".to_owned(), shape: "Small".to_owned() };
        let (served_per_s, cpu_milli, memory_mib) = (70.0, 700.0, 400.0);
        let reading = Reading { group, served_per_s, cpu_milli, memory_mib, instances: 3.0 };
        let mut uses = Uses::default();
        (0..400).for_each(|period| assert!(uses.learn(&reading, &shape, 300 * period)));
        let [one] = uses.all() else { panic!("one kind") };
        let (service, shape, [cpu, memory]) = one.peaks();
        assert_eq!((service, shape), ("shop", "Small"));
        assert!((0.7..0.74).contains(&cpu) && (0.4..0.43).contains(&memory), "{cpu} {memory}");
        assert!((one.instances() - 3.0).abs() < 1e-9 && one.caution() > 1.0);
        uses.keep_only(|service| service != "shop");
        assert!(uses.all().is_empty());
    }
}
