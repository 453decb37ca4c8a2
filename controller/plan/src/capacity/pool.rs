//! Where instances come from: pools by compute type, location and cost class, and the tiers they belong to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a pool's machines are good at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ComputeType {
    /// CPU-optimised.
    Cpu,
    /// Memory-optimised.
    Memory,
    /// With accelerators.
    Gpu,
}

/// How a pool's machines are paid for, in the order in which they are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CostClass {
    /// Paid for whether used or not.
    Reserved,
    /// Cheap, and may be taken away at any time.
    Spot,
    /// Full price, stays.
    OnDemand,
}

impl ComputeType {
    /// The name in configuration, answers and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Gpu => "gpu",
        }
    }
}

impl CostClass {
    /// The name in configuration, answers and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Spot => "spot",
            Self::OnDemand => "on_demand",
        }
    }
}

impl fmt::Display for ComputeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for CostClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A class of performance, volatility and price that pools belong to (seed 8825550: spot, standard, high-performance).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tier {
    /// Unique.
    pub name: String,
    /// CPU work done per core beside the standard's 1.0: a need of 2 cores takes 4 at 0.5.
    pub cpu_performance: f64,
    /// The same of memory.
    pub memory_performance: f64,
    /// Chance that an instance is taken away within an hour, 0 to 1: what is believed before anything is learned.
    pub volatility_per_h: f64,
    /// What prices of shapes are multiplied by, in thousandths.
    pub price_milli: u64,
}

/// Physical capacity of one compute type, location and cost class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Unique.
    pub name: String,
    /// What its machines are good at.
    pub compute: ComputeType,
    /// The region, as instance managers name it.
    pub location: String,
    /// How it is paid for.
    pub class: CostClass,
    /// Name of its tier.
    pub tier: String,
    /// Instances that it can have at once, whatever their shape.
    pub max_instances: u32,
    /// What prices of shapes are multiplied by here beside the tier's, in thousandths.
    pub price_milli: u64,
    /// Time from asking for an instance until it is ready, in seconds: a high quantile of what was learned.
    pub lead_s: f64,
    /// Chance that an instance is taken away within an hour, 0 to 1, as learned.
    pub interruption_per_h: f64,
}
