//! `OrchestrateResources` (seed 8825550): a tier by need, cost constraint and SLA; the need divided by the tier's
//! performance; CPU and memory compared with what there is each by itself, up and down.
//!
//! `SelectResourceTier` takes the cheapest tier that is fast and steady enough and whose price fits; where none fits, no
//! tier is chosen, and nothing is changed: a cost constraint is never broken for speed.

use crate::capacity::{Micros, Tier};

/// What is predicted of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Thousandths of a core at the standard's performance.
    pub cpu_milli: f64,
    /// Memory in MiB, at the standard's performance.
    pub memory_mib: f64,
    /// Disk operations per second; for these tiers make no difference.
    pub disk_iops: f64,
}

/// An instance with what binds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceNeed {
    /// What it has.
    pub current_cpu_milli: f64,
    /// What it has.
    pub current_memory_mib: f64,
    /// Most that an hour may cost, in micros.
    pub max_micros_per_h: Micros,
    /// Slowest tier that the SLA allows, of CPU and of memory.
    pub min_performance: f64,
    /// Highest chance of being taken away within an hour that the SLA allows.
    pub max_volatility_per_h: f64,
    /// Price of a thousand thousandths of a core with its memory for an hour at the standard tier, in micros.
    pub core_micros_per_h: Micros,
}

/// How much more is needed; below zero how much less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deltas {
    /// Thousandths of a core.
    pub cpu_milli: f64,
    /// MiB.
    pub memory_mib: f64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Orchestration {
    /// Provision what is positive of the deltas in this tier, give back what is negative.
    Change {
        /// Name of the tier.
        tier: String,
        /// CPU and memory each by itself.
        deltas: Deltas,
    },
    /// No tier is within the constraints; what there is stays.
    NoTier,
}

/// `CalculateResources`: half the performance takes twice the resources.
#[must_use]
pub fn calculate_resources(prediction: f64, tier_performance: f64) -> f64 {
    if tier_performance > 0.0 { prediction / tier_performance } else { f64::INFINITY }
}

/// `SelectResourceTier`: the cheapest for this prediction that is fast, steady and cheap enough.
#[must_use]
pub fn select_resource_tier<'a>(
    tiers: &'a [Tier],
    prediction: &Prediction,
    instance: &InstanceNeed,
) -> Option<&'a Tier> {
    let cost = |tier: &Tier| {
        let cores = calculate_resources(prediction.cpu_milli, tier.cpu_performance) / 1_000.0;
        cores * instance.core_micros_per_h as f64 * tier.price_milli as f64 / 1_000.0
    };
    let will_do = |tier: &&Tier| {
        tier.cpu_performance.min(tier.memory_performance) >= instance.min_performance
            && tier.volatility_per_h <= instance.max_volatility_per_h
            && cost(tier) <= instance.max_micros_per_h as f64
    };
    tiers.iter().filter(will_do).min_by(|a, b| cost(a).total_cmp(&cost(b)).then(a.name.cmp(&b.name)))
}

/// The algorithm.
#[must_use]
pub fn orchestrate_resources(tiers: &[Tier], prediction: &Prediction, instance: &InstanceNeed) -> Orchestration {
    let Some(tier) = select_resource_tier(tiers, prediction, instance) else {
        return Orchestration::NoTier;
    };
    let required_cpu = calculate_resources(prediction.cpu_milli, tier.cpu_performance);
    let required_memory = calculate_resources(prediction.memory_mib, tier.memory_performance);
    let deltas = Deltas {
        cpu_milli: required_cpu - instance.current_cpu_milli,
        memory_mib: required_memory - instance.current_memory_mib,
    };
    Orchestration::Change { tier: tier.name.clone(), deltas }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers() -> Vec<Tier> {
        let tier = |name: &str, cpu_performance, memory_performance, volatility_per_h, price_milli| Tier {
            name: name.to_owned(),
            cpu_performance,
            memory_performance,
            volatility_per_h,
            price_milli,
        };
        vec![
            tier("spot", 0.5, 0.8, 0.1, 300),
            tier("standard", 1.0, 1.0, 0.0, 1_000),
            tier("fast", 2.0, 1.25, 0.0, 2_500),
        ]
    }

    fn instance() -> InstanceNeed {
        InstanceNeed {
            current_cpu_milli: 3_000.0,
            current_memory_mib: 8_000.0,
            max_micros_per_h: 100_000,
            min_performance: 0.0,
            max_volatility_per_h: 1.0,
            core_micros_per_h: 40_000,
        }
    }

    const PREDICTION: Prediction = Prediction { cpu_milli: 2_000.0, memory_mib: 4_000.0, disk_iops: 0.0 };

    #[test]
    fn half_the_performance_takes_twice_the_resources() {
        assert_eq!(calculate_resources(2_000.0, 0.5), 4_000.0);
        assert_eq!(calculate_resources(2_000.0, 0.0), f64::INFINITY);
    }

    #[test]
    fn cpu_goes_up_while_memory_goes_down() {
        // Spot at half the speed takes 4 cores and 5,000 MiB for 48,000 micros; standard would take 80,000.
        let deltas = Deltas { cpu_milli: 1_000.0, memory_mib: -3_000.0 };
        assert_eq!(
            orchestrate_resources(&tiers(), &PREDICTION, &instance()),
            Orchestration::Change { tier: "spot".to_owned(), deltas }
        );
    }

    #[test]
    fn constraints_and_slas_choose_the_tier() {
        let chosen = |instance: InstanceNeed| {
            select_resource_tier(&tiers(), &PREDICTION, &instance).map(|tier| tier.name.clone())
        };
        assert_eq!(chosen(InstanceNeed { max_volatility_per_h: 0.01, ..instance() }).as_deref(), Some("standard"));
        assert_eq!(chosen(InstanceNeed { min_performance: 1.1, ..instance() }).as_deref(), Some("fast"));
        assert_eq!(chosen(InstanceNeed { min_performance: 1.1, max_micros_per_h: 99_999, ..instance() }), None);
        let strict = InstanceNeed { max_micros_per_h: 1, ..instance() };
        assert_eq!(orchestrate_resources(&tiers(), &PREDICTION, &strict), Orchestration::NoTier);
    }
}
